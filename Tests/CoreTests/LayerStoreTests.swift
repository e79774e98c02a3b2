// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import Testing

@Suite struct LayerStoreTests {
    /// Two layers, the second with another store.
    static func mixed(_ change: (inout CacheConfiguration) -> Void = { _ in }) throws -> Cache {
        try makeCache {
            $0.decode = "recent:count=5"
            $0.layerStores = [LayerStore(layers: [.range(1...1)], store: "plain:fail_at=20")]
            change(&$0)
        }
    }

    @Test(arguments: [
        ("3:f32", [LayerStore.Layers.range(3...3)], "f32", "3: f32"),
        ("0-1,29: q4:rotate=1", [.range(0...1), .range(29...29)], "q4:rotate=1", nil),
        (" windowed , 5 :\tbf16 ", [.windowed, .range(5...5)], "bf16", "windowed,5: bf16"), ("global: x:y", [.global], "x:y", nil),
    ])
    func forms(text: String, layers: [LayerStore.Layers], store: String, description: String?) throws {
        let parsed = try LayerStore(parsing: text)
        #expect(parsed == LayerStore(layers: layers, store: store))
        #expect(parsed.description == description ?? text)
        #expect(try LayerStore(parsing: parsed.description) == parsed)
    }

    @Test(arguments: [
        "", ":", "3", "3:", "3: ", ": f32", "3,: f32", ",3: f32", "-3: f32", "3-: f32", "3-2: f32", "1-2-3: f32", "+3: f32",
        "3 4: f32",
        "Windowed: f32", "all: f32", "99999999999999999999: f32", "٣: f32", "a\nb: f32",
    ])
    func malformed(text: String) {
        let error = failure { _ = try LayerStore(parsing: text) }
        #expect(error?.status == .argument && error?.message.contains("must be LAYERS: METHOD") == true, "\(text)")
        #expect(error?.message.contains { $0.isNewline } == false)
    }

    @Test(arguments: [
        (["1-2: plain"], "store of layers \"1-2: plain\": the model has no layers 1-2; it has 2, from 0 on"),
        (["windowed: plain"], "store of layers \"windowed: plain\": the model has no windowed layers"),
        (["0: plain", "0-1: plain:fail_at=3"], "layer 0 is named twice: in \"0: plain\" and in \"0-1: plain:fail_at=3\""),
        (["1,global: plain"], "layer 1 is named twice: in \"1,global: plain\" and in \"1,global: plain\""),
        (["1: gone"], "layer 1: store 'gone': no store 'gone'"), (["1: plain:x=1"], "layer 1: store 'plain': "),
        (["1: plain:"], "layer 1: store 'plain:': "),
    ])
    func refused(texts: [String], message: String) throws {
        let stores = try texts.map { try LayerStore(parsing: $0) }
        let error = failure { _ = try makeCache { $0.layerStores = stores } }
        #expect(error?.message.hasPrefix(message) == true, "\(error?.message ?? "accepted")")
    }

    @Test func windowedLayers() throws {
        let cache = try makeCache {
            $0.layers[1].attention.windowLeft = 3
            $0.layerStores = [LayerStore(layers: [.windowed], store: "plain:fail_at=1")]
        }
        let sequences = cache.sequences(seed: 30)
        try cache.append(sequences[0], layer: 0, 0..<4)
        #expect(failure { try cache.append(sequences[1], layer: 1, 0..<4) }?.message == "layer 1: store 'plain': fails as asked")
        #expect(cache.length(layer: 1) == 0)
    }

    @Test func bindings() throws {
        let bindings = try Self.mixed().bindings
        #expect(bindings.map(\.slot) == ["store", "prefill", "decode", "attention", "position", "store"])
        #expect(bindings[0].spec == "plain" && bindings[0].layers == [0])
        #expect(bindings[5].spec == "plain:fail_at=20" && bindings[5].layers == [1] && bindings[5].variant == "test.plain/1")
        #expect(bindings[1].layers == nil)
        // The configuration's store, said again, is no other store.
        let same = try makeCache { $0.layerStores = [LayerStore(layers: [.range(0...0)], store: "plain")] }.bindings
        #expect(same.count == 5 && same[0].layers == [0, 1])
        let none = try makeCache { $0.layerStores = [LayerStore(layers: [.global], store: "plain:fail_at=9")] }.bindings
        #expect(none.count == 6 && none[0].layers == [] && none[0].variant == "none" && none[5].layers == [0, 1])
    }

