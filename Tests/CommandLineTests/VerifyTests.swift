// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// Beside the other tests of the command, because checking is work for one processor most of the time.
@Suite(.serialized) struct VerifyTests {
    private struct Report: Decodable {
        struct Failure: Decodable { let level, text, replay: String }
        struct Row: Decodable {
            let role, method, variant, level, result: String
            let cases, skipped, calls: UInt64
            let failure: Failure?
        }
        let seed: UInt64
        let passed, failed, unchecked: Int
        let rows: [Row]
    }

    private func report(_ outcome: Outcome) throws -> Report {
        try JSONDecoder().decode(Report.self, from: Data(outcome.stdout.utf8))
    }

    /// Builds `Tests/Fixtures/FaultyPlugins/<role>.c` in a folder of its own.
    private func buildFaulty(_ role: String) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        let kernel = ["Tests/Fixtures/Subjects/fuzz_demonstration.c", "CKernels/Verify/fuzz_view.c"]
        let sources = ["Tests/Fixtures/FaultyPlugins/\(role).c"] + (role == "attention" ? kernel : [])
        let headers = [
            "include", "CKernels/Common/include", "CKernels/Verify", "CKernels/Verify/include",
            "Tests/Fixtures/Subjects/include",
        ]
        let outcome = try shell(
            "exec \"${CC:-clang}\" -std=c17 -O2 -shared -fPIC -fvisibility=hidden -w \"$@\" -lm",
            ["bash", "-o", folder.file("libLonghandFaultyPlugin.so")] + headers.map { "-I\(packageRoot)/\($0)" }
                + sources.map { "\(packageRoot)/\($0)" })
        try #require(outcome.code == 0, "a C compiler (clang, or CC) must build the test plugins: \(outcome.stderr)")
        return folder
    }

    /// What is shipped is in order: every case with a name, and a few random ones.
    @Test func everythingShippedPasses() throws {
        let outcome = try longhand("verify", "--cases", "2", "--seed", "20260301", "-o", "json", limit: 900)
        expectDone(outcome)
        let report = try report(outcome)
        #expect(report.failed == 0 && report.unchecked == 0)
        #expect(Set(report.rows.map(\.role)) == ["store", "selector", "attention", "position"])
        for row in report.rows {
            #expect(row.result == "passed" && row.calls > row.cases && row.skipped <= 2, "\(row)")
            #expect(row.cases + row.skipped > (row.role == "attention" ? 29 : 0), "\(row)")
        }
        #expect(Set(report.rows.map(\.level)).isSuperset(of: ["scalar"]))
        #expect(outcome.stderr.hasPrefix("verify: seed 20260301, "))
    }

    /// Of each role's faulty methods every one is found, the sound ones pass, and the line that is printed fails again
    /// in the same way.
    @Test(arguments: ["attention", "store", "selector", "position"]) func everyFaultIsFound(role: String) throws {
        let folder = try buildFaulty(role)
        let outcome = try longhand(
            "verify", "--plugin-path", folder.path, "--filter", "^test\\.(?!attention.thread)", "--cases", "60", "--seed",
            "1", "-o", "json", limit: 120)
        #expect(outcome.code == 1, "\(outcome.stderr)")
        let report = try report(outcome)
        let methods = Dictionary(grouping: report.rows, by: \.method)
        #expect(methods.count >= 10)
        for (method, rows) in methods {
            let failures = rows.compactMap(\.failure)
            if method.contains("sound") {
                #expect(failures.isEmpty && rows.allSatisfy { $0.result == "passed" }, "\(rows)")
                continue
            }
            #expect(failures.count == 1, "\(method) was not found out: \(rows)")
            guard let failure = failures.first else { continue }
            let replayed = try shell(failure.replay + " -o json", ["bash"], limit: 60)
            #expect(replayed.code == 1, "\(failure.replay): \(replayed.stderr)")
            let again = try self.report(replayed)
            #expect(again.rows.compactMap(\.failure).map(\.text) == [failure.text], "\(method)")
        }
    }

    /// Faults that need more than one look: which level fails.
    @Test func levelsAreTellingApart() throws {
        let folder = try buildFaulty("attention")
        let outcome = try longhand(
            "verify", "--plugin-path", folder.path, "--filter", "^test.attention.mask/1$", "--cases", "30", "--seed", "1", "-o", "json"
        )
        let rows = try report(outcome).rows
        guard rows.count > 1 else { return }  // a processor without any instruction set
        #expect(outcome.code == 1 && rows[0].level == "scalar" && rows[0].result == "stopped")
        #expect(rows.dropFirst().allSatisfy { $0.result == "FAILED" })
        // Where the level that fails is ruled out, so is the failure; and the printed line rules it out as well.
        let ruledOut = try longhand(
            "verify", "--plugin-path", folder.path, "--filter", "^test.attention.(mask|last-key)/1$", "--cases", "30", "--seed", "1",
            "-o", "json", environment: ["LONGHAND_ISA": "scalar"])
        let scalar = try report(ruledOut)
        #expect(scalar.rows.first { $0.method == "attention-mask" }?.result == "passed")
        let replay = try #require(scalar.rows.compactMap(\.failure).first?.replay)
        #expect(replay.hasPrefix("LONGHAND_ISA=scalar ") && replay.contains("--plugin-path \(folder.path)"))
    }

    /// A crash on another thread ends the process, but not without the line that replays it.
    @Test func crashOnAThreadOfThePool() throws {
        let folder = try buildFaulty("attention")
        let outcome = try longhand(
            "verify", "--plugin-path", folder.path, "--filter", "attention-thread", "--cases", "60", "--seed", "1", "-t", "3")
        #expect(outcome.code == 1 && outcome.stdout == "")
        #expect(outcome.stderr.contains("longhand: test.attention.thread/1 crashed on a thread of the pool, in case "))
        let replay = try #require(outcome.stderr.split(separator: "\n").last).trimmingCharacters(in: .whitespaces)
        let again = try shell(replay, ["bash"])
        #expect(again.code == 1)
        #expect(again.stderr.hasSuffix("  \(replay)\n"), "\(again.stderr)")
    }

    @Test func textNamesTheFailure() throws {
        let folder = try buildFaulty("position")
        let outcome = try longhand(
            "verify", "--plugin-path", folder.path, "--filter", "position-(sound|precision)$", "--seed", "5", "--cases", "9")
        #expect(outcome.code == 1)
        for text in [
            "| position | test.position.sound/1     |", "FAILED position test.position.precision/1 under scalar, case ",
            ", expected ", ", tolerance ", "  replay: ", "seed 5: 1 variants passed, 1 failed\n",
        ] {
            #expect(outcome.stdout.contains(text), "\(text): \(outcome.stdout)")
        }
        #expect(outcome.stderr.contains("verify: FAILED test.position.precision/1 under scalar, case "))
    }

    @Test func formatsAndSeeds() throws {
        func run(_ arguments: String...) throws -> Outcome {
            let outcome = try longhand(["verify", "--filter", "^longhand.window", "--cases", "3"] + arguments)
            expectDone(outcome)
            return outcome
        }
        let csv = try run("-o", "csv", "--seed", "9").stdout.split(separator: "\n")
        #expect(csv[0].hasPrefix("role,variant,level,result,cases,skipped,calls,"))
        #expect(csv[1].hasPrefix("selector,longhand.window.any.scalar/1,scalar,passed,"))
        let lines = try run("-o", "jsonl").stdout.split(separator: "\n")
        #expect(lines.count == csv.count - 1)
        for line in lines { _ = try JSONDecoder().decode(Report.Row.self, from: Data(line.utf8)) }
        #expect(try report(run("-o", "json")).seed != report(run("-o", "json")).seed)
        let timed = try longhand("verify", "--filter", "^longhand.window", "--seconds", "5", "-o", "json")
        expectDone(timed)
        #expect(try report(timed).rows.allSatisfy { $0.cases > 3 })
    }

    @Test func listTellsWhereEachCaseIsChecked() throws {
        let outcome = try longhand("verify", "--list", "-o", "json", limit: 30)
        expectDone(outcome)
        let cases = try #require(try outcome.json()["cases"] as? [[String: Any]])
        #expect(Set(cases.compactMap { $0["number"] as? Int }) == Set(1...30))
        for entry in cases {
            let place = try #require(entry["checked"] as? String)
            for path in place.split(whereSeparator: { " ,;:".contains($0) }) where path.hasSuffix(".swift") {
                #expect(FileManager.default.fileExists(atPath: "\(packageRoot)/\(path)"), "\(path)")
            }
        }
        #expect(try longhand("verify", "--list").stdout.contains("| corpus_29_cpu_detection"))
    }

    static let refused: [([String], String)] = [
        (["--filter", "("], "--filter '(' is not a regular expression"),
        (["--filter", "no-such-kernel"], "--filter 'no-such-kernel' matches none of the "),
        (["--case", "no_such_case"], "--case no_such_case: none of these "),
        (["--case", "corpus_29_cpu_detection"], "Tests/CoreTests/IsaTests.swift"),
        (["--filter", "rope", "--case", "corpus_09_nan_in_every_lane"], "(a case of attention)"),
        (["--case", ""], "--case: the name is empty"),
        (["--cases", "3", "--seconds", "1"], "exclude each other"),
        (["--list", "--case", "3"], "exclude each other"),
        (["--seconds", "0"], "--seconds 0.0: must be more than 0"),
        (["--seconds", "nan"], "--seconds nan"),
        (["--cases", "-1"], "is invalid for '--cases"),
        (["--seed", "x"], "'x' is invalid for '-"),
        (["-t", "5000"], "-t 5000"),
        (["-o", "xml"], "-o xml: must be md, csv, json or jsonl"),
        (["surplus"], "Unexpected argument 'surplus'"),
    ]

    @Test(arguments: refused) func wrongUsage(arguments: [String], reason: String) throws {
        try expectRefusal(["verify"] + arguments, reason)
    }

    @Test func noPluginsAtAll() throws {
        let folder = try TemporaryFolder(), alone = folder.file("longhand")
        try FileManager.default.copyItem(atPath: executable, toPath: alone)
        try expectRefusal(["verify"], "so there is nothing to check", executable: alone)
    }
}
