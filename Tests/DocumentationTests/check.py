#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the documents against the code: links, commands, snippets.

    check.py [--longhand FILE]     default: longhand in the folder that `swift build -c release --show-bin-path` prints

Of README.md and docs/: every relative link leads to a file, and its anchor to a heading. Every command in a block of
shell lines is known: `longhand` lines are run up to where they would begin (with no plugins at hand, so that options are
parsed and nothing is computed), those without files of the reader's are run; scripts of the repository exist; others are
run by other tests, and must look as there. Blocks of C compile, or stand in the example they are from. Swift lines stand in
Examples/swift-package. Files and functions named in `code` exist. Every family (a folder of CKernels with an entry) follows the
naming that others rely on, and has its three lines elsewhere: in Package.swift, README.md and docs/systems.md. README.md shows
all parts of Tests/run. Prints what is wrong, and a count. Exit code 1 when something is.
"""
import argparse
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "Examples/README.md",
         ROOT / "Examples/outside-plugin/README.md", ROOT / "Benchmarks/README.md",
         *sorted(ROOT.glob("Benchmarks/Results/*/*.md")), *sorted(ROOT.glob("CKernels/*/README.md"))]
# Commands of the reader's system: most are run in the same form by InstallTests, PackageTests or Tests/run.
SYSTEM = {"for", "head", "cmake", "cc", "export", "swift", "python3", "LD_LIBRARY_PATH", "source", "man"}
faults = []
checked = 0


def expect(condition, page, text):
    global checked
    checked += 1
    if not condition:
        faults.append(f"{page.relative_to(ROOT)}: {text}")


def blocks(text, language):
    return [match[1] for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)]


def anchors(text):
    """GitHub's anchors of the headings."""
    for heading in re.findall(r"^#+ (.*)$", text, re.M):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def check_links(page, text):
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        expect(file.exists(), page, f"link to {target}: no such file")
        if anchor and file.suffix == ".md" and file.exists():
            expect(anchor in anchors(file.read_text()), page, f"link to {target}: no such heading")


def commands(block):
    """The commands of shell lines, without remarks; lines that end in a backslash, or within quotes, go on."""
    open_line = ""
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        line = open_line + line
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            open_line = line + "\n"
            continue
        open_line = ""
        if words:
            yield line, words
    if open_line:
        raise ValueError(f"a quotation is not closed: {open_line}")


