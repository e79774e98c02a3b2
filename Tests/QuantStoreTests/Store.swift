// SPDX-License-Identifier: Apache-2.0
import LonghandQuantStore
import LonghandTestSupport

/// An instance of `q8` or `q4`.
final class Store: StoreInstance {
    init(_ name: String, dimK: Int, dimV: Int, heads: Int = 1, capacity: Int = 600, options: [(String, String)] = []) throws {
        try super.init(
            lhk_quant_store_plugin(), name, dimK: dimK, dimV: dimV, heads: heads, capacity: capacity, options: options)
    }
}
