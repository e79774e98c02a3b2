# SPDX-License-Identifier: Apache-2.0
"""Plots of the results, each as SVG and PNG: a roofline, prefill and decode against context length, whole models."""
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

import table

OURS = "longhand"
COLORS = {OURS: "#c2185b", "onnxruntime": "#1f77b4", "pytorch": "#e6770b", "openvino": "#2e8b57", "llama.cpp": "#7a5bb0"}
NAMES = {OURS: "Longhand", "onnxruntime": "ONNX Runtime", "pytorch": "PyTorch", "openvino": "OpenVINO",
         "llama.cpp": "llama.cpp"}
STYLES = {"f32": ("-", "o"), "16 bit": ("--", "s"), "quantised": (":", "^")}
plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": .25,
                     "svg.fonttype": "none", "svg.hashsalt": "longhand", "axes.titlesize": 11, "axes.titleweight": "bold"})


def draw(results, folder):
    rows = [row for row in results["rows"] if row.get("median_ms") and not row["differs"]]
    for phase, name in (("prefill", "prefill"), ("decode", "decode")):
        part = [row for row in rows if row["phase"] == phase and row["batch"] == 1]
        if part:
            save(against_length(part, phase, results), folder / name)
    if rows:
        save(roofline(rows, results), folder / "roofline")
    for model, part in table.grouped([row for row in results["models"] if row["runs"]], "model"):
        save(models(model[0], part, results), folder / ("model-" + model[0].split()[0].lower()))


def save(figure, path):
    figure.savefig(path.with_suffix(".svg"), bbox_inches="tight", metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), bbox_inches="tight", dpi=130)
    plt.close(figure)


def footer(figure, results):
    facts = results["machine"]
    figure.text(.5, -.01, f"{facts.get('processor', facts['architecture'])}, {facts['processors']} processors, "
                f"{facts['date'][:10]}, commit {results['commit']}; medians of interleaved calls", ha="center", va="top",
                fontsize=8, color="#666")


def tokens(value, _=None):
    return f"{value / 1024:g}K" if value >= 1024 else f"{value:g}"


def fastest(rows, *keys):
    """The fastest row of each combination of keys."""
    best = {}
    for row in rows:
        key = tuple(table.width(row) if name == "width" else row[name] for name in keys)
        if key not in best or row["median_ms"] < best[key]["median_ms"]:
            best[key] = row
    return best


