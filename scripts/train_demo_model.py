"""Pretrains and finetunes the small model that ships in the package, ecgfm/assets/demo, on simulated patients, and
evaluates it on others.

Everything follows from the seed. Run from the root of the repository; needs the extra [train]:
python scripts/train_demo_model.py --out build/demo
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

import ecgfm
from ecgfm.checkpoint import write_directory
from ecgfm.ecg import SAMPLES, SIMULATED_LABELS, simulate_cohort
from ecgfm.storage.atomic import write_text

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
    "latent_vars": 64,
    "latent_groups": 2,
    "final_dim": 64,
}
PRETRAINING, TRAINING, VALIDATION, TEST = 400, 100, 200, 300  # added to the seed: cohorts without a common patient
CAVEAT = "This model knows simulated patients only: what it says of real recordings means nothing"
SHARES = (0.01, 0.1, 1.0)  # of the labels, to measure what pretraining is worth


CARD = """# The demonstration model

A small ECG-FM ({layers} layers of width {width}) for `ecgfm demo`, tests and examples.

- **Input and output**: as of every ECG-FM model, 5 s of 12 leads at 500 Hz; ten of the published model's labels.
- **Training data**: simulated patients of `ecgfm.ecg.simulate_cohort`, no real ones: {pretrain_patients:,}, twice 5 s
  of each, without labels, for pretraining (W2V, CMSC and masked leads); {patients:,} others, 5 s each, for finetuning.
- **Training**: `{command}`, {minutes:.0f} minutes of one processor for the model itself.
- **What it is not**: a model of real ECGs. It has seen none; its figures, and its calibration, say nothing of how it
  would do on them; simulated hearts are simpler than hearts (`docs/simulator.md`). It makes no diagnosis.

## On {test_patients:,} other simulated patients

In brackets 95 % intervals of 1,000 resamples of the patients. Calibration error: expected calibration error, ten bins
of equal numbers. Baseline: AUROC of a logistic regression on the heart rate and each lead's mean and deviation.

| label | with it | AUROC | AUPRC | Brier score | calibration error | baseline |
|---|---|---|---|---|---|---|
{table}

Mean AUROC {mean:.4f}, of the baseline {baseline:.4f}.
{worth}"""
WORTH = """
## What pretraining is worth

Mean AUROC on the same patients after finetuning with a share of the labels.

