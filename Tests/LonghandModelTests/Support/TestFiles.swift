// SPDX-License-Identifier: Apache-2.0

import Foundation
import LonghandModel
import Testing

/// Writes `bytes` to a file that lasts for the call.
func withFile<T>(_ bytes: [UInt8], _ body: (String) throws -> T) throws -> T {
    let path = NSTemporaryDirectory() + "longhand-\(UUID().uuidString).gguf"
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try body(path)
}

extension GGUFWriter {
    /// Opens what was built. The file is removed at once; its mapping stays.
    func open() throws -> GGUFFile { try withFile(bytes()) { try GGUFFile(path: $0) } }

    /// The value under a metadata key, to be read or replaced.
    subscript(key: String) -> Value? {
        get { metadata.first { $0.key == key }?.value }
        set {
            metadata.removeAll { $0.key == key }
            if let newValue { metadata.append((key, newValue)) }
        }
    }
}

/// The real models, and the results of another implementation for them.
enum TestModel: String, CaseIterable, Sendable {
    case smollm2 = "SmolLM2-135M-Instruct.Q4_1"
    case gemma3 = "gemma-3-270m-q4_k_m"

    private static let tokenizers = [
        smollm2: Result { try Tokenizer(smollm2.open()) }, gemma3: Result { try Tokenizer(gemma3.open()) },
    ]

    /// Opens the model's file.
    func open() throws -> GGUFFile { try GGUFFile(path: path()) }

    /// The model's file in the folder `LONGHAND_CACHE`, or else `.cache/longhand` of the package.
    func path() throws -> String {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../..")
        let folder =
            ProcessInfo.processInfo.environment["LONGHAND_CACHE"]
            ?? root.standardizedFileURL.appendingPathComponent(".cache/longhand").path
        let path = "\(folder)/\(rawValue).gguf"
        guard FileManager.default.fileExists(atPath: path) else {
            throw MissingModel(
                description: "\(path) is missing: fetch the models with '.ci/fetch-models', "
                    + "or set LONGHAND_CACHE to the folder that holds them")
        }
        return path
    }

    /// The model's tokenizer, read once.
    func tokenizer() throws -> Tokenizer { try Self.tokenizers[self]!.get() }

    /// The recorded results.
    func golden() throws -> Golden {
        let name = self == .smollm2 ? "smollm2-135m-instruct-q4_1" : "gemma-3-270m-q4_k_m"
        let url = try #require(
            Bundle.module.url(forResource: name, withExtension: "json", subdirectory: "Golden"))
        return try JSONDecoder().decode(Golden.self, from: Data(contentsOf: url))
    }
}

struct MissingModel: Error, CustomStringConvertible { let description: String }

/// The recorded results.
struct Golden: Decodable {
    struct Case: Decodable {
        let text: String
        let ids: [Int32]
    }
    struct Perplexity: Decodable { let perplexity: Double }
    struct Logits: Decodable {
        let context, position: Int
        let top_ids: [Int]
        let top_logits: [Float]
        let logsumexp: Double
    }
    struct Greedy: Decodable {
        let prompt: String
        let ids: [Int32]
        let top1_top2_gap: [Double]
    }
    let bos_prepended: Bool
    let token_ids: [Int32]
    let tokenizer_cases: [Case]
    let perplexity: [String: Perplexity]
    let logits: [Logits]
    let greedy: [Greedy]
}

/// The seed of a random test: `LONGHAND_TEST_SEED`, or a new one; printed, so that a failure can be repeated.
func testSeed(_ test: String = #function) -> UInt64 {
    let seed =
        ProcessInfo.processInfo.environment["LONGHAND_TEST_SEED"].flatMap(UInt64.init) ?? UInt64.random(in: 0 ... .max)
    print("\(test): LONGHAND_TEST_SEED=\(seed)")
    return seed
}
