// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc

/// The `longhand` command. Kernels are not linked in: they are discovered as plugins at run time.
@main
struct LonghandCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "longhand",
        abstract: "Long-context attention on CPUs: run a real model through attention kernels found as plugins.",
        discussion: """
            EXAMPLES
              longhand plugins
              longhand run -p "What is the capital of France?" -n 32
              longhand run -f document.txt -p "Summarise the document." -c 8192 --store bf16
              longhand run -f document.txt -p "Who wrote it?" --decode window:size=1024,sinks=4

            ENVIRONMENT
              LONGHAND_ISA           highest instruction set to use: scalar, avx2, avx512, avx512vnni, avx512bf16
              LONGHAND_PLUGIN_PATH   folders with plugins, separated by ':'
              LONGHAND_CACHE         folder of the default model

            EXIT CODES
              0 done, 1 a check failed, 2 wrong usage or input
            """,
        version: "0.1.0", subcommands: [RunCommand.self, TraceCommand.self, EvalCommand.self, PluginsCommand.self])

    static func main() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch let error where exitCode(for: error) == .success {
            exit(withError: error)  // --help and --version
        } catch let error as ExitCode {
            Glibc.exit(error.rawValue)
        } catch {
            Console.fail(fullOneLine(error))
        }
    }

    /// Parser errors teach in several lines; the first says what is wrong.
    private static func fullOneLine(_ error: any Error) -> String {
        if error is CleanExit || type(of: error) == ValidationError.self || isParserError(error) {
            let lines = message(for: error).split(separator: "\n")
            return (lines.first.map(String.init) ?? "\(error)") + " (see 'longhand --help')"
        }
        return "\(error)"
    }

    private static func isParserError(_ error: any Error) -> Bool { exitCode(for: error) == .validationFailure }
}
