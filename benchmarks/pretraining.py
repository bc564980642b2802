"""Times a step of pretraining in ecgfm against PyTorch (eager), float32 and bfloat16, taking turns in one run.

python benchmarks/pretraining.py [--batch 8] [--threads 1 all] [--json FILE]
python benchmarks/pretraining.py --size tiny --quick

A batch is a number of pairs. README.md says how it measures.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import machine, pretraining_config, pretraining_operations, pretraining_shapes, segments
from finetuning import (
    LOSS_TOLERANCE,
    LOWER_GRADIENT_TOLERANCE,
    LOWER_LOSS_TOLERANCE,
    TITLES,
    Benchmark,
    gradient_difference,
    is_ours,
    measure_memory,
    parse_options,
    print_timings,
    take_turns,
)
from inference import Absent, Failed, Worker

CONTESTANTS = ("ecgfm", "ecgfm_bfloat16", "torch", "torch_bfloat16")
DROPOUT = 0.1
COMPARED = 2  # pairs of the batch whose gradients are compared, without dropout
GRADIENT_TOLERANCE = 5e-4  # of the largest entry of a tensor's gradient


class Pretraining(Benchmark):
    """As in finetuning, with pairs."""

    def source(self, batch):
        path = self.folder / f"pairs{batch}.npy"
        if not path.exists():
            np.save(path, segments(2 * batch))
        return str(path)

    def worker(self, contestant, size, batch, threads, dropout=DROPOUT):
        python = self.options.ecgfm_python if is_ours(contestant) else self.options.peer_python
        worker = Worker(contestant, python, threads, None, "pretraining_worker.py")
        try:
            config = pretraining_config(size)
            loaded = worker.ask("load", config=config, dropout=dropout, threads=threads, batch=batch)
        except BaseException:
            worker.__exit__()
            raise
        return worker, loaded["version"]

    def wanted(self):
        return [name for name in CONTESTANTS if name in self.options.contestants and name not in self.missing]


class Ready:
    """A contestant that takes part: its process, its version, seconds a step."""

    def __init__(self, bench, contestant, size, batch, threads):
        self.worker, self.version = bench.worker(contestant, size, batch, threads)
        try:
            self.seconds = min(self.worker.ask("run", input=bench.source(batch), times=2)["seconds"])
        except BaseException:
            self.worker.__exit__()
            raise


def start(bench, size, batch, threads):
    ready = {}
    for contestant in bench.wanted():
        try:
            ready[contestant] = Ready(bench, contestant, size, batch, threads)
        except (Absent, Failed) as error:
            bench.note(contestant, error)
    return ready


def compare(bench, size):
    """{contestant: largest difference of a gradient from ecgfm's}, without dropout."""
    losses, found = {}, {}
    try:
        for name in bench.wanted():
            worker, _ = bench.worker(name, size, COMPARED, max(bench.options.threads), dropout=0.0)
            with worker:
                folder = str(bench.folder / name)
                losses[name] = worker.ask("gradients", input=bench.source(COMPARED), folder=folder)["loss"]
    except (Absent, Failed) as error:
        bench.note(name, error)
    names = pretraining_shapes(pretraining_config(size))
    for contestant, other in losses.items() if "ecgfm" in losses else ():
        own, lower = losses["ecgfm"], contestant.endswith("bfloat16")
        if not abs(own - other) <= (LOWER_LOSS_TOLERANCE if lower else LOSS_TOLERANCE) * abs(other):
            bench.failures.append(f"{TITLES[contestant]} has a loss of {other}, ecgfm of {own}")
        found[contestant], name = gradient_difference(names, bench.folder / "ecgfm", bench.folder / contestant)
        if not found[contestant] <= (LOWER_GRADIENT_TOLERANCE if lower else GRADIENT_TOLERANCE):
            difference = f"{found[contestant]:.2g}"
            bench.failures.append(f"{TITLES[contestant]} differs from ecgfm in the gradient of {name} by {difference}")
    for name in losses:
        shutil.rmtree(bench.folder / name)
    return found


def rows_of(size, batch, threads, ready, rounds, differences):
    """One row a contestant; ratios and shares are medians of those of single rounds."""
    work = pretraining_operations(pretraining_config(size), batch)
    medians = {name: np.array([np.median(seconds[name]) for seconds, *_ in rounds]) for name in ready}
    peaks, rows = np.array([peak or np.nan for _, peak, *_ in rounds]), []
    for name, contestant in ready.items():
        own = np.concatenate([processor[name] for *_, processor in rounds])
        steps = np.concatenate([seconds[name] for seconds, *_ in rounds])
        row = {"size": size, "batch": batch, "threads": threads, "contestant": name, "version": contestant.version}
        row |= {"ms_median": float(np.median(steps)) * 1e3 / batch, "ms_min": float(steps.min()) * 1e3 / batch}
        row |= {"processor_ms_min": float(own.min()) * 1e3 / batch, "steps": len(steps)}
        row |= {"gflops": work / float(np.median(steps)) / 1e9, "best_gflops": work / float(steps.min()) / 1e9}
        if "ecgfm" in ready:
            best = min(min(seconds["ecgfm"]) for seconds, *_ in rounds)
            row |= {
                "ratio": float(np.median(medians[name] / medians["ecgfm"])),
                "best_ratio": float(steps.min()) / best,
                "peak_gflops": float(np.median(peaks)) / 1e9,
                "share_of_peak": float(np.median(work / medians[name] / peaks)),
                "best_share_of_peak": work / float(steps.min()) / float(peaks.max()),
                "gradient_difference": differences.get(name, 0.0),
            }
        rows.append(row)
    return rows


def measure_timings(bench):
    rows = []
    for size in bench.options.size:
        differences = compare(bench, size)
        for threads in bench.options.threads:
            for batch in bench.options.batch:
                ready = start(bench, size, batch, threads)
                try:
                    if ready:
                        rounds, tried, busy = take_turns(bench, ready, batch, threads)
                        found = rows_of(size, batch, threads, ready, rounds, differences)
                        found = [row | {"rounds": len(rounds), "rounds_tried": tried, "busy": busy} for row in found]
                        print_timings(found, "pretraining", "pair")
                        rows += found
                finally:
                    for contestant in ready.values():
                        contestant.worker.__exit__()
    return rows


def main(arguments=None):
    options = parse_options(arguments, description=__doc__.splitlines()[0], batch=[8])
    report = {"machine": machine()}
    print(", ".join(f"{key} {value}" for key, value in report["machine"].items()), flush=True)
    with tempfile.TemporaryDirectory(prefix="ecgfm-benchmark-") as folder:
        bench = Pretraining(options, folder)
        report["timings"] = measure_timings(bench)
        report["memory"] = [] if options.no_memory else measure_memory(bench)
    report |= {"absent": bench.missing, "failures": bench.failures}
    for what, why in bench.missing.items():
        print(f"absent: {what} ({why})")
    for failure in bench.failures:
        print(f"failure: {failure}")
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    return 1 if bench.failures or "ecgfm" in bench.missing else 0


if __name__ == "__main__":
    sys.exit(main())
