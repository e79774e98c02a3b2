// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Longhand
import LonghandBench

/// How long to measure.
struct BenchEffort {
    /// Rounds in which the variants of a problem take turns.
    var rounds = 5
    /// Seconds for one row. A call that takes longer has fewer rounds, down to one; one that is expected to take more than
    /// `patience` times as long is left out.
    var seconds = 1.0
    static let patience = 20.0
}

/// What was measured of one case.
struct BenchMeasurement {
    /// Nanoseconds of a call, one per round.
    var times: [Double] = []
    var calls = 0
    var total = lhk_bench_sample()
    /// GB/s of DRAM, read between the rounds.
    var dram: [Double] = []
    /// Of the store, if there is one.
    var bytes: lhk_store_bytes?
    /// Why there are no times: a variant failed its check ...
    var failure: String?
    /// ... or it would take too long.
    var omission: String?

    static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted(), middle = sorted.count / 2
        if sorted.isEmpty { return .nan }
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}

/// Times all cases of one problem in turns.
final class BenchRun {
    private let problem: BenchProblem
    private let hosts: BenchHosts
    private let roofs: BenchRoofs
    private let input: BenchInput
    private let out: BenchRows
    private var instances: [Key: [BenchInstance]] = [:]
    private let clock = lhk_roof_clock_cost()

    /// Tokens of a timed append.
    static let appended = 512

    private struct Key: Hashable {
        let part: BenchPart
        let panels: lhk_dtype
        let store: BenchPart?
    }

    init(_ problem: BenchProblem, input: BenchInput, hosts: BenchHosts, roofs: BenchRoofs) {
        (self.problem, self.input, self.hosts, self.roofs) = (problem, input, hosts, roofs)
        out = BenchRows(problem.rows, problem.queryHeads, problem.dimV)
    }

    /// One timed action of a case: runs `calls` calls and adds to the sample.
    private typealias Action = (_ calls: UInt64, _ sample: UnsafeMutablePointer<lhk_bench_sample>) throws -> Void

    private struct Entry {
        let action: Action
        var calls: UInt64 = 1
        var rounds = 0
    }

    /// Measurements of `cases`, in their order.
    func measure(_ cases: [BenchCase], gate: BenchGate, effort: BenchEffort) throws -> [BenchMeasurement] {
        var results = [BenchMeasurement](repeating: BenchMeasurement(), count: cases.count)
        var entries: [Entry?] = []
        for (index, row) in cases.enumerated() {
            results[index].failure = try gate.refusal(row)
            results[index].omission = impatience(row, effort)
            guard results[index].failure == nil, results[index].omission == nil else {
                entries.append(nil)
                continue
            }
            let action = try action(of: row)
            if let store = row.store { results[index].bytes = try instance(store, of: row)[0].bytes }
            entries.append(try warmUp(action, effort))
        }
        for round in 0..<effort.rounds {
            let dram = entries.contains { ($0?.rounds ?? 0) > round } ? roofs.readNow() : 0
            for (index, entry) in entries.enumerated() {
                guard let entry, round < entry.rounds else { continue }
                var sample = newSample()
                try entry.action(entry.calls, &sample)
                results[index].times.append(Double(sample.nanoseconds) / Double(entry.calls))
                results[index].calls += Int(entry.calls)
                results[index].dram.append(dram)
                results[index].add(sample)
            }
        }
        return results
    }

    private func impatience(_ row: BenchCase, _ effort: BenchEffort) -> String? {
        guard let estimate = row.estimate else { return nil }
        let seconds = estimate * 1e-9 / Double(row.workers) * Double(problem.batch)
        guard seconds > effort.seconds * BenchEffort.patience else { return nil }
        return "a call is expected to take \(Int(seconds.rounded())) s; raise --seconds-per-row"
    }

    private func newSample() -> lhk_bench_sample {
        var sample = lhk_bench_sample()
        sample.struct_size = UInt32(MemoryLayout<lhk_bench_sample>.size)
        sample.clock_nanoseconds = UInt32(clamping: clock)
        sample.stats.struct_size = UInt32(MemoryLayout<lhk_attention_stats>.size)
        return sample
    }

    /// The first call touches everything; the second, in case of a short one, tells how long a call takes.
    private func warmUp(_ action: @escaping Action, _ effort: BenchEffort) throws -> Entry {
        var entry = Entry(action: action), time = 0.0
        for _ in 0..<3 {
            var sample = newSample()
            try action(1, &sample)
            time = max(Double(sample.nanoseconds) * 1e-9, 1e-9)
            if time > effort.seconds / Double(effort.rounds) { break }
        }
        entry.calls = UInt64(max(1, min(1e6, effort.seconds / Double(effort.rounds) / time)))
        entry.rounds = max(1, min(effort.rounds, Int(4 * effort.seconds / time)))
        return entry
    }

