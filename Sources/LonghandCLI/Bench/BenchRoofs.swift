// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandBench

/// One limit of this machine.
struct BenchRoof: Encodable {
    /// E.g. `bf16 avx512bf16` or `dram 2m`.
    let name: String
    let workers: Int
    let value: Double
    let unit: String
    /// The instruction measured, or what memory was read.
    let detail: String
}

/// The limits of this machine for a number of workers.
final class BenchRoofs {
    let all: [BenchRoof]
    private let hosts: BenchHosts
    private var compute: [InstructionSet: [lhk_dtype: Double]] = [:]
    private let memory: BenchMemory
    private let caches: MachineCaches
    private var l2 = 0.0, l3 = 0.0

    /// Bytes of what counts as DRAM: far more than any cache of this class of machines holds.
    private static let dramBytes = 512 << 20

    init(_ hosts: BenchHosts, caches: MachineCaches) throws {
        self.hosts = hosts
        self.caches = caches
        let workers = hosts.full.workers
        var roofs: [BenchRoof] = []
        for levels in Self.masks(of: hosts.full) {
            for (type, word) in [(LHK_DTYPE_F32, "f32"), (LHK_DTYPE_BF16, "bf16"), (LHK_DTYPE_I8, "i8")] {
                var instruction: UnsafePointer<CChar>? = nil
                let value = withUnsafeMutablePointer(to: &instruction) {
                    $0.withMemoryRebound(to: UnsafePointer<CChar>.self, capacity: 1) {
                        lhk_roof_compute(hosts.limited(to: levels).raw, type, $0)
                    }
                }
                compute[levels, default: [:]][type] = value
                guard value > 0 else { continue }
                roofs.append(
                    BenchRoof(
                        name: "\(word) \(levels.names.last!)", workers: workers, value: value, unit: "GFLOP/s",
                        detail: String(cString: instruction!)))
            }
        }
        func read(_ name: String, _ bytes: Int, huge: Bool) throws -> Double {
            let memory = try BenchMemory(bytes, huge: huge, host: hosts.full)
            let value = memory.read(tries: 5)
            roofs.append(BenchRoof(name: name, workers: workers, value: value, unit: "GB/s", detail: memory.detail))
            return value
        }
        if let bytes = caches.l2 { l2 = try read("l2", bytes / 2 * workers, huge: true) }
        if let bytes = caches.l3 { l3 = try read("l3", bytes / 4, huge: true) }
        _ = try read("dram 4k", Self.dramBytes, huge: false)
        memory = try BenchMemory(Self.dramBytes, huge: true, host: hosts.full)
        roofs.append(
            BenchRoof(name: "dram 2m", workers: workers, value: memory.read(tries: 5), unit: "GB/s", detail: memory.detail))
        all = roofs
    }

    var host: KernelHost { hosts.full }

    /// Rising sets of levels of a host.
    static func masks(of host: KernelHost) -> [InstructionSet] {
        var masks: [InstructionSet] = [[]]
        for bit in (0..<64).map({ InstructionSet(rawValue: 1 << $0) }) where host.isa.contains(bit) {
            masks.append(masks.last!.union(bit))
        }
        return masks
    }

    /// GB/s of DRAM with 2 MiB pages now.
    func readNow() -> Double { memory.read(tries: 2) }

    /// The name of the memory that `bytes` read again and again come from: the smallest that holds them twice.
    func level(of bytes: Double) -> String {
        if let size = caches.l2, 2 * bytes <= Double(size * hosts.full.workers) { return "l2" }
        if let size = caches.l3, 2 * bytes <= Double(size) { return "l3" }
        return "dram 2m"
    }

    /// GB/s of that level.
    func read(level: String, dram: Double) -> Double { level == "l2" ? l2 : level == "l3" ? l3 : dram }

    /// GFLOP/s of both products of attention on keys and values of `type` with `levels`: bf16 on the bf16 dot product and
    /// i8 keys on the i8 dot product where there is one, values of an i8 store on the best of bf16 and f32.
    func attention(_ type: lhk_dtype, _ levels: InstructionSet, keyShare: Double) -> (name: String, value: Double) {
        let rates = compute[levels] ?? [:], f32 = rates[LHK_DTYPE_F32] ?? 0, bf16 = rates[LHK_DTYPE_BF16] ?? 0
        let word = levels.names.last!
        let float = bf16 > 0 ? ("bf16", bf16) : ("f32", f32)
        if type == LHK_DTYPE_I8, let i8 = rates[LHK_DTYPE_I8], i8 > 0 {
            return ("i8+\(float.0) \(word)", 1 / (keyShare / i8 + (1 - keyShare) / float.1))
        }
        return type == LHK_DTYPE_BF16 ? ("\(float.0) \(word)", float.1) : ("f32 \(word)", f32)
    }
}

/// Touched memory for reading.
final class BenchMemory {
    private var raw = lhk_roof_memory()
    private let host: KernelHost

    init(_ bytes: Int, huge: Bool, host: KernelHost) throws {
        self.host = host
        try check { lhk_roof_memory_create(host.raw, UInt64(bytes), huge ? 1 : 0, &raw, $0) }
    }

    deinit { lhk_roof_memory_destroy(&raw) }

    func read(tries: UInt32) -> Double { lhk_roof_read(host.raw, &raw, tries) }

    /// E.g. `512.0 MiB, 512.0 MiB of them in huge pages`.
    var detail: String {
        func mebibytes(_ bytes: UInt64) -> String { String(format: "%.1f MiB", Double(bytes) / 1_048_576) }
        return "\(mebibytes(raw.bytes)), \(mebibytes(min(raw.bytes, raw.huge_bytes))) of them in huge pages"
    }
}