def spread(positions, gap):
    """Moves positions apart so that labels do not overlap, keeping their order."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    moved = list(positions)
    for _ in range(200):
        for low, high in zip(order, order[1:]):
            overlap = gap - (moved[high] - moved[low])
            if overlap > 1e-9:
                moved[low] -= overlap / 2
                moved[high] += overlap / 2
    return moved


def label_ends(axes, lines):
    """Names each line at its end, in its colour. `lines`: (x, y, text, colour)."""
    axes.figure.canvas.draw()
    to_axes = axes.transAxes.inverted()
    heights = [to_axes.transform(axes.transData.transform((x, y)))[1] for x, y, _, _ in lines]
    for (x, y, text, color), height in zip(lines, spread(heights, .052)):
        axes.annotate(text, (x, y), (1.06, height), xycoords="data", textcoords="axes fraction", color=color, va="center",
                      fontsize=8.5, arrowprops={"arrowstyle": "-", "color": color, "lw": .5, "alpha": .6, "relpos": (0, .5),
                                                "shrinkA": 1, "shrinkB": 3})


def against_length(rows, phase, results):
    """One panel per model, all threads; the fastest method of each peer and width."""
    most = max(row["threads"] for row in rows)
    panels = list(table.grouped([row for row in rows if row["threads"] == most], "model", "dim", "threads"))
    panels = [panel for panel in panels if len({row["keys"] for row in panel[1]}) > 1] or panels
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure, grid = plt.subplots(lines, columns, figsize=(7.2 * columns, 4.4 * lines), squeeze=False)
    for axes in grid.flat[len(panels):]:
        axes.remove()
    for axes, ((model, dim, threads), part) in zip(grid.flat, panels):
        panel(axes, phase, part)
        axes.set_title(f"{model}, d {dim}, {threads} thread{'s' if threads > 1 else ''}", loc="left")
    title = "Causal prefill" if phase == "prefill" else "Decode of one query"
    figure.suptitle(f"{title}: the fastest method of each library (% of its roof at the right end)", x=.01, ha="left", fontsize=13, fontweight="bold")
    figure.tight_layout(w_pad=3, h_pad=2)
    footer(figure, results)
    return figure


def panel(axes, phase, rows):
    ends = []
    for (peer, width), points in table.grouped([row | {"width": table.width(row)} for row in rows], "peer", "width"):
        points = sorted(fastest(points, "keys").values(), key=lambda row: row["keys"])
        xs, ys = [row["keys"] for row in points], [table.rate(row) for row in points]
        line, marker = STYLES[width]
        axes.plot(xs, ys, line, marker=marker, color=COLORS[peer], lw=2.4 if peer == OURS else 1.3, ms=5)
        share = f" ({100 * points[-1]['roof_share']:.0f} %)"
        ends.append((xs[-1], ys[-1], f"{NAMES[peer]} {points[-1]['method']}{share}", COLORS[peer]))
    lengths = sorted({row["keys"] for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [tokens(n) for n in lengths])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1.15 * max(table.rate(row) for row in rows))
    axes.set_xlabel("tokens of context")
    axes.set_ylabel("GFLOP/s" if phase == "prefill" else "GB/s of keys and values as kept")
    label_ends(axes, ends)


def roofline(rows, results):
    """Speed against arithmetic intensity with all threads: decode on the left, prefill on the right."""
    threads = max(row["threads"] for row in rows)
    rows = [row for row in rows if row["threads"] == threads]
    roofs = results["roofs"][str(threads)]["before"]
    roofs = {name: max(value, results["roofs"][str(threads)].get("after", roofs)[name]) for name, value in roofs.items()}
    figure, axes = plt.subplots(figsize=(10.5, 6))
    low, high = .3, 3e4
    for name, text in (("f32", "f32 FMA"), ("bf16", "bf16 dot product"), ("int8", "int8 dot product")):
        top = roofs[name]
        axes.plot([low, top / roofs["read"], high], [low * roofs["read"], top, top], color="#444", lw=1)
        axes.text(high, top, f" {text} {top:.0f} GFLOP/s", va="center", fontsize=8.5, color="#444")
    axes.text(low * 1.1, low * 1.1 * roofs["read"], f"DRAM {roofs['read']:.0f} GB/s", rotation=40, rotation_mode="anchor",
              va="bottom", fontsize=8.5, color="#444")
    for (peer, phase, width, *_), row in fastest(rows, "peer", "phase", "width", "model", "dim", "keys", "batch").items():
        # What must be read once: keys and values; for prefill also queries, and outputs are written.
        moved = row["gigabytes_per_second"] * row["median_ms"] * 1e6
        if phase == "prefill":
            moved += 8 * row["keys"] * row["query_heads"] * row["dim"]
        intensity = row["gflops"] * row["median_ms"] * 1e6 / moved
        axes.plot(intensity, row["gflops"], STYLES[width][1], color=COLORS[peer], ms=8 if peer == OURS else 5.5,
                  alpha=.95 if peer == OURS else .65, mec="white", mew=.6, zorder=3 if peer == OURS else 2)
    legend(axes)
    axes.set(xscale="log", yscale="log", xlim=(low, high), xlabel="arithmetic intensity, flops per byte that must move",
             ylabel="GFLOP/s")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_title(f"Roofline, {threads} threads: decode (left) and prefill (right) of all shapes", loc="left")
    footer(figure, results)
    return figure


def legend(axes):
    handles = [plt.Line2D([], [], color=color, marker="o", ls="", label=NAMES[peer]) for peer, color in COLORS.items()]
    handles += [plt.Line2D([], [], color="#555", marker=marker, ls="", label=width) for width, (_, marker) in STYLES.items()]
    axes.legend(handles=handles, loc="lower right", frameon=False, fontsize=9, ncols=2)


def models(model, rows, results):
    """Tokens/s of every engine's settings, prefill and decode side by side."""
    lengths = sorted({row["tokens"] for row in rows})
    names = [(row["engine"], row["method"]) for row in rows]
    names = sorted(set(names), key=names.index)
    figure, grid = plt.subplots(1, 2, figsize=(15, 1.2 + .32 * len(lengths) * len(names) / 1.6))
    for axes, part in zip(grid, ("prefill", "decode")):
        bars(axes, part, rows, lengths, names)
    figure.suptitle(f"{model}, {rows[0]['threads']} threads", x=.01, ha="left", fontsize=13, fontweight="bold")
    figure.tight_layout(w_pad=3)
    footer(figure, results)
    return figure


def bars(axes, part, rows, lengths, names):
    key, position, ticks = part + "_tokens_per_second", 0, []
    for length in lengths:
        group = [row for name in names for row in rows
                 if (row["engine"], row["method"]) == name and row["tokens"] == length and row.get(key)]
        group.sort(key=lambda row: -row[key])
        for row in group:
            axes.barh(position, row[key], color=COLORS[row["engine"]], height=.82, alpha=1 if row["engine"] == OURS else .75)
            axes.text(row[key], position, f" {row[key]:.0f}  {NAMES[row['engine']]} {row['method']}", va="center", fontsize=8.5,
                      fontweight="bold" if row["engine"] == OURS else "normal")
            position += 1
        if group:
            ticks.append((position - (len(group) + 1) / 2, f"{length}\ntokens"))
        position += .8
    axes.set_yticks([tick for tick, _ in ticks], [text for _, text in ticks])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 1.45 * max((row[key] for row in rows if row.get(key)), default=1))
    axes.set_xlabel("tokens/s")
    axes.set_title("Prefill of so many tokens" if part == "prefill" else "Decode after so many tokens", loc="left")
