// SPDX-License-Identifier: Apache-2.0
import Foundation

/// The quantiser by its formulas, in double precision: centres z_a + i z_b of every level, by brute force.
struct Oracle {
    /// [level][code][pair]
    let books: [[[Complex]]]

    struct Complex {
        var x, y: Double
        static func + (a: Self, b: Self) -> Self { .init(x: a.x + b.x, y: a.y + b.y) }
        static func - (a: Self, b: Self) -> Self { .init(x: a.x - b.x, y: a.y - b.y) }
        var timesI: Self { .init(x: -y, y: x) }
        var square: Double { x * x + y * y }
    }

    /// A codebook [levels][16][dim], planar.
    init(_ codebook: [Float], levels: Int, dim: Int) {
        let pairs = dim / 2
        books = (0..<levels).map { r in
            (0..<16).map { c in
                (0..<pairs).map { j in
                    let at = (r * 16 + c) * dim + j
                    return Complex(x: Double(codebook[at]), y: Double(codebook[at + pairs]))
                }
            }
        }
    }

    /// What greedy encoding gives for a key, planar.
    func coded(_ key: [Double]) -> [Double] {
        let pairs = key.count / 2
        let whole = (0..<pairs).map { Complex(x: key[$0], y: key[$0 + pairs]) }
        var rest = whole
        for book in books {
            var best = (error: Double.infinity, rest: rest)
            for a in book {
                for b in book {
                    let left = (0..<pairs).map { rest[$0] - a[$0] - b[$0].timesI }
                    let error = left.reduce(0) { $0 + $1.square }
                    if error < best.error { best = (error, left) }
                }
            }
            rest = best.rest
        }
        let coded = (0..<pairs).map { whole[$0] - rest[$0] }
        return coded.map(\.x) + coded.map(\.y)
    }
}

func dot(_ a: [Float], _ b: [Float]) -> Double { zip(a, b).reduce(0) { $0 + Double($1.0) * Double($1.1) } }
func distance(_ a: [Float], _ b: [Float]) -> Double {
    zip(a, b).map { Double($0) - Double($1) }.reduce(0) { $0 + $1 * $1 }.squareRoot()
}
func norm(_ a: [Float]) -> Double { dot(a, a).squareRoot() }
