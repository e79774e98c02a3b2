// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandTestPlugin
import Testing

@Suite struct IsaTests {
    /// A CPU with everything; each test takes something away.
    static let full = lhk_x86_words(
        leaf1_ecx: 1 << 12 | 1 << 27 | 1 << 28 | 1 << 29,
        leaf7_ebx: 1 << 5 | 1 << 16 | 1 << 17 | 1 << 30 | 1 << 31, leaf7_ecx: 1 << 1 | 1 << 11 | 1 << 14, leaf7_1_eax: 1 << 5,
        xcr0: 0xe7)

    static func levels(_ change: (inout lhk_x86_words) -> Void) -> InstructionSet {
        var words = full
        change(&words)
        return InstructionSet(rawValue: lhk_isa_from_x86(&words))
    }

    @Test func everything() {
        #expect(Self.levels { _ in } == [.avx2, .avx512, .avx512vnni, .avx512popcnt, .avx512bf16])
    }

    @Test(arguments: [12, 27, 28, 29]) func avx2NeedsLeaf1(bit: Int) {
        #expect(Self.levels { $0.leaf1_ecx &= ~(1 << UInt32(bit)) } == [])
    }

    @Test(arguments: [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0xe0, 0xe2, 0xe4]) func ymmMustBeSaved(xcr0: UInt64) {
        #expect(Self.levels { $0.xcr0 = xcr0 } == [])
    }

    @Test(arguments: [0x06, 0x07, 0x26, 0x66, 0xa7, 0xc7, 0x67]) func zmmMustBeSaved(xcr0: UInt64) {
        #expect(Self.levels { $0.xcr0 = xcr0 } == [.avx2])
    }

    @Test(arguments: [16, 17, 30, 31]) func avx512NeedsAllOfFBwVlDq(bit: Int) {
        #expect(Self.levels { $0.leaf7_ebx &= ~(1 << UInt32(bit)) } == [.avx2])
    }

    @Test func extensionsAreSeparate() {
        #expect(Self.levels { $0.leaf7_ecx = 0 } == [.avx2, .avx512, .avx512bf16])
        #expect(Self.levels { $0.leaf7_1_eax = 0 } == [.avx2, .avx512, .avx512vnni, .avx512popcnt])
        #expect(Self.levels { $0.leaf7_ecx &= ~(1 << 14) } == [.avx2, .avx512, .avx512vnni, .avx512bf16])
        #expect(Self.levels { $0.leaf7_ecx &= ~(1 << 1) } == [.avx2, .avx512, .avx512vnni, .avx512bf16])
        #expect(Self.levels { $0.leaf7_ebx = 0 } == [])
    }

    @Test func arm() {
        func levels(_ hwcap: UInt64, _ hwcap2: UInt64) -> InstructionSet {
            InstructionSet(rawValue: lhk_isa_from_hwcap(hwcap, hwcap2))
        }
        #expect(levels(0, ~0) == [])
        #expect(levels(1 << 1, 0) == [.neon])
        #expect(levels(1 << 1 | 1 << 20, 1 << 13 | 1 << 14) == [.neon, .neonDotprod, .neonI8mm, .neonBF16])
        #expect(levels(1 << 1, 1 << 14) == [.neon, .neonBF16])
    }

    @Test func names() throws {
        #expect(try InstructionSet(upTo: "scalar") == [])
        #expect(try InstructionSet(upTo: "avx2") == [.avx2])
        #expect(try InstructionSet(upTo: "avx512bf16") == [.avx2, .avx512, .avx512vnni, .avx512popcnt, .avx512bf16])
        #expect(try InstructionSet(upTo: "neon_i8mm") == [.neon, .neonDotprod, .neonI8mm])
        for name in ["", "AVX2", "avx", "avx5122", "sse2", String(repeating: "x", count: 5000)] {
            #expect(failure { _ = try InstructionSet(upTo: name) }?.status == .argument)
        }
        let levels = ["avx2", "avx512", "avx512vnni", "avx512popcnt", "avx512bf16", "neon", "neon_dotprod", "neon_i8mm", "neon_bf16"]
        for name in levels { #expect(try InstructionSet(upTo: name).names.contains(name)) }
        #expect(InstructionSet([]).description == "scalar")
        #expect(String(cString: lhk_isa_name(3)) == "unknown")
        #expect(String(cString: lhk_isa_name(0)) == "scalar")
    }

    @Test func masks() {
        let all = InstructionSet([.avx2, .avx512, .avx512bf16]).rawValue
        func masked(_ name: String?) -> (lhk_status, lhk_isa) {
            var out: lhk_isa = 99
            return (lhk_isa_apply_mask(name, all, &out, nil), out)
        }
        #expect(masked(nil) == (LHK_OK, all))
        #expect(masked("scalar") == (LHK_OK, 0))
        #expect(masked("avx512") == (LHK_OK, InstructionSet([.avx2, .avx512]).rawValue))
        #expect(masked("avx512bf16") == (LHK_OK, all))
        #expect(masked("avx512vnni") == (LHK_ERROR_UNSUPPORTED, 99))
        #expect(masked("neon") == (LHK_ERROR_UNSUPPORTED, 99))
        #expect(masked("avx1024") == (LHK_ERROR_ARGUMENT, 99))
        #expect(masked("") == (LHK_ERROR_ARGUMENT, 99))
    }

    @Test func detectedIsClosed() {
        let detected = InstructionSet.detected
        #expect(!detected.contains(.avx512) || detected.contains(.avx2))
        #expect(detected.isDisjoint(with: [.avx2]) || detected.isDisjoint(with: [.neon]))
    }

    @Test func maskFromEnvironment() async {
        await #expect(processExitsWith: .success) {
            setenv("LONGHAND_ISA", "scalar", 1)
            guard try KernelHost.serial().isa == [], try KernelHost.openMP(workers: 2).isa == [] else { exit(1) }
        }
        await #expect(processExitsWith: .success) {
            setenv("LONGHAND_ISA", "pentium", 1)
            let error = failure { _ = try KernelHost.openMP() }
            exit(error?.message.contains("LONGHAND_ISA: unknown instruction set 'pentium'") == true ? 0 : 1)
        }
    }
}
