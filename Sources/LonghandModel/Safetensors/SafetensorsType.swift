// SPDX-License-Identifier: Apache-2.0

/// Element type of a tensor in a safetensors file; the raw value is its name in the header.
public enum SafetensorsType: String, Sendable, CaseIterable {
    case f64 = "F64", f32 = "F32", f16 = "F16", bf16 = "BF16"
    case f8e4m3 = "F8_E4M3", f8e5m2 = "F8_E5M2"
    case i64 = "I64", i32 = "I32", i16 = "I16", i8 = "I8"
    case u64 = "U64", u32 = "U32", u16 = "U16", u8 = "U8"
    case bool = "BOOL"

    /// Bytes of one element.
    public var byteCount: Int {
        switch self {
        case .f64, .i64, .u64: 8
        case .f32, .i32, .u32: 4
        case .f16, .bf16, .i16, .u16: 2
        case .f8e4m3, .f8e5m2, .i8, .u8, .bool: 1
        }
    }

    /// The tensor type number of GGUF for the floating-point types that can be widened to f32.
    var ggufType: GGUFTensorType? {
        switch self {
        case .f32: .f32
        case .f16: .f16
        case .bf16: .bf16
        default: nil
        }
    }

    /// Bytes of a tensor of this type, or nil where they, or its number of elements, overflow.
    func byteCount(shape: [Int]) -> Int? {
        var bytes = byteCount
        for size in shape {
            let (product, overflow) = bytes.multipliedReportingOverflow(by: size)
            guard !overflow else { return nil }
            bytes = product
        }
        return bytes
    }
}

/// A tensor of a safetensors file: row-major, without gaps.
public struct SafetensorsTensor: Sendable, Hashable {
    public let name: String
    public let type: SafetensorsType
    /// Slowest dimension first; empty for a scalar.
    public let shape: [Int]
    /// First byte of its data in the file; not aligned in general.
    public let offset: Int
    public let byteCount: Int

    public var elementCount: Int { byteCount / type.byteCount }
}

/// Why a safetensors file was refused or could not be written. `description` is always one printable line.
public struct SafetensorsError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The file as the caller named it.
    public let path: String
    /// The byte of the file where the trouble was met, where there is one such place.
    public let offset: Int?
    /// What is wrong, without the path and the offset.
    public let reason: String

    public init(path: String, offset: Int? = nil, reason: String) {
        self.path = path
        self.offset = offset
        self.reason = reason
    }

    public var description: String {
        let place = offset.map { "at byte \($0): " } ?? ""
        return "\(path.printable(limit: 1024)): \(place)\(reason)"
    }
}

/// Limits of the format and of what is accepted, so that a hostile file costs little before it is refused.
enum SafetensorsLimits {
    /// The format's limit for the header.
    static let headerBytes = 100_000_000
    /// Far above what models and traces use.
    static let tensors = 1 << 20
    static let nameBytes = 4096
    static let rank = 16
    /// The name under which the header keeps metadata.
    static let metadataName = "__metadata__"
}
