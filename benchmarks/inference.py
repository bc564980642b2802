"""Times ecgfm against PyTorch, ONNX Runtime and OpenVINO on the same network, taking turns in one run.

python benchmarks/inference.py [--size base large] [--batch 1 8] [--threads 1 all] [--json FILE]
python benchmarks/inference.py --precision float32 bfloat16 int8
python benchmarks/inference.py --profile          # where ecgfm's time goes
python benchmarks/inference.py --size tiny --quick

README.md says how it measures.
"""

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import busy_seconds, linear_operations, machine, model_config, operations, processors, segments
from files import OURS, path_of
from profiling import by_kind, summarise

HERE = Path(__file__).resolve().parent
PATIENCE = 4  # times the wanted rounds, which are tried until enough of them are undisturbed
PAUSE = 0.03  # seconds in which the threads of the contestant that was at work stop waiting for more
TOLERANCE = 1e-4  # largest difference of a logit between two contestants

ERROR_SEGMENTS = 16  # of which the change of the probabilities is looked at
PEERS = {"ecgfm": "ecgfm", "torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
PRECISIONS = ("float32", "bfloat16", "int8")


class Entry(NamedTuple):
    """A program with a file that it loads; the first entry of each contestant is used for timing."""

    title: str
    peer: str
    precision: str
    kind: str  # of the file

    @property
    def contestant(self):
        return self.peer if self.precision == "float32" else f"{self.peer} {self.precision}"


ENTRIES = [
    Entry("ecgfm .safetensors", "ecgfm", "float32", "safetensors"),
    Entry("ecgfm .pt", "ecgfm", "float32", "checkpoint"),
    Entry("ecgfm bfloat16", "ecgfm", "bfloat16", "safetensors"),
    Entry("ecgfm bfloat16, saved so", "ecgfm", "bfloat16", "ecgfm_bfloat16"),
    Entry("ecgfm int8", "ecgfm", "int8", "safetensors"),
    Entry("ecgfm int8, saved so", "ecgfm", "int8", "ecgfm_int8"),
    Entry("PyTorch .pt", "torch", "float32", "torch"),
    Entry("PyTorch bfloat16 autocast", "torch", "bfloat16", "torch"),
    Entry("ONNX Runtime .onnx", "onnxruntime", "float32", "onnx"),
    Entry("ONNX Runtime dynamic int8", "onnxruntime", "int8", "onnx_int8"),
    Entry("OpenVINO .onnx", "openvino", "float32", "onnx"),
    Entry("OpenVINO bfloat16", "openvino", "bfloat16", "onnx"),
    Entry("OpenVINO int8 (NNCF)", "openvino", "int8", "openvino_int8"),
]
# Contestant -> its name in the tables.
TITLES = {
    entry.contestant: PEERS[entry.peer] if entry.precision == "float32" else entry.title for entry in reversed(ENTRIES)
}


class Absent(Exception):
    """A package or an interpreter is not there."""


class Failed(Exception):
    """A contestant is there and could not do its work."""


class Worker:
    """A contestant in a process of its own; it computes only while `ask` waits for it."""

    def __init__(self, contestant, python, threads, verbose_file=None, script="worker.py"):
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "ECGFM_NUM_THREADS": str(threads)}
        if verbose_file:
            environment |= {"ONEDNN_VERBOSE": "1"}
        self.contestant = contestant
        self._errors = verbose_file or tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                [python, str(HERE / script), contestant],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                text=True,
            )
        except OSError as error:
            raise Absent(f"{python}: {error.strerror}") from None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        with contextlib.suppress(BrokenPipeError):  # a process that has ended leaves a command unread
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.terminate()
        self._process.wait()

    def ask(self, do, **arguments):
        """Send one command and wait for its answer."""
        try:
            self._process.stdin.write(json.dumps({"do": do} | arguments) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": self._last_words()}
        if "absent" in answer:
            raise Absent(answer["absent"])
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def _last_words(self):
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"the process ended with status {self._process.returncode}: {lines[-1] if lines else 'no message'}"


class Benchmark:
    """The options, the prepared files and what was found so far."""

    def __init__(self, options, folder):
        self.options = options
        self.folder = Path(folder)
        self.scratch = self.folder / f"scratch-{os.getpid()}"
        self.scratch.mkdir(parents=True)
        self.missing = {}  # contestant or kind of file -> why it is not there
        self.failures = []

    def python(self, peer):
        return self.options.ecgfm_python if peer == "ecgfm" else self.options.peer_python

    def entries(self):
        """Those that were asked for."""
        options = self.options
        return [
            entry for entry in ENTRIES if entry.peer in options.contestants and entry.precision in options.precision
        ]

    def note(self, contestant, error):
        """Keeps what kept a contestant from taking part."""
        if isinstance(error, Absent):
            self.missing.setdefault(contestant, str(error))
        else:
            self.failures.append(f"{TITLES[contestant]}: {error}")
            print(f"{TITLES[contestant]} failed: {error}", file=sys.stderr)

    def file(self, size, kind):
        """A prepared file, written if it is not there; read once, so that it is in the page cache."""
        path = path_of(self.folder, size, kind)
        if kind in self.missing:
            raise Absent(self.missing[kind])
        if not path.exists():
            python = self.python("ecgfm" if kind in OURS else "torch")
            command = [python, str(HERE / "files.py"), kind, size, str(self.folder)]
            try:
                done = subprocess.run(command, capture_output=True, text=True)
            except OSError as error:
                raise Absent(f"{python}: {error.strerror}") from None
            if done.returncode:
                reason = done.stderr.strip().splitlines()[-1]
                if reason.startswith("ModuleNotFoundError"):
                    self.missing[kind] = f"{reason.partition(': ')[2]}, which writes {path.name}"
                    raise Absent(self.missing[kind])
                raise Failed(f"{path.name} could not be written: {reason}")
        with open(path, "rb") as file:
            while file.read(1 << 24):
                pass
        return str(path)

    def source(self, batch, first=0):
        path = self.scratch / f"x{first}-{batch}.npy"
        if not path.exists():
            np.save(path, segments(first + batch)[first:])
        return str(path)

    def logits(self, worker, batch):
        """Those of the first segments: of as many as the error is looked at, or of a batch."""
        count = batch if self.options.quick else max(batch, ERROR_SEGMENTS // batch * batch)
        output, found = str(self.scratch / "logits.npy"), []
        for first in range(0, count, batch):
            worker.ask("run", input=self.source(batch, first), output=output, times=1)
            found.append(np.load(output))
        return np.concatenate(found)


def start_workers(bench, size, batch, threads):
    """{contestant: (worker, version, logits, seconds a run)} of those that are there, loaded and warmed up."""
    ready, seen = {}, set()
    for entry in bench.entries():
        if entry.contestant in seen:
            continue
        seen.add(entry.contestant)
        worker = None
        try:
            worker = Worker(entry.peer, bench.python(entry.peer), threads)
            loaded = load(bench, worker, entry, size, batch, threads)
            logits = bench.logits(worker, batch)
            warm = worker.ask("run", input=bench.source(batch), times=3)["seconds"]
            ready[entry.contestant] = worker, loaded["version"], logits, min(warm)
        except (Absent, Failed) as error:
            bench.note(entry.contestant, error)
            if worker:
                worker.__exit__()
    return ready


def load(bench, worker, entry, size, batch, threads):
    path = bench.file(size, entry.kind)
    options = {"path": path, "threads": threads, "batch": batch, "precision": entry.precision}
    return worker.ask("load", config=model_config(size), **options)


def precision_of(contestant):
    return next(entry.precision for entry in ENTRIES if entry.contestant == contestant)


def is_disturbed(others, threads):
    """Whether other processes took more processors than the contestant leaves idle and 4 % of those that it uses."""
    return others > 0.9 * max(0, processors() - threads) + 0.04 * threads


def one_round(bench, ready, order, batch, threads):
    """A turn of each contestant: ({contestant: seconds of its runs}, {precision: peak}, was any turn disturbed)."""
    seconds, peaks, disturbed = {}, {}, False
    own = next((ready[name][0] for name in ready if name.partition(" ")[0] == "ecgfm"), None)
    for name in order:
        worker, _, _, estimate = ready[name]
        precision = precision_of(name)
        if own is not None and precision not in peaks:
            asked = {"threads": threads, "seconds": bench.options.seconds / 4, "precision": precision}
            peaks[precision] = own.ask("peak", **asked)["flops"]
        times = math.ceil(bench.options.seconds / estimate)
        answer = worker.ask("run", input=bench.source(batch), times=times + 1)
        seconds[name] = answer["seconds"][1:]
        disturbed = disturbed or is_disturbed(answer["others"], threads)
        time.sleep(PAUSE)
    return seconds, peaks, disturbed


def take_turns(bench, ready, batch, threads):
    """Rounds of `one_round`, and how many rounds were tried.

    Only one contestant computes at a time.  Who begins moves on by one each round, and the first run of each turn,
    in which threads wake up and caches fill, is not counted.  A round in which other processes took part is
    repeated; where there are not enough quiet ones, all count, and the table says that the machine was busy.
    """
    wanted, names, tried = bench.options.rounds, list(ready), []
    while len(tried) < wanted * PATIENCE:
        shift = len(tried) % len(names)
        tried.append(one_round(bench, ready, names[shift:] + names[:shift], batch, threads))
        quiet = [found for found in tried if not found[2]]
        if len(quiet) == wanted:
            return quiet, len(tried), False
    return (quiet, len(tried), False) if 2 * len(quiet) >= wanted else (tried, len(tried), True)


def timing_rows(size, batch, threads, ready, rounds):
    """One row a contestant; ratios and shares are medians of those of single rounds.

    A share of the peak is one of the contestant's precision; the change is that of a probability against float32.
    """
    work = operations(model_config(size)) * batch
    medians = {name: np.array([np.median(seconds[name]) for seconds, *_ in rounds]) for name in ready}
    exact = next((ready[name][2] for name in ready if precision_of(name) == "float32"), None)
    rows = []
    for name, (_, version, logits, _) in ready.items():
        precision = precision_of(name)
        runs = np.concatenate([seconds[name] for seconds, *_ in rounds])
        row = {
            "size": size,
            "batch": batch,
            "threads": threads,
            "contestant": name,
            "precision": precision,
            "version": version,
            "ms_median": float(np.median(runs)) * 1e3 / batch,
            "ms_min": float(runs.min()) * 1e3 / batch,
            "runs": len(runs),
            "gflops": work / float(np.median(runs)) / 1e9,
        }
        if "ecgfm" in ready:
            row["ratio"] = float(np.median(medians[name] / medians["ecgfm"]))
            row["difference"] = float(np.abs(logits - ready["ecgfm"][2]).max())
        if exact is not None:
            change = np.abs(probabilities(logits) - probabilities(exact))
            row |= {"change": float(change.max()), "change_mean": float(change.mean()), "segments": len(logits)}
        peaks = np.array([found.get(precision) or math.nan for _, found, _ in rounds])
        if np.isfinite(peaks).all():
            row["peak_gflops"] = float(np.median(peaks)) / 1e9
            row["share_of_peak"] = float(np.median(work / medians[name] / peaks))
            row["best_share_of_peak"] = work / float(runs.min()) / max(peaks)
        if precision == "int8":
            limits = [limit_of_int8(size, batch, found) for _, found, _ in rounds]
            if None not in limits:
                row["share_of_limit"] = float(np.median(np.array(limits) / medians[name]))
        rows.append(row)
    return rows


def limit_of_int8(size, batch, peaks):
    """Seconds at the peaks: linear layers in int8, the rest in the next precision; None where no peak is known."""
    rest = peaks.get("bfloat16") or peaks.get("float32")
    if not peaks.get("int8") or not rest:
        return None
    config = model_config(size)
    linear = linear_operations(config)
    return batch * (linear / peaks["int8"] + (operations(config) - linear) / max(rest, peaks.get("float32") or 0))


def probabilities(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def disagreements(ready, limit=TOLERANCE):
    """Pairs of contestants in float32 whose logits differ by more than `limit`, and what is not finite, as text."""
    names = [name for name in ready if precision_of(name) == "float32"]
    others = [name for name in ready if name not in names]
    found = [f"{TITLES[name]} gives no numbers" for name in others if not np.isfinite(ready[name][2]).all()]
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            a, b = ready[first][2], ready[second][2]
            difference = float(np.abs(a - b).max()) if a.shape == b.shape else math.inf
            if not difference <= limit:
                found.append(f"{TITLES[first]} and {TITLES[second]} differ by {difference:.2g} in a logit")
    return found


def measure_timings(bench):
    rows = []
    for size in bench.options.size:
        for threads in bench.options.threads:
            for batch in bench.options.batch:
                ready = start_workers(bench, size, batch, threads)
                try:
                    if ready:
                        bench.failures += disagreements(ready)
                        rounds, tried, busy = take_turns(bench, ready, batch, threads)
                        found = timing_rows(size, batch, threads, ready, rounds)
                        rows += [row | {"rounds": len(rounds), "rounds_tried": tried, "busy": busy} for row in found]
                        print_timings(rows[-len(found) :])
                finally:
                    for worker, *_ in ready.values():
                        worker.__exit__()
    return rows


def first_answer(bench, size, batch, threads, entry):
    """(seconds from the start of a process to its first answer, those of loading, most memory, was it disturbed)."""
    bench.file(size, entry.kind)  # written before the clock starts
    source = bench.source(batch)
    busy, own, begin = busy_seconds(), time.process_time(), time.perf_counter()
    with Worker(entry.peer, bench.python(entry.peer), threads) as worker:
        loaded = load(bench, worker, entry, size, batch, threads)
        worker.ask("run", input=source, times=1)
        seconds = time.perf_counter() - begin
        usage = worker.ask("usage")
        others = busy_seconds() - busy - usage["seconds"] - (time.process_time() - own)
    return seconds, loaded["seconds"], usage["bytes"], others > 0.05 * seconds + 0.02


def repeat_starts(bench, size, batch, threads):
    """{entry: what `first_answer` found each time}, all entries in turn, until all have enough undisturbed starts."""
    found, wanted, failed = {}, bench.options.starts, set()
    for _ in range(wanted * PATIENCE):
        for entry in bench.entries():
            starts = found.setdefault(entry, [])
            if entry in failed or entry.contestant in bench.missing or entry.kind in bench.missing:
                continue
            if sum(not start[-1] for start in starts) >= wanted:
                continue
            try:
                starts.append(first_answer(bench, size, batch, threads, entry))
            except Absent as error:
                bench.missing.setdefault(entry.contestant, str(error))
            except Failed as error:
                bench.note(entry.contestant, error)
                failed.add(entry)
        if all(sum(not start[-1] for start in starts) >= wanted for starts in found.values() if starts):
            break
    return {entry: starts for entry, starts in found.items() if starts}


def measure_starts(bench):
    rows = []
    threads = max(bench.options.threads)
    for size in bench.options.size:
        for batch in bench.options.batch:
            for entry, starts in repeat_starts(bench, size, batch, threads).items():
                quiet = [start for start in starts if not start[-1]]
                seconds, loading, memory, _ = np.array(quiet or starts, dtype=float).T
                rows.append(
                    {
                        "size": size,
                        "batch": batch,
                        "threads": threads,
                        "entry": entry.title,
                        "contestant": entry.contestant,
                        "starts": len(seconds),
                        "busy": not quiet,
                        "first_answer_s": float(np.median(seconds)),
                        "first_answer_min_s": float(seconds.min()),
                        "load_s": float(np.median(loading)),
                        "memory_mb": float(memory.max()) / 1e6,
                    }
                )
    print_starts(rows)
    return rows


def measure_profile(bench):
    """Runs ecgfm with oneDNN's record switched on, for each size, batch and number of threads."""
    found = []
    for size in bench.options.size:
        for threads in bench.options.threads:
            for batch in bench.options.batch:
                for precision in bench.options.precision:
                    found.append(profile_once(bench, size, batch, threads, precision))
                    print_profile(found[-1])
    return found


def profile_once(bench, size, batch, threads, precision):
    entry = next(entry for entry in ENTRIES if (entry.peer, entry.precision) == ("ecgfm", precision))
    record = bench.scratch / "onednn.txt"
    with open(record, "w+b") as text:
        with Worker("ecgfm", bench.python("ecgfm"), threads, verbose_file=text) as worker:
            source = bench.source(batch)
            load(bench, worker, entry, size, batch, threads)
            warm = worker.ask("run", input=source, times=2)["seconds"]
            times = max(3, math.ceil(bench.options.seconds * bench.options.rounds / min(warm)))
            begin = record.stat().st_size
            seconds = sum(worker.ask("run", input=source, times=times)["seconds"])
            asked = {"threads": threads, "seconds": bench.options.seconds, "precision": precision}
            peak = worker.ask("peak", **asked)["flops"] or math.nan
        rows = summarise(record.read_bytes()[begin:].decode(errors="replace"), times, seconds)
    return {
        "size": size,
        "batch": batch,
        "threads": threads,
        "precision": precision,
        "ms": seconds * 1e3 / times / batch,
        "peak_gflops": peak / 1e9,
        "kinds": by_kind(rows),
        "primitives": rows,
    }


def print_table(title, header, rows):
    """A table in Markdown, the first column left-aligned and the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    print(f"\n{title}\n")
    for row in [header, rule, *rows]:
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print(f"| {' | '.join([row[0].ljust(widths[0]), *rest])} |")
    sys.stdout.flush()


def print_timings(rows):
    first = rows[0]
    title = f"{first['size']}, batch {first['batch']}, threads {first['threads']}"
    peaks = {row["precision"]: f"{row['precision']} {row['peak_gflops']:.0f}" for row in rows if "peak_gflops" in row}
    if peaks:
        title += f"; peak {', '.join(peaks.values())} GFLOP/s"
    title += f"; {first['rounds']} rounds, {first['rounds_tried']} tried"
    if first["busy"]:
        title += "; THE MACHINE WAS BUSY WITH OTHER PROCESSES"
    header = ["", "ms/segment", "min", "times ecgfm", "GFLOP/s", "of peak", "of limit", "differs by", "change of p"]
    forms = [
        "ms_median:.4g",
        "ms_min:.4g",
        "ratio:.2f",
        "gflops:.0f",
        "share_of_peak:.0%",
        "share_of_limit:.0%",
        "difference:.1e",
        "change:.1e",
    ]
    body = []
    for row in rows:
        cells = (form.split(":") for form in forms)
        body.append([TITLES[row["contestant"]], *(format(row[key], form) if key in row else "" for key, form in cells)])
    print_table(title, header, body)


def print_starts(rows):
    header = ["fresh process", "size", "batch", "first answer s", "min", "of it load", "peak memory MB"]
    body = [
        [
            row["entry"],
            row["size"],
            str(row["batch"]),
            f"{row['first_answer_s']:.2f}",
            f"{row['first_answer_min_s']:.2f}",
            f"{row['load_s']:.2f}",
            f"{row['memory_mb']:.0f}",
        ]
        for row in rows
    ]
    if rows:
        title = f"from process start to first answer, threads {rows[0]['threads']}, file in the page cache"
        if any(row["busy"] for row in rows):
            title += "; THE MACHINE WAS BUSY WITH OTHER PROCESSES"
        print_table(title, header, body)


def print_profile(profile):
    title = f"{profile['size']}, batch {profile['batch']}, threads {profile['threads']}"
    title += f", {profile.get('precision', 'float32')}: {profile['ms']:.4g} ms/segment"
    title += f"; peak {profile['peak_gflops']:.0f} GFLOP/s"

    def figures(row):
        share = row["gflops"] / profile["peak_gflops"]
        ms = f"{row['ms'] / profile['batch']:.3f}"
        rate = [f"{row['gflops']:.0f}", f"{share:.0%}"] if row["gflops"] else ["", ""]
        return [ms, f"{row['share']:.1%}", *rate]

    columns = ["ms/segment", "share", "GFLOP/s", "of peak"]
    print_table(title, ["kind", *columns], [[row["kind"], *figures(row)] for row in profile["kinds"]])
    body = [
        [f"{row['kind']} {row['problem']}", row["implementation"], f"{row['calls']:g}", *figures(row)]
        for row in profile["primitives"]
    ]
    print_table("by primitive", ["problem", "implementation", "calls", *columns], body)


def parse_options(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", nargs="+", default=["base", "large"], choices=["base", "large", "tiny"])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", nargs="+", default=["1", "all"], help="numbers, or 'all'")
    parser.add_argument("--contestants", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--precision", nargs="+", default=["float32"], choices=PRECISIONS, help="of the contestants")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contestant")
    parser.add_argument("--seconds", type=float, default=0.6, help="length of a turn, at least one run")
    parser.add_argument("--starts", type=int, default=5, help="fresh processes of each contestant, 0 for none")
    parser.add_argument("--quick", action="store_true", help="few and short turns, to see that it works")
    parser.add_argument("--profile", action="store_true", help="show where ecgfm's time goes, time nothing else")
    parser.add_argument("--ecgfm-python", default=sys.executable, help="interpreter that has ecgfm")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the other contestants")
    parser.add_argument("--files", default=None, help="folder that keeps the prepared files for the next run")
    parser.add_argument("--json", default=None, help="also write everything to this file")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.starts = 2, 0.02, min(1, options.starts)
    try:
        options.threads = sorted({processors() if n == "all" else int(n) for n in options.threads})
    except ValueError:
        parser.error("--threads takes numbers and 'all'")
    if min(options.threads + options.batch + [options.rounds]) < 1 or options.starts < 0 or options.seconds <= 0:
        parser.error("--threads, --batch, --rounds and --seconds are positive, --starts is not negative")
    return options


def main(arguments=None):
    options = parse_options(arguments)
    report = {"machine": machine()}
    print(", ".join(f"{key} {value}" for key, value in report["machine"].items()), flush=True)
    with tempfile.TemporaryDirectory(prefix="ecgfm-benchmark-") as temporary:
        bench = Benchmark(options, options.files or temporary)
        try:
            if options.profile:
                report["profiles"] = measure_profile(bench)
            else:
                report["timings"] = measure_timings(bench)
                report["starts"] = measure_starts(bench) if options.starts else []
        except (Absent, Failed) as error:
            bench.failures.append(str(error))
        finally:
            for path in bench.scratch.iterdir():
                path.unlink()
            bench.scratch.rmdir()
    report |= {"absent": bench.missing, "failures": bench.failures}
    for what, why in bench.missing.items():
        print(f"absent: {TITLES.get(what, f'the {what} file')} ({why})")
    for failure in bench.failures:
        print(f"failure: {failure}")
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    return 1 if bench.failures or "ecgfm" in bench.missing else 0


if __name__ == "__main__":
    sys.exit(main())
