// SPDX-License-Identifier: Apache-2.0

/// A plot of configurations: quality against speed and quality against bytes, side by side, as SVG. Configurations that
/// none other beats in both are joined by a line.
public struct ParetoPlot: Sendable {
    /// A configuration in one panel.
    struct Point: Sendable, Hashable {
        var name: String
        var x, y: Double
    }

    /// One diagram.
    struct Panel: Sendable {
        var xLabel, yLabel: String
        var points: [Point]
        /// Whether less is better.
        var lessX, lessY: Bool
        /// A logarithmic y axis: zero is drawn at its lower end.
        var logarithmicY: Bool
    }

    let title: String
    let panels: [Panel]

    /// Mean KL divergence from dense against speed (of decoding where tokens were decoded) and bytes of KV per token.
    public init(_ results: [EvaluationResult], title: String) {
        let decoding = results.contains { $0.decode != nil }
        func speed(_ result: EvaluationResult) -> Double {
            (decoding ? result.decode : result.prefill)?.tokensPerSecond ?? 0
        }
        let quality = "mean KL divergence from dense (nats)"
        self.title = title
        panels = [
            Panel(
                xLabel: "\(decoding ? "decode" : "prefill") tokens/s", yLabel: quality,
                points: results.map { Point(name: $0.name, x: speed($0), y: $0.meanKL) }, lessX: false, lessY: true,
                logarithmicY: true),
            Panel(
                xLabel: "KV bytes per token", yLabel: quality,
                points: results.map { Point(name: $0.name, x: $0.kvBytesPerToken, y: $0.meanKL) }, lessX: true,
                lessY: true, logarithmicY: true),
        ]
    }

    /// Share of right answers over all tasks against decoding speed and bytes of KV per token.
    public init(_ results: [TaskResult], title: String) {
        var names: [String] = []
        for result in results where !names.contains(result.name) { names.append(result.name) }
        func points(_ x: (TaskResult) -> Double) -> [Point] {
            names.map { name in
                let own = results.filter { $0.name == name }, count = Double(own.count)
                return Point(
                    name: name, x: own.reduce(0) { $0 + x($1) } / count, y: own.reduce(0) { $0 + 100 * $1.exact } / count)
            }
        }
        let quality = "exact answers (%)"
        self.title = title
        panels = [
            Panel(
                xLabel: "decode tokens/s", yLabel: quality, points: points(\.decodeTokensPerSecond), lessX: false,
                lessY: false, logarithmicY: false),
            Panel(
                xLabel: "KV bytes per token", yLabel: quality, points: points(\.kvBytesPerToken), lessX: true, lessY: false,
                logarithmicY: false),
        ]
    }

    init(title: String, panels: [Panel]) {
        self.title = title
        self.panels = panels
    }

    /// The picture.
    public var svg: String {
        let width = 520 * panels.count, height = 440
        var text = """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(width) \(height)" width="\(width)" height="\(height)" \
            font-family="Helvetica, Arial, sans-serif" font-size="12">
            <rect width="\(width)" height="\(height)" fill="white"/>
            <text x="\(width / 2)" y="24" text-anchor="middle" font-size="14" font-weight="bold">\(Self.escaped(title))</text>

            """
        for (index, panel) in panels.enumerated() {
            text += "<g transform=\"translate(\(520 * index),36)\">\n\(PanelDrawing(panel).svg)</g>\n"
        }
        return text + "</svg>\n"
    }

    static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
    }
}

extension ParetoPlot.Panel {
    /// The points that no other beats, from left to right.
    var front: [ParetoPlot.Point] {
        func key(_ p: ParetoPlot.Point) -> (Double, Double) { (lessX ? p.x : -p.x, lessY ? p.y : -p.y) }
        return drawable.filter { candidate in
            let (x, y) = key(candidate)
            return !drawable.contains { other in
                let (a, b) = key(other)
                return a <= x && b <= y && (a < x || b < y)
            }
        }.sorted { ($0.x, $0.y) < ($1.x, $1.y) }
    }

    /// The points with a place on the plane.
    var drawable: [ParetoPlot.Point] { points.filter { $0.x.isFinite && $0.y.isFinite && (!logarithmicY || $0.y >= 0) } }
}
