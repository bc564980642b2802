"""WFDB files to packed segments: ecgfm beside wfdb + scipy + NumPy, and reading the packed file in batches.

    python benchmarks/preprocessing.py [--records 2000] [--rates 500,400,1000] [--json FILE]

Makes simulated 12-lead recordings of 10 s in format 16, as PhysioNet stores them. In turns, some hundred recordings at
a time, each contestant reads, resamples to 500 Hz, standardises, cuts and writes them to one array with an index:
`files`. `memory` is the same without reading: the signals lie in memory as wfdb gives them. Both work in one process;
ecgfm's time is that of the whole command with its journal, tables and syncs. Then batches are read from the packed file
by `ecgfm.data.Loader`. Prints recordings and segments per second of one core's processor time and of the clock, and the
resident memory after each turn. All results are compared; a difference above 1e-6 makes the run fail.
"""

import argparse
import csv
import json
import os
import shutil
import sys
import tempfile
import time

import numpy as np

from ecgfm.data import Dataset, Files, Loader, Recording, open_packed, preprocess
from ecgfm.ecg import LEADS, simulate

_TARGETS = {"files": 2.0, "memory": 4.0, "loader": 2000.0}


def make_records(folder, count, rates, seconds):
    """Simulated recordings, the same few dozen hearts again and again; returns the paths without an ending."""
    made = {}
    paths = []
    for i in range(count):
        rate, heart = rates[i % len(rates)], i % 36
        if (rate, heart) not in made:
            signal = simulate(seconds, rate, seed=heart, heart_rate=50 + heart).signal
            made[rate, heart] = np.round(signal.T * 1000).astype("<i2")
        counts = made[rate, heart]
        below = os.path.join(folder, f"set/g{i // 1000}")
        os.makedirs(below, exist_ok=True)
        path = os.path.join(below, f"r{i:06d}")
        counts.tofile(f"{path}.dat")
        lines = [f"r{i:06d} 12 {rate} {len(counts)}"]
        lines += [f"r{i:06d}.dat 16 1000/mV 16 0 {counts[0, j]} 0 0 {name}" for j, name in enumerate(LEADS)]
        with open(f"{path}.hea", "w") as file:
            file.write("\n".join([*lines, "#Age: 60", "#Sex: Male", "#Dx: 426783006", ""]))
        paths.append(path)
    return paths


def read_plainly(path):
    """(signal (12, samples) in mV, rate) by the library."""
    import wfdb

    record = wfdb.rdrecord(path)
    return record.p_signal.T, record.fs


def prepare_plainly(signal, rate):
    """(n, 12, 2500) float32 by scipy and NumPy."""
    from scipy.interpolate import interp1d

    if rate != 500:
        samples = int(signal.shape[1] * (500 / rate))
        at = np.linspace(0, samples - 1, signal.shape[1])
        signal = interp1d(at, signal)(np.arange(samples))
    signal = signal - signal.mean(axis=1, keepdims=True)
    deviation = signal.std(axis=1, keepdims=True)
    signal = np.where(deviation == 0, 0, signal / np.where(deviation == 0, 1, deviation))
    count = signal.shape[1] // 2500
    return signal[:, : count * 2500].reshape(12, count, 2500).swapaxes(0, 1).astype(np.float32)


