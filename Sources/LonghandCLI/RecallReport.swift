// SPDX-License-Identifier: Apache-2.0
import Foundation
import LonghandModel

/// Attention mass that selectors catch: by layer for reading, by head for programs.
struct RecallReport {
    let results: [RecallHead]

    func text(_ format: ReportFormat) throws -> String {
        switch format {
        case .md: return table.markdown
        case .csv:
            return ReportTable(
                titles: ["configuration", "layer", "head", "recall"], textColumns: 1,
                rows: results.map { [$0.configuration, "\($0.layer)", "\($0.head)", "\($0.recall)"] }
            ).csv
        case .json: return try ReportJSON.text(results, pretty: true)
        case .jsonl: return try results.map { try ReportJSON.text($0, pretty: false) }.joined()
        }
    }

    /// A row per layer, and one for all: in %, the mean over heads and the least head.
    private var table: ReportTable {
        func unique<T: Hashable>(_ values: [T]) -> [T] { values.reduce(into: []) { if !$0.contains($1) { $0.append($1) } } }
        let names = unique(results.map(\.configuration)), layers = unique(results.map(\.layer))
        func row(_ title: String, _ heads: [RecallHead]) -> [String] {
            [title]
                + names.map { name in
                    let recalls = heads.filter { $0.configuration == name }.map { 100 * $0.recall }
                    let mean = recalls.reduce(0, +) / Double(max(recalls.count, 1))
                    return "\(ReportTable.number(mean, 1)) (\(ReportTable.number(recalls.min() ?? 0, 1)))"
                }
        }
        return ReportTable(
            titles: ["recall %: mean (least head)"] + names, textColumns: 1,
            rows: layers.map { layer in row("layer \(layer)", results.filter { $0.layer == layer }) } + [row("all", results)])
    }
}
