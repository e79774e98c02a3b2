// SPDX-License-Identifier: Apache-2.0

/// How the elements of a tensor are stored. The raw value is the type id of the file format.
///
/// A row is a sequence of whole blocks of `blockSize` elements, each `bytesPerBlock` bytes.
public enum GGUFTensorType: UInt32, Sendable, CaseIterable {
    case f32 = 0
    case f16 = 1
    case q4_0 = 2
    case q4_1 = 3
    case q5_0 = 6
    case q5_1 = 7
    case q8_0 = 8
    case q4_K = 12
    case q5_K = 13
    case q6_K = 14
    case bf16 = 30

    /// Elements per block.
    public var blockSize: Int {
        switch self {
        case .f32, .f16, .bf16: 1
        case .q4_0, .q4_1, .q5_0, .q5_1, .q8_0: 32
        case .q4_K, .q5_K, .q6_K: 256
        }
    }

    /// Bytes per block: the f16 scale (and minimum), the high bits and the quants, in the order of each format.
    public var bytesPerBlock: Int {
        switch self {
        case .f32: 4
        case .f16, .bf16: 2
        case .q4_0: 2 + 16
        case .q4_1: 2 + 2 + 16
        case .q5_0: 2 + 4 + 16
        case .q5_1: 2 + 2 + 4 + 16
        case .q8_0: 2 + 32
        case .q4_K: 2 + 2 + 12 + 128
        case .q5_K: 2 + 2 + 12 + 32 + 128
        case .q6_K: 128 + 64 + 16 + 2
        }
    }

    /// The name in common use, such as `Q4_K`.
    public var name: String {
        switch self {
        case .f32: "F32"
        case .f16: "F16"
        case .bf16: "BF16"
        case .q4_0: "Q4_0"
        case .q4_1: "Q4_1"
        case .q5_0: "Q5_0"
        case .q5_1: "Q5_1"
        case .q8_0: "Q8_0"
        case .q4_K: "Q4_K"
        case .q5_K: "Q5_K"
        case .q6_K: "Q6_K"
        }
    }
}

/// One entry of a file's tensor directory; every field has been checked against the file.
public struct GGUFTensor: Sendable, Equatable {
    public let name: String
    /// One to four sizes, the fastest-varying first: a weight that maps `n` inputs to `m` outputs is `[n, m]`.
    public let dimensions: [Int]
    public let type: GGUFTensorType
    /// Where the data starts, in bytes from the start of the file; a multiple of the file's alignment.
    public let offset: Int
    /// Size of the data in bytes.
    public let byteCount: Int

    /// Number of elements.
    public var elementCount: Int { dimensions.reduce(1, *) }
    /// Number of rows, each of `dimensions[0]` elements.
    public var rowCount: Int { dimensions.dropFirst().reduce(1, *) }
    /// Bytes of one row; rows follow each other without gaps.
    public var bytesPerRow: Int { dimensions[0] / type.blockSize * type.bytesPerBlock }
}
