// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Longhand

struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Check every kernel that was discovered against its reference.",
        usage: "longhand verify [<options>]",
        discussion: """
            Every variant of every method runs under rising instruction sets, from scalar code \
            up to all that this machine offers: on cases with names, which are bugs that \
            attention kernels really had, and on random ones drawn from edge sets. Results are \
            compared with the method's reference in double precision, and with what its role \
            promises: any number of workers gives the same bits, a row alone is the row among \
            others, split keys merge, what was truncated, forked or saved comes back, nothing \
            outside the operands is touched.

            The seed is printed. A failure is described once per variant, with the one command \
            that runs the failing case again. A case depends on the seed, its number, the \
            plugins found and LONGHAND_ISA.

            EXAMPLES
              longhand verify
              longhand verify --seconds 36000 --filter flash
              longhand verify --cases 1000 --seed 7 -o json
              longhand verify --list
            """)

    @Option(
        name: .shortAndLong, parsing: .unconditional,
        help: .init("Seed of the random cases (default: another each time).", valueName: "number"))
    var seed: UInt64?
    @Option(parsing: .unconditional, help: .init("Random cases per variant, after those with names.", valueName: "count"))
    var cases: UInt64?
    @Option(
        parsing: .unconditional,
        help: .init("Random cases until this time is over, those with names included (default: 60).", valueName: "time"))
    var seconds: Double?
    @Option(help: .init("Only variants whose id, role or method name it matches.", valueName: "regex")) var filter: String?
    @Option(name: .customLong("case"), help: .init("Only this case: its name, or the number of a random one.", valueName: "case"))
    var only: String?
    @Option(
        name: .shortAndLong, parsing: .unconditional,
        help: .init("Worker threads of the pool; 0 is one per processor.", valueName: "count"))
    var threads = 0
    @Option(
        name: [.customShort("o"), .customLong("output")],
        help: .init("Format on stdout: md, csv, json or jsonl.", valueName: "format"))
    var format = "md"
    @Flag(help: "List the variants with their instruction sets, and the cases with names.") var list = false
    @OptionGroup var plugins: PluginOptions

    func validate() throws {
        if threads < 0 || threads > 1024 { throw ValidationError("-t \(threads): threads must be 0 to 1024") }
        if ReportFormat(rawValue: format) == nil { throw ValidationError("-o \(format): must be md, csv, json or jsonl") }
        if let seconds, !(seconds > 0 && seconds.isFinite) { throw ValidationError("--seconds \(seconds): must be more than 0") }
        if [cases != nil, seconds != nil, only != nil, list].count(where: { $0 }) > 1 {
            throw ValidationError("--cases, --seconds, --case and --list exclude each other")
        }
        if only == "" { throw ValidationError("--case: the name is empty") }
    }

    func run() throws {
        let registry = try plugins.discover()
        let host = try KernelHost.openMP(workers: threads)
        let seed = seed ?? UInt64.random(in: 0..<1_000_000_000)
        let verification = try Verification(registry, host: host, seed: seed, command: replayCommand)
        let targets = try matching(verification)
        if list { return Console.out(try VerifyListing(targets).text(ReportFormat(rawValue: format)!)) }
        let single = try only.map { try find($0, among: targets) }
        note("seed \(seed), \(targets.count) variants, levels \(verification.levels.map(\.name).joined(separator: " "))")
        if !registry.rejections.isEmpty {
            note("\(registry.rejections.count) plugin files were rejected and not checked, see 'longhand plugins --rejected'")
        }
        var walk = VerifyWalk(verification, targets)
        if let single { try walk.run(single) } else { try walk.run(cases: cases, seconds: seconds ?? 60) }
        let report = VerifyReport(seed: seed, isa: host.isa.names, threads: host.workers, targets: targets)
        Console.out(try report.text(ReportFormat(rawValue: format)!))
        if targets.contains(where: { $0.failure != nil }) { throw ExitCode(1) }
    }

    private func note(_ text: String) { Console.note("verify: \(text)\n") }

    private func matching(_ verification: Verification) throws -> [VerifyTarget] {
        let all = verification.targets
        guard !all.isEmpty else {
            throw Failure(
                "no plugins were found, so there is nothing to check (looked for libLonghand*Plugin.so in "
                    + "\(plugins.searched.joined(separator: ", ")))")
        }
        guard let filter else { return all }
        guard let pattern = try? Regex(filter) else { throw Failure("--filter '\(filter)' is not a regular expression") }
        let found = all.filter { target in [target.id, target.role, target.method].contains { $0.contains(pattern) } }
        guard !found.isEmpty else {
            throw Failure("--filter '\(filter)' matches none of the \(all.count) variants (see 'longhand verify --list')")
        }
        return found
    }

    /// The case called `name`, or the random one of that number.
    private func find(_ name: String, among targets: [VerifyTarget]) throws -> VerifyCase {
        if let index = UInt64(name) { return .random(index) }
        if targets.contains(where: { $0.cases.contains(name) }) { return .named(name) }
        let place = VerifyListing(targets).cases.first { $0.name == name }?.checked
        throw Failure(
            "--case \(name): none of these \(targets.count) variants has a case of that name "
                + "(\(place ?? "see 'longhand verify --list'"))")
    }

    /// The beginning of a command line that finds the same plugins and levels as this one.
    private var replayCommand: String {
        let environment = ProcessInfo.processInfo.environment
        let variables = ["LONGHAND_ISA", "LONGHAND_PLUGIN_PATH"].compactMap { name in
            environment[name].map { "\(name)=\(quoted($0)) " }
        }
        let paths = plugins.pluginPath.map { " --plugin-path \(quoted($0))" }
        let workers = threads == 0 ? "" : " -t \(threads)"
        return variables.joined() + quoted(CommandLine.arguments[0]) + " verify" + paths.joined() + workers
    }

    /// `text` as one word of a shell.
    private func quoted(_ text: String) -> String {
        let isPlain =
            !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
                case UInt8(ascii: "0")...UInt8(ascii: "9"): true
                default: "_-./:+,@=".utf8.contains(byte)
                }
            }
        return isPlain ? text : "'" + text.replacingOccurrences(of: "'", with: "'\\''") + "'"
    }
}

