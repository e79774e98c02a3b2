// SPDX-License-Identifier: Apache-2.0
import CLonghand

/// What kernels may use of this process: worker threads and instruction sets. Immutable; share one among all caches.
public final class KernelHost: Sendable {
    /// The C object, alive as long as this host. Nothing writes to it after `init`.
    nonisolated(unsafe) public let raw: UnsafePointer<lhk_host>

    /// Takes over a host filled in by hand, for callers with their own thread pool. What it points to must outlive this
    /// object and be usable from any thread.
    public convenience init(_ host: lhk_host) { self.init(host, log: nil) }

    /// Takes over `host` and sends its log to `log`.
    private init(_ host: lhk_host, log: Log?) {
        var host = host
        if let log {
            let sink = LogSink(log)
            self.sink = sink
            host.log_context = Unmanaged.passUnretained(sink).toOpaque()
            host.log = { context, level, text in
                guard let context else { return }
                let sink = Unmanaged<LogSink>.fromOpaque(context).takeUnretainedValue()
                sink.log(LogLevel(rawValue: level) ?? .warning, String(cString: text))
            }
        } else {
            sink = nil
        }
        let copy = UnsafeMutablePointer<lhk_host>.allocate(capacity: 1)
        copy.initialize(to: host)
        raw = UnsafePointer(copy)
    }

    deinit { UnsafeMutablePointer(mutating: raw).deallocate() }

    /// Takes a line about which variants were weighed, or anything unusual. Called from any thread.
    public typealias Log = @Sendable (LogLevel, String) -> Void

    public enum LogLevel: Int32, Sendable {
        case debug = 0
        case info = 1
        case warning = 2
    }

    private final class LogSink: Sendable {
        let log: Log
        init(_ log: @escaping Log) { self.log = log }
    }

    private let sink: LogSink?

    /// Runs kernels on the OpenMP runtime.
    ///
    /// - Parameters:
    ///   - workers: at most 1024; 0 takes the processors available to this process.
    ///   - log: nil drops the lines.
    /// - Throws: `LonghandError` for too many workers, or when LONGHAND_ISA names an instruction set that is unknown or
    ///   that this CPU lacks.
    public static func openMP(workers: Int = 0, log: Log? = nil) throws(LonghandError) -> KernelHost {
        let count = try narrow(workers, "workers")
        var host = lhk_host()
        try check { lhk_host_openmp(count, &host, $0) }
        return KernelHost(host, log: log)
    }

    /// Runs kernels on the calling thread only.
    ///
    /// - Throws: `LonghandError` when LONGHAND_ISA names an instruction set that is unknown or that this CPU lacks.
    public static func serial(log: Log? = nil) throws(LonghandError) -> KernelHost {
        var host = lhk_host()
        try check { lhk_host_serial(&host, $0) }
        return KernelHost(host, log: log)
    }

    /// Number of workers, at least 1.
    public var workers: Int { Int(raw.pointee.workers) }

    /// The instruction sets that kernels may use.
    public var isa: InstructionSet { InstructionSet(rawValue: raw.pointee.isa) }

    /// Runs `body(task, worker)` once for every task in `0..<tasks` and returns when all are done. `worker` is below
    /// `workers`, and no two tasks run with the same worker at the same time. Tasks must not start loops themselves.
    public func withParallelFor(tasks: Int, _ body: @Sendable (_ task: Int, _ worker: Int) -> Void) {
        typealias Body = @Sendable (Int, Int) -> Void
        withoutActuallyEscaping(body) { escapable in
            var stored: Body = escapable
            withUnsafeMutablePointer(to: &stored) { context in
                lhk_parallel_for(
                    raw, Int64(tasks),
                    { context, task, worker in
                        context!.assumingMemoryBound(to: Body.self).pointee(Int(task), Int(worker))
                    }, context)
            }
        }
    }
}

/// A set of instruction-set levels; empty means portable code only.
public struct InstructionSet: OptionSet, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// AVX2, FMA and F16C.
    public static let avx2 = InstructionSet(rawValue: LHK_ISA_AVX2)
    /// The avx2 level and AVX-512 F, BW, VL and DQ.
    public static let avx512 = InstructionSet(rawValue: LHK_ISA_AVX512)
    public static let avx512vnni = InstructionSet(rawValue: LHK_ISA_AVX512VNNI)
    /// The avx512 level, VPOPCNTDQ and VBMI.
    public static let avx512popcnt = InstructionSet(rawValue: LHK_ISA_AVX512POPCNT)
    public static let avx512bf16 = InstructionSet(rawValue: LHK_ISA_AVX512BF16)
    public static let neon = InstructionSet(rawValue: LHK_ISA_NEON)
    public static let neonDotprod = InstructionSet(rawValue: LHK_ISA_NEON_DOTPROD)
    public static let neonI8mm = InstructionSet(rawValue: LHK_ISA_NEON_I8MM)
    public static let neonBF16 = InstructionSet(rawValue: LHK_ISA_NEON_BF16)

    /// What this CPU and its operating system offer, whatever LONGHAND_ISA says.
    public static var detected: InstructionSet { InstructionSet(rawValue: lhk_isa_detect()) }

    /// All levels up to and including the one called `name`, e.g. `avx512`.
    public init(upTo name: String) throws(LonghandError) {
        var levels: lhk_isa = 0
        try check { lhk_isa_parse(name, &levels, $0) }
        rawValue = levels
    }

    /// Names of the members in rising order; `["scalar"]` for the empty set.
    public var names: [String] {
        if isEmpty { return ["scalar"] }
        return (0..<64).filter { rawValue >> $0 & 1 == 1 }.map { String(cString: lhk_isa_name(1 << $0)) }
    }

    /// The names separated by spaces.
    public var description: String { names.joined(separator: " ") }
}
