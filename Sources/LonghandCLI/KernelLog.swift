// SPDX-License-Identifier: Apache-2.0
import Logging
import Longhand
import Synchronization

/// What hosts log, on stderr: each line once, since every layer of a model weighs the same variants.
enum KernelLog {
    static func stderr() -> KernelHost.Log {
        var logger = Logger(label: "longhand") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .debug
        let seen = Mutex<Set<String>>([])
        return { [logger] level, text in
            guard seen.withLock({ $0.insert(text).inserted }) else { return }
            switch level {
            case .debug: logger.debug("\(text)")
            case .info: logger.info("\(text)")
            case .warning: logger.warning("\(text)")
            }
        }
    }
}
