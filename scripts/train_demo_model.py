"""Trains the small model that ships in the package, ecgfm/assets/demo, on simulated patients; and evaluates it.

Everything follows from the seed. Run from the root of the repository; needs the extra [train]:
python scripts/train_demo_model.py --out build/demo
"""

import argparse
import json
import sys
import time
import zlib
from pathlib import Path

import numpy as np

import ecgfm
from ecgfm._files import write_text
from ecgfm._threads import core
from ecgfm.checkpoint import write_directory
from ecgfm.ecg import SIMULATED_LABELS, simulate_cohort

CONFIG = {
    "encoder_layers": 3,
    "encoder_embed_dim": 96,
    "encoder_ffn_embed_dim": 192,
    "encoder_attention_heads": 4,
    "layer_norm_first": False,
    "extractor_mode": "default",
    "conv_feature_layers": [(64, 2, 2)] * 4,
    "conv_bias": False,
    "conv_pos": 32,
    "conv_pos_groups": 8,
    "in_d": 12,
    "num_labels": len(SIMULATED_LABELS),
}
TRAINING, VALIDATION, TEST = 100, 200, 300  # added to the seed: three cohorts without a common patient


CARD = """# The demonstration model

A small ECG-FM ({layers} layers of width {width}) for `ecgfm demo`, tests and examples.

- **Input and output**: as of every ECG-FM model, 5 s of 12 leads at 500 Hz; ten of the published model's labels.
- **Training data**: {patients:,} simulated patients of `ecgfm.ecg.simulate_cohort`, 5 s of each. No patient's data.
- **Training**: `{command}` from random initial values, {minutes:.0f} minutes of one processor.
- **What it is not**: a model of real ECGs. It has seen none; its figures, and its calibration, say nothing of how it
  would do on them; simulated hearts are simpler than hearts (`docs/simulator.md`). It makes no diagnosis.

## On {test_patients:,} other simulated patients

In brackets 95 % intervals of 1,000 resamples of the patients. Calibration error: expected calibration error, ten bins
of equal numbers. Baseline: AUROC of a logistic regression on the heart rate and each lead's mean and deviation.

| label | with it | AUROC | AUPRC | Brier score | calibration error | baseline |
|---|---|---|---|---|---|---|
{table}

Mean AUROC {mean:.4f}, of the baseline {baseline:.4f}.
"""


# ---- initial values ---------------------------------------------------------------------------------


def draw(rng, shape, distribution, scale):
    """A tensor of initial values, as the parameter table describes them."""
    if distribution in ("zeros", "ones"):
        return np.full(shape, float(distribution == "ones"), np.float32)
    if distribution == "normal":
        return (scale * rng.standard_normal(shape)).astype(np.float32)
    low, high = (0, 1) if distribution == "unit" else (-scale, scale)
    return rng.uniform(low, high, shape).astype(np.float32)


def initial_values(config, seed):
    """{name: array}; each tensor is drawn from the seed and its own name."""
    tensors, norms = {}, []
    for name, shape, (distribution, scale) in core().initial_values(config, "classifier"):
        rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
        tensors[name] = draw(rng, shape, distribution, scale)
        if distribution == "tap_norm":
            norms.append(name)
    for name in norms:  # the gain of a tap starts as the norm of its direction
        direction = tensors[name.removesuffix("0") + "1"]
        tensors[name] = np.sqrt((direction.astype(np.float64) ** 2).sum(axis=(0, 1), keepdims=True)).astype(np.float32)
    return tensors


# ---- evaluation -------------------------------------------------------------------------------------


def features(cohort):
    """Heart rate, and each lead's mean and deviation: what no morphology should be found with."""
    return np.column_stack([cohort.heart_rate, cohort.signal.mean(axis=2), cohort.signal.std(axis=2)])


