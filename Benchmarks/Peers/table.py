# SPDX-License-Identifier: Apache-2.0
"""The results as a page of Markdown: first how Longhand and its fastest peer compare, then every row."""
OURS = "longhand"
WIDTHS = ((32, "f32"), (16, "16 bit"), (0, "quantised"))


def number(value, digits=3):
    """Few significant digits, without exponent."""
    if value is None:
        return ""
    return f"{value:.{digits}g}" if abs(value) < 10 ** digits else f"{value:.0f}"


def markdown(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join("---" for _ in header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]) + "\n"


def grouped(rows, *keys):
    groups = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups.items()


PROBLEM = ("phase", "model", "query_heads", "kv_heads", "dim", "keys", "batch", "threads")


def title(row):
    batch = f", batch {row['batch']}" if row["batch"] > 1 else ""
    return f"{row['model']} {row['query_heads']}/{row['kv_heads']} d{row['dim']}, N {row['keys']}{batch}"


def width(row):
    """The class of element types within which methods are compared."""
    return next(name for bits, name in WIDTHS if row["bits"] >= bits)


def rate(row):
    return row["gflops"] if row["phase"] == "prefill" else row["gigabytes_per_second"]


def timed(rows):
    return sorted((row for row in rows if row.get("median_ms") and not row["differs"]), key=lambda row: row["median_ms"])


def page(results):
    parts = ["# Longhand and its peers, side by side\n", preamble(results), summary(results["rows"])]
    for (phase, threads), rows in grouped(results["rows"], "phase", "threads"):
        parts.append(f"## {phase.capitalize()}, {threads} thread{'s' if threads > 1 else ''}\n")
        parts += [problem_table(part) for _, part in grouped(rows, *PROBLEM)]
    for (model, threads), rows in grouped(results["models"], "model", "threads"):
        parts += [f"## Whole model: {model}, {threads} threads, tokens/s\n", model_summary(rows), model_table(rows)]
    return "\n".join(parts)


def preamble(results):
    facts = results["machine"]
    lines = [f"- {facts.get('processor', facts['architecture'])}, {facts['processors']} processors, "
             f"{facts.get('memory_gib', '?')} GiB, {facts['system']}; {facts['date']}",
             "- " + "; ".join(f"{name} {version}" for name, version in results["versions"].items()),
             *(f"- **{name} is missing**: {reason}" for name, reason in results["missing"].items())]
    for threads, times in results["roofs"].items():
        for when, roofs in times.items():
            text = ", ".join(f"{name} {number(value)}" for name, value in roofs.items())
            lines.append(f"- roofs {when}, {threads} thread{'s' if int(threads) > 1 else ''}: {text} "
                         "(GFLOP/s; reading in GB/s, of 2 MiB and of 4 KiB pages)")
    lines += ["- % of roof: for prefill of the method's arithmetic, for decode of reading DRAM in 2 MiB pages, both measured "
              "between the rounds of the same problem",
              "- GB/s: keys and values as they are kept, read once; GFLOP/s: 2 N² d per query head, half of the full matrix",
              "- error: 2-norm of the difference from Longhand's first method, relative to that of the output"]
    return "\n".join(lines) + "\n"


def summary(rows):
    """Within a width: Longhand's fastest, the fastest peer, and the ratio."""
    cells = []
    for _, part in grouped(rows, *PROBLEM):
        first = part[0]
        for _, name in WIDTHS:
            same = [row for row in timed(part) if width(row) == name]
            ours = next((row for row in same if row["peer"] == OURS), None)
            peer = next((row for row in same if row["peer"] != OURS), None)
            if not ours and not peer:
                continue
            cells.append((first["phase"], title(first), first["threads"], name,
                          f"{ours['method']}: {number(rate(ours))} ({100 * ours['roof_share']:.0f} %)" if ours else "",
                          f"{peer['peer']} {peer['method']}: {number(rate(peer))}" if peer else "",
                          f"**{peer['median_ms'] / ours['median_ms']:.2f}x**" if ours and peer else ""))
    if not cells:
        return ""
    header = ("phase", "problem", "threads", "width", "Longhand's fastest (% of roof)", "fastest peer", "Longhand is")
    return "## Fastest of each width\n\nGFLOP/s for prefill, GB/s for decode; the ratio is one of times.\n\n" + markdown(header, cells)


def problem_table(rows):
    first = rows[0]
    ours = {width(row): row["median_ms"] for row in reversed(timed(rows)) if row["peer"] == OURS}
    cells = []
    for row in sorted((row for row in rows if row.get("median_ms")), key=lambda row: row["median_ms"]):
        name = f"**{row['peer']}**" if row["peer"] == OURS else row["peer"]
        method = row["method"] + (" **differs**" if row["differs"] else "")
        base = ours.get(width(row))
        error = "" if row["relative_error"] is None else f"{row['relative_error']:.0e}"
        cells.append((name, method, number(row["median_ms"]), number(row["min_ms"]), number(rate(row)),
                      f"{100 * row['roof_share']:.0f}", number(row["median_ms"] / base) if base else "", error,
                      row["note"] or row["detail"]))
    cells += [(row["peer"], row["method"], "", "", "", "", "", "", row["note"]) for row in rows if not row.get("median_ms")]
    unit = "GFLOP/s" if first["phase"] == "prefill" else "GB/s"
    header = ("peer", "method", "ms", "ms min", unit, "% of roof", "time / ours of this width", "error", "detail")
    return f"### {title(first)} ({first['inputs']})\n\n" + markdown(header, cells)


def model_table(rows):
    cells = []
    for row in sorted(rows, key=lambda row: row["tokens"]):
        name = f"**{row['engine']}**" if row["engine"] == OURS else row["engine"]
        cells.append((row["tokens"], name, row["method"], number(row.get("prefill_tokens_per_second"), 4),
                      number(row.get("decode_tokens_per_second"), 4), row["note"]))
    return markdown(("tokens before", "engine", "method", "prefill", "decode", "note"), cells)


def model_summary(rows):
    """Longhand's best setting, the fastest engine in its best setting, and the ratio."""
    cells = []
    for (tokens,), part in grouped(rows, "tokens"):
        for key, name in (("prefill_tokens_per_second", "prefill"), ("decode_tokens_per_second", "decode")):
            part = sorted((row for row in part if row.get(key)), key=lambda row: -row[key])
            ours = next((row for row in part if row["engine"] == OURS), None)
            peer = next((row for row in part if row["engine"] != OURS), None)
            if ours and peer:
                cells.append((name, tokens, f"{ours['method']}: {number(ours[key], 4)}",
                              f"{peer['engine']} {peer['method']}: {number(peer[key], 4)}",
                              f"**{ours[key] / peer[key]:.2f}x**"))
    return markdown(("phase", "tokens before", "Longhand", "fastest engine", "Longhand is"), cells) if cells else ""
