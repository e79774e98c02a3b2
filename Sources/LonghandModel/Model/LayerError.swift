// SPDX-License-Identifier: Apache-2.0

import CLonghand
import Longhand

/// Turns a status and error text of the layer kernels into a thrown `LonghandError`.
enum LayerError {
    static func check(_ call: (UnsafeMutablePointer<lhk_error>) -> lhk_status) throws {
        var error = lhk_error()
        error.struct_size = UInt32(MemoryLayout<lhk_error>.size)
        let status = call(&error)
        guard status != LHK_OK else { return }
        let text = withUnsafeBytes(of: error.text) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        throw LonghandError(LonghandError.Status(rawValue: status), text)
    }
}
