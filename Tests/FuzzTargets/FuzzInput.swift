// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Bytes of the fuzzer not yet read; zeros come after the last.
struct FuzzInput {
    private let bytes: UnsafeBufferPointer<UInt8>
    private var position = 0

    init(_ data: UnsafePointer<UInt8>?, _ size: Int) { bytes = UnsafeBufferPointer(start: data, count: size) }

    var isEmpty: Bool { position >= bytes.count }

    mutating func byte() -> UInt8 {
        defer { position += 1 }
        return isEmpty ? 0 : bytes[position]
    }

    /// 0 to `bound` - 1; `bound` is positive.
    mutating func below(_ bound: Int) -> Int {
        (bound > 256 ? Int(byte()) << 8 | Int(byte()) : Int(byte())) % bound
    }

    mutating func word() -> UInt32 { (0..<4).reduce(0) { value, _ in value << 8 | UInt32(byte()) } }

    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in byte() } }

    /// All that is left.
    mutating func rest() -> [UInt8] {
        defer { position = bytes.count }
        return isEmpty ? [] : Array(bytes[position...])
    }
}

/// Ends the run with a finding; libFuzzer keeps the input.
func found(_ text: String) -> Never { fatalError("found: \(text)") }

/// Calls `body` with the path of a file in memory that holds `bytes`, and removes it.
func withFile<T>(_ bytes: UnsafeRawBufferPointer, _ body: (String) throws -> T) rethrows -> T {
    let path = "/dev/shm/longhand-fuzz-\(getpid())"
    guard let file = fopen(path, "wb"), fwrite(bytes.baseAddress, 1, bytes.count, file) == bytes.count, fclose(file) == 0
    else { found("cannot write \(path)") }
    defer { unlink(path) }
    return try body(path)
}

/// An error is one printable line.
func checkLine(_ text: String) {
    if text.isEmpty || text.utf8.count > 8192 || text.contains(where: \.isNewline) { found("not one line: \(text)") }
}

/// `TARGET --seeds FOLDER` writes the target's `seeds()` and ends.
@_cdecl("LLVMFuzzerInitialize")
public func initialize(
    _ argc: UnsafeMutablePointer<Int32>, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>
) -> Int32 {
    guard argc.pointee == 3, String(cString: argv.pointee[1]!) == "--seeds" else { return 0 }
    for (number, seed) in seeds().enumerated() {
        let path = "\(String(cString: argv.pointee[2]!))/seed-\(number)"
        guard let file = fopen(path, "wb"), fwrite(seed, 1, seed.count, file) == seed.count, fclose(file) == 0 else {
            print("cannot write \(path)")
            exit(2)
        }
    }
    exit(0)
}
