// SPDX-License-Identifier: Apache-2.0
import Foundation
import Longhand
import Testing

extension CommandLineTests {
    @Suite(.serialized) struct PluginsTests {
        private struct Listing: Decodable {
            struct Variant: Decodable {
                let id, isa, headDimensions, exactness: String
                let kvTypes: [String]
                let available, chosen: Bool
            }
            struct Method: Decodable {
                let role, name, version, summary, origin: String
                let variants: [Variant]
            }
            struct Rejected: Decodable { let path, reason: String }
            let isa, searched: [String]
            let methods: [Method]
            let rejected: [Rejected]?
        }

        private func listing(_ arguments: String..., environment: [String: String?] = [:]) throws -> Listing {
            let outcome = try longhand(["plugins", "--json"] + arguments, environment: environment, limit: 10)
            expectDone(outcome)
            #expect(outcome.stderr == "")
            return try JSONDecoder().decode(Listing.self, from: Data(outcome.stdout.utf8))
        }

        @Test func textListsAllRoles() throws {
            let outcome = try longhand("plugins", limit: 10)
            expectDone(outcome)
            #expect(outcome.stderr == "")
            let fixed = [
                "store bf16", "selector all", "attention flash", "position rope", "instruction sets:", "  * ", "head dimensions",
            ]
            let methods = try listing().methods.map { "\($0.role) \($0.name)" }
            for text in fixed + methods { #expect(outcome.stdout.contains(text), "\(text)") }
            #expect(!outcome.stdout.contains("rejected"))
        }

        @Test func jsonMarksWhatWouldRun() throws {
            let listing = try listing()
            #expect(Set(listing.methods.map(\.role)) == ["store", "selector", "attention", "position"])
            #expect(listing.rejected == nil)
            // Every family, which is a folder with an entry, offers something.
            let origins = Set(listing.methods.map { URL(fileURLWithPath: $0.origin).lastPathComponent })
            let families = try FileManager.default.contentsOfDirectory(atPath: "\(packageRoot)/CKernels").filter {
                FileManager.default.fileExists(atPath: "\(packageRoot)/CKernels/\($0)/Entry/entry.c")
            }
            #expect(families.count > 1)
            for family in families { #expect(origins.contains("libLonghand\(family)Plugin.so"), "\(family)") }
            for method in listing.methods {
                #expect(method.variants.contains { $0.chosen }, "\(method.name)")
                #expect(method.origin.hasSuffix("Plugin.so"))
                #expect(FileManager.default.fileExists(atPath: method.origin))
                #expect(!method.summary.isEmpty && !method.version.isEmpty)
                for variant in method.variants where variant.chosen { #expect(variant.available) }
            }
        }

        @Test func theMaskRulesVariantsOut() throws {
            let listing = try listing(environment: ["LONGHAND_ISA": "scalar"])
            #expect(listing.isa == ["scalar"])
            for variant in listing.methods.flatMap(\.variants) {
                #expect(variant.available == (variant.isa == "scalar"), "\(variant.id)")
            }
        }

        @Test func rejectedFilesAreShownOnRequest() throws {
            let folder = try TemporaryFolder()
            try folder.write(Data("not a library".utf8), to: "libLonghandTextPlugin.so")
            try buildPlugin("Other", in: folder, "FAULT_MAJOR=2")
            let environment = ["LONGHAND_PLUGIN_PATH": folder.path]
            let rejected = try #require(try listing("--rejected", environment: environment).rejected)
            #expect(rejected.count == 2)
            #expect(rejected[0].path.hasSuffix("libLonghandOtherPlugin.so"))
            #expect(rejected[0].reason.contains("ABI 2.3"))
            #expect(rejected[1].reason.contains("no ELF header"))
            let text = try longhand("plugins", "--rejected", environment: environment).stdout
            for item in rejected { #expect(text.contains("rejected \(item.path): \(item.reason)")) }
            #expect(try !longhand("plugins", environment: environment).stdout.contains("rejected"))
            #expect(try longhand("plugins", "--rejected").stdout.contains("no candidates were rejected"))
        }

        /// A plugin of somebody else is listed and runs.
        @Test func foreignPlugin() throws {
            let folder = try TemporaryFolder()
            let path = try buildPlugin("Tiny", in: folder)
            let method = try #require(try listing("--plugin-path", folder.path).methods.first { $0.name == "tiny" })
            #expect(method.origin == path)
            let outcome = try longhand(
                "run", "-p", "What is the capital of France?", "-n", "8", "--prefill", "tiny", "--plugin-path", folder.path)
            expectDone(outcome)
            #expect(outcome.stdout.contains("Paris"))
            #expect(outcome.stderr.contains("prefill tiny: test.tiny/1 from \(path)"))
        }

        /// Refused plugins are kept as rejections; asking for their method says that it is not there, and where to look.
        @Test(arguments: ["FAULT_MAJOR=2", "FAULT_SYMBOL", "FAULT_UNRESOLVED"])
        func methodsOfRejectedPlugins(fault: String) throws {
            let folder = try TemporaryFolder()
            try buildPlugin("Bad", in: folder, fault)
            for reason in ["no selector 'tiny'", "1 plugin file was rejected, see 'longhand plugins --rejected'"] {
                try expectRefusal(
                    ["run", "-p", "x", "--decode", "tiny"], reason, environment: ["LONGHAND_PLUGIN_PATH": folder.path])
            }
        }

        /// An executable without its plugins names what is missing and where it looked.
        @Test func noPluginsAtAll() throws {
            let folder = try TemporaryFolder()
            let alone = folder.file("longhand")
            try FileManager.default.copyItem(atPath: executable, toPath: alone)
            for reason in ["no plugins were found", folder.path] {
                try expectRefusal(["run", "-p", "x"], reason, environment: ["LONGHAND_PLUGIN_PATH": ""], executable: alone)
            }
            let listing = try longhand("plugins", executable: alone)
            expectDone(listing)
            #expect(listing.stdout.contains("no plugins were found; looked in\n  \(folder.path)\n"))
        }

        @Test func foldersThatCannotBeSearched() throws {
            try expectRefusal(["plugins", "--plugin-path", "/nonexistent"], "/nonexistent")
            try expectRefusal(["plugins", "--plugin-path", ""], "the path is empty")
            try expectRefusal(["plugins", "--plugin-path", "/a:/b"], "':'")
            try expectRefusal(["plugins"], "LONGHAND_ISA", environment: ["LONGHAND_ISA": "nonsense"])
        }
    }
}
