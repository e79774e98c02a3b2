// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandBench

/// A value of a row; in JSON a string, a number or null.
enum BenchValue: Encodable {
    case text(String), count(Int), number(Double), missing

    init(_ value: Double?) { self = value.map { $0.isFinite ? .number($0) : .missing } ?? .missing }
    init(_ value: String?) { self = value.map { .text($0) } ?? .missing }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .text(let text): try container.encode(text)
        case .count(let count): try container.encode(count)
        case .number(let number): try container.encode(number)
        case .missing: try container.encodeNil()
        }
    }

    /// For CSV.
    var full: String {
        switch self {
        case .text(let text): text
        case .count(let count): "\(count)"
        case .number(let number): "\(number)"
        case .missing: ""
        }
    }

    /// For reading.
    var short: String {
        switch self {
        case .number(let number): Self.rounded(number)
        case .missing: "-"
        default: full
        }
    }

    /// Three digits, more only before the point.
    private static func rounded(_ value: Double) -> String {
        let digits = abs(value) >= 99.95 ? 0 : abs(value) >= 9.995 ? 1 : 2
        return value == 0 || abs(value) >= 0.01 ? String(format: "%.\(digits)f", value) : String(format: "%.2g", value)
    }
}

/// What is known of one case after its measurement.
struct BenchRow {
    let row: BenchCase
    let result: BenchMeasurement
    let source: String
    /// Median nanoseconds of exact attention on an f32 store at the same problem, if that was timed.
    let exact: Double?
    let roofs: BenchRoofs

    private var problem: BenchProblem { row.problem }
    private var isTimed: Bool { !result.times.isEmpty }
    var median: Double? { isTimed ? BenchMeasurement.median(result.times) : nil }
    /// Half of the times of the rounds lie within so much of the median, both sides together.
    private var spread: Double? {
        guard let median, result.times.count > 1 else { return nil }
        let sorted = result.times.sorted(), quarter = sorted.count / 4
        return (sorted[sorted.count - 1 - quarter] - sorted[quarter]) / median
    }
    private var bytesPerToken: Double? { result.bytes.map { $0.bits_per_token / 8 } }

    /// Multiplications and additions of a call; nil for what moves bytes.
    private var operations: Double? {
        let tile = 2.0 * Double(problem.queryHeads * problem.keys)
        switch row.operation {
        case .attend: return problem.operations
        case .score: return tile * Double(problem.dimK)
        case .accumulate: return tile * Double(problem.dimV)
        case .append, .apply: return nil
        }
    }

    /// Bytes of a call: keys and values as stored, each once; what an append reads and writes; what positions read and write.
    private var bytes: Double? {
        let stored = bytesPerToken ?? 0, keyShare = Double(problem.dimK) / Double(problem.dimK + problem.dimV)
        switch row.operation {
        case .attend:
            let keys = problem.phase == .decode ? problem.visibleKeys : problem.keys
            return stored * Double(keys * problem.batch)
        case .score: return stored * Double(problem.keys) * keyShare
        case .accumulate: return stored * Double(problem.keys) * (1 - keyShare)
        case .append:
            let read = Double(4 * problem.kvHeads * (problem.dimK + problem.dimV))
            return Double(tokens) * (read + (row.subject.variant.role == .store ? stored : 0))
        case .apply: return Double(8 * tokens * problem.queryHeads * problem.dimK)
        }
    }

    /// Tokens that a call advances by.
    private var tokens: Int {
        switch row.operation {
        case .attend: problem.rows * problem.batch
        case .append: min(BenchRun.appended, problem.keys)
        case .apply: problem.rows
        case .score, .accumulate: 0
        }
    }

    private var isComputeBound: Bool { row.operation == .attend && problem.phase == .prefill }

    /// Part of the visible pairs that were attended.
    private var attendedShare: Double {
        let stats = result.total.stats
        return stats.pairs_visible > 0 ? Double(stats.pairs_attended) / Double(stats.pairs_visible) : 1
    }

    /// The element type that the store's numbers are multiplied as.
    private var type: lhk_dtype {
        if row.panels != LHK_DTYPE_NONE { return row.panels }
        let held = row.store?.variant.pointer.pointee.kv_dtypes ?? 0
        return [LHK_DTYPE_I8, LHK_DTYPE_BF16].first { held >> UInt64($0) & 1 == 1 } ?? LHK_DTYPE_F32
    }

    private var roof: (name: String, value: Double) {
        guard isComputeBound else {
            let level = roofs.level(of: bytes ?? 0)
            return (level, roofs.read(level: level, dram: BenchMeasurement.median(result.dram)))
        }
        // A store without panels multiplies in its own operations.
        let levels = row.panels == LHK_DTYPE_NONE ? row.store!.variant.levels(on: roofs.host) : row.levels
        return roofs.attention(type, levels, keyShare: Double(problem.dimK) / Double(problem.dimK + problem.dimV))
    }

    /// Operations, or bytes, of what was attended per second, in % of the roof.
    private var roofPercent: Double? {
        guard let median, let work = isComputeBound ? operations : bytes, roof.value > 0 else { return nil }
        return 100 * work * (row.operation == .attend ? attendedShare : 1) / median / roof.value
    }

    private func perCall(_ total: UInt64) -> BenchValue {
        row.operation == .attend && result.calls > 0 ? BenchValue(Double(total) / Double(result.calls)) : .missing
    }

