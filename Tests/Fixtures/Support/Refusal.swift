// SPDX-License-Identifier: Apache-2.0
import CLonghand

/// A refusal by the C library.
public struct Refusal: Error, CustomStringConvertible {
    public let status: lhk_status
    public let argument: Int32
    public let text: String
    public var description: String { "status \(status), argument \(argument): \(text)" }
}

/// Runs a call that reports through `lhk_error` and throws what it reports.
public func check(_ body: (UnsafeMutablePointer<lhk_error>) -> lhk_status) throws {
    var error = lhk_error()
    error.struct_size = UInt32(MemoryLayout<lhk_error>.size)
    let status = body(&error)
    guard status != LHK_OK else { return }
    let text = withUnsafeBytes(of: error.text) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    throw Refusal(status: status, argument: error.argument, text: text)
}
