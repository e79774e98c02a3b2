// SPDX-License-Identifier: Apache-2.0
import CLonghand
import Longhand
import LonghandBench
import LonghandModel

/// What this machine can do at most with the workers and instruction sets of a host, measured.
struct MachineRoofs: Encodable {
    struct Compute: Encodable {
        let gigaflops: Double
        let instruction: String
    }
    let f32, bf16, int8: Compute?
    /// Reading DRAM through 2 MiB pages where the system gives them.
    let readGigabytes: Double

    /// Takes about a second.
    init(host: KernelHost) throws {
        func compute(_ type: lhk_dtype) -> Compute? {
            "".withCString { unnamed in
                var name = unnamed
                let rate = lhk_roof_compute(host.raw, type, &name)
                return rate > 0 ? Compute(gigaflops: rate, instruction: String(cString: name)) : nil
            }
        }
        (f32, bf16, int8) = (compute(LHK_DTYPE_F32), compute(LHK_DTYPE_BF16), compute(LHK_DTYPE_I8))
        let memory = try BenchMemory(256 << 20, huge: true, host: host)
        readGigabytes = memory.read(tries: 5)
        guard readGigabytes > 0 else { throw Failure("the speed of reading memory cannot be measured") }
    }

    /// The compute roof that binds `op`: that of the dot products in the attention's variant, of bytes for linear layers
    /// whose activations are rounded to `linearBits` (nil: they are not), else f32.
    func compute(_ op: Operator, attention: String, linearBits: Int32?) -> Compute? {
        switch op {
        case .attend:
            guard attention.contains(".avx512bf16") || attention.contains(".neon_bf16"), let bf16 else { return f32 }
            guard attention.contains(".i8."), let int8 else { return bf16 }
            // Half of the work is scores in bytes, half is values in bf16.
            return Compute(
                gigaflops: 2 / (1 / int8.gigaflops + 1 / bf16.gigaflops), instruction: "\(int8.instruction), \(bf16.instruction)")
        case .qkv, .output, .gateUp, .down, .logits:
            guard let linearBits, let int8 else { return f32 }
            guard linearBits > 8 else { return int8 }
            return Compute(gigaflops: int8.gigaflops / 2, instruction: "2 \(int8.instruction)")  // two bytes per activation
        default: return f32
        }
    }
}