    // ---- instances, which cases share ----

    /// Those of a part in a case, one for each sequence, filled.
    private func instance(_ part: BenchPart, of row: BenchCase) throws -> [BenchInstance] {
        let role = part.variant.role
        let key = Key(part: part, panels: role == .store ? LHK_DTYPE_NONE : row.panels, store: role == .selector ? row.store : nil)
        if let found = instances[key] { return found }
        let count = role == .store || role == .selector ? problem.batch : 1
        let created = try (0..<count).map { _ in
            let instance = try BenchInstance(part, problem, panels: key.panels, host: hosts.full)
            if role == .store || role == .selector {
                var k = input.keys.view(), v = input.values.view()
                try check { lhk_bench_fill(instance.raw, hosts.full.raw, &k, &v, $0) }
            }
            return instance
        }
        instances[key] = created
        return created
    }

    // ---- actions ----

    private func action(of row: BenchCase) throws -> Action {
        let host = hosts.limited(to: row.levels)
        switch row.operation {
        case .attend: return try attend(row, host)
        case .append: return try append(try instance(row.subject, of: row)[0], host)
        case .score, .accumulate: return try tiles(row, try instance(row.subject, of: row)[0], host)
        case .apply: return try apply(try instance(row.subject, of: row)[0], host)
        }
    }

    private func attend(_ row: BenchCase, _ host: KernelHost) throws -> Action {
        let stores = try instance(row.store!, of: row), attention = try instance(row.attention!, of: row)[0]
        let selectors = try row.selector.map { try instance($0, of: row) }
        let (input, out, problem) = (input, out, problem)
        return { calls, sample in
            var q = input.queries.view(), o = out.view()
            try stores.map(\.raw).withUnsafeBufferPointer { stores in
                try (selectors ?? []).map(\.raw).withUnsafeBufferPointer { chosen in
                    try withUnsafePointer(to: &q) { q in
                        try withUnsafePointer(to: &o) { o in
                            var args = lhk_bench_attend(
                                struct_size: UInt32(MemoryLayout<lhk_bench_attend>.size), batch: UInt32(problem.batch),
                                stores: stores.baseAddress!, selectors: selectors == nil ? nil : chosen.baseAddress,
                                attention: attention.raw, q: q, out: o, query_sets: Int64(input.querySets))
                            try check { lhk_bench_run_attend(&args, host.raw, calls, sample, $0) }
                        }
                    }
                }
            }
        }
    }

    /// Appends the last tokens again.
    private func append(_ instance: BenchInstance, _ host: KernelHost) throws -> Action {
        let (input, keys) = (input, problem.keys), last = max(0, problem.keys - Self.appended)..<problem.keys
        return { calls, sample in
            var k = input.keys.view(last), v = input.values.view(last)
            try check { lhk_bench_run_append(instance.raw, host.raw, &k, &v, Int64(keys), calls, sample, $0) }
        }
    }

    private func tiles(_ row: BenchCase, _ store: BenchInstance, _ host: KernelHost) throws -> Action {
        let scores = BenchRows(problem.queryHeads, 1, problem.keys), input = input
        let sums = BenchRows(hosts.full.workers, problem.queryHeads / problem.kvHeads, problem.dimV)
        scores.data.update(repeating: 1 / Float(problem.keys), count: problem.queryHeads * problem.keys)
        return { calls, sample in
            try check {
                row.operation == .score
                    ? lhk_bench_run_score(store.raw, host.raw, input.queries.data, scores.data, calls, sample, $0)
                    : lhk_bench_run_accumulate(store.raw, host.raw, scores.data, sums.data, calls, sample, $0)
            }
        }
    }

    private func apply(_ position: BenchInstance, _ host: KernelHost) throws -> Action {
        let input = input, placed = BenchRows(input.queries.rows, problem.queryHeads, problem.dimK)
        return { calls, sample in
            var x = input.queries.view(), to = placed.view()
            try check { lhk_bench_run_apply(position.raw, host.raw, &x, 0, &to, calls, sample, $0) }
        }
    }
}

extension BenchMeasurement {
    mutating func add(_ sample: lhk_bench_sample) {
        total.calls += sample.calls
        total.nanoseconds += sample.nanoseconds
        total.select_nanoseconds += sample.select_nanoseconds
        total.stats.pairs_attended += sample.stats.pairs_attended
        total.stats.pairs_visible += sample.stats.pairs_visible
        total.stats.path = sample.stats.path
    }
}
