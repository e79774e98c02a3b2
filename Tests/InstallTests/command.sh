#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs the built command into a folder of its own and looks at what is there: it finds its plugins, every subcommand has a
# manual page that names its options and that groff formats without a warning, and every shell's completions name them too.
# Prints what is wrong, and a count. Exit code 1 when something is.
#
#   Tests/InstallTests/command.sh BIN      BIN: what `swift build ... --show-bin-path` prints
set -uo pipefail
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
bin=$(realpath "${1:?the folder of the build}")
work=$(mktemp -d "${TMPDIR:-/tmp}/longhand-command-tests.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
unset LONGHAND_ISA LONGHAND_PLUGIN_PATH
prefix=$work/prefix passed=0 failed=0
source "$root/Tests/CTests/families.sh"

# check NAME COMMAND...: passes when the command succeeds; what it said is shown otherwise.
check() {
    local name=$1 text
    shift
    if text=$("$@" 2>&1); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $name" && head -n 10 <<<"$text" | sed 's/^/    /'
    fi
}

# has FILE WORD...
has() {
    local file=$1 word
    shift
    for word in "$@"; do grep -qF -- "$word" "$file" || { echo "$file lacks $word" && return 1; }; done
}

# Lines `run --model --file ...`: subcommands with the long options that the parser itself tells.
commands() {
    "$bin/longhand" --experimental-dump-help | python3 -c '
import json, sys
def visit(command, above):
    names = [name["name"] for one in command.get("arguments", []) for name in one.get("names", []) if name["kind"] == "long"]
    print("-".join(above), *("--" + name for name in names))
    for one in command.get("subcommands", []):
        if one["commandName"] != "help": visit(one, [*above, one["commandName"]])
visit(json.load(sys.stdin)["command"], ["longhand"])'
}

page_is_clean() { # FILE
    local said
    said=$(groff -man -Tutf8 -ww -z "$1" 2>&1) && [[ ! $said ]] && return
    echo "$said"
    return 1
}

# reads FILE WORD...: the page as a reader sees it has the words.
reads() {
    local file=$1
    shift
    MANWIDTH=200 man -P cat -E ascii -l "$file" >"$work/page" && has "$work/page" "$@"
}

lists_families() {
    "$prefix/bin/longhand" plugins --json >"$work/plugins" || return
    for family in "${families[@]}"; do has "$work/plugins" "$prefix/lib/longhand/plugins/libLonghand${family}Plugin.so" || return; done
}

refuses() { # TEXT COMMAND...
    local text=$1 said code=0
    shift
    said=$("$@" 2>&1) || code=$?
    ((code == 2)) && [[ $said == *"$text"* && $said != *$'\n'* ]] && return
    echo "code $code: $said"
    return 1
}

check "installs" "$root/.ci/install" "$prefix" "$bin"
check "the installed command finds every family" lists_families
mapfile -t lines < <(commands)
check "the parser tells its commands" test ${#lines[@]} -ge 8
bash=$prefix/share/bash-completion/completions/longhand
zsh=$prefix/share/zsh/site-functions/_longhand
fish=$prefix/share/fish/vendor_completions.d/longhand.fish
check "bash reads its completions" bash -n "$bash"
command -v zsh >/dev/null && check "zsh reads its completions" zsh -n "$zsh"
command -v fish >/dev/null && check "fish reads its completions" fish -n "$fish"
for tool in groff man; do command -v $tool >/dev/null || echo "$tool is missing: what it says of the pages is not checked"; done
for line in "${lines[@]}"; do
    read -ra words <<<"$line"
    page=$prefix/share/man/man1/${words[0]}.1 options=("${words[@]:1}")
    command -v groff >/dev/null && check "${words[0]}.1 has no warnings" page_is_clean "$page"
    command -v man >/dev/null && check "${words[0]}.1 names its options" reads "$page" "${words[0]##*-}" "${options[@]}"
    check "bash completes ${words[0]}" has "$bash" "${words[0]##*-}" "${options[@]}"
    check "zsh completes ${words[0]}" has "$zsh" "${words[0]##*-}" "${options[@]}"
    check "fish completes ${words[0]}" has "$fish" "${words[0]##*-}" "${options[@]/#--/-l \'}"
    [[ ${words[0]} == longhand ]] || check "the page above leads to ${words[0]}" has "${page%-*}.1" "$(sed 's/-/\\-/g' <<<"${words[0]}")"
done
check "a build that is missing is named" refuses "longhand is missing" "$root/.ci/install" "$prefix" "$work"
touch "$work/file"
check "a folder that cannot be made is named" refuses "Not a directory" "$root/.ci/install" "$work/file/prefix" "$bin"
echo "$passed passed, $failed failed"
((failed == 0))
