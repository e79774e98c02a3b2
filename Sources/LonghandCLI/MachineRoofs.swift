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

    /// The compute roof that binds `op`: that of the dot product in the attention's variant, else f32.
    func compute(_ op: Operator, attention: String) -> Compute? {
        guard op == .attend else { return f32 }
        if attention.contains(".avx512bf16") || attention.contains(".neon_bf16") { return bf16 }
        return f32
    }
}
