"""The true labels of an evaluation: arrays, tables, label files; and which row belongs to which recording."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import printable, shown
from ..errors import FormatError, InputWarning, LabelError
from ..specs.label_sets import columns_of, other_names, renamed_text
from ..storage.mat import MatFile
from ..validation import refuse_masked
from .matching import Names
from .truth_table import KEYS, csv_columns, either, label_file_beside, load_npy, mapping_columns

__all__ = ["Truth", "key_text", "read_truth"]

_MOST_CELLS = 1 << 29  # of labels, which are 8 bytes each in memory
_TRUE, _FALSE = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}
_UNKNOWN = {"", "nan", "na", "n/a", "none", "null", "?"}


class Truth:
    """True labels, a row per recording.

    Parameters
    ----------
    values : ndarray
        (m, Y) float64 in the order of the model's labels: 0, 1, or NaN where it is not known.
    names : Names, dict of str to int, or None
        Where a recording's row is: by its name, by its number ``idx``, or None if the rows are in the order of the
        recordings.
    source : str or None
        The file that they come from.
    unused : tuple of str
        Columns that are none of the model's labels.
    lacking : tuple of str
        Labels of the model that have no column.
    whole : bool
        Whether it is an array that has a row for each number ``idx`` from 0 on.
    renamed : dict of str to tuple of str
        Labels whose column has another name -> that, or the parts of a pair, one of which must be true.
    also : dict of str to sequence
        Other columns that were asked for: their values, a row per recording.
    """

    def __init__(
        self,
        values: NDArray[np.float64],
        names: Names | dict[str, int] | None = None,
        source: str | None = None,
        unused: Collection[str] = (),
        lacking: Collection[str] = (),
        whole: bool = False,
        renamed: Mapping[str, tuple[str, ...]] | None = None,
        also: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        self.also = dict(also or {})
        self.values, self.names, self.source, self.whole = values, names, source, whole
        self.unused, self.lacking, self.renamed = tuple(unused), tuple(lacking), dict(renamed or {})

    @property
    def by_idx(self) -> bool:
        """bool: whether rows are found by the numbers ``idx`` in the ``.mat`` files of ECG-FM's preprocessing."""
        return isinstance(self.names, dict)

    @property
    def in_order(self) -> bool:
        """bool: whether the rows are in the order of the recordings."""
        return self.names is None

    def __len__(self) -> int:
        return len(self.values)

    def row_of(self, position: int, file: str, one: object) -> int | None:
        """The row of a recording, or None if there is none.

        Parameters
        ----------
        position : int
            Its place among all.
        file : str
            Its name.
        one : object
            The recording as it was given.

        Raises
        ------
        LabelError
            If several rows fit its name equally well.
        """
        if self.in_order:
            return position if position < len(self.values) else None
        if isinstance(self.names, Names):
            return self.names.row(file)
        found = _idx_of(one) if isinstance(one, str) else None
        return None if found is None or self.names is None else self.names.get(found)


def read_truth(
    y: Any, labels: Sequence[str], *, named: bool = True, also: Sequence[str] = (), numbers: bool = False
) -> Truth:
    """The `Truth` in what a user gives.

    Parameters
    ----------
    y : array_like, Table, mapping, pandas.DataFrame or Series, or path-like
        An array (recordings, Y) in the order of the recordings. Or a table with a column ``file``, ``path``,
        ``save_file`` or ``record`` that names the recordings, with or without folder and ending, or ``idx``, their
        number in ECG-FM's ``.mat`` files; and a column per label. Or a CSV file of such a table; or a ``.npy`` file of
        an array (recordings, Y), whose rows are the numbers ``idx`` and whose columns a ``label_def.csv`` beside it
        names. A DataFrame may have the recordings in its index; one that only counts is in their order. A column may be
        called by the label, by a name of the same meaning in another of `ecgfm.specs.label_sets`, or by an abbreviation
        or SNOMED CT code of the PhysioNet/CinC Challenge 2021.
    labels : sequence of str
        The model's.
    named : bool
        Whether these are names, and not numbers that stand for names that are not known.
    also : sequence of str
        Other columns of the table to keep.
    numbers : bool
        Whether the truth is any numbers, and not 0 and 1.

    Raises
    ------
    LabelError
        If a column of `also` or every label of the model is missing, two columns are one label, a value is neither 0, 1
        nor empty, or the shape doesn't fit.

    Warns
    -----
    InputWarning
        Of columns that are none of the model's labels, of labels that have no column, and of those whose column has
        another name.
    """
    if isinstance(y, (str, os.PathLike)):
        path = os.fsdecode(y)
        if path.lower().endswith(".npy"):
            _refuse_also(also, path)
            return _of_npy(path, tuple(labels), named, numbers)
        wanted = {*labels, *also, *(one for each in other_names(labels).values() for one in each)}
        truth = _of_columns(*csv_columns(path, wanted), labels, path, also=also, numbers=numbers)
    elif hasattr(y, "keys") or hasattr(y, "columns"):
        truth = _of_columns(*mapping_columns(y), labels, in_order=hasattr(y, "iloc"), also=also, numbers=numbers)
    else:
        _refuse_also(also, None)
        refuse_masked(y, "y", LabelError)
        try:
            array = np.asarray(y)
        except (TypeError, ValueError, OverflowError) as error:
            raise LabelError(f"not an array: {error}", field="y") from None
        return Truth(_checked_values(array, labels, None, numbers))
    _say_columns(truth)
    return truth


