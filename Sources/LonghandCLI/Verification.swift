// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Longhand
import LonghandVerify

/// Instruction sets up to one level, as kernels may use them.
struct VerifyLevel {
    let name: String
    let isa: lhk_isa

    /// What `host` offers, one level more each time, from nothing to everything.
    static func rising(on host: KernelHost) -> [VerifyLevel] {
        let offered = host.isa.rawValue
        let names = host.isa.isEmpty ? [] : host.isa.names
        return [VerifyLevel(name: "scalar", isa: LHK_ISA_SCALAR)]
            + names.compactMap { name in
                (try? InstructionSet(upTo: name)).map { VerifyLevel(name: name, isa: $0.rawValue & offered) }
            }
    }
}

/// A case: one of those with a name, or a random one.
enum VerifyCase: Equatable {
    case named(String)
    case random(UInt64)

    var name: String {
        switch self {
        case .named(let name): name
        case .random(let index): "\(index)"
        }
    }
}

/// The first failure of a variant.
struct VerifyFailure: Encodable {
    let level, testCase, text, replay: String
    enum CodingKeys: String, CodingKey { case level, testCase = "case", text, replay }
}

/// A variant to check and what was found so far, under each of the levels that it runs under.
final class VerifyTarget {
    let index: UInt32
    let role, method, id, origin: String
    let hasReference: Bool
    /// Names of cases that are not random.
    let cases: [String]
    /// Empty: this machine, or LONGHAND_ISA, rules it out.
    let levels: [VerifyLevel]
    let required: String
    fileprivate(set) var outcomes: [lhk_verify_outcome]
    fileprivate(set) var failure: VerifyFailure?

    fileprivate init(_ raw: lhk_verify_target, index: UInt32, cases: [String], levels: [VerifyLevel]) {
        self.index = index
        self.cases = cases
        role = String(cString: raw.role)
        method = String(cString: raw.method.pointee.name)
        id = String(cString: raw.variant.pointee.id)
        origin = String(cString: raw.origin)
        hasReference = raw.has_reference == 1
        let needed = raw.variant.pointee.isa_required
        required = InstructionSet(rawValue: needed).description
        self.levels = levels.filter { needed & ~$0.isa == 0 }
        var outcome = lhk_verify_outcome()
        outcome.struct_size = UInt32(MemoryLayout<lhk_verify_outcome>.size)
        outcomes = [lhk_verify_outcome](repeating: outcome, count: self.levels.count)
    }

    /// Whether more cases may still tell something.
    var isOpen: Bool { failure == nil && !levels.isEmpty }
    /// Whether some case ran.
    var wasChecked: Bool { outcomes.contains { $0.cases > 0 } }
    /// Why the last skipped case was.
    var reason: String { outcomes.last.map { string($0.reason) } ?? "needs \(required)" }
}

/// Checks of everything that a registry holds. One at a time in a process: faults of kernels are caught by signal handlers.
final class Verification {
    let seed: UInt64
    let targets: [VerifyTarget]
    let levels: [VerifyLevel]
    private let raw: OpaquePointer
    private let registry: Registry, host: KernelHost

    /// - Parameter command: how a command line begins that finds the same plugins and levels.
    init(_ registry: Registry, host: KernelHost, seed: UInt64, command: String) throws {
        var handle: OpaquePointer?
        try Self.call { lhk_verify_create(registry.raw, host.raw, seed, &handle, $0) }
        let raw = handle!
        let levels = VerifyLevel.rising(on: host)
        (self.raw, self.registry, self.host, self.seed, self.levels) = (raw, registry, host, seed, levels)
        targets = (0..<lhk_verify_count(raw)).compactMap { index in
            let target = UnsafeMutablePointer<lhk_verify_target>.allocate(capacity: 1)
            defer { target.deallocate() }
            guard lhk_verify_get(raw, index, target) == LHK_OK else { return nil }
            var cases: [String] = []
            while let name = lhk_verify_case_name(raw, index, UInt32(cases.count)) { cases.append(String(cString: name)) }
            return VerifyTarget(target.pointee, index: index, cases: cases, levels: levels)
        }
        try Self.call { lhk_verify_set_command(raw, command, $0) }
    }

    deinit { lhk_verify_destroy(raw) }

    /// Runs a case under all levels of a target and adds to its outcomes.
    func run(_ testCase: VerifyCase, on target: VerifyTarget) throws {
        let isas = target.levels.map(\.isa), count = UInt32(isas.count)
        try target.outcomes.withUnsafeMutableBufferPointer { outcomes in
            let results = outcomes.baseAddress!
            try Self.call { error in
                switch testCase {
                case .random(let index): lhk_verify_run(raw, target.index, index, isas, count, results, error)
                case .named(let name): lhk_verify_run_named(raw, target.index, name, isas, count, results, error)
                }
            }
        }
        guard let failed = target.outcomes.firstIndex(where: { $0.failures > 0 }) else { return }
        let outcome = target.outcomes[failed], name = string(outcome.failed_case)
        target.failure = VerifyFailure(
            level: target.levels[failed].name, testCase: name, text: string(outcome.text),
            replay: replay(target, name))
    }

    private func replay(_ target: VerifyTarget, _ name: String) -> String {
        var line = [CChar](repeating: 0, count: 4096)
        lhk_verify_replay(raw, target.index, name, &line, line.count)
        return String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private static func call(_ body: (UnsafeMutablePointer<lhk_error>) -> lhk_status) throws {
        var error = lhk_error()
        error.struct_size = UInt32(MemoryLayout<lhk_error>.size)
        guard body(&error) != LHK_OK else { return }
        throw Failure("the check could not run: \(string(error.text))")
    }
}

/// The text in a field of characters.
private func string(_ field: some Any) -> String {
    withUnsafeBytes(of: field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}
