// SPDX-License-Identifier: Apache-2.0
import Foundation
import LonghandModel

/// What an evaluation ran on; part of every JSON report.
struct EvalContext: Encodable {
    let model: String
    let text: String?
    let isa: [String]
    let threads: Int
    let version: String
}

/// The comparison of configurations on a text, ready to print.
struct EvalReport {
    private struct Document: Encodable {
        let context: EvalContext
        let tokens, contextTokens, windows: Int
        let decodeFrom: Int?
        let results: [EvaluationResult]
    }

    let context: EvalContext
    let tokens: Int
    let options: EvaluationOptions
    let results: [EvaluationResult]

    func text(_ format: ReportFormat) throws -> String {
        switch format {
        case .md: return table(forReading: true).markdown
        case .csv: return table(forReading: false).csv
        case .json:
            return try ReportJSON.text(
                Document(
                    context: context, tokens: tokens, contextTokens: options.context, windows: options.windows,
                    decodeFrom: options.decodeFrom, results: results), pretty: true)
        case .jsonl: return try results.map { try ReportJSON.text($0, pretty: false) }.joined()
        }
    }

    /// Rounded with short titles for reading, or full numbers under machine names.
    private func table(forReading: Bool) -> ReportTable {
        let columns: [(title: String, key: String, read: (EvaluationResult) -> String, exact: (EvaluationResult) -> Double?)] = [
            ("perplexity", "perplexity", { ReportTable.number($0.perplexity, 4) }, { $0.perplexity }),
            ("delta %", "perplexity_delta", { String(format: "%+.3f", 100 * $0.perplexityDelta) }, { $0.perplexityDelta }),
            ("mean KL", "mean_kl", { ReportTable.significant($0.meanKL) }, { $0.meanKL }),
            ("99 % KL", "kl_99", { ReportTable.significant($0.kl99) }, { $0.kl99 }),
            ("99.9 % KL", "kl_99_9", { ReportTable.significant($0.kl999) }, { $0.kl999 }),
            ("max KL", "max_kl", { ReportTable.significant($0.maxKL) }, { $0.maxKL }),
            ("top-1 %", "top1_agreement", { ReportTable.number(100 * $0.topAgreement, 2) }, { $0.topAgreement }),
            ("KV B/token", "kv_bytes_per_token", { ReportTable.number($0.kvBytesPerToken, 0) }, { $0.kvBytesPerToken }),
        ]
        let phases: [(name: String, phase: (EvaluationResult) -> EvaluatedPhase?)] = [
            ("prefill", { $0.prefill }), ("decode", { $0.decode }),
        ].filter { entry in results.contains { entry.1($0) != nil } }
        let parts: [(title: String, key: String, digits: Int, scale: Double, value: (EvaluatedPhase) -> Double)] = [
            ("tok/s", "tokens_per_second", 1, 1, { $0.tokensPerSecond }), ("select %", "select_share", 1, 100, { $0.selectShare }),
            ("attend %", "attend_share", 1, 100, { $0.attendShare }), ("attended", "attended_tokens", 0, 1, { $0.attendedTokens }),
            ("of visible %", "attended_share", 1, 100, { $0.attendedShare }),
        ]
        var titles = ["configuration"] + columns.map { forReading ? $0.title : $0.key }
        for (name, _) in phases { titles += parts.map { forReading ? "\(name) \($0.title)" : "\(name)_\($0.key)" } }
        if !forReading { titles += ["scored_tokens", "store", "prefill", "decode", "attention", "position"] }
        var table = ReportTable(titles: titles, textColumns: 1)
        for result in results {
            var row = [result.name] + columns.map { forReading ? $0.read(result) : $0.exact(result).map { "\($0)" } ?? "" }
            for (_, phase) in phases {
                row += parts.map { part in
                    guard let phase = phase(result) else { return forReading ? "-" : "" }
                    let value = part.value(phase)
                    return forReading ? ReportTable.number(part.scale * value, part.digits) : "\(value)"
                }
            }
            let m = result.methods
            if !forReading { row += ["\(result.scoredTokens)", m.store, m.prefill, m.decode, m.attention, m.position] }
            table.rows.append(row)
        }
        return table
    }
}
