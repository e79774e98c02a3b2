// SPDX-License-Identifier: Apache-2.0
import Foundation

/// How a table of results is written to stdout.
enum ReportFormat: String, CaseIterable {
    case md, csv, json, jsonl
}

/// Rows under titles: the first `textColumns` hold words, the others numbers.
struct ReportTable {
    let titles: [String]
    let textColumns: Int
    var rows: [[String]] = []

    /// A table in Markdown that reads well as plain text too.
    var markdown: String {
        let cells = [titles] + rows.map { $0.map { $0.replacingOccurrences(of: "|", with: "\\|") } }
        let widths = titles.indices.map { column in cells.map { $0[column].count }.max() ?? 0 }
        func line(_ row: [String]) -> String {
            let padded = row.enumerated().map { column, text in
                let space = String(repeating: " ", count: max(0, widths[column] - text.count))
                return column < textColumns ? text + space : space + text
            }
            return "| \(padded.joined(separator: " | ")) |\n"
        }
        let rule = widths.enumerated().map { column, width in
            String(repeating: "-", count: max(3, width + 2) - 1) + (column < textColumns ? "-" : ":")
        }
        return line(titles) + "|\(rule.joined(separator: "|"))|\n" + cells.dropFirst().map(line).joined()
    }

    /// Comma-separated values (RFC 4180, with plain line feeds).
    var csv: String {
        func field(_ text: String) -> String {
            guard text.contains(where: { ",\"\n\r".contains($0) }) else { return text }
            return "\"\(text.replacingOccurrences(of: "\"", with: "\"\""))\""
        }
        return ([titles] + rows).map { $0.map(field).joined(separator: ",") + "\n" }.joined()
    }

    /// `value` with so many digits after the point.
    static func number(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }

    /// `value` with three significant digits, for quantities of any magnitude.
    static func significant(_ value: Double) -> String {
        if value == 0 { return "0" }
        return String(format: abs(value) < 1e-3 ? "%.2e" : "%.3g", value)
    }
}

/// JSON for reports. Infinities and NaN, which JSON lacks, become strings.
enum ReportJSON {
    static func text(_ value: some Encodable, pretty: Bool) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting =
            pretty ? [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes] : [.sortedKeys, .withoutEscapingSlashes]
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
    }
}
