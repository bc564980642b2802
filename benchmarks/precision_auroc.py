"""What each precision costs in AUROC on real recordings: the shipped model on PTB-XL, which it has not seen.

    python benchmarks/precision_auroc.py PTBXL [--folds 1 2 ...] [--positives 30] [--model demo] [--json FILE]

PTBXL is the folder of PTB-XL (https://physionet.org/content/ptb-xl/1.0.3/). Each recording is predicted in each
precision that the processor has. Printed per label with enough positives: AUROC in float32, its change in the other
precisions, and the change of the recordings' probabilities, largest and mean.
"""

import argparse
import ast
import csv
import json
from pathlib import Path

import numpy as np

import ecgfm
from ecgfm.metrics.ranking import ranking

#: The SCP codes that make a recording positive, for the labels of the shipped model that PTB-XL has.
CODES = {
    "Sinus rhythm": {"SR"},
    "Premature ventricular contraction": {"PVC"},
    "Tachycardia": {"STACH", "SVTAC", "PSVT"},
    "Atrial fibrillation": {"AFIB"},
    "Bradycardia": {"SBRAD"},
    "1st degree atrioventricular block": {"1AVB"},
    "Right bundle branch block": {"CRBBB", "IRBBB"},
    "Left bundle branch block": {"CLBBB", "ILBBB"},
    "Electronic pacemaker": {"PACE"},
}


def recordings(folder, folds):
    """Paths of the recordings of these folds, and their SCP codes. A code counts whatever its likelihood."""
    with open(folder / "ptbxl_database.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if int(row["strat_fold"]) in folds]
    paths = [folder / f"{row['filename_lr']}.hea" for row in rows]
    return paths, [set(ast.literal_eval(row["scp_codes"])) for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(1, 11)))
    parser.add_argument("--positives", type=int, default=30, help="that a label needs (default 30)")
    parser.add_argument("--model", default="demo", help="a model with labels of the shipped one (default: that)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    paths, codes = recordings(options.folder, set(options.folds))
    model = ecgfm.load(options.model)
    known = [i for i, name in enumerate(model.labels) if name in CODES]
    truth = np.array([[bool(CODES[model.labels[i]] & row) for i in known] for row in codes])
    found = {}
    for precision in ecgfm._core.precisions():
        result = ecgfm.predict(model.with_precision(precision), paths, batch_size=16)
        found[precision] = np.stack([np.asarray(result.records[model.labels[i]], float) for i in known], 1)
        print(f"{precision}: {len(paths)} recordings", flush=True)

    report = {"recordings": len(paths), "folds": options.folds, "labels": []}
    auroc = {precision: ranking(truth, values)[0] for precision, values in found.items()}
    others = [precision for precision in found if precision != "float32"]
    print(
        "| label | positives | float32 |", " | ".join(f"{name}: AUROC, largest and mean change" for name in others), "|"
    )
    print("|---|---:|---:|" + "---|" * len(others))
    for k, i in enumerate(known):
        positives = int(truth[:, k].sum())
        if positives < options.positives:
            continue
        entry = {"label": model.labels[i], "positives": positives, "float32": float(auroc["float32"][k])}
        cells = []
        for name in others:
            change = np.abs(found[name][:, k] - found["float32"][:, k])
            moved = float(auroc[name][k] - auroc["float32"][k])
            entry[name] = {"auroc_change": moved, "largest": float(change.max()), "mean": float(change.mean())}
            cells.append(f"{moved:+.5f}, {change.max():.4f}, {change.mean():.5f}")
        report["labels"].append(entry)
        print(f"| {entry['label']} | {positives} | {entry['float32']:.4f} |", " | ".join(cells), "|")
    for name in others:
        largest = max(abs(entry[name]["auroc_change"]) for entry in report["labels"])
        print(f"{name}: no AUROC moves by more than {largest:.5f}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
