"""Two models on the same recordings: differences of AUROC and AUPRC, with intervals and p.

    ecgfm compare tuned/ ecg-fm/mimic-iv-ecg recordings/ --truth labels.csv --group patient_id
    ecgfm compare tuned/ tuned/ recordings/ --truth labels.csv --precision-b bfloat16
    ecgfm compare tuned/ random-weights recordings/ --truth labels.csv

TRUTH is as for ecgfm evaluate. With --group whole patients are resampled, both models on the same draw. DeLong's
interval and p are given where each patient has one recording; where not, a line says why. Needs the extra [train]. A
recording that can't be read, or has no labels, is reported and left out; the exit status is then 1.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from .._text import printable
from ..inference.aggregate import METHODS
from ..specs.precision import AUTO, PRECISIONS
from .arguments import INPUT, PRECISION, READING, Arguments, add, reading
from .common import Work, caveats, check_out, loaded
from .evaluate import RESAMPLING

__all__ = ["add_arguments", "run"]


MODELS: Arguments = {
    "checkpoint": {"metavar": "MODEL_A", "help": "as CHECKPOINT of ecgfm evaluate"},
    "second": {"metavar": "MODEL_B", "help": "the same, or random-weights: MODEL_A's network with random weights"},
    "files": {"metavar": "FILE", "nargs": "+", "help": "recordings, directories of recordings, manifests (.tsv)"},
    "--truth": {"metavar": "TRUTH", "required": True, "help": "the true labels: a CSV table or a .npy file"},
    "--out": {"metavar": "COMP.csv", "help": "write the table there; COMP.json gets JSON"},
    "--predictions": {"metavar": "P.csv", "help": "write each recording's predictions and truth there"},
    "--json": {"action": "store_true", "help": "print JSON instead of the table"},
    "--aggregate": {
        "choices": METHODS,
        "default": "tutorial",
        "help": "how segments make a recording's prediction: mean, max, or the one or the other by label (default)",
    },
    "--labels": {"metavar": "LABEL_DEF.csv", "help": "names of the models' outputs (column name)"},
    "--precision-b": {"choices": (*PRECISIONS, AUTO), "help": "of MODEL_B (default: as --precision)"},
}
ARGUMENTS: Arguments = MODELS | RESAMPLING | INPUT | PRECISION | READING


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    for out, endings, option in (
        (args.out, (".csv", ".json"), "--out"),
        (args.predictions, (".csv",), "--predictions"),
    ):
        if out is not None:
            check_out(out, [*args.files, args.truth], endings, option)
    from .. import compare, set_num_threads
    from ..inference.compare import RANDOM_WEIGHTS

    if args.threads is not None:
        set_num_threads(args.threads)
    model = loaded(args.checkpoint, args, args.labels)
    other = args.second
    if other.replace("-", " ") != RANDOM_WEIGHTS:
        args.precision = args.precision_b or args.precision
        other = loaded(other, args, args.labels)
    files = args.files[0] if len(args.files) == 1 else args.files
    with Work(args.files, debug=args.debug) as work:
        options = {name: getattr(args, name) for name in ("aggregate", "bootstrap", "confidence", "seed")}
        found = compare(model, other, files, args.truth, groups=args.group, **options, **reading(args), **work.options)
    written = []
    if args.out is not None:
        (found.to_json if args.out.lower().endswith(".json") else found.to_csv)(args.out)
        written.append(args.out)
    if args.predictions is not None:
        found.predictions.to_csv(args.predictions)
        written.append(args.predictions)
    print(found.to_json() if args.json else found.to_text())
    notices = [f"Written: {', '.join(map(printable, written))}"] * bool(written)
    notices += [f"{letter}: {line}" for letter, one in zip("ab", (model, other)) for line in caveats(one)]
    print("".join(f"{line}\n" for line in notices), end="", file=sys.stderr if args.json else None)
    return 1 if found.left_out else work.status
