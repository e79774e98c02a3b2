// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand
import Testing

@testable import LonghandModel

/// `longhand calibrate sale`, and runs with what it found.
@Suite(.serialized) struct CalibrationTests {
    struct Outcome {
        let code: Int32
        let output, errors: String
    }

    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../..").standardizedFileURL

    /// Runs the command that was built beside these tests.
    static func longhand(_ arguments: String...) throws -> Outcome {
        let folder = URL(fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
            .deletingLastPathComponent()
        let process = Process(), output = Pipe(), errors = Pipe()
        process.executableURL = folder.appendingPathComponent("longhand")
        process.arguments = arguments
        (process.standardOutput, process.standardError) = (output, errors)
        var environment = ProcessInfo.processInfo.environment
        environment["LONGHAND_CACHE"] = environment["LONGHAND_CACHE"] ?? root.appendingPathComponent(".cache/longhand").path
        process.environment = environment
        try process.run()
        let text = output.fileHandleForReading.readDataToEndOfFile(), problems = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return Outcome(
            code: process.terminationStatus, output: String(decoding: text, as: UTF8.self),
            errors: String(decoding: problems, as: UTF8.self))
    }

    static func withFolder(_ body: (String) throws -> Void) throws {
        let folder = NSTemporaryDirectory() + "longhand-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body(folder)
    }

    @Test func findsThresholdsThatARunTakes() throws {
        try Self.withFolder { folder in
            let trace = "\(folder)/trace", file = "\(folder)/sale", map = "\(folder)/map.svg"
            let text = "/usr/share/common-licenses/GPL-3"
            #expect(try Self.longhand("trace", "-f", text, "-c", "400", "--dtype", "f16", "-o", trace).code == 0)
            let outcome = try Self.longhand(
                "calibrate", "sale", "--trace", trace, "-o", file, "--heat-map", map, "--rho", "0.01", "--format", "jsonl")
            #expect(outcome.code == 0, "\(outcome.errors)")
            struct Row: Decodable {
                let layer, head: Int
                let tau: Float
                let kept, error: Double
            }
            let rows = try outcome.output.split(separator: "\n").map { try JSONDecoder().decode(Row.self, from: Data($0.utf8)) }
            #expect(rows.count == 30 * 9)
            #expect(rows.allSatisfy { $0.error < 0.01 && $0.kept > 0 && $0.kept <= 1 })
            #expect(rows.contains { $0.kept < 1 } && rows.contains { $0.tau < SaleCalibrationOptions().firstLevel })
            let read = try CalibrationFile(path: file, method: "sale")
            #expect(read.layers.count == 30)
            for row in rows { #expect(read.layers[row.layer]?.first?.values[row.head] == row.tau) }
            #expect(try String(contentsOfFile: map, encoding: .utf8).contains("<svg"))
            let run = try Self.longhand("run", "-f", text, "-c", "500", "-n", "1", "--raw", "--prefill", "sale:calibration=\(file)")
            #expect(run.code == 2 && run.errors.contains("500"), "the text is too long: \(run.errors)")
            let eval = try Self.longhand(
                "eval", "-f", text, "-c", "400", "--config", "a: prefill=sale:calibration=\(file)", "-o", "jsonl")
            #expect(eval.code == 0, "\(eval.errors)")
            #expect(eval.output.contains("\"name\":\"a\""))
        }
    }

    @Test func refusesFilesThatDoNotFit() throws {
        try Self.withFolder { folder in
            let file = "\(folder)/sale"
            func attempt(_ specification: String) throws -> String {
                let outcome = try Self.longhand("run", "-p", "x", "-n", "1", "--prefill", specification)
                #expect(outcome.code == 2 && outcome.output.isEmpty)
                return outcome.errors
            }
            try SaleCalibration(heads: [SaleHead(layer: 0, head: 0, tau: 0.1, kept: 1, error: 0)]).write(path: file)
            #expect(try attempt("sale:calibration=\(file)").contains("parameter 'sale.tau' of layer 0 has another shape"))
            let heads = (0..<9).map { SaleHead(layer: 0, head: $0, tau: 0.1, kept: 1, error: 0) }
            try SaleCalibration(heads: heads).write(path: file)
            #expect(try attempt("sale:calibration=\(file)").contains("layer 1 has no parameter 'sale.tau'"))
            #expect(try attempt("sale:calibration=\(file),tau=0.1").contains("exclude each other"))
            try SaleCalibration(heads: heads.map { SaleHead(layer: 40, head: $0.head, tau: 0.1, kept: 1, error: 0) }).write(path: file)
            #expect(try attempt("sale:calibration=\(file)").contains("at least 41 layers"))
            #expect(try attempt("sale:calibration=\(folder)/none").contains("none"))
            #expect(try attempt("window:calibration=\(file)").contains("nothing for the method 'window'"))
        }
    }
}