/// Which cases run when.
struct VerifyWalk {
    let verification: Verification
    let targets: [VerifyTarget]
    private let start = ContinuousClock.now
    private var shown = ContinuousClock.now

    init(_ verification: Verification, _ targets: [VerifyTarget]) { (self.verification, self.targets) = (verification, targets) }

    private var elapsed: Double { (ContinuousClock.now - start).seconds }

    /// The cases with names first, then random ones in rounds over all variants: so many, or until the time is over, but
    /// at least one round.
    mutating func run(cases: UInt64?, seconds: Double) throws {
        Interruption.watch()
        for (number, target) in targets.enumerated() {
            for name in target.cases {
                try run(.named(name), on: target)
                progress("cases with names, variant \(number + 1) of \(targets.count)")
            }
        }
        var round: UInt64 = 0
        while cases.map({ round < $0 }) ?? (round == 0 || elapsed < seconds), targets.contains(where: \.isOpen) {
            for target in targets {
                if cases == nil && round > 0 && elapsed >= seconds { break }
                try run(.random(round), on: target)
            }
            if Interruption.wasAsked { break }
            round += 1
            progress("\(round) random cases per variant")
        }
        if Console.errorIsTerminal { Console.note("\r\u{1B}[K") }
        if Interruption.wasAsked { Console.note("verify: interrupted; this is what was found until then\n") }
    }

    /// One case, on every variant that has it.
    func run(_ single: VerifyCase) throws {
        for target in targets {
            if case .named(let name) = single, !target.cases.contains(name) { continue }
            try run(single, on: target)
        }
    }

    private func run(_ testCase: VerifyCase, on target: VerifyTarget) throws {
        guard target.isOpen, !Interruption.wasAsked else { return }
        try verification.run(testCase, on: target)
        guard let failure = target.failure else { return }
        let clear = Console.errorIsTerminal ? "\r\u{1B}[K" : ""
        Console.note("\(clear)verify: FAILED \(target.id) under \(failure.level), case \(failure.testCase)\n")
    }

    /// A line that rewrites itself on a terminal, a line every ten seconds otherwise.
    private mutating func progress(_ text: String) {
        let now = ContinuousClock.now
        guard (now - shown).seconds >= (Console.errorIsTerminal ? 0.1 : 10) else { return }
        shown = now
        let line = "verify: \(Int(elapsed)) s, \(text)"
        Console.note(Console.errorIsTerminal ? "\r\(line)\u{1B}[K" : line + "\n")
    }
}

/// Set by the first Control-C.
nonisolated(unsafe) private var interruption: sig_atomic_t = 0

/// Control-C ends a campaign after the case that runs, with its report; a second one at once.
private enum Interruption {
    static var wasAsked: Bool { interruption != 0 }

    static func watch() {
        signal(SIGINT) { _ in
            interruption = 1
            signal(SIGINT, SIG_DFL)
        }
    }
}
