"""Labels to train on: their values, and the names of their columns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import printable, shown
from ..checkpoint.labels import check_labels, read_label_file
from ..errors import LabelError
from ..inference.truth_table import KEYS, csv_columns, either, label_file_beside, load_npy, mapping_columns
from ..specs.label_sets import columns_of
from ..validation import real_array
from .warned import warn

__all__ = ["Labels", "chosen_names", "read_labels"]

_MOST_CELLS = 1 << 28  # of a table that goes by idx


@dataclass(eq=False)
class Labels:
    """Labels as they were given.

    Attributes
    ----------
    values : ndarray
        (rows, Y) numbers; mapped from the disk where they are those of a file.
    names : tuple of str or None
        Of the columns, where something says them.
    path : str or None
        The ``.npy`` file.
    by_idx : bool
        Whether a column ``idx`` says that the rows are the records' indices.
    """

    values: NDArray[Any]
    names: tuple[str, ...] | None = None
    path: str | None = None
    by_idx: bool = False

    def arranged(self, columns: tuple[str, ...] | None) -> NDArray[Any]:
        """The values with these columns in this order; as they are where one or the other has no names.

        A column may have another name of the same meaning; see `ecgfm.specs.label_sets.columns_of`.
        """
        if columns is None or self.names is None or columns == self.names:
            return self.values
        number = {name: i for i, name in enumerate(self.names)}
        places = {name: [i] for name, i in number.items()}
        places |= {name: [number[one] for one in own] for name, own in columns_of(columns, self.names).items()}
        lacking = [name for name in columns if name not in places]
        if lacking:
            raise LabelError(
                f"y has no column {shown(lacking[0])}; its columns are {', '.join(self.names[:20])}",
                path=self.path,
                field="labels",
                remedy="Name columns of y, or give its values without names",
            )
        if all(len(places[name]) == 1 for name in columns):
            return np.ascontiguousarray(self.values[:, [places[name][0] for name in columns]])
        return np.column_stack([either(self.values[:, places[name]]) for name in columns])


def read_labels(y: Any, *, field: str = "y", indexed: bool = False) -> Labels:
    """The `Labels` in what a user gives.

    Parameters
    ----------
    y : array_like, pandas.DataFrame or Series, Table, mapping, or path-like
        Values (rows, Y), or (rows,) of one label; a table with a column per label; ``y.npy``, whose columns a
        ``label_def.csv`` beside it names; or a CSV file of a table.
    field : str
        The argument, for messages.
    indexed : bool
        Whether rows are looked for by a record's index, so that a table may have a column ``idx``.

    Raises
    ------
    LabelError
        If they are not numbers, have another shape, or a table names recordings where none are looked for.
    """
    if isinstance(y, (str, os.PathLike)):
        path = os.fsdecode(y)
        if path.lower().endswith((".csv", ".csv.gz", ".txt")):
            return _of_table(*csv_columns(path, field=field), field, indexed, path)
        values = load_npy(path, field=field)
        return Labels(values, label_file_beside(path, values.shape[1]), path)
    if hasattr(y, "keys") or (hasattr(y, "columns") and hasattr(y, "__getitem__")):
        return _of_table(*mapping_columns(y, indexed=indexed, nameless="0"), field, indexed)
    values = real_array(y, field, LabelError, booleans=True)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or 0 in values.shape:
        raise LabelError(f"the shape {values.shape} is not (rows, labels)", field=field)
    return Labels(values)


def _of_table(names: Any, columns: Mapping[str, Any], field: str, indexed: bool, path: str | None = None) -> Labels:
    keys = [key for key in KEYS if key in columns]
    if keys and not (indexed and "idx" in keys):
        raise LabelError(
            "a column says which recording a row is of, the segments don't say of which they are"
            if not indexed
            else "the table goes by names, segments by the number idx of their record",
            path=path,
            field=f"{field}: {keys[0]}",
            remedy="Put the rows in the order of x and leave that column out"
            if not indexed
            else "Make y.npy of it with: ecgfm labels csv, or add a column idx",
        )
    names = tuple(name for name in columns if name not in keys)
    if not names:
        raise LabelError("the table has no column with a label", path=path, field=field)
    values = np.column_stack([_numbers(columns[name], name, path) for name in names])
    counted = all(name.isdigit() for name in names)
    named = None if counted else check_labels(names, len(names), path=path)  # 0, 1, ... are no names
    if "idx" in keys:
        values = _by_idx(columns["idx"], values, path)
    return Labels(values, named, None, "idx" in keys)


def _numbers(column: Any, name: str, path: str | None) -> NDArray[np.float64]:
    try:
        return np.array([float(value) for value in column], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    for row, value in enumerate(column):
        try:
            float(value)
        except (TypeError, ValueError, OverflowError):
            raise LabelError(f"{shown(value)} in row {row} is not a number", path=path, field=name) from None
    raise LabelError("its values are not numbers", path=path, field=name)


def _by_idx(keys: Any, values: NDArray[np.float64], path: str | None) -> NDArray[np.float64]:
    """Rows by index; NaN for an index that the table lacks."""
    try:
        numbers = [float(key) for key in keys]
        rows = np.array([int(number) for number in numbers])
    except (TypeError, ValueError, OverflowError):
        rows = np.array([-1])
    if rows.min() < 0 or (rows.max() + 1) * values.shape[1] > _MOST_CELLS or (rows != np.array(numbers)).any():
        raise LabelError("its values are not the numbers of records, from 0 up", path=path, field="idx")
    made = np.full((int(rows.max()) + 1, values.shape[1]), np.nan)
    made[rows] = values
    same = (made[rows] == values) | np.isnan(values)
    if not same.all():
        idx = int(rows[np.flatnonzero(~same.all(axis=1))[0]])
        raise LabelError(f"two rows of record {idx} have different labels", path=path, field="idx")
    return made


def chosen_names(labels: Any, found: Labels) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Names of the outputs, and the columns of the labels that are theirs.

    Parameters
    ----------
    labels : sequence of str, path-like or None
        Columns to take, in this order; or as many other names. By default the columns' own.
    found : Labels

    Returns
    -------
    names, columns : tuple of str or None
    """
    if labels is None:
        return found.names, found.names
    if isinstance(labels, (str, os.PathLike)):
        labels = read_label_file(labels)
    count = found.values.shape[1]
    names = check_labels(labels, count if found.names is None or not hasattr(labels, "__len__") else len(labels))
    by_name = found.names is not None and set(names) & set(found.names)
    if found.names is None or by_name or len(names) != count or len(columns_of(names, found.names)) == count:
        if found.names is not None:
            found.arranged(names)
        return names, names
    warn(printable(f"labels gives the columns of y other names, in their order: {', '.join(found.names[:5])}, ..."))
    return names, found.names
