#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the C code and its tests (Tests/CTests) with clang's sanitizers and runs them on this processor: every registered
# variant through the checker, old bugs and random problems for the direct call, caches, layers. Kernels run on several
# threads of a pool that the thread sanitizer follows. Each sanitizer is first shown a fault that it must report. Ends with
# `N passed, N failed`; exit code 1 when a check failed, 2 when something is missing. KEEP=1 keeps the work folder.
#
#   Tests/SanitizerTests/run.sh [--cases N] [--jobs N] [SANITIZER...]
#
# SANITIZER: address (with undefined) and thread, which are the default, or memory, see README.md.
# LONGHAND_FUZZ_SEED and LONGHAND_FUZZ_FIRST choose other cases.
set -uo pipefail  # no -e: a failed check is counted, and the rest goes on

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
cases=40 jobs=$(nproc) sanitizers=()
seed=${LONGHAND_FUZZ_SEED:-20260301} first=${LONGHAND_FUZZ_FIRST:-0}
golden=Tests/LayersTests/Golden/dequantize.bin

die() {
    echo "SanitizerTests: $*" >&2
    exit 2
}

while (($#)); do
    case $1 in
        --cases) cases=${2:-} && shift ;;
        --jobs) jobs=${2:-} && shift ;;
        address | thread | memory) sanitizers+=("$1") ;;
        *) die "usage: run.sh [--cases N] [--jobs N] [address|thread|memory ...]" ;;
    esac
    shift || die "a number is missing"
done
((${#sanitizers[@]})) || sanitizers=(address thread)
[[ "$seed $first $cases $jobs" =~ ^[0-9]+\ [0-9]+\ [1-9][0-9]*\ [1-9][0-9]*$ ]] ||
    die "seed, first case, cases and jobs are '$seed', '$first', '$cases', '$jobs': not numbers, or none"
# The clang of Swift's toolchain, if there is one: it has all runtimes, and Swift's own code is built with the same.
toolchain=$(command -v swiftc) && PATH=$(dirname "$(realpath "$toolchain")"):$PATH
command -v clang >/dev/null || die "clang is missing; the one of the Swift toolchain will do"

work=$(mktemp -d "${TMPDIR:-/tmp}/longhand-sanitizers.XXXXXX") || exit 2
trap '[[ ${KEEP:-} ]] && echo "kept $work" >&2 || rm -rf "$work"' EXIT
trap 'exit 2' INT TERM HUP
export TMPDIR=$work
unset LONGHAND_ISA
omp=$(find /usr/lib /usr/local/lib -name 'libomp5.so' -o -name 'libomp.so' 2>/dev/null | head -n 1)
[[ $omp ]] || die "libomp is missing: apt-get install libomp-dev"

source Tests/CTests/sources.sh
flags+=("${sanitizer_flags[@]}" -DDRIVER_SANITIZED)

options_of() { # SANITIZER: flags of the compiler
    case $1 in
        address) echo "-fsanitize=address,undefined -fno-sanitize-recover=all" ;;
        memory) # arguments are followed, not judged: what memory.ignore names may be given anything
            echo "-fsanitize=memory -fsanitize-memory-track-origins -fno-sanitize-memory-param-retval" \
                "-fsanitize-ignorelist=Tests/SanitizerTests/memory.ignore"
            ;;
        *) echo "-fsanitize=$1" ;;
    esac
}

# Swift's thread sanitizer knows libdispatch and wants it at hand.
dispatch=$(dirname "$(realpath "$(command -v clang)")")/../lib/swift/linux
[[ -e $dispatch/libdispatch.so ]] && libraries=(-L"$dispatch" -Wl,-rpath,"$dispatch" -ldispatch -lBlocksRuntime) || libraries=()
libraries+=("$omp" -lpthread -ldl -lm)

# build SANITIZER: the test program and the one with faults.
build() {
    local to=$work/$1 options
    read -ra options <<<"$(options_of "$1")"
    mkdir "$to"
    printf '%s\n' "${sources[@]}" Tests/SanitizerTests/faults.c |
        xargs -P "$jobs" -I {} bash -c 'source=$1 to=$2/${1//\//_}.o && shift 2 && "$@" -c "$source" -o "$to"' \
            _ {} "$to" clang "${flags[@]}" "${options[@]}" >"$to.log" 2>&1 || return
    mv "$to/Tests_SanitizerTests_faults.c.o" "$to.faults.o"
    clang "${options[@]}" -fuse-ld=lld "$to"/*.o "${libraries[@]}" -o "$to/driver" >>"$to.log" 2>&1 &&
        clang "${options[@]}" -fuse-ld=lld "$to.faults.o" "$to/Tests_CTests_threads.c.o" "$to"/CKernels_*.o \
            "${libraries[@]}" -o "$to/faults" >>"$to.log" 2>&1
}

# shows SANITIZER FAULT TEXT: the fault is reported, in these words.
shows() {
    local out=$work/$1.fault
    "$work/$1/faults" "$2" >"$out" 2>&1 && { echo "FAIL $1: a fault passes unnoticed: $2" && return; }
    if grep -q "$3" "$out"; then echo "PASS $1: a fault is reported: $2"; else echo "FAIL $1: $2 ended otherwise: $(head -n 3 "$out")"; fi
}

show_faults() {
    case $1 in
        address) shows address overflow heap-buffer-overflow && shows address shift 'shift exponent' ;;
        thread) shows thread race 'data race' ;;
        memory) shows memory uninitialised use-of-uninitialized-value ;;
    esac
}

# run SANITIZER PART: one part of the test program. Its failures and their reports; one line when all of it passed.
run() {
    local out="$work/$1-$2.out" code=0
    "$work/$1/driver" "$2" "$seed" "$first" "$cases" any "$golden" >"$out" 2>&1 || code=$?
    if ((code == 0)) && grep -qE '^PASS ' "$out" && ! grep -qE '^FAIL |(WARNING|ERROR|SUMMARY): .*Sanitizer|runtime error:' "$out"; then
        echo "PASS $1: $2, $(grep -c '^PASS ' "$out") checks in $SECONDS s"
    else
        echo "FAIL $1: $2 ended with code $code"
        grep -v '^PASS ' "$out" | head -n 60 | sed 's/^/    /'
    fi
}

for sanitizer in "${sanitizers[@]}"; do
    build "$sanitizer" || { head -n 30 "$work/$sanitizer.log" | sed 's/^/    /' && die "$sanitizer: does not build with this clang"; }
done
for sanitizer in "${sanitizers[@]}"; do show_faults "$sanitizer"; done | tee "$work/all.out"
export -f run
export work seed first cases golden
export UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=exitcode=66 ASAN_OPTIONS=allow_user_segv_handler=1
for part in registry corpus random units; do printf "%s $part\n" "${sanitizers[@]}"; done |
    xargs -P "$jobs" -I {} bash -c 'run $1' _ {} | tee -a "$work/all.out"
passed=$(grep -c '^PASS ' "$work/all.out") failed=$(grep -c '^FAIL ' "$work/all.out")
echo "$passed passed, $failed failed"
((failed == 0))
