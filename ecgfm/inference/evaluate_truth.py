"""The true labels of an evaluation: arrays, tables, label files; and which row belongs to which recording."""

import csv
import os
import re

import numpy as np

from .._text import plain_cell
from ..errors import Error, FormatError, LabelError
from ..storage.mat import MatFile
from ..table import Table

__all__ = ["Truth", "group_name", "read_truth"]

#: Columns that say which recording a row is of, in the order in which they are looked for.
KEYS = ("file", "path", "save_file", "record", "idx")
_MAX_BYTES = 1 << 30
_TRUE, _FALSE = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}
_UNKNOWN = {"", "nan", "na", "none", "null"}
_SEGMENT = re.compile(r"_\d+(?=\.[^.]+$)")


class Truth:
    """True labels, a row per recording.

    Parameters
    ----------
    values : ndarray
        (m, Y) float64 in the order of the model's labels: 0, 1, or NaN where it is not known.
    places : dict of str to int, or None
        Name of a recording -> its row; None if the rows are in the order of the recordings.
    by_idx : bool
        Whether the names are the numbers ``idx`` that stand in the ``.mat`` files of ECG-FM's preprocessing.
    source : str or None
        The file that they come from.
    """

    def __init__(self, values, places=None, by_idx=False, source=None):
        self.values, self.places, self.by_idx, self.source = values, places, by_idx, source

    def __len__(self):
        return len(self.values)

    def row_of(self, position, file, one):
        """The row of a recording, or None if there is none.

        Parameters
        ----------
        position : int
            Its place among all.
        file : str
            Its name.
        one : object
            The recording as it was given.
        """
        if self.places is None:
            return position if position < len(self.values) else None
        if self.by_idx:
            return None if not isinstance(one, str) else self.places.get(_idx_of(one))
        return next((self.places[name] for name in _names(file) if name in self.places), None)


def read_truth(y, labels):
    """The `Truth` in what a user gives.

    Parameters
    ----------
    y : array_like, Table, mapping, pandas.DataFrame, or path-like
        An array (recordings, Y) in the order of the recordings. Or a table with a column ``file``, ``path``,
        ``save_file`` or ``record`` that names the recordings, with or without folder and ending, or ``idx``, their
        number in ECG-FM's ``.mat`` files; and a column per label. Or a CSV file of such a table; or a ``.npy`` file of
        an array (recordings, Y), whose rows are the numbers ``idx``.
    labels : sequence of str
        The model's.

    Raises
    ------
    LabelError
        If no label of the model is in the table, a value is neither 0, 1 nor empty, or the shape doesn't fit.
    """
    if isinstance(y, (str, os.PathLike)):
        path = os.fspath(y)
        if path.lower().endswith(".npy"):
            values = _checked_values(_load_npy(path), labels, path)
            return Truth(values, {str(i): i for i in range(len(values))}, True, path)
        return _of_columns(_read_csv(path), labels, path)
    if isinstance(y, Table):
        return _of_columns({name: y[name].tolist() for name in y.columns}, labels)
    if hasattr(y, "keys"):  # a dictionary, or a DataFrame of pandas
        columns = {str(name): np.asarray(y[name]).tolist() for name in y.keys()}
        index = getattr(y, "index", None)
        if not any(key in columns for key in KEYS) and index is not None:
            columns["idx" if all(isinstance(one, int) for one in index) else "file"] = list(index)
        return _of_columns(columns, labels)
    return Truth(_checked_values(np.asarray(y), labels, None))


def group_name(file):
    """The recording that a file of one segment was cut from: ``a_3.mat`` is of ``a.mat``."""
    return _SEGMENT.sub("", file)


def _names(file):
    """Under which names a file may stand in a table, the most exact first."""
    whole = group_name(file)
    for name in (file, os.path.basename(file), os.path.splitext(os.path.basename(file))[0]):
        yield name
    for name in (whole, os.path.basename(whole), os.path.splitext(os.path.basename(whole))[0]):
        yield name


