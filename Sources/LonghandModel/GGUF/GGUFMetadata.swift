// SPDX-License-Identifier: Apache-2.0

/// Typed access to metadata. A key that is absent gives nil; one of the wrong type throws `GGUFError`.
extension GGUFFile {
    /// An error about the content of this file.
    public func failure(_ reason: String) -> GGUFError { GGUFError(path: path, reason: reason) }

    /// The string under `key`.
    public func string(_ key: String) throws -> String? {
        try value(key, "a string") { if case .string(let text) = $0 { text } else { nil } }
    }

    /// The bool under `key`.
    public func bool(_ key: String) throws -> Bool? {
        try value(key, "a bool") { if case .bool(let flag) = $0 { flag } else { nil } }
    }

    /// The integer under `key`, stored in any of the integer types.
    public func integer(_ key: String) throws -> Int? { try value(key, "an integer below 2^63") { $0.integer } }

    /// The float under `key`, stored in either float type.
    public func float(_ key: String) throws -> Double? { try value(key, "a float") { $0.float } }

    /// The array under `key`.
    public func array(_ key: String) throws -> GGUFArray? {
        try value(key, "an array") { if case .array(let array) = $0 { array } else { nil } }
    }

    /// `value`, which was read from `key`; throws where it is nil.
    public func required<T>(_ value: T?, _ key: String) throws -> T {
        guard let value else { throw failure("metadata \"\(key)\" is missing") }
        return value
    }

    /// `general.architecture`, such as `llama` or `gemma3`; throws where it is missing.
    public func architecture() throws -> String {
        try required(string("general.architecture"), "general.architecture")
    }

    private func value<T>(_ key: String, _ kind: String, _ convert: (GGUFValue) -> T?) throws -> T? {
        guard let value = metadata[key] else { return nil }
        guard let result = convert(value) else {
            throw failure("metadata \"\(key.printable())\" must be \(kind), but it is of type \(value.type)")
        }
        return result
    }
}
