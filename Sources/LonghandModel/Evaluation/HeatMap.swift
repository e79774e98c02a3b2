// SPDX-License-Identifier: Apache-2.0

/// Tables of numbers as coloured cells, side by side, as SVG.
public struct HeatMap: Sendable {
    /// A number from 0 (light) to 1 (dark), and what is written over it.
    struct Cell: Sendable {
        var value: Double
        var text: String
    }

    struct Panel: Sendable {
        var title: String
        var columns: [String]
        /// As many rows as the map has, as many cells as columns; nil: nothing there.
        var cells: [[Cell?]]
    }

    let title, rowTitle: String
    let rows: [String]
    let columnTitle: String
    let panels: [Panel]

    private static let cellWidth = 40, cellHeight = 18, left = 60, top = 74, gap = 24

    private func width(_ panel: Panel) -> Int { max(panel.columns.count * Self.cellWidth, 120) + Self.left + Self.gap }

    /// The picture.
    public var svg: String {
        let width = max(360, panels.reduce(0) { $0 + self.width($1) }), height = Self.top + rows.count * Self.cellHeight + 16
        var text = """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(width) \(height)" width="\(width)" height="\(height)" \
            font-family="Helvetica, Arial, sans-serif" font-size="11">
            <rect width="\(width)" height="\(height)" fill="white"/>
            <text x="\(width / 2)" y="20" text-anchor="middle" font-size="14" font-weight="bold">\(ParetoPlot.escaped(title))</text>

            """
        var x = 0
        for panel in panels {
            text += "<g transform=\"translate(\(x),0)\">\n\(drawing(panel))</g>\n"
            x += self.width(panel)
        }
        return text + "</svg>\n"
    }

    private func drawing(_ panel: Panel) -> String {
        let w = Self.cellWidth, h = Self.cellHeight, left = Self.left, top = Self.top
        var text = "<text x=\"\(left)\" y=\"40\" font-size=\"12\">\(ParetoPlot.escaped(panel.title))</text>\n"
        text += "<text x=\"\(left - 6)\" y=\"\(top - 6)\" text-anchor=\"end\" fill=\"#444\">\(ParetoPlot.escaped(rowTitle))</text>\n"
        text += "<text x=\"\(left)\" y=\"\(top - 22)\" fill=\"#444\">\(ParetoPlot.escaped(columnTitle))</text>\n"
        for (column, name) in panel.columns.enumerated() {
            text += "<text x=\"\(left + column * w + w / 2)\" y=\"\(top - 6)\" text-anchor=\"middle\" fill=\"#444\">"
            text += "\(ParetoPlot.escaped(name))</text>\n"
        }
        for (row, name) in rows.enumerated() {
            let y = top + row * h
            text += "<text x=\"\(left - 6)\" y=\"\(y + 13)\" text-anchor=\"end\" fill=\"#444\">\(ParetoPlot.escaped(name))</text>\n"
            for (column, cell) in panel.cells[row].enumerated() {
                guard let cell else { continue }
                let x = left + column * w, value = min(max(cell.value, 0), 1), ink = value > 0.55 ? "white" : "#222"
                text += "<rect x=\"\(x)\" y=\"\(y)\" width=\"\(w - 1)\" height=\"\(h - 1)\" fill=\"\(Self.colour(value))\"/>"
                text += "<text x=\"\(x + w / 2)\" y=\"\(y + 13)\" text-anchor=\"middle\" fill=\"\(ink)\">"
                text += "\(ParetoPlot.escaped(cell.text))</text>\n"
            }
        }
        return text
    }

    /// From near white to dark blue.
    private static func colour(_ value: Double) -> String {
        func mix(_ light: Double, _ dark: Double) -> String {
            let byte = Int((light + (dark - light) * value).rounded()), digits = String(byte, radix: 16)
            return digits.count == 1 ? "0\(digits)" : digits
        }
        return "#\(mix(240, 20))\(mix(245, 60))\(mix(250, 120))"
    }
}
