// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Longhand
import LonghandModel

extension CommVQCalibration.Form: ExpressibleByArgument {}

struct CalibrateCommVQCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "commvq", abstract: "Train the codebooks of the store commvq.",
        discussion: """
            All layers of the trace are trained on its keys before positions and its values. An eighth of the tokens, the \
            last ones, is kept out of training; the table says how much of the energy of their keys and values the codes \
            leave. Train on text other than what is evaluated. The same trace and seed give the same file on any machine.

            FORM is that of the store's codes, its option form. "additive" trains codebooks over all channels, of 1 or 2 bits; \
            "product" trains levels of few channels each, of 1 to 3 bits, which are read faster and trained faster.

            EXAMPLES
              longhand trace -f corpus.txt -c 8192 --dtype bf16 -o trace.safetensors
              longhand calibrate commvq --trace trace.safetensors --bits 2 -o smollm2-2bit.safetensors
              longhand run -p "Hello" --store commvq:bits=2,calibration=smollm2-2bit.safetensors
              longhand calibrate commvq --trace trace.safetensors --form product --bits 3 -o product-3bit.safetensors
            """)

    @Option(help: .init("Trace to train on.", valueName: "file")) var trace: String
    @Option(help: .init("Form of the codes: additive or product.", valueName: "form")) var form = CommVQCalibration.Form.additive
    @Option(help: .init("Bits per channel: 1 or 2; 3 with --form product.", valueName: "count")) var bits = 2
    @Option(name: .shortAndLong, help: .init("The safetensors file to write.", valueName: "file")) var output: String
    @Option(name: .shortAndLong, parsing: .unconditional, help: .init("Seed of the first codebooks.", valueName: "number"))
    var seed: UInt64 = 1
    @Option(help: .init("Steps per level of a key's codebook (default: 30).", valueName: "count")) var steps: Int?
    @Option(help: .init("Rounds of training for values (default: 8; 20 with --form product).", valueName: "count"))
    var rounds: Int?
    @Option(name: .shortAndLong, help: .init("Worker threads; 0: one per processor.", valueName: "count")) var threads = 0
    @Flag(help: "Write the table as JSON.") var json = false

    func validate() throws {
        if !form.bits.contains(bits) {
            let bounds = form == .additive ? "1 or 2, or up to 3 with --form product" : "1 to \(form.bits.upperBound)"
            throw ValidationError("--bits \(bits): must be \(bounds)")
        }
        if let steps, !(1...10000).contains(steps) { throw ValidationError("--steps \(steps): must be 1 to 10000") }
        if let rounds, !(0...10000).contains(rounds) { throw ValidationError("--rounds \(rounds): must be 0 to 10000") }
        if threads < 0 || threads > 1024 { throw ValidationError("-t \(threads): threads must be 0 to 1024") }
    }

    func run() throws {
        let file = try TraceFile(path: trace)
        var calibration = CommVQCalibration(form: form)
        calibration.bits = bits
        calibration.seed = seed
        if let steps { calibration.keySteps = steps }
        if let rounds { calibration.valueRounds = rounds }
        var all: [CommVQCalibration.HeadError] = []
        let start = ContinuousClock.now
        try calibration.run(trace: file, host: KernelHost.openMP(workers: threads), to: output) { errors, done in
            all += errors
            let seconds = (ContinuousClock.now - start).seconds
            Console.note("layer \(errors[0].layer): \(done) of \(file.layers.count), \(Int(seconds)) s, seed \(seed)\n")
        }
        if json {
            Console.out(try ReportJSON.text(all, pretty: true))
            return
        }
        var table = ReportTable(titles: ["layer", "head", "keys, left %", "values, left %"], textColumns: 0)
        table.rows = all.map {
            ["\($0.layer)", "\($0.head)", ReportTable.number(100 * $0.keys, 2), ReportTable.number(100 * $0.values, 2)]
        }
        let count = Double(max(all.count, 1))
        table.rows.append([
            "all", "", ReportTable.number(100 * all.map(\.keys).reduce(0, +) / count, 2),
            ReportTable.number(100 * all.map(\.values).reduce(0, +) / count, 2),
        ])
        Console.out(table.markdown)
    }
}
