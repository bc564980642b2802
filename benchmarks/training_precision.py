"""What finetuning in bfloat16 costs in AUROC: the shipped model on PTB-XL's super-classes, out of fold, some seeds.

    python benchmarks/training_precision.py PTBXL [--folds 1 2 ...] [--seeds 3] [--epochs 3] [--json FILE]

PTBXL is the folder of PTB-XL (https://physionet.org/content/ptb-xl/1.0.3/). Its folds are divided into two halves; a
model that was finetuned on one predicts the other, in float32. Printed: the macro AUROC of the recordings (means of
their segments) for each seed and precision. The difference between precisions is to be held against that between seeds.
"""

import argparse
import json
import os
import warnings
from pathlib import Path

import numpy as np

import ecgfm
from ecgfm.metrics.ranking import ranking

PRECISIONS = ("float32", "bfloat16")


def load(folder, folds):
    """Segments (n, 12, N), the recording of each, labels (recordings, 5), folds and names of the labels."""
    tables = ecgfm.data.read_ptb_xl(folder)
    task = tables.task("superdiagnostic")
    chosen = np.flatnonzero(task.labelled & np.isin(tables.records["fold"], folds))
    segments, owner = [], []
    for number, row in enumerate(chosen):
        path = Path(folder, f"{tables.records['filename_lr'][row]}.hea")
        ready = np.asarray(ecgfm.prepare(path))
        segments.append(ready)
        owner += [number] * len(ready)
    y = task.y[chosen].astype(np.float32)
    return np.concatenate(segments), np.array(owner), y, tables.records["fold"][chosen], list(task.names)


def out_of_fold(data, options, seed, precision):
    """Probabilities of all recordings, each by the model that has not seen its half of the folds."""
    x, owner, y, folds, names = data
    halves = np.searchsorted(np.sort(np.unique(folds)), folds) % 2
    found = np.zeros_like(y)
    for half in (0, 1):
        seen = halves[owner] != half
        tuned = ecgfm.finetune(
            options.model,
            x[seen],
            y[owner[seen]],
            groups=owner[seen],
            labels=names,
            epochs=options.epochs,
            batch_size=16,
            seed=seed,
            precision=precision,
            schedule=options.lr,
            feature_grad_mult=1.0,
            progress=False,
        )
        given = np.concatenate([tuned.model(x[~seen][i : i + 64]).probabilities for i in range(0, (~seen).sum(), 64)])
        np.add.at(found, owner[~seen], given)
    return found / np.bincount(owner)[:, None]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(1, 9)))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ecgfm.InputWarning)
    data = load(options.folder, options.folds)
    report = {
        "recordings": len(data[2]),
        "folds": options.folds,
        "epochs": options.epochs,
        "lr": options.lr,
        "rows": [],
    }
    print(f"{len(data[2])} recordings, {len(data[0])} segments, folds {options.folds}, {os.cpu_count()} processors")
    for seed in range(1, options.seeds + 1):
        row = {"seed": seed}
        for precision in PRECISIONS:
            found = out_of_fold(data, options, seed, precision)
            each = ranking(data[2].astype(bool), found)[0]
            row[precision] = float(np.mean(each))
            row[f"{precision} labels"] = dict(zip(data[4], map(float, each)))
        report["rows"].append(row)
        moved = row["bfloat16"] - row["float32"]
        print(f"seed {seed}: float32 {row['float32']:.4f}, bfloat16 {row['bfloat16']:.4f}, {moved:+.4f}", flush=True)
    means = {name: np.array([row[name] for row in report["rows"]]) for name in PRECISIONS}
    spread = max(np.ptp(values) for values in means.values())
    moved = float(np.mean(means["bfloat16"] - means["float32"]))
    print(f"mean: bfloat16 {moved:+.4f} against float32; seeds differ by {spread:.4f}")
    report |= {"moved": moved, "spread": float(spread)}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
