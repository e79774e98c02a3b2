// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandCommVQ
import LonghandDenseStore
import LonghandFlashAttention
@testable import LonghandModel
import LonghandRope
import LonghandTestSupport
import LonghandWindow
import Testing

@Suite struct CalibrationTests {
    static let heads = 2, dim = 64, tokens = 900

    /// Rows of a few directions and a little noise: what codes of one bit can learn.
    static func rows(seed: Int) -> [Float] {
        var random = Normal(seed: seed)
        return (0..<heads).flatMap { _ -> [Float] in
            let centres: [[Float]] = (0..<12).map { _ in random.row(dim) }
            return (0..<tokens).flatMap { _ -> [Float] in
                let centre = centres[Int(random.uniform() * 12)], noise: [Float] = random.row(dim)
                return zip(centre, noise).map { $0 + 0.2 * $1 }
            }
        }
    }

    static func temporary(_ name: String) -> String {
        FileManager.default.temporaryDirectory.appendingPathComponent("commvq-\(UUID().uuidString)-\(name)").path
    }

    /// A trace of one layer, written as `longhand trace` does.
    static func writeTrace(to path: String) throws {
        let layer = TraceLayer(0, CacheLayer(queryHeads: heads, kvHeads: heads, headDimK: dim, headDimV: dim))
        let metadata = [
            "format": TraceMetadata.format, "layers": String(decoding: try JSONEncoder().encode([layer]), as: UTF8.self),
        ]
        var declarations = [SafetensorsWriter.Declaration(TraceMetadata.tokenTensor, .i32, shape: [tokens])]
        declarations += TracePart.allCases.map { .init($0.tensorName(layer: 0), .f32, shape: [heads, tokens, dim]) }
        let writer = try SafetensorsWriter(path: path, tensors: declarations, metadata: metadata)
        try [Int32](repeating: 1, count: tokens).withUnsafeBytes { try writer.write($0, tensor: 0, at: 0) }
        for (index, part) in TracePart.allCases.enumerated() {
            try rows(seed: part == .values ? 2 : 1).withUnsafeBytes { try writer.write($0, tensor: index + 1, at: 0) }
        }
        try writer.finish()
    }

