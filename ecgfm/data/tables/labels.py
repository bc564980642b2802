"""Labels of records: from a table of labels, from CODE-15%, from PhysioNet 2021."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..._text import short, shown
from ..._types import StrPath
from ...errors import FormatError, InputWarning, LabelError
from ...storage.columns import flag, is_missing, read_columns, whole_number, whole_numbers
from ...storage.rows import read_rows, write_rows
from ...validation import refuse_masked
from .keys import KEYS, Records, key_columns
from .label_files import MAX_INDEX

__all__ = ["CODE_15", "Labels", "code_15_labels", "physionet2021_labels", "read_labels"]

#: The labels of CODE-15%, columns of its table.
CODE_15: Final = ("is_male", "1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg")


class Labels:
    """Labels of records.

    Attributes
    ----------
    idx : ndarray of int64
        (n,) index of each record, ascending.
    y : ndarray of bool
        (n, Y).
    names : list of str
        The Y labels.
    unlabeled : ndarray of int64
        Records whose row has an empty cell; they count as not labelled.
    path : path-like
        Where they come from.
    save_file : dict
        Number of a record -> its name, as far as the table says it.
    unknown : int
        Rows that are of no record that is known.
    """

    def __init__(
        self,
        idx: ArrayLike,
        y: ArrayLike,
        names: Iterable[str],
        *,
        unlabeled: ArrayLike = (),
        path: StrPath | None = None,
        save_file: Mapping[int, str] | None = None,
        unknown: int = 0,
    ) -> None:
        self.save_file, self.unknown = dict(save_file or {}), unknown
        for values, field in ((idx, "idx"), (y, "y"), (unlabeled, "unlabeled")):
            refuse_masked(values, field, LabelError)
        y = np.asarray(y)
        if y.dtype != bool and not ((y == 0) | (y == 1)).all():
            raise LabelError("the values are not all 0 or 1", path=path, field="y")
        numbers = np.asarray(idx, np.int64)
        order = np.argsort(numbers, kind="stable")
        self.idx: NDArray[np.int64] = numbers[order]
        self.y: NDArray[np.bool_] = np.asarray(y, np.bool_)[order]
        self.names = list(names)
        self.unlabeled, self.path = np.asarray(unlabeled, np.int64), path
        twice = self.idx[1:][self.idx[1:] == self.idx[:-1]]
        if len(twice):
            raise LabelError(f"the index {twice[0]} stands twice", path=path, field="idx")
        if len(self.idx) and self.idx[-1] >= MAX_INDEX:
            raise LabelError(f"{self.idx[-1]} is not below {MAX_INDEX:,}", path=path, field="idx")
        for name, count in Counter(self.names).items():
            if count > 1:
                raise LabelError(f"the label {shown(name)} stands twice", path=path, field="labels")

    def to_csv(self, path: StrPath, *, words: bool = False) -> None:
        """Write ``labels.csv``: idx and a column for each label, 1 and 0, or in words (True, False)."""
        texts: tuple[object, object] = ("False", "True") if words else (0, 1)
        folder = os.path.dirname(os.path.abspath(path))
        os.makedirs(folder, exist_ok=True)
        rows = zip(self.idx.tolist(), self.y.tolist())
        cells = ({"idx": i, **{name: texts[value] for name, value in zip(self.names, row)}} for i, row in rows)
        write_rows(path, ["idx", *self.names], cells)


def read_labels(path: StrPath, records: StrPath | None = None) -> Labels:
    """Labels from a table with a column of 1 and 0, or true and false, for each label.

    Which record a row is of is said by ``idx``, or by its name: ``save_file``, ``path``, ``file``, ``record``. If
    several of these are there they must agree.

    Parameters
    ----------
    path : path-like
    records : path-like, optional
        A table with ``idx`` and the names of the records, such as ``meta.csv``. Needed if the labels have no ``idx``.

    Raises
    ------
    FormatError
        If the table can't be read, a cell is something else, a name fits several records, or keys contradict each
        other.
    LabelError
        If an index or a label stands twice, or there are none.

    Warns
    -----
    InputWarning
        If the names can't be checked, since none of them is known.
    """
    header, _ = read_rows(path)
    names = [name for name in header if name not in KEYS and name != ""]
    keys = key_columns(header, path)
    if records is None and "idx" not in keys:
        raise FormatError(
            "columns missing: idx",
            path=path,
            field="header",
            remedy="To find records by name give a table of them, such as meta.csv",
        )
    return _from_columns(path, names, keys, None if records is None or keys == ["idx"] else Records(records))


def code_15_labels(meta: StrPath) -> Labels:
    """The labels of CODE-15% from its table of records (``meta.csv``, ``records.csv``).

    Returns
    -------
    Labels
        Those of `CODE_15`.
    """
    return _from_columns(meta, list(CODE_15))


def _from_columns(
    path: StrPath, names: Sequence[str], keys: Iterable[str] = ("idx",), records: Records | None = None
) -> Labels:
    """Labels from the columns `names`; `records` finds the number of each row's record by `keys`."""
    header, rows = read_rows(path, [*keys, *names])
    find = _Finder(path, keys, records)
    idx: list[int] = []
    unlabeled: list[int] = []
    y, save_file = bytearray(), {}
    for line, row in enumerate(rows, 2):
        number = find(row, line)
        cells = [row[name] for name in names]
        empty = any(map(is_missing, cells))
        values = [flag(cell, path, name, line, empty=False) for name, cell in zip(names, cells)]
        if number is None:
            continue
        if records is None and "save_file" in header:
            save_file[number] = row["save_file"]
        if empty:
            unlabeled.append(number)
        else:
            idx.append(number)
            y += bytes(values)
    if not names or not find.rows:
        raise LabelError(f"the table has no {'rows' if names else 'column of labels'}", path=path)
    find.end()
    table = np.frombuffer(bytes(y), np.bool_).reshape(len(idx), len(names))
    return Labels(idx, table, names, unlabeled=unlabeled, path=path, save_file=save_file, unknown=find.unknown)


