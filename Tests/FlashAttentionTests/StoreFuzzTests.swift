// SPDX-License-Identifier: Apache-2.0
import CLonghand
import LonghandKernelFuzz
import Testing

/// The same random problems and old bugs for the attention role over a dense store, filled by uneven appends and
/// truncations: over its panels, and over its tile operations with the panels hidden.
@Suite struct StoreFuzzTests {
    @Test(arguments: [false, true], 0..<UInt64(2)) func randomProblems(_ hidePanels: Bool, _ chunk: UInt64) throws {
        let seed = FuzzTests.seed ^ 0x5704, count = FuzzTests.casesPerChunk, first = chunk * count
        let outcome = try fuzz(lhk_fuzz_store_attention(hidePanels), .random(seed: seed, cases: first..<first + count))
        print("seed \(seed), cases \(first) to \(first + outcome.cases - 1), panels hidden: \(hidePanels)")
        #expect(outcome.status == LHK_OK, "\(outcome.failures) of \(outcome.cases) cases failed\n\(outcome.text)")
        #expect(outcome.cases == count)
    }

    @Test(arguments: CorpusTests.entries.filter { $0.elsewhere == nil }) func corpus(_ entry: CorpusTests.Entry) throws {
        for hidePanels in [false, true] {
            let outcome = try fuzz(lhk_fuzz_store_attention(hidePanels), .corpus(index: entry.index))
            #expect(outcome.status == LHK_OK && outcome.cases > 0, "panels hidden: \(hidePanels)\n\(outcome.text)")
        }
    }
}
