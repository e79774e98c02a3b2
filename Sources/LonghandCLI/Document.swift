// SPDX-License-Identifier: Apache-2.0
import Glibc

/// The text of a document.
struct Document {
    let text: String
    /// Whether all bytes were valid UTF-8; what was not became U+FFFD.
    let isUTF8: Bool

    /// More than a document of a hundred million tokens; the bound on what is held in memory.
    static let byteLimit = 256 << 20

    /// Reads a file, a pipe, or standard input for `-`.
    ///
    /// - Parameter limit: most bytes that can be of use; a longer document is refused as soon as that shows.
    init(path: String, limit: Int) throws {
        let name = path == "-" ? "standard input" : path
        func systemFailure(_ action: String) -> Failure {
            Failure("\(name): \(action): \(String(cString: strerror(errno)))")
        }
        let descriptor = path == "-" ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw systemFailure("cannot open the document") }
        defer { if descriptor != STDIN_FILENO { close(descriptor) } }

        let limit = min(limit, Self.byteLimit)
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = Glibc.read(descriptor, &part, part.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw systemFailure("cannot read the document") }
            if count == 0 { break }
            bytes += part[..<count]
            guard bytes.count <= limit else {
                throw Failure("\(name): the document is longer than \(limit) bytes, the most that the context can hold")
            }
        }
        guard !bytes.isEmpty else { throw Failure("\(name): the document is empty") }
        let valid = String(validating: bytes, as: UTF8.self)
        text = valid ?? String(decoding: bytes, as: UTF8.self)
        isUTF8 = valid != nil
    }
}

/// A wrong input, in one line.
struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
