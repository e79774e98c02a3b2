// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Longhand
import LonghandBench

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Time every kernel variant on problems of real models.",
        discussion: """
            Every store, selector, attention and position method that is found is timed on every shape, in every variant \
            that this CPU can run, after a quick check of the variant. The machine's limits are measured first, and reading \
            DRAM again between the rounds. See Benchmarks/README.md for what the columns mean.

              longhand bench --filter 'attention/prefill/smollm2'
              longhand bench --filter 'decode/llama.*/all/' -t 1,2 -o csv
              longhand bench --roofs

            A row's name is ROLE/PHASE/SHAPE/TOKENS/STORE/SELECTOR/ATTENTION/VARIANT/tWORKERS; --filter finds its \
            regular expression anywhere in it, and --list prints the names. Results go to stdout, all else to stderr. The \
            exit code is 1 if a variant failed its check.
            """)

    @Option(help: "Regular expression of the rows to run.") var filter: String?
    @Option(help: "Shapes file; may be given several times (default: all of Benchmarks/Shapes).") var shapes: [String] = []
    @Option(name: .shortAndLong, help: "Numbers of worker threads, as in 1,2; 0: one per processor.") var threads = "0"
    @Option(
        name: [.customShort("r"), .customLong("rounds")],
        help: "Rounds in which the variants of a problem take turns; medians are over them.")
    var rounds = 5
    @Option(help: "Seconds to measure a row, warm-up aside.") var secondsPerRow = 1.0
    @Option(name: [.customShort("o"), .customLong("output")], help: "Format on stdout: md, csv, json or jsonl.") var format = "md"
    @Option(help: "What to compute on: trace, or gaussian.") var input = "trace"
    @Option(help: "A trace of 'longhand trace' for all shapes (default: recorded with the cached models).") var trace: String?
    @Option(help: "A store to time, with options, instead of all; may be given several times.") var store: [String] = []
    @Option(help: "A selector, likewise.") var selector: [String] = []
    @Option(help: "An attention, likewise.") var attention: [String] = []
    @Flag(help: "Print the names of the rows and end.") var list = false
    @Flag(help: "Measure and print the machine's limits only.") var roofs = false
    @OptionGroup var plugins: PluginOptions

    func validate() throws {
        if rounds < 1 || rounds > 1000 { throw ValidationError("-r \(rounds): must be 1 to 1000") }
        if !(secondsPerRow > 0 && secondsPerRow <= 3600) {
            throw ValidationError("--seconds-per-row \(secondsPerRow): must be above 0 and at most 3600")
        }
        if ReportFormat(rawValue: format) == nil { throw ValidationError("-o \(format): must be md, csv, json or jsonl") }
        if input != "trace" && input != "gaussian" { throw ValidationError("--input \(input): must be trace or gaussian") }
        if input == "gaussian" && trace != nil { throw ValidationError("--trace and --input gaussian exclude each other") }
        _ = try workers()
        if let filter { _ = try Self.pattern(filter) }
    }

    func run() throws {
        guard lhk_bench_is_optimised() == 1, !_isDebugAssertConfiguration() else {
            throw Failure("built without optimisation, so its times would mean nothing: build with 'swift build -c release'")
        }
        let effort = BenchEffort(rounds: rounds, seconds: secondsPerRow)
        let counts = try workers()
        var report = BenchReport(context: BenchContext(host: try .openMP(), effort: effort))
        if roofs {
            for count in counts {
                report.context.roofs += try BenchRoofs(BenchHosts(workers: count), caches: report.context.caches).all
            }
            Console.note(report.context.text)
            return Console.out(try report.roofs(reportFormat))
        }
        let registry = try plugins.discover(requireAny: true)
        let plan = try counts.map { try planned(registry, BenchHosts(workers: $0)) }
        guard plan.contains(where: { !$0.problems.isEmpty }) else { throw Failure("no row is called like --filter '\(filter ?? "")'") }
        if list {
            let rows = plan.flatMap { $0.problems.flatMap(\.cases) }.filter { !$0.isHidden }
            return Console.out(rows.map { $0.name + "\n" }.joined())
        }
        Console.note(report.context.text)
        try measure(plan, registry, effort, &report)
        if reportFormat != .jsonl { Console.out(try report.text(reportFormat)) }
        guard report.rows.allSatisfy({ $0.result.failure == nil }) else { throw ExitCode(1) }
    }

    private var reportFormat: ReportFormat { ReportFormat(rawValue: format)! }

    /// The rows for one number of workers.
    private struct Part {
        let hosts: BenchHosts
        var problems: [(problem: BenchProblem, cases: [BenchCase])] = []
    }

    private func planned(_ registry: Registry, _ hosts: BenchHosts) throws -> Part {
        let methods = BenchMethod.all(of: registry)
        var chosen: [Role: [String]] = [:]
        for (role, specs) in [(Role.store, store), (.selector, selector), (.attention, attention)] where !specs.isEmpty {
            for spec in specs
            where !methods.contains(where: { $0.role == role && spec.split(separator: ":").first.map(String.init) == $0.name }) {
                let known = methods.filter { $0.role == role }.map(\.name).joined(separator: ", ")
                throw Failure("\(role) '\(spec)' was not found; there are \(known)")
            }
            chosen[role] = specs
        }
        var noted: Set<String> = []
        let plan = BenchPlan(methods: methods, chosen: chosen, hosts: hosts) { text in
            if noted.insert(text).inserted { Console.note("\(text)\n") }
        }
        let pattern = try filter.map(Self.pattern)
        var part = Part(hosts: hosts)
        for problem in try problems() {
            let all = try plan.cases(for: problem)
            let wanted = try all.filter { row in try pattern.map { try $0.firstMatch(in: row.name) != nil } ?? true }
            if !wanted.isEmpty { part.problems.append((problem, Self.withReference(wanted, of: all))) }
        }
        return part
    }

    /// Adds exact attention on an f32 store, hidden, when attention is among the rows and it is not.
    private static func withReference(_ wanted: [BenchCase], of all: [BenchCase]) -> [BenchCase] {
        guard wanted.contains(where: { $0.operation == .attend }), var exact = all.first(where: \.isReference),
            !wanted.contains(where: \.isReference)
        else { return wanted }
        exact.isHidden = true
        return [exact] + wanted
    }

    private func measure(_ plan: [Part], _ registry: Registry, _ effort: BenchEffort, _ report: inout BenchReport) throws {
        let traces =
            try input == "gaussian"
            ? nil
            : trace.map { try BenchTraces(path: $0) } ?? BenchTraces(registry: registry) { Console.note("\($0)\n") }
        let total = plan.flatMap(\.problems).flatMap(\.cases).filter { !$0.isHidden }.count
        var done = 0
        for part in plan where !part.problems.isEmpty {
            let roofs = try BenchRoofs(part.hosts, caches: report.context.caches)
            let gate = try BenchGate(registry, host: part.hosts.full)
            report.context.roofs += roofs.all
            Console.note(roofs.all.map { "\($0.name) \(Int($0.value.rounded())) \($0.unit)" }.joined(separator: ", ") + "\n")
            for (problem, cases) in part.problems {
                Console.note("\(done) of \(total) rows; \(problem.phase) \(problem.label), \(part.hosts.full.workers) workers\n")
                let input =
                    try traces.map { try BenchInput(problem, traces: $0, registry: registry, host: part.hosts.full) }
                    ?? BenchInput(gaussian: problem)
                let run = BenchRun(problem, input: input, hosts: part.hosts, roofs: roofs)
                let results = try run.measure(cases, gate: gate, effort: effort)
                let rows = Self.rows(cases, results, input.source, roofs)
                report.rows += rows
                done += rows.count
                for text in BenchRow.misjudged(rows) { Console.note("\(text)\n") }
                if reportFormat == .jsonl { Console.out(try BenchReport(context: report.context, rows: rows).text(.jsonl)) }
            }
        }
    }

    private static func rows(
        _ cases: [BenchCase], _ results: [BenchMeasurement], _ source: String, _ roofs: BenchRoofs
    ) -> [BenchRow] {
        let exact = zip(cases, results).first { $0.0.isReference && !$0.1.times.isEmpty }
            .map { BenchMeasurement.median($0.1.times) }
        return zip(cases, results).filter { !$0.0.isHidden }.map {
            BenchRow(row: $0.0, result: $0.1, source: source, exact: exact, roofs: roofs)
        }
    }

    private func problems() throws -> [BenchProblem] {
        guard shapes.isEmpty else { return try shapes.flatMap { try BenchShapes.read(path: $0) } }
        guard let folder = Executable.packageFolder?.appending(path: "Benchmarks/Shapes").path,
            let names = try? FileManager.default.contentsOfDirectory(atPath: folder)
        else { throw Failure("Benchmarks/Shapes is not found beside this executable: give a file with --shapes") }
        return try names.filter { $0.hasSuffix(".txt") }.sorted().flatMap { try BenchShapes.read(path: "\(folder)/\($0)") }
    }

    private func workers() throws -> [Int] {
        let counts = threads.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
        guard counts.allSatisfy({ $0.map { (0...1024).contains($0) } ?? false }) else {
            throw ValidationError("-t \(threads): must be numbers from 0 to 1024, separated by commas")
        }
        return counts.map { $0! }
    }

    private static func pattern(_ text: String) throws -> Regex<AnyRegexOutput> {
        do { return try Regex(text) } catch { throw ValidationError("--filter \(text): not a regular expression") }
    }
}

extension BenchCase {
    /// Whether this is what others are compared with: exact attention by `flash`, in its best variant, over all keys of an
    /// f32 store.
    var isReference: Bool {
        operation == .attend && store?.spec == "f32" && selector?.spec == BenchPlan.everything && attention?.spec == "flash"
            && isBest
    }
}
