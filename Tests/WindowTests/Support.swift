// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandTestSupport
import LonghandWindow
import Testing

func expectRefusal(
    _ text: String, status: lhk_status = LHK_ERROR_ARGUMENT, location: SourceLocation = #_sourceLocation,
    _ body: () throws -> Void
) {
    let refusal = #expect(throws: Refusal.self, sourceLocation: location, performing: body)
    #expect(refusal?.status == status, sourceLocation: location)
    #expect(refusal?.text.contains(text) == true, "\(refusal?.text ?? "")", sourceLocation: location)
}

/// Memory of exactly `count` bytes, poisoned, between canaries.
final class Poisoned {
    private static let guardBytes = 64
    private let memory: UnsafeMutableRawBufferPointer
    let count: Int

    init(_ count: Int, poison: UInt8 = 0xFF) {
        self.count = count
        memory = .allocate(byteCount: count + 2 * Self.guardBytes, alignment: 64)
        memory.initializeMemory(as: UInt8.self, repeating: 0xA5)
        for index in 0..<count { base.storeBytes(of: poison, toByteOffset: index, as: UInt8.self) }
    }

    deinit { memory.deallocate() }

    var base: UnsafeMutableRawPointer { memory.baseAddress! + Self.guardBytes }
    var workspace: lhk_workspace { lhk_workspace(data: base, bytes: UInt64(count)) }
    var guardsIntact: Bool {
        memory.prefix(Self.guardBytes).allSatisfy { $0 == 0xA5 }
            && memory.suffix(Self.guardBytes).allSatisfy { $0 == 0xA5 }
    }

    func contains(_ pointer: UnsafeRawPointer, bytes: Int) -> Bool {
        pointer >= UnsafeRawPointer(base) && pointer + bytes <= UnsafeRawPointer(base) + count
    }
}

/// A store that knows its length and nothing else.
final class LengthOnlyStore {
    private let ops: UnsafeMutablePointer<lhk_store_ops>
    private let length: UnsafeMutablePointer<Int64>

    init(_ tokens: Int64) {
        let raw = UnsafeMutableRawPointer.allocate(
            byteCount: MemoryLayout<lhk_store_ops>.size, alignment: MemoryLayout<lhk_store_ops>.alignment)
        raw.initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<lhk_store_ops>.size)
        ops = raw.assumingMemoryBound(to: lhk_store_ops.self)
        ops.pointee.length = { UnsafeRawPointer($0).load(as: Int64.self) }
        length = .allocate(capacity: 1)
        length.initialize(to: tokens)
    }

    deinit {
        ops.deallocate()
        length.deallocate()
    }

    var reference: lhk_store_ref { lhk_store_ref(ops: ops, instance: OpaquePointer(length)) }
}

/// A selector of the plugin, created for a shape.
final class Selector {
    let variant: UnsafePointer<lhk_variant>
    let heads: UInt32
    let workspaceBytes: Int
    private let state: Poisoned

    static func variant(_ name: String) throws -> UnsafePointer<lhk_variant> {
        let plugin = lhk_window_plugin().pointee
        let methods = (0..<Int(plugin.method_count)).map { plugin.methods[$0] }
        return try #require(methods.first { String(cString: $0.pointee.name) == name }).pointee.variants[0]
    }

    init(_ name: String, heads: UInt32 = 2, rows: Int64 = 256, options: [(String, String)] = []) throws {
        let variant = try Self.variant(name)
        let strings = options.map { (strdup($0.0)!, strdup($0.1)!) }
        defer {
            strings.forEach {
                free($0.0)
                free($0.1)
            }
        }
        let list = strings.map { lhk_option(key: $0.0, value: $0.1) }
        (workspaceBytes, state) = try list.withUnsafeBufferPointer { list in
            var problem = lhk_problem()
            problem.struct_size = UInt32(MemoryLayout<lhk_problem>.size)
            problem.query_heads = heads
            problem.kv_heads = 1
            problem.head_dim_k = 8
            problem.head_dim_v = 8
            problem.query_rows = rows
            problem.keys = 1 << 20
            problem.option_count = UInt32(list.count)
            problem.options = list.baseAddress
            let life = variant.pointee.life.pointee
            try check { life.supports(variant, &problem, LHK_ISA_SCALAR, $0) }
            var sizes = lhk_sizes()
            sizes.struct_size = UInt32(MemoryLayout<lhk_sizes>.size)
            try check { life.sizes(variant, &problem, 3, &sizes, $0) }
            var cost = lhk_cost()
            #expect(life.cost(variant, &problem, &cost) == LHK_OK && cost.time > 0)
            let state = Poisoned(Int(sizes.state_bytes), poison: 0)
            expectRefusal("state", status: LHK_ERROR_CAPACITY) {
                try check { life.create(variant, &problem, OpaquePointer(state.base), sizes.state_bytes - 1, $0) }
            }
            try check { life.create(variant, &problem, OpaquePointer(state.base), sizes.state_bytes, $0) }
            #expect(state.guardsIntact)
            return (Int(sizes.workspace_bytes), state)
        }
        self.variant = variant
        self.heads = heads
    }

    /// Selects for `rows` rows of a sequence of `keys` keys; the result points into `workspace`.
    func select(
        rows: Int64, keys: Int64, params: lhk_attention_params, workspace: Poisoned,
        change: (inout lhk_tensor) -> Void = { _ in }
    ) throws -> lhk_selection {
        var q = lhk_tensor()
        q.dtype = LHK_DTYPE_F32
        q.rank = 3
        q.shape = (rows, Int64(heads), 8, 0)
        q.stride = (Int64(heads) * 8, 8, 1, 0)
        change(&q)
        let store = LengthOnlyStore(keys)
        var host = lhk_host()
        var params = params
        var lent = workspace.workspace
        var out = lhk_selection()
        host.struct_size = UInt32(MemoryLayout<lhk_host>.size)
        host.workers = 1
        out.struct_size = UInt32(MemoryLayout<lhk_selection>.size)
        let ops = variant.pointee.ops.assumingMemoryBound(to: lhk_selector_ops.self).pointee
        #expect(ops.append == nil)
        try check { ops.select(OpaquePointer(state.base), &host, &q, store.reference, &params, &lent, &out, $0) }
        #expect(workspace.guardsIntact && state.guardsIntact)
        return out
    }
}

/// A mask: causal or not, at the usual offset or at `offset`.
func mask(causal: Bool = true, offset: Int64? = nil) -> lhk_attention_params {
    var params = lhk_attention_params()
    params.struct_size = UInt32(MemoryLayout<lhk_attention_params>.size)
    params.window_left = -1
    params.window_right = -1
    if causal { params.flags |= LHK_ATTENTION_CAUSAL }
    if let offset {
        params.flags |= LHK_ATTENTION_OFFSET
        params.offset = offset
    }
    return params
}
