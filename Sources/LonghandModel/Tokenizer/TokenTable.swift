// SPDX-License-Identifier: Apache-2.0

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The texts of a vocabulary in one block of memory, and a hash table from text to id.
struct TokenTable: Sendable {
    /// Most tokens accepted; the largest vocabularies in use have some 300,000.
    static let countLimit = 1 << 21
    /// Most bytes of all texts together accepted; vocabularies in use have some 3 MB.
    static let totalLimit = 64 << 20
    /// Longest text accepted, in bytes. The bound makes every look-up cost at most this much.
    static let textLimit = 1024

    private let texts: [UInt8]
    /// `texts[ends[id - 1]..<ends[id]]` is the text of a token. Fits 32 bits by the limit.
    private let ends: [UInt32]
    /// Open addressing, -1 where empty, at most half full. `Hasher` is seeded per process, so no file can be made
    /// whose texts collide.
    private let slots: [Int32]

    var count: Int { ends.count }

    /// Reads a string array of the metadata; throws `GGUFError` where an entry is empty, too long or there twice.
    init(_ array: GGUFArray, key: String, _ file: GGUFFile) throws {
        guard array.elementType == .string, array.count > 0 else {
            throw file.failure("\(key) must hold strings, but it holds \(array.count) of type \(array.elementType)")
        }
        guard array.count <= Self.countLimit else {
            throw file.failure("\(key) holds \(array.count) tokens; the limit is \(Self.countLimit)")
        }
        var texts: [UInt8] = []
        var ends: [UInt32] = []
        ends.reserveCapacity(array.count)
        try array.forEachString { id, text in
            guard !text.isEmpty else { throw file.failure("\(key)[\(id)] is empty") }
            guard text.count <= Self.textLimit else {
                throw file.failure("\(key)[\(id)] is \(text.count) bytes long; the limit is \(Self.textLimit)")
            }
            texts.append(contentsOf: text)
            guard texts.count <= Self.totalLimit else {
                throw file.failure("\(key) holds more than \(Self.totalLimit) bytes of text")
            }
            ends.append(UInt32(truncatingIfNeeded: texts.count))
        }
        var capacity = 2
        while capacity < 2 * ends.count { capacity *= 2 }
        var slots = [Int32](repeating: -1, count: capacity)
        try texts.withUnsafeBytes { bytes in
            for id in 0..<Int32(ends.count) {
                let text = UnsafeRawBufferPointer(rebasing: bytes[Self.range(id, ends)])
                let slot = Self.slot(text, texts, ends, slots)
                guard slots[slot] < 0 else {
                    throw file.failure("\(key)[\(slots[slot])] and [\(id)] are both \(text.quoted)")
                }
                slots[slot] = id
            }
        }
        (self.texts, self.ends, self.slots) = (texts, ends, slots)
    }

    /// Bytes of the longest text.
    var longestText: Int { ends.indices.reduce(0) { max($0, Self.range(Int32($1), ends).count) } }

    /// The text of a token.
    func text(_ id: Int32) -> ArraySlice<UInt8> { texts[Self.range(id, ends)] }

    /// Calls `body` with the text of a token.
    func withText<T>(_ id: Int32, _ body: (UnsafeRawBufferPointer) -> T) -> T {
        texts.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[Self.range(id, ends)])) }
    }

    /// The token with this text, which must not be empty, or nil.
    func token(_ text: UnsafeRawBufferPointer) -> Int32? {
        guard text.count <= Self.textLimit else { return nil }
        let id = slots[Self.slot(text, texts, ends, slots)]
        return id < 0 ? nil : id
    }

    @inline(__always)
    private static func range(_ id: Int32, _ ends: [UInt32]) -> Range<Int> {
        (id == 0 ? 0 : Int(ends[Int(id) - 1]))..<Int(ends[Int(id)])
    }

    /// The slot that holds the token with this text, or the empty slot where it would go.
    private static func slot(
        _ text: UnsafeRawBufferPointer, _ texts: [UInt8], _ ends: [UInt32], _ slots: [Int32]
    ) -> Int {
        var hasher = Hasher()
        hasher.combine(bytes: text)
        let mask = slots.count - 1
        var slot = hasher.finalize() & mask
        while slots[slot] >= 0 {
            let range = range(slots[slot], ends)
            let isEqual = texts.withUnsafeBytes {
                range.count == text.count
                    && memcmp($0.baseAddress! + range.lowerBound, text.baseAddress!, text.count) == 0
            }
            if isEqual { return slot }
            slot = (slot + 1) & mask
        }
        return slot
    }
}
