"""Finetune a model on recordings with a table of labels.

    ecgfm finetune MODEL recordings/ labels.csv --group patient_id --out tuned/

LABELS is a CSV file with a column that names the recordings (file, path, save_file, record or idx), with or without
folder and ending, and a column per label: 1, 0, or empty where it is not known. A share of the patients is held back
to choose the best epoch. The model goes into the directory tuned/, which every other command takes, and the figures of
each epoch into tuned/history.csv. A recording that can't be read is reported and left out; the exit status is then 1.
Ctrl-C ends the training, and the best epoch so far is kept.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from typing import Any

import numpy as np

from .._text import printable
from ..errors import ConfigError, Error
from ..specs.precision import TRAINED
from .arguments import INPUT, READING, Arguments, add, reading
from .common import Work, caveats, check_folder, counted, saying_warnings

__all__ = ["add_arguments", "run"]

INTERRUPTED = 130

TRAINING: Arguments = {
    "checkpoint": {
        "metavar": "CHECKPOINT",
        "help": "a classifier or a pretrained model: .pt or .safetensors file, directory, or known model",
    },
    "files": {"metavar": "FILE", "nargs": "+", "help": "recordings, directories of recordings"},
    "truth": {"metavar": "LABELS.csv", "help": "the table of labels"},
    "--out": {"metavar": "DIR", "required": True, "help": "where the finetuned model goes"},
    "--force": {"action": "store_true", "help": "replace files that are there"},
    "--labels": {"metavar": "A,B,...", "help": "columns to learn (default: all of 0, 1 and empty cells)"},
    "--group": {
        "metavar": "COLUMN",
        "help": "column that says the patient, such as patient_id: nobody is on both sides (default: recordings)",
    },
    "--valid": {
        "type": float,
        "default": 0.2,
        "metavar": "SHARE",
        "help": "of the patients, held back to choose the best epoch (default 0.2); 0: none",
    },
    "--epochs": {"type": int, "default": 10, "metavar": "N", "help": "at most (default 10)"},
    "--patience": {"type": int, "metavar": "N", "help": "stop after so many epochs without a better one"},
    "--monitor": {"metavar": "NAME", "help": "what is best: loss (default), auroc_macro, auprc_macro, ..."},
    "--lr": {"type": float, "default": 5e-5, "metavar": "RATE", "help": "learning rate (default 5e-5)"},
    "--batch-size": {"type": int, "default": 16, "metavar": "N", "help": "segments of a batch (default 16)"},
    "--trainable": {"default": "all", "metavar": "WHAT", "help": "all (default), head, or so many last layers"},
    "--balanced": {"action": "store_true", "help": "weigh positives by how rare they are (pos_weight)"},
    "--loss": {
        "default": "binary_cross_entropy_with_logits",
        "metavar": "NAME",
        "help": "focal, asymmetric, or mse for numbers (default: the binary cross entropy)",
    },
    "--precision": {"choices": TRAINED, "default": TRAINED[0], "help": "of the training (default float32)"},
    "--seed": {"type": int, "default": 1, "help": "of the split, the order and what is drawn (default 1)"},
}

ARGUMENTS: Arguments = TRAINING | INPUT | {name: one for name, one in READING.items() if name not in TRAINING}


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    if args.out.lower().endswith((".pt", ".safetensors")):
        raise ConfigError("names a file", path=args.out, field="--out", remedy="Name a directory")
    _check_free(args.out, args.force)
    _check_numbers(args)
    from .. import finetune, load, set_num_threads
    from ..inference.stream import Reading
    from ..training.balance import BALANCED
    from ..training.recordings import gathered, input_of_model

    if args.threads is not None:
        set_num_threads(args.threads)
    with saying_warnings():
        model = load(args.checkpoint, input=args.input, precision="float32")
        labels = None if args.labels is None else [name.strip() for name in args.labels.split(",")]
        files = args.files[0] if len(args.files) == 1 else args.files
        how = Reading(**reading(args), input=input_of_model(model))
        with Work(args.files, debug=args.debug) as work:
            found = gathered(
                files, args.truth, labels=labels, groups=args.group, numbers=args.loss == "mse", reading=how,
                **work.options,
            )  # fmt: skip
        segments = sum(map(len, found.segments))
        counts = ((len(found.segments), "recording"), (segments, "segment"), (len(set(found.groups)), "group"))
        print(f"{', '.join(counted(*each) for each in counts)}; labels: {printable(', '.join(found.labels or ()))}")
        tuned = finetune(
            model,
            found.segments,
            found.table(),
            groups=np.array(found.groups),
            labels=found.labels,
            valid=args.valid or None,
            lr=args.lr,
            epochs=args.epochs,
            patience=args.patience,
            monitor=args.monitor,
            batch_size=args.batch_size,
            seed=args.seed,
            loss=args.loss,
            trainable=int(args.trainable) if args.trainable.isdigit() else args.trainable,
            precision=args.precision,
            pos_weight=BALANCED if args.balanced else None,
        )
    written = tuned.model.save(args.out, force=args.force)
    history = os.path.join(args.out, "history.csv")
    tuned.history.to_csv(history)
    print(_said(tuned))
    print("\n".join([f"Written: {', '.join(printable(str(path)) for path in [*written, history])}", *caveats(model)]))
    sys.stdout.flush()
    return INTERRUPTED if tuned.interrupted else work.status


def _check_free(out: str, force: bool) -> None:
    """Find out before the training whether the model can be written."""
    check_folder(os.path.abspath(out), "--out")
    for name in ("model.safetensors", "config.json", "history.csv"):
        path = os.path.join(out, name)
        if not force and os.path.lexists(path):
            raise Error("the file exists", path=path, field="--out", remedy="Give another name, or --force")


def _check_numbers(args: Namespace) -> None:
    """Refuse, before recordings are read, what the training would refuse."""
    from ..training.history import check_loop
    from ..training.schedules import with_rate
    from ..validation import Number, checked

    check_loop(None, epochs=args.epochs, batch_size=args.batch_size, patience=args.patience)
    with_rate(args.lr, {})
    checked(args.valid, Number(0, below=1), "valid")


def _said(tuned: Any) -> str:
    """What came of it, in a line."""
    if not tuned.best_epoch:
        return "No epoch was finished: the weights are as they were."
    row = {name: tuned.history[name][tuned.best_epoch - 1] for name in tuned.history.columns}
    shown = [f"{name} {row[name]:.4f}" for name in row if name.startswith(("train_loss", "valid_"))]
    return f"Epoch {tuned.best_epoch} of {len(tuned.history)}: {', '.join(shown)}"
