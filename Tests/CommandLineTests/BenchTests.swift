// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

extension CommandLineTests {
    /// `longhand bench` on shapes that take no time.
    @Suite(.serialized) struct BenchTests {
        static let quick = ["--input", "gaussian", "-r", "2", "--seconds-per-row", "0.001", "-t", "2"]
        static let tiny = """
            # two shapes
            small heads=4/2 dim=64 prefill=40,16@96 decode=96,700 batch=1
            other  heads=4/1 dim=96/64 window=50 prefill=60 decode=80 batch=3   # unequal dimensions, a window, a batch

            """

        static func withShapes<T>(_ text: String = tiny, _ body: (String) throws -> T) throws -> T {
            let folder = try TemporaryFolder()
            return try body(try folder.write(Data(text.utf8), to: "shapes.txt"))
        }

        static func bench(_ shapes: String, _ arguments: [String]) throws -> Outcome {
            try longhand(["bench", "--shapes", shapes] + arguments)
        }

        static let wrongShapes: [(String, String)] = [
            ("", "is empty"), ("# nothing\n", "no shapes"), ("a heads=4/2 dim=8 decode=4\nA dim=4", "shapes.txt:2: 'A' is not a name"),
            ("a heads=4/2 dim=8", "shapes.txt:1: a shape needs prefill= or decode="), ("a dim=8 decode=4", "needs heads="),
            ("a heads=4/2 decode=4", "dim="), ("a heads=4/3 dim=8 decode=4", "multiple"), ("a heads=4 dim=8 decode=4", "QUERY/KV"),
            ("a heads=0/1 dim=8 decode=4", "'0' is not a number from 1"), ("a heads=4/2 dim=8/8/8 decode=4", "must be D or K/V"),
            ("a heads=4/2 dim=2000 decode=4", "1024"), ("a heads=4/2 dim=8 decode=4,x", "'x' is not a number"),
            ("a heads=4/2 dim=8 decode=1@4", "numbers of tokens"), ("a heads=4/2 dim=8 prefill=9@4", "ROWS@TOKENS"),
            ("a heads=4/2 dim=8 prefill=1", "one token is a decode"),
            ("a heads=4/2 dim=8 decode=4 decode=5", "decode= is given twice"),
            ("a heads=4/2 dim=8 decode=4 size=5", "'size=5' is not one of"), ("a heads=4/2 dim=8 decode", "'decode' is not one of"),
            ("a heads=4/2 dim=8 decode=", "'' is not a number"), ("a heads=4/2 dim=8 decode=4 window=0", "window=0"),
            ("a heads=4/2 dim=8 decode=4 batch=0", "batch=0"), ("a heads=4/2 dim=8 decode=99999999999", "99999999999"),
        ]

        @Test(arguments: wrongShapes) func wrongShapesAreRefused(_ text: String, _ reason: String) throws {
            try Self.withShapes(text) { try expectRefusal(["bench", "--shapes", $0, "--list"], reason) }
        }

        static let wrongUsage: [([String], String)] = [
            (["--shapes", "/nonexistent"], "/nonexistent"), (["--filter", "no such row"], "no row is called like"),
            (["--filter", "("], "not a regular expression"), (["-o", "xml"], "-o xml"), (["-t", "1,x"], "-t 1,x"),
            (["-t", ""], "-t"), (["-r", "0"], "-r 0"), (["--input", "zeros"], "--input zeros"),
            (["--seconds-per-row", "0"], "--seconds-per-row"), (["--store", "nope"], "store 'nope' was not found"),
            (["--input", "gaussian", "--trace", "x"], "exclude"), (["--trace", "/nonexistent"], "/nonexistent"),
        ]

