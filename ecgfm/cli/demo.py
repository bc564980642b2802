"""Simulated 12-lead ECGs through the small model that comes with the package: no files needed.

What was simulated is shown next to what the model says. The recordings are new ones each time.
"""

from __future__ import annotations

import json
import secrets
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .._text import printable
from ..validation import Seed, Whole, checked
from .arguments import PRECISION, Arguments, add
from .common import caveats, check_out, loaded
from .predict import NOT_CLINICAL

if TYPE_CHECKING:
    from .. import Model, Result
    from ..ecg import SimulatedRecord

__all__ = ["add_arguments", "run"]

_MAX_RECORDS = 10_000
_NEW_SEEDS = 100_000
_ACROSS, _SHOWN = 6, 60  # recordings beside each other, and in all
_DURATION_S = 10.0
_NAME = "simulated_{}"
_PICTURES = (".png", ".svg", ".pdf")
UNTRAINED = "This model is untrained: what it says means nothing."
SIMULATED = "This model knows simulated patients only: what it says of real recordings means nothing."


ARGUMENTS: Arguments = {
    "--seed": {"type": int, "help": "of the simulation; by default a new one, which is printed"},
    "--records": {"type": int, "default": 3, "metavar": "N", "help": "how many recordings (default 3)"},
    "--json": {"action": "store_true", "help": "print JSON instead of a table"},
    "--plot": {
        "metavar": "FILE",
        "help": "draw the first recording, coloured by the model's saliency; ends in .png, .svg or .pdf",
    },
    **PRECISION,
}


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    from .. import predict
    from ..inference.opening import shipped_model

    checked(args.records, Whole(1, _MAX_RECORDS), "--records")
    checked(args.seed, Seed(bits=63, none=True), "--seed")
    seed = secrets.randbelow(_NEW_SEEDS) if args.seed is None else args.seed
    if args.plot is not None:
        _check_plot(args.plot)
    with shipped_model() as directory:
        model = loaded(directory, args)
    truth: list[Sequence[str]] = []
    first: list[SimulatedRecord] = []

    def recordings() -> Iterator[SimulatedRecord]:
        for record in simulated(args.records, seed):
            truth.append(record.labels)
            if not first:
                first.append(record)
            yield record

    result = predict(model, recordings())
    caveat = UNTRAINED if model.info.get("training") == "none" else SIMULATED
    notices = [*(caveats(model) or [caveat]), NOT_CLINICAL]
    if args.plot is not None:
        _plot(model, first[0], args.plot)
        notices.append(f"Drawn: {_NAME.format(0)} in {printable(args.plot)}")
    if args.json:
        known = [{"file": _NAME.format(i), "labels": list(labels)} for i, labels in enumerate(truth)]
        print(json.dumps({"seed": seed, "truth": known} | json.loads(result.to_json()), indent=1))
        print("\n".join(notices), file=sys.stderr)
    else:
        print("\n".join([*_table(result, truth, seed), "", *notices]))
    return 0


def simulated(count: int, seed: int) -> Iterator[SimulatedRecord]:
    """Recordings of 10 s, each of another patient: what the patient has, and all else, follows from the seed.

    Yields
    ------
    SimulatedRecord
    """
    from ..ecg import SimulatedPatient
    from ..ecg.simulation.cohort import patient_seeds

    for i, patient_seed in enumerate(patient_seeds(seed, count)):
        record = SimulatedPatient(patient_seed).record(_DURATION_S)
        record.source = _NAME.format(i)
        yield record


def _table(result: Result, truth: Sequence[Sequence[str]], seed: int) -> list[str]:
    """Lines: labels downwards, recordings across, the true ones marked."""
    import numpy as np

    count = len(result.records)
    probabilities = np.asarray(result.records.probabilities)
    names = list(result.records.labels)
    width = max(map(len, names))
    lines = [f"{count} simulated recording{'s' * (count > 1)} of {_DURATION_S:g} s (--seed {seed} repeats them)", ""]
    shown = min(count, _SHOWN)
    for start in range(0, shown, _ACROSS):
        rows = range(start, min(start + _ACROSS, shown))
        lines.append(f"{'':<{width}}" + "".join(f"{_NAME.format(row):>16}" for row in rows))
        for column, name in enumerate(names):
            cells = [f"{probabilities[row, column]:.3f} {'true' if name in truth[row] else '':<4}" for row in rows]
            lines.append(f"{name:<{width}}" + "".join(f"{cell:>16}" for cell in cells))
        lines.append("")
    if shown < count:
        lines += [f"... and {count - shown:,} more (--json prints all)", ""]
    lines.append("The model's probability of each label; true marks what was simulated.")
    return lines


def _check_plot(path: str) -> None:
    """What would keep the picture from being drawn, before the work."""
    from ..view.figures import new_figure

    new_figure(1, 1)
    check_out(path, suffixes=_PICTURES, field="--plot")


def _plot(model: Model, record: SimulatedRecord, path: str) -> None:
    from .. import plot, saliency

    title = f"{record.source}: {', '.join(record.labels)}"
    plot(record, saliency=saliency(model, [record]), title=title, path=path)
