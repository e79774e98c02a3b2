// SPDX-License-Identifier: Apache-2.0
import CLonghand

/// What attention did.
public struct AttentionStatistics: Hashable, Sendable {
    public let calls: UInt64
    /// (Query row, query head, key) triples whose score entered the softmax.
    public let pairsAttended: UInt64
    /// The same if everything that the mask shows had been attended.
    public let pairsVisible: UInt64
    /// What the last call ran, e.g. `blockwise` or `split`; nil before the first.
    public let path: String?

    init(_ stats: lhk_attention_stats) {
        calls = stats.calls
        pairsAttended = stats.pairs_attended
        pairsVisible = stats.pairs_visible
        path = stats.path.map { String(cString: $0) }
    }
}

/// Counters of a cache since its creation or the last reset, over all layers.
public struct CacheStatistics: Hashable, Sendable {
    /// Time spent on positions of keys, packing and selector indices.
    public let appendNanoseconds: UInt64
    /// Time spent on selection.
    public let selectNanoseconds: UInt64
    /// Time spent on attention, positions of queries included, selection not.
    public let attendNanoseconds: UInt64
    /// Calls of two or more query rows.
    public let prefill: AttentionStatistics
    /// Calls of one query row.
    public let decode: AttentionStatistics
    /// Bytes of all stores for the tokens now held.
    public let bytesInUse: UInt64
    /// The same for the full capacity.
    public let bytesCapacity: UInt64
    /// Over all layers and KV heads, keys and values together.
    public let bitsPerToken: Double

    init(_ stats: lhk_cache_stats) {
        appendNanoseconds = stats.append_nanoseconds
        selectNanoseconds = stats.select_nanoseconds
        attendNanoseconds = stats.attend_nanoseconds
        prefill = AttentionStatistics(stats.prefill)
        decode = AttentionStatistics(stats.decode)
        bytesInUse = stats.bytes_in_use
        bytesCapacity = stats.bytes_capacity
        bitsPerToken = stats.bits_per_token
    }
}

/// What a cache bound in one of its slots.
public struct CacheBinding: Hashable, Sendable {
    /// `store`, `prefill`, `decode`, `attention` or `position`.
    public let slot: String
    /// The specification as configured.
    public let spec: String
    /// The layers with this store, where layers have different ones; otherwise nil.
    public let layers: [Int]?
    /// Id of the variant chosen for layer 0, or, of a store, for its first layer; `none` where no layer has it.
    public let variant: String
    /// File of the plugin, or `built-in`.
    public let origin: String

    init(_ binding: lhk_cache_binding, stores: [String]?) {
        slot = String(cString: binding.slot)
        let spec = String(cString: binding.spec)
        self.spec = spec
        layers = slot == "store" ? stores.map { all in all.indices.filter { all[$0] == spec } } : nil
        variant = String(cString: binding.variant)
        origin = String(cString: binding.origin)
    }
}
