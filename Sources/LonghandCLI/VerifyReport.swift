// SPDX-License-Identifier: Apache-2.0
import Foundation
import LonghandVerify

/// What the checks found: a row for every variant and level.
struct VerifyReport {
    private struct Row: Encodable {
        let role, method, variant, origin, level, result: String
        let cases, skipped, calls: UInt64
        /// Largest error in units of what is allowed; nil: nothing was compared within a bound.
        let worst: Double?
        let hasReference: Bool
        let failure: VerifyFailure?
        let reason: String?
    }

    private struct Document: Encodable {
        let seed: UInt64
        let isa: [String]
        let threads: Int
        let passed, failed, unchecked: Int
        let rows: [Row]
    }

    private let document: Document
    private let failures: [(target: VerifyTarget, failure: VerifyFailure)]

    init(seed: UInt64, isa: [String], threads: Int, targets: [VerifyTarget]) {
        failures = targets.compactMap { target in target.failure.map { (target, $0) } }
        let checked = targets.count { $0.failure == nil && $0.wasChecked }
        document = Document(
            seed: seed, isa: isa, threads: threads, passed: checked, failed: failures.count,
            unchecked: targets.count - checked - failures.count, rows: targets.flatMap(Self.rows))
    }

    private static func rows(_ target: VerifyTarget) -> [Row] {
        func row(_ level: String, _ result: String, _ index: Int?) -> Row {
            let outcome = index.map { target.outcomes[$0] } ?? lhk_verify_outcome()
            return Row(
                role: target.role, method: target.method, variant: target.id, origin: target.origin, level: level,
                result: result, cases: outcome.cases, skipped: outcome.skipped, calls: outcome.calls,
                worst: outcome.worst > 0 ? outcome.worst : nil, hasReference: target.hasReference,
                failure: target.failure.flatMap { $0.level == level ? $0 : nil },
                reason: outcome.cases == 0 && target.failure == nil ? target.reason : nil)
        }
        if target.levels.isEmpty { return [row("-", "not on this machine", nil)] }
        return target.levels.enumerated().map { index, level in
            let outcome = target.outcomes[index]
            let result =
                outcome.failures > 0 ? "FAILED" : target.failure != nil ? "stopped" : outcome.cases > 0 ? "passed" : "not checked"
            return row(level.name, result, index)
        }
    }

    func text(_ format: ReportFormat) throws -> String {
        switch format {
        case .md: return table(forReading: true).markdown + "\n" + summary
        case .csv: return table(forReading: false).csv
        case .json: return try ReportJSON.text(document, pretty: true)
        case .jsonl: return try document.rows.map { try ReportJSON.text($0, pretty: false) }.joined()
        }
    }

    private func table(forReading: Bool) -> ReportTable {
        var table = ReportTable(
            titles: forReading
                ? ["role", "variant", "level", "result", "cases", "skipped", "calls", "worst"]
                : ["role", "variant", "level", "result", "cases", "skipped", "calls", "worst_error_of_bound", "seed", "failed_case"],
            textColumns: 4)
        for row in document.rows {
            let worst = row.worst.map { forReading ? ReportTable.number($0, 3) : "\($0)" } ?? (forReading ? "-" : "")
            var cells = [row.role, row.variant, row.level, row.result, "\(row.cases)", "\(row.skipped)", "\(row.calls)", worst]
            if !forReading { cells += ["\(document.seed)", row.failure?.testCase ?? ""] }
            table.rows.append(cells)
        }
        return table
    }

    /// Failures and what was not checked, in words; the seed.
    private var summary: String {
        var text = ""
        for (target, failure) in failures {
            text += "FAILED \(target.role) \(target.id) under \(failure.level), case \(failure.testCase)\n"
            text += failure.text.split(separator: "\n").map { "  \($0)\n" }.joined()
            text += "  replay: \(failure.replay)\n\n"
        }
        var noted: Set<String> = []
        for row in document.rows where row.reason != nil && noted.insert(row.variant).inserted {
            text += "\(row.result): \(row.role) \(row.variant): \(row.reason!)\n"
        }
        text += "seed \(document.seed): \(document.passed) variants passed, \(document.failed) failed"
        return text + (document.unchecked > 0 ? ", \(document.unchecked) were not checked\n" : "\n")
    }
}

/// What there is to check: `longhand verify --list`.
struct VerifyListing {
    struct Case: Encodable {
        let number: UInt32
        let name: String
        /// Roles of the variants that it runs on, or where else it is tested.
        let checked: String
    }
    private struct Variant: Encodable {
        let role, method, variant, origin, against: String
        let levels: [String]
    }
    private struct Document: Encodable {
        let variants: [Variant]
        let cases: [Case]
    }

    let cases: [Case]
    private let variants: [Variant]

    init(_ targets: [VerifyTarget]) {
        variants = targets.map { target in
            Variant(
                role: target.role, method: target.method, variant: target.id, origin: target.origin,
                against: target.hasReference ? "reference and laws" : "laws", levels: target.levels.map(\.name))
        }
        cases = (0..<lhk_fuzz_corpus_count()).map { index in
            let entry = lhk_fuzz_corpus_get(index)
            let elsewhere = entry.elsewhere.map { String(cString: $0) } ?? "a case of attention"
            return Case(number: entry.number, name: String(cString: entry.name), checked: elsewhere)
        }
    }

    func text(_ format: ReportFormat) throws -> String {
        switch format {
        case .md: return variantTable.markdown + "\n" + caseTable.markdown
        case .csv: return variantTable.csv + "\n" + caseTable.csv
        case .json: return try ReportJSON.text(Document(variants: variants, cases: cases), pretty: true)
        case .jsonl:
            return try variants.map { try ReportJSON.text($0, pretty: false) }.joined()
                + cases.map { try ReportJSON.text($0, pretty: false) }.joined()
        }
    }

    private var variantTable: ReportTable {
        var table = ReportTable(titles: ["role", "method", "variant", "against", "levels"], textColumns: 5)
        table.rows = variants.map {
            [$0.role, $0.method, $0.variant, $0.against, $0.levels.isEmpty ? "not on this machine" : $0.levels.joined(separator: " ")]
        }
        return table
    }

    private var caseTable: ReportTable {
        var table = ReportTable(titles: ["case", "where it is checked"], textColumns: 2)
        table.rows = cases.map { [$0.name, $0.checked] }
        return table
    }
}
