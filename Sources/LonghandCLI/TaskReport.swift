// SPDX-License-Identifier: Apache-2.0
import Foundation
import LonghandModel

/// Results of generated tasks, ready to print.
struct TaskReport {
    private struct Document: Encodable {
        let context: EvalContext
        let seed: UInt64
        let results: [TaskResult]
    }

    let context: EvalContext
    let seed: UInt64
    let results: [TaskResult]

    func text(_ format: ReportFormat) throws -> String {
        switch format {
        case .md: return markdown.markdown
        case .csv: return csv.csv
        case .json: return try ReportJSON.text(Document(context: context, seed: seed, results: results), pretty: true)
        case .jsonl: return try results.map { try ReportJSON.text($0, pretty: false) }.joined()
        }
    }

    private var markdown: ReportTable {
        func percent(_ value: Double) -> String { ReportTable.number(100 * value, 0) }
        return ReportTable(
            titles: [
                "configuration", "task", "scope", "diffusion", "length", "cases", "exact %", "95 % interval", "partial %",
                "as dense %", "KV B/token", "prefill tok/s", "decode tok/s",
            ], textColumns: 4,
            rows: results.map {
                [
                    $0.name, $0.task.rawValue, $0.scope.rawValue, $0.diffusion.rawValue, "\($0.length)", "\($0.cases)",
                    percent($0.exact), "\(percent($0.exactLow))-\(percent($0.exactHigh))", percent($0.partial),
                    percent($0.sameAsDense), ReportTable.number($0.kvBytesPerToken, 0),
                    ReportTable.number($0.prefillTokensPerSecond, 1), ReportTable.number($0.decodeTokensPerSecond, 1),
                ]
            })
    }

    private var csv: ReportTable {
        ReportTable(
            titles: [
                "configuration", "task", "scope", "diffusion", "length", "cases", "exact", "exact_low", "exact_high", "partial",
                "same_as_dense", "kv_bytes_per_token", "prefill_tokens_per_second", "decode_tokens_per_second", "store",
                "prefill", "decode", "attention", "position",
            ], textColumns: 4,
            rows: results.map {
                let m = $0.methods
                return [
                    $0.name, $0.task.rawValue, $0.scope.rawValue, $0.diffusion.rawValue, "\($0.length)", "\($0.cases)",
                    "\($0.exact)", "\($0.exactLow)", "\($0.exactHigh)", "\($0.partial)", "\($0.sameAsDense)",
                    "\($0.kvBytesPerToken)", "\($0.prefillTokensPerSecond)", "\($0.decodeTokensPerSecond)", m.store, m.prefill,
                    m.decode, m.attention, m.position,
                ]
            })
    }
}

/// Results of the life of a cache, ready to print.
struct LifeCycleReport {
    private struct Document: Encodable {
        let context: EvalContext
        let seed: UInt64
        let results: [LifeCycleResult]
    }

    let context: EvalContext
    let seed: UInt64
    let results: [LifeCycleResult]

    /// The configurations whose answers changed, in one line, or nil.
    var failure: String? {
        let failed = results.filter { !$0.passed }.map {
            "\($0.name) (\($0.sameAfterLoad) of \($0.questions) the same after loading, "
                + "\($0.sameAfterTruncation ? "the same" : "another") after truncation)"
        }
        return failed.isEmpty ? nil : "answers changed: \(failed.joined(separator: "; "))"
    }

    func text(_ format: ReportFormat) throws -> String {
        switch format {
        case .md:
            return table([
                "context", "questions", "exact %", "same after load", "same after truncate", "file MiB", "read s", "save s", "load s",
            ]) {
                [
                    "\($0.contextTokens)", "\($0.questions)", ReportTable.number(100 * $0.exact, 0), "\($0.sameAfterLoad)",
                    $0.sameAfterTruncation ? "yes" : "no", ReportTable.number(Double($0.fileBytes) / 1048576, 1),
                    ReportTable.number($0.readSeconds, 2), ReportTable.number($0.saveSeconds, 3),
                    ReportTable.number($0.loadSeconds, 3),
                ]
            }.markdown
        case .csv:
            return table([
                "context_tokens", "questions", "exact", "same_after_load", "same_after_truncation", "file_bytes", "read_seconds",
                "save_seconds", "load_seconds",
            ]) {
                [
                    "\($0.contextTokens)", "\($0.questions)", "\($0.exact)", "\($0.sameAfterLoad)", "\($0.sameAfterTruncation)",
                    "\($0.fileBytes)", "\($0.readSeconds)", "\($0.saveSeconds)", "\($0.loadSeconds)",
                ]
            }.csv
        case .json: return try ReportJSON.text(Document(context: context, seed: seed, results: results), pretty: true)
        case .jsonl: return try results.map { try ReportJSON.text($0, pretty: false) }.joined()
        }
    }

    private func table(_ titles: [String], _ cells: (LifeCycleResult) -> [String]) -> ReportTable {
        ReportTable(titles: ["configuration"] + titles, textColumns: 1, rows: results.map { [$0.name] + cells($0) })
    }
}
