// SPDX-License-Identifier: Apache-2.0
import Foundation

/// A file that a command writes when its work is done.
enum OutputFile {
    /// Throws where `path` cannot be written, so that it shows before the work and not after it.
    ///
    /// - Parameter asRegularFile: whether it will be written in any order, which devices and pipes do not allow.
    static func check(_ path: String, asRegularFile: Bool = false) throws {
        var status = stat()
        let exists = stat(path, &status) == 0, kind = status.st_mode & S_IFMT
        if exists && kind == S_IFDIR { throw Failure("\(path): cannot be written: it is a directory") }
        if exists && asRegularFile && kind != S_IFREG { throw Failure("\(path): cannot be written: it is not a regular file") }
        let folder = (path as NSString).deletingLastPathComponent
        let place = exists ? path : folder.isEmpty ? "." : folder
        guard access(place, W_OK) == 0 else { throw Failure("\(path): cannot be written: \(String(cString: strerror(errno)))") }
    }

    /// Writes `text`. A regular file is replaced as a whole, so that none is left in part; devices and pipes are written to.
    static func write(_ text: String, to path: String) throws {
        var status = stat()
        let isReplaced = lstat(path, &status) != 0 || status.st_mode & S_IFMT == S_IFREG
        do {
            try Data(text.utf8).write(to: URL(fileURLWithPath: path), options: isReplaced ? .atomic : [])
        } catch {
            let cause = (error as NSError).userInfo[NSUnderlyingErrorKey] as? POSIXError
            throw Failure("\(path): cannot be written" + (cause.map { ": \(String(cString: strerror($0.code.rawValue)))" } ?? ""))
        }
    }
}
