# SPDX-License-Identifier: Apache-2.0
"""Results as Markdown, CSV and JSON, and what they were measured with."""
import csv
import datetime
import json
import os
import platform
import subprocess

import table

FIELDS = ("phase", "model", "query_heads", "kv_heads", "dim", "keys", "batch", "threads", "peer", "method", "inputs", "detail",
          "bits", "calls", "median_ms", "min_ms", "gflops", "gigabytes_per_second", "roof", "roof_share", "relative_error",
          "max_error", "reference_error", "differs", "note")

MODEL_FIELDS = ("model", "engine", "method", "tokens", "prefill_tokens_per_second", "decode_tokens_per_second", "prefill_best",
                "decode_best", "runs", "threads", "note")


def machine():
    """Processor, memory and kernel, where the system tells."""
    facts = {"system": f"{platform.system()} {platform.release()}", "architecture": platform.machine(),
             "processors": os.cpu_count(), "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds")}
    try:
        with open("/proc/cpuinfo") as file:
            info = dict(line.split(":", 1) for line in file if ":" in line)
        facts["processor"] = next(v.strip() for k, v in info.items() if k.strip() == "model name")
        flags = next(v for k, v in info.items() if k.strip() == "flags").split()
        facts["features"] = [f for f in flags if f.startswith(("avx", "amx", "fma", "f16c"))]
        with open("/proc/meminfo") as file:
            facts["memory_gib"] = round(int(file.readline().split()[1]) / 2**20, 1)
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
            facts["transparent_huge_pages"] = file.read().split("[")[1].split("]")[0]
    except (OSError, StopIteration, IndexError):
        pass
    return facts


def commit(root):
    def git(*arguments):
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True).stdout.strip()
    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + changed


def record(row):
    """A row of operator measurements as plain values."""
    p = row.problem
    values = {"phase": p.phase, "model": p.shape.model, "query_heads": p.shape.query_heads, "kv_heads": p.shape.kv_heads,
              "dim": p.shape.dim, "keys": p.keys, "batch": p.batch, "threads": p.threads, "peer": row.peer,
              "method": row.method, "inputs": row.inputs, "detail": row.detail, "differs": row.differs, "note": row.note}
    if row.times:
        values |= {"bits": row.bits, "calls": len(row.times), "median_ms": row.median * 1e3, "min_ms": row.best * 1e3,
                   "gflops": row.gflops, "gigabytes_per_second": row.gigabytes, "relative_error": row.error,
                   "roof": row.roof if p.phase == "prefill" else "read", "roof_share": row.share, "max_error": row.max_error,
                   "reference_error": row.reference_error, "roofs": row.roofs}
    return values


def write(folder, results):
    """results.json, results.csv, models.csv and table.md."""
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    for name, rows, fields in (("results.csv", results["rows"], FIELDS), ("models.csv", results["models"], MODEL_FIELDS)):
        if rows:
            with open(folder / name, "w", newline="") as file:
                writer = csv.DictWriter(file, fields, extrasaction="ignore", lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
    (folder / "table.md").write_text(table.page(results))
