// SPDX-License-Identifier: Apache-2.0

/// Why a GGUF file, or the tokenizer inside it, was refused.
///
/// `description` is always one printable line, whatever bytes the path and the file contain.
public struct GGUFError: Error, Sendable, Equatable, CustomStringConvertible {
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

extension String {
    /// This text with everything that could break or garble a line of output escaped, cut after `limit` scalars.
    func printable(limit: Int = 80) -> String {
        var result = ""
        for (index, scalar) in unicodeScalars.enumerated() {
            if index == limit { return result + "…" }
            switch scalar.properties.generalCategory {
            case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator:
                result += scalar.escaped(asASCII: true)
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}

extension UnsafeRawBufferPointer {
    /// These bytes as a quoted, printable, shortened text, for error messages.
    var quoted: String { "\"\(String(decoding: prefix(512), as: UTF8.self).printable())\"" }
}
