// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

@testable import LonghandModel

#if canImport(FoundationXML)
import FoundationXML
#endif

@Suite struct PlotTests {
    typealias Point = ParetoPlot.Point

    static func panel(_ points: [Point], lessX: Bool = false, lessY: Bool = true, logarithmicY: Bool = true) -> ParetoPlot.Panel {
        .init(xLabel: "x", yLabel: "y", points: points, lessX: lessX, lessY: lessY, logarithmicY: logarithmicY)
    }

    @Test func front() {
        let points = [
            Point(name: "a", x: 1, y: 0), Point(name: "b", x: 2, y: 0.1), Point(name: "beaten", x: 1.5, y: 0.2),
            Point(name: "c", x: 3, y: 0.5), Point(name: "not a number", x: 9, y: .nan),
        ]
        #expect(Self.panel(points).front.map(\.name) == ["a", "b", "c"])
        #expect(Self.panel(points, lessX: true).front.map(\.name) == ["a"])
        #expect(Self.panel(points, lessY: false).front.map(\.name) == ["c"])
    }

    /// Names of up to eight points cover neither each other nor a point, and stay inside.
    @Test func namesDoNotOverlap() {
        var generator = SplitMix64(seed: testSeed())
        for round in 0..<300 {
            // Scattered, in a column, in a row, or nearly in one place.
            let spreadX = [400.0, 2, 400, 20][round % 4], spreadY = [300.0, 300, 2, 20][round % 4]
            let centre = (x: 80 + (420 - spreadX) * generator.nextUnit(), y: 15 + (320 - spreadY) * generator.nextUnit())
            let points = (0..<8).map { index in
                (
                    at: (x: centre.x + spreadX * generator.nextUnit(), y: centre.y + spreadY * generator.nextUnit()),
                    name: String(repeating: "n", count: 3 + generator.below(14))
                )
            }
            let labels = LabelPlacement.place(points, left: 78, right: 500, top: 12, bottom: 340)
            #expect(labels.count == 8)
            for (index, label) in labels.enumerated() {
                let box = label.box
                #expect(box.x >= 78 && box.x + box.width <= 500 && box.y >= 12 && box.y + box.height <= 340)
                for other in labels[(index + 1)...] { #expect(box.overlap(other.box) == 0, "round \(round)") }
            }
        }
    }

    @Test func axes() {
        for values in [[0, 1], [5, 5], [0, 0], [-3, 1e-3], [1e9, 2e9], [38.2, 42.9], [], [0.1]] {
            let axis = PlotAxis.linear(values, from: 0, to: 100)
            #expect(axis.ticks.count >= 2 && axis.ticks.count <= 9, "\(values): \(axis.ticks)")
            #expect(Set(axis.ticks.map(\.label)).count == axis.ticks.count, "\(values): \(axis.ticks)")
            for value in values + axis.ticks.map(\.value) { #expect((-1e-6...100 + 1e-6).contains(axis.place(value))) }
        }
        for values in [[0, 1], [1e-9, 1e-3, 2], [0, 0], [0.5], [], [1e-3, 1e-3]] {
            let axis = PlotAxis.logarithmic(values, from: 100, to: 0)
            #expect(axis.ticks.count >= 2 && axis.ticks.count <= 9, "\(values): \(axis.ticks)")
            for value in values + axis.ticks.map(\.value) { #expect((-1e-6...100 + 1e-6).contains(axis.place(value))) }
            if values.contains(0) { #expect(axis.place(0) == 100 && axis.ticks.contains { $0.label == "0" }) }
        }
    }

    @Test func isWellFormed() {
        let points = [Point(name: "<&> \"quoted\"", x: 1, y: 0), Point(name: "b", x: 4, y: 3), Point(name: "inf", x: .infinity, y: 1)]
        for panels in [[Self.panel(points)], [Self.panel(points), Self.panel([])], []] {
            let svg = ParetoPlot(title: "a < b & c", panels: panels).svg
            #expect(svg.hasPrefix("<svg ") && !svg.contains("nan") && !svg.contains("inf<"))
            #expect(XMLParser(data: Data(svg.utf8)).parse())
        }
    }
}