    @Test func lifeOfAMixedCache() throws {
        let folder = try TemporaryFolder()
        let cache = try Self.mixed()
        let sequences = cache.sequences(seed: 31), others = cache.sequences(seed: 32)
        try cache.appendAll(sequences, 0..<12)
        let plain = try makeCache { $0.decode = "recent:count=5" }
        try plain.appendAll(sequences, 0..<12)
        #expect(try cache.fingerprint(sequences) == plain.fingerprint(sequences))
        #expect(cache.statistics.bytesInUse == plain.statistics.bytesInUse)

        let fork = try cache.fork()
        #expect(fork.bindings == cache.bindings)
        try fork.truncate(to: 7)
        try fork.appendAll(others, 7..<9)
        #expect(fork.length(layer: 1) == 9 && cache.length(layer: 1) == 12)
        #expect(try cache.fingerprint(sequences) == plain.fingerprint(sequences))
        // The copy's second layer has the options of the original's.
        try fork.appendAll(others, 9..<18)
        #expect(failure { try fork.append(others[1], layer: 1, 18..<22) }?.message == "layer 1: store 'plain': fails as asked")

        try cache.save(path: folder.file("cache"))
        let loaded = try Self.mixed { $0.capacity = 30 }
        try loaded.load(path: folder.file("cache"))
        #expect(loaded.length(layer: 0) == 12 && loaded.length(layer: 1) == 12)
        #expect(try loaded.fingerprint(sequences) == plain.fingerprint(sequences))
        // The same stores in other words are the same; others are refused and leave the cache alone.
        let turned = try Self.mixed {
            $0.layerStores = [LayerStore(layers: [.range(0...0)], store: "plain")]
            $0.store = "plain:fail_at=20"
        }
        try turned.load(path: folder.file("cache"))
        #expect(turned.length == 12)
        for stores in [
            [], [LayerStore(layers: [.range(0...1)], store: "plain:fail_at=20")],
            [LayerStore(layers: [.range(0...0)], store: "plain:fail_at=20")],
        ] {
            let other = try Self.mixed { $0.layerStores = stores }
            let error = failure { try other.load(path: folder.file("cache")) }
            #expect(error?.status == .argument && error?.message.contains("written by another configuration") == true)
            #expect(other.length == 0 && other.length(layer: 1) == 0)
        }
    }

    /// A layer as it was before it could have a store: shorter structs are read no further than they go.
    @Test func olderCallers() throws {
        let registry = try doubles(), host = try KernelHost.serial()
        let stride = MemoryLayout<lhk_cache_layer>.offset(of: \.store)!
        var layer = lhk_cache_layer()
        layer.struct_size = UInt32(stride)
        (layer.query_heads, layer.kv_heads, layer.head_dim_k, layer.head_dim_v) = (1, 1, 4, 4)
        layer.params.struct_size = UInt32(MemoryLayout<lhk_attention_params>.size)
        layer.position.struct_size = UInt32(MemoryLayout<lhk_position_params>.size)
        (layer.params.window_left, layer.params.window_right) = (-1, -1)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 2 * stride, alignment: 16)
        defer { memory.deallocate() }
        withUnsafeBytes(of: &layer) { bytes in
            for index in 0..<2 { (memory + index * stride).copyMemory(from: bytes.baseAddress!, byteCount: stride) }
        }
        let text = ["plain", "all", "naive", "shift"].map { (word: String) in strdup(word)! }
        defer { for pointer in text { free(pointer) } }
        var config = lhk_cache_config(
            struct_size: UInt32(MemoryLayout<lhk_cache_config>.size), layer_count: 2,
            layers: memory.assumingMemoryBound(to: lhk_cache_layer.self), capacity: 8, max_rows: 4, store: text[0],
            prefill: text[1], decode: text[1], attention: text[2], position: text[3])
        var cache: OpaquePointer?
        #expect(lhk_cache_create(&config, registry.raw, host.raw, &cache, nil) == LHK_OK)
        let binding = UnsafeMutablePointer<lhk_cache_binding>.allocate(capacity: 1)
        defer { binding.deallocate() }
        #expect(lhk_cache_get_binding(cache!, 4, binding) == LHK_OK)
        #expect(lhk_cache_get_binding(cache!, 5, binding) == LHK_ERROR_NOT_FOUND)
        lhk_cache_destroy(cache)
    }
}