def baseline(x, y, held):
    """(n, Y) probabilities of a logistic regression: fitted on `features` x and labels y, for the features `held`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    columns = []
    for truth in y.T:
        fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(x, truth)
        columns.append(fitted.predict_proba(held)[:, 1])
    return np.stack(columns, axis=1)


def calibration(p, truth, bins=10):
    """Expected calibration error of (n,) probabilities: bins of equal numbers."""
    parts = np.array_split(np.argsort(p, kind="stable"), bins)
    return float(sum(len(part) / len(p) * abs(p[part].mean() - truth[part].mean()) for part in parts))


def scores(p, truth, seed, resamples=1000):
    """Per label: AUROC and AUPRC with 95 % intervals of resampled patients, Brier score and calibration error."""
    from ecgfm.inference.evaluate_metrics import weighted_ranking

    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(p), np.full(len(p), 1 / len(p)), resamples)
    found = {}
    for i, label in enumerate(SIMULATED_LABELS):
        y = truth[:, i] > 0
        both = weighted_ranking(p[:, i], y, np.vstack([np.ones((1, len(p)), int), weights]))
        auroc, auprc = (np.asarray(values, np.float64) for values in both)
        row = {"positives": int(y.sum())}
        for name, values in (("auroc", auroc), ("auprc", auprc)):
            low, high = np.nanquantile(values[1:], (0.025, 0.975))
            row |= {name: float(values[0]), f"{name}_low": float(low), f"{name}_high": float(high)}
        row["brier"] = float(np.mean((p[:, i] - y) ** 2))
        row["calibration_error"] = calibration(p[:, i], y)
        found[label] = row
    return found


# ---- training ---------------------------------------------------------------------------------------


def probabilities(model, x, batch=32):
    return np.concatenate([model(x[i : i + batch]).probabilities for i in range(0, len(x), batch)])


def train(args):
    print("simulating", flush=True)
    train = simulate_cohort(args.patients, seed=args.seed + TRAINING)
    valid = simulate_cohort(max(args.patients // 10, 50), seed=args.seed + VALIDATION)
    x, valid_x = train.prepared()[0], valid.prepared()[0]
    start = ecgfm.Model.from_state_dict(CONFIG, initial_values(CONFIG, args.seed), labels=SIMULATED_LABELS)
    updates = args.epochs * -(-len(x) // args.batch_size)
    schedule = {"_name": "tri_stage", "lr": [args.lr], "phase_ratio": [0.05, 0.45, 0.5], "max_update": updates}
    print(f"finetuning: {len(x):,} segments, {updates:,} updates, {start.num_parameters:,} parameters", flush=True)
    began, used = time.monotonic(), time.process_time()

    def tell(row):
        print(
            f"epoch {row['epoch']}  {time.monotonic() - began:.0f} s  loss {row['train_loss']:.4f}"
            f"  valid loss {row['valid_loss']:.4f}  valid auroc {row['valid_auroc_macro']:.4f}",
            flush=True,
        )

    tuned = ecgfm.finetune(
        start,
        x,
        train.y,
        valid=(valid_x, valid.y),
        epochs=args.epochs,
        batch_size=args.batch_size,
        monitor="auroc_macro",
        seed=args.seed,
        schedule=schedule,
        feature_grad_mult=1.0,
        activation_dropout=0.0,
        optimizer={"clip_norm": 1.0, "weight_decay": 0.01},
        labels=SIMULATED_LABELS,
        progress=False,
        callback=tell,
    )
    return tuned, train, time.process_time() - used


def mean_auroc(found):
    return float(np.mean([row["auroc"] for row in found.values()]))


def card(args, found, linear, seconds):
    """The model card."""
    rows = [
        f"| {label} | {row['positives']} | {row['auroc']:.3f} ({row['auroc_low']:.3f}-{row['auroc_high']:.3f}) |"
        f" {row['auprc']:.3f} ({row['auprc_low']:.3f}-{row['auprc_high']:.3f}) | {row['brier']:.3f} |"
        f" {row['calibration_error']:.3f} | {linear[label]['auroc']:.3f} |"
        for label, row in found.items()
    ]
    return CARD.format(
        layers=CONFIG["encoder_layers"],
        width=CONFIG["encoder_embed_dim"],
        patients=args.patients,
        test_patients=args.test_patients,
        command=args.command,
        minutes=seconds / 60,
        table="\n".join(rows),
        mean=mean_auroc(found),
        baseline=mean_auroc(linear),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="a model directory (default build/demo)")
    parser.add_argument("--patients", type=int, default=9000)
    parser.add_argument("--test-patients", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    given = [f"--{name.replace('_', '-')} {value}" for name, value in vars(args).items()
             if value != parser.get_default(name) and name not in ("out", "threads")]  # fmt: skip
    args.command = " ".join(["python scripts/train_demo_model.py", *given])
    if args.threads:
        ecgfm.set_num_threads(args.threads)
    tuned, training, seconds = train(args)
    print("evaluating", flush=True)
    test = simulate_cohort(args.test_patients, seed=args.seed + TEST)
    found = scores(probabilities(tuned.model, test.prepared()[0]), test.y, args.seed)
    linear = scores(baseline(features(training), training.y, features(test)), test.y, args.seed)
    write_directory(
        args.out,
        kind="classifier",
        config=tuned.model.config,
        tensors=tuned.model.state_dict(),
        labels=SIMULATED_LABELS,
        info={"training": "simulated patients"},
    )
    write_text(args.out / "README.md", card(args, found, linear, seconds))
    report = {"best_epoch": tuned.best_epoch, "processor_seconds": seconds, "model": found, "baseline": linear}
    write_text(args.out / "evaluation.json", json.dumps(report, indent=1) + "\n")
    for label, row in found.items():
        print(f"{label:36s} AUROC {row['auroc']:.3f}  AUPRC {row['auprc']:.3f}  baseline {linear[label]['auroc']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