def check_longhand(page, line, words, executable, alone):
    """Options are parsed before plugins are looked for, of which the lone executable finds none."""
    words = [word for word in words if word != "..."]
    words = words[: next((i for i, word in enumerate(words) if word in ("|", ">") or word.startswith(">")), len(words))]
    run = subprocess.run([alone, *words[1:]], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    message = run.stderr.strip()
    expect(run.returncode in (0, 2) and "--help')" not in message, page, f"{line}: {message}")
    own = any(re.fullmatch(r"[A-Z.]{4,}|.*=?(FILE|MODEL|TEXT|TRACE|FOLDER).*|/.*|.*\.(txt|gguf|safetensors|svg)", word) for word in words[2:])
    # What takes no files of the reader's is really run, if it is soon done.
    if words[1] == "plugins" and not own or words[1] == "run" and not own and "-p" in words and "stride" not in line:
        short = ["-n", "2"] if words[1] == "run" and "--help" not in words else []
        run = subprocess.run([executable, *words[1:], *short], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        expect(run.returncode == 0, page, f"{line}: {run.stderr.strip()}")


def check_shell(page, text, executable, alone):
    for block in blocks(text, "sh"):
        for line, words in commands(block):
            name = words[0].partition("=")[0]
            if pathlib.PurePath(words[0]).name == "longhand":
                check_longhand(page, line, words, executable, alone)
            elif name in SYSTEM:
                for word in words[1:]:
                    if re.match(r"(Examples|Tests|Sources)/", word):
                        expect((ROOT / word).exists(), page, f"{line}: no {word}")
            elif words[0].startswith(("./", "build/")):  # made by a line above
                expect(pathlib.PurePath(words[0]).name in text.replace(words[0], "", 1), page, f"{line}: made nowhere")
            else:
                file = ROOT / words[0]
                expect(file.is_file() and file.stat().st_mode & 0o111, page, f"{line}: neither a command of ours nor a known one")


def check_c(page, text):
    example = (ROOT / "Examples/outside-plugin/stride.c").read_text()
    for block in blocks(text, "c"):
        if page.name == "add-a-method.md":
            expect(block in example, page, f"not in stride.c: {block.splitlines()[0]}")
            continue
        includes = "".join(line + "\n" for line in block.splitlines() if line.startswith("#include"))
        body = "".join(line + "\n" for line in block.splitlines() if not line.startswith("#include"))
        source = f"#include <stdlib.h>\n{includes}\nvoid snippet(lhk_tensor q, lhk_tensor k, lhk_tensor v, lhk_tensor out);\n" \
                 f"void snippet(lhk_tensor q, lhk_tensor k, lhk_tensor v, lhk_tensor out) {{\n{body}}}\n"
        folders = [f"-I{path}" for path in [ROOT / "include", *ROOT.glob("CKernels/*/include")]]
        run = subprocess.run(["clang", "-std=c17", "-Wall", "-Werror", "-fsyntax-only", *folders, "-x", "c", "-"], input=source,
                             capture_output=True, text=True)
        expect(run.returncode == 0, page, f"a block of C does not compile: {run.stderr.strip()[:300]}")


def check_swift(page, text):
    package = "".join((ROOT / "Examples/swift-package" / name).read_text() for name in ("Package.swift", "Sources/attend/main.swift"))
    known = {line.strip() for line in package.splitlines()}
    for block in blocks(text, "swift"):
        for line in block.splitlines():
            expect(line.strip() in known or not line.strip(), page, f"not in Examples/swift-package: {line}")


def check_names(page, text):
    """`lhk_name` and paths in `code` exist; patterns such as `_body.h` and {a,b} are left alone."""
    for name in set(re.findall(r"`(lhk_\w+)(?:\(\))?`", text)):
        expect(name in sources, page, f"`{name}` is nowhere in the headers")
    for name in set(re.findall(r"`((?:include|Tests|Examples|Benchmarks|Sources|CKernels|docs)/[\w./-]+)`", text)):
        expect((ROOT / name).exists() or "<" in name or (page.parent / name).exists(), page, f"`{name}` does not exist")


def check_summary():
    """What README.md shows as the end of Tests/run has the parts that it has."""
    steps = re.findall(r"\bstep ([a-z-]+) ", (ROOT / "Tests/run").read_text())
    shown = re.findall(r"^([a-z-]+) +passed +\d+ s$", (ROOT / "README.md").read_text(), re.M)
    expect(steps and steps == shown, ROOT / "README.md", f"the summary of Tests/run shows {shown}, it has {steps}")


def check_families(executable):
    """docs/add-a-method.md says what a family touches."""
    listed = re.search(r"^let families = \[(.*?)\]", (ROOT / "Package.swift").read_text(), re.M | re.S)
    listed = re.findall(r'"(\w+)"', listed[1] if listed else "")
    folders = [entry.parent.parent for entry in sorted(ROOT.glob("CKernels/*/Entry/entry.c"))]
    expect(len(folders) > 1, ROOT / "CKernels", "no families")
    for name in set(listed) - {folder.name for folder in folders}:
        expect(False, ROOT / "Package.swift", f"'families' has {name}, but there is no CKernels/{name}/Entry/entry.c")
    systems = (ROOT / "docs/systems.md").read_text()
    for folder in folders:
        expect(folder.name in listed, ROOT / "Package.swift", f"'families' lacks {folder.name}")
        expect(f"(../CKernels/{folder.name}/README.md)" in systems, ROOT / "docs/systems.md", f"no row links to the README of {folder.name}")
        headers = list((folder / "include/longhand").glob("*.h"))
        expect(len(headers) == 1 and f"lhk_{headers[0].stem}_plugin(void)" in headers[0].read_text(), folder,
               "needs one header include/longhand/<name>.h, which declares lhk_<name>_plugin()")
    table = (ROOT / "README.md").read_text().partition("\n### Methods\n")[2].partition("\n### ")[0]
    listing = subprocess.run([executable, "plugins", "--json"], capture_output=True, text=True, timeout=60, check=True)
    ours = {f"libLonghand{folder.name}Plugin.so" for folder in folders}
    for method in json.loads(listing.stdout)["methods"]:
        if pathlib.PurePath(method["origin"]).name in ours:
            row = rf"^\| {method['role']} \|[^|]*`{re.escape(method['name'])}[:`]"
            expect(re.search(row, table, re.M), ROOT / "README.md", f"the methods' table lacks {method['role']} `{method['name']}`")


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--longhand", type=pathlib.Path)
options = parser.parse_args()
executable = options.longhand or pathlib.Path(subprocess.run(
    ["swift", "build", "-c", "release", "--show-bin-path"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip(), "longhand")
if not executable.is_file():
    sys.exit(f"check.py: {executable} is missing: build it with 'swift build -c release'")
sources = "".join(path.read_text() for path in [*ROOT.glob("include/longhand/*.h"), *ROOT.glob("CKernels/**/*.[ch]"),
                                                *ROOT.glob("CKernels/**/*.inc")])
with tempfile.TemporaryDirectory() as folder:
    alone = shutil.copy(executable, folder)
    for page in PAGES:
        text = page.read_text()
        check_links(page, text)
        check_shell(page, text, executable, alone)
        check_c(page, text)
        check_swift(page, text)
        check_names(page, text)
check_families(executable)
check_summary()
print("".join(f"FAILED {fault}\n" for fault in faults), end="")
print(f"{checked - len(faults)} passed, {len(faults)} failed")
sys.exit(1 if faults else 0)
