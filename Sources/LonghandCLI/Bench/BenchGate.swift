// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Longhand
import LonghandVerify

/// Lets only variants be timed that pass a quick check.
final class BenchGate {
    private let raw: OpaquePointer
    private let registry: Registry
    private let host: KernelHost
    private var reasons: [Key: String?] = [:]

    private struct Key: Hashable {
        let id: String
        let levels: InstructionSet
    }

    /// Seconds of random and named cases per variant, beyond those that are run whatever they take.
    private static let seconds = 0.1

    init(_ registry: Registry, host: KernelHost) throws {
        var handle: OpaquePointer?
        try check { lhk_verify_create(registry.raw, host.raw, 1, &handle, $0) }
        raw = handle!
        (self.registry, self.host) = (registry, host)
    }

    deinit { lhk_verify_destroy(raw) }

    /// Why a case must not be timed: a variant that takes part in it is not what it says. nil: all are sound.
    func refusal(_ row: BenchCase) throws -> String? {
        for part in row.parts {
            if let reason = try refusal(part.variant) { return reason }
        }
        return nil
    }

    private func refusal(_ variant: BenchVariant) throws -> String? {
        let key = Key(id: variant.id, levels: variant.levels(on: host))
        if let known = reasons[key] { return known }
        var reason: String?
        var target: UInt32 = 0
        if lhk_verify_find(raw, key.id, &target) != LHK_OK {
            reason = "\(key.id) is not known to the checker"
        } else {
            do {
                try check { lhk_verify_quick(raw, target, key.levels.rawValue, Self.seconds, nil, $0) }
            } catch {
                guard error.status == .corrupt || error.status == .unsupported else { throw error }
                reason = error.message
            }
        }
        reasons[key] = .some(reason)
        return reason
    }
}
