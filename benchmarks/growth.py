"""How the cost of inference grows: with the batch, the threads, and the length of a segment.

    python benchmarks/growth.py [--size base] [--precision float32 bfloat16 int8] [--threads 1 2]
                                [--batch 1 2 4 8 16 32 64] [--seconds 5 10 20 30 60] [--json FILE] [--plot FILE.svg]

The classifier has random weights (speed does not depend on them). Each cell is the smallest time of a few runs, in
milliseconds for 5 s of signal, so that a line that stays level is a cost that grows in proportion. Attention grows with
the square of the length: of base it takes 3 % of the operations of 5 s, and 28 % of those of 60 s.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from many_files import make_model

import ecgfm

SAMPLES = 2500  # 5 s


def models(size, precisions):
    """A classifier of random weights in each precision."""
    model = make_model(size)
    return {precision: model.with_precision(precision) for precision in precisions}


def milliseconds(model, batch, seconds, budget):
    """The smallest time for 5 s of signal; at least two runs, and as many as fit into `budget` seconds."""
    x = np.random.default_rng(1).standard_normal((batch, 12, seconds * SAMPLES // 5), dtype=np.float32)
    times = []
    while len(times) < 2 or sum(times) < budget:
        began = time.perf_counter()
        model._core.forward(x)
        times.append(time.perf_counter() - began)
    return 1e3 * min(times) / (batch * seconds / 5)


def print_table(title, column, values, rows):
    print(f"\n{title}\n\n| {column} | " + " | ".join(map(str, values)) + " |")
    print("|---|" + "---:|" * len(values))
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(f"{cell:.4g}" for cell in cells) + " |", flush=True)


def plot(report, path):
    """Two panels, batch and length, a line per size, precision and number of threads."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    colours: dict[str, str] = {}
    ticks = [step * 10**power for power in range(-1, 5) for step in (1, 2, 5)]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axis, kind, label in zip(
        axes, ("batch", "seconds"), ("segments of 5 s", "seconds of one segment"), strict=True
    ):
        for name, cells in report[kind]["rows"].items():
            kind_of_line = name.partition(",")[0]
            colours.setdefault(kind_of_line, f"C{len(colours)}")
            style = {"color": colours[kind_of_line], "linestyle": "--" if name.endswith(" 1 thread") else "-"}
            axis.plot(report[kind]["values"], cells, marker="o", markersize=3, label=name, **style)
        axis.set(xscale="log", yscale="log", xlabel=label)
        axis.set_xticks(report[kind]["values"], map(str, report[kind]["values"]))
        axis.minorticks_off()
    low, high = axes[0].get_ylim()
    shown = [tick for tick in ticks if low < tick < high]
    axes[0].set_yticks(shown, [f"{tick:g}" for tick in shown])
    axes[0].minorticks_off()
    axes[0].set_ylabel("ms for 5 s of signal")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside right", fontsize="small")
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="+", default=["base"], choices=["base", "large", "tiny"])
    parser.add_argument("--precision", nargs="+", default=list(ecgfm._core.precisions()))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--seconds", type=int, nargs="+", default=[5, 10, 20, 30, 60])
    parser.add_argument("--budget", type=float, default=1.0, help="seconds for a cell, at least two runs")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()

    report = {"batch": {"values": options.batch, "rows": {}}, "seconds": {"values": options.seconds, "rows": {}}}
    for size in options.size:
        for precision, model in models(size, options.precision).items():
            for threads in options.threads:
                ecgfm.set_num_threads(threads)
                milliseconds(model, 1, 5, 0)
                name = f"{size} {precision}, {threads} thread{'s' if threads > 1 else ''}"
                for kind, values in (("batch", options.batch), ("seconds", options.seconds)):
                    sizes = [(value, 5) if kind == "batch" else (1, value) for value in values]
                    report[kind]["rows"][name] = [milliseconds(model, *each, options.budget) for each in sizes]
    print_table("Segments of 5 s: ms a segment by batch", "batch", options.batch, report["batch"]["rows"])
    print_table("One segment: ms for 5 s by its length", "seconds", options.seconds, report["seconds"]["rows"])
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        plot(report, options.plot)


if __name__ == "__main__":
    main()
