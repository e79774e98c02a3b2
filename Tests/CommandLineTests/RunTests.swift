// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand
import Testing

extension CommandLineTests {
    @Suite(.serialized) struct RunTests {
        private static let capital = ["run", "-p", "What is the capital of France?", "-n", "12"]

        /// The answer in the JSON form of a run.
        private func answer(_ arguments: [String], environment: [String: String?] = [:]) throws -> String {
            let outcome = try longhand(arguments + ["--json"], environment: environment)
            expectDone(outcome)
            return try #require(outcome.json()["text"] as? String)
        }

        @Test func answerOnStdoutTableOnStderr() throws {
            let outcome = try longhand(Self.capital)
            expectDone(outcome)
            #expect(outcome.stdout == "The capital of France is Paris.\n")
            #expect(!outcome.stderr.contains("Paris"))
            for text in ["prefill", "decode", "tokens/s", "select", "attend", "KV cache", "bytes per token", "store bf16:"] {
                #expect(outcome.stderr.contains(text), "\(text)")
            }
        }

        @Test func jsonAlone() throws {
            let outcome = try longhand(Self.capital + ["--json"])
            expectDone(outcome)
            #expect(outcome.stderr == "")
            let object = try outcome.json()
            #expect(object["text"] as? String == "The capital of France is Paris.")
            #expect(object["stop"] as? String == "end of answer")
            let prefill = try #require(object["prefill"] as? [String: Any])
            let decode = try #require(object["decode"] as? [String: Any])
            #expect(prefill["tokens"] as? Int == 37)
            #expect(decode["tokens"] as? Int == 7)
            #expect((decode["tokensPerSecond"] as? Double ?? 0) > 0)
            let methods = try #require(object["methods"] as? [[String: Any]])
            #expect(Set(methods.compactMap { $0["slot"] as? String }) == ["store", "prefill", "decode", "attention", "position"])
        }

        @Test func seeds() throws {
            let arguments = ["run", "-p", "Tell me a story.", "-n", "16", "--temp", "1.2"]
            let texts = try ["7", "7", "8", "9"].map { try answer(arguments + ["-s", $0]) }
            #expect(texts[0] == texts[1])
            #expect(Set(texts).count > 1)
        }

        @Test func mostTokens() throws {
            let none = try longhand("run", "-p", "Tell me a story.", "-n", "0")
            expectDone(none)
            #expect(none.stdout == "")
            #expect(none.stderr.contains("prefill"))
            let one = try longhand("run", "-p", "Tell me a story.", "-n", "1", "--json").json()
            #expect((one["decode"] as? [String: Any])?["tokens"] as? Int == 0)
            #expect(!(one["text"] as? String ?? "").isEmpty)
        }

        @Test func workersGiveTheSameText() throws {
            let arguments = ["run", "-p", "Tell me a story.", "-n", "12", "--temp", "0.9", "-s", "3"]
            let texts = try ["1", "2", "5"].map { try answer(arguments + ["-t", $0]) }
            #expect(Set(texts).count == 1, "\(texts)")
        }

        @Test(arguments: [
            ["--store", "f32"], ["--store", "f16"], ["--store", "bf16"], ["--decode", "window:size=64,sinks=4"],
            ["--prefill", "window"], ["--attention", "flash:path=blockwise"], ["--attention", "flash:path=direct", "-c", "64"],
            ["--position", "rope:scaling=linear,factor=1"], ["--chunk", "16"], ["-c", "64"],
            ["--chunk", "32", "--block-tokens", "8"], ["--block-tokens", "0"],
            ["--store", "f32", "--store-layers", "0-1,29: q8", "--store-layers", "5: f16"],
        ])
        func methods(options: [String]) throws {
            let outcome = try longhand(Self.capital + options + ["--json"])
            expectDone(outcome)
            let object = try outcome.json()
            #expect((object["text"] as? String)?.contains("Paris") == true, "\(object["text"] ?? "")")
            let bound = (object["methods"] as? [[String: Any]] ?? []).compactMap { $0["spec"] as? String }
            if options[0].hasPrefix("--"), !["--chunk", "--block-tokens"].contains(options[0]) {
                #expect(bound.contains(options[1]), "\(bound)")
            }
        }

        @Test(arguments: ["scalar", "avx2", "avx512", "avx512bf16", "neon"], [nil, "SkylakeX", "Prescott"])
        func instructionSets(level: String, core: String?) throws {
            guard let set = try? InstructionSet(upTo: level), InstructionSet.detected.isSuperset(of: set) else { return }
            let text = try answer(Self.capital, environment: ["LONGHAND_ISA": level, "OPENBLAS_CORETYPE": core])
            #expect(text.contains("Paris"))
        }

