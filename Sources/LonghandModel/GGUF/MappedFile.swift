// SPDX-License-Identifier: Apache-2.0

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// A regular file mapped read-only into memory for as long as this object lives.
///
/// Unchecked because a raw pointer is not `Sendable`; the mapping is never written and never moves, so any number of
/// threads may read it. A file that another process shortens meanwhile makes such a read fail with SIGBUS, as with
/// every mapping.
final class MappedFile: @unchecked Sendable {
    let path: String
    let bytes: UnsafeRawBufferPointer

    /// Maps the file at `path`; throws unless it is a readable, regular and non-empty file.
    ///
    /// - Parameters:
    ///   - format: what the file should be, for error messages.
    ///   - failure: makes the error of a reason.
    init(path: String, format: String, failure: (String) -> any Error) throws {
        func systemFailure(_ action: String) -> any Error { failure("\(action): \(String(cString: strerror(errno)))") }

        guard !path.utf8.contains(0) else { throw failure("a path cannot contain a zero byte") }
        // Without O_NONBLOCK, opening a FIFO would wait for a writer.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw systemFailure("cannot open") }
        defer { close(descriptor) }

        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw systemFailure("cannot read its size") }
        switch status.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFDIR: throw failure("is a directory, not a \(format) file")
        default: throw failure("is not a regular file")
        }
        guard status.st_size > 0 else { throw failure("is empty, not a \(format) file") }
        guard let size = Int(exactly: status.st_size),
            let base = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED
        else { throw systemFailure("cannot map into memory") }

        self.path = path
        self.bytes = UnsafeRawBufferPointer(start: base, count: size)
    }

    deinit { munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count) }
}
