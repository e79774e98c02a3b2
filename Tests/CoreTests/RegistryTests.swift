// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import Longhand
import LonghandTestPlugin
import Testing

@Suite struct RegistryTests {
    @Test func listsMethodsByRoleThenName() throws {
        let methods = try doubles().methods
        #expect(
            methods.map { "\($0.role) \($0.name)" } == [
                "attention naive", "position shift", "selector all", "selector recent", "store plain",
            ])
        let store = try #require(methods.last)
        #expect(store.origin == "built-in")
        #expect(store.pluginID == "test.doubles")
        #expect(store.version == "1.0.0")
        let variant = try #require(store.variants.first)
        #expect(variant.id == "test.plain/1")
        #expect(variant.isaName == "scalar")
        #expect(variant.exactness == .exact)
        #expect(variant.queryTypes == nil)
        #expect(variant.headDimensions.description == "any")
        #expect(variant.isAvailable(on: try KernelHost.serial()))
    }

    @Test func registeringAgainChangesNothing() throws {
        let registry = try doubles()
        let before = registry.methods
        try registry.register(plugin: lhk_test_plugin(), origin: "elsewhere")
        #expect(registry.methods == before)
    }

    @Test func allOrNone() throws {
        let registry = try doubles()
        // The tiny plugin of the test doubles' own names, of another id: its first method is new, its second taken.
        let taken = lhk_test_plugin().pointee
        let methods = UnsafeMutablePointer<UnsafePointer<lhk_method>>.allocate(capacity: 2)
        defer { methods.deallocate() }
        methods[0] = lhk_test_choice()
        methods[1] = taken.methods[0]
        var plugin = taken
        plugin.method_count = 2
        plugin.methods = UnsafePointer(methods)
        let id = strdup("test.other")!
        defer { free(id) }
        plugin.id = UnsafePointer(id)
        let error = failure { try registry.register(plugin: &plugin) }
        #expect(error?.status == .argument)
        #expect(error?.message.contains("store 'plain' is already registered by plugin 'test.doubles'") == true)
        #expect(!registry.methods.contains { $0.name == "choice" })
    }

    @Test func anotherVersionOfAPluginIsRefused() throws {
        let registry = try doubles()
        var plugin = lhk_test_plugin().pointee
        let version = strdup("2.0.0")!
        defer { free(version) }
        plugin.version = UnsafePointer(version)
        let error = failure { try registry.register(plugin: &plugin) }
        #expect(error?.message.contains("version 1.0.0 is already registered") == true)
    }

    @Test func everyFaultOfAPluginIsNamed() throws {
        let registry = try Registry()
        var fault: UInt32 = 0
        var expected: UnsafePointer<CChar>?
        while let plugin = lhk_test_faulty_plugin(fault, &expected) {
            let text = String(cString: expected!)
            let error = failure { try registry.register(plugin: plugin) }
            #expect(error?.status == .abi, "fault \(fault): \(text)")
            #expect(
                error?.message.contains(text) == true,
                "fault \(fault): '\(error?.message ?? "accepted")', not '\(text)'")
            fault += 1
        }
        #expect(fault > 30)
        #expect(registry.methods.isEmpty)
    }

    @Test func findNamesWhatIsThere() throws {
        func find(_ registry: Registry, _ role: String, _ name: String) -> LonghandError? {
            failure {
                var error = lhk_error()
                let result = UnsafeMutablePointer<lhk_registration>.allocate(capacity: 1)
                defer { result.deallocate() }
                let status = lhk_registry_find(registry.raw, role, name, result, &error)
                guard status != LHK_OK else { return }
                let text = withUnsafeBytes(of: error.text) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
                throw LonghandError(.init(rawValue: status), text)
            }
        }
        let registry = try doubles()
        #expect(find(registry, LHK_ROLE_SELECTOR, "recent") == nil)
        #expect(find(registry, LHK_ROLE_SELECTOR, "sale")?.message == "no selector 'sale'; known: all, recent")
        #expect(find(registry, LHK_ROLE_SELECTOR, "sale")?.status == .notFound)
        #expect(find(registry, "longhand.evictor/1", "x")?.message.contains("unknown role") == true)
        #expect(find(try Registry(), LHK_ROLE_STORE, "f32")?.message == "no store 'f32': no plugin was registered")
        let long = String(repeating: "n", count: 10_000)
        #expect(find(registry, LHK_ROLE_STORE, long)?.status == .notFound)
    }

    @Test func registrationFromManyThreads() throws {
        let registry = try Registry()
        DispatchQueue.concurrentPerform(iterations: 16) { _ in
            try? registry.register(plugin: lhk_test_plugin())
            _ = registry.methods
        }
        #expect(registry.methods.count == 5)
    }
}

