// SPDX-License-Identifier: Apache-2.0
import Foundation

/// A file that a command writes when its work is done.
enum OutputFile {
    /// Throws where `path` cannot be written, so that it shows before the work and not after it.
    static func check(_ path: String) throws {
        var status = stat()
        let exists = stat(path, &status) == 0
        if exists && status.st_mode & S_IFMT == S_IFDIR { throw Failure("\(path): cannot be written: it is a directory") }
        let folder = (path as NSString).deletingLastPathComponent
        let place = exists ? path : folder.isEmpty ? "." : folder
        guard access(place, W_OK) == 0 else { throw Failure("\(path): cannot be written: \(String(cString: strerror(errno)))") }
    }

    static func write(_ text: String, to path: String) throws {
        do { try Data(text.utf8).write(to: URL(fileURLWithPath: path)) } catch { throw Failure("\(path): cannot be written") }
    }
}
