"""Recordings with a table of labels, read and prepared as segments to train on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import checkpoint
from .._text import printable, shown
from ..ecg import Record, Segments
from ..ecg.prepare import spec_of
from ..errors import ConfigError, Error, LabelError
from ..inference.evaluate_about import About
from ..inference.evaluate_plan import Plan
from ..inference.evaluate_truth import read_truth
from ..inference.stream import Done, Reading, collect, stream
from ..inference.truth_table import KEYS, csv_columns, mapping_columns
from ..io.inputs import expand
from ..specs.inputs import ECG_FM, InputSpec
from .warned import warn

__all__ = ["READING", "Gathered", "gathered", "input_of_model", "is_recordings"]

#: What `finetune` takes of how recordings are read.
READING: Final = tuple(one.name for one in fields(Reading) if one.init and one.name not in ("input", "batch_size"))
_ENDINGS: Final = (".tsv", ".npy")  # of manifests and packed splits
_TRUTHS: Final = frozenset(("0", "1", "0.0", "1.0", "", "nan", "none", "true", "false"))


@dataclass(eq=False)
class Gathered:
    """Recordings that have labels.

    Attributes
    ----------
    segments : list of Segments
        Of each recording.
    y : ndarray
        (recordings, Y), NaN where a label is not known.
    labels : tuple of str or None
        Names of the columns; None where nothing names them.
    groups : list of int
        (recordings,) a number for the patient of each, or for the recording that a file is of.
    places : list of int
        (recordings,) its place among all that were given.
    given : int
        How many were given.
    failed : list of Done
        Those that could not be read.
    unlabelled : list of str
        Those that are in no row of the table.
    """

    segments: list[Segments]
    y: NDArray[np.float64]
    labels: tuple[str, ...] | None
    groups: list[int]
    places: list[int]
    given: int
    failed: list[Any]
    unlabelled: list[str]

    def table(self) -> Any:
        """The labels as `finetune` takes them: with the names of the columns, where there are any."""
        return self.y if self.labels is None else {name: self.y[:, i] for i, name in enumerate(self.labels)}

    def weights(self, given: Any) -> Any:
        """What each recording counts for, of a value for each that was given."""
        if given is None:
            return None
        array = np.asarray(given)
        if array.shape != (self.given,):
            raise ConfigError(
                f"{array.shape} is not a weight for each of {self.given} recordings", field="sample_weight"
            )
        return array[self.places]


def is_recordings(x: object) -> bool:
    """Whether this is a recording, or several, or files or folders of such; and not segments, or a data set."""
    if isinstance(x, Record):
        return True
    if isinstance(x, (list, tuple)):
        return bool(x) and all(isinstance(one, (str, os.PathLike, Record)) for one in x)
    if not isinstance(x, (str, os.PathLike)):
        return False
    path = os.fsdecode(x)
    return not path.lower().endswith(_ENDINGS) and os.path.exists(path) and not os.path.exists(f"{path}.npy")


def input_of_model(model: Any) -> InputSpec:
    """What a model takes, which may be no more than the name of its file."""
    found = spec_of(model)
    if found is None and isinstance(model, (str, os.PathLike)):
        with checkpoint.read(model) as read:
            return read.stated_input[0]
    return found or ECG_FM


def gathered(
    inputs: Any,
    y: Any,
    *,
    labels: Sequence[str] | None,
    groups: Any,
    numbers: bool,
    reading: Reading,
    on_error: Any = "skip",
    progress: Any = None,
) -> Gathered:
    """Read recordings that have labels.

    Parameters
    ----------
    inputs
        As of `ecgfm.predict`.
    y
        As of `ecgfm.evaluate`: a table with a column that names the recordings, or rows in their order.
    labels : sequence of str, optional
        Columns to take; by default all of 0, 1 and cells that are empty.
    groups : str, sequence or None
        A column of the table that says the patient, or a value for each recording.
    numbers : bool
        Whether the labels are any numbers.
    reading : Reading
    on_error, progress
        As of `ecgfm.predict`.

    Raises
    ------
    LabelError
        If the labels or groups don't fit.
    Error
        If no recording can be read.
    """
    if y is None:
        raise LabelError(
            "there are no labels", field="y", remedy="Give a table with a column that names the recordings"
        )
    about = About(groups, None)
    names, named = _names(y, labels, about.columns, numbers)
    truth = read_truth(y, names, named=named, also=about.columns, numbers=numbers)
    plan = Plan(inputs, truth, None, reading.sampling_rate, reading.input)
    if plan.known is not None:
        about.check(plan.known)
    done, failed = collect(_read(plan, reading), on_error, progress, stacklevel=4)
    about.check(plan.count)
    _say_unlabelled(plan.unlabelled, plan.count)
    return Gathered(
        [_segments(each.done) for each in done],
        truth.values[[each.row for each in done]],
        names if named else None,
        _groups(done, truth, about),
        [each.place for each in done],
        plan.count,
        failed,
        plan.unlabelled,
    )


@dataclass(eq=False)
class _One:
    """A recording: its row, what it is of, and its place."""

    done: Done
    row: int
    group: object
    place: int

    @property
    def file(self) -> str:
        return self.done.file

    @property
    def error(self) -> Error | None:
        return self.done.error


def _read(plan: Plan, reading: Reading) -> Any:
    def as_it_is(x: Any, mask: Any) -> dict[str, NDArray[Any]]:
        return {"x": x, "mask": np.zeros((len(x), x.shape[2]), bool) if mask is None else mask}

    for each in stream(as_it_is, expand(plan.inputs), reading, plan.select):
        row, group, _, place = plan.taken.popleft()
        yield _One(each, row, group, place)


def _segments(done: Done) -> Segments:
    mask = done.outputs["mask"]
    return Segments(
        done.outputs["x"],
        done.start_s,
        mask if mask.any() else None,
        done.provenance,
        done.checksum,
        done.input.profile,
        done.input,
    )


def _groups(done: Sequence[_One], truth: Any, about: About) -> list[int]:
    """Numbers of the patients, or where none are given, of what the files are of."""
    numbers: dict[Any, int] = {}
    recordings = np.array([numbers.setdefault(each.group, len(numbers)) for each in done])
    rows, places, files = ([getattr(each, name) for each in done] for name in ("row", "place", "file"))
    patients = about.patients(truth, rows, places, recordings, files)
    if patients is None:
        return list(recordings.tolist())
    if patients.unknown:
        warn(f"of {patients.unknown} recordings the patient is not known: each counts as one of its own")
    return list(patients.of[recordings].tolist())


def _say_unlabelled(names: Sequence[str], count: int) -> None:
    if names:
        listed = ", ".join(printable(os.path.basename(name)) for name in names[:3])
        more = ", ..." if len(names) > 3 else ""
        warn(f"{len(names)} of {count} recordings are in no row of the labels and are left out: {listed}{more}")


# ---- which columns ------------------------------------------------------------------------------------


def _names(y: Any, labels: Sequence[str] | None, other: Sequence[str], numbers: bool) -> tuple[tuple[str, ...], bool]:
    """(names of the labels, whether they are names)."""
    columns = _columns(y)
    if labels is not None:
        return tuple(labels), True
    if columns is None:
        array = np.asarray(y)
        if array.ndim != 2:
            raise LabelError(f"the shape {array.shape} is not (recordings, labels)", field="y")
        return tuple(f"label_{i}" for i in range(array.shape[1])), False
    candidates = [name for name in columns if name not in KEYS and name not in other]
    if numbers:
        if len(candidates) == 1:
            return tuple(candidates), True
        listed = ", ".join(map(shown, candidates[:20]))
        raise LabelError(f"labels says which column is to be learned; there are {listed}", field="labels")
    found = tuple(name for name in candidates if _is_label(columns[name]))
    if not found:
        listed = ", ".join(map(shown, candidates[:20]))
        raise LabelError(f"no column holds 0 and 1 alone; there are {listed}", field="y", remedy="Give labels=[...]")
    warn(printable(f"labels are the columns of 0 and 1: {', '.join(found)} (labels=... names others)"))
    return found, True


def _columns(y: Any) -> Mapping[str, Sequence[Any]] | None:
    """The columns of a table; None of an array."""
    if isinstance(y, (str, os.PathLike)):
        path = os.fsdecode(y)
        return None if path.lower().endswith(".npy") else csv_columns(path)[1]
    if hasattr(y, "keys") or (hasattr(y, "columns") and hasattr(y, "__getitem__")):
        return mapping_columns(y)[1]
    return None


def _is_label(column: Sequence[Any]) -> bool:
    """Whether it holds nothing but 0, 1 and what is not known, and one of the first two at least."""
    cells = {str(value).strip().lower() for value in column}
    return cells <= _TRUTHS and bool(cells - {"", "nan", "none"})
