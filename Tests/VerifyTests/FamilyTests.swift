// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandCommon
import LonghandVerify
import Testing

/// The families of this package, from their plugins: random cases of every variant, under every set of levels of this machine.
/// Cases with names run in the tests of `longhand verify`.
///
/// LONGHAND_FUZZ_SEED and LONGHAND_VERIFY_CASES choose other problems.
@Suite(.serialized) struct FamilyTests {
    static let seed = number("LONGHAND_FUZZ_SEED") ?? 20_260_302
    static let cases = number("LONGHAND_VERIFY_CASES") ?? 24

    static func number(_ name: String) -> UInt64? { ProcessInfo.processInfo.environment[name].flatMap(UInt64.init) }

    @Test(arguments: Target.all) func randomCases(_ target: Target) throws {
        let outcomes = try target.run(seed: Self.seed) { verify, levels, outcomes, error in
            for index in 0..<Self.cases {
                let status = lhk_verify_run(verify, target.index, index, levels, target.levelCount, outcomes, error)
                guard status == LHK_OK else { return status }
            }
            return LHK_OK
        }
        for (level, outcome) in zip(target.levels, outcomes) {
            #expect(outcome.failures == 0, "\(target) under \(level), case \(outcome.failedCase): \(outcome.text)")
            #expect(outcome.cases > Self.cases / 2, "\(target) under \(level): \(outcome.skipped) skipped, \(outcome.reason)")
        }
    }

    /// A folder that Package.swift does not list is not built.
    @Test func everyFolderIsBuilt() {
        #expect(Target.plugins.count > 1)
        for plugin in Target.plugins {
            #expect(
                FileManager.default.fileExists(atPath: plugin),
                "\(plugin) is missing: 'families' of Package.swift must name the folder; 'swift build' builds it")
        }
    }

    /// Each family's method hands out a reference, apart from stores and `all`, which need none.
    @Test func references() {
        let without = Set(Target.all.filter { !$0.hasReference && $0.role != "store" }.map(\.id))
        #expect(without == ["longhand.all.any.scalar/1"])
        #expect(Set(Target.all.map(\.role)) == ["attention", "position", "selector", "store"])
    }

    /// What others ask before they use a variant.
    @Test func quickChecks() throws {
        try Target.withVerify(seed: Self.seed) { verify, host in
            for target in Target.all {
                var index: UInt32 = .max
                #expect(lhk_verify_find(verify, target.id, &index) == LHK_OK && index == target.index)
                var outcome = lhk_verify_outcome()
                let level = target.levels.last.flatMap(Target.isa(of:)) ?? host.isa
                #expect(lhk_verify_quick(verify, index, level, 0, &outcome, nil) == LHK_OK, "\(target): \(Outcome(outcome))")
                #expect(outcome.cases + outcome.skipped == 4)
            }
            var index: UInt32 = 0
            #expect(lhk_verify_find(verify, "no.such/1", &index) == LHK_ERROR_NOT_FOUND)
        }
    }

    @Test func wrongCalls() throws {
        let target = try #require(Target.all.first { $0.id.hasSuffix("portable/2") && $0.role == "attention" })
        func failing(_ call: @escaping (OpaquePointer, UnsafeMutablePointer<lhk_verify_outcome>) -> lhk_status) throws {
            let outcomes = try target.run(seed: 1) { verify, _, outcomes, _ in
                #expect(call(verify, outcomes) != LHK_OK)
                return LHK_OK
            }
            #expect(outcomes.allSatisfy { $0.cases == 0 })
        }
        var unknown: lhk_isa = 1 << 40
        try failing { lhk_verify_run($0, target.index, 0, &unknown, 1, $1, nil) }
        var scalar = LHK_ISA_SCALAR
        try failing { lhk_verify_run($0, 10_000, 0, &scalar, 1, $1, nil) }
        try failing { lhk_verify_run_named($0, target.index, "no_such_case", &scalar, 1, $1, nil) }
    }
}

/// What was found under one set of levels.
struct Outcome {
    var cases: UInt64, skipped: UInt64, failures: UInt64
    var reason: String, text: String, failedCase: String

