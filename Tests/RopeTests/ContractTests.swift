// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandRope
import LonghandTestSupport
import Testing

/// The plugin object, the life cycle, options, and what is refused.
@Suite struct ContractTests {
    func expectRefusal(
        _ text: String, status: lhk_status = LHK_ERROR_ARGUMENT, location: SourceLocation = #_sourceLocation,
        _ body: () throws -> Void
    ) {
        let refusal = #expect(throws: Refusal.self, sourceLocation: location, performing: body)
        #expect(refusal?.status == status, sourceLocation: location)
        #expect(refusal?.text.contains(text) == true, "\(refusal?.text ?? "")", sourceLocation: location)
    }

    @Test func descriptors() throws {
        let plugin = lhk_rope_plugin().pointee
        #expect(plugin.struct_size == MemoryLayout<lhk_plugin>.size && plugin.method_count == 1)
        #expect(String(cString: Variant.method.pointee.role) == LHK_ROLE_POSITION)
        #expect(String(cString: Variant.method.pointee.name) == "rope")
        let ids = Variant.all.map(\.id)
        #expect(ids.last == "longhand.rope.f32.scalar/1" && Set(ids).count == ids.count)
        for variant in Variant.all {
            #expect(variant.pointee.struct_size == MemoryLayout<lhk_variant>.size)
            #expect(variant.pointee.exactness == LHK_EXACT)
        }
    }

    /// Wider instruction sets cost less, so that the registry takes them.
    @Test func costRanksVariants() throws {
        let times = Variant.withProblem(Rotation(64)) { problem in
            Variant.all.map { variant in
                var cost = lhk_cost()
                cost.struct_size = UInt32(MemoryLayout<lhk_cost>.size)
                #expect(variant.pointee.life.pointee.cost(variant.pointer, &problem, &cost) == LHK_OK)
                return cost.time
            }
        }
        #expect(times == times.sorted() && Set(times).count == times.count && times[0] > 0)
    }

    @Test(arguments: Variant.all) func maskedInstructionSetIsRefused(variant: Variant) throws {
        try Variant.withProblem(Rotation(64)) { problem in
            let life = variant.pointee.life.pointee
            try check { life.supports(variant.pointer, &problem, variant.pointee.isa_required, $0) }
            guard variant.pointee.isa_required != LHK_ISA_SCALAR else { return }
            expectRefusal("instruction set", status: LHK_ERROR_UNSUPPORTED) {
                try check { life.supports(variant.pointer, &problem, LHK_ISA_SCALAR, $0) }
            }
        }
    }

