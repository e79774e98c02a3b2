#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzz targets with clang's libFuzzer, address and undefined-behaviour sanitizer, and fuzzes each for some
# seconds. README.md lists them. Prints a line for each target and ends with `N passed, N failed`; an input that failed is
# kept in .build/fuzz/findings, what was learnt in .build/fuzz/corpus. Exit code 1 when a target failed, 2 when the targets
# cannot be built here.
#
#   Tests/FuzzTargets/run.sh [--seconds N] [--target NAME] [--jobs N] [--seed S]
#   Tests/FuzzTargets/run.sh --target NAME --replay FILE
set -uo pipefail  # no -e: a failed target is counted, and the rest goes on

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
root=$PWD
seconds=20 jobs=$(nproc) replay='' wanted=()
export seed=0  # of libFuzzer; 0: another each time, which its output tells
c_targets=(attention cache cache-file codebooks)
swift_targets=(gguf vocabulary tokenizer safetensors)

die() {
    echo "FuzzTargets: $*" >&2
    exit 2
}

while (($#)); do
    [[ $# -ge 2 ]] || die "usage: run.sh [--seconds N] [--target NAME] [--jobs N] [--seed S] [--replay FILE]"
    case $1 in
        --seconds) seconds=$2 ;;
        --target) wanted+=("$2") ;;
        --jobs) jobs=$2 ;;
        --seed) seed=$2 ;;
        --replay) replay=$(realpath -e "$2" 2>/dev/null) || die "no file $2" ;;
        *) die "unknown option $1" ;;
    esac
    shift 2
done
[[ $seed =~ ^[0-9]+$ ]] || die "--seed takes a number (0: another each time), not '$seed'"
[[ "$seconds $jobs" =~ ^[1-9][0-9]*\ [1-9][0-9]*$ ]] || die "--seconds and --jobs take positive numbers, not '$seconds' and '$jobs'"
for name in "${wanted[@]}"; do
    [[ " ${c_targets[*]} ${swift_targets[*]} " == *" $name "* ]] || die "no target '$name'; there are ${c_targets[*]} ${swift_targets[*]}"
