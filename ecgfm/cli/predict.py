"""Probabilities of each label for recordings: per segment and per recording.

Recordings are files (.npy, .npz, CSV, WFDB, DICOM, EDF, the .mat stages of ECG-FM's preprocessing, formats of devices
such as Philips XML, and with the extra [io] MUSE XML, HL7 aECG, SCP-ECG and HDF5), directories of them, or manifests. A
recording that can't be read is reported and skipped; the exit status is then 1.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .._text import printable
from ..errors import ConfigError
from ..inference import Outcome
from ..inference.aggregate import METHODS
from ..inference.opening import as_asked, input_of
from ..inference.result import Result, seconds
from ..inference.write import Written
from .arguments import MODEL, READING, RESUMING, Arguments, add, reading
from .common import Work, again, caveats, check_out, counted, open_model

__all__ = ["add_arguments", "run"]

NOT_CLINICAL = "Not for clinical use."
_SHOWN = 40  # recordings that are printed when all are written into a file


ARGUMENTS: Arguments = (
    MODEL
    | {
        "--out": {
            "metavar": "PREDS.csv",
            "help": "write the table per recording there, as it grows, the one per segment to PREDS.segments.csv and "
            "what was skipped to PREDS.status.csv; PREDS.json gets all in the end",
        },
    }
    | RESUMING
    | {
        "--json": {"action": "store_true", "help": "print JSON instead of tables"},
        "--aggregate": {
            "choices": METHODS,
            "default": "tutorial",
            "help": "how segments make a recording's prediction: mean, max, or the one or the other by label (default)",
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
    as_csv = args.out is not None and not args.out.lower().endswith(".json")
    if args.out is not None:
        check_out(args.out, args.files, (".csv", ".json"))
    if (args.resume or args.overwrite) and not as_csv:
        field = "--resume" if args.resume else "--overwrite"
        raise ConfigError("only CSV files can be continued", field=field, remedy="Give --out PREDS.csv")
    from .. import predict
    from ..inference import predict_to

    model = open_model(args)
    options = {"aggregate": args.aggregate, "calibrated": not args.uncalibrated, **reading(args)}
    if not as_csv:
        with Work(args.files, debug=args.debug) as work:
            result = predict(model, args.files, **options, **work.options)
        for file, provenance in zip(result.records.files, result.provenance):
            work.doubts.add(file, provenance)
        notices = work.doubts.lines()
        if args.out is not None:
            result.to_json(args.out)
            notices.append(f"Written: {printable(args.out)}")
        show(model, result, as_json=args.json, notices=notices)
        return work.status
    kept = Kept(None if args.json else _SHOWN)
    with Work(args.files, args.out, debug=args.debug, on_done=kept) as work:
        options |= work.options | {"resume": args.resume, "overwrite": args.overwrite, "on_done": work.done}
        written = predict_to(model, args.files, args.out, **options)
    kept.show(as_asked(model, not args.uncalibrated), written, work, args.aggregate, as_json=args.json)
    return work.status


@dataclass(eq=False)
class Kept:
    """The first recordings of a run whose results are written into files, to be printed in the end.

    Parameters
    ----------
    limit : int or None
        How many; None keeps all.
    """

    limit: int | None
    done: list[Outcome] = field(default_factory=list)

    def __call__(self, outcome: Outcome) -> None:
        if self.limit is None or len(self.done) < self.limit:
            outcome.embeddings = None if outcome.embeddings is None else outcome.embeddings[:, :0]
            self.done.append(outcome)

    def show(self, model: Any, written: Written, work: Work, method: str, *, as_json: bool) -> None:
        """Print them, and what was written."""
        length = seconds(input_of(model))
        count = f"{counted(written.records, 'recording')}, {counted(written.segments, 'segment')} of {length}"
        notices = [f"Written: {', '.join(map(printable, written.paths))}", f"In these files: {count}."]
        notices += [*again(written), *work.doubts.lines()]
        if self.done:
            failed = [Outcome(file, error) for file, error in work.skipped.errors]
            result = Result.of(model, self.done, failed, method)
            total = written.records - written.resumed, written.segments
            show(model, result, as_json=as_json, notices=notices, total=total)
        else:
            notices = [*notices, *caveats(model, labels=True), NOT_CLINICAL]
            print("\n".join(notices), file=sys.stderr if as_json else None)


def show(
    model: Any, result: Result, *, as_json: bool, notices: Sequence[str] = (), total: tuple[int, int] | None = None
) -> None:
    """Print the result, and say what must be known about it."""
    notices = [*notices, *caveats(model, labels=True), NOT_CLINICAL]
    if as_json:
        print(result.to_json())
        print("\n".join(notices), file=sys.stderr)
    else:
        print(result.to_text(total=total))
        print()
        print("\n".join(notices))
