// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandDenseStore
import LonghandFlashAttention
import LonghandWindow

/// Seeded normal numbers (SplitMix64 and the Box-Muller transform).
struct Normal {
    var state: UInt64

    mutating func uniform() -> Double {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return (Double((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53
    }

    mutating func next() -> Float { Float((-2 * log(uniform())).squareRoot() * cos(2 * .pi * uniform())) }

    mutating func values(_ count: Int) -> [Float] { (0..<count).map { _ in next() } }

    /// N(0, 1), of which a share of 0.001 has an added N(0, 100).
    mutating func outliers(_ count: Int) -> [Float] {
        (0..<count).map { _ in uniform() < 0.001 ? next() + 10 * next() : next() }
    }
}

/// Levels of this machine, from scalar code up.
let levels: [(name: String, isa: InstructionSet)] =
    ["scalar", "avx2", "avx512", "avx512vnni", "avx512bf16", "neon", "neon_dotprod", "neon_i8mm", "neon_bf16"]
    .compactMap { name in
        guard let isa = try? InstructionSet(upTo: name), isa.isSubset(of: .detected) else { return nil }
        return (name, isa)
    }

func host(_ isa: InstructionSet) throws -> KernelHost {
    var raw = lhk_host()
    try call { lhk_host_openmp(2, &raw, $0) }
    raw.isa = isa.rawValue
    return KernelHost(raw)
}

struct Refusal: Error { var status: lhk_status, text: String }

/// Runs a C call; throws what it reports.
func call(_ body: (UnsafeMutablePointer<lhk_error>) -> lhk_status) throws {
    var error = lhk_error()
    error.struct_size = UInt32(MemoryLayout<lhk_error>.size)
    let status = body(&error)
    guard status != LHK_OK else { return }
    throw Refusal(
        status: status, text: withUnsafeBytes(of: error.text) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
}

/// One head of attention over `q.count / dim` queries and as many keys.
struct Problem {
    var q: [Float], k: [Float], v: [Float]
    var dim: Int
    var scale: Float?
    var causal = false
    var rows: Int { q.count / dim }

    func cache(store: String, isa: InstructionSet = .detected) throws -> Cache {
        let registry = try Registry()
        for plugin in [lhk_dense_store_plugin()!, lhk_flash_attention_plugin(), lhk_window_plugin()] {
            try registry.register(plugin: plugin)
        }
        var layer = CacheLayer(queryHeads: 1, kvHeads: 1, headDimK: dim, headDimV: dim)
        layer.attention.causal = causal
        layer.attention.scale = scale
        var configuration = CacheConfiguration(layers: [layer], capacity: rows)
        configuration.maxRows = rows
        configuration.store = store
        configuration.position = "none"
        return try Cache(configuration, registry: registry, host: host(isa))
    }

    func attend(store: String, isa: InstructionSet = .detected) throws -> [Float] {
        let cache = try cache(store: store, isa: isa)
        var out = [Float](repeating: 0, count: q.count)
        try cache.append(layer: 0, keys: k, values: v, rows: rows)
        try cache.attend(layer: 0, queries: q, out: &out, rows: rows)
        return out
    }

    /// The formula in double precision.
    func reference() throws -> [Float] {
        let buffers = [Buffer(q), Buffer(k), Buffer(v), Buffer(q)]
        let views = try buffers.map { try Tensor($0.data, shape: [rows, 1, dim]).raw }
        var args = lhk_flash_args()
        args.struct_size = UInt32(MemoryLayout<lhk_flash_args>.size)
        (args.q, args.k, args.v, args.out) = (views[0], views[1], views[2], views[3])
        try call { lhk_flash_attention_reference(&args, $0) }
        return buffers[3].values
    }
}

/// Floats at an address that stays.
final class Buffer {
    let data: UnsafeMutablePointer<Float>
    let count: Int

    init(_ values: [Float]) {
        count = values.count
        data = .allocate(capacity: max(count, 1))
        data.initialize(from: values, count: count)
    }

    deinit { data.deallocate() }

    var values: [Float] { Array(UnsafeBufferPointer(start: data, count: count)) }
}

func rootMeanSquare(_ a: [Float], _ b: [Float]) -> Double {
    (zip(a, b).reduce(0.0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) } / Double(a.count)).squareRoot()
}
