// SPDX-License-Identifier: Apache-2.0
import CLonghand

/// Why a call failed: a kind to branch on and one line of text to show.
public struct LonghandError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kind of a failure; the raw value is the C library's status.
    public struct Status: RawRepresentable, Hashable, Sendable {
        public let rawValue: Int32
        public init(rawValue: Int32) { self.rawValue = rawValue }

        /// A shape, stride, alignment, range or option of the call is invalid.
        public static let argument = Status(rawValue: LHK_ERROR_ARGUMENT)
        /// Valid, but this method or variant does not do it.
        public static let unsupported = Status(rawValue: LHK_ERROR_UNSUPPORTED)
        /// A size does not fit its integer type.
        public static let overflow = Status(rawValue: LHK_ERROR_OVERFLOW)
        /// More than the cache holds or takes at once.
        public static let capacity = Status(rawValue: LHK_ERROR_CAPACITY)
        /// No plugin, method, file or option of that name.
        public static let notFound = Status(rawValue: LHK_ERROR_NOT_FOUND)
        /// A plugin of another ABI, or one whose tables are malformed.
        public static let abi = Status(rawValue: LHK_ERROR_ABI)
        /// The operating system refused.
        public static let io = Status(rawValue: LHK_ERROR_IO)
        /// A file's content is damaged or of another version.
        public static let corrupt = Status(rawValue: LHK_ERROR_CORRUPT)
        /// The system gave no memory.
        public static let memory = Status(rawValue: LHK_ERROR_MEMORY)
    }

    public let status: Status
    /// One line that says what failed and why.
    public let message: String

    public init(_ status: Status, _ message: String) {
        self.status = status
        self.message = message
    }

    public var description: String { message }
}

/// Runs a C call and turns a failure into a `LonghandError`.
package func check(_ call: (UnsafeMutablePointer<lhk_error>) -> lhk_status) throws(LonghandError) {
    var error = lhk_error()
    error.struct_size = UInt32(MemoryLayout<lhk_error>.size)
    let status = call(&error)
    guard status != LHK_OK else { return }
    let text = withUnsafeBytes(of: error.text) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    throw LonghandError(.init(rawValue: status), text.isEmpty ? "failed with status \(status)" : text)
}

/// `value` as an unsigned 32-bit number of the C API, or an error that names it.
package func narrow(_ value: Int, _ name: String) throws(LonghandError) -> UInt32 {
    guard let narrowed = UInt32(exactly: value) else {
        throw LonghandError(.argument, "\(name) \(value) is negative or too large")
    }
    return narrowed
}

/// What a C call writes to its result pointer, or nil when it fails. For structs with members that must not be null,
/// which have no empty value.
package func filled<Result>(_ call: (UnsafeMutablePointer<Result>) -> lhk_status) -> Result? {
    let result = UnsafeMutablePointer<Result>.allocate(capacity: 1)
    defer { result.deallocate() }
    return call(result) == LHK_OK ? result.pointee : nil
}
