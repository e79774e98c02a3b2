// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// The tests of the command run one after another, but those of `verify`: each starts a process that uses all processors.
@Suite(.serialized) struct CommandLineTests {}

extension CommandLineTests {
    @Suite(.serialized) struct HelpTests {
        @Test(arguments: [
            ["--help"], ["-h"], ["help"], [], ["run", "--help"], ["help", "run"], ["plugins", "--help"], ["verify", "--help"],
        ])
        func helpGoesToStdoutAndWraps(arguments: [String]) throws {
            let outcome = try longhand(arguments, limit: 10)
            expectDone(outcome)
            #expect(outcome.stderr == "")
            #expect(outcome.stdout.contains("USAGE: longhand"))
            for line in outcome.stdout.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
        }

        @Test func helpTeaches() throws {
            let main = try longhand("--help").stdout
            for text in ["store", "selector", "attention", "position", "EXAMPLES", "LONGHAND_ISA", "EXIT CODES"] {
                #expect(main.contains(text))
            }
            let run = try longhand("run", "--help").stdout
            for option in [
                "-m", "-f", "-p", "-n", "-c", "-t", "-s", "--temp", "--top-k", "--top-p", "--min-p", "--store", "--prefill",
                "--decode", "--attention", "--json",
            ] {
                #expect(run.contains(" \(option)"), "\(option)")
            }
        }

        /// The examples are whole lines, to be copied into a shell.
        @Test(arguments: [["--help"], ["run", "--help"]]) func examplesAreNotBroken(arguments: [String]) throws {
            let lines = try longhand(arguments).stdout.split(separator: "\n", omittingEmptySubsequences: false)
            let start = try #require(lines.firstIndex(of: "EXAMPLES"))
            let examples = lines[(start + 1)...].prefix { !$0.isEmpty }
            #expect(examples.count >= 4)
            for line in examples { #expect(line.hasPrefix("  ") && line.contains("longhand"), "\(line)") }
        }

        @Test func version() throws {
            let outcome = try longhand("--version", limit: 10)
            expectDone(outcome)
            #expect(outcome.stdout.wholeMatch(of: /\d+\.\d+\.\d+\n/) != nil)
            let header = try String(contentsOfFile: "\(packageRoot)/include/longhand/version.h", encoding: .utf8)
            #expect(header.contains("LHK_VERSION \"\(outcome.stdout.dropLast())\""))
        }

        @Test(arguments: ["bash", "zsh", "fish"]) func completions(shellName: String) throws {
            let outcome = try longhand("--generate-completion-script", shellName, limit: 10)
            expectDone(outcome)
            for word in ["run", "calibrate", "block-tokens"] { #expect(outcome.stdout.contains(word), "\(word)") }
            guard shellName == "bash" else { return }
            let folder = try TemporaryFolder()
            let script = try folder.write(Data(outcome.stdout.utf8), to: "longhand.bash")
            // What bash offers behind "longhand run --po".
            let offered = try shell(
                """
                source "$0" && COMP_WORDS=(longhand run --po) COMP_CWORD=2 COMP_LINE='longhand run --po' COMP_POINT=17 &&
                $(complete -p longhand | sed 's/.*-F \\([^ ]*\\).*/\\1/') longhand --po run && printf '%s\\n' "${COMPREPLY[@]}"
                """, [script])
            #expect(offered.stdout == "--position\n", "\(offered)")
        }
    }
}
