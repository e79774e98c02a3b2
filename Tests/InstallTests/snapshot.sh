#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by run.sh: tries abi.py on a copy of the headers.

# The snapshot of the interface notices a change, and is renewed only when the version numbers rise with it.
snapshot_checks() {
    local copy=$work/abi minor folder
    local abi=("$root/Tests/InstallTests/abi.py" --root "$copy" --snapshot "$copy/abi.txt")
    context="ABI snapshot"
    mkdir -p "$copy/CKernels"
    cp -r "$root/include" "$root/CHANGELOG.md" "$root/Tests/InstallTests/abi.txt" "$copy"
    for folder in "$root"/CKernels/*/include/longhand; do (cd "$root" && cp -r --parents "${folder#"$root/"}" "$copy"); done
    check "describes the headers" "${abi[@]}"
    sed -i 's/^    uint32_t query_heads;/    uint64_t inserted;\n&/' "$copy/include/longhand/problem.h"
    check "an inserted member is noticed" refuses 'member lhk_problem.inserted: absent in the snapshot' "${abi[@]}"
    check "and needs another major number" refuses 'LHK_ABI_MAJOR must rise' "${abi[@]}" --write
    cp "$root/include/longhand/problem.h" "$copy/include/longhand"
    sed -i 's/^} lhk_problem;/    uint64_t appended;\n&/' "$copy/include/longhand/problem.h"
    check "an appended member needs another minor number" refuses 'LHK_ABI_MINOR must rise' "${abi[@]}" --write
    minor=$(awk '/define LHK_ABI_MINOR/ { print $3 + 1 }' "$root/include/longhand/abi.h")
    sed -i "s/define LHK_ABI_MINOR .*/define LHK_ABI_MINOR ${minor}u/" "$copy/include/longhand/abi.h"
    check "with which the snapshot is renewed" "${abi[@]}" --write
    check "and describes the headers again" "${abi[@]}"
    sed -i '/^LHK_API void lhk_registry_destroy/d' "$copy/include/longhand/registry.h"
    check "a function that goes needs another major number" refuses 'LHK_ABI_MAJOR must rise: function' "${abi[@]}" --write
    echo 'LHK_API void lhk_new(void);' >>"$copy/include/longhand/version.h"
    cp "$root/include/longhand/registry.h" "$copy/include/longhand"
    sed -i 's/, unreleased//' "$copy/CHANGELOG.md"
    check "a new function needs another version once this one is released" refuses 'LHK_VERSION must rise' "${abi[@]}" --write
}
