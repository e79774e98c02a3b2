// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import Testing

@Suite struct LoaderTests {
    /// A fault, as a definition for the compiler, and what its rejection must say.
    static let faults: [(String, String)] = [
        ("FAULT_MAGIC=7", "magic number 00000007"),
        ("FAULT_MAJOR=2", "built for plugin ABI 2.3; this library has ABI 1.3"),
        ("FAULT_MAJOR=0", "built for plugin ABI 0.3"),
        ("FAULT_SIZE=16", "its entry is too short: 16 bytes"),
        ("FAULT_SYMBOL", "does not export 'lhk_plugin_entry'"),
        ("FAULT_FUNCTION", "is not an entry object"),
        ("FAULT_SMALL", "is not an entry object"),
        ("FAULT_NULL", "the plugin object is null"),
        ("FAULT_METHODS", "no methods"),
        ("FAULT_ROLE", "unknown role"),
        ("FAULT_DUPLICATE", "the role and name occur twice"),
        ("FAULT_UNRESOLVED", "undefined symbol"),
    ]

    @Test(arguments: faults) func rejections(definition: String, expected: String) throws {
        let folder = try TemporaryFolder()
        let registry = try Registry()
        let path = try buildPlugin("Bad", in: folder, definition)
        let error = failure { try registry.load(path: path) }
        #expect(error?.status == .abi)
        #expect(error?.message.contains(expected) == true, "\(error?.message ?? "accepted")")
        #expect(registry.methods.isEmpty)
        #expect(registry.rejections.count == 1)
        #expect(registry.rejections.first?.path == path)
        #expect(registry.rejections.first?.reason.contains(expected) == true)
    }

    @Test func wrongVersionIsNotFollowed() throws {
        let folder = try TemporaryFolder()
        let registry = try Registry()
        let path = try buildPlugin("Wild", in: folder, "FAULT_WILD", "FAULT_MAJOR=9")
        #expect(failure { try registry.load(path: path) }?.status == .abi)
    }

    @Test func soundOnesLoad() throws {
        let folder = try TemporaryFolder()
        let registry = try Registry()
        try registry.load(path: buildPlugin("Newer", in: folder, "MINOR=7"))
        let method = try #require(registry.methods.first)
        #expect(method.name == "tiny")
        #expect(method.origin == folder.file("libLonghandNewerPlugin.so"))
        #expect(registry.rejections.isEmpty)
        try registry.load(path: method.origin)  // again: ignored
        #expect(registry.methods.count == 1)
    }

    @Test func aPathIsNeverLookedUpInLibraryFolders() throws {
        let registry = try Registry()
        #expect(failure { try registry.load(path: "libc.so.6") }?.status == .notFound)
        #expect(failure { try registry.load(path: "") }?.status == .notFound)
    }

    @Test func discoveryIsSortedAndKeepsRejections() throws {
        let folder = try TemporaryFolder()
        let other = try TemporaryFolder()
        let registry = try Registry()
        try buildPlugin("B", in: folder, "NAME=\"b\"", "ID=\"test.b\"", "VERSION=\"1.0.0\"")
        try buildPlugin("C", in: folder, "NAME=\"c\"", "ID=\"test.b\"", "VERSION=\"2.0.0\"")  // the id of B
        try buildPlugin("D", in: folder, "NAME=\"b\"", "ID=\"test.d\"")  // the name of B
        try buildPlugin("A", in: other, "NAME=\"c\"", "ID=\"test.a\"")  // a later folder
        try buildPlugin("B", in: other, "NAME=\"b\"", "ID=\"test.b\"", "VERSION=\"1.0.0\"")  // the same again
        _ = try folder.write(Array("not a library\n".utf8), to: "libLonghandTextPlugin.so")
        _ = try folder.write([], to: "libLonghandEmptyPlugin.so")
        _ = try folder.write(Array("ignored".utf8), to: "libLonghandPlugin.so.bak")
        try FileManager.default.createDirectory(
            atPath: folder.file("libLonghandFolderPlugin.so"), withIntermediateDirectories: true)
        symlink("libLonghandLoopPlugin.so", folder.file("libLonghandLoopPlugin.so"))
        symlink("nowhere", folder.file("libLonghandDanglingPlugin.so"))
        mkfifo(folder.file("libLonghandFifoPlugin.so"), 0o600)
        try registry.discover(searchPath: [folder.path, other.path])

        let found = registry.methods.filter { $0.pluginID.hasPrefix("test.") }
        #expect(found.map(\.name) == ["b", "c"])
        #expect(
            found.map(\.origin) == [
                folder.file("libLonghandBPlugin.so"), other.file("libLonghandAPlugin.so"),
            ])
        let reasons = registry.rejections.filter { $0.path.hasPrefix(folder.path) || $0.path.hasPrefix(other.path) }
        let names = reasons.map { String($0.path.split(separator: "/").last!.dropFirst(11).dropLast(9)) }
        #expect(names == ["C", "D", "Dangling", "Empty", "Fifo", "Folder", "Loop", "Text"])
        let expected = [
            "version 1.0.0 is already registered", "already registered by plugin 'test.b'", "No such file",
            "no ELF header", "not a regular file", "not a regular file", "symbolic links", "no ELF header",
        ]
        for (rejection, text) in zip(reasons, expected) { #expect(rejection.reason.contains(text), "\(rejection)") }
        // Searching again finds nothing new and repeats no rejection.
        let methods = registry.methods
        let rejections = registry.rejections
        try registry.discover(searchPath: [folder.path, other.path])
        #expect(registry.methods == methods)
        #expect(registry.rejections == rejections)
    }

