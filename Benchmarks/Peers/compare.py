# SPDX-License-Identifier: Apache-2.0
"""Compares Longhand with its peers; started by `run`, which installs and builds what this needs."""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import measure
import models
import operators
import plot
import problems
import report
import roofs
import table
from worker import PeerError, Worker

GIVEN_BY_RUN = ("root", "cache", "library", "plugins", "roofs-library", "longhand", "missing", "models-folder")


def arguments():
    parser = argparse.ArgumentParser(prog="Benchmarks/Peers/run", description=__doc__)
    parser.add_argument("--peers", default=",".join(name for name in operators.OPERATORS if name != measure.OURS),
                        help="peers to compare with, of: %(default)s")
    parser.add_argument("--ours", default="f32,bf16,f16,k8v16,q8,q4,direct:f32,direct:bf16",
                        help="our methods, STORE[/ATTENTION] or direct:TYPE (default: %(default)s)")
    parser.add_argument("--ours-models", default="bf16,bf16@int8,k8v16@int8,q8@int8",
                        help="our whole models, STORE[/ATTENTION][@LINEAR] (default: %(default)s)")
    parser.add_argument("--suites", default="operators,models", help="operators, models or both (default)")
    parser.add_argument("--threads", default=f"{os.cpu_count()},1", help="thread counts (default: %(default)s)")
    parser.add_argument("--filter", default="", help="only problems whose title matches this regular expression")
    parser.add_argument("--quick", action="store_true", help="few problems and rounds")
    parser.add_argument("--rounds", type=int, help="most rounds of interleaved calls per problem")
    parser.add_argument("--gaussian", action="store_true", help="Gaussian inputs, no traces of real text")
    parser.add_argument("--trace", action="append", default=[], metavar="MODEL=FILE",
                        help="a trace of `longhand trace` for the problems of a model, e.g. SmolLM2-135M=FILE")
    parser.add_argument("--allow-missing", action="store_true", help="exit with 0 although a peer could not be installed")
    parser.add_argument("--output", type=pathlib.Path, help="folder of the results (default: a new one named by the date)")
    parser.add_argument("--list", action="store_true", help="print the problems and stop")
    parser.add_argument("--plot", type=pathlib.Path, metavar="RESULTS.json", help="draw the plots of earlier results again")
    for name in GIVEN_BY_RUN:
        parser.add_argument("--" + name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.peers = [measure.OURS] + [name for name in options.peers.split(",") if name]
    unknown = set(options.peers) - set(operators.OPERATORS)
    if unknown:
        parser.error(f"unknown peer {', '.join(sorted(unknown))}; there are {', '.join(operators.OPERATORS)}")
    try:
        options.threads = [int(text) for text in options.threads.split(",")]
        options.filter = re.compile(options.filter)
    except (ValueError, re.error) as error:
        parser.error(str(error))
    return options


def given_by_user(words):
    """The command line without what `run` adds, which says where things lie on one machine."""
    words = iter(words)
    return [word for word in words if not (word.removeprefix("--") in GIVEN_BY_RUN and next(words))]


class Workers:
    """One process per peer and thread count, started when first asked for and again after it died."""

    def __init__(self, settings, missing):
        self.settings, self.running, self.missing = settings, {}, dict(missing)

    def __call__(self, name, threads):
        if name in self.missing:
            raise PeerError(self.missing[name])
        worker = self.running.get((name, threads))
        if worker is None or not worker.alive:
            load = (roofs.Roofs,) if name == "roofs" else (operators.load, name)
            self.running[name, threads] = worker = Worker(name, threads, *load, threads, self.settings)
        return worker

    def close(self):
        for worker in self.running.values():
            worker.close()
        self.running.clear()


def missing_peers(path):
    """`NAME=reason` lines that `run` wrote."""
    lines = pathlib.Path(path).read_text().splitlines() if path else []
    return dict(line.split("=", 1) for line in lines if line)


def text_to_read():
    """Long enough for 36000 tokens; every Debian system holds it."""
    folder = pathlib.Path("/usr/share/common-licenses")
    names = ("GPL-3", "GPL-2", "LGPL-2.1", "GFDL-1.3", "MPL-2.0", "Apache-2.0", "GPL-1", "LGPL-3", "Artistic", "MPL-1.1")
    return "\n\n".join((folder / name).read_text() for name in names)


def record_traces(options, settings, log):
    """Traces by model: those given, those in the cache folder, and where possible new ones."""
    given = dict(item.split("=", 1) for item in options.trace)
    sources = {problems.SMOLLM2.model: ("SmolLM2-135M-Instruct Q4_1", 15), problems.GEMMA.model: ("Gemma-3-270m Q4_K_M", 11)}
    for model, (name, layer) in sources.items():
        path = pathlib.Path(options.cache, f"trace-{model}.safetensors")
        if model in given:
            continue
        if not path.exists() and options.longhand:
            log(f"recording a trace of {model}")
            text = pathlib.Path(settings["folder"], "trace.txt")
            text.write_text(settings["text"])
            part = path.with_suffix(".part")
            subprocess.run([options.longhand, "trace", "-m", settings["models"][name], "-f", str(text), "-c", "8192",
                            "--layers", str(layer), "-o", str(part)], check=True, stderr=subprocess.DEVNULL)
            part.rename(path)
        if path.exists():
            given[model] = path
    return {model: problems.Trace(path) for model, path in given.items()}


def choose(options):
    problem_list = (problems.quick_suite if options.quick else problems.suite)(options.threads)
    return [problem for problem in problem_list if options.filter.search(str(problem))]


def run_operators(options, settings, workers, results, log, save):
    traces = {} if options.gaussian else record_traces(options, settings, log)
    limits = measure.Limits()
    if options.quick:
        limits = measure.Limits(seconds=4, call=6, rounds=5)
    limits.rounds = options.rounds or limits.rounds
    comparison = measure.Comparison(options.peers, workers, limits, settings["folder"], traces, log)
    for problem in choose(options):
        log(str(problem))
        results["rows"] += [report.record(row) for row in comparison.run(problem)]
        save()


def run_models(options, settings, results, log, save):
    engines = [name for name in models.ENGINES if name in options.peers and name not in results["missing"]]
    rounds = options.rounds or (1 if options.quick else 3)
    for model in models.MODELS:
        lengths = [n for n in models.TOKENS[model] if n < 8000 or not options.quick]
        lengths = [n for n in lengths if options.filter.search(f"{model} {n}")]
        if not lengths:
            continue
        runs = models.Runs(engines, max(options.threads), settings, rounds, log)
        try:
            results["models"] += [row.record() for row in runs.run(model, lengths)]
            results["versions"] |= {f"{name} engine": version for name, version in runs.versions.items()
                                    if version not in results["versions"].values()}
        finally:
            runs.close()
        save()


def measure_roofs(workers, threads, results, when):
    for count in threads:
        results["roofs"].setdefault(str(count), {})[when] = workers("roofs", count).call("ask", "all")


def find_versions(options, workers, results):
    for name in options.peers:
        try:
            results["versions"][name] = workers(name, max(options.threads)).call("version")
        except PeerError as error:
            results["missing"].setdefault(name, str(error))
            workers.missing[name] = str(error)


def main():
    options = arguments()
    if options.list:
        print("\n".join(map(str, choose(options))))
        return 0
    if options.plot:
        plot.draw(json.loads(options.plot.read_text()), options.plot.parent)
        return 0
    log = lambda text: print(text, file=sys.stderr, flush=True)
    commit = report.commit(options.root)
    missing = {name: reason for name, reason in missing_peers(options.missing).items() if name in options.peers}
    results = {"machine": report.machine(), "commit": commit, "command": given_by_user(sys.argv[1:]), "versions": {}, "missing": missing,
               "roofs": {}, "rows": [], "models": []}
    output = options.output or pathlib.Path(options.root, "Benchmarks", "Results", time.strftime("%Y-%m-%d-%H%M"))

    def save():
        """Called after every problem, so that a run that is ended loses nothing."""
        output.mkdir(parents=True, exist_ok=True)
        report.write(output, results)

    with tempfile.TemporaryDirectory(dir=options.cache) as folder:
        cached = pathlib.Path(options.models_folder)
        settings = {"library": options.library, "plugins": options.plugins, "roofs": options.roofs_library, "commit": commit,
                    "ours": options.ours, "model_stores": options.ours_models, "longhand": options.longhand,
                    "models": {name: str(cached / file) for name, file in models.MODELS.items()}, "text": text_to_read(),
                    "folder": folder}
        workers = Workers(settings, missing)
        try:
            find_versions(options, workers, results)
            measure_roofs(workers, options.threads, results, "before")
            if "operators" in options.suites:
                run_operators(options, settings, workers, results, log, save)
            measure_roofs(workers, options.threads, results, "after")
        finally:
            workers.close()
        if "models" in options.suites:
            run_models(options, settings, results, log, save)
    save()
    plot.draw(results, output)
    log(f"results in {output}")
    return verdict(results, options)


def verdict(results, options):
    """1 if an output of ours is wrong, 2 if a peer is missing, in a line each."""
    wrong = [row for row in results["rows"] if row["peer"] == measure.OURS and (row["differs"] or row["note"])]
    for row in wrong:
        print(f"peers: {table.title(row)} {row['phase']} {row['method']}: {row['note'] or 'wrong output'}", file=sys.stderr)
    for name, reason in results["missing"].items():
        print(f"peers: {name} is missing: {reason}", file=sys.stderr)
    return 1 if wrong else 2 if results["missing"] and not options.allow_missing else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (PeerError, OSError, subprocess.CalledProcessError) as error:
        print(f"peers: {error}", file=sys.stderr)
        sys.exit(2)
