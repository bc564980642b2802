"""Times a step of finetuning in ecgfm and PyTorch, eager and compiled, float32 and bfloat16, taking turns in one run.

python benchmarks/finetuning.py [--batch 4 16] [--threads 1 all] [--json FILE]
python benchmarks/finetuning.py --profile          # where ecgfm's time goes
python benchmarks/finetuning.py --frozen --batch 16   # what a step takes where a part is not trained
python benchmarks/finetuning.py --size tiny --quick

README.md says how it measures.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import frozen
import numpy as np
from common import machine, model_config, parameter_shapes, processors, segments, training_operations
from files import path_of
from inference import HERE, PAUSE, Absent, Failed, Worker, is_disturbed, print_profile, print_table
from profiling import by_kind, summarise

PATIENCE = 2  # times the wanted rounds, which are tried until enough of them are undisturbed
TITLES = {
    "ecgfm": "ecgfm",
    "ecgfm_bfloat16": "ecgfm bfloat16",
    "torch": "PyTorch eager",
    "torch_compiled": "PyTorch compiled",
    "torch_bfloat16": "PyTorch eager bfloat16",
    "torch_compiled_bfloat16": "PyTorch compiled bfloat16",
}
FROZEN = "encoder.feature_extractor."
LOSS_TOLERANCE = 1e-5  # of the loss
GRADIENT_TOLERANCE = 2e-4  # of the largest entry of a tensor's gradient
# Of bfloat16, whose numbers have 8 bits: against ecgfm's float32, to see that the same is computed. PyTorch in eager
# mode sums the gradients of norms' biases in bfloat16, which leaves 0.41 of the largest entry in one tensor of base.
LOWER_LOSS_TOLERANCE, LOWER_GRADIENT_TOLERANCE = 1e-2, 0.5
LONG_STEP = 0.5  # seconds: beside such a step the waking of threads counts for nothing


def is_ours(contestant):
    return contestant.startswith("ecgfm")


def tolerances(contestant):
    """Of the loss, and of the gradients."""
    lower = contestant.endswith("bfloat16")
    return (LOWER_LOSS_TOLERANCE, LOWER_GRADIENT_TOLERANCE) if lower else (LOSS_TOLERANCE, GRADIENT_TOLERANCE)


class Benchmark:
    """The options, a folder of temporary files and what was found so far."""

    def __init__(self, options, folder):
        self.options = options
        self.folder = Path(folder)
        self.missing = {}  # contestant -> why it is not there
        self.failures = []

    def source(self, batch):
        path = self.folder / f"x{batch}.npy"
        if not path.exists():
            np.save(path, segments(batch))
        return str(path)

    def file(self, size):
        """The weights as ``.safetensors``, written if they are not there."""
        path = path_of(self.folder, size, "safetensors")
        if not path.exists():
            command = [self.options.ecgfm_python, str(HERE / "files.py"), "safetensors", size, str(self.folder)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise Failed(f"{path.name} could not be written: {done.stderr.strip().splitlines()[-1]}")
        return path

    def worker(self, contestant, size, batch, threads, verbose_file=None):
        """(a `Worker` that has loaded the network, its version)."""
        python = self.options.ecgfm_python if is_ours(contestant) else self.options.peer_python
        worker = Worker(contestant, python, threads, verbose_file, "finetuning_worker.py")
        try:
            path = str(self.file(size)) if is_ours(contestant) else None
            loaded = worker.ask("load", config=model_config(size), path=path, threads=threads, batch=batch)
        except BaseException:
            worker.__exit__()
            raise
        return worker, loaded["version"]

    def note(self, contestant, error):
        """Keeps what kept a contestant from taking part."""
        if isinstance(error, Absent):
            self.missing.setdefault(contestant, str(error))
        else:
            self.failures.append(f"{TITLES[contestant]}: {error}")
            print(f"{TITLES[contestant]} failed: {error}", file=sys.stderr)

    def wanted(self):
        return [name for name in TITLES if name in self.options.contestants and name not in self.missing]


class Ready:
    """A contestant that takes part: its process, its version, its first loss, seconds a step."""

    def __init__(self, bench, contestant, size, batch, threads):
        self.worker, self.version = bench.worker(contestant, size, batch, threads)
        try:
            source, folder = bench.source(batch), bench.folder / contestant
            self.loss = self.worker.ask("gradients", input=source, folder=str(folder))["loss"]
            self.seconds = min(self.worker.ask("run", input=source, times=2)["seconds"])
        except BaseException:
            self.worker.__exit__()
            raise


def start(bench, size, batch, threads):
    """{contestant: `Ready`} of those that are there; the gradients of each are in its folder."""
    ready = {}
    for contestant in bench.wanted():
        try:
            ready[contestant] = Ready(bench, contestant, size, batch, threads)
        except (Absent, Failed) as error:
            bench.note(contestant, error)
    return ready


def gradient_difference(names, own, other):
    """The largest difference of a gradient, relative to the largest entry of its tensor, and that tensor's name.

    Parameters
    ----------
    names : iterable of str
        The tensors that both must have: where one hasn't, or where something isn't finite, the difference is infinite.
    own, other : Path
        Folders of arrays by name.

    Notes
    -----
    A key's bias has no gradient in theory, since softmax takes out what all keys share: what rounding leaves of it is
    measured against the query's.
    """
    largest, worst = 0.0, ""
    for name in names:
        paths = [folder / f"{name}.npy" for folder in (own, other)]
        if not all(path.exists() for path in paths):
            return math.inf, name
        a, b = (np.load(path) for path in paths)
        scale = float(np.abs(np.load(own / f"{name.replace('k_proj.bias', 'q_proj.bias')}.npy")).max())
        difference = float(np.abs(a - b).max()) if a.shape == b.shape else math.inf
        if not math.isfinite(difference) or difference > largest * scale:
            largest, worst = (difference / scale if scale and math.isfinite(difference) else math.inf), name
    return largest, worst


def compare(bench, size, ready):
    """{contestant: largest difference of a gradient from ecgfm's}; notes those that differ too much."""
    names = [name for name in parameter_shapes(model_config(size)) if not name.startswith(FROZEN)]
    found = {}
    for contestant, other in ready.items():
        if "ecgfm" not in ready:
            break
        own, (loss, gradient) = ready["ecgfm"], tolerances(contestant)
        if not abs(own.loss - other.loss) <= loss * abs(other.loss):
            bench.failures.append(f"{TITLES[contestant]} has a loss of {other.loss}, ecgfm of {own.loss}")
        found[contestant], name = gradient_difference(names, bench.folder / "ecgfm", bench.folder / contestant)
        if not found[contestant] <= gradient:
            difference = f"{found[contestant]:.2g} of its largest entry"
            bench.failures.append(f"{TITLES[contestant]} differs from ecgfm in the gradient of {name} by {difference}")
    for contestant in ready:
        shutil.rmtree(bench.folder / contestant)
    return found


def one_round(bench, ready, order, batch, threads):
    """A turn of each contestant: ({name: seconds of its steps}, the peak, disturbed or not, {name: processor time})."""
    seconds, own, peak, disturbed = {}, {}, None, False
    for name in order:
        contestant = ready[name]
        if name == "ecgfm":
            peak = contestant.worker.ask("peak", threads=threads, seconds=bench.options.seconds / 4)["flops"]
        first = 0 if contestant.seconds > LONG_STEP else 1
        times = first + math.ceil(bench.options.seconds / contestant.seconds)
        answer = contestant.worker.ask("run", input=bench.source(batch), times=times)
        seconds[name], own[name] = answer["seconds"][first:], answer["processor"][first:]
        disturbed = disturbed or is_disturbed(answer["others"], threads)
        time.sleep(PAUSE)
    return seconds, peak, disturbed, own


def take_turns(bench, ready, batch, threads):
    """(rounds that count, how many were tried, whether the machine was busy).

    Only one contestant computes at a time, and who begins moves on by one each round.  A round in which other
    processes took part is repeated; where there are not enough quiet ones, all count.
    """
    wanted, names, tried, quiet = bench.options.rounds, list(ready), [], []
    while len(tried) < wanted * PATIENCE and len(quiet) < wanted:
        shift = len(tried) % len(names)
        tried.append(one_round(bench, ready, names[shift:] + names[:shift], batch, threads))
        quiet = [found for found in tried if not found[2]]
    busy = 2 * len(quiet) < wanted
    return (tried if busy else quiet), len(tried), busy


def rows_of(size, batch, threads, ready, rounds, differences):
    """One row a contestant; ratios and shares are medians of those of single rounds."""
    work = training_operations(model_config(size)) * batch
    medians = {name: np.array([np.median(seconds[name]) for seconds, *_ in rounds]) for name in ready}
    rows = []
    for name, contestant in ready.items():
        own = np.concatenate([processor[name] for *_, processor in rounds])
        steps = np.concatenate([seconds[name] for seconds, *_ in rounds])
        row = {
            "size": size,
            "batch": batch,
            "threads": threads,
            "contestant": name,
            "version": contestant.version,
            "ms_median": float(np.median(steps)) * 1e3 / batch,
            "ms_min": float(steps.min()) * 1e3 / batch,
            "processor_ms_min": float(own.min()) * 1e3 / batch,
            "steps": len(steps),
            "gflops": work / float(np.median(steps)) / 1e9,
            "best_gflops": work / float(steps.min()) / 1e9,
            "loss": contestant.loss,
        }
        if "ecgfm" in ready:
            peaks = np.array([peak for _, peak, *_ in rounds])
            row["ratio"] = float(np.median(medians[name] / medians["ecgfm"]))
            row["best_ratio"] = row["ms_min"] / (min(min(s["ecgfm"]) for s, *_ in rounds) * 1e3 / batch)
            row["peak_gflops"] = float(np.median(peaks)) / 1e9
            row["share_of_peak"] = float(np.median(work / medians[name] / peaks))
            row["best_share_of_peak"] = work / float(steps.min()) / float(peaks.max())
            row["gradient_difference"] = differences[name]
        rows.append(row)
    return rows


def measure_timings(bench):
    rows = []
    for size in bench.options.size:
        for threads in bench.options.threads:
            for batch in bench.options.batch:
                ready = start(bench, size, batch, threads)
                try:
                    if ready:
                        differences = compare(bench, size, ready)
                        rounds, tried, busy = take_turns(bench, ready, batch, threads)
                        found = rows_of(size, batch, threads, ready, rounds, differences)
                        rows += [row | {"rounds": len(rounds), "rounds_tried": tried, "busy": busy} for row in found]
                        print_timings(rows[-len(found) :])
                finally:
                    for contestant in ready.values():
                        contestant.worker.__exit__()
    return rows


def measure_memory(bench):
    """The most memory of a fresh process that loads the network and takes two steps."""
    rows, threads = [], max(bench.options.threads)
    for size in bench.options.size:
        for batch in bench.options.batch:
            for name in bench.wanted():
                try:
                    worker, _ = bench.worker(name, size, batch, threads)
                    with worker:
                        worker.ask("run", input=bench.source(batch), times=2)
                        memory = worker.ask("usage")["bytes"]
                except (Absent, Failed) as error:
                    bench.note(name, error)
                    continue
                rows.append({"size": size, "batch": batch, "threads": threads, "contestant": name})
                rows[-1]["memory_mb"] = memory / 1e6
    print_memory(rows)
    return rows


def profile_once(bench, size, batch, threads):
    """ecgfm's steps with oneDNN's record of its primitives switched on."""
    record = bench.folder / "onednn.txt"
    with open(record, "w+b") as text:
        worker, _ = bench.worker("ecgfm", size, batch, threads, verbose_file=text)
        with worker:
            warm = worker.ask("run", input=bench.source(batch), times=2)["seconds"]
            times = math.ceil(bench.options.seconds * bench.options.rounds / min(warm))
            begin = record.stat().st_size
            seconds = sum(worker.ask("run", input=bench.source(batch), times=times)["seconds"])
            peak = worker.ask("peak", threads=threads, seconds=bench.options.seconds / 4)["flops"]
        rows = summarise(record.read_bytes()[begin:].decode(errors="replace"), times, seconds)
    rows[-1]["problem"] = "norms, GELU, softmax, bias gradients, Adam, Python"
    return {
        "size": size,
        "batch": batch,
        "threads": threads,
        "ms": seconds * 1e3 / times / batch,
        "peak_gflops": peak / 1e9,
        "kinds": by_kind(rows),
        "primitives": rows,
    }


def measure_profile(bench):
    found = []
    for size in bench.options.size:
        for threads in bench.options.threads:
            for batch in bench.options.batch:
                found.append(profile_once(bench, size, batch, threads))
                print_profile(found[-1])
    return found


def print_timings(rows, what="finetuning", item="segment"):
    first = rows[0]
    title = f"{what} {first['size']}, batch {first['batch']}, threads {first['threads']}"
    if "peak_gflops" in first:
        title += f"; peak {first['peak_gflops']:.0f} GFLOP/s"
    title += f"; {first['rounds']} rounds, {first['rounds_tried']} tried"
    if first["busy"]:
        title += "; THE MACHINE WAS BUSY WITH OTHER PROCESSES"
    header = ["", f"ms/{item}", "min", "processor ms", "times ecgfm", "of min", "GFLOP/s", "of peak", "best"]
    header.append("gradients differ by")
    body = []
    for row in rows:
        times = [f"{row[key]:.4g}" for key in ("ms_median", "ms_min", "processor_ms_min")]
        cells = [TITLES[row["contestant"]], *times, "", "", f"{row['gflops']:.0f}"]
        if "ratio" in row:
            cells[4:6] = [f"{row['ratio']:.2f}", f"{row['best_ratio']:.2f}"]
            shares = [f"{row['share_of_peak']:.0%}", f"{row['best_share_of_peak']:.0%}"]
            cells += [*shares, f"{row['gradient_difference']:.1e}"]
        body.append(cells + [""] * (len(header) - len(cells)))
    print_table(title, header, body)


def print_memory(rows):
    own = {(row["size"], row["batch"]): row["memory_mb"] for row in rows if row["contestant"] == "ecgfm"}
    body = []
    for row in rows:
        smaller = own.get((row["size"], row["batch"]))
        share = f"{smaller / row['memory_mb']:.0%}" if smaller else ""
        body.append([TITLES[row["contestant"]], row["size"], str(row["batch"]), f"{row['memory_mb']:.0f}", share])
    if rows:
        title = f"memory of a fresh process, two steps, threads {rows[0]['threads']}"
        print_table(title, ["", "size", "batch", "peak memory MB", "ecgfm takes of it"], body)


def parse_options(arguments, description=__doc__.splitlines()[0], batch=(4, 16)):  # noqa: B008
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--size", nargs="+", default=["base"], choices=["base", "large", "tiny"])
    parser.add_argument("--batch", nargs="+", type=int, default=list(batch))
    parser.add_argument("--threads", nargs="+", default=["1", "all"], help="numbers, or 'all'")
    parser.add_argument("--contestants", nargs="+", default=list(TITLES), choices=list(TITLES))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn, at least one step")
    parser.add_argument("--quick", action="store_true", help="few and short turns, to see that it works")
    parser.add_argument("--no-memory", action="store_true", help="don't measure peak memory in fresh processes")
    parser.add_argument("--profile", action="store_true", help="show where ecgfm's time goes, time nothing else")
    parser.add_argument("--frozen", action="store_true", help="time ecgfm with frozen parts, nothing else")
    parser.add_argument("--ecgfm-python", default=sys.executable, help="interpreter that has ecgfm")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has torch")
    parser.add_argument("--json", default=None, help="also write everything to this file")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 2, 0.02
    try:
        options.threads = sorted({processors() if n == "all" else int(n) for n in options.threads})
    except ValueError:
        parser.error("--threads takes numbers and 'all'")
    if min([*options.threads, *options.batch, options.rounds]) < 1 or options.seconds <= 0:
        parser.error("--threads, --batch, --rounds and --seconds are positive")
    return options


def main(arguments=None):
    options = parse_options(arguments)
    report = {"machine": machine()}
    print(", ".join(f"{key} {value}" for key, value in report["machine"].items()), flush=True)
    with tempfile.TemporaryDirectory(prefix="ecgfm-benchmark-") as folder:
        bench = Benchmark(options, folder)
        try:
            if options.profile:
                report["profiles"] = measure_profile(bench)
            elif options.frozen:
                report["frozen"] = frozen.measure(bench)
            else:
                report["timings"] = measure_timings(bench)
                report["memory"] = [] if options.no_memory else measure_memory(bench)
        except (Absent, Failed) as error:
            bench.failures.append(str(error))
    report |= {"absent": bench.missing, "failures": bench.failures}
    for what, why in bench.missing.items():
        print(f"absent: {TITLES[what]} ({why})")
    for failure in bench.failures:
        print(f"failure: {failure}")
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    return 1 if bench.failures or "ecgfm" in bench.missing else 0


if __name__ == "__main__":
    sys.exit(main())
