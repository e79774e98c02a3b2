// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Longhand
import LonghandModel

struct CalibrateSaleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sale", abstract: "Find the thresholds of the selector 'sale' per layer and query head.",
        discussion: """
            The threshold of a head starts at --from and is halved until its output over the trace is as close to dense attention as --rho asks, \
            in the mean L1 norm; at 0.0001 the head becomes dense. Several traces are used in order: a threshold is never raised \
            again. Layers with a window are left out, where sale is dense. The table is written to stdout.

              longhand trace -f text.txt -c 8192 --dtype f16 -o trace.safetensors
              longhand calibrate sale --trace trace.safetensors -o sale.safetensors --heat-map sale.svg
              longhand run -f document.txt -p "..." --prefill sale:calibration=sale.safetensors
            """)

    @Option(help: "Trace of 'longhand trace'; may be given several times.") var trace: [String]
    @Option(name: .shortAndLong, help: "The safetensors file to write.") var output: String
    @Option(help: "Most error of a head, as a share of its output.") var rho = 0.04
    @Option(help: "Threshold to begin with; the paper, without a remainder, begins at 0.008.") var from: Float = 0.032
    @Option(help: "Bits of the codes of the estimate: 8 or 4.") var bits = 8
    @Option(help: "Store that outputs are compared over.") var store = "bf16"
    @Option(name: [.customShort("c"), .customLong("ctx-size")], help: "Most tokens of a trace to use; 0: all.") var context = 0
    @Option(help: "Write an SVG of kept shares and thresholds.") var heatMap: String?
    @Option(name: .customLong("format"), help: "Format on stdout: md, csv, json or jsonl.") var format = "md"
    @Option(name: .shortAndLong, help: "Worker threads; 0: one per processor.") var threads = 0
    @OptionGroup var plugins: PluginOptions

    func validate() throws {
        if trace.isEmpty { throw ValidationError("give a trace with --trace") }
        if !(rho > 0 && rho <= 1) { throw ValidationError("--rho \(rho): must be above 0 and at most 1") }
        if !(from > 1e-4 && from <= 100) { throw ValidationError("--from \(from): must be above 0.0001 and at most 100") }
        if bits != 4 && bits != 8 { throw ValidationError("--bits \(bits): must be 8 or 4") }
        if context < 0 { throw ValidationError("-c \(context): the context is negative") }
        if threads < 0 || threads > 1024 { throw ValidationError("-t \(threads): threads must be 0 to 1024") }
        if ReportFormat(rawValue: format) == nil { throw ValidationError("--format \(format): must be md, csv, json or jsonl") }
    }

    func run() throws {
        try OutputFile.check(output, asRegularFile: true)
        if let heatMap { try OutputFile.check(heatMap) }
        let registry = try plugins.discover()
        let traces = try trace.map { try TraceFile(path: $0) }
        var options = SaleCalibrationOptions()
        (options.relativeBound, options.firstLevel, options.bits, options.store) = (rho, from, bits, store)
        options.tokens = context == 0 ? nil : context
        let calibrator = try SaleCalibrator(
            traces: traces, registry: registry, host: .openMP(workers: threads), options: options)
        var progress = Progress(total: calibrator.heads, verb: "calibrating", unit: "heads")
        progress.begin()
        let result = SaleCalibration(heads: try calibrator.run { progress.show($0) })
        let source = traces[0].file.metadata
        try result.write(
            path: output,
            metadata: [
                "model": source["model"] ?? "", "texts": traces.map { $0.file.metadata["text"] ?? "" }.joined(separator: ", "),
                "tokens": traces.map { "\(min($0.tokens, options.tokens ?? $0.tokens))" }.joined(separator: ", "),
                "position": source["position"] ?? "", "rho": "\(rho)", "from": "\(from)", "bits": "\(bits)", "store": store,
            ])
        Console.out(try report(result))
        let model = (source["model"] ?? "").replacingOccurrences(of: ".gguf", with: "")
        Console.note(
            String(
                format: "%d heads, %d of them dense; mean kept %.1f %%, mean error %.2f %%\n", result.heads.count,
                result.heads.filter { $0.tau == 0 }.count, 100 * result.meanKept, 100 * result.meanError))
        guard let heatMap else { return }
        let svg = result.heatMap(title: "\(model), \(traces[0].tokens) tokens, rho \(rho)").svg
        try OutputFile.write(svg, to: heatMap)
    }

    private func report(_ result: SaleCalibration) throws -> String {
        let format = ReportFormat(rawValue: format)!
        switch format {
        case .json: return try ReportJSON.text(result.heads, pretty: true)
        case .jsonl: return try result.heads.map { try ReportJSON.text($0, pretty: false) }.joined()
        case .md, .csv:
            var table = ReportTable(
                titles: format == .md ? ["layer", "head", "tau", "kept %", "error %"] : ["layer", "head", "tau", "kept", "error"],
                textColumns: 0)
            for head in result.heads {
                table.rows.append(
                    ["\(head.layer)", "\(head.head)", "\(head.tau)"]
                        + (format == .md
                            ? [ReportTable.number(100 * head.kept, 1), ReportTable.number(100 * head.error, 2)]
                            : ["\(head.kept)", "\(head.error)"]))
            }
            return format == .md ? table.markdown : table.csv
        }
    }
}
