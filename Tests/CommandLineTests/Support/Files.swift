// SPDX-License-Identifier: Apache-2.0
import Foundation
import LonghandModel
import Testing

/// A new folder that goes away with this object.
final class TemporaryFolder {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "longhand-tests-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { "\(path)/\(name)" }

    @discardableResult
    func write(_ data: Data, to name: String) throws -> String {
        try data.write(to: URL(fileURLWithPath: file(name)))
        return file(name)
    }
}

/// Root of the package.
let packageRoot = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path

/// Builds `Tests/Fixtures/BadPlugins/plugin.c`, a selector called "tiny", with definitions such as `FAULT_MAJOR=2` as
/// a plugin file in `folder`.
@discardableResult
func buildPlugin(_ name: String, in folder: TemporaryFolder, _ definitions: String...) throws -> String {
    let output = folder.file("libLonghand\(name)Plugin.so")
    let outcome = try shell(
        "exec \"${CC:-clang}\" -std=c17 -O1 -shared -fPIC -fvisibility=hidden -w \"$@\"",
        ["bash", "-I\(packageRoot)/include", "\(packageRoot)/Tests/Fixtures/BadPlugins/plugin.c", "-o", output]
            + definitions.map { "-D\($0)" })
    try #require(outcome.code == 0, "a C compiler (clang, or CC) must build the test plugins: \(outcome.stderr)")
    return output
}

struct MissingModel: Error, CustomStringConvertible { let description: String }

/// The default model's file, in the folder `LONGHAND_CACHE`, or else `.cache/longhand` of the package.
func defaultModel() throws -> String {
    let folder = ProcessInfo.processInfo.environment["LONGHAND_CACHE"] ?? packageRoot + "/.cache/longhand"
    let path = folder + "/SmolLM2-135M-Instruct.Q4_1.gguf"
    guard FileManager.default.fileExists(atPath: path) else {
        throw MissingModel(
            description: "\(path) is missing: fetch the models with '.ci/fetch-models', or set LONGHAND_CACHE to the "
                + "folder that holds them")
    }
    return path
}

/// The default model with changed metadata and all weights zero: the data are a hole in the file, which costs neither
/// time nor space. Every token is equally likely then, and the first, the end of text, is taken.
struct HollowModel {
    private let size: Int
    private(set) var header: Data
    let tensors: [GGUFTensor]

    init() throws {
        let file = try GGUFFile(path: defaultModel())
        tensors = file.tensors
        size = file.byteCount
        let start = try #require(tensors.map(\.offset).min())
        let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: file.path))
        header = try #require(try handle.read(upToCount: start))
    }

    /// Writes `bytes` over those that lie `distance` behind the first occurrence of `text`.
    mutating func patch(after text: String, distance: Int = 0, _ bytes: [UInt8]) throws {
        let range = try #require(header.range(of: Data(text.utf8)), "\(text) is not in the header")
        let start = range.upperBound + distance
        header.replaceSubrange(start..<start + bytes.count, with: bytes)
    }

    /// Replaces the value of a metadata entry of type UINT32.
    mutating func set(_ key: String, _ value: UInt32) throws {
        try patch(after: key, distance: 4, withUnsafeBytes(of: value.littleEndian, Array.init))
    }

    /// Replaces the type of a matrix.
    mutating func setType(of tensor: String, _ type: UInt32) throws {
        try patch(after: tensor, distance: 4 + 2 * 8, withUnsafeBytes(of: type.littleEndian, Array.init))
    }

    /// Writes the file; `data` go to the start of a tensor, and the file ends after `keep` bytes if given.
    func write(to path: String, data: [(tensor: String, [UInt8])] = [], keep: Int? = nil) throws {
        try header.write(to: URL(fileURLWithPath: path))
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        for (name, bytes) in data {
            let tensor = try #require(tensors.first { $0.name == name })
            try handle.seek(toOffset: UInt64(tensor.offset))
            try handle.write(contentsOf: Data(bytes))
        }
        try handle.truncate(atOffset: UInt64(keep ?? size))
        try handle.close()
    }
}
