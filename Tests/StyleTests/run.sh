#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The look of the tree: Swift as `swift format` has it by .swift-format; of all code the licence on top, no tabs, nothing at the
# end of a line, lines of at most 150 columns (not in scripts) and files of at most 300 lines; and the conventions of our C. (These
# are a few patterns and no formatter: tables and intrinsics are set by hand, and clang-format would change every third line.)
# Prints what is not so. Exit code 1 when something is not. Swift is mended by: swift format -i FILE...
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
failed=0

# complain TEXT: TEXT is what was found, or empty.
complain() {
    [[ -z $2 ]] && return
    echo "FAILED $1:"
    sed 's/^/    /' <<<"$2"
    failed=1
}

mapfile -t files < <(find . \( -name .build -o -name build -o -name .git -o -name .cache \) -prune -o -type f \( -name '*.[ch]' \
    -o -name '*.inc' -o -name '*.swift' -o -name '*.sh' -o -name '*.py' -o -name CMakeLists.txt -o -name '*.cmake' \) -print)
((${#files[@]} > 100)) || { echo "StyleTests: the sources are not found" >&2 && exit 2; }

complain "swift format lint" "$(swift format lint -r Sources Tests 2>&1)"
complain "no licence in the first lines" "$(for file in "${files[@]}"; do
    head -n 3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$file"
done)"
complain "tabs" "$(grep -nP '\t' "${files[@]}")"
complain "white space at the end of a line" "$(grep -nE ' +$' "${files[@]}")"
complain "lines over 150 columns" "$(LC_ALL=C.UTF-8 grep -nE '^.{151,}$' $(printf '%s\n' "${files[@]}" | grep -v '\.sh$') | cut -c 1-100)"
complain "no newline at the end" "$(for file in "${files[@]}"; do [[ $(tail -c 1 "$file") ]] && echo "$file"; done)"
# One idea each, and longer than most screens together.
long=(CKernels/FlashAttention/lhk_flash_body.h CKernels/Common/include/lhk/support.h Tests/LayersTests/PackedLinearTests.swift)
mapfile -t counted < <(printf '%s\n' "${files[@]}" | grep -E '\.([ch]|inc|swift)$' | grep -vxF "$(printf './%s\n' "${long[@]}")")
complain "files over 300 lines" "$(wc -l "${counted[@]}" | awk '$1 > 300 && $2 != "total"')"

mapfile -t c < <(printf '%s\n' "${files[@]}" | grep -E '\.([ch]|inc)$')
rule() { complain "C: $1" "$(grep -nE "$2" "${c[@]}" | cut -c 1-120)"; } # TEXT PATTERN: what must not be
complain "C: the licence is not the first line" "$(for file in "${c[@]}"; do
    IFS= read -r line <"$file" && [[ $line == "// SPDX-License-Identifier: Apache-2.0" ]] || echo "$file"
done)"
rule "a keyword without a space behind it" '\b(if|for|while|switch|return)\('
rule "the star belongs to the name: type *name" '\b(char|int|float|double|void|lhk_[a-z_]+|u?int[0-9]+_t)\* *[a-z(]'
rule "an indentation of fewer than four columns" '^ {1,3}[^ ]'
rule "a remark without a space before it" '//[^ /!<]'
rule "goto" '^ *goto\b'
rule "once is what a guard is for" '^#pragma once'
# Headers in include/ are guarded; what is included for its text, such as bodies of variants, is not.
mapfile -t public < <(printf '%s\n' "${c[@]}" | grep -E '/include/.*\.h$')
complain "C: a header without a guard" "$(grep -LE '^#ifndef [A-Z0-9_]+_H$' "${public[@]}")"
complain "C: a guard of two headers" "$(grep -hE '^#ifndef [A-Z0-9_]+_H$' "${c[@]}" | sort | uniq -d)"
((failed)) || echo "${#files[@]} files are in style"
exit $failed
