// SPDX-License-Identifier: Apache-2.0
import CLonghand

/// Element type of a tensor.
public enum ElementType: UInt32, CaseIterable, Sendable, CustomStringConvertible {
    case f32 = 1
    case bf16 = 2
    case f16 = 3
    case i8 = 4

    public var description: String {
        switch self {
        case .f32: "f32"
        case .bf16: "bf16"
        case .f16: "f16"
        case .i8: "i8"
        }
    }

    /// The members of a bit mask of the C API, in order.
    static func members(of mask: UInt64) -> [ElementType] {
        allCases.filter { mask >> UInt64($0.rawValue) & 1 == 1 }
    }
}

/// A strided view of up to four dimensions on memory that it does not own: valid only as long as that memory is.
///
/// Element (i, j, ...) lies `i * strides[0] + j * strides[1] + ...` elements after `data`.
public struct Tensor {
    /// The view as the C API takes it.
    public let raw: lhk_tensor

    /// - Parameters:
    ///   - data: aligned to its element type; may be nil when a dimension is 0.
    ///   - type: of its elements.
    ///   - shape: one to four dimensions.
    ///   - strides: in elements, as many as dimensions; nil for row-major without gaps.
    /// - Throws: `LonghandError` (`.argument`, `.overflow`) for a negative or impossible shape or stride.
    public init(_ data: UnsafeMutableRawPointer?, type: ElementType = .f32, shape: [Int], strides: [Int]? = nil)
        throws(LonghandError)
    {
        guard (1...4).contains(shape.count), strides == nil || strides?.count == shape.count else {
            throw LonghandError(.argument, "a tensor has one to four dimensions and as many strides")
        }
        guard (shape + (strides ?? [])).allSatisfy({ $0 >= 0 }) else {
            throw LonghandError(.argument, "a tensor has a negative dimension or stride")
        }
        let steps: [Int]
        if let strides { steps = strides } else { steps = try Tensor.contiguousStrides(of: shape) }
        func padded(_ values: [Int]) -> (Int64, Int64, Int64, Int64) {
            func value(_ index: Int) -> Int64 { index < values.count ? Int64(values[index]) : 0 }
            return (value(0), value(1), value(2), value(3))
        }
        raw = lhk_tensor(
            data: data, dtype: type.rawValue, rank: UInt32(shape.count), shape: padded(shape), stride: padded(steps))
    }

    /// Row-major strides without gaps.
    static func contiguousStrides(of shape: [Int]) throws(LonghandError) -> [Int] {
        var strides = [Int](repeating: 1, count: shape.count)
        for axis in shape.indices.dropLast().reversed() {
            let (product, overflow) = strides[axis + 1].multipliedReportingOverflow(by: shape[axis + 1])
            guard !overflow else { throw LonghandError(.overflow, "the shape of a tensor overflows") }
            strides[axis] = product
        }
        return strides
    }

    /// Contiguous F32 rows [rows][heads][dim]. Does not allocate.
    init(rows data: UnsafePointer<Float>?, _ rows: Int, _ heads: Int, _ dim: Int) {
        raw = lhk_tensor(
            data: UnsafeMutableRawPointer(mutating: data), dtype: LHK_DTYPE_F32, rank: 3,
            shape: (Int64(rows), Int64(heads), Int64(dim), 0), stride: (Int64(heads * dim), Int64(dim), 1, 0))
    }

    /// Contiguous F32 [rows][heads]. Does not allocate.
    init(matrix data: UnsafeMutablePointer<Float>, _ rows: Int, _ heads: Int) {
        raw = lhk_tensor(
            data: UnsafeMutableRawPointer(data), dtype: LHK_DTYPE_F32, rank: 2,
            shape: (Int64(rows), Int64(heads), 0, 0),
            stride: (Int64(heads), 1, 0, 0))
    }
}
