// SPDX-License-Identifier: Apache-2.0
import CLonghand
import LonghandTestSupport
import LonghandWindow
import Testing

/// One call and, independently of the C code, what it must keep.
struct Call {
    var rows: Int64
    var keys: Int64
    var size: Int64
    var sinks: Int64
    var causal = true
    var offset: Int64?
    var exact = false

    var origin: Int64 { offset ?? keys - rows }
    var tileRows: Int64 { exact || rows == 1 ? 1 : Int64(LHK_WINDOW_TILE_ROWS) }
    var options: [(String, String)] { [("size", "\(size)"), ("sinks", "\(sinks)"), ("exact", exact ? "1" : "0")] }

    /// The definition: the first keys and the last ones up to the row's own.
    func keeps(row: Int64, key: Int64) -> Bool {
        let position = row + origin
        return key < sinks || (key <= position && key > position - size)
    }

    func visible(row: Int64, key: Int64) -> Bool { !causal || key <= row + origin }

    static func random(_ generator: inout SeededGenerator) -> Call {
        func pick(_ values: [Int64]) -> Int64 { values.randomElement(using: &generator)! }
        let rows = pick([1, 1, 2, 63, 64, 65, 100, 128, 200, Int64.random(in: 1...256, using: &generator)])
        var call = Call(
            rows: rows,
            keys: pick([0, 1, rows, rows + 1, rows / 2, 300, 517, Int64.random(in: 0...600, using: &generator)]),
            size: pick([1, 2, 16, 64, 100, 512, 1024, Int64.random(in: 1...300, using: &generator)]),
            sinks: pick([0, 1, 4, 64, 700, Int64.random(in: 0...40, using: &generator)]))
        call.causal = Int.random(in: 0..<4, using: &generator) != 0
        if Bool.random(using: &generator) {
            call.offset = pick([0, -5, -300, 40, 700, Int64.random(in: -99...600, using: &generator)])
        }
        call.exact = Bool.random(using: &generator)
        return call
    }
}

