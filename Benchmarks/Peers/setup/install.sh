# SPDX-License-Identifier: Apache-2.0
# Installs peers into a virtual environment, each by its own pinned requirements; sourced by ../run.
# shellcheck shell=bash

# Why a command failed, in one line: what pip or the compiler says last.
failure() {
    { grep -E '^ERROR|[Ee]rror:' "$1" || tail -n 1 "$1"; } | tail -n 1 | cut -c 1-200
}

pip_install() {
    "$venv/bin/python" -m pip --disable-pip-version-check --no-input -q install "$@"
}

# pinned NAME PACKAGE: the line of a package in the requirements of a peer; others NAME PACKAGE: all the rest.
pinned() { grep -E "^$2==" "$requirements/$1.txt"; }
others() { grep -vE "^(#|$2==)" "$requirements/$1.txt"; }

install_base() { pip_install -r "$requirements/base.txt"; }
install_onnxruntime() { pip_install -r "$requirements/onnxruntime.txt"; }
install_openvino() { pip_install -r "$requirements/openvino.txt"; }

install_pytorch() {
    # shellcheck disable=SC2046
    pip_install $(others pytorch torch) && pip_install --no-deps "$(pinned pytorch torch)" &&
        "$venv/bin/python" "$here/setup/absent_libraries.py" "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
}

# The libraries of llama.cpp alone: no programs, no tests. GGML_NATIVE takes the instructions of this processor.
install_llama.cpp() {
    local options="-DGGML_NATIVE=ON -DGGML_OPENMP=ON -DLLAVA_BUILD=OFF" part
    for part in COMMON EXAMPLES SERVER TESTS TOOLS; do options+=" -DLLAMA_BUILD_$part=OFF"; done
    # shellcheck disable=SC2046
    pip_install $(others llama.cpp llama-cpp-python) &&
        CMAKE_ARGS=$options CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)} \
            pip_install --no-cache-dir --no-deps --no-binary llama-cpp-python "$(pinned llama.cpp llama-cpp-python)"
}

# install NAME: once per version of its requirements; says how it went in $missing when it did not.
install() {
    local name=$1 log=$cache/install-$1.log stamp=$venv/$1.installed sum
    sum=$(cat "$requirements/$name.txt" "$here/setup/install.sh" | sha256sum)
    [[ -f $stamp && $(<"$stamp") == "$sum" ]] && return
    echo "peers: installing $name" >&2
    if "install_$name" >"$log" 2>&1; then
        echo "$sum" >"$stamp"
    else
        echo "$name=$(failure "$log") (all of it: $log)" >>"$missing"
    fi
}
