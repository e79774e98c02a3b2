#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The look of the tree: Swift as `swift format` has it by .swift-format, and of all code the licence on top, no tabs, nothing at
# the end of a line, and lines of at most 150 columns (not in scripts). Prints what is not so. Exit code 1 when something is not.
# Swift is mended by: swift format -i FILE...
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
((failed)) || echo "${#files[@]} files are in style"
exit $failed
