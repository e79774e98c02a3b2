#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the public C interface against its snapshot, abi.txt: layouts of structs, types, constants, functions.

    abi.py [--root FOLDER] [--clang CLANG]           compares the headers with the snapshot
    abi.py ... --library FILE                        also: the library exports just the functions of the headers
    abi.py ... --write                               makes the snapshot anew, if the version numbers allow it

What is removed or changed needs a higher LHK_ABI_MAJOR. What is added to structs, types or constants of include/longhand needs
a higher LHK_ABI_MINOR. Other additions (functions, headers of families) need a higher LHK_VERSION, unless the changelog
calls that version unreleased. Exit code 0 when all is well, 1 with the differences, 2 when it could not run.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys


def fail(text):
    print(f"abi.py: {text}", file=sys.stderr)
    sys.exit(2)


def compiled(clang, flags, source):
    """What clang writes to stdout for a source text."""
    command = [clang, "-std=c17", "-fsyntax-only", *flags, "-x", "c", "-"]
    if "-E" in flags:
        command.remove("-fsyntax-only")
    try:
        run = subprocess.run(command, input=source, capture_output=True, text=True)
    except OSError as error:
        fail(f"cannot run {clang}: {error.strerror}")
    if run.returncode:
        fail(f"the headers do not compile: {run.stderr.strip().splitlines()[0]}")
    return run.stdout


def tidy(type_text):
    """A C type without what only tools read."""
    text = re.sub(r"\s+", " ", re.sub(r"\b_(Nullable|Nonnull|Null_unspecified)\b", "", type_text)).strip()
    return re.sub(r"\* (?=[*,)]|$)", "*", re.sub(r"\* (?=[*,)]|$)", "*", text))


def layouts(text):
    """Lines `struct NAME SIZE ALIGNMENT` and `member NAME.MEMBER OFFSET TYPE` from clang's record layouts."""
    lines = {}
    for record in text.split("*** Dumping AST Record Layout")[1:]:
        head = re.search(r"^\s*0 \| struct (lhk_\w+)$", record, re.M)
        size = re.search(r"\[sizeof=(\d+), align=(\d+)\]", record)
        if not head or not size:
            continue
        name = head[1]
        lines[f"struct {name}"] = f"{size[1]} {size[2]}"
        for offset, kind, member in re.findall(r"^\s*(\d+) \|   (\S.*?) ?(\w+)$", record, re.M):
            lines[f"member {name}.{member}"] = f"{offset} {tidy(kind)}"
    return lines


def constants(text):
    """Lines `constant NAME VALUE` of the macros that stand for a value; versions are not part of it."""
    lines = {}
    for name, value in re.findall(r"^#define (LHK_\w+) (.+)$", text, re.M):
        if re.match(r"[\d\"(.-]|U?INT64_C", value) and not re.match(r"LHK_(VERSION|ABI_M)", name) and "pragma" not in value:
            lines[f"constant {name}"] = value
    return lines


def declarations(text):
    """Lines `function NAME TYPE` of what the headers declare for export, and `typedef NAME TYPE`."""
    lines = {}

    def visit(node):
        name = node.get("name", "")
        if node.get("kind") == "FunctionDecl" and name.startswith("lhk_") and node.get("storageClass") != "static":
            lines[f"function {name}"] = tidy(node["type"]["qualType"])
        elif node.get("kind") == "TypedefDecl" and name.startswith("lhk_") and f"struct {name}" != node["type"]["qualType"]:
            lines[f"typedef {name}"] = tidy(node["type"]["qualType"])
        elif node.get("kind") == "EnumConstantDecl" and name.startswith("lhk_"):
            fail(f"{name}: constants are macros here, so that no compiler chooses their type")
        else:
            for child in node.get("inner", []):
                visit(child)

    visit(json.loads(text))
    return lines


def interface(root, clang):
    """The public interface as lines, and the part of them that plugins depend on."""
    core = sorted((root / "include/longhand").glob("*.h"))
    families = sorted(root.glob("CKernels/*/include/longhand/*.h"))
    paths = [f"-I{root / 'include'}"] + [f"-I{path.parent.parent}" for path in families]

    def lines(headers):
        source = "".join(f"#include <longhand/{header.name}>\n" for header in headers)
        return {
            **layouts(compiled(clang, [*paths, "-Xclang", "-fdump-record-layouts-complete"], source)),
            **constants(compiled(clang, [*paths, "-E", "-dM"], source)),
            **declarations(compiled(clang, [*paths, "-Xclang", "-ast-dump=json"], source)),
        }

    everything = lines(core + families)
    if not everything:
        fail("found nothing in the headers")
    return everything, {line for line in lines(core) if not line.startswith("function")}


