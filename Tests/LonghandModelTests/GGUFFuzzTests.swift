// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@testable import LonghandModel

/// Thousands of damaged files are opened and read to the end, in a process of their own whose memory is limited: a
/// crash, a read outside the file or a large allocation ends that process and fails the test.
@Suite struct GGUFFuzzTests {
    @Test(.timeLimit(.minutes(5))) func mutatedFiles() async {
        let seed = testSeed()
        await #expect(processExitsWith: .success) { [seed = seed as UInt64] in
            try limitMemory(toFurther: 512 << 20)
            var fuzzer = Fuzzer(seed: seed)
            try fuzzer.run(filesPerBase: 600)
            // The mutations must neither spare the reader nor stop all of them at the door.
            #expect(fuzzer.opened > 1000 && fuzzer.tokenized > 300 && fuzzer.refused > 1000)
        }
    }
}

/// Lets this process map at most so many bytes more than now.
private func limitMemory(toFurther bytes: UInt64) throws {
    let pages = try #require(
        String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ").first.flatMap { UInt64($0) })
    let total = pages * UInt64(sysconf(Int32(_SC_PAGESIZE))) + bytes
    var limit = rlimit(rlim_cur: rlim_t(total), rlim_max: rlim_t(total))
    try #require(setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0)
}

private struct Fuzzer {
    var generator: SplitMix64
    var opened = 0
    var tokenized = 0
    var refused = 0

    init(seed: UInt64) { generator = SplitMix64(seed: seed) }

    mutating func run(filesPerBase: Int) throws {
        for writer in [GGUFWriter.allTypes(), .bytePairs(), .scoredPairs()] {
            let base = writer.build()
            try exercise(base.bytes)
            for _ in 0..<filesPerBase {
                let edits = [1, 1, 1, 2, 4].randomElement(using: &generator)!
                var bytes = base.bytes
                for _ in 0..<edits { mutate(&bytes, base.wideFields, base.typeFields) }
                try exercise(bytes)
                var changed = writer
                for _ in 0..<edits { mutate(&changed) }
                try exercise(changed.bytes())
            }
        }
    }

    private mutating func mutate(_ bytes: inout [UInt8], _ wideFields: [Int], _ typeFields: [Int]) {
        guard !bytes.isEmpty else { return }
        // Most of the bytes are data; the header is where damage matters.
        let headerEnd = min(bytes.count, (wideFields.last ?? 0) + 8)
        let position = Int.random(in: 0..<max(1, headerEnd), using: &generator)
        switch Int.random(in: 0..<7, using: &generator) {
        case 0: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        case 1: bytes[position] = UInt8.random(in: 0...255, using: &generator)
        case 2: bytes.removeSubrange(Int.random(in: 0..<bytes.count, using: &generator)...)
        case 3: overwrite(&bytes, wideFields.randomElement(using: &generator)!, extremeValue())
        case 4:
            let field = typeFields.randomElement(using: &generator)!
            overwrite(&bytes, field, UInt32.random(in: 0...15, using: &generator))
        case 5: splice(&bytes, headerEnd)
        default:
            let count = min(Int.random(in: 1...16, using: &generator), bytes.count - position)
            bytes.removeSubrange(position..<position + count)
        }
    }

    /// Changes metadata so that the file stays well-formed and only its meaning suffers.
    private mutating func mutate(_ writer: inout GGUFWriter) {
        let index = Int.random(in: 0..<writer.metadata.count, using: &generator)
        writer.metadata[index].value = mutated(writer.metadata[index].value)
    }

    private mutating func mutated(_ value: GGUFWriter.Value) -> GGUFWriter.Value {
        switch value {
        case .array(let type, var elements) where !elements.isEmpty:
            let index = Int.random(in: 0..<elements.count, using: &generator)
            switch Int.random(in: 0..<5, using: &generator) {
            case 0: elements.remove(at: index)
            case 1: elements.append(elements[index])
            case 2: elements.swapAt(index, Int.random(in: 0..<elements.count, using: &generator))
            default: elements[index] = mutated(elements[index])
            }
            return .array(type: type, elements)
        case .text(var text):
            let index = Int.random(in: 0...text.count, using: &generator)
            if index < text.count, Bool.random(using: &generator) { text.remove(at: index) }
            text.insert(UInt8.random(in: 0...255, using: &generator), at: min(index, text.count))
            return .text(text)
        case .int32: return .int32(Int32.random(in: -1...7, using: &generator))
        case .uint32: return .uint32(UInt32.random(in: 0...300, using: &generator))
        case .float32: return .float32(Float(bitPattern: UInt32.random(in: 0 ... .max, using: &generator)))
        case .bool: return .bool(UInt8.random(in: 0...1, using: &generator))
        default: return value
        }
    }

    private mutating func extremeValue() -> UInt64 {
        let bases: [UInt64] = [0, 1 << 16, 1 << 31, 1 << 32, 1 << 48, 1 << 61, 1 << 62, 1 << 63, .max]
        let base = bases.randomElement(using: &generator)!
        return base &+ UInt64(bitPattern: Int64.random(in: -9...9, using: &generator))
    }

    private func overwrite(_ bytes: inout [UInt8], _ position: Int, _ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.littleEndian) {
            for (index, byte) in $0.enumerated() where position + index < bytes.count { bytes[position + index] = byte }
        }
    }

    /// Copies a piece of the header somewhere else in it.
    private mutating func splice(_ bytes: inout [UInt8], _ headerEnd: Int) {
        let start = Int.random(in: 0..<headerEnd, using: &generator)
        let piece = Array(bytes[start..<min(headerEnd, start + Int.random(in: 1...40, using: &generator))])
        bytes.insert(contentsOf: piece, at: Int.random(in: 0..<headerEnd, using: &generator))
    }

    // MARK: - Use of a file

    private mutating func exercise(_ bytes: [UInt8]) throws {
        do {
            let file = try withFile(bytes) { try GGUFFile(path: $0) }
            opened += 1
            #expect(file.readEverything())
            _ = try ChatFormat.detect(file)
            try tokenize(try Tokenizer(file))
            tokenized += 1
        } catch let error as GGUFError {
            refused += 1
            #expect(!error.description.contains { $0.isNewline } && error.description.count < 2000)
        }
    }

    private func tokenize(_ tokenizer: Tokenizer) throws {
        for parseSpecial in [false, true] {
            let ids = tokenizer.encode(
                bytes: Array("hello wörld 12 <|im_start|>\n\n".utf8) + [0xFF, 0, 0xE2, 0x96],
                parseSpecial: parseSpecial)
            #expect(ids.allSatisfy { $0 >= 0 && $0 < tokenizer.vocabulary.count })
            var decoder = StreamingDecoder(tokenizer, skipSpecial: false)
            let streamed = ids.map { decoder.append($0) }.joined() + decoder.finish()
            #expect(streamed == tokenizer.decode(ids, skipSpecial: false))
        }
    }
}