def plainly(recordings, path):
    """Write the segments of (name, signal, rate) to one array and an index."""
    parts, rows = [], []
    for name, signal, rate in recordings:
        found = prepare_plainly(signal, rate)
        rows += [(name, i) for i in range(len(found))]
        parts.append(found)
    np.save(path, np.concatenate(parts))
    with open(f"{path}.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)


def by_wfdb(paths, folder):
    plainly(((os.path.basename(path), *read_plainly(path)) for path in paths), os.path.join(folder, "all.npy"))


def by_scipy(held, folder):
    plainly(held, os.path.join(folder, "all.npy"))


def by_ecgfm(paths, folder):
    write_table(folder, [{"path": os.path.relpath(path, TOP), "dataset": "set"} for path in paths])
    preprocess("physionet2021", folder, TOP, packed=True, workers=1)


def by_ecgfm_from_memory(held, folder):
    signals = {name: (signal, rate) for name, signal, rate in held}
    write_table(folder, [{"path": name} for name in signals])
    preprocess(
        Files(reader=lambda row: Recording(*signals[os.path.basename(row["path"])], LEADS)),
        folder,
        TOP,
        packed=True,
        workers=1,
    )


def write_table(folder, rows):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "records.csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def timed(work, what, folder):
    """(clock, processor) seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    began, processor = time.perf_counter(), time.process_time()
    work(what, folder)
    return time.perf_counter() - began, time.process_time() - processor


def compared(ours, theirs):
    """The largest difference between what both have written."""
    found = open_packed(os.path.join(ours, "packed", "all.npy"))
    expected = np.load(os.path.join(theirs, "all.npy"), mmap_mode="r")
    if found.x.shape != expected.shape:
        return float("inf")
    return float(max(np.abs(a - b).max() for a, b in zip(found.x, expected)))


def loader_speed(path, threads, batch, least_s):
    """Segments per second of (clock, processor) time through the loader, from the page cache."""
    began, processor, count = time.perf_counter(), time.process_time(), 0
    loader = Loader(Dataset(path, training=True), batch_size=batch, threads=threads)
    epoch = 0
    while time.perf_counter() - began < least_s:
        epoch += 1
        count += sum(len(one.x) for one in loader.epoch(epoch))
    return count / (time.perf_counter() - began), count / (time.process_time() - processor)


def resident_mb():
    with open("/proc/self/statm") as file:
        return round(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def run(args, folder):
    global TOP
    TOP = os.path.join(folder, "raw")
    paths = make_records(TOP, args.records, args.rates, args.seconds)
    ours, theirs = os.path.join(folder, "ours"), os.path.join(folder, "theirs")
    spent = {name: np.zeros(2) for name in ("files ecgfm", "files plain", "memory ecgfm", "memory plain")}
    ratios, memory, worst = {"files": [], "memory": []}, [], 0.0
    for turn, start in enumerate(range(0, len(paths), args.turn)):
        part = paths[start : start + args.turn]
        held = [(os.path.basename(path), *read_plainly(path)) for path in part]
        for kind, (first, second), what in (
            ("files", (by_ecgfm, by_wfdb), part),
            ("memory", (by_ecgfm_from_memory, by_scipy), held),
        ):
            pair = [("ecgfm", first, ours), ("plain", second, theirs)]
            took = {}
            for name, work, where in pair if turn % 2 else pair[::-1]:
                took[name] = timed(work, what, where)
                spent[f"{kind} {name}"] += took[name]
            worst = max(worst, compared(ours, theirs))
            ratios[kind].append(took["plain"][0] / took["ecgfm"][0])
        memory.append(resident_mb())
        print(
            f"{start + len(part):>6} recordings  {memory[-1]:8.1f} MB  files {ratios['files'][-1]:.2f}"
            f"  memory {ratios['memory'][-1]:.2f}",
            file=sys.stderr,
        )
    shutil.rmtree(ours)
    by_ecgfm(paths, ours)
    loader = {
        f"{threads} threads": [
            round(speed)
            for speed in loader_speed(
                os.path.join(ours, "packed", "all.npy"), threads, args.batch_size, args.seconds_of_loading
            )
        ]
        for threads in (0, 1, 2)
    }
    return {
        "records": len(paths),
        "records_per_s": {name: round(len(paths) / each[0], 1) for name, each in spent.items()},
        "records_per_processor_s": {name: round(len(paths) / each[1], 1) for name, each in spent.items()},
        "times": {kind: round(float(np.median(each)), 2) for kind, each in ratios.items()},
        "loader_segments_per_s_and_processor_s": loader,
        "largest_difference": worst,
        "memory_mb": memory,
        "targets": _TARGETS,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument(
        "--rates",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[500, 400, 1000],
        help="sampling rates in Hz, in turn (default 500,400,1000)",
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of a recording")
    parser.add_argument("--turn", type=int, default=200, help="recordings at a time")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seconds-of-loading", type=float, default=3.0)
    parser.add_argument("--json", metavar="FILE", help="write the result there as well")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(args, folder)
    print(json.dumps(found, indent=1))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(found, file, indent=1)
    return 1 if found["largest_difference"] > 1e-6 else 0


if __name__ == "__main__":
    sys.exit(main())
