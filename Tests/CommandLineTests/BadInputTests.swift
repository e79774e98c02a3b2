// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

extension CommandLineTests {
    @Suite(.serialized) struct BadInputTests {
        /// Arguments, and what the one line must say.
        static let usage: [([String], String)] = [
            (["frobnicate"], "frobnicate"),
            (["--frobnicate"], "--frobnicate"),
            (["run"], "give a prompt with -p, a document with -f, or both (see 'longhand run --help')"),
            (["run", "-m", "x.gguf", "--json"], "give a prompt"),
            (["run", "-p"], "Missing value for '-p"),
            (["run", "-p", "x", "-n"], "Missing value for '-n"),
            (["run", "-p", "x", "--store"], "Missing value for '--store"),
            (["run", "-p", "x", "--store-layers"], "Missing value for '--store-layers"),
            (["run", "-p", "x", "--store-layers", "3-1: f32"], "--store-layers: store of layers \"3-1: f32\": must be LAYERS:"),
            (["run", "-p", "x", "--store-layers", "all: f32"], "numbers, ranges, windowed or global"),
            (["run", "-p", "x", "--frobnicate"], "--frobnicate"),
            (["run", "-p", "x", "y"], "Unexpected argument 'y'"),
            (["run", "-p", "x", "-p", "y", "z"], "Unexpected argument 'z'"),
            (["calibrate", "commvq", "--trace", "x", "-o", "y", "--bits", "3"], "--bits 3: must be 1 or 2"),
            (["calibrate", "commvq", "--trace", "x", "-o", "y", "--form", "product", "--bits", "4"], "--bits 4: must be 1 to 3"),
            (["calibrate", "commvq", "--trace", "x", "-o", "y", "--form", "other"], "'other'"),
            (["calibrate", "commvq", "--trace", "x", "-o", "y", "--steps", "0"], "--steps 0"),
            (["calibrate", "commvq", "--trace", "/nowhere/x", "-o", "y"], "/nowhere/x"),
            (["run", "-p", "x", "--store", "commvq"], "longhand calibrate commvq"),
            (["run", "-p", "x", "--store", "commvq:calibration=/nowhere/x"], "/nowhere/x"),
            (["calibrate", "sale", "--trace", "x", "-o", "/nowhere/y"], "/nowhere/y: cannot be written: No such file"),
            (["calibrate", "sale", "--trace", "x", "-o", "/"], "/: cannot be written: it is a directory"),
            (["eval", "-f", "x", "--config", "w: prefill=window", "--plot", "/nowhere/y.svg"], "/nowhere/y.svg: cannot be written"),
            (["plugins", "x"], "Unexpected argument 'x'"),
            (["plugins", "--frobnicate"], "(see 'longhand plugins --help')"),
            (["run", "-p", "x", "-n", "-1"], "-n -1"),
            (["run", "-p", "x", "-n", "three"], "'three' is invalid for '-n"),
            (["run", "-p", "x", "-n", "1.5"], "'1.5' is invalid"),
            (["run", "-p", "x", "-n", "99999999999999999999"], "'99999999999999999999' is invalid"),
            (["run", "-p", "x", "-n", "--json"], "'--json' is invalid for '-n"),
            (["run", "-p", "x", "-t", "100000"], "-t 100000: the number of threads must be 0 to 1024"),
            (["run", "-p", "x", "-t", "-1"], "-t -1"),
            (["run", "-p", "x", "-c", "-5"], "-c -5"),
            (["run", "-p", "x", "-c", "2147483648"], "-c 2147483648"),
            (["run", "-p", "x", "-c", "9223372036854775807"], "-c 9223372036854775807"),
            (["run", "-p", "x", "-c", "16"], "does not fit a context of 16"),
            (["run", "-p", "x", "-c", "1", "--raw"], "the prompt has 1 tokens and does not fit a context of 1"),
            (["run", "-p", "x", "-s", "-1"], "'-1' is invalid for '-s"),
            (["run", "-p", "x", "-s", "18446744073709551616"], "is invalid for '-s"),
            (["run", "-p", "x", "--temp", "nan"], "temperature is nan"),
            (["run", "-p", "x", "--temp", "inf"], "temperature is inf"),
            (["run", "-p", "x", "--temp", "-0.5"], "temperature is -0.5"),
            (["run", "-p", "x", "--temp", "warm"], "'warm' is invalid for '--temp"),
            (["run", "-p", "x", "--top-k", "-1"], "top-k is -1"),
            (["run", "-p", "x", "--top-p", "0"], "top-p is 0"),
            (["run", "-p", "x", "--top-p", "nan"], "top-p is nan"),
            (["run", "-p", "x", "--min-p", "2"], "min-p is 2"),
            (["run", "-p", "x", "--chunk", "1"], "--chunk 1: the number of tokens must be 0, or 3 to"),
            (["run", "-p", "x", "--chunk", "-3"], "--chunk -3"),
            (["run", "-p", "x", "--block-tokens", "2"], "--block-tokens 2: the number of tokens must be 0, or 3 to"),
            (["run", "-p", "x", "--block-tokens", "-512"], "--block-tokens -512"),
            (["run", "-p", ""], "-p: the prompt is empty"),
            (["run", "-f", ""], "-f: the path is empty"),
            (["run", "-p", "x", "-m", ""], "-m: the path is empty"),
        ]