@Suite struct WindowTests {
    /// Reads the lists back into rows of booleans [head][row][key] and checks their form.
    func expand(_ selection: lhk_selection, _ call: Call, heads: UInt32, in workspace: Poisoned) throws -> [[[Bool]]] {
        let all = [[Bool]](repeating: .init(repeating: true, count: Int(call.keys)), count: Int(call.rows))
        #expect(
            selection.next == nil && selection.tokens == nil && selection.log_weights == nil
                && selection.rest_lse == nil)
        #expect(selection.struct_size == MemoryLayout<lhk_selection>.size)
        if selection.kind == LHK_SELECTION_ALL { return .init(repeating: all, count: Int(heads)) }
        #expect(selection.kind == LHK_SELECTION_BLOCKS && selection.tile_rows == call.tileRows)
        let tiles = (call.rows + call.tileRows - 1) / call.tileRows
        #expect(selection.list_count == tiles * Int64(heads))
        let offsets = try #require(selection.list_offsets)
        let runs = try #require(selection.runs)
        let lists = Int(selection.list_count)
        #expect(offsets[0] == 0)
        #expect(workspace.contains(offsets, bytes: 8 * (lists + 1)))
        #expect(workspace.contains(runs, bytes: 16 * Int(offsets[lists])))
        return try (0..<Int(heads)).map { head in
            try (0..<call.rows).map { row in
                let list = head * Int(tiles) + Int(row / call.tileRows)
                try #require(offsets[list + 1] >= offsets[list] && offsets[list + 1] <= offsets[list] + 2)
                var kept = [Bool](repeating: false, count: Int(call.keys))
                var end: Int64 = -1
                for entry in Int(offsets[list])..<Int(offsets[list + 1]) {
                    let run = runs[entry]
                    try #require(run.begin > end && run.begin >= 0 && run.begin < run.end && run.end <= call.keys)
                    end = run.end
                    for key in run.begin..<run.end { kept[Int(key)] = true }
                }
                return kept
            }
        }
    }

    /// What a row must keep: its own keys, or the union over its tile.
    func wanted(_ call: Call, row: Int64, key: Int64) -> Bool {
        let first = row / call.tileRows * call.tileRows
        return (first..<min(first + call.tileRows, call.rows)).contains { call.keeps(row: $0, key: key) }
    }

    @Test(arguments: 1...120) func equalsTheDefinition(seed: Int) throws {
        var generator = SeededGenerator(seed: seed)
        let call = Call.random(&generator)
        let heads = UInt32.random(in: 1...3, using: &generator)
        // The instance may have been made for more rows than the call has.
        let most = Bool.random(using: &generator) ? call.rows : 256
        let selector = try Selector("window", heads: heads, rows: most, options: call.options)
        let workspace = Poisoned(selector.workspaceBytes)
        let selection = try selector.select(
            rows: call.rows, keys: call.keys, params: mask(causal: call.causal, offset: call.offset),
            workspace: workspace)
        let kept = try expand(selection, call, heads: heads, in: workspace)
        // "All" may stand for lists only where the causal mask hides the difference.
        #expect(selection.kind == LHK_SELECTION_BLOCKS || call.causal)
        var wrong = 0
        for head in kept {
            for row in 0..<call.rows {
                for key in 0..<call.keys {
                    let got = head[Int(row)][Int(key)]
                    let want = wanted(call, row: row, key: key)
                    let seen = selection.kind == LHK_SELECTION_BLOCKS || call.visible(row: row, key: key)
                    if seen && got != want { wrong += 1 }
                }
            }
        }
        #expect(wrong == 0, "\(call)")
    }

    /// The excess of the default over exactness: at most 63 older keys per row.
    @Test func roundingUpIsBounded() throws {
        let call = Call(rows: 200, keys: 700, size: 50, sinks: 4)
        for row in 0..<call.rows {
            let visible = (0..<call.keys).filter { call.visible(row: row, key: $0) }
            let excess = visible.filter { wanted(call, row: row, key: $0) && !call.keeps(row: row, key: $0) }.count
            #expect(excess == Int(row % 64))
        }
    }

    /// One decode step by hand: 10 keys, window 3, one sink keeps 0 and 7, 8, 9.
    @Test func decodeByHand() throws {
        let selector = try Selector("window", heads: 1, rows: 1, options: [("size", "3"), ("sinks", "1")])
        #expect(selector.workspaceBytes == 64 + 64)
        let workspace = Poisoned(selector.workspaceBytes)
        let selection = try selector.select(rows: 1, keys: 10, params: mask(), workspace: workspace)
        #expect(selection.list_count == 1 && selection.list_offsets![1] == 2)
        #expect(selection.runs![0].begin == 0 && selection.runs![0].end == 1)
        #expect(selection.runs![1].begin == 7 && selection.runs![1].end == 10)
    }

    /// A context that fits gives "all"; one more token does not.
    @Test(arguments: [(1028, LHK_SELECTION_ALL), (1029, LHK_SELECTION_BLOCKS)] as [(Int64, UInt32)])
    func defaults(keys: Int64, kind: UInt32) throws {
        let selector = try Selector("window")
        let workspace = Poisoned(selector.workspaceBytes)
        #expect(try selector.select(rows: 1, keys: keys, params: mask(), workspace: workspace).kind == kind)
        #expect(
            try selector.select(rows: 1, keys: keys, params: mask(causal: false), workspace: workspace).kind
                == LHK_SELECTION_BLOCKS)
    }

    @Test func extremesDoNotOverflow() throws {
        let huge = "\(Int64(1) << 48)"
        for (size, sinks) in [(huge, "0"), ("1", huge), (huge, huge)] {
            let selector = try Selector("window", rows: 4, options: [("size", size), ("sinks", sinks)])
            let workspace = Poisoned(selector.workspaceBytes)
            for offset in [Int64.min, .max, -(1 << 48), 1 << 48] {
                let selection = try selector.select(
                    rows: 4, keys: 9, params: mask(causal: false, offset: offset), workspace: workspace)
                var call = Call(rows: 4, keys: 9, size: Int64(size)!, sinks: Int64(sinks)!, causal: false)
                call.offset = offset
                _ = try expand(selection, call, heads: 2, in: workspace)
            }
        }
    }

    @Test func noRows() throws {
        let selector = try Selector("window", rows: 4)
        let workspace = Poisoned(selector.workspaceBytes)
        let selection = try selector.select(rows: 0, keys: 9, params: mask(causal: false), workspace: workspace)
        #expect(selection.list_count == 0)
    }

    @Test func workspaceTooSmallOrCrooked() throws {
        let selector = try Selector("window", rows: 200, options: [("size", "8")])
        let short = Poisoned(selector.workspaceBytes - 1)
        expectRefusal("workspace", status: LHK_ERROR_CAPACITY) {
            _ = try selector.select(rows: 200, keys: 400, params: mask(), workspace: short)
        }
        var args = lhk_window_args()
        var out = lhk_selection()
        args.struct_size = UInt32(MemoryLayout<lhk_window_args>.size)
        (args.query_heads, args.rows, args.keys, args.size, args.sinks, args.tile_rows) = (1, 1, 10, 2, 1, 1)
        var bytes: UInt64 = 0
        try check { lhk_window_workspace(&args, &bytes, $0) }
        let memory = Poisoned(Int(bytes) + 8)
        var crooked = lhk_workspace(data: memory.base + 8, bytes: bytes)
        var none = lhk_workspace(data: nil, bytes: bytes)
        expectRefusal("aligned") { try check { lhk_window_select(&args, &crooked, &out, $0) } }
        expectRefusal("workspace", status: LHK_ERROR_CAPACITY) {
            try check { lhk_window_select(&args, &none, &out, $0) }
        }
        // Without parameters: full attention, so lists even where the window covers everything.
        args.size = 100
        var lent = memory.workspace
        try check { lhk_window_select(&args, &lent, &out, $0) }
        #expect(out.kind == LHK_SELECTION_BLOCKS && out.runs![0].end == 10)
    }

    @Test(
        arguments: [
            (0, 1, 1, 1, 0, 1), (1, -1, 1, 1, 0, 1), (1, 1, -1, 1, 0, 1), (1, 1, 1, 0, 0, 1), (1, 1, 1, 1, -1, 1),
            (1, 1, 1, 1, 0, 0), (1, .max, 1, 1, 0, 1),
        ] as [(UInt32, Int64, Int64, Int64, Int64, Int64)])
    func badArguments(heads: UInt32, rows: Int64, keys: Int64, size: Int64, sinks: Int64, tile: Int64) throws {
        var args = lhk_window_args()
        var bytes: UInt64 = 0
        var out = lhk_selection()
        var none = lhk_workspace()
        args.struct_size = UInt32(MemoryLayout<lhk_window_args>.size)
        (args.query_heads, args.rows, args.keys, args.size, args.sinks, args.tile_rows) = (
            heads, rows, keys, size, sinks, tile
        )
        expectRefusal("must be") { try check { lhk_window_workspace(&args, &bytes, $0) } }
        expectRefusal("must be") { try check { lhk_window_select(&args, &none, &out, $0) } }
    }

    @Test func sizesThatOverflow() throws {
        expectRefusal("overflow", status: LHK_ERROR_OVERFLOW) {
            _ = try Selector("window", heads: .max, rows: 1 << 48, options: [("exact", "1")])
        }
    }

    @Test(arguments: [
        ("window", "length", "3"), ("window", "size", "0"), ("window", "size", "-4"), ("window", "size", "many"),
        ("window", "size", ""), ("window", "sinks", "-1"), ("window", "sinks", "1.5"), ("window", "exact", "2"),
        ("window", "size", "99999999999999999999"), ("all", "size", "3"),
    ]) func badOption(method: String, key: String, value: String) throws {
        expectRefusal(key) { _ = try Selector(method, options: [(key, value)]) }
    }

    @Test(arguments: ["all", "window"]) func badQueries(method: String) throws {
        let selector = try Selector(method, rows: 16)
        let workspace = Poisoned(selector.workspaceBytes)
        let changes: [(inout lhk_tensor) -> Void] = [
            { $0.shape.0 = 17 }, { $0.shape.0 = -1 }, { $0.shape.1 = 1 }, { $0.shape.2 = 7 }, { $0.rank = 2 },
        ]
        for change in changes {
            expectRefusal("shape") {
                _ = try selector.select(rows: 3, keys: 9, params: mask(), workspace: workspace, change: change)
            }
        }
    }

    @Test(arguments: [0, 1, 16] as [Int64]) func allSelectsAll(rows: Int64) throws {
        let selector = try Selector("all", rows: 16)
        #expect(selector.workspaceBytes == 0)
        let selection = try selector.select(rows: rows, keys: 5000, params: mask(causal: false), workspace: Poisoned(0))
        #expect(selection.kind == LHK_SELECTION_ALL && selection.next == nil)
    }

    @Test func descriptors() throws {
        let all = try Selector.variant("all").pointee
        let window = try Selector.variant("window").pointee
        #expect(String(cString: all.id) == "longhand.all.any.scalar/1" && all.exactness == LHK_EXACT)
        #expect(String(cString: window.id) == "longhand.window.any.scalar/1" && window.exactness == LHK_HEURISTIC)
        for life in [all.life.pointee, window.life.pointee] {
            #expect(
                life.truncate == nil && life.fork == nil && life.save == nil && life.load == nil && life.destroy == nil)
        }
        let plugin = lhk_window_plugin().pointee
        for index in 0..<Int(plugin.method_count) {
            #expect(String(cString: plugin.methods[index].pointee.role) == LHK_ROLE_SELECTOR)
        }
    }
}
