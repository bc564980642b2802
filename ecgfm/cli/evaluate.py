"""How good predictions are: AUROC, AUPRC, and decisions at thresholds, per label and averaged, per recording.

TRUTH is a CSV table with a column file (or path, save_file, record, idx) and a column per label, or a label file of
ECG-FM (.npy, row idx, columns as the label_def.csv beside it names them). FILE may be a manifest (.tsv).
Intervals come from resampled patients (--group), or from resampled recordings. Needs the extra [train]. A recording
that can't be read, or has no labels, is reported and left out; the exit status is then 1.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from .._text import printable
from ..inference.aggregate import METHODS
from .arguments import MODEL, READING, Arguments, add, reading
from .common import Work, caveats, check_out, open_model

__all__ = ["RESAMPLING", "add_arguments", "run"]

_NAMED = 5  # recordings without labels that are named


#: Of intervals.
RESAMPLING: Arguments = {
    "--group": {
        "metavar": "COLUMN",
        "help": "column of TRUTH that says the patient, such as patient_id: whole patients are resampled",
    },
    "--bootstrap": {"type": int, "default": 1000, "metavar": "N", "help": "resamples (default 1000; 0: none)"},
    "--confidence": {"type": float, "default": 0.95, "metavar": "P", "help": "of the intervals (default 0.95)"},
    "--seed": {"type": int, "default": 0, "help": "of the resamples (default 0)"},
}
ARGUMENTS: Arguments = (
    MODEL
    | {
        "--truth": {"metavar": "TRUTH", "required": True, "help": "the true labels: a CSV table or a .npy file"},
        "--out": {
            "metavar": "EVAL.csv",
            "help": "write the tables there, and those of subgroups to EVAL.subgroups.csv; EVAL.json gets all as JSON",
        },
        "--predictions": {"metavar": "P.csv", "help": "write each recording's prediction and truth there"},
        "--json": {"action": "store_true", "help": "print JSON instead of tables"},
        "--aggregate": {
            "choices": METHODS,
            "default": "tutorial",
            "help": "how segments make a recording's prediction: mean, max, or the one or the other by label (default)",
        },
    }
    | RESAMPLING
    | {
        "--threshold": {
            "type": float,
            "metavar": "P",
            "help": "probability above which a label counts as predicted (default: the model's own thresholds, else "
            "0.5, which is said to be assumed)",
        },
        "--beta": {"type": float, "default": 2.0, "metavar": "B", "help": "of F-beta and G-beta (default 2)"},
        "--subgroups": {
            "metavar": "A,B,...",
            "help": "columns of TRUTH, such as sex,age,device,site: also evaluate each of their values (age in bands)",
        },
        "--challenge": {
            "metavar": "WEIGHTS.csv",
            "help": "also the score of the PhysioNet/CinC Challenge 2021, whose weights.csv this is",
        },
        "--uncalibrated": {
            "action": "store_true",
            "help": "the probabilities of the network itself, though the model has a calibration",
        },
        "--labels": {"metavar": "LABEL_DEF.csv", "help": "names of the model's outputs (column name)"},
    }
    | READING
)


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    if args.out is not None:
        check_out(args.out, [*args.files, args.truth], (".csv", ".json"))
    if args.predictions is not None:
        check_out(args.predictions, [*args.files, args.truth], (".csv",), "--predictions")
    from .. import evaluate

    model = open_model(args)
    files = args.files[0] if len(args.files) == 1 else args.files
    with Work(args.files, debug=args.debug) as work:
        found = evaluate(
            model,
            files,
            args.truth,
            aggregate=args.aggregate,
            calibrated=not args.uncalibrated,
            groups=args.group,
            thresholds=args.threshold,
            beta=args.beta,
            subgroups=args.subgroups,
            challenge=args.challenge,
            bootstrap=args.bootstrap,
            confidence=args.confidence,
            seed=args.seed,
            **reading(args),
            **work.options,
        )
    _say_unlabelled(found.unlabelled)
    written = []
    if args.out is not None:
        (found.to_json if args.out.lower().endswith(".json") else found.to_csv)(args.out)
        written.append(args.out)
        if found.subgroups is not None and args.out.lower().endswith(".csv"):
            written.append(f"{args.out[:-4]}.subgroups.csv")
            found.subgroups.to_csv(written[-1])
    if args.predictions is not None:
        found.predictions.to_csv(args.predictions)
        written.append(args.predictions)
    print(found.to_json() if args.json else found.to_text())
    notices = [f"Written: {', '.join(map(printable, written))}"] * bool(written) + caveats(model)
    print("".join(f"{line}\n" for line in notices), end="", file=sys.stderr if args.json else None)
    return 1 if found.unlabelled else work.status


def _say_unlabelled(files: Sequence[str]) -> None:
    for file in files[:_NAMED]:
        print(f"ecgfm: left out: {printable(file)}: it is not in the labels", file=sys.stderr)
    if len(files) > _NAMED:
        print(f"ecgfm: left out: {len(files) - _NAMED} more that are not in the labels", file=sys.stderr)
