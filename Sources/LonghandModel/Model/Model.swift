// SPDX-License-Identifier: Apache-2.0
import Longhand
import LonghandLayers

/// What a model file says before its weights are read: enough to encode a prompt and to check that everything fits.
/// Immutable; opening one costs some milliseconds, whatever the size of the model.
public struct ModelHeader: Sendable {
    public let path: String
    public let shape: ModelShape
    public let tokenizer: Tokenizer
    public let chatFormat: ChatFormat
    let file: GGUFFile

    /// Opens and checks `path`. Throws `GGUFError` in one clear line.
    public init(path: String) throws {
        file = try GGUFFile(path: path)
        shape = try ModelShape(file)
        tokenizer = try Tokenizer(file)
        guard tokenizer.vocabulary.count <= shape.vocabularySize else {
            throw file.failure(
                "the tokenizer has \(tokenizer.vocabulary.count) tokens, the embeddings only \(shape.vocabularySize) rows")
        }
        chatFormat = try ChatFormat.detect(file)
        self.path = path
    }
}

/// A model from a GGUF file, ready to run: its header and its weights. Immutable; share it among sessions.
public final class Model: Sendable {
    public let header: ModelHeader
    public let host: KernelHost
    /// What its linear layers compute with.
    public let linear: LinearPrecision
    let weights: Weights

    public var path: String { header.path }
    public var shape: ModelShape { header.shape }
    public var tokenizer: Tokenizer { header.tokenizer }
    public var chatFormat: ChatFormat { header.chatFormat }
    var file: GGUFFile { header.file }

    /// Opens `path` and reads its weights on `host`'s workers. Throws `GGUFError`, `ModelError` or `LonghandError` in one
    /// clear line.
    public convenience init(path: String, host: KernelHost, linear: LinearPrecision = .int16) throws {
        try self.init(ModelHeader(path: path), host: host, linear: linear)
    }

    /// Reads the weights of a file that is open already. Throws as above.
    public init(_ header: ModelHeader, host: KernelHost, linear: LinearPrecision = .int16) throws {
        self.linear = linear
        weights = try Weights(header.file, header.shape, host: host, linear: linear)
        if weights.needsBLAS { try LayerError.check { lhk_linear_load(host.raw.pointee.isa, nil, $0) } }
        self.header = header
        self.host = host
    }
}
