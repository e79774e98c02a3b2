// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Writing to the two standard streams: results to stdout, everything else to stderr.
enum Console {
    /// Writes to stdout at once. A reader that went away ends the program quietly, as is usual for a filter; anything
    /// else that goes wrong is said.
    static func out(_ text: String) {
        guard let failure = write(text, to: STDOUT_FILENO) else { return }
        if failure == EPIPE { exit(2) }
        fail("cannot write to standard output: \(String(cString: strerror(failure)))")
    }

    /// Writes to stderr; there is nowhere to say that it failed.
    static func note(_ text: String) { _ = write(text, to: STDERR_FILENO) }

    /// One line on stderr, then exit code 2.
    static func fail(_ reason: String) -> Never {
        note("longhand: \(oneLine(reason))\n")
        exit(2)
    }

    static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    /// `text` with line breaks as spaces and other control characters, which could come from a path, escaped.
    private static func oneLine(_ text: String) -> String {
        var line = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n", "\r", "\t", "\u{85}", "\u{2028}", "\u{2029}": line += " "
            case _ where scalar.properties.generalCategory == .control: line += scalar.escaped(asASCII: true)
            default: line.unicodeScalars.append(scalar)
            }
        }
        return line
    }

    /// Writes all of `text`; the error number where that failed.
    private static func write(_ text: String, to descriptor: Int32) -> Int32? {
        var text = text
        return text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                let count = Glibc.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else { return count < 0 ? errno : EIO }
                done += count
            }
            return nil
        }
    }
}

/// Progress of a long prefill, or of other work: a line that rewrites itself on a terminal and is there from the beginning, a
/// line every tenth otherwise.
struct Progress {
    let total: Int
    let verb, unit: String
    private let start = ContinuousClock.now
    private var shownTenth = 0

    init(total: Int, verb: String = "reading", unit: String = "tokens") {
        (self.total, self.verb, self.unit) = (total, verb, unit)
    }

    /// On a terminal: that work has begun, of which the first part may take long.
    func begin() {
        if Console.errorIsTerminal { Console.note("\(verb): 0 of \(total) \(unit)") }
    }

    mutating func show(_ done: Int) {
        let tenth = done * 10 / max(total, 1)
        guard Console.errorIsTerminal || tenth > shownTenth else { return }
        shownTenth = tenth
        let seconds = max((ContinuousClock.now - start).seconds, 1e-9)
        let percent = done * 100 / max(total, 1), speed = Int(Double(done) / seconds)
        let line = "\(verb): \(done) of \(total) \(unit) (\(percent) %), \(speed) \(unit)/s"
        let isLast = done == total
        Console.note(Console.errorIsTerminal ? "\r\(line)\u{1B}[K\(isLast ? "\n" : "")" : line + "\n")
    }
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
