// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Foundation
import LonghandRope
import LonghandTestSupport

/// Levels of this CPU, read from the kernel rather than from the code under test.
let hardwareISA: lhk_isa = {
    var isa: lhk_isa = LHK_ISA_SCALAR
    #if os(Linux) && arch(x86_64)
    let info = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
    let line = info.split(separator: "\n").first { $0.hasPrefix("flags") } ?? ""
    let flags = Set(line.split(separator: " "))
    if flags.isSuperset(of: ["avx2", "fma", "f16c"]) { isa |= LHK_ISA_AVX2 }
    if flags.isSuperset(of: ["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512dq"]) {
        isa |= LHK_ISA_AVX512
    }
    #endif
    return isa
}()

/// A host without threads. With several "workers" it runs the tasks backwards under changing worker numbers, which no
/// result may notice.
func makeHost(isa: lhk_isa = hardwareISA, workers: UInt32 = 1) -> lhk_host {
    var host = lhk_host()
    host.struct_size = UInt32(MemoryLayout<lhk_host>.size)
    host.workers = workers
    host.isa = isa
    if workers > 1 {
        host.parallel_for = { _, tasks, task, context in
            for index in (0..<tasks).reversed() { task(context, index, UInt32(index % 3)) }
        }
    }
    return host
}

/// A strided [tokens][heads][dim] view whose storage around the rows is filled with a canary.
final class Rows {
    static let canary: UInt8 = 0xA5
    let bytes: UnsafeMutableRawBufferPointer
    let dtype: lhk_dtype
    let shape: [Int]
    let stride: [Int]

    /// Padding is in elements, between heads and between tokens; `headsFirst` lays heads out in the outer dimension.
    init(
        _ tokens: Int, _ heads: Int, _ dim: Int, dtype: lhk_dtype = LHK_DTYPE_F32, padding: Int = 0,
        headsFirst: Bool = false
    ) {
        shape = [tokens, heads, dim]
        let row = dim + padding
        stride = headsFirst ? [row, row * tokens + padding, 1] : [row * heads + padding, row, 1]
        self.dtype = dtype
        let elements = headsFirst ? stride[1] * heads : stride[0] * tokens
        bytes = .allocate(byteCount: (elements + 1) * (dtype == LHK_DTYPE_F32 ? 4 : 2), alignment: 64)
        bytes.initializeMemory(as: UInt8.self, repeating: Self.canary)
    }

    deinit { bytes.deallocate() }

    var tensor: lhk_tensor {
        var tensor = lhk_tensor()
        tensor.data = bytes.baseAddress
        tensor.dtype = dtype
        tensor.rank = 3
        tensor.shape = (Int64(shape[0]), Int64(shape[1]), Int64(shape[2]), 0)
        tensor.stride = (Int64(stride[0]), Int64(stride[1]), 1, 0)
        return tensor
    }

    func index(_ i: Int, _ h: Int, _ d: Int) -> Int { i * stride[0] + h * stride[1] + d }

    /// The bits of element (i, h, d) as they are stored.
    func bits(_ i: Int, _ h: Int, _ d: Int) -> UInt32 {
        let at = index(i, h, d)
        return dtype == LHK_DTYPE_F32
            ? bytes.load(fromByteOffset: at * 4, as: UInt32.self)
            : UInt32(bytes.load(fromByteOffset: at * 2, as: UInt16.self))
    }

    subscript(i: Int, h: Int, d: Int) -> Float {
        get {
            let bits = bits(i, h, d)
            switch dtype {
            case LHK_DTYPE_F32: return Float(bitPattern: bits)
            case LHK_DTYPE_BF16: return Float(bitPattern: bits << 16)
            default: return Float(Float16(bitPattern: UInt16(bits)))
            }
        }
        set {
            let at = index(i, h, d)
            switch dtype {
            case LHK_DTYPE_F32: bytes.storeBytes(of: newValue, toByteOffset: at * 4, as: Float.self)
            case LHK_DTYPE_BF16:
                bytes.storeBytes(of: UInt16(newValue.bitPattern >> 16), toByteOffset: at * 2, as: UInt16.self)
            default: bytes.storeBytes(of: Float16(newValue).bitPattern, toByteOffset: at * 2, as: UInt16.self)
            }
        }
    }

    func forEach(_ body: (Int, Int, Int) -> Void) {
        for i in 0..<shape[0] { for h in 0..<shape[1] { for d in 0..<shape[2] { body(i, h, d) } } }
    }

    func fill(_ generator: inout SeededGenerator) {
        forEach { self[$0, $1, $2] = Float.random(in: -4...4, using: &generator) }
    }

    /// All bits of the rows in logical order.
    var allBits: [UInt32] {
        var all: [UInt32] = []
        forEach { all.append(bits($0, $1, $2)) }
        return all
    }

    /// Whether everything around the rows is untouched.
    var canaryIntact: Bool {
        let size = dtype == LHK_DTYPE_F32 ? 4 : 2
        var used = Set<Int>()
        forEach { used.insert(index($0, $1, $2)) }
        return (0..<bytes.count / size).allSatisfy { element in
            used.contains(element) || (0..<size).allSatisfy { bytes[element * size + $0] == Self.canary }
        }
    }
}
