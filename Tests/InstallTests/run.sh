#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds and installs the C library with every compiler at hand (gcc, clang), then uses the installation as a stranger
# would: pkg-config, CMake, static linking, plugins built outside the tree, plugins that must be refused. Prints a line for
# each check and ends with `N passed, N failed`. Exit code 1 when a check failed. KEEP=1 keeps the work folder.
set -uo pipefail  # no -e: a failed check is counted, and the rest goes on

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
work=$(mktemp -d "${TMPDIR:-/tmp}/longhand-install-tests.XXXXXX") || exit 2
trap '[[ ${KEEP:-} ]] && echo "kept $work" >&2 || rm -rf "$work"' EXIT
trap 'exit 2' INT TERM HUP
unset LONGHAND_ISA LONGHAND_PLUGIN_PATH LD_LIBRARY_PATH CMAKE_PREFIX_PATH PKG_CONFIG_PATH
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
if command -v ninja >/dev/null; then export CMAKE_GENERATOR=Ninja; else export CMAKE_GENERATOR="Unix Makefiles"; fi
passed=0 failed=0 context=

source "$root/Tests/CTests/families.sh"
c_flags=(-std=c17 -O2 -Wall -Wextra -Werror)

result() { # WORD NAME
    echo "$1 $context: $2"
    if [[ $1 == PASS ]]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

# check NAME COMMAND...: passes when the command succeeds; what it said is shown otherwise.
check() {
    local name=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        result PASS "$name"
    else
        result FAIL "$name"
        tail -n 30 "$work/log" | sed 's/^/    /'
        return 1
    fi
}

# says PATTERN COMMAND...: succeeds when the command does and a line of its output matches.
says() {
    local pattern=$1 text
    shift
    text=$("$@" 2>&1) && grep -qE -- "$pattern" <<<"$text" && return
    echo "expected '$pattern' from: $*"
    echo "$text"
    return 1
}

# refuses PATTERN COMMAND...: succeeds when the command fails as it should: an exit code, no signal, and a line that matches.
refuses() {
    local pattern=$1 text code=0
    shift
    text=$("$@" 2>&1) || code=$?
    ((code > 0 && code < 128)) && grep -qE -- "$pattern" <<<"$text" && return
    echo "expected a refusal with '$pattern', got exit code $code from: $*"
    echo "$text"
    return 1
}

# lacks PATTERN COMMAND...: succeeds when the command does and no line of its output matches.
lacks() {
    local pattern=$1 text
    shift
    text=$("$@" 2>&1) && ! grep -E -- "$pattern" <<<"$text"
}

# Dynamic symbols that a file defines, without those that some linkers add to every file.
exports() { nm -D --defined-only "$1" | awk '{ print $NF }' | grep -vxE '__bss_start|_edata|_end|_init|_fini' | sort; }

library_exports() { # FILE
    local symbols symbol
    symbols=$(exports "$1")
    ! grep -vE '^lhk_' <<<"$symbols" || return 1
    ! grep -x lhk_plugin_entry <<<"$symbols" || return 1
    for symbol in lhk_cache_create lhk_registry_discover lhk_host_openmp lhk_flash_attention lhk_isa_detect; do
        grep -qx $symbol <<<"$symbols" || { echo "$symbol is missing" && return 1; }
    done
}

plugin_exports() { # FILE...
    local file
    for file in "$@"; do
        [[ $(exports "$file") == lhk_plugin_entry ]] || { echo "$file exports:" && exports "$file" && return 1; }
    done
}

# same_lines FOUND EXPECTED
same_lines() { diff <(sort <<<"$1") <(sort <<<"$2"); }

# Of the library, from the one place where it stands.
version() { sed -nE 's/^#define LHK_VERSION "(.*)"/\1/p' "$root/include/longhand/version.h"; }

configure() { # BUILD PREFIX OPTION...
    local build=$1 prefix=$2
    shift 2
    cmake -S "$root" -B "$build" -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_C_COMPILER="$cc" "$@"
}

# compile OUTPUT ARGUMENT...
compile() {
    local output=$1
    shift
    "$cc" "${c_flags[@]}" "$@" -o "$output"
}

each_header_alone() { # COMPILER LANGUAGE STANDARD
    local header
    for header in "$stage"/include/longhand/*.h; do
        echo "#include <longhand/$(basename "$header")>" |
            "$1" -x "$2" -std="$3" -Wall -Wextra -Werror -I"$stage/include" -fsyntax-only - || return 1
    done
}

pkg_config_checks() {
    local cflags shared static
    check "pkg-config knows the version" says "^$(version)\$" pkg-config --modversion longhand
    check "ctypes_attention.py agrees with the formula" says "^longhand $(version), .*largest difference" \
        python3 "$root/Examples/ctypes_attention.py"
    cflags=$(pkg-config --cflags longhand) shared=$(pkg-config --libs longhand)
    static=$(pkg-config --variable=static_libs longhand)
    # Unquoted: these are lists of options.
    check "pkg-config: direct_call compiles" compile "$here/direct" "$root/Examples/direct_call.c" $cflags $shared -lm &&
        check "pkg-config: direct_call agrees with the formula" says 'largest difference' "$here/direct"
    check "pkg-config: direct_call links statically" \
        compile "$here/direct_static" "$root/Examples/direct_call.c" $cflags $static && {
        check "static direct_call agrees with the formula" says 'largest difference' "$here/direct_static"
        check "static direct_call needs no liblonghand.so" lacks 'NEEDED.*liblonghand' readelf -d "$here/direct_static"
    }
    check "static program registering linked families compiles" compile "$here/linked" "$linked_families" \
        $(printf -- '-include longhand/%s.h ' "${family_names[@]}") "$root/Tests/InstallTests/linked.c" $cflags $static && {
        check "linked families register" says 'longhand.attention/1 flash built-in' "$here/linked"
        check "all ${#families[@]} of them" says "^${#families[@]} families" "$here/linked"
    }
    check "pkg-config: load_plugins compiles" compile "$here/load" "$root/Examples/load_plugins.c" $cflags $shared -lm
}

installed_plugin_checks() {
    check "installed plugins are found and used" says '^decode +all' "$here/load"
    check "attention comes from the installed folder" says "attention/1 +flash .*$plugins/" "$here/load"
    check "no candidate is rejected" lacks '^rejected' "$here/load"
    check "options reach a method" says '^decode +window:size=16' "$here/load" window:size=16
    check "an unknown method is an error" refuses 'nosuch' "$here/load" nosuch
}

outside_plugin_checks() {
    local outside="$here/outside plugin"
    mkdir "$outside"
    cp "$root"/Examples/outside-plugin/{stride.c,CMakeLists.txt} "$outside"
    check "outside plugin compiles with a compiler alone" compile "$outside/libLonghandStridePlugin.so" \
        "$outside/stride.c" -fPIC -shared -fvisibility=hidden $(pkg-config --cflags longhand) || return 0
    check "outside plugin exports its entry only" plugin_exports "$outside/libLonghandStridePlugin.so"
    check "outside plugin is not found by itself" refuses "stride" "$here/load" stride
    export LONGHAND_PLUGIN_PATH=$outside
    check "LONGHAND_PLUGIN_PATH leads to it" says "selector/1 +stride .*$outside/" "$here/load"
    # For 257 to 264 keys: the last 16, and every 4th of those before; 4 heads.
    check "its options decide what is attended" says 'attended 2480 of 8336' "$here/load" stride:every=4,recent=16
    check "a wrong option is refused" refuses 'every=0' "$here/load" stride:every=0
    check "an unknown option is refused" refuses "no option 'size'" "$here/load" stride:size=3

    check "a plugin of another ABI compiles" compile "$outside/libLonghandOtherPlugin.so" \
        "$root/Tests/InstallTests/other_abi.c" -fPIC -shared $(pkg-config --cflags longhand)
    echo "not a library" >"$outside/libLonghandBrokenPlugin.so"
    check "it is rejected with a reason, the rest loads" says 'rejected .*libLonghandOtherPlugin.so: .*ABI' "$here/load"
    check "so is a file that is no library" says 'rejected .*libLonghandBrokenPlugin.so: .+' "$here/load"
    unset LONGHAND_PLUGIN_PATH
}

cmake_package_checks() {
    check "find_package: examples configure" cmake -S "$root/Examples" -B "$here/examples" \
        -DCMAKE_PREFIX_PATH="$stage" -DCMAKE_C_COMPILER="$cc" || return 0
    check "find_package: examples build" cmake --build "$here/examples" || return 0
    check "find_package: direct_call runs" says 'largest difference' "$here/examples/direct_call"
    check "find_package: static direct_call runs" says 'largest difference' "$here/examples/direct_call_static"
    check "find_package: load_plugins runs" says 'held 264 tokens at 4096 bits' "$here/examples/load_plugins"

    check "find_package: outside plugin configures" cmake -S "$here/outside plugin" -B "$here/outside-build" \
        -DCMAKE_PREFIX_PATH="$stage" -DCMAKE_C_COMPILER="$cc" || return 0
    check "find_package: outside plugin builds" cmake --build "$here/outside-build" || return 0
    check "find_package: outside plugin exports its entry only" \
        plugin_exports "$here/outside-build/libLonghandStridePlugin.so"
    check "find_package: outside plugin installs" cmake --install "$here/outside-build"
    check "an installed outside plugin is found" says "selector/1 +stride .*$plugins/" "$here/load" stride
}

relocation_checks() {
    mv "$stage" "$here/moved"
    export PKG_CONFIG_PATH=$here/moved/lib/pkgconfig LD_LIBRARY_PATH=$here/moved/lib
    check "a moved installation works with pkg-config" compile "$here/direct_moved" "$root/Examples/direct_call.c" \
        $(pkg-config --cflags --libs longhand) -lm &&
        check "and runs" says 'largest difference' "$here/direct_moved"
    unset PKG_CONFIG_PATH LD_LIBRARY_PATH
}

installation_checks() { # COMPILER
    cc=$1 context=$1 here=$work/$1 stage=$work/$1/stage
    mkdir "$here"
    check "configures" configure "$here/build" "$stage" -DCMAKE_INSTALL_LIBDIR=lib || return 0
    check "builds without warnings" cmake --build "$here/build" || return 0
    check "installs" cmake --install "$here/build" || return 0
    plugins=$stage/lib/longhand/plugins
    check "the library exports its API only" library_exports "$stage/lib/liblonghand.so"
    check "every family is installed as a plugin" same_lines "$(ls "$plugins")" \
        "$(printf 'libLonghand%sPlugin.so\n' "${families[@]}")"
    check "plugins export their entry only" plugin_exports "$plugins"/*.so
    check "the soname carries the ABI version" \
        says "SONAME.*\[liblonghand.so.$(awk '/define LHK_ABI_MAJOR/ { print $3 + 0 }' "$root/include/longhand/abi.h")\]" \
        readelf -d "$stage/lib/liblonghand.so"
    check "the library exports what its headers declare, at the layouts of the snapshot" \
        "$root/Tests/InstallTests/abi.py" --library "$stage/lib/liblonghand.so"
    for standard in c11 c17; do
        check "each header compiles alone as $standard" each_header_alone "$cc" c $standard
    done
    echo 'int main() { return 0; }' >"$here/probe.cpp"
    if "${cc/gcc/g++}" -x c++ -fsyntax-only "$here/probe.cpp" 2>/dev/null; then
        check "each header compiles alone as c++17" each_header_alone "${cc/gcc/g++}" c++ c++17
    fi
    export PKG_CONFIG_PATH=$stage/lib/pkgconfig LD_LIBRARY_PATH=$stage/lib
    pkg_config_checks
    if [[ -x $here/load ]]; then
        installed_plugin_checks
        outside_plugin_checks
    fi
    unset PKG_CONFIG_PATH LD_LIBRARY_PATH
    LD_LIBRARY_PATH=$stage/lib cmake_package_checks
    relocation_checks
}

# A family needs nothing but its own folder and the headers: one compiler line makes a plugin of it.
plain_family_checks() {
    local family folder=$work/plain
    context="plain $1"
    mkdir "$folder"
    for family in "${families[@]}"; do
        check "$family is a plugin after one compiler line" "$1" -std=c17 -O1 -ffp-contract=off -fno-math-errno \
            -fPIC -shared -fvisibility=hidden -DLHK_HIDE_API -I"$root/include" -I"$root/CKernels/Common/include" \
            -I"$root/CKernels/$family/include" "$root/CKernels/$family"/*.c "$root/CKernels/$family/Entry/entry.c" \
            -o "$folder/libLonghand${family}Plugin.so" -lm
    done
    check "they export their entry only" plugin_exports "$folder"/*.so
    check "they load and run" says "attention/1 +flash .*$folder/" \
        env LD_LIBRARY_PATH="$work/$1/moved/lib" "$work/$1/load" all "$folder"
}

# shellcheck source=snapshot.sh
source "$root/Tests/InstallTests/snapshot.sh"

configure_checks() {
    context=configure
    check "the changelog has this version on top" \
        says "^## $(version)(,|\$)" grep -m 1 '^## ' "$root/CHANGELOG.md"
    check "a missing libomp is named" refuses 'libomp-dev' \
        configure "$work/no-omp" "$work/none" -DCMAKE_DISABLE_FIND_PACKAGE_Libomp=ON
    check "an unknown sanitizer is refused" refuses "takes address, undefined or thread" \
        configure "$work/sanitizer" "$work/none" -DLONGHAND_SANITIZE=memory
}

# The examples once more, watched by a sanitizer. One of them: SanitizerTests has the others.
sanitizer_checks() { # COMPILER SANITIZER
    local build=$work/$2
    cc=$1 context="$2 sanitizer"
    check "configures" configure "$build" "$work/none" -DLONGHAND_SANITIZE="$2" || return 0
    check "builds" cmake --build "$build" || return 0
    local flags=(-g -fsanitize="$2" -I"$root/include" -I"$root/CKernels/FlashAttention/include")
    local link=(-L"$build" -llonghand -lm -Wl,-rpath,"$build")
    check "direct_call" compile "$build/direct" "${flags[@]}" "$root/Examples/direct_call.c" "${link[@]}" &&
        check "direct_call runs" says 'largest difference' "$build/direct"
    check "load_plugins" compile "$build/load" "${flags[@]}" "$root/Examples/load_plugins.c" "${link[@]}" &&
        check "load_plugins runs" says 'held 264 tokens' "$build/load" all "$build/plugins"
}

compilers=()
for compiler in gcc clang; do
    if command -v $compiler >/dev/null; then compilers+=($compiler); fi
done
((${#compilers[@]})) || { echo "InstallTests: neither gcc nor clang is in PATH" >&2 && exit 2; }

for compiler in "${compilers[@]}"; do installation_checks "$compiler"; done
plain_family_checks "${compilers[-1]}"
snapshot_checks
configure_checks
sanitizer_checks "${compilers[-1]}" address
echo "$passed passed, $failed failed"
((failed == 0))
