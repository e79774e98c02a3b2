// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand
import LonghandModel
import Testing

/// SmolLM2, opened once, and the discovered plugins.
enum Fixture {
    private static let loaded = Result { try Model(path: modelPath(), host: .openMP()) }
    private static let discovered = Result {
        let registry = try Registry()
        try registry.discover()
        return registry
    }

    static func model() throws -> Model { try loaded.get() }
    static func registry() throws -> Registry { try discovered.get() }

    /// Text of `count` tokens and more, which repeats nothing.
    static func text(sentences: Int = 120) -> String {
        let subjects = ["The harbour master", "A tall gardener", "My cousin", "The old printer", "Every student", "Nobody"]
        let verbs = ["counted", "painted", "remembered", "sold", "lost", "repaired", "described"]
        let objects = ["seven blue lamps", "the last bridge", "a letter from Lisbon", "forty maps", "the broken clock"]
        return (0..<sentences).map { i in
            "\(subjects[i * 5 % 6]) \(verbs[i * 3 % 7]) \(objects[i * 2 % 5]) on day \(i * 37 % 101)."
        }.joined(separator: " ")
    }

    static func modelPath() throws -> String {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../..")
        let folder =
            ProcessInfo.processInfo.environment["LONGHAND_CACHE"]
            ?? root.standardizedFileURL.appendingPathComponent(".cache/longhand").path
        let path = "\(folder)/SmolLM2-135M-Instruct.Q4_1.gguf"
        guard FileManager.default.fileExists(atPath: path) else {
            throw MissingModel(
                description: "\(path) is missing: fetch the models with '.ci/fetch-models', "
                    + "or set LONGHAND_CACHE to the folder that holds them")
        }
        return path
    }
}

struct MissingModel: Error, CustomStringConvertible { let description: String }

/// A path in the temporary folder that is gone after the call.
func withTemporaryPath<T>(_ body: (String) throws -> T) throws -> T {
    let path = NSTemporaryDirectory() + "longhand-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try body(path)
}

/// Writes `bytes` to a file that lasts for the call.
func withFile<T>(_ bytes: [UInt8], _ body: (String) throws -> T) throws -> T {
    try withTemporaryPath { path in
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        return try body(path)
    }
}

/// The seed of a random test: `LONGHAND_TEST_SEED`, or a new one; printed, so that a failure can be repeated.
func testSeed(_ test: String = #function) -> UInt64 {
    let seed =
        ProcessInfo.processInfo.environment["LONGHAND_TEST_SEED"].flatMap(UInt64.init) ?? UInt64.random(in: 0 ... .max)
    print("\(test): LONGHAND_TEST_SEED=\(seed)")
    return seed
}
