#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the reference of the Swift modules with DocC, from a build that is there; a warning is a failure. With OUTPUT, a
# folder, the archive stays there (to be looked at with `docc preview`).
#
#   Tests/DocumentationTests/docc.sh BIN [OUTPUT]      BIN: what `swift build ... --show-bin-path` prints
set -euo pipefail
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
bin=${1:?the folder of the build}
work=$(mktemp -d "${TMPDIR:-/tmp}/longhand-docc.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/graphs"

flags=(-I "$bin/Modules" -Xcc "-I$root/include" -Xcc "-fmodule-map-file=$root/include/module.modulemap")
for map in "$bin"/*.build/module.modulemap; do flags+=(-Xcc "-fmodule-map-file=$map"); done
for module in Longhand LonghandModel; do
    swift symbolgraph-extract -module-name "$module" "${flags[@]}" -target "$(uname -m)-unknown-linux-gnu" \
        -minimum-access-level public -output-dir "$work/graphs"
done
docc convert --warnings-as-errors --additional-symbol-graph-dir "$work/graphs" --fallback-display-name Longhand \
    --fallback-bundle-identifier longhand --output-path "${2:-$work/Longhand.doccarchive}"