        @Test(arguments: usage) func wrongUsage(arguments: [String], reason: String) throws {
            try expectRefusal(arguments, reason)
        }

        static let methods: [([String], String)] = [
            (["--store", "nonsense"], "no store 'nonsense'; known: bf16, commvq, f16"),
            (["--store-layers", "windowed: bf16"], "store of layers \"windowed: bf16\": the model has no windowed layers"),
            (["--store-layers", "3,30: f16"], "store of layers \"3,30: f16\": the model has no layers 30; it has 30, from 0 on"),
            (["--store-layers", "0-3: f16", "--store-layers", "3: q4"], "layer 3 is named twice: in \"0-3: f16\" and in \"3: q4\""),
            (["--store-layers", "3: nonsense"], "layer 3: store 'nonsense': no store 'nonsense'; known: bf16"),
            (["--store-layers", "3: q4:colour=red"], "layer 3: store 'q4': "),
            (["--store-layers", "3: commvq"], "layer 3: store 'commvq': commvq needs codebooks"),
            (["--store-layers", "3: commvq:calibration=/nowhere/x"], "/nowhere/x"),
            (["--prefill", "nonsense"], "no selector 'nonsense'; known: adamas, all, pooled, quest, random, sale, window"),
            (["--decode", "nonsense:budget=3"], "no selector 'nonsense'"),
            (["--attention", "nonsense"], "no attention 'nonsense'; known: flash"),
            (["--position", "nonsense"], "no position 'nonsense'; known: rope"),
            // A method of another role.
            (["--store", "flash"], "no store 'flash'"),
            (["--decode", "rope"], "no selector 'rope'"),
            (["--attention", "all"], "no attention 'all'"),
            // Options.
            (["--store", "f32:colour=red"], "'colour'"),
            (["--decode", "window:budget=3"], "'budget'"),
            (["--decode", "window:size=0"], "size=0"),
            (["--decode", "window:size=-4"], "size=-4"),
            (["--decode", "window:size=many"], "size=many"),
            (["--decode", "window:size=99999999999999999999"], "size=99999999999999999999"),
            (["--decode", "window:size=4,size=5"], "'size' is given twice"),
            (["--decode", "window:"], "key=value"),
            (["--decode", "window:size"], "key=value"),
            (["--decode", "window:size="], "has no value"),
            (["--decode", ""], "is not the name of a method"),
            (["--decode", "all,window"], "is not the name of a method"),
            (["--decode", "wïndow"], "not printable ASCII"),
            (["--attention", "flash:path=sideways"], "sideways"),
            (["--position", "rope:factor=nan"], "factor=nan"),
            (["--position", "rope:factor=0.5"], "factor=0.5"),
            (["--position", "rope:scaling=wild"], "wild"),
            (["--position", "rope:dims=7"], "7"),
            (["--store", String(repeating: "x", count: 5000)], "longer than"),
        ]

        @Test(arguments: methods) func wrongMethods(options: [String], reason: String) throws {
            try expectRefusal(["run", "-p", "x"] + options, reason)
        }

        @Test func wrongEnvironment() throws {
            try expectRefusal(
                ["run", "-p", "x"], "LONGHAND_ISA: unknown instruction set 'nonsense'", environment: ["LONGHAND_ISA": "nonsense"])
            let folder = try TemporaryFolder()
            for reason in ["no model: give one with -m", "fetch-models", folder.path] {
                try expectRefusal(["run", "-p", "x"], reason, environment: ["LONGHAND_CACHE": folder.path])
            }
        }

