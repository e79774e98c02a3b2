#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Tests how the comparison with other libraries measures, judges and reports, with libraries made up for it. Needs numpy and
# matplotlib, which go into the environment of the comparison. Ends with `N passed, N failed`.
set -uo pipefail
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
here=$root/Benchmarks/Peers
cache=$(realpath -m "${LONGHAND_PEERS_CACHE:-$root/.cache/longhand-peers}")
venv=$cache/venv requirements=$here/setup/requirements missing=$cache/missing
# shellcheck source=../../Benchmarks/Peers/setup/install.sh
source "$here/setup/install.sh"

mkdir -p "$cache" && : >"$missing"
[[ -x $venv/bin/python ]] || python3 -m venv "$venv" || exit 2
install base
if [[ -s $missing ]]; then
    echo "peers-tests: $(<"$missing")" >&2
    exit 2
fi
PYTHONPATH="$here:$root/Tests/PeersTests" PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" "$root/Tests/PeersTests/test_peers.py"
