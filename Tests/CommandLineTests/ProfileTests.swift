// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

extension CommandLineTests {
    @Suite(.serialized) struct ProfileTests {
        private static let story = [
            "run", "-f", "-", "--raw", "-n", "16", "-c", "1024",
        ]
        private static let input = String(repeating: "The cat sat on the mat and saw the dog. ", count: 60)

        private func profile(_ options: [String] = []) throws -> (run: [String: Any], profile: [String: Any]) {
            let outcome = try longhand(Self.story + ["--profile", "--json"] + options, input: Self.input)
            expectDone(outcome)
            #expect(outcome.stderr.split(separator: "\n").allSatisfy { $0.hasPrefix("reading:") }, "\(outcome.stderr)")
            let run = try outcome.json()
            return (run, try #require(run["profile"] as? [String: Any]))
        }

        private static func sum(_ rows: [[String: Any]], _ key: String) -> Double {
            rows.reduce(0) { $0 + ($1[key] as? Double ?? 0) }
        }

        /// The operators account for the time of each phase, and the layers for the operators.
        @Test func timeIsAccountedFor() throws {
            let (run, profile) = try profile()
            for name in ["prefill", "decode"] {
                let phase = try #require(profile[name] as? [String: Any])
                let operators = try #require(phase["operators"] as? [[String: Any]])
                let seconds = try #require(phase["seconds"] as? Double)
                let spent = Self.sum(operators, "seconds")
                #expect(seconds == (run[name] as? [String: Any])?["seconds"] as? Double)
                // A decoded token takes a few milliseconds, of which the program around the operators takes a part.
                let around = name == "decode" ? 0.5e-3 * Double((run[name] as? [String: Any])?["tokens"] as? Int ?? 0) : 0
                #expect(spent >= 0.97 * seconds - around && spent <= seconds, "\(name): \(spent) of \(seconds) s")
                #expect(abs(spent / seconds - (phase["accounted"] as? Double ?? 0)) < 1e-6)
                #expect(abs(Self.sum(operators, "share") - spent / seconds) < 1e-6)

                let layers = try #require(phase["layers"] as? [[String: Any]])
                #expect(layers.count == 30)
                let outside: Set = ["embed", "logits", "sampling", "norm"]
                for op in operators {
                    let title = try #require(op["name"] as? String)
                    let rows = layers.flatMap { $0["operators"] as? [[String: Any]] ?? [] }.filter { $0["name"] as? String == title }
                    guard !outside.contains(title) else { continue }
                    #expect(abs(Self.sum(rows, "seconds") - (op["seconds"] as? Double ?? 0)) < 1e-6, "\(title)")
                    #expect(rows.reduce(0) { $0 + ($1["calls"] as? Int ?? 0) } == op["calls"] as? Int, "\(title)")
                }
            }
        }

        /// Calls and formulae of a run whose shape is known: SmolLM2-135M, 30 layers, width 576.
        @Test func callsAndRates() throws {
            let (run, profile) = try profile(["--chunk", "512"])
            let phase = try #require(profile["prefill"] as? [String: Any])
            let rows = try #require(phase["operators"] as? [[String: Any]])
            func row(_ name: String) throws -> [String: Any] { try #require(rows.first { $0["name"] as? String == name }) }
            let tokens = try #require((run["prefill"] as? [String: Any])?["tokens"] as? Int)
            #expect(tokens > 512 && tokens < 1024)
            #expect(try row("down linear")["calls"] as? Int == 60)
            #expect(try row("norm")["calls"] as? Int == 121)
            #expect(try row("logits")["calls"] as? Int == 1)
            let down = try row("down linear")
            let flops = (down["gigaflops"] as? Double ?? 0) * (down["seconds"] as? Double ?? 0) * 1e9
            #expect(abs(flops / Double(2 * tokens * 576 * 1536 * 30) - 1) < 1e-6)
            let attend = try row("attend")
            let pairs = Double(tokens * (tokens + 1) / 2 * 9 * 30)
            let attended = (attend["gigaflops"] as? Double ?? 0) * (attend["seconds"] as? Double ?? 0) * 1e9
            #expect(abs(attended / (4 * 64 * pairs) - 1) < 1e-6)
            for name in ["qkv linear", "attend", "gate", "residual"] {
                #expect((try row(name)["roofShare"] as? Double ?? 0) > 0, "\(name)")
                #expect(try row(name)["bound"] is String, "\(name)")
            }
            #expect(try row("select")["roofShare"] == nil)
            let roofs = try #require(profile["roofs"] as? [String: Any])
            #expect((roofs["readGigabytes"] as? Double ?? 0) > 0)
            #expect(((roofs["f32"] as? [String: Any])?["gigaflops"] as? Double ?? 0) > 0)
        }

        @Test func tablesOnStandardError() throws {
            let outcome = try longhand(["run", "-p", "What is the capital of France?", "-n", "12", "--profile"])
            expectDone(outcome)
            #expect(outcome.stdout == "The capital of France is Paris.\n")
            for text in ["roofs: f32", "read ", "| prefill ", "| decode ", "| qkv linear ", "| sampling ", "| other ", "% of roof"] {
                #expect(outcome.stderr.contains(text), "\(text)")
            }
            #expect(!outcome.stderr.contains("by layer"))
            let layers = try longhand(["run", "-p", "hi", "-n", "2", "--profile-layers"])
            expectDone(layers)
            #expect(layers.stderr.contains("| prefill, ms by layer ") && layers.stderr.contains("| 29 "))
        }

        @Test func noProfileUnlessAsked() throws {
            let outcome = try longhand(["run", "-p", "hi", "-n", "2", "--json"])
            expectDone(outcome)
            #expect(try outcome.json()["profile"] == nil)
        }

        /// The residual stream alone grows with a pass; without blocks everything does.
        @Test func activationsOfSchedules() throws {
            func bytes(_ options: [String]) throws -> Int {
                let outcome = try longhand(Self.story + ["-n", "0", "--json"] + options, input: Self.input)
                expectDone(outcome)
                return try #require(outcome.json()["activationBytes"] as? Int)
            }
            let flat = try bytes(["--block-tokens", "64"]), layered = try bytes(["--block-tokens", "64", "--chunk", "512"])
            let whole = try bytes(["--chunk", "512", "--block-tokens", "0"])
            #expect(layered - flat == 4 * 576 * (512 - 64))
            #expect(whole > 2 * layered)
            #expect(try bytes(["--block-tokens", "0"]) > whole)
            #expect(try bytes([]) == whole)
        }
    }
}
