# SPDX-License-Identifier: Apache-2.0
# Sourced from the root of the repository: all kernels, what the test program in C is made of, the flags for both, and those
# that go with a sanitizer.
source Tests/CTests/families.sh
kernels=(CKernels/Common/*.c)
flags=(-std=c17 -ffp-contract=off -fno-math-errno -Wall -Wextra -Wvla -Wstrict-prototypes -Wno-unknown-pragmas -Werror
    -Iinclude -ICKernels/Common/include -ICKernels/Verify -ICKernels/Verify/include -ICKernels/Common
    -IBenchmarks/Kernels/include -ITests/Fixtures/Subjects/include "$linked_families")
# Sanitizers multiply the code of each statement: unrolled, one file would take minutes to compile.
sanitizer_flags=(-O1 -DLHK_NO_UNROLL -g -fno-omit-frame-pointer)
for family in "${families[@]}" Layers Linear; do
    kernels+=(CKernels/"$family"/*.c)
    flags+=(-ICKernels/"$family"/include)
done
sources=("${kernels[@]}" CKernels/Verify/*.c Benchmarks/Kernels/*.c Tests/Fixtures/Subjects/*.c Tests/CTests/*.c)
