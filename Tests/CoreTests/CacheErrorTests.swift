// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import Testing

@Suite struct CacheErrorTests {
    static let specifications: [(WritableKeyPath<CacheConfiguration, String> & Sendable, String, String)] = [
        (\.store, "", "store '': '' is not the name of a method"),
        (\.store, ":a=1", "is not the name of a method"),
        (\.store, "Plain", "is not the name of a method"),
        (\.store, "plain\n", "character 6 is not printable"),
        (\.store, "f99", "store 'f99': no store 'f99'; known: plain"),
        (\.store, "plain:", "'' is not an option of the form key=value"),
        (\.store, "plain:fail_at", "'fail_at' is not an option of the form key=value"),
        (\.store, "plain:=3", "'' is not the name of an option"),
        (\.store, "plain:fail_at=", "option 'fail_at' has no value"),
        (\.store, "plain:fail_at=1,fail_at=2", "option 'fail_at' is given twice"),
        (\.store, "plain:fail_at=1,", "'' is not an option of the form key=value"),
        (\.store, "plain:colour=red", "layer 0: store 'plain': plain has no option 'colour'"),
        (\.store, "plain:fail_at=ten", "layer 0: store 'plain': plain: option fail_at=ten is not an integer"),
        (\.prefill, "sale", "prefill selector 'sale': no selector 'sale'; known: all, recent"),
        (\.prefill, "recent:count=0", "layer 0: prefill selector 'recent': recent: option count=0"),
        (\.decode, "recent:budget=1", "layer 0: decode selector 'recent': recent has no option 'budget'"),
        (\.attention, "flash", "attention 'flash': no attention 'flash'; known: naive"),
        (\.attention, "naive:x=1", "layer 0: attention 'naive': naive has no option 'x'"),
        (\.position, "rope", "position 'rope': no position 'rope'; known: shift"),
        (\.position, "none:x=1", "no position 'none'"),
    ]

    @Test func specifications() throws {
        for (path, text, expected) in Self.specifications {
            let error = failure { _ = try makeCache { $0[keyPath: path] = text } }
            #expect(error?.message.contains(expected) == true, "'\(text)': \(error?.message ?? "accepted")")
        }
    }