    @Test("a trace becomes a file, the file becomes a store's codebooks, and these fit the trace", arguments: [1, 2])
    func endToEnd(bits: Int) throws {
        let trace = Self.temporary("trace"), output = Self.temporary("codebooks"), again = Self.temporary("again")
        defer { [trace, output, again].forEach { try? FileManager.default.removeItem(atPath: $0) } }
        try Self.writeTrace(to: trace)
        var calibration = CommVQCalibration()
        calibration.bits = bits
        calibration.keySteps = 12
        calibration.valueRounds = 4
        var errors: [CommVQCalibration.HeadError] = []
        try calibration.run(trace: TraceFile(path: trace), host: KernelHost.openMP(workers: 2), to: output) { found, _ in
            errors += found
        }
        #expect(errors.count == Self.heads)
        // Noise is 4 % of the energy; codes that know the directions leave little more than a part of it.
        for error in errors { #expect(error.keys < 0.05 && error.values < 0.12, "\(error)") }
        try calibration.run(trace: TraceFile(path: trace), host: KernelHost.openMP(workers: 1), to: again)
        #expect(try Data(contentsOf: URL(fileURLWithPath: output)) == Data(contentsOf: URL(fileURLWithPath: again)))

        var configuration = CacheConfiguration(
            layers: [CacheLayer(queryHeads: Self.heads, kvHeads: Self.heads, headDimK: Self.dim, headDimV: Self.dim)], capacity: 64)
        configuration.store = "commvq:bits=\(bits),calibration=\(output)"
        try configuration.loadCalibrations()
        let books = configuration.layers[0].parameters.map { Codebook(name: $0.name, shape: $0.shape, values: $0.values) }
        #expect(books.map(\.name) == ["commvq.key_codebook", "commvq.key_weight", "commvq.value_codebook", "commvq.value_offset"])
        let store = try Store(
            heads: Self.heads, options: [("calibration", output), ("bits", "\(bits)"), ("sinks", "0")], codebooks: books)
        let keys = Self.rows(seed: 1), values = Self.rows(seed: 2), count = 256
        func row(_ rows: [Float], _ t: Int) -> [Float] {
            (0..<Self.heads).flatMap { head -> [Float] in
                let first = (head * Self.tokens + t) * Self.dim
                return Array(rows[first..<first + Self.dim])
            }
        }
        let placed = try turned((0..<count).map { row(keys, $0) }, dim: Self.dim, from: 0, by: rotary())
        try store.append(k: placed, v: (0..<count).map { row(values, $0) })
        for head in 0..<Self.heads {
            let held = try store.read(count, head: head)
            var left = 0.0, energy = 0.0
            for t in 0..<count {
                let key = Array(placed[t][head * Self.dim..<(head + 1) * Self.dim])
                left += pow(distance(held.k[t], key), 2)
                energy += pow(norm(key), 2)
            }
            #expect(left < 0.06 * energy, "\(left / energy)")
        }
    }

    @Test("form=product: levels of few channels, the same on any number of workers, that fit the trace", arguments: [1, 2, 3])
    func product(bits: Int) throws {
        let trace = Self.temporary("trace"), output = Self.temporary("levels"), again = Self.temporary("again")
        defer { [trace, output, again].forEach { try? FileManager.default.removeItem(atPath: $0) } }
        try Self.writeTrace(to: trace)
        var calibration = CommVQCalibration(form: .product)
        (calibration.bits, calibration.keySteps, calibration.valueRounds) = (bits, 10, 10)
        var errors: [CommVQCalibration.HeadError] = []
        try calibration.run(trace: TraceFile(path: trace), host: KernelHost.openMP(workers: 2), to: output) { found, _ in
            errors += found
        }
        try calibration.run(trace: TraceFile(path: trace), host: KernelHost.openMP(workers: 1), to: again)
        #expect(try Data(contentsOf: URL(fileURLWithPath: output)) == Data(contentsOf: URL(fileURLWithPath: again)))

        let file = try CalibrationFile(path: output, method: "commvq")
        #expect(file.file.metadata["form"] == "product")
        let heads = Self.heads, dim = Self.dim, levels = bits * dim / 4
        let found = try #require(file.layers[0]), keys = Self.rows(seed: 1), values = Self.rows(seed: 2)
        #expect(found.map(\.name) == ["keys", "weight", "centre", "values", "axes", "offset"].map { "commvq.product_\($0)" })
        #expect(
            found.map(\.shape) == [
                [heads, levels, 16, dim], [heads, dim / 2], [heads, dim], [heads, levels, 16, dim], [heads, dim, dim], [heads, dim],
            ])
        for head in 0..<heads {
            func part(_ index: Int) -> [Float] {
                let size = found[index].values.count / heads
                return Array(found[index].values[head * size..<(head + 1) * size])
            }
            expectSparse(part(0), pairs: true)
            expectSparse(part(3), pairs: false)
            let axes = (0..<dim).map { Array(part(4)[$0 * dim..<($0 + 1) * dim]) }
            for (a, axis) in axes.enumerated() {
                for (b, other) in axes.enumerated() { #expect(abs(dot(axis, other) - (a == b ? 1 : 0)) < 3e-3) }
            }
            // The last tokens, which were not trained on, coded level by level from the tables of the file.
            var left = (keys: 0.0, values: 0.0), energy = left
            for token in Self.tokens - 112..<Self.tokens {
                func row(_ rows: [Float]) -> [Float] {
                    let all = (0..<heads).map { rows[($0 * Self.tokens + token) * dim..<($0 * Self.tokens + token + 1) * dim] }
                    let scale = 1 / Float(norm(all.flatMap { $0 }))
                    return all[head].map { $0 * scale }
                }
                let key = row(keys), weight = part(1), value = row(values)
                // Planar: the trace's rotary pairs are those of channels half a head apart.
                let weighted = key.indices.map { key[$0] * weight[$0 % (dim / 2)] }
                let centred = zip(weighted, part(2)).map { $0 - $1 }, shifted = zip(value, part(5)).map { $0 - $1 }
                left.keys += squares(rest(centred, of: part(0)))
                left.values += squares(rest(axes.map { Float(dot($0, shifted)) }, of: part(3)))
                energy.keys += squares(weighted)
                energy.values += squares(value)
            }
            // The command's figures are with scales of tokens that fit best.
            #expect(errors[head].keys <= left.keys / energy.keys * 1.01 && errors[head].keys > left.keys / energy.keys * 0.8)
            #expect(errors[head].values <= left.values / energy.values * 1.01)
            #expect(errors[head].values > left.values / energy.values * 0.8)
            // Noise is 4 % of the energy, and one bit does not tell all directions from one another.
            #expect(errors[head].keys < [0.04, 0.02, 0.011][bits - 1] && errors[head].values < [0.03, 0.011, 0.005][bits - 1])
        }
    }

    /// Levels [16][dim] that are within the bounds of the header.
    private func expectSparse(_ tables: [Float], pairs: Bool) {
        let dim = Self.dim, units = pairs ? dim / 2 : dim, levels = tables.count / (16 * dim)
        var holders = [Int](repeating: 0, count: units)
        for level in 0..<levels {
            let support = Set((0..<16 * dim).filter { tables[level * 16 * dim + $0] != 0 }.map { $0 % dim })
            #expect(!support.isEmpty && support.count <= Int(LHK_COMMVQ_PRODUCT_WIDTH))
            let held = Set(support.map { $0 % units })
            #expect(!pairs || held.count <= Int(LHK_COMMVQ_PRODUCT_WIDTH) / 2)
            for unit in held { holders[unit] += 1 }
        }
        #expect(holders.map { max($0 - 1, 0) }.reduce(0, +) <= levels)
    }

    /// What greedy codes of levels [16][dim] leave of a row.
    private func rest(_ row: [Float], of tables: [Float]) -> [Float] {
        var row = row
        for level in 0..<tables.count / (16 * row.count) {
            let vectors = (0..<16).map { code -> [Float] in
                let first = (level * 16 + code) * row.count
                return Array(tables[first..<first + row.count])
            }
            let candidates = vectors.map { vector in zip(row, vector).map { $0 - $1 } }
            row = candidates.min { squares($0) < squares($1) }!
        }
        return row
    }

    private func squares(_ row: [Float]) -> Double { dot(row, row) }

    @Test("a layer that the file does not have takes another store, or is refused by its number")
    func someLayers() throws {
        let trace = Self.temporary("trace"), output = Self.temporary("codebooks")
        defer { [trace, output].forEach { try? FileManager.default.removeItem(atPath: $0) } }
        try Self.writeTrace(to: trace)
        var calibration = CommVQCalibration()
        (calibration.bits, calibration.keySteps, calibration.valueRounds) = (1, 2, 1)
        try calibration.run(trace: TraceFile(path: trace), host: KernelHost.openMP(workers: 2), to: output)
        let registry = try Registry()
        for plugin in [
            lhk_commvq_plugin(), lhk_dense_store_plugin(), lhk_flash_attention_plugin(), lhk_window_plugin(), lhk_rope_plugin(),
        ] { try registry.register(plugin: plugin!) }
        func make(_ stores: [String]) throws -> Cache {
            let layer = CacheLayer(queryHeads: Self.heads, kvHeads: Self.heads, headDimK: Self.dim, headDimV: Self.dim)
            var windowed = layer
            windowed.attention.windowLeft = 15
            var configuration = CacheConfiguration(layers: [layer, windowed], capacity: 64)
            configuration.store = "commvq:bits=1,calibration=\(output)"
            configuration.layerStores = try stores.map { try LayerStore(parsing: $0) }
            try configuration.loadCalibrations()
            #expect(configuration.layers[1].parameters.isEmpty)
            #expect(configuration.layers[0].parameters.isEmpty == stores.contains { $0.hasPrefix("global") })
            return try Cache(configuration, registry: registry, host: .serial())
        }
        let error = #expect(throws: LonghandError.self) { try make([]) }
        #expect(error?.message.hasPrefix("layer 1: store 'commvq': commvq: layer 1 has no codebooks") == true)
        #expect(error?.message.hasSuffix("as in --store-layers \"1: bf16\"") == true)
        let row = Self.heads * Self.dim * 2
        #expect(try make(["windowed: bf16"]).statistics.bitsPerToken == Double(row * 16 + row + 32))
        #expect(try make(["windowed: bf16", "global: f32"]).statistics.bitsPerToken == Double(row * 48))
    }

    @Test("files that do not serve are refused with a reason")
    func refusals() throws {
        let trace = Self.temporary("trace")
        defer { try? FileManager.default.removeItem(atPath: trace) }
        try Self.writeTrace(to: trace)
        var configuration = CacheConfiguration(
            layers: [CacheLayer(queryHeads: 1, kvHeads: 1, headDimK: 64, headDimV: 64)], capacity: 64)
        configuration.store = "commvq:calibration=\(trace)"
        #expect(throws: SafetensorsError.self) { try configuration.loadCalibrations() }
        configuration.store = "commvq:calibration=/nowhere/at/all"
        #expect(throws: SafetensorsError.self) { try configuration.loadCalibrations() }
        configuration.store = "bf16"
        try configuration.loadCalibrations()
        #expect(configuration.layers[0].parameters.isEmpty)
    }
}
