// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandTestPlugin
import Testing

/// A reproducible generator (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

/// The seed of this run: LONGHAND_TEST_SEED, or a fresh one. Printed, so that a failure can be replayed.
func testSeed(_ test: String) -> UInt64 {
    let seed =
        ProcessInfo.processInfo.environment["LONGHAND_TEST_SEED"].flatMap(UInt64.init) ?? UInt64.random(in: 1...999_999)
    print("\(test): LONGHAND_TEST_SEED=\(seed)")
    return seed
}

/// A new folder that goes away with this object.
final class TemporaryFolder {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "longhand-tests-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { "\(path)/\(name)" }

    func write(_ bytes: [UInt8], to name: String) throws -> String {
        try Data(bytes).write(to: URL(fileURLWithPath: file(name)))
        return file(name)
    }
}

/// The error that `body` throws, or nil.
func failure(_ body: () throws -> Void) -> LonghandError? {
    do {
        try body()
        return nil
    } catch {
        return error as? LonghandError
    }
}

/// A registry with the test doubles.
func doubles() throws -> Registry {
    let registry = try Registry()
    try registry.register(plugin: lhk_test_plugin())
    return registry
}

/// Root of the package.
let packageRoot = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().path

/// Builds `Tests/Fixtures/BadPlugins/plugin.c` with definitions such as `FAULT_MAGIC=7` as a plugin file in `folder`.
@discardableResult
func buildPlugin(_ name: String, in folder: TemporaryFolder, _ definitions: String...) throws -> String {
    let output = folder.file("libLonghand\(name)Plugin.so")
    let process = Process()
    let environment = ProcessInfo.processInfo.environment
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments =
        [environment["CC"] ?? "clang", "-std=c17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-w"]
        + ["-I\(packageRoot)/include", "\(packageRoot)/Tests/Fixtures/BadPlugins/plugin.c", "-o", output]
        + definitions.map { "-D\($0)" }
    let errors = Pipe()
    process.standardError = errors
    try process.run()
    let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    try #require(process.terminationStatus == 0, "a C compiler (clang, or CC) must build the test plugins: \(text)")
    return output
}
