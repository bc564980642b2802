"""Probabilities that can be trusted, and thresholds: chosen on recordings that the model was not trained on.

    ecgfm calibrate tuned/ recordings/ --truth labels.csv --group patient_id --out calibrated/

The calibrated model goes into a directory (or NAME.safetensors); ecgfm predict and evaluate then give its
probabilities, and evaluate decides at its thresholds. TRUTH is as for ecgfm evaluate. A recording that can't be read,
or has no labels, is reported and left out; the exit status is then 1.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from .._text import printable
from ..errors import ConfigError
from ..inference.aggregate import METHODS
from ..inference.calibrate import METHODS as CURVES
from .arguments import MODEL, READING, Arguments, add, reading
from .common import Work, caveats, open_model

__all__ = ["add_arguments", "run"]


ARGUMENTS: Arguments = (
    MODEL
    | {
        "--truth": {"metavar": "TRUTH", "required": True, "help": "the true labels: a CSV table or a .npy file"},
        "--out": {"metavar": "DIR", "required": True, "help": "where the calibrated model goes"},
        "--force": {"action": "store_true", "help": "replace files that are there"},
        "--method": {
            "choices": CURVES,
            "default": "auto",
            "help": "curves from logits to probabilities (default auto: the best out of fold, none if none is better)",
        },
        "--thresholds": {
            "default": "youden",
            "metavar": "RULE",
            "help": "youden (default), sensitivity=0.9, specificity=0.95, cost=5 (of a missed positive), or none",
        },
        "--group": {
            "metavar": "COLUMN",
            "help": "column of TRUTH that says the patient, such as patient_id: folds are of whole patients",
        },
        "--seed": {"type": int, "default": 0, "help": "of the folds (default 0)"},
        "--report": {"metavar": "R.csv", "help": "write the table there, and the reliability curves to R.curves.csv"},
        "--aggregate": {
            "choices": METHODS,
            "default": "tutorial",
            "help": "how segments make a recording's prediction: mean, max, or the one or the other by label (default)",
        },
        "--labels": {"metavar": "LABEL_DEF.csv", "help": "names of the model's outputs (column name)"},
    }
    | READING
)


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    if args.out.lower().endswith(".pt"):
        remedy = "Name a directory, or a .safetensors file"
        raise ConfigError(
            "a .pt file keeps no calibration and no thresholds", path=args.out, field="--out", remedy=remedy
        )
    if args.report is not None and not args.report.lower().endswith(".csv"):
        raise ConfigError("its name doesn't end in .csv", path=args.report, field="--report", remedy="Give R.csv")
    from .. import calibrate

    model = open_model(args)
    files = args.files[0] if len(args.files) == 1 else args.files
    with Work(args.files, debug=args.debug) as work:
        found = calibrate(
            model,
            files,
            args.truth,
            method=args.method,
            thresholds=None if args.thresholds == "none" else args.thresholds,
            groups=args.group,
            seed=args.seed,
            aggregate=args.aggregate,
            **reading(args),
            **work.options,
        )
    written = found.model.save(args.out, force=args.force)
    print(found.to_text())
    notices = [f"Written: {', '.join(printable(str(path)) for path in written)}"]
    if args.report is not None:
        curves = f"{args.report[:-4]}.curves.csv"
        found.table.to_csv(args.report)
        found.reliability.to_csv(curves)
        notices.append(f"Written: {printable(args.report)}, {printable(curves)}")
    print()
    print("\n".join([*notices, *caveats(model)]))
    sys.stdout.flush()
    return work.status
