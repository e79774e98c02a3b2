// SPDX-License-Identifier: Apache-2.0
import Foundation

/// The running executable.
enum Executable {
    /// Its folder, without a slash at the end; nil where the system does not tell.
    static var folder: String? {
        guard let path = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe") else { return nil }
        return URL(fileURLWithPath: path).deletingLastPathComponent().path
    }

    /// The package that it was built in: the nearest folder above it with a Package.swift.
    static var packageFolder: URL? {
        guard var folder = folder.map({ URL(fileURLWithPath: $0) }) else { return nil }
        while folder.path != "/" {
            if FileManager.default.fileExists(atPath: folder.appending(path: "Package.swift").path) { return folder }
            folder.deleteLastPathComponent()
        }
        return nil
    }
}

/// The model of a run without `-m`, and others that '.ci/fetch-models' gets.
enum DefaultModel {
    static let name = "SmolLM2-135M-Instruct.Q4_1.gguf"

    /// The first one found: in LONGHAND_CACHE if that is set; else in `.cache/longhand` of the package that the executable
    /// was built in, then in the user's cache folder.
    static func path(of name: String = name) throws -> String {
        let environment = ProcessInfo.processInfo.environment
        var folders: [URL] = []
        if let cache = environment["LONGHAND_CACHE"], !cache.isEmpty {
            folders = [URL(fileURLWithPath: cache)]
        } else {
            if let package = Executable.packageFolder { folders.append(package.appending(path: ".cache/longhand")) }
            let user = environment["XDG_CACHE_HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? NSHomeDirectory() + "/.cache"
            folders.append(URL(fileURLWithPath: user).appending(path: "longhand"))
        }
        for folder in folders {
            let path = folder.appending(path: name).path
            if FileManager.default.fileExists(atPath: path) { return path }
        }
        throw Failure(
            "no model: give one with -m, or fetch the default one with '.ci/fetch-models smollm2' (looked for "
                + "\(name) in \(folders.map(\.path).joined(separator: ", ")))")
    }
}
