// SPDX-License-Identifier: Apache-2.0

/// Finds places for the names of points so that they cover neither each other nor a point.
struct LabelPlacement {
    struct Box {
        var x, y, width, height: Double

        /// Area shared with `other`.
        func overlap(_ other: Box) -> Double {
            let w = min(x + width, other.x + other.width) - max(x, other.x)
            let h = min(y + height, other.y + other.height) - max(y, other.y)
            return w > 0 && h > 0 ? w * h : 0
        }

        /// The point of the box nearest to `anchor`, where a leader ends.
        func attachment(_ anchor: (x: Double, y: Double)) -> (x: Double, y: Double) {
            (min(max(anchor.x, x), x + width), min(max(anchor.y, y), y + height))
        }
    }

    struct Label {
        let text: String
        let anchor: (x: Double, y: Double)
        let box: Box
        /// Whether it lies so far from its point that a line must join them.
        let needsLeader: Bool
    }

    private static let height = 14.0, radius = 6.0

    /// Places every name within the bounds: beside its point where that is free, else further away.
    static func place(
        _ points: [(at: (x: Double, y: Double), name: String)], left: Double, right: Double, top: Double, bottom: Double
    ) -> [Label] {
        let marks = points.map { Box(x: $0.at.x - radius, y: $0.at.y - radius, width: 2 * radius, height: 2 * radius) }
        var placed: [Label] = []
        // From top to bottom, so that the order of labels is that of points where they crowd.
        for point in points.sorted(by: { ($0.at.y, $0.at.x) < ($1.at.y, $1.at.x) }) {
            // Wide letters of a common sans-serif at 12 pixels average this.
            let width = min(7.0 * Double(point.name.count), right - left - 2)
            var best: (cost: Double, box: Box, leader: Bool)?
            for (box, distance) in candidates(point.at, width) {
                guard box.x >= left + 1, box.x + box.width <= right - 1, box.y >= top + 1, box.y + box.height <= bottom - 1
                else { continue }
                let covered = (placed.map(\.box) + marks).reduce(0) { $0 + box.overlap($1) }
                let cost = 1e6 * covered + distance
                if best == nil || cost < best!.cost { best = (cost, box, distance >= 20) }
            }
            guard let best else { continue }
            placed.append(Label(text: point.name, anchor: point.at, box: best.box, needsLeader: best.leader))
        }
        return placed
    }

    /// Places to try, and how far they are from the point; those beside it first.
    private static func candidates(_ at: (x: Double, y: Double), _ width: Double) -> [(Box, Double)] {
        var result: [(Box, Double)] = []
        for (rank, step) in stride(from: 0.0, through: 240, by: 12).enumerated() {
            let distance = rank == 0 ? 0 : 10 + step
            for vertical in rank == 0 ? [0.0] : [-step, step] {
                let y = at.y - height / 2 + vertical
                result.append((Box(x: at.x + radius + 2, y: y, width: width, height: height), distance))
                result.append((Box(x: at.x - radius - 2 - width, y: y, width: width, height: height), distance + 1))
                result.append((Box(x: at.x - width / 2, y: y - (rank == 0 ? 14 : 0), width: width, height: height), distance + 2))
                if rank == 0 { result.append((Box(x: at.x - width / 2, y: y + 14, width: width, height: height), distance + 3)) }
            }
        }
        return result
    }
}