def _of_columns(columns, labels, path=None):
    key = next((key for key in KEYS if key in columns), None)
    if key is None:
        raise LabelError(
            f"no column says which recording a row is of; there are {', '.join(list(columns)[:10])}",
            path=path,
            field="file",
            remedy=f"Name one {', '.join(KEYS)}",
        )
    there = [name for name in labels if name in columns and name != key]
    if not there:
        raise LabelError(
            f"none of the model's labels is a column; they are {', '.join(labels[:20])}", path=path, field="labels"
        )
    keys = [_key(value) for value in columns[key]]
    values = np.full((len(keys), len(labels)), np.nan)
    for i, name in enumerate(labels):
        if name in columns:
            values[:, i] = [_value(value, row, name, path) for row, value in enumerate(columns[name])]
    return Truth(values, _places(keys, values, key != "idx", path), key == "idx", path)


def _places(keys, values, are_files, path):
    """Name -> row; a name that stands twice must say the same both times."""
    places, unclear = {}, set()
    for row, key in enumerate(keys):
        if key in places and not np.array_equal(values[places[key]], values[row], equal_nan=True):
            raise LabelError(
                "the recording stands in the table twice, with different labels", path=path, field=key[:200]
            )
        places[key] = row
    if not are_files:
        return places
    exact = set(places)
    for key, row in list(places.items()):
        base = os.path.basename(key)
        for name in {base, os.path.splitext(base)[0]} - exact:
            if name in places and not np.array_equal(values[places[name]], values[row], equal_nan=True):
                unclear.add(name)  # of files in several folders: only the whole path tells them apart
            places[name] = row
    for name in unclear:
        del places[name]
    return places


def _key(value):
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _value(value, row, name, path):
    if isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)):
        number = float(value)
        if number in (0.0, 1.0) or np.isnan(number):
            return number
    text = str(value).strip().lower()
    if value is None or text in _UNKNOWN:
        return np.nan
    if text in _TRUE or text in _FALSE:
        return float(text in _TRUE)
    raise LabelError(f"{str(value)[:50]!r} in row {row} is neither 0 nor 1", path=path, field=name)


def _checked_values(array, labels, path):
    if array.dtype.kind not in "biuf" or array.ndim != 2 or array.shape[1] != len(labels):
        raise LabelError(
            f"{array.dtype} of shape {array.shape} is not (recordings, {len(labels)} labels)", path=path, field="y"
        )
    values = array.astype(np.float64)
    bad = ~(np.isnan(values) | (values == 0) | (values == 1))
    if bad.any():
        row, column = map(int, np.argwhere(bad)[0])
        raise LabelError(f"{values[row, column]} in row {row} is neither 0 nor 1", path=path, field=labels[column])
    return values


def _load_npy(path):
    try:
        return np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise LabelError(f"can't be read as .npy: {str(error)[:200]}", path=path) from None


def _read_csv(path):
    try:
        if os.path.getsize(path) > _MAX_BYTES:
            raise LabelError(f"the file is larger than {_MAX_BYTES:,} bytes", path=path)
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except Error:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise LabelError(f"can't be read: {getattr(error, 'strerror', None) or error}", path=path) from None
    rows = [row for row in rows if row]
    if len(rows) < 2:
        raise LabelError("the table has no rows", path=path)
    bad = next((i for i, row in enumerate(rows) if len(row) != len(rows[0])), None)
    if bad is not None:
        raise LabelError(f"row {bad} has {len(rows[bad])} cells, the header {len(rows[0])}", path=path)
    columns = zip(rows[0], zip(*rows[1:]))
    return {plain_cell(name.strip()): list(map(plain_cell, column)) for name, column in columns}


def _idx_of(path):
    """The number ``idx`` in a ``.mat`` file as text; None if it has none."""
    try:
        with MatFile(path) as file:
            found = file.read(["idx"])["idx"] if "idx" in file.variables else None
    except FormatError:  # reading the signal says what is wrong with the file
        return None
    if found is None or found.size != 1 or found.dtype.kind not in "iu":
        return None
    return str(int(found.item()))
