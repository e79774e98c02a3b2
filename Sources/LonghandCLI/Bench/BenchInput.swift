// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandBench
import LonghandModel

/// Contiguous f32 rows [rows][heads][dim], touched.
final class BenchRows {
    let data: UnsafeMutablePointer<Float>
    let rows, heads, dim: Int

    init(_ rows: Int, _ heads: Int, _ dim: Int) {
        (self.rows, self.heads, self.dim) = (rows, heads, dim)
        data = .allocate(capacity: rows * heads * dim)
        data.initialize(repeating: 0, count: rows * heads * dim)
    }

    deinit { data.deallocate() }

    func view(_ range: Range<Int>? = nil) -> lhk_tensor {
        let range = range ?? 0..<rows
        return lhk_tensor(
            data: data + range.lowerBound * heads * dim, dtype: LHK_DTYPE_F32, rank: 3,
            shape: (Int64(range.count), Int64(heads), Int64(dim), 0), stride: (Int64(heads * dim), Int64(dim), 1, 0))
    }
}

/// Queries, keys and values of a problem, with positions applied.
///
/// From a trace, a head of more channels than the traced model's is made of several KV heads (of one layer after another)
/// side by side, each with its own queries. Where a group has more query heads than the traced one, the further ones
/// are those of tokens a little before. A context longer than the trace reads the traced tokens again and again, with
/// positions that go on; so no key repeats, but contents do.
struct BenchInput {
    /// Where the numbers come from, for the row.
    let source: String
    /// [keys][kvHeads][dim]
    let keys, values: BenchRows
    /// [querySets * rows][queryHeads][dimK]: several sets for a decode, so that calls differ.
    let queries: BenchRows
    let querySets: Int

    /// Tokens between the query heads of a group that come from one traced head.
    private static let shift = 17

    private init(_ problem: BenchProblem, source: String) {
        self.source = source
        querySets = problem.phase == .decode ? 8 : 1
        keys = BenchRows(problem.keys, problem.kvHeads, problem.dimK)
        values = BenchRows(problem.keys, problem.kvHeads, problem.dimV)
        queries = BenchRows(querySets * problem.rows, problem.queryHeads, problem.dimK)
    }

    init(gaussian problem: BenchProblem) {
        self.init(problem, source: "gaussian")
        for (seed, rows) in [keys, values, queries].enumerated() {
            lhk_bench_gaussian(rows.data, UInt64(rows.rows * rows.heads * rows.dim), UInt64(seed))
        }
    }

    init(_ problem: BenchProblem, traces: BenchTraces, registry: Registry, host: KernelHost) throws {
        let (name, sources) = traces.sources(for: problem)
        self.init(problem, source: "trace \(name)")
        let width = sources[0].layer.headDimK, pieces = (problem.dimK + width - 1) / width
        for head in 0..<problem.kvHeads {
            for piece in 0..<pieces {
                let from = sources[(head * pieces + piece) % sources.count]
                let builder = try Builder(from, problem, registry, host)
                try builder.fill(keys, head: head, piece: piece, .keysBefore, from.kvHead, at: 0, tokens: 0..<problem.keys)
                if piece * from.layer.headDimV < problem.dimV {
                    try builder.fill(values, head: head, piece: piece, .values, from.kvHead, at: 0, tokens: 0..<problem.keys)
                }
                let group = problem.queryHeads / problem.kvHeads
                for member in 0..<group {
                    let traced = from.queryHeads.lowerBound + member % from.queryHeads.count
                    let back = member / from.queryHeads.count * Self.shift
                    for set in 0..<querySets {
                        let first = problem.keys - problem.rows, content = first - back - set
                        try builder.fill(
                            queries, head: head * group + member, piece: piece, .queriesBefore, traced,
                            at: set * problem.rows, tokens: content..<content + problem.rows, position: first)
                    }
                }
            }
        }
    }

    /// Copies channels of one traced KV head and its query heads, with positions where they belong.
    private final class Builder {
        private let source: BenchTraces.Source
        private let position: PositionMethod?
        private var cached: (part: TracePart, head: Int, rows: [Float])?

        init(_ source: BenchTraces.Source, _ problem: BenchProblem, _ registry: Registry, _ host: KernelHost) throws {
            self.source = source
            var layer = source.layer.cacheLayer
            (layer.queryHeads, layer.kvHeads) = (1, 1)
            position = try PositionMethod.bind(
                source.trace.position, layer: layer, maxRows: source.trace.tokens, capacity: problem.keys, registry: registry,
                host: host)
        }

        /// Fills the channels of `piece` of one head in rows from `row` on with tokens of the trace, taken round and round,
        /// at positions from `position` on.
        func fill(
            _ out: BenchRows, head: Int, piece: Int, _ part: TracePart, _ traced: Int, at row: Int, tokens: Range<Int>,
            position first: Int = 0
        ) throws {
            let dim = part == .values ? source.layer.headDimV : source.layer.headDimK, count = source.trace.tokens
            if cached?.part != part || cached?.head != traced {
                cached = (part, traced, try source.trace.rows(layer: source.layer.layer, part, head: traced))
            }
            var scratch = [Float](repeating: 0, count: count * dim)
            let width = min(dim, out.dim - piece * dim)
            var done = 0
            while done < tokens.count {
                let start = ((tokens.lowerBound + done) % count + count) % count, rows = min(count - start, tokens.count - done)
                try cached!.rows.withUnsafeBufferPointer { from in
                    try scratch.withUnsafeMutableBufferPointer { scratch in
                        try place(from.baseAddress! + start * dim, scratch.baseAddress!, rows, dim, first + done, part)
                        for i in 0..<rows {
                            let to = out.data + ((row + done + i) * out.heads + head) * out.dim + piece * dim
                            to.update(from: scratch.baseAddress! + i * dim, count: width)
                        }
                    }
                }
                done += rows
            }
        }

        private func place(
            _ from: UnsafePointer<Float>, _ to: UnsafeMutablePointer<Float>, _ rows: Int, _ dim: Int, _ first: Int,
            _ part: TracePart
        ) throws {
            guard part != .values, let position else { return to.update(from: from, count: rows * dim) }
            let view = try Tensor(UnsafeMutableRawPointer(mutating: from), shape: [rows, 1, dim])
            try position.apply(view, first: first, out: try Tensor(to, shape: [rows, 1, dim]))
        }
    }
}
