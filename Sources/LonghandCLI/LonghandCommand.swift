// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import CLonghand
import Glibc

/// The `longhand` command. Kernels are not linked in: they are discovered as plugins at run time.
@main
struct LonghandCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "longhand",
        abstract: "Long-context attention on CPUs: run a real model through attention kernels found as plugins.",
        discussion: """
            A run is put together from methods, each of which answers one question. They are \
            found as plugins at run time; 'longhand plugins' lists them with their options.

              store      how are keys and values kept?       --store bf16
              selector   which keys matter to a query?       --prefill all
                                                             --decode window:size=1024
              attention  how do scores become output?        --attention flash
              position   where is each token?                --position rope

            EXAMPLES
              longhand run -p "What is the capital of France?" -n 32
              longhand run -f document.txt -p "Summarise the document."
              longhand run -f document.txt -p "Who wrote it?" --decode window:size=1024
              longhand run -m model.gguf -p "Hello" --store f32 --json
              longhand plugins --rejected

            ENVIRONMENT
              LONGHAND_ISA          highest instruction set to use:
                                    scalar, avx2, avx512, avx512vnni, avx512popcnt, avx512bf16
              LONGHAND_PLUGIN_PATH  folders with plugins, separated by ':'
              LONGHAND_CACHE        folder of the default model

            EXIT CODES
              0 done, 1 a check failed, 2 wrong usage or input
            """,
        version: LHK_VERSION,
        subcommands: [
            RunCommand.self, TraceCommand.self, CalibrateCommand.self, EvalCommand.self, BenchCommand.self, VerifyCommand.self,
            PluginsCommand.self,
        ])

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

    /// Parser errors teach in several lines; the first says what is wrong, and the help of the command says the rest.
    private static func fullOneLine(_ error: any Error) -> String {
        guard exitCode(for: error) == .validationFailure else { return "\(error)" }
        let reason = message(for: error).split(separator: "\n").first.map(String.init) ?? "\(error)"
        let names = configuration.subcommands.compactMap { $0.configuration.commandName }
        let command = CommandLine.arguments.dropFirst().first.flatMap { names.contains($0) ? "longhand \($0)" : nil }
        return "\(reason) (see '\(command ?? "longhand") --help')"
    }
}