        @Test func wrongDocuments() throws {
            let folder = try TemporaryFolder()
            let empty = try folder.write(Data(), to: "empty")
            try expectRefusal(["run", "-f", empty], "the document is empty")
            try expectRefusal(["run", "-f", empty, "-p", "x"], "the document is empty")
            try expectRefusal(["run", "-f", "-", "-p", "x"], "standard input: the document is empty")
            try expectRefusal(["run", "-f", folder.file("missing")], "No such file or directory")
            try expectRefusal(["run", "-f", folder.path], "Is a directory")
            try expectRefusal(["run", "-f", "/dev/zero"], "the document is longer than")
            try expectRefusal(["run", "-f", try defaultModel()], "the document is longer than")
            try expectRefusal(["run", "-f", "/proc/self/mem"], "cannot read the document")
            let long = try folder.write(Data(String(repeating: "The cat sat. ", count: 5000).utf8), to: "long")
            try expectRefusal(["run", "-f", long, "-n", "1"], "does not fit a context of 8192: give a larger -c")
            try expectRefusal(["run", "-f", "no\nsuch\u{1b}[31m\u{7}file"], "no such\\u{1B}[31m\\u{07}file: cannot open")
        }

        /// A file of its name that is no library, found first, stands for a machine without OpenBLAS.
        @Test func noOpenBLAS() throws {
            let folder = try TemporaryFolder()
            try folder.write(Data(), to: "libopenblas.so.0")
            try expectRefusal(
                ["run", "-p", "x", "-n", "1", "--linear", "f32"], "install libopenblas-dev",
                environment: ["LD_LIBRARY_PATH": folder.path])
        }

        /// Said before the work, not after it.
        @Test func outputsThatCannotBeWritten() throws {
            let command = ["calibrate", "sale", "--trace", "/nonexistent", "-o"]
            try expectRefusal(command + ["/dev/null"], "/dev/null: cannot be written: it is not a regular file")
            try expectRefusal(command + ["/tmp"], "/tmp: cannot be written: it is a directory")
        }

        @Test func filesThatAreNoModels() throws {
            let folder = try TemporaryFolder()
            func refuse(_ name: String, _ reason: String) throws {
                try expectRefusal(["run", "-p", "x", "-m", folder.file(name)], reason)
            }
            try refuse("missing.gguf", "cannot open: No such file")
            try expectRefusal(["run", "-p", "x", "-m", folder.path], "is a directory, not a GGUF file")
            try folder.write(Data(), to: "empty.gguf")
            try refuse("empty.gguf", "is empty, not a GGUF file")
            try folder.write(Data("Dear reader,\n".utf8), to: "text.gguf")
            try refuse("text.gguf", "does not begin with \"GGUF\"")
            try folder.write(Data((0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 5) }), to: "random.gguf")
            try refuse("random.gguf", "does not begin with \"GGUF\"")
            #expect(mkfifo(folder.file("fifo.gguf"), 0o600) == 0)
            try refuse("fifo.gguf", "is not a regular file")
            try expectRefusal(["run", "-p", "x", "-m", "/dev/zero"], "is not a regular file")
        }

        @Test func damagedModels() throws {
            let folder = try TemporaryFolder(), path = folder.file("bad.gguf")
            func refuse(_ reason: String, keep: Int? = nil, _ change: (inout HollowModel) throws -> Void) throws {
                var model = try HollowModel()
                try change(&model)
                try model.write(to: path, keep: keep)
                try expectRefusal(["run", "-p", "x", "-m", path], reason)
            }
            try refuse("the file ends after", keep: 100_000) { _ in }
            try refuse("but the file has", keep: 50_000_000) { _ in }
            try refuse("architecture \"llamb\" is not supported; supported are llama, gemma3") {
                try $0.patch(after: "general.architecture", distance: 4 + 8, Array("llamb".utf8))
            }
            try refuse("has type 99, which is not supported") { try $0.setType(of: "token_embd.weight", 99) }
            try refuse("GGUF version 77 is not supported") { try $0.patch(after: "GGUF", [77, 0, 0, 0]) }
            try refuse("llama.attention.head_count is 0") { try $0.set("llama.attention.head_count", 0) }
            try refuse("tensor blk.30.attn_norm.weight is missing") { try $0.set("llama.block_count", 31) }
            try refuse("tensor blk.29.") { try $0.set("llama.block_count", 29) }
            try refuse("llama.block_count is 4294967295") { try $0.set("llama.block_count", .max) }
        }

        /// Weights that are no numbers give an error and no text.
        @Test func damagedWeights() throws {
            let folder = try TemporaryFolder(), path = folder.file("nan.gguf")
            let model = try HollowModel()
            try model.write(to: path, data: [("output_norm.weight", [0, 0, 0xc0, 0x7f])])
            for options in [["--json"], ["--temp", "1"]] {
                let outcome = try longhand(["run", "-p", "x", "-m", path, "-n", "4"] + options)
                expectRefused(outcome, "the logit of token 0 is NaN after")
                #expect(outcome.stderr.contains("the weights may be damaged"))
            }
        }
    }
}
