// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import Longhand
import LonghandModel

/// What `longhand run` measured: the closing table and its JSON form.
struct RunReport {
    let session: Session
    let promptTokens: Int
    /// Tokens sampled, the one that ended the answer included.
    var generated = 0
    /// Single-token passes through the model.
    var steps = 0
    var stop = "limit of -n"
    var decodeSeconds = 0.0
    private var prefillSeconds = 0.0
    private var prefillStatistics: CacheStatistics?
    private var text = ""
    private var roofs: MachineRoofs?
    private var prefillProfile: Profile?

    init(session: Session, promptTokens: Int) {
        self.session = session
        self.promptTokens = promptTokens
    }

    /// Measures this machine's roofs and has the session time its operators.
    mutating func startProfile() throws {
        roofs = try MachineRoofs(host: session.model.host)
        session.profile = Profile(layerCount: session.model.shape.layerCount)
    }

    mutating func prefill(seconds: Double) {
        prefillSeconds = seconds
        prefillStatistics = session.cache.statistics
        session.cache.resetStatistics()
        guard let profile = session.profile else { return }
        prefillProfile = profile
        session.profile = Profile(layerCount: profile.layerCount)
    }

    mutating func finish(text: String) { self.text = text }

    private struct Phase: Encodable {
        let tokens: Int
        let seconds, tokensPerSecond, appendShare, selectShare, attendShare: Double
        /// Share of what the mask shows that was attended.
        let attended: Double
        let path: String?

        init(_ tokens: Int, _ seconds: Double, _ s: CacheStatistics, _ a: AttentionStatistics) {
            func share(_ nanoseconds: UInt64) -> Double { seconds > 0 ? Double(nanoseconds) * 1e-9 / seconds : 0 }
            self.tokens = tokens
            self.seconds = seconds
            tokensPerSecond = seconds > 0 ? Double(tokens) / seconds : 0
            appendShare = share(s.appendNanoseconds)
            selectShare = share(s.selectNanoseconds)
            attendShare = share(s.attendNanoseconds)
            attended = a.pairsVisible > 0 ? Double(a.pairsAttended) / Double(a.pairsVisible) : 1
            path = a.path
        }
    }
    private struct Document: Encodable {
        struct Binding: Encodable {
            let slot, spec, variant, origin: String
            let layers: [Int]?
        }
        let model, text, stop: String
        let prefill, decode: Phase
        let contextTokens: Int
        let kvBytes: UInt64
        let kvHugePageBytes: UInt64?
        let kvBytesPerToken: Double
        let chunk, blockTokens, activationBytes, peakMemoryBytes, threads: Int
        let methods: [Binding]
        let profile: RunProfile?
    }
    private struct RunProfile: Encodable {
        let roofs: MachineRoofs
        let prefill, decode: PhaseProfile
    }

    private func document() -> Document {
        let decodeStatistics = session.cache.statistics
        let before = prefillStatistics ?? decodeStatistics
        let prompt = Phase(promptTokens, prefillSeconds, before, promptTokens == 1 ? before.decode : before.prefill)
        return Document(
            model: session.model.path, text: text, stop: stop, prefill: prompt,
            decode: Phase(steps, decodeSeconds, decodeStatistics, decodeStatistics.decode),
            contextTokens: session.length, kvBytes: decodeStatistics.bytesInUse,
            kvHugePageBytes: session.cache.hugePageBytes,
            kvBytesPerToken: decodeStatistics.bitsPerToken / 8, chunk: session.chunk, blockTokens: session.block,
            activationBytes: session.activationBytes, peakMemoryBytes: Self.peakMemory(), threads: session.model.host.workers,
            methods: session.cache.bindings.map {
                .init(slot: $0.slot, spec: $0.spec, variant: $0.variant, origin: $0.origin, layers: $0.layers)
            }, profile: profile())
    }

    private func profile() -> RunProfile? {
        guard let roofs, let prefillProfile, let decodeProfile = session.profile else { return nil }
        let linear = session.model.linear
        let attention = session.cache.bindings.first { $0.slot == "attention" }?.variant ?? ""
        return RunProfile(
            roofs: roofs,
            prefill: PhaseProfile(
                prefillProfile, seconds: prefillSeconds, roofs: roofs, attention: attention,
                linearBits: linear.bits(rows: promptTokens)),
            decode: PhaseProfile(
                decodeProfile, seconds: decodeSeconds, roofs: roofs, attention: attention, linearBits: linear.bits(rows: 1)))
    }

    /// Where the time went, or nothing for a run that was not profiled.
    func profileTables(layers: Bool) -> String {
        guard let profile = profile() else { return "" }
        func roof(_ name: String, _ roof: MachineRoofs.Compute?) -> String {
            roof.map { "\(name) \(ReportTable.number($0.gigaflops, 0)) GFLOP/s (\($0.instruction)), " } ?? ""
        }
        let r = profile.roofs
        var text = "\nroofs: " + roof("f32", r.f32) + roof("bf16", r.bf16) + roof("int8", r.int8)
        text += "read \(ReportTable.number(r.readGigabytes, 1)) GB/s\n"
        for (name, phase) in [("prefill", profile.prefill), ("decode", profile.decode)] {
            text += "\n" + phase.table(name)
            if layers { text += "\n" + phase.layerTable("\(name), ms by layer") }
        }
        return text
    }

    /// Largest resident set of this process so far, in bytes.
    private static func peakMemory() -> Int {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss * 1024
    }

    func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(document()), as: UTF8.self) + "\n"
    }

    func table() -> String {
        let d = document()
        func number(_ value: Double, _ digits: Int = 1) -> String { String(format: "%.\(digits)f", value) }
        func percent(_ value: Double) -> String { number(100 * value) + " %" }
        func row(_ name: String, _ p: Phase) -> String {
            let cells = [
                "\(p.tokens)", number(p.seconds, 2), number(p.tokensPerSecond), percent(p.appendShare),
                percent(p.selectShare), percent(p.attendShare), percent(p.attended), p.path ?? "-",
            ]
            return name.padding(toLength: 8, withPad: " ", startingAt: 0)
                + cells.map { String(repeating: " ", count: max(1, 11 - $0.count)) + $0 }.joined() + "\n"
        }
        var text = "\n                tokens    seconds   tokens/s     append     select     attend   attended       path\n"
        text += row("prefill", d.prefill) + row("decode", d.decode)
        text += "stopped by \(stop); \(d.contextTokens) tokens in context, \(d.threads) threads\n"
        let huge = d.kvHugePageBytes.map { ", \(number(Double($0) / 1048576, 0)) MiB in huge pages" } ?? ""
        text += "KV cache \(number(Double(d.kvBytes) / 1048576)) MiB\(huge), \(number(d.kvBytesPerToken, 0)) bytes per token; "
        text +=
            "activations \(number(Double(d.activationBytes) / 1048576)) MiB (passes of \(d.chunk), blocks of \(d.blockTokens) tokens), "
        text += "peak memory \(number(Double(d.peakMemoryBytes) / 1048576, 0)) MiB\n"
        for m in d.methods {
            let layers = m.layers.map { $0.count == 1 ? " in 1 layer" : " in \($0.count) layers" } ?? ""
            text += "\(m.slot) \(m.spec)\(layers): \(m.variant) from \(m.origin)\n"
        }
        return text
    }
}