class _Finder:
    """The number of each row's record, by ``idx`` alone or by all keys."""

    def __init__(self, path: StrPath, keys: Iterable[str], records: Records | None) -> None:
        self.path, self.keys, self.records = path, list(keys), records
        self.rows = self.unknown = self.agreed = 0
        self._seen: set[int] = set()
        self.unchecked: tuple[int, str, int | None] | None = (
            None  # (line, name, number) of the first row whose names aren't known
        )

    def __call__(self, row: Mapping[str, str], line: int) -> int | None:
        self.rows += 1
        number = self._number(row, line)
        if number in self._seen:
            raise LabelError(f"line {line}: the index {number} stands twice", path=self.path, field="idx")
        if number is not None:
            self._seen.add(number)
        return number

    def _number(self, row: Mapping[str, str], line: int) -> int | None:
        if self.records is None:
            return whole_number(row["idx"], self.path, f"idx, line {line}")
        number, agreed = self.records.find(row, self.keys, self.path, line)
        self.agreed += agreed
        self.unknown += number is None
        named = [row[key] for key in self.keys if key != "idx" and not is_missing(row[key])]
        if named and not agreed and self.unchecked is None:
            self.unchecked = line, named[0], number
        return number

    def end(self) -> None:
        """Refuse, or say, what could not be found."""
        if self.records is None or self.unchecked is None:
            return
        line, name, number = self.unchecked
        table = os.fspath(self.records.path)
        if number is None and not self.agreed:
            raise LabelError(
                f"line {line}: {shown(name)} is not a record of {table}, nor is any other",
                path=self.path,
                remedy="Names must be those of the table, or their ends: folder/file",
            )
        if number is not None and self.agreed and number in self.records:
            raise FormatError(
                f"line {line}: {shown(name)} is not a record of {table}, but {number} is one, of another name",
                path=self.path,
                field="idx",
                remedy="Remove the column idx if its numbers are your own",
            )
        if number is not None and not self.agreed:
            warnings.warn(
                f"{table} knows none of the names in {os.fspath(self.path)}: rows are taken by idx alone",
                InputWarning,
                stacklevel=4,
            )


def physionet2021_labels(meta: StrPath, weights: StrPath, abbreviations: StrPath, *, combined: bool = True) -> Labels:
    """The labels of PhysioNet 2021: the classes of the challenge's weight table.

    Parameters
    ----------
    meta : path-like
        Table with ``idx`` and ``diagnosis``, SNOMED CT codes with commas between them.
    weights : path-like
        The challenge's ``weights.csv``: its first column says the codes of each class, ``|`` between those that count
        as the same.
    abbreviations : path-like
        ``weights_abbreviations.csv``: its first column says the name of each class, in the same order.
    combined : bool
        Whether codes that count as the same are one label; else each is one.

    Returns
    -------
    Labels

    Raises
    ------
    FormatError
        If a table can't be read.
    LabelError
        If the two weight tables don't fit each other.
    """
    codes, names = _first_column(weights), _first_column(abbreviations)
    if len(codes) != len(names):
        raise LabelError(
            f"{len(names)} names, {os.fspath(weights)} has {len(codes)} classes", path=abbreviations, field="rows"
        )
    column_of: dict[str, int] = {}
    labels: list[str] = []
    for group, name in zip(codes, names):
        parts, called = group.split("|"), [name] if combined else name.split("|")
        if not combined and len(parts) != len(called):
            raise LabelError(f"{shown(name)} are not the names of {shown(group)}", path=abbreviations, field="rows")
        for i, code in enumerate(parts):
            if code.strip() in column_of:
                raise LabelError(f"the code {short(code, 60)} stands twice", path=weights, field="rows")
            column_of[code.strip()] = len(labels) + (0 if combined else i)
        labels += called
    header, _ = read_rows(meta)
    columns = read_columns(meta, ["idx", "diagnosis", *(["save_file"] if "save_file" in header else [])])
    idx = whole_numbers(columns["idx"], meta, "idx")
    y = np.zeros((len(idx), len(labels)), np.bool_)
    for row, text in enumerate(columns["diagnosis"]):
        known = {code.strip() for code in text.split(",")} & column_of.keys()
        y[row, [column_of[code] for code in known]] = True
    return Labels(idx, y, labels, path=meta, save_file=dict(zip(idx.tolist(), columns.get("save_file", ()))))


def _first_column(path: StrPath) -> list[str]:
    header, rows = read_rows(path)
    found = [row[header[0]].strip() for row in rows] if header else []
    if not found or "" in found:
        raise FormatError("its first column has an empty cell, or no row", path=path, field="column 1")
    return found