    init(_ raw: lhk_verify_outcome) {
        func string(_ field: some Any) -> String {
            withUnsafeBytes(of: field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        }
        (cases, skipped, failures) = (raw.cases, raw.skipped, raw.failures)
        (reason, text, failedCase) = (string(raw.reason), string(raw.text), string(raw.failed_case))
    }
}

/// A variant of the families, with the levels of this machine that it runs under.
struct Target: Sendable, CustomStringConvertible, CustomTestStringConvertible {
    var index: UInt32
    var role: String
    var id: String
    var hasReference: Bool
    var levels: [String]
    var levelCount: UInt32 { UInt32(levels.count) }
    var description: String { id }
    var testDescription: String { "\(role) \(id)" }

    static let all: [Target] = {
        try! withVerify(seed: 0) { verify, host in
            (0..<lhk_verify_count(verify)).map { index in
                let raw = UnsafeMutablePointer<lhk_verify_target>.allocate(capacity: 1)
                defer { raw.deallocate() }
                precondition(lhk_verify_get(verify, index, raw) == LHK_OK)
                let required = raw.pointee.variant.pointee.isa_required
                let names = [
                    "scalar", "avx2", "avx512", "avx512vnni", "avx512popcnt", "avx512bf16", "neon", "neon_dotprod", "neon_i8mm",
                    "neon_bf16",
                ]
                return Target(
                    index: index, role: String(cString: raw.pointee.role),
                    id: String(cString: raw.pointee.variant.pointee.id), hasReference: raw.pointee.has_reference == 1,
                    levels: names.filter { isa(of: $0).map { $0 & ~host.isa == 0 && required & ~$0 == 0 } ?? false })
            }
        }
    }()

    static func isa(of name: String) -> lhk_isa? {
        var isa: lhk_isa = 0
        return lhk_isa_parse(name, &isa, nil) == LHK_OK ? isa : nil
    }

    /// The plugins of all families, which are the folders with an entry: built beside the executable of the tests.
    static let plugins: [String] = {
        let files = FileManager.default
        let kernels = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../CKernels").path
        let executable = (try? files.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        let built = URL(fileURLWithPath: executable).deletingLastPathComponent().path
        return ((try? files.contentsOfDirectory(atPath: kernels)) ?? []).sorted()
            .filter { files.fileExists(atPath: "\(kernels)/\($0)/Entry/entry.c") }
            .map { "\(built)/libLonghand\($0)Plugin.so" }
    }()

    /// Calls `body` with a verifier of all families and three threads.
    static func withVerify<Result>(seed: UInt64, _ body: (OpaquePointer, lhk_host) throws -> Result) throws -> Result {
        var registry: OpaquePointer?
        var verify: OpaquePointer?
        var host = lhk_host()
        try check(lhk_registry_create(&registry, nil))
        defer { lhk_registry_destroy(registry) }
        for plugin in plugins where FileManager.default.fileExists(atPath: plugin) {
            try check(lhk_registry_load(registry!, plugin, nil))
        }
        try check(lhk_host_openmp(3, &host, nil))
        try check(lhk_verify_create(registry!, &host, seed, &verify, nil))
        defer { lhk_verify_destroy(verify) }
        return try body(verify!, host)
    }

    static func check(_ status: lhk_status) throws {
        struct Failure: Error { var status: lhk_status }
        if status != LHK_OK { throw Failure(status: status) }
    }

    /// Runs cases under all levels; one outcome for each.
    func run(
        seed: UInt64,
        _ cases: (
            OpaquePointer, UnsafePointer<lhk_isa>, UnsafeMutablePointer<lhk_verify_outcome>, UnsafeMutablePointer<lhk_error>
        ) -> lhk_status
    ) throws -> [Outcome] {
        let isas = levels.compactMap(Self.isa(of:))
        var outcomes = [lhk_verify_outcome](repeating: lhk_verify_outcome(), count: levels.count)
        var error = lhk_error()
        error.struct_size = UInt32(MemoryLayout<lhk_error>.size)
        try Self.withVerify(seed: seed) { verify, _ in try Self.check(cases(verify, isas, &outcomes, &error)) }
        return outcomes.map(Outcome.init)
    }
}
