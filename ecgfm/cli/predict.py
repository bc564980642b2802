"""Probabilities of each label for recordings: per 5 s segment and per recording.

Recordings are files (.npy, .npz, CSV, and with the extra [io] WFDB, DICOM, MUSE XML, HL7 aECG, SCP-ECG, EDF, HDF5 and
the .mat stages of ECG-FM's preprocessing), directories of them, or manifests. A recording that can't be read is
reported and skipped; the exit status is then 1.
"""

import sys

from .._text import printable
from ..errors import ConfigError
from ..inference import Outcome
from ..inference.aggregate import METHODS
from ..inference.result import Result
from .common import Work, add_model, add_reading, check_out, counted, open_model, reading

__all__ = ["add_arguments", "run"]

NOT_CLINICAL = "Not for clinical use."
ASSUMED = (
    "Label names are assumed: the checkpoint names none, these are the published MIMIC-IV-ECG model's (--labels names"
    " others)."
)
_SHOWN = 40  # recordings that are printed when all are written into a file


def add_arguments(parser):
    add_model(parser)
    parser.add_argument(
        "--out",
        metavar="PREDS.csv",
        help="write the table per recording there, as it grows, the one per segment to PREDS.segments.csv and what was"
        " skipped to PREDS.status.csv; PREDS.json gets all in the end",
    )
    parser.add_argument("--resume", action="store_true", help="do only what an earlier run into --out has not done")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--aggregate",
        choices=METHODS,
        default="tutorial",
        help="how segments make a recording's prediction: mean, max, or the one or the other by label (default)",
    )
    parser.add_argument("--labels", metavar="LABEL_DEF.csv", help="names of the model's outputs (column name)")
    add_reading(parser)


def run(args):
    as_csv = args.out is not None and not args.out.lower().endswith(".json")
    if args.out is not None:
        check_out(args.out, args.files)
    if args.resume and not as_csv:
        raise ConfigError("only CSV files can be continued", field="--resume", remedy="Give --out PREDS.csv")
    from .. import predict
    from ..inference import predict_to

    model = open_model(args)
    options = {"aggregate": args.aggregate, **reading(args)}
    if not as_csv:
        with Work(args.files) as work:
            result = predict(model, args.files, **options, **work.options)
        show(model, result, as_json=args.json, out=args.out)
        return work.status
    kept = Kept(None if args.json else _SHOWN)
    with Work(args.files, args.out) as work:
        options |= work.options | {"resume": args.resume, "on_done": kept}
        written = predict_to(model, args.files, args.out, **options)
    kept.show(model, written, work.skipped.errors, args.aggregate, as_json=args.json)
    return work.status


class Kept:
    """The first recordings of a run whose results are written into files, to be printed in the end.

    Parameters
    ----------
    limit : int or None
        How many; None keeps all.
    """

    def __init__(self, limit):
        self.limit, self.done = limit, []

    def __call__(self, outcome):
        if self.limit is None or len(self.done) < self.limit:
            outcome.embeddings = outcome.embeddings[:, :0]
            self.done.append(outcome)

    def show(self, model, written, errors, method, *, as_json):
        """Print them, and what was written."""
        count = f"{counted(written.records, 'recording')}, {counted(written.segments, 'segment')} of 5 s"
        if written.resumed:
            count += f"; {written.resumed:,} of the recordings had been done before"
        if len(self.done) < written.records - written.resumed:
            count += f"; the first {len(self.done)} are shown"
        notices = [f"Written: {', '.join(map(printable, written.paths))}", f"In these files: {count}."]
        if self.done:
            failed = [Outcome(file, error) for file, error in errors]
            show(model, Result.of(model, self.done, failed, method), as_json=as_json, notices=notices)
        else:
            print("\n".join([*notices, NOT_CLINICAL]), file=sys.stderr if as_json else None)


def show(model, result, *, as_json, out=None, notices=()):
    """Write the result where it is wanted, print it, and say what must be known about it."""
    notices = list(notices)
    if model.labels is None:
        notices.append("The model has no label names: label_0 ... are its outputs in order (name them with --labels).")
    elif model.labels_assumed:
        notices.append(ASSUMED)
    notices.append(NOT_CLINICAL)
    if out is not None and out.lower().endswith(".json"):
        result.to_json(out)
        notices.append(f"Written: {printable(out)}")
    elif out is not None:
        notices.append(f"Written: {', '.join(map(printable, result.to_csv(out)))}")
    if as_json:
        print(result.to_json())
        print("\n".join(notices), file=sys.stderr)
    else:
        print(result.to_text())
        print()
        print("\n".join(notices))
