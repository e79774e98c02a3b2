// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand
import LonghandBench

/// What the measurements were made on; part of the JSON, and on stderr.
struct BenchContext: Encodable {
    let date, hostName, system, processor: String
    let processors: Int
    let caches: MachineCaches
    /// Levels that kernels may use.
    let isa: [String]
    let transparentHugePages: String?
    let compiler, version: String
    let commit: String?
    let rounds: Int
    let secondsPerRow: Double
    let clockNanoseconds: UInt64
    var roofs: [BenchRoof] = []

    init(host: KernelHost, effort: BenchEffort) {
        date = ISO8601DateFormatter().string(from: Date())
        hostName = ProcessInfo.processInfo.hostName
        (system, processor) = (Machine.system, Machine.processor)
        processors = ProcessInfo.processInfo.activeProcessorCount
        caches = MachineCaches()
        isa = host.isa.names
        transparentHugePages = Machine.line("/sys/kernel/mm/transparent_hugepage/enabled")
        compiler = String(cString: lhk_bench_compiler())
        version = LonghandCommand.configuration.version
        commit = Machine.commit
        (rounds, secondsPerRow) = (effort.rounds, effort.seconds)
        clockNanoseconds = lhk_roof_clock_cost()
    }

    /// For reading, without the roofs.
    var text: String {
        func size(_ bytes: Int?) -> String { bytes.map { "\($0 >> 10) KiB" } ?? "unknown" }
        return """
            \(processor), \(processors) processors, caches \(size(caches.l1)), \(size(caches.l2)), \(size(caches.l3)); \(system)
            instruction sets \(isa.joined(separator: " ")); huge pages \(transparentHugePages ?? "unknown"); reading the clock \
            costs \(clockNanoseconds) ns
            longhand \(version)\(commit.map { " at \($0)" } ?? ""), \(compiler); \(date)

            """
    }
}

/// Writes rows in a format.
struct BenchReport {
    var context: BenchContext
    var rows: [BenchRow] = []

    private struct Document: Encodable {
        let context: BenchContext
        let benchmarks: [[String: BenchValue]]
    }

    func text(_ format: ReportFormat) throws -> String {
        switch format {
        case .md:
            var table = ReportTable(titles: BenchRow.columns.compactMap(\.title), textColumns: BenchRow.textColumns)
            table.rows = rows.map { row in BenchRow.columns.filter { $0.title != nil }.map { $0.value(row).short } }
            return table.markdown + rows.compactMap { row in row.remark.map { "\n\(row.row.name): \($0)\n" } }.joined()
        case .csv:
            var table = ReportTable(titles: BenchRow.columns.map(\.key), textColumns: 0)
            table.rows = rows.map { row in BenchRow.columns.map { $0.value(row).full } }
            return table.csv
        case .json: return try ReportJSON.text(Document(context: context, benchmarks: rows.map(Self.object)), pretty: true)
        case .jsonl: return try rows.map { try ReportJSON.text(Self.object($0), pretty: false) }.joined()
        }
    }

    private static func object(_ row: BenchRow) -> [String: BenchValue] {
        Dictionary(uniqueKeysWithValues: BenchRow.columns.map { ($0.key, $0.value(row)) })
    }

    /// The roofs alone.
    func roofs(_ format: ReportFormat) throws -> String {
        var table = ReportTable(titles: ["roof", "measured on", "unit", "t", "value"], textColumns: 3)
        table.rows = context.roofs.map {
            [$0.name, $0.detail, $0.unit, "\($0.workers)", format == .md ? ReportTable.number($0.value, 1) : "\($0.value)"]
        }
        switch format {
        case .md: return table.markdown
        case .csv: return table.csv
        case .json: return try ReportJSON.text(context, pretty: true)
        case .jsonl: return try context.roofs.map { try ReportJSON.text($0, pretty: false) }.joined()
        }
    }
}
