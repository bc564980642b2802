"""Tables of labels: CSV files, mappings, DataFrames; which columns there are and which says what a row is of."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import plain_cell, shown
from .._types import StrPath
from ..errors import FormatError, LabelError
from ..storage.inputs import open_input, open_text
from ..storage.npy import map_array
from ..storage.rows import csv_rows
from ..validation import refuse_masked

__all__ = ["KEYS", "csv_columns", "either", "label_file_beside", "load_npy", "mapping_columns", "single_column"]

#: Columns that say which recording a row is of, in the order in which they are looked for.
KEYS = ("file", "path", "save_file", "record", "idx")
MAX_BYTES = 1 << 28
MAX_ROWS = 1 << 22


def csv_columns(
    path: StrPath, wanted: Collection[str] | None = None, *, field: str = "y"
) -> tuple[list[str], dict[str, list[str]]]:
    """The columns of a CSV file, read row by row.

    Parameters
    ----------
    path : path-like
        Also ``.csv.gz``.
    wanted : collection of str, optional
        Names of the columns whose cells are kept, beside those of `KEYS`; by default all.
    field : str
        The argument, for messages.

    Returns
    -------
    names : list of str
        All columns, in order.
    columns : dict of str to list of str
        Cells of the wanted ones.

    Raises
    ------
    LabelError
        If it can't be read, is no table, is too large, or a wanted column stands in it twice.
    """
    path, names, number = os.fspath(path), [], 0
    with open_text(path, most=MAX_BYTES, error=LabelError, field=field) as file:
        rows = filter(None, csv_rows(file, path, error=LabelError, field=field))
        names = [plain_cell(name.strip()) for name in next(rows, [])]
        kept = _kept(names, wanted, path)
        cells: dict[int, list[str]] = {i: [] for i in kept}
        for number, row in enumerate(rows, 1):
            if len(row) != len(names):
                raise LabelError(f"row {number} has {len(row)} cells, the header {len(names)}", path=path)
            if number > MAX_ROWS:
                raise LabelError(f"the table has more than the {MAX_ROWS:,} rows that are read", path=path)
            for i in kept:
                cells[i].append(plain_cell(row[i]))
    if not number:
        raise LabelError("the table has no rows", path=path)
    return names, {names[i]: column for i, column in cells.items()}


def _kept(names: Sequence[str], wanted: Collection[str] | None, path: StrPath | None) -> list[int]:
    """Places of the columns that are wanted."""
    wanted = set(names) if wanted is None else {*wanted, *KEYS}
    places = {}
    for i, name in enumerate(names):
        if name not in wanted:
            continue
        if name in places:
            raise LabelError("the table has two columns of this name", path=path, field=name)
        places[name] = i
    return list(places.values())


def mapping_columns(
    y: Any, *, indexed: bool = True, nameless: str = "label_0"
) -> tuple[list[str], dict[str, list[Any]]]:
    """(names, columns) of a mapping, a Table or a DataFrame; of a Series one, `nameless` if it has no name.

    With `indexed` a DataFrame's index becomes the column ``idx`` or ``file`` where no column says what a row is of,
    unless it only counts the rows.
    """
    pandas = hasattr(y, "iloc")
    index = y.index if pandas and indexed else None
    if pandas and y.ndim == 1:
        y = y.to_frame(y.name if y.name is not None else nameless)
    names = [str(name) for name in (y.columns if hasattr(y, "columns") else y.keys())]
    _kept(names, None, None)
    given = list(y.columns if hasattr(y, "columns") else y.keys())
    columns = {name: single_column(y[one], name) for name, one in zip(names, given)}
    if index is not None and not any(key in columns for key in KEYS):
        kind = type(index).__name__
        counted = kind == "RangeIndex" and index.name is None and (index.start, index.step) == (0, 1)
        if index.name in KEYS:
            columns[index.name] = list(index)
        elif kind != "MultiIndex" and not counted:
            columns["idx" if all(isinstance(one, (int, np.integer)) for one in index) else "file"] = list(index)
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1 or lengths == {0}:
        what = "the table has no rows" if lengths <= {0} else f"its columns have {len(lengths)} different lengths"
        raise LabelError(what, field="y")
    return list(columns), columns


def single_column(values: Any, name: str) -> list[Any]:
    """The values of a column as a list."""
    refuse_masked(values, name, LabelError)
    array = np.asarray(values)
    if array.ndim != 1:
        raise LabelError(f"a column has one dimension, this one has {array.ndim}", field=name)
    return list(array.tolist())


def either(values: NDArray[Any]) -> NDArray[Any]:
    """One column of several (rows, columns), true where one of them is; NaN where that depends on one that is NaN."""
    found: NDArray[Any] = np.where((values == 1).any(axis=1), values.dtype.type(1), values.max(axis=1))
    return found


def load_npy(path: StrPath, *, field: str = "y") -> NDArray[Any]:
    """The array of a ``.npy`` file of labels, mapped from the disk."""
    path = os.fspath(path)
    try:
        array = map_array(path, field=field, error=LabelError)
    except FormatError as error:
        what = f"not an .npy file of numbers: {error.message}"
        remedy = error.remedy if _is_npy(path) else "If it is a table, call it .csv"
        raise LabelError(what, path=path, field=field, remedy=remedy) from None
    if array.dtype.kind not in "biuf" or array.ndim != 2 or 0 in array.shape:
        raise LabelError(
            f"{array.dtype} of shape {shown(array.shape)} is not a (recordings, labels) array of numbers",
            path=path,
            field=field,
        )
    return array


def _is_npy(path: StrPath) -> bool:
    with open_input(path) as file:
        return bytes(file.read(6)) == b"\x93NUMPY"


def label_file_beside(path: StrPath, columns: int) -> tuple[str, ...] | None:
    """Names of the columns of ``y.npy`` from the ``label_def.csv`` beside it; None if there is none.

    Raises
    ------
    LabelError
        If it has another number of names, or can't be read.
    """
    from ..checkpoint.labels import check_labels

    beside = os.path.join(os.path.dirname(os.path.abspath(path)), "label_def.csv")
    if not os.path.lexists(beside):
        return None
    try:
        if not os.path.isfile(beside):
            raise LabelError("not a regular file", path=beside)
        return check_labels(beside, columns)
    except LabelError as error:
        error.path = error.path or beside
        error.remedy = f"Mend or remove it: it stands beside {os.path.basename(path)} and names its columns"
        raise
