// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandAdamas
import LonghandDenseStore
import LonghandFlashAttention
import LonghandWindow

/// Seeded normal numbers (SplitMix64 and the Box-Muller transform).
struct Normal {
    var state: UInt64

    mutating func bits() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func uniform() -> Double { (Double(bits() >> 11) + 0.5) * 0x1p-53 }
    mutating func next() -> Float { Float((-2 * log(uniform())).squareRoot() * cos(2 * .pi * uniform())) }
    mutating func values(_ count: Int) -> [Float] { (0..<count).map { _ in next() } }
}

/// Levels of this machine, from scalar code up.
let levels: [(name: String, isa: InstructionSet)] =
    ["scalar", "avx2", "avx512", "avx512vnni", "avx512popcnt", "neon", "neon_dotprod"].compactMap { name in
        guard let isa = try? InstructionSet(upTo: name), isa.isSubset(of: .detected) else { return nil }
        return (name, isa)
    }

func host(_ isa: InstructionSet = .detected, workers: UInt32 = 2) throws -> lhk_host {
    var raw = lhk_host()
    try call { lhk_host_openmp(workers, &raw, $0) }
    raw.isa = isa.rawValue
    return raw
}

struct Refusal: Error { var text: String }

/// Runs a C call; throws what it reports.
func call(_ body: (UnsafeMutablePointer<lhk_error>) -> lhk_status) throws {
    var error = lhk_error()
    error.struct_size = UInt32(MemoryLayout<lhk_error>.size)
    guard body(&error) != LHK_OK else { return }
    throw Refusal(text: withUnsafeBytes(of: error.text) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
}

// ---- the method as it is written down, in double precision ----

func hadamard(_ x: [Double]) -> [Double] {
    let norm = 1 / Double(x.count).squareRoot()
    return x.indices.map { i in
        norm * x.indices.reduce(0) { $0 + ((i & $1).nonzeroBitCount % 2 == 0 ? x[$1] : -x[$1]) }
    }
}

func code(_ x: Double, _ t: [Float]) -> Int { t.reduce(0) { $0 + (x > Double($1) ? 1 : 0) } }

/// The `budget` rows of least distance, ascending; of equal ones the later.
func nearest(_ distances: [Int], budget: Int) -> [Int32] {
    let order = distances.indices.sorted { (distances[$0], -$0) < (distances[$1], -$1) }
    return order.prefix(budget).sorted().map(Int32.init)
}

/// Codes in the planes of the library.
func pack(_ codes: [Int]) -> [UInt64] {
    let words = (codes.count + 63) / 64
    var planes = [UInt64](repeating: 0, count: 2 * words)
    for (c, code) in codes.enumerated() {
        planes[c / 64] |= UInt64(code >> 1) << UInt64(c % 64)
        planes[words + c / 64] |= UInt64(code & 1) << UInt64(c % 64)
    }
    return planes
}

func unpack(_ planes: ArraySlice<UInt64>, _ dim: Int) -> [Int] {
    let words = planes.count / 2, first = planes.startIndex
    return (0..<dim).map { c in
        let bit = UInt64(c % 64)
        return Int(planes[first + c / 64] >> bit & 1) * 2 + Int(planes[first + words + c / 64] >> bit & 1)
    }
}

func encode(_ rows: [Float], _ dim: Int, _ thresholds: [Float], _ isa: InstructionSet) throws -> [[Int]] {
    var rows = rows, host = try host(isa)
    let count = rows.count / dim, width = Int(lhk_adamas_code_words(Int64(dim)))
    var codes = [UInt64](repeating: 0, count: count * width)
    try rows.withUnsafeMutableBufferPointer { data in
        var x = try Tensor(data.baseAddress!, shape: [count, 1, dim]).raw
        try call { lhk_adamas_encode(&x, nil, thresholds, &codes, &host, $0) }
    }
    return (0..<count).map { unpack(codes[$0 * width..<($0 + 1) * width], dim) }
}

// ---- caches ----

/// Rows of one layer with causal attention.
struct Sequence {
    var queryHeads = 2, kvHeads = 1, dim = 64
    var keys: [Float] = [], values: [Float] = []
    var count: Int { keys.count / kvHeads / dim }

    func cache(_ decode: String, store: String = "f32", isa: InstructionSet = .detected, workers: UInt32 = 2) throws -> Cache {
        let registry = try Registry()
        for plugin in [
            lhk_adamas_plugin(), lhk_dense_store_plugin(), lhk_flash_attention_plugin(), lhk_window_plugin(),
        ] { try registry.register(plugin: plugin!) }
        var layer = CacheLayer(queryHeads: queryHeads, kvHeads: kvHeads, headDimK: dim, headDimV: dim)
        layer.attention.causal = true
        var configuration = CacheConfiguration(layers: [layer], capacity: count + 8)
        configuration.maxRows = count
        (configuration.store, configuration.decode, configuration.position) = (store, decode, "none")
        return try Cache(configuration, registry: registry, host: KernelHost(host(isa, workers: workers)))
    }

    /// A cache that holds all rows, appended in parts.
    func filled(_ decode: String, parts: Int = 1) throws -> Cache {
        let cache = try cache(decode), width = kvHeads * dim
        for part in 0..<parts {
            let rows = count * part / parts * width..<count * (part + 1) / parts * width
            try cache.append(layer: 0, keys: Array(keys[rows]), values: Array(values[rows]), rows: rows.count / width)
        }
        return cache
    }

    func attend(_ cache: Cache, _ query: [Float]) throws -> [Float] {
        var out = [Float](repeating: 0, count: queryHeads * dim)
        try cache.attend(layer: 0, queries: query, out: &out, rows: 1)
        return out
    }

    func attend(_ decode: String, _ query: [Float]) throws -> [Float] { try attend(filled(decode), query) }
}

func distance(_ a: [Float], _ b: [Float]) -> Double {
    let error = zip(a, b).reduce(0.0) { $0 + pow(Double($1.0 - $1.1), 2) }, size = b.reduce(0.0) { $0 + Double($1 * $1) }
    return (error / size).squareRoot()
}
