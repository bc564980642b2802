"""The frozen modes of finetuning in ecgfm: what a step takes where a part of the network is not trained.

For ``finetuning.py --frozen``. "kept" steps start from rows that were computed once, as in each epoch after the first.
"""

import math

import numpy as np
from common import model_config
from inference import Worker, print_table


def modes_of(size):
    """What is trained -> what the worker is told. The last layers are a third of the encoder's: 4 of base's 12."""
    last = max(1, model_config(size)["encoder_layers"] // 3)
    return {
        "all layers": {},
        f"last {last} layers": {"trainable": last},
        f"last {last} layers, kept": {"trainable": last, "kept": "float32"},
        f"last {last} layers, kept in bfloat16": {"trainable": last, "kept": "bfloat16"},
        "output layer": {"trainable": "head"},
        "output layer, kept": {"trainable": "head", "kept": "float32"},
        "adapters of rank 8": {"adapters": 8},
        f"adapters of rank 8 in the last {last} layers, kept": {"trainable": last, "adapters": 8, "kept": "float32"},
    }


def measure_mode(bench, size, batch, threads, mode):
    """(seconds of the steps, the most memory in MB) of a fresh process."""
    worker = Worker("ecgfm", bench.options.ecgfm_python, threads, None, "finetuning_worker.py")
    with worker:
        path = str(bench.file(size))
        worker.ask("load", config=model_config(size), path=path, threads=threads, batch=batch, **mode)
        source = bench.source(batch)
        first = worker.ask("run", input=source, times=2)["seconds"]
        times = max(2, math.ceil(bench.options.seconds / min(first)))
        seconds = worker.ask("run", input=source, times=times)["seconds"]
        return seconds, worker.ask("usage")["bytes"] / 1e6


def measure(bench):
    """A row for each mode; modes take turns."""
    rows, threads = [], max(bench.options.threads)
    for size in bench.options.size:
        for batch in bench.options.batch:
            modes = modes_of(size)
            found = {name: [] for name in modes}
            for _ in range(bench.options.rounds):
                for name, mode in modes.items():
                    found[name].append(measure_mode(bench, size, batch, threads, mode))
            rows += rows_of(size, batch, threads, found)
    print_rows(rows)
    return rows


def rows_of(size, batch, threads, found):
    rows = []
    whole = np.array([np.median(seconds) for seconds, *_ in found["all layers"]])
    for mode, rounds in found.items():
        medians = np.array([np.median(seconds) for seconds, *_ in rounds])
        rows.append(
            {
                "size": size,
                "batch": batch,
                "threads": threads,
                "mode": mode,
                "ms_median": float(np.median(medians)) * 1e3 / batch,
                "ms_min": float(min(min(seconds) for seconds, *_ in rounds)) * 1e3 / batch,
                "of_all_layers": float(np.median(medians / whole)),
                "memory_mb": float(max(memory for *_, memory in rounds)),
            }
        )
    return rows


def print_rows(rows):
    body = [
        [
            row["mode"],
            row["size"],
            str(row["batch"]),
            f"{row['ms_median']:.4g}",
            f"{row['ms_min']:.4g}",
            f"{row['of_all_layers']:.3f}",
            f"{row['memory_mb']:.0f}",
        ]
        for row in rows
    ]
    header = ["trained", "size", "batch", "ms/segment", "min", "of all layers", "peak memory MB"]
    print_table(f"a step where a part is frozen, threads {rows[0]['threads']}", header, body)
