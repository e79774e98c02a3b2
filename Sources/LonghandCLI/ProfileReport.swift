// SPDX-License-Identifier: Apache-2.0
import Longhand
import LonghandModel

/// Where the time of a run went: one phase of it by operator and layer.
struct PhaseProfile: Encodable {
    struct Row: Encodable {
        let name: String
        let calls: Int
        let seconds: Double
        /// Of the phase's time.
        let share: Double
        let gigaflops, gigabytes: Double
        /// The least time that the roofs allow for this work, divided by the time it took; nil where there is no formula.
        /// Above 1 where operands came out of a cache while the read roof is that of DRAM.
        let roofShare: Double?
        /// The roof that allows no less: an instruction, or `read`.
        let bound: String?
    }
    struct Layer: Encodable {
        let layer: Int
        let seconds: Double
        let roofShare: Double?
        let operators: [Row]
    }
    let seconds: Double
    /// Share of the time that the operators account for.
    let accounted: Double
    /// Without those that did not run.
    let operators: [Row]
    let layers: [Layer]

    init(_ profile: Profile, seconds: Double, roofs: MachineRoofs, attention: String, linearBits: Int32?) {
        let meter = Meter(roofs: roofs, attention: attention, linearBits: linearBits, seconds: seconds)
        self.seconds = seconds
        accounted = seconds > 0 ? Double(profile.nanoseconds) * 1e-9 / seconds : 1
        operators = Operator.allCases.compactMap { meter.row($0, profile.totals($0)) }
        layers = (0..<profile.layerCount).map { layer in
            let totals = Operator.allCases.map { ($0, profile.totals($0, layer: layer)) }
            let known = totals.filter { meter.least($0.0, $0.1) != nil }
            let least = known.reduce(0) { $0 + (meter.least($1.0, $1.1) ?? 0) }
            let spent = known.reduce(0) { $0 + $1.1.seconds }
            return Layer(
                layer: layer, seconds: totals.reduce(0) { $0 + $1.1.seconds }, roofShare: spent > 0 ? least / spent : nil,
                operators: totals.compactMap { meter.row($0.0, $0.1) })
        }
    }

    /// Rates and shares of totals.
    private struct Meter {
        let roofs: MachineRoofs
        let attention: String
        let linearBits: Int32?
        let seconds: Double

        func row(_ op: Operator, _ totals: Profile.Totals) -> Row? {
            guard totals.calls > 0 else { return nil }
            let time = totals.seconds, least = least(op, totals)
            return Row(
                name: op.name, calls: totals.calls, seconds: time, share: seconds > 0 ? time / seconds : 0,
                gigaflops: time > 0 ? totals.work.flops * 1e-9 / time : 0,
                gigabytes: time > 0 ? totals.work.bytes * 1e-9 / time : 0,
                roofShare: least.flatMap { time > 0 ? $0 / time : nil }, bound: least == nil ? nil : bound(op, totals))
        }

        /// Seconds below which the roofs do not allow this work; nil where nothing is known of it.
        func least(_ op: Operator, _ totals: Profile.Totals) -> Double? {
            guard totals.work.bytes > 0 else { return nil }
            return max(computing(op, totals), totals.work.bytes * 1e-9 / roofs.readGigabytes)
        }

        private func computing(_ op: Operator, _ totals: Profile.Totals) -> Double {
            roofs.compute(op, attention: attention, linearBits: linearBits).map { totals.work.flops * 1e-9 / $0.gigaflops } ?? 0
        }

        private func bound(_ op: Operator, _ totals: Profile.Totals) -> String {
            let reading = totals.work.bytes * 1e-9 / roofs.readGigabytes
            return computing(op, totals) > reading
                ? roofs.compute(op, attention: attention, linearBits: linearBits)!.instruction : "read"
        }
    }

    /// Operators, and what they leave of the phase's time.
    func table(_ title: String) -> String {
        var table = ReportTable(
            titles: [title, "calls", "ms", "share", "GFLOP/s", "GB/s", "% of roof", "bound by"], textColumns: 1)
        for row in operators {
            table.rows.append([
                row.name, "\(row.calls)", ReportTable.number(row.seconds * 1e3, 2), Self.percent(row.share),
                row.gigaflops > 0 ? ReportTable.number(row.gigaflops, 1) : "-",
                row.gigabytes > 0 ? ReportTable.number(row.gigabytes, 1) : "-", Self.percent(row.roofShare), row.bound ?? "-",
            ])
        }
        let rest = ["", "", "", ""]
        table.rows.append(
            ["other", "", ReportTable.number(seconds * (1 - accounted) * 1e3, 2), Self.percent(1 - accounted)] + rest)
        table.rows.append(["all", "", ReportTable.number(seconds * 1e3, 2), Self.percent(1)] + rest)
        return table.markdown
    }

    /// Milliseconds of the operators in each layer.
    func layerTable(_ title: String) -> String {
        let names = layers.first?.operators.map(\.name) ?? []
        var table = ReportTable(titles: [title] + names + ["all", "% of roof"], textColumns: 1)
        for layer in layers {
            let cells = layer.operators.map { ReportTable.number($0.seconds * 1e3, 2) }
            table.rows.append(
                ["\(layer.layer)"] + cells + [ReportTable.number(layer.seconds * 1e3, 2), Self.percent(layer.roofShare)])
        }
        return table.markdown
    }

    private static func percent(_ value: Double?) -> String { value.map { ReportTable.number(100 * $0, 1) } ?? "-" }
}

extension Profile.Totals {
    fileprivate var seconds: Double { Double(nanoseconds) * 1e-9 }
}
