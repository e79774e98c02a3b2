// SPDX-License-Identifier: Apache-2.0

import Foundation

/// One message of a conversation.
public struct ChatMessage: Sendable, Equatable {
    public enum Role: String, Sendable { case system, user, assistant }
    public var role: Role
    public var content: String

    public init(_ role: Role, _ content: String) {
        self.role = role
        self.content = content
    }
}

/// Why a conversation cannot be written in a format. `description` is one line.
public struct ChatError: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String
}

/// How a model expects a conversation to be written.
public enum ChatFormat: Sendable, Equatable {
    /// `<|im_start|>role` … `<|im_end|>`; a conversation that does not begin with a system message gets
    /// `defaultSystem`, if the model has one.
    case chatML(defaultSystem: String?)
    /// `<start_of_turn>role` … `<end_of_turn>`, without system messages: theirs goes before the user's text.
    case gemma
    /// No format: the only message is the prompt as it stands. The reason is one line that can be shown.
    case raw(reason: String)

    /// The format that a file's `tokenizer.chat_template` describes, told by its markers; `raw` with a reason where
    /// the file has no template (a base model) or one of another kind. Throws `GGUFError` if the value is not a string.
    public static func detect(_ file: GGUFFile) throws -> ChatFormat {
        guard let template = try file.string("tokenizer.chat_template") else {
            return .raw(reason: "the model has no chat template, so the prompt is used as it stands")
        }
        if template.contains("<|im_start|>") { return .chatML(defaultSystem: defaultSystem(template)) }
        if template.contains("<start_of_turn>") { return .gemma }
        return .raw(
            reason: "the model's chat template is neither ChatML nor gemma, so the prompt is used as it stands")
    }

    /// The constant system message in a ChatML template: what stands between the markers, if it is plain text and no
    /// expression. The line break after the role is a real one or an escape.
    private static func defaultSystem(_ template: String) -> String? {
        for part in template.components(separatedBy: "<|im_start|>system").dropFirst() {
            for lineBreak in ["\n", "\\n"] where part.hasPrefix(lineBreak) {
                let rest = part.dropFirst(lineBreak.count)
                guard let end = rest.range(of: "<|im_end|>") else { continue }
                let text = rest[..<end.lowerBound]
                if !text.contains(where: { "'\"{}".contains($0) }) {
                    return text.replacingOccurrences(of: "\\n", with: "\n")
                }
            }
        }
        return nil
    }

    /// Whether the conversation is only a prompt, without roles.
    public var isRaw: Bool { if case .raw = self { true } else { false } }

    /// The conversation as one text, ready for the assistant's answer, without BOS. Meant for reading: encoding it with
    /// special tokens would let a message write markers; use `tokens` to run a model.
    public func prompt(messages: [ChatMessage]) throws -> String {
        try segments(messages).map(\.text).joined()
    }

    /// The conversation as tokens, ready for the assistant's answer, with BOS where the file asks for it.
    ///
    /// Only the format's own markers become special tokens: a marker written in a message stays ordinary text. Throws
    /// `ChatError` where the conversation does not fit the format or the vocabulary lacks a marker.
    public func tokens(messages: [ChatMessage], tokenizer: Tokenizer) throws -> [Int32] {
        var tokens = tokenizer.encode("")
        for segment in try segments(messages) {
            switch segment {
            case .text(let text): tokens += tokenizer.encode(text, addBOS: false)
            case .marker(let marker):
                guard let id = tokenizer.vocabulary.token(marker) else {
                    throw ChatError(description: "the vocabulary has no token \(marker), which the chat format needs")
                }
                tokens.append(id)
            }
        }
        return tokens
    }
}

/// What a conversation is written of. Text between two markers is one segment, since a tokenizer may join its parts.
enum ChatSegment: Equatable {
    case marker(String)
    case text(String)

    var text: String {
        switch self {
        case .marker(let text), .text(let text): text
        }
    }
}

extension ChatFormat {
    func segments(_ messages: [ChatMessage]) throws -> [ChatSegment] {
        guard !messages.isEmpty else { throw ChatError(description: "a conversation needs at least one message") }
        switch self {
        case .raw:
            guard messages.count == 1, messages[0].role == .user else {
                throw ChatError(
                    description: "a model without a chat format takes a single user message, not a conversation")
            }
            return [.text(messages[0].content)]
        case .chatML(let defaultSystem): return Self.chatML(messages, defaultSystem)
        case .gemma: return try Self.gemma(messages)
        }
    }

    private static func chatML(_ messages: [ChatMessage], _ defaultSystem: String?) -> [ChatSegment] {
        var all = messages
        if messages[0].role != .system, let defaultSystem {
            all.insert(ChatMessage(.system, defaultSystem), at: 0)
        }
        var segments: [ChatSegment] = []
        for message in all {
            segments += [
                .marker("<|im_start|>"), .text("\(message.role.rawValue)\n\(message.content)"), .marker("<|im_end|>"),
                .text("\n"),
            ]
        }
        return segments + [.marker("<|im_start|>"), .text("assistant\n")]
    }

    /// Turns alternate, beginning with the user's; texts are trimmed; a first system message precedes the first user
    /// message, separated by an empty line.
    private static func gemma(_ messages: [ChatMessage]) throws -> [ChatSegment] {
        let system = messages[0].role == .system ? messages[0].content + "\n\n" : ""
        let turns = messages[0].role == .system ? messages.dropFirst() : messages[...]
        guard !turns.isEmpty else {
            throw ChatError(description: "a gemma conversation needs a user message")
        }
        var segments: [ChatSegment] = []
        for (index, message) in turns.enumerated() {
            guard message.role == (index.isMultiple(of: 2) ? .user : .assistant) else {
                throw ChatError(
                    description: "message \(index + 1) of a gemma conversation is of the \(message.role.rawValue); "
                        + "user and assistant must alternate, the user first")
            }
            let role = message.role == .assistant ? "model" : "user"
            let prefix = index == 0 ? system : ""
            let content = message.content.trimmingCharacters(in: .whitespacesAndNewlines)
            segments += [
                .marker("<start_of_turn>"), .text("\(role)\n\(prefix)\(content)"), .marker("<end_of_turn>"),
                .text("\n"),
            ]
        }
        return segments + [.marker("<start_of_turn>"), .text("model\n")]
    }
}
