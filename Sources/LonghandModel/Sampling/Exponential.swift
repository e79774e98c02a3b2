// SPDX-License-Identifier: Apache-2.0

/// e to the power of `x` for x <= 0, to within a few units in the last place; 0 below -708 and for -inf.
///
/// Additions and multiplications only, so that every platform gives the same bits, which the mathematics libraries of
/// different systems do not: a seed must choose the same tokens everywhere.
func exponential(_ x: Double) -> Double {
    guard x > -708 else { return 0 }
    // x = k ln 2 + r with |r| <= ln(2)/2; ln 2 in two parts, so that k times the first is exact.
    let k = (x * 1.4426950408889634).rounded()
    let r = (x - k * 0x1.62e42fefa0000p-1) - k * 0x1.cf79abc9e3b39p-40
    // The Taylor series to r^13 by Horner's rule.
    var sum = 1.0 / 6227020800
    sum = sum * r + 1.0 / 479001600
    sum = sum * r + 1.0 / 39916800
    sum = sum * r + 1.0 / 3628800
    sum = sum * r + 1.0 / 362880
    sum = sum * r + 1.0 / 40320
    sum = sum * r + 1.0 / 5040
    sum = sum * r + 1.0 / 720
    sum = sum * r + 1.0 / 120
    sum = sum * r + 1.0 / 24
    sum = sum * r + 1.0 / 6
    sum = sum * r + 1.0 / 2
    sum = sum * r + 1.0 / 1
    sum = sum * r + 1.0 / 1
    return sum * Double(bitPattern: UInt64(1023 + Int(k)) << 52)
}
