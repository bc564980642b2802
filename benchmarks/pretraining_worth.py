"""Is pretraining worth it? Finetuning on few labels, from pretrained and from random weights, on simulated patients.

python benchmarks/pretraining_worth.py [--seeds 5] [--patients 256] [--labelled 24] [--json FILE]

README.md says what is compared.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
from common import machine

import ecgfm

ARCHITECTURE = {
    "encoder_layers": 2,
    "encoder_embed_dim": 48,
    "encoder_ffn_embed_dim": 96,
    "encoder_attention_heads": 4,
    "conv_feature_layers": "[(32, 2, 2)] * 4",
    "conv_pos": 16,
    "conv_pos_groups": 4,
    "latent_vars": 16,
    "final_dim": 32,
}
DROPOUTS = ("dropout", "attention_dropout", "dropout_input", "dropout_features")
PRETRAINING = {"num_negatives": 10, "feature_grad_mult": 1.0, "latent_temp": (0.5, 0.5, 1.0), "schedule": 3e-3}
FINETUNING = {"schedule": 2e-3, "batch_size": 8, "feature_grad_mult": 1.0, "activation_dropout": 0.0}
LABELS = ("Premature ventricular contraction", "Atrial fibrillation", "Right bundle branch block", "Tachycardia")
# Student's t, two-sided 95 %, by degrees of freedom; beyond that the normal distribution's is near enough.
T_95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


def recordings(patients, seed, each=1):
    """(patients, each, 12, 2500) segments and (patients, labels)."""
    cohort = ecgfm.ecg.simulate_cohort(patients, recordings=each, seed=seed)
    x, row = cohort.prepared()
    columns = [cohort.labels.index(label) for label in LABELS]
    x, y = np.asarray(x), cohort.y[np.asarray(row)][:, columns]
    return x.reshape(patients, each, *x.shape[1:]), y[::each].astype(np.float32)


def auroc(score, truth):
    """The share of pairs of a positive and a negative in the right order; ties count half."""
    positive, negative = score[truth], score[~truth]
    right = (positive[:, None] > negative).sum() + 0.5 * (positive[:, None] == negative).sum()
    return right / (positive.size * negative.size)


def score(start, labelled, tested, options, seed):
    """Mean AUROC over the labels that have both classes, of a model finetuned from a start."""
    (x, y), (x_test, y_test) = labelled, tested
    settings = FINETUNING | {"epochs": options.epochs, "seed": seed, "labels": LABELS, "progress": False}
    tuned = ecgfm.finetune(start, x[:, 0], y, **settings)
    logits = np.concatenate([tuned.model(x_test[i : i + 32, 0]).logits for i in range(0, len(x_test), 32)])
    truth = y_test > 0
    both = [i for i in range(len(LABELS)) if truth[:, i].any() and not truth[:, i].all()]
    return float(np.mean([auroc(logits[:, i], truth[:, i]) for i in both]))


def compare(options, seed):
    """One seed: other patients, other weights."""
    pairs, _ = recordings(options.patients, 3 * seed, each=2)
    labelled, tested = recordings(options.labelled, 3 * seed + 1), recordings(options.tested, 3 * seed + 2)
    begin = time.monotonic()
    settings = PRETRAINING | dict.fromkeys(DROPOUTS, 0.0) | {"config": ARCHITECTURE, "seed": seed, "progress": False}
    pretrained = ecgfm.pretrain(pairs, epochs=options.pretraining_epochs, batch_size=16, **settings)
    random = ecgfm.Trainer(ARCHITECTURE, loss="wav2vec2_with_cmsc", seed=seed).model()  # what pretraining started from
    row = {"seed": seed, "contrastive_accuracy": float(pretrained.history["train_accuracy"][-1])}
    row["pretrained"] = score(pretrained.model, labelled, tested, options, seed)
    row["random"] = score(random, labelled, tested, options, seed)
    return row | {"difference": row["pretrained"] - row["random"], "seconds": time.monotonic() - begin}


def interval(values):
    """(mean, half the width of its 95 % interval); no width from one value."""
    values = np.asarray(values)
    if len(values) < 2:
        return float(values.mean()), math.nan
    t = T_95[len(values) - 2] if len(values) - 2 < len(T_95) else 1.96
    return float(values.mean()), float(t * values.std(ddof=1) / math.sqrt(len(values)))


def parse_options(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--patients", type=int, default=256, help="of pretraining, two recordings each")
    parser.add_argument("--pretraining-epochs", type=int, default=30)
    parser.add_argument("--labelled", type=int, default=24, help="recordings with labels")
    parser.add_argument("--epochs", type=int, default=20, help="of finetuning")
    parser.add_argument("--tested", type=int, default=200, help="recordings to test on")
    parser.add_argument("--threads", type=int, default=1, help="more is no faster for layers as small as these")
    parser.add_argument("--json", default=None, help="also write everything to this file")
    options = parser.parse_args(arguments)
    for name, value in vars(options).items():
        if name != "json" and value < 1:
            parser.error(f"--{name} is positive")
    return options


def main(arguments=None):
    options = parse_options(arguments)
    ecgfm.set_num_threads(options.threads)
    rows = []
    for seed in range(options.seeds):
        rows.append(compare(options, seed))
        values = [f"{name} {value:.3f}" for name, value in rows[-1].items() if name != "seed"]
        print(f"seed {seed}", *values, sep="  ", flush=True)
    report = {"machine": machine(), "options": vars(options), "rows": rows}
    for name in ("pretrained", "random", "difference"):
        mean, half = interval([row[name] for row in rows])
        report[name] = {"mean": mean, "half_width": half}
        print(f"{name}: mean AUROC {mean:.3f} +- {half:.3f}")
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
