// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

@testable import LonghandModel

/// `longhand trace` and `longhand eval` as a user meets them.
@Suite(.serialized) struct CommandTests {
    struct Outcome {
        let code: Int32
        let output, errors: String
    }

    /// Runs the command that was built beside these tests.
    static func longhand(_ arguments: [String]) throws -> Outcome {
        let folder = URL(fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
            .deletingLastPathComponent()
        let process = Process(), output = Pipe()
        process.executableURL = folder.appendingPathComponent("longhand")
        process.arguments = arguments
        process.standardOutput = output
        var environment = ProcessInfo.processInfo.environment
        environment["LONGHAND_CACHE"] = URL(fileURLWithPath: try Fixture.modelPath()).deletingLastPathComponent().path
        process.environment = environment
        return try withTemporaryPath { path in
            #expect(FileManager.default.createFile(atPath: path, contents: nil))
            process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
            try process.run()
            let text = output.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return Outcome(
                code: process.terminationStatus, output: String(decoding: text, as: UTF8.self),
                errors: try String(contentsOfFile: path, encoding: .utf8))
        }
    }

    static func withText<T>(_ body: (String) throws -> T) throws -> T {
        try withFile(Array(Fixture.text(sentences: 30).utf8), body)
    }

    static let wrongUsage: [[String]] = [
        ["trace"], ["trace", "-f", "x"], ["trace", "-f", "/nonexistent", "-o", "/tmp/x"],
        ["trace", "-f", "x", "-o", "y", "--layers", "3-1"], ["trace", "-f", "x", "-o", "y", "--layers", "a"],
        ["trace", "-f", "x", "-o", "y", "--dtype", "i8"], ["trace", "-f", "x", "-o", "y", "-c", "-1"],
        ["eval"], ["eval", "-f", "x"], ["eval", "--config", "a:"], ["eval", "-f", "/nonexistent", "--config", "a:"],
        ["eval", "-f", "x", "--config", "store=bf16"], ["eval", "-f", "x", "--config", "a:", "-o", "xml"],
        ["eval", "-f", "x", "--config", "a:", "--windows", "0"], ["eval", "-f", "x", "--config", "a:", "--length", "300"],
        ["eval", "--task", "guessing"], ["eval", "--task", ""], ["eval", "--task", "needle", "--length", "0"],
        ["eval", "--task", "needle", "--cases", "0"], ["eval", "--task", "needle", "--life-cycle"],
        ["eval", "--task", "needle", "-c", "100"], ["eval", "--life-cycle", "--length", "300,400"],
        ["eval", "--recall", "x", "--config", "a:"], ["eval", "--recall", "x", "--config", "a:", "--decode-from", "9", "-c", "5"],
        ["eval", "--recall", "/nonexistent", "--config", "a:", "--decode-from", "9"],
        ["eval", "--life-cycle", "--plot", "x.svg"], ["eval", "--task", "needle", "--length", "20"],
    ]

    @Test(arguments: wrongUsage) func refuses(_ arguments: [String]) throws {
        let outcome = try Self.longhand(arguments)
        #expect(outcome.code == 2 && outcome.output.isEmpty)
        #expect(outcome.errors.hasPrefix("longhand: ") && outcome.errors.filter(\.isNewline).count == 1, "\(outcome.errors)")
    }

    @Test func traceWritesAFile() throws {
        try Self.withText { text in
            try withTemporaryPath { path in
                let outcome = try Self.longhand(["trace", "-f", text, "-o", path, "-c", "40", "--layers", "0,2-3", "--dtype", "bf16"])
                #expect(outcome.code == 0 && outcome.output.isEmpty, "\(outcome.errors)")
                let trace = try TraceFile(path: path)
                #expect(trace.tokens == 40 && trace.layers.map(\.layer) == [0, 2, 3])
            }
        }
    }

    /// A list of all keys catches all, a window less, and a wider one more.
    @Test func recallOfATrace() throws {
        try Self.withText { text in
            try withTemporaryPath { path in
                _ = try Self.longhand(["trace", "-f", text, "-o", path, "-c", "60", "--layers", "0,3"])
                let windows = [4, 30].flatMap { ["--config", "w\($0): decode=window:size=\($0),sinks=0"] }
                let outcome = try Self.longhand(
                    ["eval", "--recall", path, "--decode-from", "50", "--config", "all:", "-o", "csv"] + windows)
                let rows = outcome.output.split(separator: "\n").dropFirst().map { $0.split(separator: ",") }
                try #require(rows.count == 3 * 2 * 9, "\(outcome.output)\(outcome.errors)")
                func recall(_ name: String) -> [Double] { rows.filter { $0[0] == name }.compactMap { Double($0[3]) } }
                #expect(recall("all").allSatisfy { $0 == 1 })
                for (narrow, wide) in zip(recall("w4"), recall("w30")) { #expect(0 < narrow && narrow < wide && wide <= 1) }
            }
        }
    }

    @Test func evalPrintsEveryFormat() throws {
        try Self.withText { text in
            let arguments = ["eval", "-f", text, "-c", "60", "--config", "a, b: store=f16", "--decode-from", "50"]
            let csv = try Self.longhand(arguments + ["-o", "csv"]).output.split(separator: "\n")
            #expect(csv.count == 3 && csv[0].hasPrefix("configuration,perplexity,") && csv[2].hasPrefix("\"a, b\","))
            let lines = try Self.longhand(arguments + ["-o", "jsonl"]).output.split(separator: "\n")
            let results = try lines.map { try JSONDecoder().decode(EvaluationResult.self, from: Data($0.utf8)) }
            #expect(results.map(\.name) == ["dense", "a, b"] && results[1].scoredTokens == 10)
            try withTemporaryPath { plot in
                let json = try Self.longhand(arguments + ["-o", "json", "--plot", plot])
                let object = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any]
                #expect((object?["results"] as? [Any])?.count == 2 && object?["contextTokens"] as? Int == 60)
                #expect(try String(contentsOfFile: plot, encoding: .utf8).hasPrefix("<svg"))
            }
            let table = try Self.longhand(arguments).output.split(separator: "\n")
            #expect(table.count == 4 && table.allSatisfy { $0.count == table[0].count && $0.hasPrefix("|") })
        }
    }

    @Test func tasksAndLifeCycle() throws {
        let tasks = try Self.longhand(["eval", "--task", "passkey", "--length", "200", "--cases", "1", "-o", "csv"])
        #expect(tasks.code == 0 && tasks.output.contains("dense,passkey,low,low,200,1,1.0,"), "\(tasks.output)\(tasks.errors)")
        let cycle = try Self.longhand(["eval", "--life-cycle", "--length", "200", "--cases", "2", "-o", "csv"])
        #expect(cycle.code == 0 && cycle.output.split(separator: "\n").count == 2, "\(cycle.output)\(cycle.errors)")
    }
}
