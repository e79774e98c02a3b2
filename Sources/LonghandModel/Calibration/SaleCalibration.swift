// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Thresholds that were found, to be written.
public struct SaleCalibration: Sendable {
    public let heads: [SaleHead]

    public init(heads: [SaleHead]) { self.heads = heads }

    /// The layers, ascending, with their heads in order.
    public var layers: [(layer: Int, heads: [SaleHead])] {
        Dictionary(grouping: heads, by: \.layer).sorted { $0.key < $1.key }.map { ($0.key, $0.value.sorted { $0.head < $1.head }) }
    }

    public var meanKept: Double { heads.reduce(0) { $0 + $1.kept } / Double(max(1, heads.count)) }
    public var meanError: Double { heads.reduce(0) { $0 + $1.error } / Double(max(1, heads.count)) }

    /// Writes a file for `sale:calibration=FILE`: `layers.N.sale.tau` F32 [query heads].
    public func write(path: String, metadata: [String: String] = [:]) throws {
        let layers = layers
        let writer = try SafetensorsWriter(
            path: path, tensors: layers.map { .init("layers.\($0.layer).sale.tau", .f32, shape: [$0.heads.count]) },
            metadata: metadata.merging(["format": CalibrationFile.format, "method": "sale"]) { $1 })
        for (index, layer) in layers.enumerated() {
            try layer.heads.map { $0.tau.bitPattern.littleEndian }.withUnsafeBytes { try writer.write($0, tensor: index, at: 0) }
        }
        try writer.finish()
    }

    /// Kept share and threshold of every head, as SVG.
    public func heatMap(title: String) -> HeatMap {
        let layers = layers, width = layers.map(\.heads.count).max() ?? 0
        func panel(_ name: String, _ text: (SaleHead) -> String, _ value: (SaleHead) -> Double) -> HeatMap.Panel {
            HeatMap.Panel(
                title: name, columns: (0..<width).map(String.init),
                cells: layers.map { row in
                    (0..<width).map { column in
                        row.heads.first { $0.head == column }.map { HeatMap.Cell(value: value($0), text: text($0)) }
                    }
                })
        }
        let highest = Double(heads.map(\.tau).max() ?? 0), span = log2(max(2, highest / Double(SaleCalibrator.leastLevel)))
        return HeatMap(
            title: title, rowTitle: "layer", rows: layers.map { "\($0.layer)" }, columnTitle: "query head",
            panels: [
                panel("kept share (%)", { "\(Int((100 * $0.kept).rounded()))" }, \.kept),
                panel(
                    "threshold (1/1000)", { $0.tau == 0 ? "dense" : Self.shown(1000 * $0.tau) },
                    { $0.tau == 0 ? 1 : 0.9 * log2(highest / Double($0.tau)) / span }),
            ])
    }

    static func shown(_ value: Float) -> String {
        let text = "\((value * 1000).rounded() / 1000)"
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }
}
