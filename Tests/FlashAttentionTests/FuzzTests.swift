// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandKernelFuzz
import Testing

/// Random problems for the kernel at every instruction level of this machine.
///
/// LONGHAND_FUZZ_SEED and LONGHAND_FUZZ_CASES (per chunk) choose other problems; a failure names seed and case.
@Suite struct FuzzTests {
    static let seed = environment("LONGHAND_FUZZ_SEED") ?? 20_260_301
    static let casesPerChunk = environment("LONGHAND_FUZZ_CASES") ?? 600

    static func environment(_ name: String) -> UInt64? {
        guard let text = ProcessInfo.processInfo.environment[name] else { return nil }
        guard let value = UInt64(text) else { fatalError("\(name)=\(text) is not a whole number") }
        return value
    }

    @Test(arguments: 0..<UInt64(4)) func randomProblems(_ chunk: UInt64) throws {
        let first = chunk * Self.casesPerChunk
        let outcome = try fuzz(
            lhk_fuzz_flash_attention(), .random(seed: Self.seed, cases: first..<first + Self.casesPerChunk))
        print("seed \(Self.seed), cases \(first) to \(first + outcome.cases - 1), \(outcome.calls) calls under \(Level.available)")
        #expect(outcome.status == LHK_OK, "\(outcome.failures) of \(outcome.cases) cases failed\n\(outcome.text)")
        #expect(outcome.cases == Self.casesPerChunk)
    }

    /// The reference is its own oracle, so this shows that problems, bounds and laws agree with themselves.
    @Test func referencePasses() throws {
        let outcome = try fuzz(lhk_fuzz_reference(), .random(seed: 5, cases: 0..<400), levels: [Level.available[0]])
        #expect(outcome.status == LHK_OK, "\(outcome.text)")
    }

    /// A case depends on seed and index alone: it fails alone as it failed among others.
    @Test func casesReplay() throws {
        let subject = lhk_fuzz_demonstration(LHK_FUZZ_FAULT_WINDOW)
        let outcome = try fuzz(subject, .random(seed: 9, cases: 0..<200))
        let index = outcome.firstFailure
        let alone = try fuzz(subject, .random(seed: 9, cases: index..<index + 1))
        #expect(outcome.failures > 0 && alone.failures == 1 && alone.firstFailure == index)
        #expect(outcome.text.hasPrefix(alone.text) && alone.text.contains(describe(seed: 9, case: index)))
        #expect(describe(seed: 9, case: 4) == describe(seed: 9, case: 4))
        #expect(describe(seed: 9, case: 4) != describe(seed: 8, case: 4))
    }
}

/// Bugs that attention kernels really had.
@Suite struct CorpusTests {
    struct Entry: Sendable, CustomTestStringConvertible {
        var index: UInt32
        var name: String
        var elsewhere: String?
        var testDescription: String { name }
    }

    static let entries: [Entry] = (0..<lhk_fuzz_corpus_count()).map { index in
        let entry = lhk_fuzz_corpus_get(index)
        return Entry(index: index, name: String(cString: entry.name), elsewhere: entry.elsewhere.map { String(cString: $0) })
    }

    @Test(arguments: entries.filter { $0.elsewhere == nil }) func corpus(_ entry: Entry) throws {
        let outcome = try fuzz(lhk_fuzz_flash_attention(), .corpus(index: entry.index))
        #expect(outcome.status == LHK_OK && outcome.cases > 0, "\(outcome.text)")
    }

    /// All 30 are accounted for, by a case or by a reason.
    @Test func complete() {
        let numbers = Set((0..<lhk_fuzz_corpus_count()).map { lhk_fuzz_corpus_get($0).number })
        #expect(numbers == Set(1...30))
        for entry in Self.entries where entry.elsewhere != nil { #expect(entry.elsewhere!.count > 20) }
    }
}

/// The checker can fail: it passes a sound kernel and finds each fault.
@Suite struct FaultTests {
    static let bestAndWorst = [Level.available.first!, Level.available.last!]

    @Test func soundKernelPasses() throws {
        let outcome = try fuzz(
            lhk_fuzz_demonstration(LHK_FUZZ_FAULT_NONE), .random(seed: 3, cases: 0..<1000), levels: Self.bestAndWorst)
        #expect(outcome.status == LHK_OK, "\(outcome.text)")
    }

    @Test(arguments: 1..<LHK_FUZZ_FAULT_COUNT) func faultIsFound(_ fault: UInt32) throws {
        let outcome = try fuzz(
            lhk_fuzz_demonstration(fault), .random(seed: 3, cases: 0..<600), levels: Self.bestAndWorst)
        #expect(outcome.status == LHK_ERROR_CORRUPT && outcome.failures > 0, "fault \(fault) went unnoticed")
        #expect(outcome.text.contains("seed 3 case \(outcome.firstFailure):"))
    }
}
