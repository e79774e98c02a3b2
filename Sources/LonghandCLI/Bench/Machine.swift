// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Sizes of the data caches in bytes; nil where the system does not tell.
struct MachineCaches: Encodable {
    /// Of one core.
    var l1, l2: Int?
    /// Of the processor.
    var l3: Int?

    init() {
        for index in 0..<8 {
            let folder = "/sys/devices/system/cpu/cpu0/cache/index\(index)/"
            guard let level = Machine.line(folder + "level"), let type = Machine.line(folder + "type"), type != "Instruction",
                let size = Machine.line(folder + "size"), let number = Int(size.prefix { $0.isNumber })
            else { continue }
            let bytes = number << (size.hasSuffix("M") ? 20 : size.hasSuffix("K") ? 10 : 0)
            switch level {
            case "1": l1 = bytes
            case "2": l2 = bytes
            case "3": l3 = bytes
            default: break
            }
        }
    }
}

/// What a measurement was made on.
enum Machine {
    /// The first line of a file, or nil.
    static func line(_ path: String) -> String? {
        (try? String(contentsOfFile: path, encoding: .utf8))?.split(separator: "\n").first.map(String.init)
    }

    /// Name of the processor.
    static var processor: String {
        let info = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
        for line in info.split(separator: "\n") {
            let pair = line.split(separator: ":", maxSplits: 1)
            guard pair.count == 2, pair[0].hasPrefix("model name") || pair[0].hasPrefix("Model") else { continue }
            return pair[1].trimmingCharacters(in: .whitespaces)
        }
        return "unknown"
    }

    /// Kernel and architecture, e.g. `Linux 6.1.0 x86_64`.
    static var system: String {
        var names = utsname()
        uname(&names)
        func text(_ field: some Any) -> String {
            withUnsafeBytes(of: field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        }
        return [text(names.sysname), text(names.release), text(names.machine)].joined(separator: " ")
    }

    /// The commit that the executable's package is at, with `-dirty` when files differ from it; nil outside a repository.
    static var commit: String? {
        guard let folder = Executable.packageFolder else { return nil }
        let process = Process(), output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["git", "-C", folder.path, "describe", "--always", "--dirty", "--exclude=*"]
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return nil }
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return process.terminationStatus == 0 ? text.trimmingCharacters(in: .whitespacesAndNewlines) : nil
    }
}