def _refuse_also(also: Sequence[str], path: str | None) -> None:
    if also:
        what = f"it has no columns with names, such as {shown(also[0])}"
        raise LabelError(what, path=path, field=also[0], remedy="Give a table of labels, or a value for each recording")


def _of_npy(path: str, labels: tuple[str, ...], named: bool, numbers: bool) -> Truth:
    array = load_npy(path)
    names = label_file_beside(path, array.shape[1])
    lacking: list[str] = []
    renamed: dict[str, tuple[str, ...]] = {}
    if names in (None, labels) or not named:
        if names not in (None, labels) and len(names) == len(labels):
            warnings.warn(
                f"the model's labels have no names; the columns of {printable(os.path.basename(path))} are taken to be "
                "its outputs in their order",
                InputWarning,
                stacklevel=5,
            )
        names, values = labels, _checked_values(array, labels, path, numbers)
    else:
        renamed = _renamed(labels, names, path)
        lacking = _lacking(labels, names, renamed, path)
        values = np.full((len(array), len(labels)), np.nan)
        for i, name in enumerate(labels):
            if name not in lacking:
                places = [names.index(one) for one in renamed.get(name, (name,))]
                values[:, i] = either(_checked_values(array[:, places], renamed.get(name, (name,)), path, numbers))
    used = {*labels, *(one for each in renamed.values() for one in each)}
    unused = [name for name in names if name not in used]
    truth = Truth(values, {str(i): i for i in range(len(values))}, path, unused, lacking, True, renamed)
    _say_columns(truth)
    return truth


def _renamed(labels: Sequence[str], columns: Collection[str], path: str | None) -> dict[str, tuple[str, ...]]:
    """Labels whose column has another name -> that."""
    try:
        return columns_of(labels, [name for name in columns if name not in KEYS])
    except LabelError as error:
        error.path = path
        raise


def _lacking(labels: Sequence[str], columns: Collection[str], renamed: Collection[str], path: str | None) -> list[str]:
    """The labels without a column; there must be one that has one."""
    lacking = [name for name in labels if name not in columns and name not in renamed]
    if len(lacking) == len(labels):
        what = f"none of the model's labels is a column; they are {', '.join(labels[:20])}"
        raise LabelError(what, path=path, field="labels")
    return lacking


def _of_columns(
    names: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    labels: Sequence[str],
    path: str | None = None,
    in_order: bool = False,
    also: Sequence[str] = (),
    numbers: bool = False,
) -> Truth:
    read = _number if numbers else _value
    for name in also:
        if name not in columns:
            what = f"there is no column {shown(name)}; there are {', '.join(shown(one) for one in names[:20])}"
            raise LabelError(what, path=path, field=name)
    key = next((key for key in KEYS if key in columns), None)
    if key is None and not in_order:
        raise LabelError(
            f"no column says which recording a row is of; there are {', '.join(shown(name) for name in names[:10])}",
            path=path,
            field="file",
            remedy=f"Name one {', '.join(KEYS)}",
        )
    # a column that only shares an abbreviation, such as PR with the length of the PR interval, has other values
    found = _renamed(labels, columns, path)
    renamed = {name: own for name, own in found.items() if all(_is_truth(columns[one], read) for one in own)}
    lacking = _lacking(labels, {*columns} - {key}, renamed, path)
    count = len(next(iter(columns.values())))
    values = np.full((count, len(labels)), np.nan)
    for i, name in enumerate(labels):
        if name not in lacking:
            own = renamed.get(name, (name,))
            parts = [[read(value, row, one, path) for row, value in enumerate(columns[one])] for one in own]
            values[:, i] = either(np.array(parts, dtype=np.float64).T)
    known = {*KEYS, *labels, *also, *(one for each in renamed.values() for one in each)}
    unused = [name for name in names if name not in known]
    kept = {name: columns[name] for name in also}
    if key is None:
        return Truth(values, None, path, unused, lacking, renamed=renamed, also=kept)
    keys = [key_text(value) for value in columns[key]]
    rows = _rows(keys, values, path)
    by = rows if key == "idx" else Names(rows, path)
    return Truth(values, by, path, unused, lacking, renamed=renamed, also=kept)