    @Test func linksToFilesAreFollowed() throws {
        let folder = try TemporaryFolder()
        let links = try TemporaryFolder()
        let registry = try Registry()
        symlink(try buildPlugin("Real", in: folder), links.file("libLonghandLinkPlugin.so"))
        try registry.discover(searchPath: [links.path])
        #expect(registry.methods.contains { $0.origin == links.file("libLonghandLinkPlugin.so") })
    }

    @Test func foldersThatCannotBeSearched() throws {
        let registry = try Registry()
        let folder = try TemporaryFolder()
        let file = try folder.write([1], to: "file")
        for path in [folder.file("missing"), file, "relative/folder", "."] {
            let error = failure { try registry.discover(searchPath: [path]) }
            #expect(error?.status == .io, "\(path)")
            #expect(error?.message.contains(path) == true)
            #expect(registry.rejections.contains { $0.path == path })
        }
        #expect(failure { try registry.discover(searchPath: [""]) }?.status == .argument)
        #expect(failure { try registry.discover(searchPath: ["/a:/b"]) }?.status == .argument)
        // All folders are searched even if one is an error.
        try buildPlugin("Late", in: folder)
        #expect(failure { try registry.discover(searchPath: ["/missing", folder.path]) } != nil)
        #expect(registry.methods.contains { $0.name == "tiny" })
    }

    @Test func environmentVariable() async throws {
        await #expect(processExitsWith: .success) {
            let folder = try TemporaryFolder()
            let registry = try Registry()
            try buildPlugin("Env", in: folder)
            setenv("LONGHAND_PLUGIN_PATH", "relative:\(folder.path)::/missing", 1)
            try registry.discover()
            guard registry.methods.contains(where: { $0.origin == folder.file("libLonghandEnvPlugin.so") }) else {
                exit(1)
            }
            let rejected = registry.rejections.map(\.path)
            exit(rejected.contains("relative") && rejected.contains("") && rejected.contains("/missing") ? 0 : 2)
        }
    }

    @Test func currentFolderIsNeverSearched() async throws {
        await #expect(processExitsWith: .success) {
            let folder = try TemporaryFolder()
            let registry = try Registry()
            try buildPlugin("Here", in: folder)
            guard FileManager.default.changeCurrentDirectoryPath(folder.path) else { exit(2) }
            try registry.discover()
            exit(registry.methods.contains { $0.name == "tiny" } ? 1 : 0)
        }
    }

    /// A library cut short anywhere is refused or (past its last segment and section table) loads; it never ends the
    /// process.
    @Test func truncatedLibraries() throws {
        let folder = try TemporaryFolder()
        let registry = try Registry()
        let whole = try [UInt8](Data(contentsOf: URL(fileURLWithPath: buildPlugin("Whole", in: folder))))
        for cut in [1, 4, 16, 63, 64, 100, 500, 1000, 4096, 4097, 8192, whole.count / 2, whole.count - 1]
        where cut < whole.count {
            let path = try folder.write(Array(whole[..<cut]), to: "libLonghandCut\(cut)Plugin.so")
            let error = failure { try registry.load(path: path) }
            #expect(error?.status == .abi, "cut at \(cut)")
        }
        #expect(registry.methods.isEmpty)
    }

    @Test func otherMachines() throws {
        let folder = try TemporaryFolder()
        let registry = try Registry()
        let whole = try [UInt8](Data(contentsOf: URL(fileURLWithPath: buildPlugin("Whole", in: folder))))
        for (offset, value) in [(4, UInt8(1)), (5, 2), (16, 2), (18, 0xf3), (0, 0)] {
            var changed = whole
            changed[offset] = value
            let path = try folder.write(changed, to: "libLonghandChanged\(offset)Plugin.so")
            #expect(failure { try registry.load(path: path) }?.status == .abi, "byte \(offset)")
        }
    }
}
