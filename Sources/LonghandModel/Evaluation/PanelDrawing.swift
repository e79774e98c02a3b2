// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Places the axes, points and names of one panel on a field of 520 by 400.
struct PanelDrawing {
    private let panel: ParetoPlot.Panel
    private let xAxis, yAxis: PlotAxis
    /// The field of the axes.
    static let left = 78.0, right = 500.0, top = 12.0, bottom = 340.0

    init(_ panel: ParetoPlot.Panel) {
        self.panel = panel
        let points = panel.drawable
        xAxis = PlotAxis.linear(points.map(\.x), from: Self.left, to: Self.right)
        yAxis =
            panel.logarithmicY
            ? PlotAxis.logarithmic(points.map(\.y), from: Self.bottom, to: Self.top)
            : PlotAxis.linear(points.map(\.y), from: Self.bottom, to: Self.top)
    }

    var svg: String { grid + frontLine + marks + labels }

    private func place(_ point: ParetoPlot.Point) -> (x: Double, y: Double) { (xAxis.place(point.x), yAxis.place(point.y)) }

    private static func f(_ value: Double) -> String { String(format: "%.1f", value) }

    private var grid: String {
        let f = Self.f
        var text = ""
        for tick in xAxis.ticks {
            let x = f(xAxis.place(tick.value))
            text += "<path d=\"M\(x) \(f(Self.top))V\(f(Self.bottom))\" stroke=\"#e4e4e4\"/>"
            text += "<text x=\"\(x)\" y=\"\(f(Self.bottom + 17))\" text-anchor=\"middle\" fill=\"#444\">\(tick.label)</text>\n"
        }
        for tick in yAxis.ticks {
            let y = yAxis.place(tick.value)
            text += "<path d=\"M\(f(Self.left)) \(f(y))H\(f(Self.right))\" stroke=\"#e4e4e4\"/>"
            text += "<text x=\"\(f(Self.left - 6))\" y=\"\(f(y + 4))\" text-anchor=\"end\" fill=\"#444\">\(tick.label)</text>\n"
        }
        let middle = f((Self.left + Self.right) / 2), centre = f((Self.top + Self.bottom) / 2)
        let xHint = panel.lessX ? "(less is better)" : "(more is better)", yHint = panel.lessY ? "less is better" : "more is better"
        text += "<rect x=\"\(f(Self.left))\" y=\"\(f(Self.top))\" width=\"\(f(Self.right - Self.left))\" "
        text += "height=\"\(f(Self.bottom - Self.top))\" fill=\"none\" stroke=\"#888\"/>\n"
        text += "<text x=\"\(middle)\" y=\"\(f(Self.bottom + 38))\" text-anchor=\"middle\">"
        text += "\(ParetoPlot.escaped(panel.xLabel)) \(xHint)</text>\n"
        text += "<text transform=\"translate(16,\(centre)) rotate(-90)\" text-anchor=\"middle\">"
        return text + "\(ParetoPlot.escaped(panel.yLabel)), \(yHint)</text>\n"
    }

    private var frontLine: String {
        let front = panel.front.map(place)
        guard front.count > 1 else { return "" }
        let path = front.enumerated().map { "\($0 == 0 ? "M" : "L")\(Self.f($1.x)) \(Self.f($1.y))" }.joined()
        return "<path d=\"\(path)\" fill=\"none\" stroke=\"#b0c4de\" stroke-width=\"2\"/>\n"
    }

    private var marks: String {
        let front = Set(panel.front)
        return panel.drawable.map { point in
            let (x, y) = place(point), fill = front.contains(point) ? "#1f5fa8" : "white"
            return
                "<circle cx=\"\(Self.f(x))\" cy=\"\(Self.f(y))\" r=\"4.5\" fill=\"\(fill)\" stroke=\"#1f5fa8\" stroke-width=\"1.5\"/>\n"
        }.joined()
    }

    private var labels: String {
        let points = panel.drawable
        return LabelPlacement.place(
            points.map { (place($0), $0.name) }, left: Self.left, right: Self.right, top: Self.top, bottom: Self.bottom
        ).map { label in
            let text = ParetoPlot.escaped(label.text)
            var line = ""
            if label.needsLeader {
                line =
                    "<path d=\"M\(Self.f(label.anchor.x)) \(Self.f(label.anchor.y))L\(Self.f(label.box.attachment(label.anchor).x)) "
                line += "\(Self.f(label.box.attachment(label.anchor).y))\" stroke=\"#999\" stroke-width=\"0.8\"/>"
            }
            return line + "<text x=\"\(Self.f(label.box.x))\" y=\"\(Self.f(label.box.y + 11))\">\(text)</text>\n"
        }.joined()
    }
}

/// An axis: where values lie on the paper, and its ticks.
struct PlotAxis {
    let ticks: [(value: Double, label: String)]
    let place: @Sendable (Double) -> Double

    /// Round steps around `values`.
    static func linear(_ values: [Double], from start: Double, to end: Double) -> PlotAxis {
        var low = values.min() ?? 0, high = values.max() ?? 1
        var margin = max(0.1 * (high - low), 0.02 * max(abs(low), abs(high)))
        if margin == 0 { margin = 1 }
        low = low >= 0 ? max(0, low - margin) : low - margin
        high += margin
        let raw = (high - low) / 7, power = pow(10, floor(log10(raw)))
        let step = power * ([1, 2, 5, 10].first { $0 * power >= raw * (1 - 1e-9) } ?? 10)
        var ticks: [(Double, String)] = []
        for index in Int((low / step).rounded(.up))...max(Int((low / step).rounded(.up)), Int((high / step).rounded(.down))) {
            let value = Double(index) * step
            ticks.append((value, step >= 1 ? String(format: "%.0f", value) : String(format: "%g", (value * 1e9).rounded() / 1e9)))
        }
        return PlotAxis(ticks: ticks) { [low, high] in start + ($0 - low) / (high - low) * (end - start) }
    }

    /// Powers of ten around the positive `values`; zeros lie at the lower end, whose tick says so.
    static func logarithmic(_ values: [Double], from start: Double, to end: Double) -> PlotAxis {
        let positive = values.filter { $0 > 0 }, hasZero = values.contains(0)
        var low = floor(log10(positive.min() ?? 1e-3) - 0.05)
        var high = ceil(log10(positive.max() ?? 1) + 0.05)
        if high - low < 1 { (low, high) = (low - 1, high) }
        if hasZero { low -= 1 }
        let stride = max(1, Int(((high - low) / 7).rounded(.up)))
        var ticks: [(Double, String)] = []
        for power in Int(low)...Int(high) where (Int(high) - power) % stride == 0 {
            if hasZero && power == Int(low) { continue }
            ticks.append(
                (pow(10, Double(power)), power >= -3 && power <= 3 ? String(format: "%g", pow(10, Double(power))) : "1e\(power)"))
        }
        if hasZero { ticks.append((0, "0")) }
        return PlotAxis(ticks: ticks) { [low, high] value in
            start + (max(low, value > 0 ? log10(value) : low) - low) / (high - low) * (end - start)
        }
    }
}
