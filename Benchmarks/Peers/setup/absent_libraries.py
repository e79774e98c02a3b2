# SPDX-License-Identifier: Apache-2.0
"""Lets PyTorch's default package run on a CPU without the 2.5 GB of CUDA packages that it asks for.

Its libraries are linked with those of CUDA, so the dynamic linker wants them at import, though nothing calls them on a
machine without a GPU. For each one that is missing a small library of the same name is compiled, whose functions stop the
program. The CUDA runtime proper (2 MB) is called at import and has to be installed.

    python absent_libraries.py SITE_PACKAGES
"""
import pathlib
import re
import subprocess
import sys
import tempfile


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def missing_libraries(libraries):
    found = set()
    for library in libraries:
        found.update(re.findall(r"^\s*(\S+) => not found", output("ldd", str(library)), re.M))
    return sorted(name for name in found if re.match(r"lib(cu|nv|nccl)", name))


def wanted_symbols(libraries, missing):
    """Symbols by version, and the versions of each missing library. Symbols without version have the version ''."""
    symbols, versions = {}, {name: set() for name in missing}
    for library in libraries:
        for name, _, version in re.findall(r" U (\w+)(@+(\S+))?", output("nm", "-D", "--undefined-only", str(library))):
            symbols.setdefault(version, set()).add(name)
        for source, block in re.findall(r"required from (\S+):\n((?:    .*\n)+)", output("objdump", "-p", str(library))):
            if source in versions:
                versions[source].update(line.split()[-1] for line in block.splitlines())
    return symbols, versions


def compile_stub(folder, soname, symbols, versions, extra):
    """A library `soname` with the symbols of its versions, and `extra` ones without version."""
    names = sorted(set().union(extra, *(symbols.get(version, ()) for version in versions)))
    with tempfile.TemporaryDirectory() as work:
        source, script = pathlib.Path(work, "stub.c"), pathlib.Path(work, "stub.map")
        source.write_text("static void absent(void) { __builtin_trap(); }\n" +
                          "".join(f'void {name}(void) __attribute__((alias("absent")));\n' for name in names))
        script.write_text("".join(f"{version} {{ global: {' '.join(f'{s};' for s in sorted(symbols.get(version, ())))} }};\n"
                                  for version in sorted(versions)))
        versioned = [f"-Wl,--version-script={script}"] if versions else []
        subprocess.run(["cc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{soname}", *versioned, "-o", str(folder / soname),
                        str(source)], check=True)


def main(site_packages):
    folder = pathlib.Path(site_packages, "torch", "lib")
    libraries = sorted(folder.glob("lib*.so"))
    missing = missing_libraries(libraries)
    symbols, versions = wanted_symbols(libraries, missing)
    loose = {name for name in symbols.get("", ()) if re.match(r"cu[A-Zs]|nccl|nvshmem|cuFile", name)}
    for position, soname in enumerate(missing):
        compile_stub(folder, soname, symbols, versions[soname], loose if position == 0 else ())
    if missing:
        print(f"absent_libraries: {len(missing)} CUDA libraries stand in as stubs: {', '.join(missing)}")


if __name__ == "__main__":
    main(sys.argv[1])