    @Test func specificationsAreBounded() throws {
        let many = (0..<33).map { "k\($0)=1" }.joined(separator: ",")
        #expect(
            failure { _ = try makeCache { $0.store = "plain:" + many } }?.message.contains("more than 32 options")
                == true)
        let long = "plain:x=" + String(repeating: "y", count: 2000)
        #expect(failure { _ = try makeCache { $0.store = long } }?.message.contains("longer than 1023") == true)
        let text = failure { _ = try makeCache { $0.store = "plain:x=" + String(repeating: "y", count: 900) } }
        #expect(text?.status == .argument)
    }

    static let configurations: [(@Sendable (inout CacheConfiguration) -> Void, String)] = [
        ({ $0.layers = [] }, "number of layers"),
        ({ $0.capacity = 0 }, "capacity of 0 tokens"),
        ({ $0.capacity = -1 }, "capacity of -1 tokens"),
        ({ $0.capacity = 1 << 31 }, "is not in 1 to 2147483647"),
        ({ $0.maxRows = 0 }, "max_rows 0"),
        ({ $0.layers[1].kvHeads = 0 }, "layer 1: query_heads is not a multiple of kv_heads"),
        ({ $0.layers[0].queryHeads = 3 }, "layer 0: query_heads is not a multiple"),
        ({ $0.layers[0].queryHeads = 1 << 20 }, "layer 0: query_heads"),
        ({ $0.layers[0].queryHeads = -4 }, "queryHeads -4 is negative"),
        ({ $0.layers[0].headDimK = 0 }, "layer 0: a head dimension"),
        ({ $0.layers[0].headDimV = 70_000 }, "layer 0: a head dimension"),
        ({ $0.layers[0].attention.scale = -1 }, "layer 0: scale"),
        ({ $0.layers[0].attention.scale = .nan }, "layer 0: scale"),
        ({ $0.layers[0].attention.scale = .infinity }, "layer 0: scale"),
        ({ $0.layers[0].attention.softcap = .nan }, "layer 0: softcap"),
        ({ $0.layers[1].attention.softcap = 30 }, "layer 1: attention 'naive': no softcap in test doubles"),
        ({ $0.layers[0].attention.windowLeft = -2 }, "layer 0: a window"),
        ({ $0.layers[0].attention.sinkTokens = -1 }, "layer 0: a window"),
        ({ $0.layers[0].attention.alibiSlopes = [1] }, "alibiSlopes has 1 elements, not 4"),
        ({ $0.layers[0].position.factors = [1, 2, 3] }, "layer 0: factor_count"),
        ({ $0.layers[0].parameters = [.init(name: "a", shape: [2, 2], values: [1])] }, "parameter 'a' has 1 elements, not 4"),
        ({ $0.layers[0].parameters = [.init(name: "", shape: [1], values: [1])] }, "layer 0: parameter 0 has no name"),
        ({ $0.layers[0].parameters = [.init(name: "a", shape: [1 << 40, 1 << 40], values: [])] }, "not -1"),
        (
            { $0.layers[1].parameters = [.init(name: "a", shape: [1], values: [1]), .init(name: "a", shape: [1], values: [1])] },
            "layer 1: parameter 'a' is given twice"
        ),
        (
            {
                $0.prefill = "recent"
                $0.layers[0].parameters = [.init(name: "recent.count", shape: [2, 4], values: .init(repeating: 1, count: 8))]
            }, "parameter 'recent.count' of layer 0 has another shape"
        ),
    ]

    @Test func configurations() throws {
        for (change, expected) in Self.configurations {
            let error = failure { _ = try makeCache(change: change) }
            #expect(error?.message.contains(expected) == true, "not '\(expected)': \(error?.message ?? "accepted")")
        }
    }

    @Test func offsetsAreRefused() throws {
        let registry = try doubles()
        let host = try KernelHost.serial()
        var layer = lhk_cache_layer()
        layer.struct_size = UInt32(MemoryLayout<lhk_cache_layer>.size)
        (layer.query_heads, layer.kv_heads, layer.head_dim_k, layer.head_dim_v) = (1, 1, 4, 4)
        layer.params.struct_size = UInt32(MemoryLayout<lhk_attention_params>.size)
        layer.position.struct_size = UInt32(MemoryLayout<lhk_position_params>.size)
        (layer.params.window_left, layer.params.window_right) = (-1, -1)
        func create(_ change: (inout lhk_cache_layer) -> Void) -> lhk_status {
            var changed = layer
            change(&changed)
            let text = ["plain", "all", "naive", "shift"].map { (word: String) in strdup(word)! }
            defer { for pointer in text { free(pointer) } }
            var cache: OpaquePointer?
            let status = withUnsafePointer(to: &changed) { layers in
                var config = lhk_cache_config(
                    struct_size: UInt32(MemoryLayout<lhk_cache_config>.size), layer_count: 1, layers: layers,
                    capacity: 8,
                    max_rows: 4, store: text[0], prefill: text[1], decode: text[1], attention: text[2],
                    position: text[3])
                return lhk_cache_create(&config, registry.raw, host.raw, &cache, nil)
            }
            lhk_cache_destroy(cache)
            return status
        }
        #expect(create { _ in } == LHK_OK)
        #expect(create { $0.params.flags = LHK_ATTENTION_OFFSET } == LHK_ERROR_ARGUMENT)
        #expect(create { $0.params.flags = 1 << 20 } == LHK_ERROR_ARGUMENT)
        #expect(create { $0.struct_size = 16 } == LHK_ERROR_ARGUMENT)
        #expect(create { $0.params.struct_size = 16 } == LHK_ERROR_ARGUMENT)
        #expect(create { $0.position.struct_size = 0 } == LHK_ERROR_ARGUMENT)
        #expect(create { $0.position.factor_count = 2 } == LHK_ERROR_ARGUMENT)
    }

    @Test func capacityLeavesTheLayerUnchanged() throws {
        let cache = try makeCache { $0.decode = "recent" }
        let sequences = cache.sequences(tokens: 60, seed: 12)
        for start in stride(from: 0, to: 32, by: 16) { try cache.appendAll(sequences, start..<start + 16) }
        let before = try cache.fingerprint(sequences)
        let full = failure { try cache.append(sequences[0], layer: 0, 32..<41) }
        #expect(full?.status == .capacity)
        #expect(full?.message == "layer 0: 9 more tokens do not fit; it holds 32 of 40")
        let wide = failure { try makeCache().append(sequences[0], layer: 0, 0..<17) }
        #expect(wide?.message == "layer 0: 17 rows in one call; the cache takes at most 16")
        #expect(cache.length == 32)
        #expect(try cache.fingerprint(sequences) == before)
        try cache.append(sequences[0], layer: 0, 32..<40)
        try cache.append(sequences[0], layer: 0, 40..<40)
        #expect(failure { try cache.append(sequences[0], layer: 0, 40..<41) }?.status == .capacity)
        #expect(cache.length == 40)
    }

    @Test func failingMethodsLeaveTheLayerUnchanged() throws {
        let store = try makeCache { $0.store = "plain:fail_at=10" }
        let sequences = store.sequences(seed: 13)
        try store.append(sequences[0], layer: 0, 0..<8)
        let error = failure { try store.append(sequences[0], layer: 0, 8..<12) }
        #expect(error?.message == "layer 0: store 'plain': fails as asked")
        #expect(error?.status == .io)
        #expect(store.length == 8)
        // The prefill selector has taken the rows when the decode selector fails.
        let cache = try makeCache {
            $0.prefill = "recent:count=9"
            $0.decode = "recent:count=3,fail_at=10"
        }
        try cache.append(sequences[0], layer: 0, 0..<8)
        let selector = failure { try cache.append(sequences[0], layer: 0, 8..<12) }
        #expect(selector?.message == "layer 0: decode selector 'recent': fails as asked")
        #expect(cache.length == 8)
        try cache.append(sequences[0], layer: 0, 8..<9)
        #expect(
            difference(try cache.attend(sequences[0], layer: 0, 8..<9).out, sequences[0].expected(8..<9, recent: 3).out)
                < 1e-5)
        #expect(
            difference(try cache.attend(sequences[0], layer: 0, 7..<9).out, sequences[0].expected(7..<9).out) < 1e-5)
    }

    @Test func impossibleCalls() throws {
        let cache = try makeCache()
        let sequences = cache.sequences(seed: 14)
        try cache.append(sequences[0], layer: 0, 0..<4)
        var numbers = [Float](repeating: 0, count: 4096)
        try numbers.withUnsafeMutableBytes { bytes in
            let data = bytes.baseAddress!
            func tensor(_ shape: [Int], _ strides: [Int]? = nil, _ type: ElementType = .f32, at offset: Int = 0) throws
                -> Tensor
            {
                try Tensor(data + offset, type: type, shape: shape, strides: strides)
            }
            let k = try tensor([2, 2, 4])
            let v = try tensor([2, 2, 6])
            let q = try tensor([2, 4, 4])
            let out = try tensor([2, 4, 6])
            func append(_ layer: Int, _ k: Tensor, _ v: Tensor) -> LonghandError? {
                failure { try cache.append(layer: layer, keys: k, values: v) }
            }
            func attend(_ q: Tensor, _ out: Tensor, _ lse: Tensor? = nil) -> LonghandError? {
                failure { try cache.attend(layer: 0, queries: q, out: out, lse: lse) }
            }
            #expect(append(2, k, v)?.message == "layer 2: the cache has 2 layers")
            #expect(append(-1, k, v)?.status == .argument)
            #expect(append(1, k, v)?.status == .argument)
            #expect(append(0, v, k)?.message.contains("k: shape is not [rows][2][4]") == true)
            #expect(append(0, k, try tensor([3, 2, 6]))?.message == "layer 0: 2 rows of keys but 3 of values")
            #expect(append(0, try tensor([2, 2, 4], nil, .i8), v)?.message.contains("k: element type") == true)
            #expect(append(0, try tensor([2, 2, 4], [8, 4, 2]), v)?.message.contains("last one is not 1") == true)
            #expect(append(0, try tensor([2, 2, 4], at: 1), v)?.message.contains("not aligned") == true)
            #expect(append(0, try tensor([2, 2, 4], [Int.max, 4, 1]), v)?.status == .overflow)
            #expect(append(0, try Tensor(nil, shape: [2, 2, 4]), v)?.message == "k: data is null")
            #expect(append(0, try Tensor(nil, shape: [0, 2, 4]), try Tensor(nil, shape: [0, 2, 6])) == nil)
            #expect(cache.length == 4)
            #expect(attend(q, try tensor([3, 4, 6]))?.message == "out: 3 rows for 2 query rows")
            #expect(attend(q, try tensor([2, 4, 6], nil, .bf16))?.message == "out: element type bf16 is not f32")
            #expect(attend(q, out, try tensor([2, 3]))?.message == "lse: not an f32 tensor of shape [2][4]")
            #expect(
                attend(try tensor([5, 4, 4]), try tensor([5, 4, 6]))?.message
                    == "layer 0: 5 query rows, but it holds 4 tokens")
            #expect(attend(try tensor([17, 4, 4]), try tensor([17, 4, 6]))?.status == .capacity)
            #expect(attend(try tensor([0, 4, 4]), try tensor([0, 4, 6])) == nil)
        }
        #expect(failure { _ = try Tensor(nil, shape: [1, 2, 3, 4, 5]) }?.status == .argument)
        #expect(failure { _ = try Tensor(nil, shape: []) }?.status == .argument)
        #expect(failure { _ = try Tensor(nil, shape: [-1]) }?.status == .argument)
        #expect(failure { _ = try Tensor(nil, shape: [2, 2], strides: [1]) }?.status == .argument)
        #expect(failure { _ = try Tensor(nil, shape: [1, .max, .max]) }?.status == .overflow)
    }
}
