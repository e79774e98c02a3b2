// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandTestPlugin
import Testing

@Suite struct CacheFileTests {
    static func indexed(_ change: (inout CacheConfiguration) -> Void = { _ in }) throws -> Cache {
        try makeCache {
            $0.prefill = "recent:count=9"
            $0.decode = "recent:count=3"
            change(&$0)
        }
    }

    @Test(arguments: [0, 1, 16]) func roundTrip(tokens: Int) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("cache")
        let cache = try Self.indexed()
        let sequences = cache.sequences(seed: 20)
        try cache.appendAll(sequences, 0..<tokens)
        try cache.save(path: path)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["cache"])
        let other = try Self.indexed {
            $0.capacity = 25
            $0.maxRows = 7
        }
        try other.appendAll(other.sequences(seed: 99), 0..<5)
        try other.load(path: path)
        #expect(other.length == tokens && other.length(layer: 1) == tokens)
        #expect(try other.fingerprint(sequences) == cache.fingerprint(sequences))
        // Both go on alike.
        try cache.appendAll(sequences, tokens..<tokens + 2)
        try other.appendAll(sequences, tokens..<tokens + 2)
        #expect(try other.fingerprint(sequences) == cache.fingerprint(sequences))
        // Saving what was loaded gives the same bytes.
        try other.truncate(to: tokens)
        try other.save(path: folder.file("again"))
        #expect(FileManager.default.contentsEqual(atPath: path, andPath: folder.file("again")))
    }

    @Test func layersMayDisagree() throws {
        let folder = try TemporaryFolder()
        let cache = try Self.indexed()
        let sequences = cache.sequences(seed: 21)
        try cache.append(sequences[0], layer: 0, 0..<6)
        try cache.save(path: folder.file("cache"))
        let other = try Self.indexed()
        try other.load(path: folder.file("cache"))
        #expect(other.length(layer: 0) == 6 && other.length(layer: 1) == 0)
    }

    @Test func savingReplacesOnlyFiles() throws {
        let folder = try TemporaryFolder()
        let cache = try Self.indexed()
        let file = try folder.write([1, 2, 3], to: "old")
        try cache.save(path: file)
        try cache.load(path: file)
        mkfifo(folder.file("fifo"), 0o600)
        for path in [folder.path, folder.file("fifo"), "/dev/null", folder.file("no/such/folder"), ""] {
            #expect(failure { try cache.save(path: path) }?.status == .io, "\(path)")
        }
        #expect(failure { try cache.load(path: folder.file("fifo")) }?.message.contains("not a regular file") == true)
        #expect(failure { try cache.load(path: folder.path) }?.status == .io)
        #expect(failure { try cache.load(path: folder.file("missing")) }?.status == .notFound)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == ["fifo", "old"])
    }

    /// What must match, and what need not.
    static let others: [(@Sendable (inout CacheConfiguration) -> Void, String?)] = [
        ({ $0.capacity = 12 }, nil),
        ({ $0.capacity = 11 }, "holds 12 tokens, the cache at most 11"),
        ({ $0.layers.removeLast() }, "holds 2 layers, the cache has 1"),
        ({ $0.layers[1].headDimV = 4 }, "head dimensions 5 and 3"),
        ({ $0.layers[0].kvHeads = 4 }, "2 kv heads"),
        ({ $0.layers[0].position.base = 500_000 }, "position parameters"),
        ({ $0.position = "none" }, "it has 'position shift version 1.0.0', the cache 'position without state'"),
        ({ $0.decode = "recent:count=4" }, "it has 'decode recent:count=3 version 1.0.0'"),
        ({ $0.decode = "all" }, "the cache 'decode without state'"),
        ({ $0.prefill = "recent:count=3" }, "it has 'prefill recent:count=9"),
        ({ $0.layers[0].attention.scale = 3 }, nil),
        ({ $0.layerStores = [.init(layers: [.range(0...1)], store: "plain")] }, nil),
        ({ $0.layerStores = [.init(layers: [.range(1...1)], store: "plain:fail_at=30")] }, "the cache 'layer 1: 2 query heads"),
        ({ $0.layerStores = [.init(layers: [.range(0...0)], store: "plain:fail_at=30")] }, "it has 'store plain version"),
    ]

    @Test func otherConfigurations() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("cache")
        let cache = try Self.indexed()
        let sequences = cache.sequences(seed: 22)
        try cache.appendAll(sequences, 0..<12)
        try cache.save(path: path)
        for (change, expected) in Self.others {
            let other = try Self.indexed(change)
            let error = failure { try other.load(path: path) }
            if let expected {
                #expect(error?.message.contains(expected) == true, "not '\(expected)': \(error?.message ?? "accepted")")
                #expect(other.length == 0)
            } else {
                #expect(error == nil)
                #expect(other.length == 12)
            }
        }
    }

    /// A saved cache of 6 tokens, its bytes, and a cache of other content to load it into.
    struct Victim {
        let folder: TemporaryFolder
        let bytes: [UInt8]
        let cache: Cache
        let sequences: [TokenRows]
        let before: [[Float]]

        init() throws {
            folder = try TemporaryFolder()
            let source = try indexed()
            try source.appendAll(source.sequences(seed: 23), 0..<6)
            try source.save(path: folder.file("good"))
            bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: folder.file("good"))))
            cache = try indexed()
            sequences = cache.sequences(seed: 24)
            try cache.appendAll(sequences, 0..<11)
            before = try cache.fingerprint(sequences)
        }

        /// Loads `changed`: it must be refused and leave the cache as it was.
        func expectRefusal(_ changed: [UInt8], _ what: String) throws {
            let path = try folder.write(changed, to: "changed")
            let error = failure { try cache.load(path: path) }
            #expect(error != nil, "\(what) was accepted")
            #expect(cache.length == 11 && cache.length(layer: 1) == 11, "\(what)")
            let after = try cache.fingerprint(sequences)
            #expect(after == before, "\(what)")
        }
    }

    @Test func everyFlippedByteIsNoticed() throws {
        let victim = try Victim()
        let seed = testSeed("everyFlippedByteIsNoticed")
        var generator = SeededGenerator(seed: seed)
        for index in victim.bytes.indices {
            var changed = victim.bytes
            changed[index] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            try victim.expectRefusal(changed, "seed \(seed): byte \(index)")
        }
    }

    @Test func otherLengthsAreNoticed() throws {
        let victim = try Victim()
        for count in stride(from: 0, to: victim.bytes.count, by: 7) {
            try victim.expectRefusal(Array(victim.bytes[..<count]), "the first \(count) bytes")
        }
        try victim.expectRefusal(victim.bytes + [0], "one more byte")
        try victim.expectRefusal(victim.bytes + victim.bytes, "the file twice")
    }

    @Test func randomMutations() throws {
        let victim = try Victim()
        let seed = testSeed("randomMutations")
        var generator = SeededGenerator(seed: seed)
        for round in 0..<1000 {
            var changed = victim.bytes
            for _ in 0..<Int.random(in: 1...8, using: &generator) {
                let at = Int.random(in: 0..<changed.count, using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: changed[at] = UInt8.random(in: 0...255, using: &generator)
                case 1: changed[at] = [0, 0x7f, 0x80, 0xff].randomElement(using: &generator)!
                case 2: changed.remove(at: at)
                default: changed.insert(UInt8.random(in: 0...255, using: &generator), at: at)
                }
            }
            guard changed != victim.bytes else { continue }
            try victim.expectRefusal(changed, "seed \(seed): round \(round)")
        }
    }

    /// Files whose checksums are right but whose numbers lie.
    @Test func craftedFiles() throws {
        let victim = try Victim()
        func number<T: FixedWidthInteger>(_ bytes: [UInt8], _ at: Int, as type: T.Type) -> T {
            bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: at, as: T.self) }
        }
        func put<T: FixedWidthInteger>(_ value: T, at offset: Int, in bytes: inout [UInt8]) {
            bytes.withUnsafeMutableBytes { $0.storeBytes(of: value, toByteOffset: offset, as: T.self) }
        }
        let description = Int(number(victim.bytes, 32, as: UInt64.self))
        let sections = Int(number(victim.bytes, 20, as: UInt32.self))
        let table = 56 + (description + 7) / 8 * 8
        let content = table + sections * 24
        /// The file with `change` made and the checksums put right.
        func crafted(_ change: (inout [UInt8]) -> Void) -> [UInt8] {
            var bytes = victim.bytes
            change(&bytes)
            let directory = bytes.withUnsafeBytes { lhk_checksum($0.baseAddress! + 56, content - 56) }
            put(directory, at: 40, in: &bytes)
            put(bytes.withUnsafeBytes { lhk_checksum($0.baseAddress!, 48) }, at: 48, in: &bytes)
            return bytes
        }
        // The recipe itself is right: the unchanged file loads.
        let sound = try Self.indexed()
        try sound.load(path: victim.folder.write(crafted { _ in }, to: "sound"))
        #expect(sound.length == 6)

        let huge: [UInt64] = [0, 1, 7, 1 << 20, 1 << 32, 1 << 40, 1 << 62, .max - 7, .max]
        for value in huge {
            try victim.expectRefusal(crafted { put(value, at: 24, in: &$0) }, "file_bytes \(value)")
            try victim.expectRefusal(crafted { put(value, at: 32, in: &$0) }, "description_bytes \(value)")
            try victim.expectRefusal(
                crafted { put(UInt32(truncatingIfNeeded: value), at: 20, in: &$0) }, "sections \(value)")
            try victim.expectRefusal(
                crafted { put(UInt32(truncatingIfNeeded: value), at: 16, in: &$0) }, "layers \(value)")
            for section in 0..<sections {
                try victim.expectRefusal(crafted { put(value, at: table + section * 24, in: &$0) }, "bytes \(value)")
                try victim.expectRefusal(
                    crafted { put(value, at: table + section * 24 + 16, in: &$0) }, "tokens \(value)")
            }
        }
        try victim.expectRefusal(crafted { put(UInt32(2), at: 8, in: &$0) }, "version 2")
        try victim.expectRefusal(crafted { put(UInt32(0x0403_0201), at: 12, in: &$0) }, "the other byte order")
        // Escape sequences of a description never reach a terminal.
        let path = try victim.folder.write(crafted { $0[60] = 0x1b }, to: "escape")
        #expect(failure { try victim.cache.load(path: path) }?.message.contains("its description is not text") == true)
        // The store's own count lies, within a section whose checksum is right.
        try victim.expectRefusal(
            crafted { bytes in
                put(Int64(5), at: content, in: &bytes)
                let size = (Int(number(bytes, table, as: UInt64.self)) + 7) / 8 * 8
                let sum = bytes.withUnsafeBytes { lhk_checksum($0.baseAddress! + content, size) }
                put(sum, at: table + 8, in: &bytes)
            }, "the store's own length")
    }

    @Test func checksumNoticesEveryBit() {
        let seed = testSeed("checksumNoticesEveryBit")
        var generator = SeededGenerator(seed: seed)
        var seen = Set<UInt64>()
        for count in [0, 1, 7, 8, 9, 31, 32, 33, 63, 64, 100] {
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let sum = lhk_checksum(bytes, count)
            #expect(seen.insert(sum).inserted)
            for bit in 0..<count * 8 {
                var changed = bytes
                changed[bit / 8] ^= 1 << UInt8(bit % 8)
                #expect(lhk_checksum(changed, count) != sum, "seed \(seed): bit \(bit) of \(count) bytes")
            }
            // Independent of alignment.
            let shifted = [0] + bytes
            #expect(shifted.withUnsafeBytes { lhk_checksum($0.baseAddress! + 1, count) } == sum)
        }
        #expect(lhk_checksum([0, 0], 1) != lhk_checksum([0, 0], 2))
    }
}
