// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

/// The kernel families: the folders `CKernels/<Name>` with an `Entry/entry.c`, each built as a plugin
/// `libLonghand<Name>Plugin.so` that the `longhand` command discovers at run time. The only list of them: all else looks at
/// the folders (SwiftPM keeps what a manifest said until its text changes, so a manifest cannot), and the tests compare.
let families = [
    "Adamas", "Baselines", "CommVQ", "DenseStore", "FlashAttention", "Kivi", "QuantStore", "Rope", "Sale", "Window",
]

/// One set of flags for all of our C: warnings are errors, symbols are private unless a header exports them, and
/// contraction is left to the kernels, which ask for FMA by name.
let cSettings: [CSetting] = [
    .unsafeFlags(["-std=c17", "-O3", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno"]),
    .headerSearchPath("../Common/include"),
    .unsafeFlags(["-Wall", "-Wextra", "-Wvla", "-Wstrict-prototypes", "-Wno-unknown-pragmas", "-Werror"]),
]
let swiftSettings: [SwiftSetting] = [.swiftLanguageMode(.v6)]

var targets: [Target] = [
    .target(name: "CLonghand", path: "include", publicHeadersPath: "."),
    .target(
        name: "LonghandCommon", dependencies: ["CLonghand"], path: "CKernels/Common", cSettings: cSettings,
        linkerSettings: [.linkedLibrary("omp5", .when(platforms: [.linux])), .linkedLibrary("dl"), .linkedLibrary("m")]),
    .target(
        name: "LonghandLayers", dependencies: ["CLonghand", "LonghandCommon"], path: "CKernels/Layers",
        cSettings: cSettings, linkerSettings: [.linkedLibrary("dl"), .linkedLibrary("m")]),
    .target(
        name: "LonghandLinear", dependencies: ["CLonghand", "LonghandCommon"], path: "CKernels/Linear", cSettings: cSettings,
        linkerSettings: [.linkedLibrary("m")]),
    // Checks of everything a registry holds: problems, guarded memory, bounds and laws; for `longhand verify` and tests.
    .target(
        name: "LonghandVerify", dependencies: ["CLonghand", "LonghandCommon"], path: "CKernels/Verify",
        cSettings: cSettings, linkerSettings: [.linkedLibrary("m")]),
    // Roofs of this machine and timing of single variants, for `longhand bench` and `longhand run --profile`.
    .target(
        name: "LonghandBench", dependencies: ["CLonghand", "LonghandCommon"], path: "Benchmarks/Kernels",
        cSettings: cSettings + [
            .headerSearchPath("../../CKernels/Common/include"), .headerSearchPath("../../CKernels/Common"),
        ]),
    .target(name: "Longhand", dependencies: ["CLonghand", "LonghandCommon"], swiftSettings: swiftSettings),
    .target(
        name: "LonghandModel",
        dependencies: ["CLonghand", "Longhand", "LonghandCommVQ", "LonghandLayers", "LonghandLinear"],
        swiftSettings: swiftSettings),
    .executableTarget(
        name: "LonghandCLI",
        dependencies: [
            "CLonghand", "Longhand", "LonghandBench", "LonghandModel", "LonghandVerify",
            .product(name: "ArgumentParser", package: "swift-argument-parser"),
            .product(name: "Logging", package: "swift-log"),
        ],
        swiftSettings: swiftSettings),
    .testTarget(
        name: "LonghandModelTests", dependencies: ["CLonghand", "Longhand", "LonghandLayers", "LonghandModel"], resources: [.copy("Golden")],
        swiftSettings: swiftSettings),
    .testTarget(
        name: "EvaluationTests", dependencies: ["CLonghand", "Longhand", "LonghandLayers", "LonghandModel"],
        swiftSettings: swiftSettings),
    .testTarget(
        name: "LayersTests", dependencies: ["CLonghand", "LonghandLayers", "LonghandLinear"], exclude: ["Golden", "generate_golden.py"],
        swiftSettings: swiftSettings),
    // Runs the built `longhand` as a child process.
    .testTarget(name: "CommandLineTests", dependencies: ["Longhand", "LonghandModel"], swiftSettings: swiftSettings),
    .testTarget(
        name: "AdamasTests",
        dependencies: [
            "CLonghand", "Longhand", "LonghandAdamas", "LonghandCommon", "LonghandDenseStore", "LonghandFlashAttention",
            "LonghandModel", "LonghandWindow",
        ],
        swiftSettings: swiftSettings),
    .testTarget(
        name: "BaselinesTests",
        dependencies: [
            "CLonghand", "Longhand", "LonghandBaselines", "LonghandCommon", "LonghandDenseStore", "LonghandFlashAttention",
            "LonghandTestSupport", "LonghandWindow",
        ],
        swiftSettings: swiftSettings),
    .testTarget(
        name: "CommVQTests",
        dependencies: [
            "CLonghand", "Longhand", "LonghandCommVQ", "LonghandCommon", "LonghandDenseStore", "LonghandFlashAttention",
            "LonghandModel", "LonghandRope", "LonghandTestSupport", "LonghandWindow",
        ],
        swiftSettings: swiftSettings),
    .testTarget(
        name: "KiviTests", dependencies: ["CLonghand", "LonghandCommon", "LonghandKivi", "LonghandTestSupport"],
        swiftSettings: swiftSettings),
    .testTarget(
        name: "QuantStoreTests", dependencies: ["CLonghand", "LonghandCommon", "LonghandQuantStore", "LonghandTestSupport"],
        swiftSettings: swiftSettings),
    .testTarget(
        name: "RopeTests", dependencies: ["CLonghand", "LonghandRope", "LonghandTestSupport"], swiftSettings: swiftSettings),
    .testTarget(
        name: "SaleTests", dependencies: ["CLonghand", "Longhand", "LonghandModel", "LonghandSale"], swiftSettings: swiftSettings),
    .testTarget(
        name: "WindowTests", dependencies: ["CLonghand", "LonghandTestSupport", "LonghandWindow"], swiftSettings: swiftSettings),
    // Errors of C calls, seeded numbers and instances of stores, for the tests of single families.
    .target(
        name: "LonghandTestSupport", dependencies: ["CLonghand", "LonghandCommon"], path: "Tests/Fixtures/Support",
        swiftSettings: swiftSettings),
    // Attention kernels for the fuzz harness of LonghandVerify: sound ones and one with faults.
    .target(
        name: "LonghandTestSubjects", dependencies: ["CLonghand", "LonghandFlashAttention", "LonghandVerify"],
        path: "Tests/Fixtures/Subjects",
        cSettings: cSettings + [
            .headerSearchPath("../../../CKernels/Common/include"), .headerSearchPath("../../../CKernels/Verify"),
        ],
        linkerSettings: [.linkedLibrary("m")]),
    .testTarget(
        name: "FlashAttentionTests",
        dependencies: [
            "CLonghand", "LonghandCommon", "LonghandFlashAttention", "LonghandTestSubjects", "LonghandTestSupport", "LonghandVerify",
        ],
        swiftSettings: swiftSettings),
    // Loads the built plugins.
    .testTarget(
        name: "VerifyTests", dependencies: ["CLonghand", "LonghandCommon", "LonghandVerify"], swiftSettings: swiftSettings),
    .testTarget(
        name: "LowPrecisionTests",
        dependencies: [
            "CLonghand", "Longhand", "LonghandCommon", "LonghandDenseStore", "LonghandFlashAttention", "LonghandWindow",
        ],
        swiftSettings: swiftSettings),
    // Test doubles of all roles, linked into the tests of the core.
    .target(
        name: "LonghandTestPlugin", dependencies: ["CLonghand", "LonghandCommon"], path: "Tests/Fixtures/TestPlugin",
        cSettings: cSettings + [.headerSearchPath("../../../CKernels/Common/include")]),
    .testTarget(
        name: "CoreTests", dependencies: ["Longhand", "LonghandCommon", "LonghandTestPlugin"],
        swiftSettings: swiftSettings),
]
var products: [Product] = [
    .library(name: "Longhand", targets: ["Longhand"]),
    .library(name: "LonghandModel", targets: ["LonghandModel"]),
    .executable(name: "longhand", targets: ["LonghandCLI"]),
]

for family in families {
    targets.append(
        .target(
            name: "Longhand\(family)", dependencies: ["CLonghand"], path: "CKernels/\(family)",
            exclude: ["Entry"], cSettings: cSettings + [.define("LHK_HIDE_API")], linkerSettings: [.linkedLibrary("m")]))
    targets.append(
        .target(
            name: "Longhand\(family)Entry", dependencies: ["CLonghand", .target(name: "Longhand\(family)")],
            path: "CKernels/\(family)/Entry", publicHeadersPath: ".", cSettings: cSettings))
    products.append(
        .library(name: "Longhand\(family)Plugin", type: .dynamic, targets: ["Longhand\(family)Entry"]))
}

let package = Package(
    name: "longhand",
    products: products,
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    ],
    targets: targets
)