| labels | pretrained | from random values |
|---|---|---|
{table}
"""


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
    from ecgfm.metrics.intervals import weighted_ranking

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


def schedule(lr, updates):
    return {"_name": "tri_stage", "lr": [lr], "phase_ratio": [0.05, 0.45, 0.5], "max_update": updates}


def simulated(patients, seed):
    """((x, y), features) of a cohort."""
    cohort = simulate_cohort(patients, seed=seed)
    return (cohort.prepared()[0], cohort.y), features(cohort)


def new_model(args):
    """Random initial values."""
    return ecgfm.Trainer(CONFIG, loss="wav2vec2_with_cmsc", seed=args.seed).model()


def pretrain(args):
    """An encoder that has seen pairs of recordings of a patient each, without their labels."""
    cohort = simulate_cohort(args.pretrain_patients, recordings=2, seed=args.seed + PRETRAINING)
    pairs = cohort.prepared()[0].reshape(-1, 2, 12, SAMPLES)
    del cohort
    updates = args.pretrain_epochs * -(-len(pairs) // args.batch_size)
    print(f"pretraining: {len(pairs):,} pairs, {updates:,} updates", flush=True)
    done = ecgfm.pretrain(
        pairs,
        config=CONFIG,
        epochs=args.pretrain_epochs,
        batch_size=args.batch_size,
        seed=args.seed,
        schedule=schedule(args.pretrain_lr, updates),
        feature_grad_mult=1.0,
        optimizer={"clip_norm": 5.0},
        num_negatives=50,
        progress=False,
        callback=lambda row: tell(row, "train_loss", "train_loss_0", "train_loss_3", "train_accuracy"),
    )
    return done.model


def finetune(args, model, train, valid, share=1.0):
    """A classifier finetuned on a share of the training patients; on a small share four times as many epochs."""
    (x, y), count = train, max(round(len(train[0]) * share), 1)
    epochs = args.epochs if share == 1 else 4 * args.epochs
    updates = epochs * -(-count // args.batch_size)
    print(f"finetuning: {count:,} segments, {updates:,} updates", flush=True)
    return ecgfm.finetune(
        model,
        x[:count],
        y[:count],
        valid=valid,
        epochs=epochs,
        batch_size=args.batch_size,
        monitor="auroc_macro",
        seed=args.seed,
        schedule=schedule(args.lr, updates),
        feature_grad_mult=1.0,
        dropout=0.1,
        optimizer={"clip_norm": 1.0, "weight_decay": 0.01},
        labels=SIMULATED_LABELS,
        progress=False,
        callback=lambda row: tell(row, "train_loss", "valid_loss", "valid_auroc_macro"),
    ).model


def tell(row, *names):
    print(f"epoch {row['epoch']}", *(f"{name} {row[name]:.4f}" for name in names), sep="  ", flush=True)


def mean_auroc(found):
    return float(np.mean([row["auroc"] for row in found.values()]))


def card(args, found, linear, worth, seconds):
    """The model card."""
    rows = [
        f"| {label} | {row['positives']} | {row['auroc']:.3f} ({row['auroc_low']:.3f}-{row['auroc_high']:.3f}) |"
        f" {row['auprc']:.3f} ({row['auprc_low']:.3f}-{row['auprc_high']:.3f}) | {row['brier']:.3f} |"
        f" {row['calibration_error']:.3f} | {linear[label]['auroc']:.3f} |"
        for label, row in found.items()
    ]
    shares = [f"| {100 * row['share']:g} % | {row['pretrained']:.4f} | {row['random']:.4f} |" for row in worth]
    return CARD.format(
        layers=CONFIG["encoder_layers"],
        width=CONFIG["encoder_embed_dim"],
        pretrain_patients=args.pretrain_patients,
        patients=args.patients,
        test_patients=args.test_patients,
        command=args.command,
        minutes=seconds / 60,
        table="\n".join(rows),
        mean=mean_auroc(found),
        baseline=mean_auroc(linear),
        worth=WORTH.format(table="\n".join(shares)) if worth else "",
    )


def report(args, found, linear, worth, seconds):
    """Write the figures and the model card."""
    figures = {"processor_seconds": seconds, "model": found, "baseline": linear, "worth": worth}
    write_text(args.out / "evaluation.json", json.dumps(figures, indent=1) + "\n")
    write_text(args.out / "README.md", card(args, found, linear, worth, seconds))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="a model directory (default build/demo)")
    parser.add_argument("--pretrain-patients", type=int, default=6000)
    parser.add_argument("--pretrain-epochs", type=int, default=6, help="0: finetune from random initial values")
    parser.add_argument("--pretrain-lr", type=float, default=5e-4)
    parser.add_argument("--patients", type=int, default=12000)
    parser.add_argument("--test-patients", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--worth", action="store_true", help="measure what pretraining is worth: five more finetunings")
    args = parser.parse_args()
    args.command = "python scripts/train_demo_model.py"
    for name, value in vars(args).copy().items():
        if name not in ("out", "threads", "command") and value != parser.get_default(name):
            args.command += f" --{name.replace('_', '-')}" + ("" if value is True else f" {value}")
    if args.threads:
        ecgfm.set_num_threads(args.threads)
    used = time.process_time()
    start = pretrain(args) if args.pretrain_epochs else new_model(args)
    print("simulating", flush=True)
    train, about = simulated(args.patients, args.seed + TRAINING)
    valid, _ = simulated(max(args.patients // 20, 20), args.seed + VALIDATION)
    (test, truth), about_test = simulated(args.test_patients, args.seed + TEST)
    model = finetune(args, start, train, valid)
    seconds = time.process_time() - used
    found = scores(probabilities(model, test), truth, args.seed)
    linear = scores(baseline(about, train[1], about_test), truth, args.seed)
    write_directory(
        args.out,
        kind="classifier",
        config=model.config,
        tensors=model.state_dict(),
        labels=SIMULATED_LABELS,
        info={"training": "simulated patients", "caveat": CAVEAT},
    )
    report(args, found, linear, [], seconds)
    for label, row in found.items():
        print(f"{label:36s} AUROC {row['auroc']:.3f}  AUPRC {row['auprc']:.3f}  baseline {linear[label]['auroc']:.3f}")
    if args.worth and args.pretrain_epochs:
        worth = []
        for share in SHARES:
            row = {"share": share, "pretrained": mean_auroc(found)}
            for name, begin in (("pretrained", start), ("random", new_model(args))):
                if (share, name) != (1.0, "pretrained"):
                    tuned = finetune(args, begin, train, valid, share)
                    row[name] = mean_auroc(scores(probabilities(tuned, test), truth, args.seed, resamples=1))
            worth.append(row)
            print(row, flush=True)
            report(args, found, linear, worth, seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