        @Test func documentOnStandardInput() throws {
            let input = "The password of the vault is tangerine."
            let outcome = try longhand("run", "-f", "-", "-p", "What is the password?", "-n", "16", input: input)
            expectDone(outcome)
            #expect(outcome.stdout.lowercased().contains("tangerine"))
            let piped = try shell(
                "\"$0\" run -f <(printf %s \"$1\") -p 'What is the password?' -n 16", [executable, input])
            #expect(piped.stdout == outcome.stdout, "\(piped.stderr)")
        }

        @Test func unusualTexts() throws {
            let folder = try TemporaryFolder()
            let chinese = try folder.write(Data("长城是中国古代的伟大建筑。它有两千多年的历史。".utf8), to: "zh")
            let first = try longhand("run", "-f", chinese, "-p", "What is this about?", "-n", "4")
            expectDone(first)
            #expect(!first.stderr.contains("UTF-8"))
            let noise = try folder.write(Data((0..<400).map { UInt8(truncatingIfNeeded: $0 * 167 + $0 / 7) }), to: "noise")
            let second = try longhand("run", "-f", noise, "-n", "2")
            expectDone(second)
            #expect(second.stderr.contains("longhand: the document is not UTF-8"))
            let token = try longhand("run", "-p", "a", "--raw", "-n", "2", "--json")
            expectDone(token)
            #expect((try token.json()["prefill"] as? [String: Any])?["tokens"] as? Int == 1)
            expectDone(try longhand("run", "-p", "- a prompt that begins with a dash", "-n", "1"))
            expectDone(try longhand("run", "-p", "🦙\u{0301}\u{200d}", "-n", "1"))
        }

        @Test func longPromptShowsProgress() throws {
            let outcome = try longhand("run", "-f", "-", "-n", "0", input: String(repeating: "The cat sat. ", count: 220))
            expectDone(outcome)
            #expect(outcome.stdout == "")
            #expect(outcome.stderr.contains(/reading: \d+ of \d+ tokens \(100 %\)/))
        }

        /// More context than the model was trained for is allowed, with a notice.
        @Test func contextPastTheTrainedOne() throws {
            let folder = try TemporaryFolder()
            var model = try HollowModel()
            try model.set("llama.context_length", 48)
            try model.write(to: folder.file("short.gguf"))
            let prompt = String(repeating: "word ", count: 100)
            let arguments = ["run", "-m", folder.file("short.gguf"), "-p", prompt, "-n", "2"]
            try expectRefusal(arguments, "does not fit a context of 48: give a larger -c (the model was trained for 48)")
            let outcome = try longhand(arguments + ["-c", "256"])
            expectDone(outcome)
            #expect(outcome.stderr.hasPrefix("longhand: a context of 256 tokens is more than the 48 the model was trained for\n"))
            #expect(outcome.stderr.contains("end of answer"))
        }

        @Test func contextFillsUp() throws {
            let object = try longhand("run", "-p", "Once upon a time", "--raw", "-c", "8", "-n", "50", "--json").json()
            #expect(object["stop"] as? String == "context full")
            #expect(object["contextTokens"] as? Int == 8)
        }

        /// A reader that goes away ends the command quietly.
        @Test(arguments: ["run -p 'Tell me a story.' -n 40", "plugins", "plugins --json", "--help"])
        func closedPipe(arguments: String) throws {
            let outcome = try shell("\"$0\" \(arguments) | head -c 1; exit ${PIPESTATUS[0]}", [executable])
            #expect(outcome.stdout.count == 1)
            #expect([0, 2, 128 + SIGPIPE].contains(outcome.code), "\(outcome.code)")
            #expect(!outcome.stderr.contains("longhand:") && !outcome.stderr.contains("rash"), "\(outcome.stderr)")
        }

        @Test func streamsThatCannotBeUsed() throws {
            let full = try shell("\"$0\" run -p hi -n 2 > /dev/full", [executable])
            expectRefused(full, "cannot write to standard output: No space left")
            let quiet = try shell("\"$0\" run -p 'What is the capital of France?' -n 12 2>&-", [executable])
            #expect(quiet.code == 0)
            #expect(quiet.stdout == "The capital of France is Paris.\n")
            expectRefused(try shell("\"$0\" run -f - -p hi <&-", [executable]), "standard input: cannot read")
        }
    }
}
