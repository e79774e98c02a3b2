// SPDX-License-Identifier: Apache-2.0
import Longhand
import LonghandLayers

/// A model from a GGUF file, ready to run: its shape, weights, tokenizer and chat format. Immutable; share it among
/// sessions.
public final class Model: Sendable {
    public let path: String
    public let shape: ModelShape
    public let tokenizer: Tokenizer
    public let chatFormat: ChatFormat
    public let host: KernelHost
    let weights: Weights
    let file: GGUFFile

    /// Opens `path` and dequantises its weights on `host`'s workers. Throws `GGUFError`, `ModelError` or `LonghandError`
    /// in one clear line.
    public init(path: String, host: KernelHost) throws {
        file = try GGUFFile(path: path)
        shape = try ModelShape(file)
        tokenizer = try Tokenizer(file)
        guard tokenizer.vocabulary.count <= shape.vocabularySize else {
            throw file.failure(
                "the tokenizer has \(tokenizer.vocabulary.count) tokens, the embeddings only \(shape.vocabularySize) rows")
        }
        chatFormat = try ChatFormat.detect(file)
        try LayerError.check { lhk_linear_load(host.raw.pointee.isa, nil, $0) }
        weights = try Weights(file, shape, host: host)
        self.path = path
        self.host = host
    }
}
