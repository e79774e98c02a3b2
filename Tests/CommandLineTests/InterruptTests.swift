// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

extension CommandLineTests {
    /// Control-C ends a command by the signal, at once, and leaves no half file behind.
    @Suite(.serialized) struct InterruptTests {
        @Test(arguments: [
            "run -f TEXT -c 60000 -n 100", "run -p 'Tell me a story.' -n 8000", "eval -f TEXT -c 4096 --config 'w: prefill=window'",
            "trace -f TEXT -o OUTPUT/trace.safetensors", "bench --input gaussian --filter smollm2 -o csv",
            "calibrate commvq --trace TRACE --steps 10000 -o OUTPUT/codebooks.safetensors",
            "calibrate sale --trace TRACE --from 100 --rho 0.0001 -o OUTPUT/sale.safetensors --heat-map OUTPUT/sale.svg",
        ])
        func controlC(command: String) throws {
            let folder = try TemporaryFolder(), output = folder.file("output")
            let text = (1...3000).map { "After \($0) comes \($0 + 1).\n" }.joined()
            let path = try folder.write(Data(text.utf8), to: "text"), trace = folder.file("trace.safetensors")
            try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: false)
            let arguments = command.replacingOccurrences(of: "TEXT", with: path).replacingOccurrences(of: "OUTPUT", with: output)
                .replacingOccurrences(of: "TRACE", with: trace)
            if command.contains("TRACE") {
                expectDone(try longhand("trace", "-f", path, "-c", "1024", "--layers", "0-9", "--dtype", "f16", "-o", trace))
            }
            // Whoever started the tests may have had the signal ignored, which children inherit.
            let outcome = try shell(
                "exec env --default-signal=INT timeout --preserve-status --signal=INT 0.8 \"$0\" \(arguments)", [executable],
                limit: 20)
            #expect(!outcome.timedOut)
            #expect(outcome.code == 128 + SIGINT, "\(outcome)")
            #expect(!outcome.stderr.contains("longhand: /") && !outcome.stderr.contains("rash"), "\(outcome.stderr)")
            #expect(try FileManager.default.contentsOfDirectory(atPath: output).isEmpty)
        }
    }
}
