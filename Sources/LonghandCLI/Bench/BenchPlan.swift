// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Longhand
import LonghandBench

/// One row to be: an operation of a variant on a problem.
struct BenchCase {
    enum Operation: String { case attend, append, score, accumulate, apply }

    let problem: BenchProblem
    let operation: Operation
    /// The variant that the row is about; one of the next three, or a position method.
    let subject: BenchPart
    var store: BenchPart?
    var panels = LHK_DTYPE_NONE
    var selector: BenchPart?
    var attention: BenchPart?
    let workers: Int
    /// Levels that the host offers while it runs.
    let levels: InstructionSet
    /// Nanoseconds on one worker that the subject's variant expects, for attention.
    var estimate: Double?
    /// All variants are those that a registry would choose.
    var isBest = false
    /// Timed for the ratios of others, and not shown.
    var isHidden = false

    /// `prefill` or `decode` for attention, else the operation.
    var phase: String { operation == .attend ? problem.phase.rawValue : operation.rawValue }

    /// What --filter matches.
    var name: String {
        let methods = [store, selector, attention].compactMap { $0?.spec }
        let words = [subject.variant.role.rawValue, phase, problem.label] + (methods.isEmpty ? [subject.spec] : methods)
        return (words + [subject.variant.id, "t\(workers)"]).joined(separator: "/")
    }

    /// Every variant that runs.
    var parts: [BenchPart] { [store, selector, attention].compactMap { $0 } + (store == nil ? [subject] : []) }
}

/// Walks a registry: which rows there are for a problem.
///
/// - attention: every store x every attention x every variant of it, over all keys;
/// - selector: every other selector x every variant of it, over every store and attention with their best variants;
/// - store: append, and for one row of queries the tile operations, for every variant; for a store without panels, which
///   attention reads through these operations, whole attention too;
/// - position: apply.
struct BenchPlan {
    let methods: [BenchMethod]
    /// Specifications to take instead of all methods of a role.
    let chosen: [Role: [String]]
    let hosts: BenchHosts
    /// Takes what was left out, and why.
    let note: (String) -> Void

    /// The selector that selects nothing away.
    static let everything = "all"

    func cases(for problem: BenchProblem) throws -> [BenchCase] {
        var result: [BenchCase] = []
        for stores in try candidates(.store, problem, LHK_DTYPE_NONE) {
            var small = problem
            (small.rows, small.keys) = (1, 16)
            let panels = try BenchInstance(stores[0].part, small, host: hosts.full).panels
            let attentions = try candidates(.attention, problem, panels)
            let selectors = try candidates(.selector, problem, panels)
            let all = selectors.first { $0[0].part.spec == Self.everything }?[0].part
            for variants in attentions {
                for (part, cost) in variants {
                    var row = attend(problem, part, stores[0].part, panels, all, part, cost)
                    row.isBest = part == variants[0].part
                    result.append(row)
                }
                for (part, _) in selectors.joined() where part.spec != Self.everything {
                    result.append(attend(problem, part, stores[0].part, panels, part, variants[0].part, nil))
                }
                if panels == LHK_DTYPE_NONE {
                    for (part, _) in stores.dropFirst() {
                        result.append(attend(problem, part, part, panels, all, variants[0].part, nil))
                    }
                }
            }
            if problem.phase == .decode && problem.batch == 1 { result += tiles(problem, stores, selectors, panels) }
        }
        if problem.phase == .prefill && problem.batch == 1 {
            for (part, _) in try candidates(.position, problem, LHK_DTYPE_NONE).joined() {
                result.append(single(problem, .apply, part))
            }
        }
        return result
    }

    private typealias Candidate = (part: BenchPart, cost: Double)

    /// For every method of a role, the variants that can do the problem, the one a registry would choose first. A method
    /// is taken without options; where it cannot do without, with the first set of its own that fits.
    private func candidates(_ role: Role, _ problem: BenchProblem, _ panels: lhk_dtype) throws -> [[Candidate]] {
        var result: [[Candidate]] = []
        for method in methods where method.role == role {
            let wanted = chosen[role]?.filter { $0.split(separator: ":").first.map(String.init) == method.name }
            let specs = wanted ?? [method.name] + method.optionSets.map { "\(method.name):\($0)" }
            for spec in specs {
                let (fitting, reason) = fits(method, spec, problem, panels)
                if let reason { note("\(role) \(spec) is left out: \(reason)") }
                if fitting.isEmpty { continue }
                result.append(fitting)
                if wanted == nil { break }
            }
        }
        return result
    }

    private func fits(
        _ method: BenchMethod, _ spec: String, _ problem: BenchProblem, _ panels: lhk_dtype
    ) -> ([Candidate], reason: String?) {
        var fitting: [Candidate] = [], reason: String?
        for variant in method.variants where hosts.full.isa.isSuperset(of: variant.isaRequired) {
            let part = BenchPart(variant: variant, spec: spec)
            do {
                fitting.append((part, try part.cost(problem, panels: panels, host: hosts.full)))
            } catch { reason = "\(error)" }
        }
        fitting.sort { ($0.part.variant.exactness, $0.cost) < ($1.part.variant.exactness, $1.cost) }
        return (fitting, fitting.isEmpty ? reason ?? "this CPU has none of its instruction sets" : nil)
    }

    private func attend(
        _ problem: BenchProblem, _ subject: BenchPart, _ store: BenchPart, _ panels: lhk_dtype, _ selector: BenchPart?,
        _ attention: BenchPart, _ estimate: Double?
    ) -> BenchCase {
        let levels = [selector, attention].compactMap { $0?.variant.levels(on: hosts.full) }
            .reduce(InstructionSet()) { $0.union($1) }
        return BenchCase(
            problem: problem, operation: .attend, subject: subject, store: store, panels: panels, selector: selector,
            attention: attention, workers: hosts.full.workers, levels: levels, estimate: estimate)
    }

    private func single(_ problem: BenchProblem, _ operation: BenchCase.Operation, _ part: BenchPart) -> BenchCase {
        BenchCase(
            problem: problem, operation: operation, subject: part, workers: hosts.full.workers,
            levels: part.variant.levels(on: hosts.full))
    }

    private func tiles(
        _ problem: BenchProblem, _ stores: [Candidate], _ selectors: [[Candidate]], _ panels: lhk_dtype
    ) -> [BenchCase] {
        var result: [BenchCase] = []
        for (part, _) in stores {
            for operation in [BenchCase.Operation.append, .score, .accumulate] {
                var row = single(problem, operation, part)
                (row.store, row.panels) = (part, panels)
                result.append(row)
            }
        }
        for (part, _) in selectors.joined() where part.variant.hasIndex {
            var row = single(problem, .append, part)
            (row.store, row.panels, row.selector) = (stores[0].part, panels, part)
            result.append(row)
        }
        return result
    }
}
