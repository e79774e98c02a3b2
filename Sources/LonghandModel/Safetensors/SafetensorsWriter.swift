// SPDX-License-Identifier: Apache-2.0

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Writes a safetensors file whose tensors are known beforehand and whose data come piece by piece, in any order: memory
/// depends on the pieces, not on the file.
///
/// The space is reserved at once, in a file without a name where the system has such files, which then vanishes with the
/// process however that ends, and otherwise beside the final path. `finish` puts it in place; without it nothing is left.
/// Data begin at a multiple of 64 bytes. Not thread-safe.
public final class SafetensorsWriter {
    /// A tensor to be written.
    public struct Declaration: Sendable {
        public var name: String
        public var type: SafetensorsType
        public var shape: [Int]

        public init(_ name: String, _ type: SafetensorsType, shape: [Int]) {
            self.name = name
            self.type = type
            self.shape = shape
        }
    }

    public let path: String
    /// The tensors with their places in the file, in the order given.
    public let tensors: [SafetensorsTensor]
    /// Size of the file in bytes.
    public let byteCount: Int
    private let partialPath: String
    private let descriptor: Int32
    private let isUnnamed: Bool
    private var remaining: Int
    private var isOpen = true

    /// Creates the file and reserves its space.
    ///
    /// - Throws: `SafetensorsError` for two tensors of one name, sizes that overflow, a path that cannot be written or
    ///   a disk without the space.
    public init(path: String, tensors declarations: [Declaration], metadata: [String: String] = [:]) throws {
        func failure(_ reason: String) -> SafetensorsError { SafetensorsError(path: path, reason: reason) }
        let (header, tensors, total) = try Self.layout(declarations, metadata, failure)
        var status = stat()
        if stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG { throw failure("is not a regular file") }
        partialPath = "\(path).\(getpid()).partial"
        let unnamed = Self.openUnnamed(beside: path)
        isUnnamed = unnamed >= 0
        descriptor = isUnnamed ? unnamed : open(partialPath, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o666)
        guard descriptor >= 0 else { throw failure("cannot create: \(String(cString: strerror(errno)))") }
        self.path = path
        self.tensors = tensors
        byteCount = total
        remaining = total - header.count
        do {
            try reserve()
            try header.withUnsafeBytes { try put($0, at: 0) }
        } catch {
            discard()
            throw error
        }
    }

    deinit { discard() }

    /// Writes `bytes` to tensor `index` from its byte `offset` on. Every byte must be written exactly once.
    public func write(_ bytes: UnsafeRawBufferPointer, tensor index: Int, at offset: Int) throws {
        let tensor = tensors[index]
        guard isOpen, offset >= 0, bytes.count <= tensor.byteCount, offset <= tensor.byteCount - bytes.count else {
            throw failure("bytes \(offset) to \(offset + bytes.count) are outside tensor \"\(tensor.name.printable())\"")
        }
        try put(bytes, at: tensor.offset + offset)
        remaining -= bytes.count
    }

    /// Puts the file in place of `path`. Throws when data are missing, and leaves no file then.
    public func finish() throws {
        guard isOpen else { return }
        guard remaining == 0 else { throw failure("\(remaining) bytes of tensor data were not written") }
        isOpen = false
        let isNamed = giveName()
        guard close(descriptor) == 0, isNamed, rename(partialPath, path) == 0 else {
            let reason = String(cString: strerror(errno))
            unlink(partialPath)
            throw failure("cannot finish: \(reason)")
        }
    }

    private func discard() {
        guard isOpen else { return }
        isOpen = false
        close(descriptor)
        if !isUnnamed { unlink(partialPath) }
    }

    /// A new file without a name in the folder of `path`, or -1.
    private static func openUnnamed(beside path: String) -> Int32 {
        #if os(Linux)
        let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let temporary: Int32 = 0o20_000_000 | O_DIRECTORY  // O_TMPFILE, which is not imported
        return open(folder, O_WRONLY | temporary | O_CLOEXEC, 0o666)
        #else
        return -1
        #endif
    }

    /// Lets the file be found at its partial path.
    private func giveName() -> Bool {
        #if os(Linux)
        guard isUnnamed else { return true }
        unlink(partialPath)
        return linkat(AT_FDCWD, "/proc/self/fd/\(descriptor)", AT_FDCWD, partialPath, AT_SYMLINK_FOLLOW) == 0
        #else
        return true
        #endif
    }

    private func failure(_ reason: String) -> SafetensorsError { SafetensorsError(path: path, reason: reason) }

    /// Makes the file as long as it will be, on blocks that exist, so that a full disk shows now.
    private func reserve() throws {
        #if os(Linux)
        let code = posix_fallocate(descriptor, 0, off_t(byteCount))
        if code == 0 { return }
        guard code == EINVAL || code == EOPNOTSUPP || code == ENOSYS else {
            throw failure("cannot reserve \(byteCount) bytes: \(String(cString: strerror(code)))")
        }
        #endif
        guard ftruncate(descriptor, off_t(byteCount)) == 0 else {
            throw failure("cannot reserve \(byteCount) bytes: \(String(cString: strerror(errno)))")
        }
    }

    private func put(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws {
        var done = 0
        while done < bytes.count {
            let count = pwrite(descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset + done))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw failure("cannot write: \(String(cString: strerror(errno)))") }
            done += count
        }
    }

    /// The bytes before the data, the places of the tensors, and the size of the file.
    private static func layout(
        _ declarations: [Declaration], _ metadata: [String: String], _ failure: (String) -> SafetensorsError
    ) throws -> ([UInt8], [SafetensorsTensor], Int) {
        var members: [String] = []
        if !metadata.isEmpty {
            let pairs = metadata.sorted { $0.key < $1.key }.map { "\(quote($0.key)):\(quote($0.value))" }
            members.append("\(quote(SafetensorsLimits.metadataName)):{\(pairs.joined(separator: ","))}")
        }
        var names: Set<String> = [SafetensorsLimits.metadataName]
        var spans: [Range<Int>] = []
        for tensor in declarations {
            guard names.insert(tensor.name).inserted else { throw failure("two tensors are called \"\(tensor.name.printable())\"") }
            guard tensor.shape.allSatisfy({ $0 >= 0 }), let bytes = tensor.type.byteCount(shape: tensor.shape),
                case let (end, overflow) = (spans.last?.upperBound ?? 0).addingReportingOverflow(bytes), !overflow,
                end <= Int.max / 2
            else { throw failure("tensor \"\(tensor.name.printable())\" of shape \(tensor.shape) is larger than any file") }
            let begin = spans.last?.upperBound ?? 0
            spans.append(begin..<end)
            let shape = tensor.shape.map(String.init).joined(separator: ",")
            members.append(
                "\(quote(tensor.name)):{\"dtype\":\"\(tensor.type.rawValue)\",\"shape\":[\(shape)],"
                    + "\"data_offsets\":[\(begin),\(end)]}")
        }
        var json = Array("{\(members.joined(separator: ","))}".utf8)
        json += [UInt8](repeating: 0x20, count: (64 - (json.count + 8) % 64) % 64)
        guard json.count <= SafetensorsLimits.headerBytes else { throw failure("the header is too long") }
        let header = withUnsafeBytes(of: UInt64(json.count).littleEndian) { Array($0) } + json
        let tensors = zip(declarations, spans).map {
            SafetensorsTensor(
                name: $0.name, type: $0.type, shape: $0.shape, offset: header.count + $1.lowerBound, byteCount: $1.count)
        }
        return (header, tensors, header.count + (spans.last?.upperBound ?? 0))
    }

    /// `text` as a JSON string.
    private static func quote(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