@Suite struct ResolveTests {
    static func resolve(isa: InstructionSet, _ change: (inout lhk_problem) -> Void = { _ in }) -> (
        String?, LonghandError?
    ) {
        var host = lhk_host()
        host.struct_size = UInt32(MemoryLayout<lhk_host>.size)
        host.workers = 1
        host.isa = isa.rawValue
        var problem = lhk_problem()
        problem.struct_size = UInt32(MemoryLayout<lhk_problem>.size)
        problem.query_heads = 4
        problem.kv_heads = 2
        problem.head_dim_k = 16
        problem.head_dim_v = 16
        problem.query_dtype = LHK_DTYPE_F32
        problem.output_dtype = LHK_DTYPE_F32
        problem.query_rows = 1
        problem.keys = 1
        change(&problem)
        var error = lhk_error()
        let result = UnsafeMutablePointer<UnsafePointer<lhk_variant>?>.allocate(capacity: 1)
        defer { result.deallocate() }
        result.initialize(to: nil)
        let status = lhk_method_resolve(lhk_test_choice(), &problem, &host, result, &error)
        guard status != LHK_OK else { return (String(cString: result.pointee!.pointee.id), nil) }
        let text = withUnsafeBytes(of: error.text) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        return (nil, LonghandError(.init(rawValue: status), text))
    }

    @Test func cheapestOfTheMostExact() {
        #expect(Self.resolve(isa: []).0 == "test.first/1")
        #expect(Self.resolve(isa: [.avx2]).0 == "test.second/1")
        #expect(Self.resolve(isa: [.avx2, .avx512]).0 == "test.second/1")
        #expect(Self.resolve(isa: [.avx512]).0 == "test.first/1", "a cheaper heuristic must not displace an exact one")
        #expect(Self.resolve(isa: [.avx512]) { $0.head_dim_k = 7 }.0 == "test.third/1")
    }

    @Test func closestReason() {
        let dims = Self.resolve(isa: []) { $0.head_dim_v = 72 }.1
        #expect(dims?.status == .unsupported)
        #expect(dims?.message == "variant test.first/1: head dimension 72 is not in 8 to 64, a multiple of 8")
        #expect(Self.resolve(isa: []) { $0.head_dim_k = 12 }.1?.message.contains("head dimension 12") == true)
        let types = Self.resolve(isa: []) { $0.kv_dtype = LHK_DTYPE_BF16 }.1
        #expect(types?.message.contains("keys and values of type bf16 are not supported") == true)
    }

    @Test func unknownOption() {
        let key = strdup("colour")!
        defer { free(key) }
        var option = lhk_option(key: key, value: key)
        withUnsafePointer(to: &option) { option in
            let error = Self.resolve(isa: []) {
                $0.options = option
                $0.option_count = 1
            }.1
            #expect(error?.status == .argument)
            #expect(error?.message == "choice has no option 'colour'")
        }
    }

    @Test func impossibleProblems() {
        let changes: [(inout lhk_problem) -> Void] = [
            { $0.struct_size = 8 }, { $0.kv_heads = 0 }, { $0.query_heads = 5 }, { $0.head_dim_k = 0 },
            { $0.head_dim_v = 0 }, { $0.keys = -1 }, { $0.query_rows = -1 }, { $0.option_count = 1 },
        ]
        for change in changes { #expect(Self.resolve(isa: [], change).1?.status == .argument) }
    }
}
