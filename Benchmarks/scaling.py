#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How a run grows with its prompt: memory of activations and speed of three schedules, slopes, and the gain of threads.

Runs `longhand run --profile --json` over growing parts of a text and prints Markdown tables of medians. The schedules of
one length take turns, round by round, and so do the numbers of threads. Slopes are those of a straight line through the
logarithms of time and tokens, from about 4096 tokens up.
"""
import argparse
import json
import math
import statistics
import subprocess
import sys

SCHEDULES = {  # options, given the tokens of a block
    "blocks, all layers": lambda block: ["--block-tokens", str(block)],
    "blocks, layer by layer": lambda block: ["--block-tokens", str(block), "--chunk", str(2**31 - 1)],
    "unblocked": lambda block: ["--block-tokens", "0"],
}


def run(arguments, text, threads, options):
    command = [arguments.longhand, "run", "-m", arguments.model, "-f", "-", "--raw", "--profile", "--json"]
    command += ["-n", str(arguments.decode + 1), "-c", str(len(text) + arguments.decode + 8), "-t", str(threads)] + options
    done = subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        sys.exit(done.stderr.decode())
    return json.loads(done.stdout)


def attend(phase):
    return sum(row["seconds"] for row in phase["operators"] if row["name"] == "attend")


def measure(result):
    """Tokens, prefill seconds, of these in attention, seconds of a decoding step, of these in attention."""
    prefill, decode, steps = result["prefill"], result["decode"], max(result["decode"]["tokens"], 1)
    return (prefill["tokens"], prefill["seconds"], attend(result["profile"]["prefill"]), decode["seconds"] / steps,
            attend(result["profile"]["decode"]) / steps)


def median(measures):
    return tuple(statistics.median(values) for values in zip(*measures))


def slope(points):
    """Slope of log y over log x by least squares; None below two points."""
    logs = [(math.log(x), math.log(y)) for x, y in points if x >= 3800 and y > 0]
    if len(logs) < 2:
        return None
    mx, my = (sum(c) / len(logs) for c in zip(*logs))
    return sum((x - mx) * (y - my) for x, y in logs) / sum((x - mx) ** 2 for x, _ in logs)


def show_slope(name, points):
    value = slope(points)
    print(f"- {name}: {'-' if value is None else f'{value:.3f}'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-f", "--file", required=True, help="text, long enough for the longest prompt")
    parser.add_argument("--longhand", default="longhand", help="the command")
    parser.add_argument("--lengths", default="1024,2048,4096,8192", help="tokens, roughly")
    parser.add_argument("--threads", default="2,1", help="the first for the schedules, all for the gain of threads")
    parser.add_argument("--block", type=int, default=512)
    parser.add_argument("--decode", type=int, default=16, help="steps of decoding")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, of which the medians are printed")
    parser.add_argument("--schedules", default="; ".join(SCHEDULES), help="some of: " + "; ".join(SCHEDULES))
    arguments = parser.parse_args()
    text = open(arguments.file, encoding="utf-8").read()
    threads = [int(t) for t in arguments.threads.split(",")]
    schedules = [s.strip() for s in arguments.schedules.split(";")]
    if len(text) < 4000:
        parser.error("the text is too short")
    sample = run(arguments, text[:4000], threads[0], [])
    per_token = 4000 / sample["prefill"]["tokens"]

    print("| tokens | schedule | activations MiB | peak memory MiB | prefill tokens/s | attend s | decode ms |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    curves = {}
    for length in (int(n) for n in arguments.lengths.split(",")):
        part = text[: int(length * per_token)]
        rounds = [{name: run(arguments, part, threads[0], SCHEDULES[name](arguments.block)) for name in schedules}
                  for _ in range(arguments.rounds)]
        for name in schedules:
            point = median([measure(results[name]) for results in rounds])
            curves.setdefault(name, []).append(point)
            tokens, seconds, attending, step, _ = point
            result = rounds[0][name]
            print(f"| {tokens} | {name} | {result['activationBytes'] / 2**20:.1f} | {result['peakMemoryBytes'] / 2**20:.0f} "
                  f"| {tokens / seconds:.1f} | {attending:.3f} | {1e3 * step:.2f} |", flush=True)

    first = curves[schedules[0]]
    print(f"\nSlopes from 4096 tokens up ({schedules[0]}):\n")
    for index, name in ((1, "prefill, all"), (2, "prefill, attend"), (3, "decode step, all"), (4, "decode step, attend")):
        show_slope(name, [(point[0], point[index]) for point in first])
    if len(threads) > 1:
        print("\nPrefill of the longest part, by threads:\n")
        rounds = [{t: measure(run(arguments, part, t, SCHEDULES[schedules[0]](arguments.block)))[:2] for t in threads}
                  for _ in range(arguments.rounds)]
        seconds = {t: statistics.median(times[t][1] for times in rounds) for t in threads}
        for t in sorted(threads):
            print(f"- {t}: {rounds[0][t][0] / seconds[t]:.1f} tokens/s, {seconds[min(threads)] / seconds[t]:.2f}x")


main()