done
((${#wanted[@]})) || wanted=("${c_targets[@]}" "${swift_targets[@]}")
[[ ! $replay || ${#wanted[@]} == 1 ]] || die "--replay takes exactly one --target"

work=$(mktemp -d "${TMPDIR:-/tmp}/longhand-fuzz.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 2' INT TERM HUP
unset LONGHAND_ISA
export LONGHAND_CACHE=${LONGHAND_CACHE:-$root/.cache/longhand}
# Swift's crash reporter would wait inside a process that libFuzzer is about to end.
export SWIFT_BACKTRACE=enable=no
export ASAN_OPTIONS=allocator_may_return_null=1:detect_stack_use_after_return=0 UBSAN_OPTIONS=print_stacktrace=1
# Plugin and registry live as long as the process.
export LSAN_OPTIONS=print_suppressions=0
kept=$root/.build/fuzz
mkdir -p "$kept/findings" || exit 2

needs() { [[ " ${wanted[*]} " =~ \ ($1)\  ]]; }

# The clang of Swift's toolchain, if there is one: it has all runtimes, and Swift's own code is built with the same.
toolchain=$(command -v swiftc) && PATH=$(dirname "$(realpath "$toolchain")"):$PATH
command -v clang >/dev/null || die "clang is missing; the one of the Swift toolchain will do"
echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && !n; }' >"$work/probe.c"
clang -fuse-ld=lld -fsanitize=fuzzer,address,undefined "$work/probe.c" -o "$work/probe" >"$work/probe.log" 2>&1 ||
    die "this clang cannot link libFuzzer with the sanitizers: $(grep -m 1 -i error "$work/probe.log" || head -n 1 "$work/probe.log")"
omp=$(find /usr/lib /usr/local/lib -name 'libomp5.so' -o -name 'libomp.so' 2>/dev/null | head -n 1)
[[ $omp ]] || die "libomp is missing: apt-get install libomp-dev"

# ---- C ----

source Tests/CTests/sources.sh
c_flags=("${flags[@]}" "${sanitizer_flags[@]}" -ICKernels/Common -fsanitize=fuzzer-no-link,address,undefined
    -fno-sanitize-recover=all)

# compile FOLDER SOURCE...: objects, several at a time.
compile() {
    local folder=$1
    shift
    mkdir -p "$folder"
    printf '%s\n' "$@" | xargs -P "$jobs" -I {} bash -c 'source=$1 to=$2/${1//\//_}.o && shift 2 && "$@" -c "$source" -o "$to"' \
        _ {} "$folder" clang "${c_flags[@]}"
}

# link_c NAME MACRO...: one target in C.
link_c() {
    local name=$1 own=$work/$1.o parts=()
    shift
    [[ $name != attention* ]] || parts=("$work/parts/"*.o)
    clang "${c_flags[@]}" "$@" -c "Tests/FuzzTargets/${name%-planted}.c" -o "$own" &&
        clang -fuse-ld=lld -fsanitize=fuzzer,address,undefined "$own" "${parts[@]}" "$work/c/"*.o "$omp" -ldl -lm -o "$work/$name"
}

build_c() {
    local name
    # Sizes near the limits of their types are what problem.c makes: its own sums of them may wrap, the kernels' may not.
    compile "$work/c" "${kernels[@]}" && c_flags+=(-fwrapv) && compile "$work/parts" Tests/FuzzTargets/problem.c || return
    for name in "${c_targets[@]}"; do link_c "$name" || return; done
    link_c attention-planted -DPLANTED_FAULT
}

# ---- Swift ----

swift_flags=(-O -wmo -parse-as-library -swift-version 6 -package-name longhand -module-cache-path "$work/modules" -I "$work"
    -Xcc -fmodule-map-file="$work/module.modulemap" -Xcc -I"$root/include" -sanitize=address)

# The readers, instrumented for coverage as the targets are: they use these folders of the model runner and no more.
compile_readers() {
    printf '%s\n' 'module LonghandCommon { export * }' \
        "module LonghandLayers { header \"$root/CKernels/Layers/include/longhand_layers.h\" export * }" >"$work/module.modulemap"
    local readers=(Sources/LonghandModel/{Chat,GGUF,Safetensors,Tokenizer}/*.swift Sources/LonghandModel/Model/LayerError.swift
        Sources/LonghandModel/Sampling/SplitMix64.swift)
    swiftc "${swift_flags[@]}" -emit-module -emit-module-path "$work/Longhand.swiftmodule" -module-name Longhand \
        -c Sources/Longhand/LonghandError.swift -o "$work/Longhand.o" &&
        swiftc "${swift_flags[@]}" -sanitize=fuzzer -enable-testing -emit-module \
            -emit-module-path "$work/LonghandModel.swiftmodule" -module-name LonghandModel -c "${readers[@]}" \
            -o "$work/LonghandModel.o"
}

# Needs the objects of build_c and compile_readers.
link_readers() {
    local name links=()
    for name in "${swift_targets[@]}"; do
        link_swift "$name" &
        links+=($!)
    done
    link_swift safetensors-planted -D PLANTED_FAULT || return
    for name in "${links[@]}"; do wait "$name" || return; done
}

# link_swift NAME OPTION...: one target in Swift.
link_swift() {
    local name=$1
    shift
    swiftc "${swift_flags[@]}" -sanitize=fuzzer "$@" -module-name FuzzTarget Tests/FuzzTargets/FuzzInput.swift \
        "Tests/FuzzTargets/${name%-planted}.swift" Tests/LonghandModelTests/Support/{GGUFWriter,ReadEverything,SmallFiles}.swift \
        "$work/LonghandModel.o" "$work/Longhand.o" "$work/c/"*.o "$omp" \
        -use-ld=lld -Xclang-linker -fsanitize=undefined -lm -ldl -o "$work/$name"
}

# ---- runs ----

# fuzz NAME SECONDS: fuzzes one target on its kept corpus and its seeds.
fuzz() {
    local name=$1 limit=$2 log=$work/$1.log corpus=$kept/corpus/$1
    mkdir -p "$corpus" "$work/seeds/$name"
    "$work/$name" --seeds "$work/seeds/$name" >"$log" 2>&1 || return
    "$work/$name" "$corpus" "$work/seeds/$name" -seed="$seed" -max_total_time="$limit" -timeout=20 -rss_limit_mb=3000 -max_len=16384 \
        -artifact_prefix="$kept/findings/$name-" -print_final_stats=1 >>"$log" 2>&1
}

# judge NAME: fuzzes, and says how it went.
judge() {
    local name=$1 code=0 log=$work/$1.log counters runs covered
    fuzz "$name" "$seconds" || code=$?
    counters=$(grep -oP '\d+(?= inline 8-bit counters)' "$log" | tail -n 1)
    runs=$(grep -oP 'number_of_executed_units: *\K\d+' "$log")
    covered=$(grep -oP 'cov: \K\d+' "$log" | tail -n 1)
    # Without coverage of the code under test, libFuzzer would be blind.
    if ((code == 0 && ${counters:-0} > 500 && ${runs:-0} > 0)); then
        echo "PASS $name: $runs inputs in $seconds s, ${covered:-0} of $counters edges reached"
    else
        echo "FAIL $name: exit code $code, ${runs:-no} inputs, ${counters:-no} counters"
        grep -vE '^(#[0-9]+|INFO:|Running|stat::)' "$log" | head -n 40 | sed 's/^/    /'
        grep -oP "Test unit written to \K.*" "$log" | sed "s|^|    replay: Tests/FuzzTargets/run.sh --target $name --replay |"
    fi
}

# expect NAME TEXT: the fuzzer must find the fault planted in a target.
expect() {
    local kept=$work/planted
    mkdir -p "$kept/findings"
    if fuzz "$1" 30; then
        echo "FAIL $1: the planted fault was not found in 30 s"
    elif grep -q "$2" "$work/$1.log"; then
        echo "PASS $1: the planted fault is found ($2)"
    else
        echo "FAIL $1: failed otherwise than planted" && tail -n 20 "$work/$1.log" | sed 's/^/    /'
    fi
}

failed_build() {
    echo "FAIL $1 targets: do not build" && grep -E -m 30 "error|undefined" "$work/$2" | sed 's/^/    /'
    exit 1
}

readers=''
if needs "$(IFS='|' && echo "${swift_targets[*]}")"; then
    ! needs tokenizer || [[ -e $LONGHAND_CACHE/SmolLM2-135M-Instruct.Q4_1.gguf && -e $LONGHAND_CACHE/gemma-3-270m-q4_k_m.gguf ]] ||
        die "the target tokenizer needs the models, which are not in $LONGHAND_CACHE: run .ci/fetch-models"
    command -v swiftc >/dev/null || die "swiftc is missing; the targets in Swift need it"
    compile_readers >"$work/build-swift.log" 2>&1 &
    readers=$!
fi
build_c >"$work/build-c.log" 2>&1 || failed_build C build-c.log
[[ ! $readers ]] || { wait "$readers" && link_readers >>"$work/build-swift.log" 2>&1; } || failed_build Swift build-swift.log
if [[ $replay ]]; then
    "$work/${wanted[0]}" "$replay"
    exit
fi
export work kept seconds
export -f fuzz judge expect
runs=("${wanted[@]/#/judge }")
needs attention && runs+=("expect attention-planted AddressSanitizer:.heap-")
needs safetensors && runs+=("expect safetensors-planted planted")
printf '%s\n' "${runs[@]}" | xargs -P "$jobs" -I {} bash -c '{}' | tee "$work/all.out"
passed=$(grep -c '^PASS ' "$work/all.out") failed=$(grep -c '^FAIL ' "$work/all.out")
echo "$passed passed, $failed failed"
((failed == 0 && passed == ${#runs[@]}))
