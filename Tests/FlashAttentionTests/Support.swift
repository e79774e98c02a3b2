// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandCommon
import LonghandFlashAttention
import LonghandTestSubjects
import LonghandTestSupport
import LonghandVerify

/// An instruction level that this machine can run: all sets up to it.
struct Level: Sendable, CustomStringConvertible {
    var name: String
    var isa: lhk_isa
    var description: String { name }

    /// From scalar code up to the best this machine has.
    static let available: [Level] = {
        let names = ["scalar", "avx2", "avx512", "avx512bf16", "neon", "neon_dotprod", "neon_i8mm", "neon_bf16"]
        let detected = lhk_isa_detect()
        return names.compactMap { name in
            var isa: lhk_isa = 0
            guard lhk_isa_parse(name, &isa, nil) == LHK_OK, isa & ~detected == 0 else { return nil }
            return Level(name: name, isa: isa)
        }
    }()
}

/// Outcome of a run of the fuzz harness.
struct FuzzOutcome {
    var status: lhk_status
    var cases: UInt64
    var calls: UInt64
    var failures: UInt64
    var firstFailure: UInt64
    var text: String
}

/// What to run: random cases, or one entry of the corpus.
enum FuzzCases {
    case random(seed: UInt64, cases: Range<UInt64>)
    case corpus(index: UInt32)
}

/// Runs the harness on `subject` under `levels`, with the OpenMP runtime as the pool to compare with.
func fuzz(_ subject: lhk_fuzz_subject, _ cases: FuzzCases, levels: [Level] = Level.available) throws -> FuzzOutcome {
    var pool = lhk_host()
    try check { lhk_host_openmp(3, &pool, $0) }
    var text = [CChar](repeating: 0, count: 8192)
    return levels.map(\.isa).withUnsafeBufferPointer { isas in
        withUnsafePointer(to: &pool) { pool in
            text.withUnsafeMutableBufferPointer { text in
                var options = lhk_fuzz_options()
                options.struct_size = UInt32(MemoryLayout<lhk_fuzz_options>.size)
                options.isa_count = UInt32(isas.count)
                options.isas = isas.baseAddress
                options.pool = pool
                options.subject = subject
                var report = lhk_fuzz_report()
                report.text = text.baseAddress
                report.text_size = text.count
                let status: lhk_status
                switch cases {
                case .random(let seed, let cases):
                    options.seed = seed
                    options.first_case = cases.lowerBound
                    options.case_count = UInt64(cases.count)
                    status = lhk_fuzz_run(&options, &report)
                case .corpus(let index):
                    status = lhk_fuzz_corpus_run(index, &options, &report)
                }
                return FuzzOutcome(
                    status: status, cases: report.cases, calls: report.calls, failures: report.failures,
                    firstFailure: report.first_failure, text: String(cString: text.baseAddress!))
            }
        }
    }
}

func describe(seed: UInt64, case index: UInt64) -> String {
    var text = [CChar](repeating: 0, count: 1024)
    lhk_fuzz_describe(seed, index, &text, text.count)
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