    /// Attentions of which a registry takes one variant while another took less than 90 % of its time: their costs are off.
    static func misjudged(_ rows: [BenchRow]) -> [String] {
        let attentions = rows.filter { $0.row.subject.variant.role == .attention && $0.isTimed }
        return attentions.filter(\.row.isBest).compactMap { chosen in
            let rivals = attentions.filter {
                $0.row.store == chosen.row.store && $0.row.subject.spec == chosen.row.subject.spec
                    && $0.row.subject.variant.exactness == chosen.row.subject.variant.exactness
            }
            guard let best = rivals.min(by: { $0.median! < $1.median! }), best.median! < 0.9 * chosen.median! else { return nil }
            let share = Int((100 * best.median! / chosen.median!).rounded())
            return
                "cost misjudged: \(chosen.row.name) is what a registry takes, \(best.row.subject.variant.id) took \(share) % of its time"
        }
    }

    struct Column: Sendable {
        let key: String
        /// In the table for reading; nil: only in the other formats.
        let title: String?
        let value: @Sendable (BenchRow) -> BenchValue

        init(_ key: String, _ title: String? = nil, _ value: @escaping @Sendable (BenchRow) -> BenchValue) {
            (self.key, self.title, self.value) = (key, title, value)
        }
    }

    /// Columns of words in the table for reading, which come first.
    static let textColumns = columns.prefix { $0.key != "workers" }.filter { $0.title != nil }.count

    static let columns: [Column] = [
        Column("name") { .text($0.row.name) },
        Column("role", "role") { .text($0.row.subject.variant.role.rawValue) },
        Column("phase", "phase") { .text($0.row.phase) },
        Column("problem", "problem") { .text($0.problem.label) },
        Column("method") { .text($0.row.subject.spec) },
        Column("store", "store") { BenchValue($0.row.store?.spec) },
        Column("selector", "selector") { BenchValue($0.row.selector?.spec) },
        Column("attention") { BenchValue($0.row.attention?.spec) },
        Column("variant", "variant") { .text($0.row.subject.variant.id) },
        Column("version") { .text($0.row.subject.variant.version) },
        Column("store_variant") { BenchValue($0.row.store?.variant.id) },
        Column("selector_variant") { BenchValue($0.row.selector?.variant.id) },
        Column("attention_variant") { BenchValue($0.row.attention?.variant.id) },
        Column("path") { BenchValue($0.result.total.stats.path.map { String(cString: $0) }) },
        Column("isa") { .text($0.row.levels.names.last!) },
        Column("input") { .text($0.source) },
        Column("workers", "t") { .count($0.row.workers) },
        Column("shape") { .text($0.problem.shape) },
        Column("query_heads") { .count($0.problem.queryHeads) },
        Column("kv_heads") { .count($0.problem.kvHeads) },
        Column("head_dim_k") { .count($0.problem.dimK) },
        Column("head_dim_v") { .count($0.problem.dimV) },
        Column("window") { $0.problem.window.map { .count($0) } ?? .missing },
        Column("rows") { .count($0.problem.rows) },
        Column("keys") { .count($0.problem.keys) },
        Column("batch") { .count($0.problem.batch) },
        Column("real_time", nil) { BenchValue($0.median) },
        Column("min_time", nil) { BenchValue($0.result.times.min()) },
        Column("time_unit") { _ in .text("ns") },
        Column("median_us", "us") { BenchValue($0.median.map { $0 * 1e-3 }) },
        Column("min_us", "min us") { BenchValue($0.result.times.min().map { $0 * 1e-3 }) },
        Column("spread_percent", "spread %") { BenchValue($0.spread.map { 100 * $0 }) },
        Column("rounds") { .count($0.result.times.count) },
        Column("iterations", "calls") { .count($0.result.calls) },
        Column("tokens_per_second", "tok/s") { row in
            BenchValue(row.tokens == 0 ? nil : row.median.map { Double(row.tokens) / $0 * 1e9 })
        },
        Column("gflops", "GFLOP/s") { row in BenchValue(row.median.flatMap { time in row.operations.map { $0 / time } }) },
        Column("gigabytes_per_second", "GB/s") { row in BenchValue(row.median.flatMap { time in row.bytes.map { $0 / time } }) },
        Column("roof", "roof") { $0.isTimed ? .text($0.roof.name) : .missing },
        Column("roof_value") { $0.isTimed ? BenchValue($0.roof.value) : .missing },
        Column("roof_percent", "% of roof") { BenchValue($0.roofPercent) },
        Column("speed_of_exact", "x exact") { row in
            BenchValue(row.row.operation == .attend ? row.median.flatMap { time in row.exact.map { $0 / time } } : nil)
        },
        Column("select_percent", "select %") { row in
            guard row.row.operation == .attend, row.isTimed else { return .missing }
            return BenchValue(100 * Double(row.result.total.select_nanoseconds) / Double(max(1, row.result.total.nanoseconds)))
        },
        Column("attended_percent", "attended %") { row in
            BenchValue(row.row.operation == .attend && row.isTimed ? 100 * row.attendedShare : nil)
        },
        Column("pairs_attended") { $0.perCall($0.result.total.stats.pairs_attended) },
        Column("pairs_visible") { $0.perCall($0.result.total.stats.pairs_visible) },
        Column("bytes_per_token", "B/token") { BenchValue($0.bytesPerToken) },
        Column("estimated_time") { row in BenchValue(row.row.estimate.map { $0 / Double(row.row.workers) }) },
        Column("error_occurred") { .count($0.result.failure == nil ? 0 : 1) },
        Column("error_message") { BenchValue($0.remark) },
    ]

    /// Why there is no time.
    var remark: String? { result.failure.map { "check failed: \($0)" } ?? result.omission.map { "left out: \($0)" } }
}
