// SPDX-License-Identifier: Apache-2.0
import CLonghand

/// The question that a method answers.
public enum Role: String, CaseIterable, Sendable, CustomStringConvertible {
    /// How are keys and values kept?
    case store
    /// Which keys matter to these queries?
    case selector
    /// How do scores become output?
    case attention
    /// Where is each token?
    case position

    /// The role's id in the plugin ABI, e.g. `longhand.store/1`.
    public var id: String {
        switch self {
        case .store: LHK_ROLE_STORE
        case .selector: LHK_ROLE_SELECTOR
        case .attention: LHK_ROLE_ATTENTION
        case .position: LHK_ROLE_POSITION
        }
    }

    public var description: String { rawValue }

    init?(id: String) {
        guard let role = Role.allCases.first(where: { $0.id == id }) else { return nil }
        self = role
    }
}

/// How far a variant's results may lie from exact attention.
public enum Exactness: UInt32, Sendable, CustomStringConvertible {
    /// Rounding only.
    case exact = 0
    /// A stated error bound.
    case bounded = 1
    /// An approximation judged by evaluation.
    case heuristic = 2

    public var description: String {
        switch self {
        case .exact: "exact"
        case .bounded: "bounded"
        case .heuristic: "heuristic"
        }
    }
}

/// Which head dimensions a variant takes.
public struct HeadDimensionRule: Hashable, Sendable, CustomStringConvertible {
    public let minimum: Int
    /// nil: no bound.
    public let maximum: Int?
    /// Dimensions must be multiples of this; at least 1.
    public let multiple: Int

    /// E.g. `8-576`, `16-256 by 16` or `any`.
    public var description: String {
        if minimum <= 1 && maximum == nil && multiple == 1 { return "any" }
        let range = maximum.map { "\(minimum)-\($0)" } ?? "\(minimum)+"
        return multiple == 1 ? range : "\(range) by \(multiple)"
    }
}

/// One implementation of a method, for an instruction set and element types.
public struct VariantInfo: Hashable, Sendable {
    /// E.g. `longhand.flash.f32.avx2/1`.
    public let id: String
    public let summary: String
    /// What the host must offer.
    public let isa: InstructionSet
    /// Accepted element types of queries; nil: it does not look at them. Likewise for the next two.
    public let queryTypes: [ElementType]?
    public let kvTypes: [ElementType]?
    public let outputTypes: [ElementType]?
    public let headDimensions: HeadDimensionRule
    /// nil for a class that this library does not know.
    public let exactness: Exactness?

    init(_ variant: lhk_variant) {
        func types(_ mask: UInt64) -> [ElementType]? { mask == 0 ? nil : ElementType.members(of: mask) }
        id = String(cString: variant.id)
        summary = String(cString: variant.summary)
        isa = InstructionSet(rawValue: variant.isa_required)
        queryTypes = types(variant.query_dtypes)
        kvTypes = types(variant.kv_dtypes)
        outputTypes = types(variant.output_dtypes)
        let isBounded = variant.head_dim_max != 0 && variant.head_dim_max != .max
        headDimensions = HeadDimensionRule(
            minimum: Int(variant.head_dim_min), maximum: isBounded ? Int(variant.head_dim_max) : nil,
            multiple: max(1, Int(variant.head_dim_multiple)))
        exactness = Exactness(rawValue: variant.exactness)
    }

    /// Name of the highest instruction-set level that it needs, or `scalar`.
    public var isaName: String { isa.names.last ?? "scalar" }

    /// Whether `host` offers the instruction sets it needs.
    public func isAvailable(on host: KernelHost) -> Bool { host.isa.isSuperset(of: isa) }
}

/// A registered method: what the command line and configurations call by name.
public struct MethodInfo: Hashable, Sendable {
    public let role: Role
    public let name: String
    public let version: String
    /// One line: what it does, its options, its source.
    public let summary: String
    /// The plugin's file, or `built-in`.
    public let origin: String
    public let pluginID: String
    public let pluginVersion: String
    public let variants: [VariantInfo]

    init?(_ registration: lhk_registration) {
        let method = registration.method.pointee
        let plugin = registration.plugin.pointee
        guard let role = Role(id: String(cString: method.role)) else { return nil }
        self.role = role
        name = String(cString: method.name)
        version = String(cString: method.version)
        summary = String(cString: method.summary)
        origin = String(cString: registration.origin)
        pluginID = String(cString: plugin.id)
        pluginVersion = String(cString: plugin.version)
        variants = (0..<Int(method.variant_count)).map { VariantInfo(method.variants[$0].pointee) }
    }
}

/// A plugin file that was not taken.
public struct Rejection: Hashable, Sendable, CustomStringConvertible {
    public let path: String
    /// One line.
    public let reason: String

    public var description: String { "\(path): \(reason)" }
}
