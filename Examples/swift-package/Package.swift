// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
import PackageDescription

let package = Package(
    name: "attend",
    dependencies: [
        .package(url: "file:///path/to/longhand", from: "0.1.0")  // a clone with a tag 0.1.0, or its address
    ],
    targets: [
        .executableTarget(
            name: "attend",
            dependencies: [
                .product(name: "Longhand", package: "longhand"),
                // Plugins are found beside the executable; naming them here has them built.
                .product(name: "LonghandDenseStorePlugin", package: "longhand"),
                .product(name: "LonghandFlashAttentionPlugin", package: "longhand"),
                .product(name: "LonghandRopePlugin", package: "longhand"),
                .product(name: "LonghandWindowPlugin", package: "longhand"),
            ])
    ]
)
