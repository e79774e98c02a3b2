// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Where the default model lies, and how files named on the command line are read.
enum ModelFiles {
    static let defaultName = "SmolLM2-135M-Instruct.Q4_1.gguf"

    /// The first default model found: in LONGHAND_CACHE if that is set; else in `.cache/longhand` beside the package that
    /// the executable was built in, then in the user's cache folder.
    static func defaultModel() throws -> String {
        let environment = ProcessInfo.processInfo.environment
        var folders: [URL] = []
        if let cache = environment["LONGHAND_CACHE"], !cache.isEmpty {
            folders = [URL(fileURLWithPath: cache)]
        } else {
            if let package = packageFolder() { folders.append(package.appending(path: ".cache/longhand")) }
            let user = environment["XDG_CACHE_HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? NSHomeDirectory() + "/.cache"
            folders.append(URL(fileURLWithPath: user).appending(path: "longhand"))
        }
        for folder in folders {
            let path = folder.appending(path: defaultName).path
            if FileManager.default.fileExists(atPath: path) { return path }
        }
        throw Failure(
            "no model: give one with -m, or fetch the default one with '.ci/fetch-models smollm2' (looked for "
                + "\(defaultName) in \(folders.map(\.path).joined(separator: ", ")))")
    }

    /// The package that this executable was built in: the nearest folder above it with a Package.swift.
    private static func packageFolder() -> URL? {
        guard let executable = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe") else { return nil }
        var folder = URL(fileURLWithPath: executable).deletingLastPathComponent()
        while folder.path != "/" {
            if FileManager.default.fileExists(atPath: folder.appending(path: "Package.swift").path) { return folder }
            folder.deleteLastPathComponent()
        }
        return nil
    }

    /// The text of a document, or of standard input for `-`. Bytes that are no UTF-8 become U+FFFD, which is said on stderr.
    static func document(_ path: String) throws -> String {
        let data: Data
        if path == "-" {
            data = FileHandle.standardInput.readDataToEndOfFile()
        } else {
            var isFolder: ObjCBool = false
            guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
                throw Failure("\(path): no such file")
            }
            if isFolder.boolValue { throw Failure("\(path): is a folder, not a document") }
            guard let content = FileManager.default.contents(atPath: path) else { throw Failure("\(path): cannot be read") }
            data = content
        }
        if let text = String(data: data, encoding: .utf8) { return text }
        Console.note("longhand: \(path) is not UTF-8; what cannot be read as text is replaced by U+FFFD\n")
        return String(decoding: data, as: UTF8.self)
    }
}

/// A wrong input, in one line.
struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
