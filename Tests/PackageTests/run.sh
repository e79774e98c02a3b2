#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Uses the Swift package as another package would: by a version. The files of this checkout become a repository with a tag, on
# which Examples/swift-package depends, is built and run. Not part of Tests/run, since it compiles the library anew.
# Exit code 0 when it works, 1 when it does not.
set -euo pipefail
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
work=$(mktemp -d "${TMPDIR:-/tmp}/longhand-package-tests.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 2' INT TERM HUP
unset LONGHAND_ISA LONGHAND_PLUGIN_PATH
version=$(sed -nE 's/^#define LHK_VERSION "(.*)"/\1/p' "$root/include/longhand/version.h")

mkdir "$work/longhand"
cd "$root"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$work/longhand"
cd "$work/longhand"
git -c init.defaultBranch=main init -q
git add -A
git -c user.name=test -c user.email=test@example.org commit -q -m "Release"
git tag "$version"

cp -r "$root/Examples/swift-package" "$work/attend"
sed -i "s|file:///path/to/longhand|file://$work/longhand|" "$work/attend/Package.swift"
cd "$work/attend"
swift build -c release
output=$(swift run -c release --skip-build attend)
echo "$output"
grep -q '^decode window:size=128 longhand.window' <<<"$output" && grep -q '^decoding attended 1056 of 2408$' <<<"$output" ||
    { echo "PackageTests: unexpected output" >&2 && exit 1; }
grep -q "\"version\" : \"$version\"" Package.resolved || { echo "PackageTests: not resolved by its version" >&2 && exit 1; }
echo "the package works by its version $version"
