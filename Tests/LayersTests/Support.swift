// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandLayers
import Testing

/// The ISA masks this machine can run, from the baseline up. `LONGHAND_ISA` (scalar, avx2, avx512) sets the highest.
let isaMasks: [UInt64] = {
    let flags =
        (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?.split(separator: "\n")
        .first { $0.hasPrefix("flags") }?.split(separator: " ") ?? []
    let limit = ProcessInfo.processInfo.environment["LONGHAND_ISA"]
    var masks: [UInt64] = [0]
    if limit == "scalar" { return masks }
    if ["avx2", "fma", "f16c"].allSatisfy({ flags.contains($0) }) { masks.append(LHK_ISA_AVX2) }
    if limit == "avx2" { return masks }
    if ["avx512f", "avx512bw", "avx512vl", "avx512dq"].allSatisfy({ flags.contains($0) }) {
        masks.append(LHK_ISA_AVX2 | LHK_ISA_AVX512)
    }
    return masks
}()

/// Seed of all random tests of this run: `LONGHAND_TEST_SEED`, or a new one. Printed, so that a run can be repeated.
let testSeed: UInt64 = {
    let given = ProcessInfo.processInfo.environment["LONGHAND_TEST_SEED"].flatMap { UInt64($0) }
    let seed = given ?? UInt64.random(in: 0..<1 << 32)
    print("LONGHAND_TEST_SEED=\(seed)")
    return seed
}()

/// SplitMix64 (Steele, Lea and Flood 2014): small and repeatable.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    /// `stream` keeps the tests of one run apart.
    init(stream: UInt64) {
        state = testSeed &* 0x9E37_79B9_7F4A_7C15 &+ stream
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func floats(_ count: Int, in range: ClosedRange<Float> = -2...2) -> [Float] {
        (0..<count).map { _ in Float.random(in: range, using: &self) }
    }
}

extension lhk_error {
    /// The text, empty when no error was reported.
    var message: String {
        withUnsafeBytes(of: text) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}

/// Lengths around every vector width and unrolling, and some random ones.
func interestingSizes(upTo limit: Int, using generator: inout SeededGenerator) -> [Int] {
    let fixed = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 576, 640]
    return fixed.filter { $0 <= limit } + (0..<6).map { _ in Int.random(in: 1...limit, using: &generator) }
}

/// An array whose end touches a page without access, so that a read or write past it ends the test at once.
final class Guarded<Element: BitwiseCopyable>: @unchecked Sendable {
    let pointer: UnsafeMutablePointer<Element>
    let count: Int
    private let mapping: UnsafeMutableRawPointer
    private let mappingSize: Int

    init(_ values: [Element]) {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let bytes = values.count * MemoryLayout<Element>.stride
        let body = (bytes + page - 1) / page * page
        mappingSize = body + page
        mapping = mmap(nil, mappingSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
        precondition(mapping != MAP_FAILED, "mmap failed")
        precondition(mprotect(mapping + body, page, PROT_NONE) == 0, "mprotect failed")
        pointer = (mapping + body - bytes).bindMemory(to: Element.self, capacity: values.count)
        pointer.update(from: values, count: values.count)
        count = values.count
    }

    deinit {
        munmap(mapping, mappingSize)
    }

    var values: [Element] { Array(UnsafeBufferPointer(start: pointer, count: count)) }
}

extension Guarded where Element == Float {
    /// An output, filled with NaN so that an element that is not written shows.
    static func output(_ count: Int) -> Guarded<Float> {
        Guarded([Float](repeating: .nan, count: count))
    }
}

/// Expects `got[i]` within `tolerance(expected[i])` of `expected[i]`, NaN where NaN is expected and nowhere else.
func expectClose(
    _ got: [Float], _ expected: [Double], _ context: @autoclosure () -> String,
    tolerance: (_ index: Int, _ expected: Double) -> Double
) {
    #expect(got.count == expected.count)
    for (i, (value, reference)) in zip(got, expected).enumerated() {
        let isSame = Double(value) == reference || (value.isNaN && reference.isNaN)
        if !isSame && !(abs(Double(value) - reference) <= tolerance(i, reference)) {
            Issue.record("\(context()), seed \(testSeed): element \(i) is \(value), expected \(reference)")
            return
        }
    }
}

/// Expects equality bit for bit, except that any NaN equals any NaN. Reports the first difference only.
func expectIdentical(_ got: [Float], _ expected: [Float], _ context: @autoclosure () -> String) {
    #expect(got.count == expected.count)
    let differs = zip(got, expected).map { $0.bitPattern != $1.bitPattern && !($0.isNaN && $1.isNaN) }
    if let i = differs.firstIndex(of: true) {
        Issue.record("\(context()), seed \(testSeed): element \(i) is \(got[i]), expected \(expected[i])")
    }
}
