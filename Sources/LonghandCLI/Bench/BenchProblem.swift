// SPDX-License-Identifier: Apache-2.0
import Foundation

/// One problem to time kernels on: the last `rows` tokens of `keys` attend, in each of `batch` sequences.
struct BenchProblem: Hashable {
    enum Phase: String { case prefill, decode }

    var shape = ""
    var phase = Phase.prefill
    var queryHeads = 0, kvHeads = 0, dimK = 0, dimV = 0
    /// Keys that a query sees, its own included; nil: all.
    var window: Int?
    var rows = 0, keys = 0, batch = 1
    /// Of the model: whose calibration methods take. In the middle unless given, for methods may treat the first ones apart.
    var layer = 16

    /// E.g. `llama-3.1-8b/8192`, `llama-3.1-8b/1024@65536` or `llama-3.1-8b/8192x8`.
    var label: String {
        let part = rows == keys || phase == .decode ? "\(keys)" : "\(rows)@\(keys)"
        return "\(shape)/\(part)\(batch == 1 ? "" : "x\(batch)")"
    }

    /// Keys of the last row that the mask shows.
    var visibleKeys: Int { min(keys, window ?? keys) }

    /// Multiplications and additions of both products over all pairs that the mask shows. The triangle of a causal prefill
    /// counts as half a square: 2 N^2 d heads for dimK = dimV = d.
    var operations: Double {
        let first = keys - rows
        var pairs = 0.0
        if let window, window < keys {
            let growing = max(0, min(rows, window - 1 - first))  // rows that see all tokens before them
            pairs = Double(growing) * (Double(first) + Double(growing + 1) / 2) + Double(rows - growing) * Double(window)
        } else {
            pairs = Double(rows) * (Double(first) + Double(rows + 1) / 2)
        }
        if rows > 1 { pairs -= Double(rows) / 2 }
        return 2 * Double((dimK + dimV) * queryHeads * batch) * pairs
    }
}

/// Reads shapes files. A line is a name and `key=value` words; what follows a `#` is a remark:
///
///     llama-3.1-8b  heads=32/8 dim=128 prefill=512,4096,1024@65536
///     llama-3.1-8b  heads=32/8 dim=128 decode=2048,131072 batch=1,8
///
/// - `heads=QUERY/KV`, QUERY a multiple of KV; `dim=D`, or `dim=K/V` where values have another.
/// - `window=W`: a query sees W keys, its own included.
/// - `prefill=N`: N tokens from the first on; `ROWS@N`: the last ROWS of N. `decode=N`: the last of N.
/// - `batch=B`: sequences of one call.
/// - `layer=L`: the model's layer, for methods with a calibration.
enum BenchShapes {
    static let keys: Set<String> = ["heads", "dim", "window", "prefill", "decode", "batch", "layer"]

    static func read(path: String) throws -> [BenchProblem] {
        try parse(Document(path: path, limit: 1 << 20).text, file: path)
    }

    static func parse(_ text: String, file: String) throws -> [BenchProblem] {
        var result: [BenchProblem] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.prefix { $0 != "#" }.split(whereSeparator: \.isWhitespace).map(String.init)
            guard let name = words.first else { continue }
            do {
                result += try problems(name, Array(words.dropFirst()))
            } catch let failure as Failure {
                throw Failure("\(file):\(index + 1): \(failure.description)")
            }
        }
        guard !result.isEmpty else { throw Failure("\(file): no shapes") }
        return result
    }

    private static func problems(_ name: String, _ words: [String]) throws -> [BenchProblem] {
        guard name.wholeMatch(of: /[a-z0-9][a-z0-9._-]*/) != nil else {
            throw Failure("'\(name)' is not a name of a shape: lower-case letters, digits, '.', '_' and '-'")
        }
        var fields: [String: String] = [:]
        for word in words {
            let pair = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard pair.count == 2, keys.contains(pair[0]) else {
                throw Failure("'\(word)' is not one of \(keys.sorted().map { $0 + "=" }.joined(separator: " "))")
            }
            guard fields.updateValue(pair[1], forKey: pair[0]) == nil else { throw Failure("\(pair[0])= is given twice") }
        }
        var base = BenchProblem(shape: name)
        try setHeads(&base, fields)
        var result: [BenchProblem] = []
        for batch in try numbers("batch", fields["batch"] ?? "1", 1...256) {
            base.batch = batch
            result += try lengths(base, .prefill, fields["prefill"]) + lengths(base, .decode, fields["decode"])
        }
        guard !result.isEmpty else { throw Failure("a shape needs prefill= or decode=") }
        return result
    }

    private static func setHeads(_ problem: inout BenchProblem, _ fields: [String: String]) throws {
        guard let heads = fields["heads"], let dim = fields["dim"] else { throw Failure("a shape needs heads= and dim=") }
        let counts = try numbers("heads", heads, 1...4096, separator: "/")
        guard counts.count == 2, counts[0] % counts[1] == 0 else {
            throw Failure("heads=\(heads): must be QUERY/KV, with QUERY a multiple of KV")
        }
        let dims = try numbers("dim", dim, 1...1024, separator: "/")
        guard dims.count <= 2 else { throw Failure("dim=\(dim): must be D or K/V") }
        (problem.queryHeads, problem.kvHeads, problem.dimK, problem.dimV) = (counts[0], counts[1], dims[0], dims.last!)
        if let layer = fields["layer"] { problem.layer = try numbers("layer", layer, 0...65535)[0] }
        if let window = fields["window"] { problem.window = try numbers("window", window, 1...1 << 30)[0] }
    }

    private static func lengths(_ base: BenchProblem, _ phase: BenchProblem.Phase, _ text: String?) throws -> [BenchProblem] {
        guard let text else { return [] }
        return try text.split(separator: ",", omittingEmptySubsequences: false).map { item in
            let parts = try numbers(phase.rawValue, String(item), 1...1 << 24, separator: "@")
            guard parts.count == 1 || (parts.count == 2 && phase == .prefill && parts[0] <= parts[1]) else {
                throw Failure("\(phase.rawValue)=\(text): must be numbers of tokens\(phase == .prefill ? ", or ROWS@TOKENS" : "")")
            }
            var problem = base
            (problem.phase, problem.rows, problem.keys) = (phase, phase == .decode ? 1 : parts[0], parts.last!)
            guard phase == .decode || problem.rows > 1 else { throw Failure("prefill=\(text): one token is a decode") }
            return problem
        }
    }

    private static func numbers(
        _ key: String, _ text: String, _ range: ClosedRange<Int>, separator: Character = ","
    ) throws -> [Int] {
        try text.split(separator: separator, omittingEmptySubsequences: false).map {
            guard let value = Int($0), range.contains(value) else {
                throw Failure("\(key)=\(text): '\($0)' is not a number from \(range.lowerBound) to \(range.upperBound)")
            }
            return value
        }
    }
}
