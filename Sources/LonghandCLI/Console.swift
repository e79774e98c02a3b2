// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Writing to the two standard streams: results to stdout, everything else to stderr.
enum Console {
    /// Writes to stdout at once. A reader that went away ends the program, as is usual for a filter.
    static func out(_ text: String) { write(text, to: STDOUT_FILENO) }

    /// Writes to stderr.
    static func note(_ text: String) { write(text, to: STDERR_FILENO) }

    /// One line on stderr, then exit code 2.
    static func fail(_ reason: String) -> Never {
        let line = reason.split(whereSeparator: \.isNewline).joined(separator: " ")
        note("longhand: \(line)\n")
        exit(2)
    }

    static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    private static func write(_ text: String, to descriptor: Int32) {
        var text = text
        text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                let count = Glibc.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else { exit(2) }
                done += count
            }
        }
    }
}

/// Progress of a long prefill: a line that rewrites itself on a terminal, a line every tenth otherwise.
struct Progress {
    let total: Int
    private let start = ContinuousClock.now
    private var shownTenth = 0

    init(total: Int) { self.total = total }

    mutating func show(_ done: Int) {
        let tenth = done * 10 / max(total, 1)
        guard Console.errorIsTerminal || tenth > shownTenth else { return }
        shownTenth = tenth
        let seconds = (ContinuousClock.now - start).seconds
        let line = "reading: \(done) of \(total) tokens (\(done * 100 / max(total, 1)) %), \(Int(Double(done) / seconds)) tokens/s"
        let isLast = done == total
        Console.note(Console.errorIsTerminal ? "\r\(line)\u{1B}[K\(isLast ? "\n" : "")" : line + "\n")
    }
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