        @Test(arguments: wrongUsage) func wrongUsageIsRefused(_ arguments: [String], _ reason: String) throws {
            try Self.withShapes("a heads=2/1 dim=16 decode=16") { shapes in
                let outcome = try Self.bench(shapes, arguments)
                #expect(outcome.code == 2 && outcome.stdout.isEmpty, "\(outcome)")
                #expect(outcome.stderr.split(separator: "\n").last?.hasPrefix("longhand: ") == true, "\(outcome.stderr)")
                #expect(outcome.stderr.contains(reason), "\(outcome.stderr)")
            }
        }

        /// Whatever is registered has rows: every variant that this CPU runs is timed, alone or in a row of others.
        @Test func everyVariantHasARow() throws {
            let plugins = try longhand("plugins", "--json").json()
            let methods = try #require(plugins["methods"] as? [[String: Any]])
            let known = methods.flatMap { $0["variants"] as? [[String: Any]] ?? [] }
                .filter { $0["available"] as? Bool == true }.compactMap { $0["id"] as? String }
            try Self.withShapes { shapes in
                let outcome = try Self.bench(shapes, Self.quick + ["-o", "json"])
                expectDone(outcome)
                let report = try outcome.json()
                let rows = try #require(report["benchmarks"] as? [[String: Any]])
                let timed = Set(
                    rows.flatMap { row in
                        ["variant", "store_variant", "selector_variant", "attention_variant"].compactMap { row[$0] as? String }
                    })
                #expect(known.count > 10 && Set(known).isSubset(of: timed), "\(Set(known).subtracting(timed))")
                for row in rows { try Self.expectSound(row) }
                // Methods that leave the first layers alone are timed as they are in the others.
                let adamas = rows.filter {
                    $0["selector"] as? String == "adamas" && $0["phase"] as? String == "decode" && $0["keys"] as? Int == 700
                }
                #expect(!adamas.isEmpty && adamas.allSatisfy { $0["attended_percent"] as? Double ?? 100 < 50 })
                #expect(Set(rows.compactMap { $0["name"] as? String }).count == rows.count)
                #expect(
                    Set(rows.compactMap { $0["phase"] as? String }) == ["prefill", "decode", "append", "score", "accumulate", "apply"])
                let context = try #require(report["context"] as? [String: Any])
                let roofs = try #require(context["roofs"] as? [[String: Any]])
                #expect(
                    roofs.contains { $0["name"] as? String == "f32 scalar" } && roofs.contains { $0["name"] as? String == "dram 2m" })
                #expect(roofs.allSatisfy { ($0["value"] as? Double ?? 0) > 0 })
            }
        }

        private static func expectSound(_ row: [String: Any]) throws {
            let name = row["name"] as? String ?? ""
            let median = try #require(row["real_time"] as? Double, "\(name)"), least = try #require(row["min_time"] as? Double)
            #expect(least > 0 && median >= least && row["time_unit"] as? String == "ns", "\(name)")
            #expect(row["iterations"] as? Int ?? 0 >= 1 && row["error_occurred"] as? Int == 0, "\(name)")
            #expect(row["input"] as? String == "gaussian" && row["workers"] as? Int == 2, "\(name)")
            #expect(row["roof_percent"] as? Double ?? 0 > 0 && row["gigabytes_per_second"] as? Double ?? 0 > 0, "\(name)")
            guard ["prefill", "decode"].contains(row["phase"] as? String) else { return }
            #expect(row["speed_of_exact"] as? Double ?? 0 > 0 && row["gflops"] as? Double ?? 0 > 0, "\(name)")
            let visible = row["pairs_visible"] as? Double ?? 0, rows = row["rows"] as? Int ?? 0
            #expect(visible >= Double(rows) && row["pairs_attended"] as? Double ?? -1 <= visible, "\(name)")
        }

        /// The formulae: 2 N^2 d heads operations of a causal prefill, the bytes of K and V of a decode.
        @Test func ratesFollowTheirFormulae() throws {
            try Self.withShapes("a heads=4/2 dim=64 prefill=64 decode=640") { shapes in
                let rows = try #require(
                    try Self.bench(shapes, Self.quick + ["-o", "json", "--filter", "^attention/.*/f32/"]).json()["benchmarks"]
                        as? [[String: Any]])
                for row in rows {
                    let time = try #require(row["real_time"] as? Double), isPrefill = row["phase"] as? String == "prefill"
                    let flops = isPrefill ? 2.0 * 64 * 64 * 64 * 4 : 4.0 * 640 * 64 * 4
                    let bytes = Double(isPrefill ? 64 : 640) * 2 * 64 * 2 * 4
                    #expect(abs((row["gflops"] as? Double ?? 0) * time / flops - 1) < 1e-6)
                    #expect(abs((row["gigabytes_per_second"] as? Double ?? 0) * time / bytes - 1) < 1e-6)
                    #expect(row["bytes_per_token"] as? Double == 1024)
                }
                #expect(rows.count >= 2)
            }
        }

        @Test func formatsAgree() throws {
            try Self.withShapes("a heads=2/1 dim=32 decode=64") { shapes in
                let filter = Self.quick + ["--filter", "store/"]
                let names = try Self.bench(shapes, filter + ["--list"]).stdout.split(separator: "\n")
                #expect(names.count >= 9 && names.allSatisfy { $0.hasPrefix("store/") })
                let csv = try Self.bench(shapes, filter + ["-o", "csv"]).stdout.split(separator: "\n")
                #expect(csv.count == names.count + 1 && csv[0].hasPrefix("name,role,"))
                let fields = csv[0].split(separator: ",").count
                #expect(csv.allSatisfy { $0.split(separator: ",", omittingEmptySubsequences: false).count == fields })
                let lines = try Self.bench(shapes, filter + ["-o", "jsonl"]).stdout.split(separator: "\n")
                for (line, name) in zip(lines, names) {
                    let row = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
                    #expect(row?["name"] as? String == String(name) && row?.count == fields)
                }
                let table = try Self.bench(shapes, filter).stdout.split(separator: "\n")
                #expect(lines.count == names.count && table.count == names.count + 2)
                #expect(table.allSatisfy { $0.count == table[0].count && $0.hasPrefix("|") })
            }
        }

        /// A kernel that fails its check is named instead of timed.
        @Test func brokenKernelsAreNotTimed() throws {
            let folder = try TemporaryFolder()
            try buildPlugin("Tiny", in: folder, "FAULT_SELECTION=1")
            try Self.withShapes("a heads=4/2 dim=32 decode=64") { shapes in
                let outcome = try Self.bench(
                    shapes, Self.quick + ["--plugin-path", folder.path, "--filter", "/(tiny|all)/", "-o", "jsonl"])
                #expect(outcome.code == 1, "\(outcome)")
                var failed = 0
                for line in outcome.stdout.split(separator: "\n") {
                    let row = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
                    let isBroken = row["variant"] as? String == "test.tiny/1"
                    #expect(row["error_occurred"] as? Int == (isBroken ? 1 : 0) && (row["real_time"] is NSNull) == isBroken)
                    let message = row["error_message"] as? String
                    #expect(message?.hasPrefix("check failed: test.tiny/1") ?? false == isBroken, "\(message ?? "none")")
                    failed += isBroken ? 1 : 0
                }
                #expect(failed >= 1)
                let table = try Self.bench(shapes, Self.quick + ["--plugin-path", folder.path, "--filter", "/tiny/"])
                #expect(table.code == 1 && table.stdout.contains(": check failed: test.tiny/1"), "\(table)")
            }
        }

        @Test func roofsAlone() throws {
            let outcome = try longhand("bench", "--roofs", "-t", "1", "-o", "csv")
            expectDone(outcome)
            let lines = outcome.stdout.split(separator: "\n")
            #expect(lines[0] == "roof,measured on,unit,t,value" && lines.contains { $0.hasPrefix("dram 4k,") }, "\(outcome.stdout)")
        }
    }
}
