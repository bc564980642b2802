"""What a classifier's outputs are: their names, from the file, label_def.csv beside it or a known model; or numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from .._text import shown
from .._types import StrPath
from ..errors import CheckpointError, LabelError
from ..specs.known import MIMIC_IV_ECG, Known
from ..specs.label_sets import label_set_of_count
from ..specs.target import Target
from ..storage.inputs import open_text
from ..storage.rows import csv_rows

__all__ = ["ASSUMED", "MIMIC_IV_ECG", "assumption", "check_labels", "find_labels", "read_label_file", "with_target"]

ASSUMED = "built-in, assumed"
LABEL_FILE = "label_def.csv"
MAX_BYTES = 16 << 20
MAX_ROWS = 100_000
MAX_CHARACTERS = 1000


def assumption(labels: Sequence[str]) -> str:
    """What to say of label names that are assumed."""
    found = label_set_of_count(len(labels))
    whose = "of a published model" if found is None else f"of {found.about}, which has as many outputs"
    return f"Label names are assumed: the checkpoint has none; these are those {whose}"


def check_labels(labels: Sequence[str] | StrPath, count: int, *, path: StrPath | None = None) -> tuple[str, ...]:
    """The labels as a tuple of text, if they fit.

    Parameters
    ----------
    labels : sequence of str, or str or path-like
        The names, or a CSV file that lists them in its column ``name``.
    count : int
        How many outputs the model has.
    path : path-like, optional
        The file they come from, for messages.

    Returns
    -------
    tuple of str

    Raises
    ------
    LabelError
        If their number is not `count`, or one is not text, is empty, or occurs twice.
    """
    if isinstance(labels, (str, os.PathLike)):
        return check_labels(read_label_file(labels), count, path=labels)
    try:
        labels = tuple(labels)
    except TypeError:
        raise LabelError(f"a {type(labels).__name__} is not a sequence of names", path=path, field="labels") from None
    if len(labels) != count:
        raise LabelError(
            f"{len(labels)} label names for {count} outputs",
            path=path,
            field="labels",
            remedy="Give one name per output, in the order of the outputs",
        )
    seen = set()
    for i, label in enumerate(labels):
        if not isinstance(label, str):
            raise LabelError(f"name {i} is a {type(label).__name__}, not text", path=path, field="labels")
        if len(label) > MAX_CHARACTERS or not label.strip() or not label.isprintable():
            raise LabelError(f"name {i} is empty, too long or has control characters", path=path, field="labels")
        if label in seen:
            raise LabelError(f"the name {shown(label)} occurs twice", path=path, field="labels")
        seen.add(label)
    return tuple(str(label) for label in labels)


def read_label_file(path: StrPath) -> list[str]:
    """The names in the column ``name`` of a CSV file; the other columns are ignored.

    Raises
    ------
    LabelError
        If the file can't be read or has no such column.
    """
    about = {"path": path, "field": "labels"}
    with open_text(path, most=MAX_BYTES, error=LabelError, field="labels") as file:
        rows = csv_rows(file, path, error=LabelError, field="labels")
        head = next(rows, [])
        column = head.index("name") if "name" in head else -1
        names = [row[column] if len(row) > column else "" for row in islice(rows, MAX_ROWS) if row and column >= 0]
        more = next(rows, None) is not None
    if not names:
        raise LabelError("the table has no column 'name' or no rows", path=path, field="name")
    if more and column >= 0:
        raise LabelError(f"more than {MAX_ROWS:,} rows", **about)
    return names


def find_labels(
    count: int,
    stored: Sequence[str] | None,
    path: StrPath,
    folder: StrPath,
    known: Known | None = None,
    *,
    numbers: bool = False,
) -> tuple[tuple[str, ...] | None, str | None]:
    """The labels of a classifier and where they come from.

    Parameters
    ----------
    count : int
        Outputs of the model.
    stored : sequence of str or None
        The labels in the file itself.
    path : path-like
        The file.
    folder : path-like
        Where a ``label_def.csv`` may be.
    known : Known, optional
        The known model that was asked for by its name.
    numbers : bool
        Whether the outputs are numbers, of which nothing is assumed.

    Returns
    -------
    labels : tuple of str or None
    source : str or None
        ``"file"``, ``"label_def.csv"``, ``"known model NAME"``, ``"built-in, assumed"`` (those of the published model
        that has as many outputs) or None.

    Raises
    ------
    LabelError
        If labels are there and don't fit the model.
    """
    if stored is not None:
        # A text would be taken for the name of a file, and a file must not choose which others are read.
        if not isinstance(stored, (list, tuple)):
            raise CheckpointError("not a list of names", path=path, field="labels")
        return check_labels(stored, count, path=path), "file"
    beside = os.path.join(folder, LABEL_FILE)
    if os.path.lexists(beside):
        try:
            return check_labels(read_label_file(beside), count, path=beside), LABEL_FILE
        except LabelError as error:
            error.remedy = f"Correct or remove {LABEL_FILE}, or give the names yourself"
            raise
    if known is not None:
        return known.labels, f"known model {known.name}"
    found = None if numbers else label_set_of_count(count)
    return (None, None) if found is None else (found.names, ASSUMED)


def with_target(info: Mapping[str, Any], criterion: Mapping[str, Any], count: int) -> dict[str, Any]:
    """What a file says of a model, with the ``target`` of its outputs where the run's criterion says they are numbers.

    The original's are in the unit of the target as they are.
    """
    if "target" in info or criterion.get("_name") != "mse":
        return dict(info)
    return dict(info) | {"target": Target((0.0,) * count, (1.0,) * count).to_dict()}