    @Test func stateTooSmall() throws {
        let variant = Variant.runnable[0]
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 64)
        defer { memory.deallocate() }
        expectRefusal("state", status: LHK_ERROR_CAPACITY) {
            try Variant.withProblem(Rotation(64)) { problem in
                try check {
                    variant.pointee.life.pointee.create(variant.pointer, &problem, OpaquePointer(memory), 64, $0)
                }
            }
        }
    }

    /// Options stand above the model's parameters.
    @Test func optionsOverride() throws {
        var model = Rotation(64)
        model.base = 500_000
        var wished = Rotation(32, headDim: 64)
        wished.interleaved = true
        wished.base = 20000
        wished.scaling = LHK_SCALING_YARN
        wished.factor = 4
        wished.original = 2048
        let options = [
            ("base", "20000"), ("scaling", "yarn"), ("factor", "4"), ("original", "2048"), ("dims", "32"),
            ("interleaved", "1"),
        ]
        var generator = SeededGenerator(seed: 2)
        let x = Rows(4, 2, 64)
        let a = Rows(4, 2, 64)
        let b = Rows(4, 2, 64)
        x.fill(&generator)
        let variant = Variant.runnable[0]
        try Instance(variant, model, options: options).apply(x, first: 500, to: a)
        try Instance(variant, wished).apply(x, first: 500, to: b)
        #expect(a.allBits == b.allBits)
    }

    /// Without parameters of the model, options alone do.
    @Test func optionsAlone() throws {
        let variant = Variant.runnable[0]
        let life = variant.pointee.life.pointee
        try Variant.withProblem(Rotation(64), options: [("base", "10000")]) { problem in
            problem.position = nil
            try check { life.supports(variant.pointer, &problem, hardwareISA, $0) }
            problem.option_count = 0
            expectRefusal("frequency base") { try check { life.supports(variant.pointer, &problem, hardwareISA, $0) } }
        }
    }

    @Test(arguments: [
        ("speed", "3", "no option 'speed'"), ("base", "1", "base"), ("base", "ten", "base"), ("base", "nan", "base"),
        ("base", "", "base"), ("scaling", "ntk2", "scaling=ntk2"), ("factor", "2", "no effect"),
        ("factor", "-2", "factor"),
        ("original", "0", "original"), ("original", "4096", "yarn only"), ("dims", "0", "dims"),
        ("dims", "63", "rotated"),
        ("dims", "128", "rotated"), ("dims", "99999999999999999999", "dims"), ("interleaved", "2", "interleaved"),
        ("scaling", "yarn", "original context"),
    ]) func badOption(key: String, value: String, text: String) throws {
        for variant in Variant.runnable {
            expectRefusal(text) { _ = try Instance(variant, Rotation(64), options: [(key, value)]) }
        }
    }

    @Test func badOperands() throws {
        let instance = try Instance(Variant.runnable[0], Rotation(8))
        let x = Rows(2, 2, 8)
        let out = Rows(2, 2, 8)
        let ops = instance.variant.pointee.ops.assumingMemoryBound(to: lhk_position_ops.self).pointee
        func apply(_ first: Int64 = 0, _ change: (inout lhk_tensor, inout lhk_tensor) -> Void) throws {
            var from = x.tensor
            var to = out.tensor
            var host = makeHost()
            change(&from, &to)
            try check { ops.apply(OpaquePointer(instance.memory.baseAddress!), &host, &from, first, &to, $0) }
        }
        expectRefusal("shape") { try apply { x, _ in x.shape.2 = 9 } }
        expectRefusal("shape") { try apply { x, _ in x.rank = 2 } }
        expectRefusal("shape") { try apply { x, _ in x.shape.1 = -1 } }
        expectRefusal("shape") { try apply { x, _ in x.shape.0 = -1 } }
        expectRefusal("element type") { try apply { x, _ in x.dtype = LHK_DTYPE_I8 } }
        expectRefusal("null") { try apply { x, _ in x.data = nil } }
        expectRefusal("stride") { try apply { x, _ in x.stride.1 = -8 } }
        expectRefusal("overflow", status: LHK_ERROR_OVERFLOW) { try apply { x, _ in x.stride.0 = .max / 2 } }
        expectRefusal("not f32") { try apply { _, out in out.dtype = LHK_DTYPE_BF16 } }
        expectRefusal("shape") { try apply { _, out in out.shape.1 = 3 } }
        expectRefusal("tokens") { try apply { _, out in out.shape.0 = 1 } }
        expectRefusal("aligned") { try apply { _, out in out.data = out.data! + 1 } }
        expectRefusal("overlap") { try apply { _, out in out.stride.1 = 7 } }
        expectRefusal("overlap") { try apply { _, out in out.stride.0 = 0 } }
        expectRefusal("overlap") { try apply { _, out in out.stride = (12, 8, 1, 0) } }
        expectRefusal("another view") {
            try apply { x, out in
                out.data = x.data
                out.stride.0 = 24
            }
        }
        expectRefusal("another view") {
            try apply { x, out in
                x.dtype = LHK_DTYPE_BF16
                out.data = x.data
            }
        }
        expectRefusal("positions") { try apply(greatestPosition) { _, _ in } }
        expectRefusal("positions") { try apply(.max) { _, _ in } }
        expectRefusal("positions") { try apply(.min) { _, _ in } }
        #expect(out.canaryIntact && out.allBits.allSatisfy { $0 == 0xA5A5_A5A5 })
        var empty = lhk_rope_table()
        var host = makeHost()
        var from = x.tensor
        var to = out.tensor
        expectRefusal("not initialised") { try check { lhk_rope_apply(&empty, &host, &from, 0, &to, $0) } }
    }

    /// The greatest position; the second of two rows from here lies beyond.
    let greatestPosition: Int64 = 1 << 40
}
