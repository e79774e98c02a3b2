// SPDX-License-Identifier: Apache-2.0
// A cache of one layer whose methods are plugins: a prompt of 300 tokens, then one more token.
import Longhand

let registry = try Registry()
try registry.discover()

let layer = CacheLayer(queryHeads: 8, kvHeads: 2, headDimK: 64, headDimV: 64)
var configuration = CacheConfiguration(layers: [layer], capacity: 1024)
configuration.decode = "window:size=128"
let cache = try Cache(configuration, registry: registry, host: .openMP())

/// Numbers that stand for the queries, keys and values of a model.
func rows(_ count: Int, heads: Int) -> [Float] { (0..<count * heads * 64).map { Float($0 * 37 % 101) / 50 - 1 } }

for step in [300, 1] {
    try cache.append(layer: 0, keys: rows(step, heads: 2), values: rows(step, heads: 2), rows: step)
    var out = [Float](repeating: .nan, count: step * 8 * 64)
    try cache.attend(layer: 0, queries: rows(step, heads: 8), out: &out, rows: step)
    precondition(out.allSatisfy { abs($0) <= 1.01 }, "attention is a mean of values")
}
for binding in cache.bindings { print(binding.slot, binding.spec, binding.variant) }
print("decoding attended \(cache.statistics.decode.pairsAttended) of \(cache.statistics.decode.pairsVisible)")