def numbers(root):
    """(ABI major, ABI minor, version) of the headers."""
    text = "".join((root / "include/longhand" / name).read_text() for name in ("abi.h", "version.h"))
    found = [re.search(rf"^#define {name} (\S+)", text, re.M) for name in ("LHK_ABI_MAJOR", "LHK_ABI_MINOR", "LHK_VERSION")]
    if not all(found):
        fail("abi.h and version.h do not define the version")
    return int(found[0][1].rstrip("u")), int(found[1][1].rstrip("u")), tuple(map(int, found[2][1].strip('"').split(".")))


def read_snapshot(path):
    """(numbers, lines) of the snapshot."""
    head, lines = None, {}
    for line in path.read_text().splitlines():
        if match := re.match(r"# ABI (\d+)\.(\d+), version (\d+)\.(\d+)\.(\d+)$", line):
            head = int(match[1]), int(match[2]), tuple(int(match[i]) for i in (3, 4, 5))
        elif line and not line.startswith("#"):
            kind, name, value = line.split(" ", 2)
            lines[f"{kind} {name}"] = value
    if not head:
        fail(f"{path} has no line of version numbers")
    return head, lines


def snapshot(version, lines):
    """Text of a snapshot: structs with their members in order, then the rest."""
    order = {"struct": 0, "member": 0, "typedef": 1, "constant": 2, "function": 3}

    def place(item):
        kind, name = item[0].split(" ")
        offset = int(item[1].split()[0]) if kind == "member" else -1
        return order[kind], name.split(".")[0], offset, name

    major, minor, release = version
    text = "# SPDX-License-Identifier: Apache-2.0\n# The public C interface, written by abi.py: sizes, alignments and offsets in bytes.\n"
    text += f"# ABI {major}.{minor}, version {'.'.join(map(str, release))}\n"
    return text + "".join(f"{name} {value}\n" for name, value in sorted(lines.items(), key=place))


def grew(name, old, new, lines):
    """Whether a struct that carries its size only became longer."""
    before, after = old.split(), new.split()
    sized = lines.get(f"member {name.split(' ')[1]}.struct_size", "").startswith("0 ") if name.startswith("struct") else False
    return sized and before[1] == after[1] and int(after[0]) > int(before[0])


def demand(old, new, core, had, has, unreleased):
    """What forbids that a snapshot of `has` replaces one of `had`, or nothing."""
    longer = {line for line in had if line in has and had[line] != has[line] and grew(line, had[line], has[line], has)}
    broken = sorted(line for line in had if has.get(line) != had[line] and line not in longer)
    added = sorted((set(has) - set(had)) | longer)
    if new[0] > old[0]:
        return None
    if broken:
        return f"LHK_ABI_MAJOR must rise: {broken[0]} was changed or removed"
    in_core = [line for line in added if line in core]
    if in_core and new[:2] <= old[:2]:
        return f"LHK_ABI_MINOR must rise: {in_core[0]} was added"
    if added and new[2] <= old[2] and not unreleased:
        return f"LHK_VERSION must rise: {added[0]} was added"
    return None


def compare(old, new, had, has):
    """Prints the differences; true when there are none."""
    for line in sorted(set(had) | set(has)):
        if had.get(line) != has.get(line):
            print(f"{line}: {had.get(line, 'absent')} in the snapshot, {has.get(line, 'absent')} in the headers")
    if old[:2] != new[:2]:
        print(f"the snapshot is of ABI {old[0]}.{old[1]}, the headers say {new[0]}.{new[1]}")
    return had == has and old[:2] == new[:2]


def exports_agree(library, has):
    run = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True)
    if run.returncode:
        fail(f"nm cannot read {library}")
    exported = {words[-1] for words in map(str.split, run.stdout.splitlines()) if words[-1].startswith("lhk_")}
    declared = {line.split()[1] for line in has if line.startswith("function")}
    for name in sorted(exported ^ declared):
        print(f"{name} is {'exported but in no public header' if name in exported else 'declared but not exported'}")
    return exported == declared


def main():
    here = pathlib.Path(__file__).resolve()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=here.parent.parent.parent)
    parser.add_argument("--snapshot", type=pathlib.Path, default=here.with_name("abi.txt"))
    parser.add_argument("--clang", default="clang")
    parser.add_argument("--library")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()

    has, core = interface(options.root, options.clang)
    new = numbers(options.root)
    if options.write:
        if options.snapshot.exists():
            old, had = read_snapshot(options.snapshot)
            release = ".".join(map(str, new[2]))
            unreleased = re.search(rf"^## {re.escape(release)}, unreleased", (options.root / "CHANGELOG.md").read_text(), re.M)
            if reason := demand(old, new, core, had, has, unreleased):
                print(reason)
                sys.exit(1)
        options.snapshot.write_text(snapshot(new, has))
        return
    old, had = read_snapshot(options.snapshot)
    good = compare(old, new, had, has)
    if not good:
        print("see abi.py --write and the rules at its head")
    if options.library:
        good = exports_agree(options.library, has) and good
    sys.exit(0 if good else 1)


main()