def _say_columns(truth: Truth) -> None:
    columns = (
        ("columns that are none of the model's labels", truth.unused),
        ("labels of the model without a column, which have no truth", truth.lacking),
    )
    said = [f"{what}: {_listed(names)}" for what, names in columns if names]
    said += [f"labels whose column has another name: {renamed_text(truth.renamed)}"] if truth.renamed else []
    if said:
        where = f"{printable(os.path.basename(truth.source))}: " if truth.source else ""
        warnings.warn(f"{where}{'; '.join(said)}", InputWarning, stacklevel=5)


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(printable(name[:60]) for name in names[:most]) + f", and {len(names) - most} more" * (
        len(names) > most
    )


def _rows(keys: Sequence[str], values: NDArray[np.float64], path: str | None) -> dict[str, int]:
    """Name -> row; a name that stands twice must say the same both times."""
    places: dict[str, int] = {}
    for row, key in enumerate(keys):
        if key in places and not np.array_equal(values[places[key]], values[row], equal_nan=True):
            raise LabelError("the recording stands in the table twice, with different labels", path=path, field=key)
        places.setdefault(key, row)
    return places


def key_text(value: Any) -> str:
    """What names a recording or a patient as text: 12.0 is 12."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    if isinstance(value, os.PathLike):
        value = os.fsdecode(value)
    text = (shown(value) if isinstance(value, int) else str(value)).strip()
    return text.removesuffix(".0") if text.removesuffix(".0").isdigit() else text


def _value(value: Any, row: int, name: str, path: str | None) -> float:
    if isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)):
        if value in (0, 1) or value != value:
            return float(value)
    text = value.strip().lower() if isinstance(value, str) else None
    if value is None or text in _UNKNOWN or type(value).__name__ in ("NAType", "NaTType"):
        return np.nan
    if text in _TRUE or text in _FALSE:
        return float(text in _TRUE)
    raise LabelError(f"{shown(value)} in row {row} is neither 0 nor 1", path=path, field=name)


def _number(value: Any, row: int, name: str, path: str | None) -> float:
    """A finite number, or NaN where it is not known."""
    text = value.strip().lower() if isinstance(value, str) else None
    if value is None or text in _UNKNOWN or type(value).__name__ in ("NAType", "NaTType"):
        return np.nan
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = np.inf
    if np.isinf(found):
        raise LabelError(f"{shown(value)} in row {row} is no finite number", path=path, field=name)
    return found


def _is_truth(column: Sequence[Any], read: Callable[[Any, int, str, str | None], float]) -> bool:
    """Whether a column holds nothing but what can be the truth, and what is not known."""
    try:
        return all(read(value, 0, "", None) is not None for value in column)
    except LabelError:
        return False


def _checked_values(
    array: NDArray[Any], labels: Sequence[str], path: str | None, numbers: bool = False
) -> NDArray[np.float64]:
    if array.dtype.kind not in "biuf" or array.ndim != 2 or array.shape[1] != len(labels):
        raise LabelError(
            f"{array.dtype} of shape {shown(array.shape)} is not (recordings, {len(labels)} labels)",
            path=path,
            field="y",
        )
    if array.size > _MOST_CELLS:
        raise LabelError(f"{array.size:,} labels are more than the {_MOST_CELLS:,} that are read", path=path, field="y")
    values = array.astype(np.float64)
    bad = np.isinf(values) if numbers else ~(np.isnan(values) | (values == 0) | (values == 1))
    if bad.any():
        row, column = map(int, np.argwhere(bad)[0])
        what = "no finite number" if numbers else "neither 0 nor 1"
        raise LabelError(f"{values[row, column]} in row {row} is {what}", path=path, field=labels[column])
    return values


def _idx_of(path: str) -> str | None:
    """The number ``idx`` in a ``.mat`` file as text; None if it has none."""
    try:
        with MatFile(path) as file:
            found = file.read(["idx"])["idx"] if "idx" in file.variables else None
    except FormatError:  # reading the signal says what is wrong with the file
        return None
    if found is None or found.size != 1 or found.dtype.kind not in "iu":
        return None
    return str(int(found.item()))
