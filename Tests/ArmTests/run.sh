#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Compiles the C code for AArch64 with every compiler at hand (gcc's cross compiler, clang) and runs its tests under
# qemu-aarch64: with everything the emulator offers, and as processors without the BF16 extension. Needs the Debian packages
# gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user. Prints the seed, a line for each check, and ends with
# `N passed, N failed`. Exit code 1 when a check failed, 2 when something is missing. KEEP=1 keeps the work folder.
#
#   LONGHAND_FUZZ_SEED=S LONGHAND_FUZZ_FIRST=I LONGHAND_FUZZ_CASES=N Tests/ArmTests/run.sh
set -uo pipefail  # no -e: a failed check is counted, and the rest goes on

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
seed=${LONGHAND_FUZZ_SEED:-20260301} first=${LONGHAND_FUZZ_FIRST:-0} cases=${LONGHAND_FUZZ_CASES:-300}
jobs=$(nproc)
sysroot=/usr/aarch64-linux-gnu
golden=Tests/LayersTests/Golden/dequantize.bin

die() {
    echo "ArmTests: $*" >&2
    exit 2
}

[[ "$seed $first $cases" =~ ^[0-9]+\ [0-9]+\ [1-9][0-9]*$ ]] ||
    die "LONGHAND_FUZZ_SEED, _FIRST and _CASES are '$seed', '$first', '$cases': not numbers, or no cases"
command -v aarch64-linux-gnu-gcc >/dev/null || die "aarch64-linux-gnu-gcc is missing: apt-get install gcc-aarch64-linux-gnu"
command -v qemu-aarch64 >/dev/null || die "qemu-aarch64 is missing: apt-get install qemu-user"
[[ -e $sysroot/include/stdio.h ]] || die "headers for AArch64 are missing: apt-get install libc6-dev-arm64-cross"

work=$(mktemp -d "${TMPDIR:-/tmp}/longhand-arm-tests.XXXXXX") || exit 2
trap '[[ ${KEEP:-} ]] && echo "kept $work" >&2 || rm -rf "$work"' EXIT
trap 'exit 2' INT TERM HUP
export TMPDIR=$work
unset LONGHAND_ISA
passed=0 failed=0

result() { # PASS|FAIL NAME
    echo "$1 $2"
    if [[ $1 == PASS ]]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

source Tests/CTests/sources.sh
flags+=(-O3 -fvisibility=hidden)

# build NAME COMPILER...: objects, what they include, and the test program, which gcc links in either case.
build() {
    local name=$1
    shift
    mkdir "$work/$name"
    printf '%s\n' "${sources[@]}" |
        xargs -P "$jobs" -I {} bash -c 'source=$1 to=$2/${1//\//_} && shift 2 && "$@" -MD -MF "$to.d" -c "$source" -o "$to.o"' \
            _ {} "$work/$name" "$@" "${flags[@]}" >"$work/$name.log" 2>&1 &&
        aarch64-linux-gnu-gcc "$work/$name"/*.o -lgomp -lpthread -ldl -lm -o "$work/$name/driver" >>"$work/$name.log" 2>&1
    local code=$? headers
    if ((code)); then
        result FAIL "$name: compiles for AArch64"
        head -n 30 "$work/$name.log" | sed 's/^/    /'
        return 1
    fi
    result PASS "$name: compiles for AArch64 without a warning (${#sources[@]} files)"
    headers=$(cat "$work/$name"/*.d | tr -s ' \\' '\n' | grep -E '(^|/)([a-z]mmintrin|[a-z0-9]*intrin|cpuid|cpufeature)\.h$' | sort -u)
    if [[ $headers ]]; then result FAIL "$name: includes headers of x86: $headers"; else result PASS "$name: no header of x86"; fi
}

# run BUILD CPU LEVEL PART: one part of the test program; its lines, and a failure when it ends any other way.
run() {
    local name="$1 $2 $4" code=0
    [[ -x $work/$1/driver ]] || return 0
    qemu-aarch64 -L "$sysroot" -cpu "$2" "$work/$1/driver" "$4" "$seed" "$first" "$cases" "$3" "$golden" >"$work/$name.out" 2>&1 ||
        code=$?
    sed -i -E "s/^(PASS|FAIL) /\1 $1, $2: /" "$work/$name.out"
    if ((code > 1)) || { ((code == 1)) && ! grep -q '^FAIL ' "$work/$name.out"; } || ! grep -qE '^(PASS|FAIL) ' "$work/$name.out"; then
        echo "FAIL $1, $2: $4 ended with code $code" >>"$work/$name.out"
    fi
    cat "$work/$name.out"
}

echo "seed $seed, cases $first to $((first + cases - 1)); LONGHAND_FUZZ_SEED, _FIRST and _CASES choose others"
build gcc aarch64-linux-gnu-gcc
if command -v clang >/dev/null; then build clang clang --target=aarch64-linux-gnu -isystem "$sysroot/include"; fi

# The longest first. Processors: all extensions; the plain baseline; one with the dot products of integers only.
runs=("gcc max neon_bf16 registry:store" "gcc max neon_bf16 registry:attention" "gcc max neon_bf16 registry:selector"
    "gcc max neon_bf16 registry:position" "gcc max neon_bf16 corpus"
    "gcc max neon_bf16 random" "clang max neon_bf16 random" "gcc cortex-a57 neon random"
    "gcc max neon_bf16 units" "clang max neon_bf16 units" "gcc cortex-a57 neon units" "gcc neoverse-n1 neon_dotprod units")
export -f run
export work sysroot seed first cases golden
printf '%s\n' "${runs[@]}" | xargs -P "$jobs" -I {} bash -c 'run $1' _ {} | tee "$work/all.out"
passed=$((passed + $(grep -c '^PASS ' "$work/all.out"))) failed=$((failed + $(grep -c '^FAIL ' "$work/all.out")))
echo "$passed passed, $failed failed"
((failed == 0))
