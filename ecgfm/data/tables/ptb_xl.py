"""PTB-XL's tables: recordings with their statements and folds, and the labels of the six benchmark tasks."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..._text import shown, table_cell
from ..._types import StrPath
from ...errors import ConfigError, FormatError, InputWarning
from ...storage.columns import is_missing, read_columns, whole_numbers
from ...storage.rows import read_rows, write_rows
from ...table import Table
from ...validation import Choice, checked
from ..sources.ptb_xl import DATABASE, find_record
from .labels import Labels

__all__ = [
    "PTB_XL_TASKS",
    "PtbXlTables",
    "Statement",
    "Task",
    "ptb_xl_labels",
    "read_ptb_xl",
    "split_of_folds",
    "write_ptb_xl_labels",
]

#: The tasks of the PTB-XL benchmark (Strodthoff et al. 2020).
PTB_XL_TASKS: Final = ("all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm")
STATEMENTS: Final = "scp_statements.csv"
_CODE = re.compile(r"""\s*(['"])([^'"\\]{1,60})\1\s*:\s*([0-9.eE+-]{1,30})\s*""")
_FOLDS = 10
_SEX = {"0": "male", "1": "female"}
_ABOUT = ("patient_id", "fold", "age", "sex", "site", "device")
_MOST_AGE = 120  # PTB-XL says 300 of ages that are 90 or more, and of those that are not known


@dataclass(frozen=True)
class Statement:
    """A row of ``scp_statements.csv``.

    Attributes
    ----------
    diagnostic, form, rhythm : bool
        The kinds that it is of.
    superclass, subclass : str or None
        ``diagnostic_class`` and ``diagnostic_subclass``.
    """

    diagnostic: bool
    form: bool
    rhythm: bool
    superclass: str | None
    subclass: str | None


@dataclass(eq=False)
class Task:
    """The labels of one task.

    Attributes
    ----------
    name : str
        One of `PTB_XL_TASKS`.
    names : tuple of str
        (Y,) the classes that occur, sorted.
    y : ndarray of bool
        (n, Y), a row for each recording of the data set.
    labelled : ndarray of bool
        (n,) the recordings with a label of the task; the benchmark leaves out the others.
    """

    name: str
    names: tuple[str, ...]
    y: NDArray[np.bool_]
    labelled: NDArray[np.bool_]


@dataclass(eq=False)
class PtbXlTables:
    """What PTB-XL's tables say of the recordings that are there.

    Attributes
    ----------
    folder : str
        Of the data set.
    records : Table
        ``ecg_id``, ``patient_id``, ``fold``, ``filename_lr``, ``filename_hr``, and ``age`` (years; NaN where it is 300,
        which means 90 or more, or unknown), ``sex``, ``site``, ``device``; empty text where one is not known.
    codes : list of dict
        Of each recording: statement -> likelihood in per cent; 0 means that none was stated.
    statements : dict of str to Statement
    """

    folder: str
    records: Table
    codes: list[dict[str, float]]
    statements: dict[str, Statement]

    def task(self, name: str) -> Task:
        """The labels of a task, as the benchmark has them: whatever the likelihood is, also 0.

        Parameters
        ----------
        name : {"all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm"}
        """
        of_code = task_classes(self.statements, name, {code for codes in self.codes for code in codes})
        found = [{of_code[code] for code in codes if code in of_code} for codes in self.codes]
        names = tuple(sorted(set().union(*found)))
        place = {one: i for i, one in enumerate(names)}
        y = np.zeros((len(found), len(names)), np.bool_)
        for row, classes in enumerate(found):
            y[row, [place[one] for one in classes]] = True
        return Task(name, names, y, np.array(y.any(axis=1)))

    def splits(self) -> NDArray[np.str_]:
        """(n,) of ``train``, ``valid``, ``test``: see `split_of_folds`."""
        return split_of_folds(self.records["fold"])

    def files(self) -> list[str]:
        """The header of each recording: of its 500 Hz file, or where that is not there, of its 100 Hz file."""
        rows = zip(self.records["filename_hr"].tolist(), self.records["filename_lr"].tolist())
        return [find_record(self.folder, {"filename_hr": hr, "filename_lr": lr}) + ".hea" for hr, lr in rows]

    def about(self) -> list[str]:
        """What of the data set is there, a line each."""
        folds = np.unique(self.records["fold"]).tolist()
        test = int(max(folds[-1], _FOLDS - 1))
        missing = "" if test == _FOLDS else " (no recording of fold 10 is there)"
        low = sum(file.endswith("_lr.hea") for file in self.files())
        rates = f"{len(self.codes) - low:,} with 500 Hz files, {low:,} with 100 Hz files only"
        return [
            f"{len(self.codes):,} recordings of {len(np.unique(self.records['patient_id'])):,} patients, {rates}",
            f"folds {', '.join(map(str, folds))}: test fold {test}, validation fold {test - 1}{missing}",
        ]


def task_classes(statements: Mapping[str, Statement], task: str, codes: set[str]) -> dict[str, str]:
    """Code -> class of a task; codes of other kinds are left out."""
    checked(task, Choice(PTB_XL_TASKS), "task")
    if task == "all":
        return {code: code for code in codes}
    found: dict[str, str] = {}
    for code in codes & statements.keys():
        one = statements[code]
        if task in ("form", "rhythm"):
            name = code if getattr(one, task) else None
        elif not one.diagnostic:
            name = None
        else:
            name = {"diagnostic": code, "subdiagnostic": one.subclass, "superdiagnostic": one.superclass}[task]
        if name is not None:
            found[code] = name
    return found


def split_of_folds(folds: NDArray[np.int64]) -> NDArray[np.str_]:
    """``train``, ``valid`` or ``test`` for each fold of PTB-XL.

    The test fold is 10, the validation fold 9; where no recording of fold 10 is there, they are 9 and 8.
    """
    test = _FOLDS if (folds == _FOLDS).any() else _FOLDS - 1
    return np.select([folds == test, folds == test - 1, folds < test - 1], ["test", "valid", "train"], "")


def read_ptb_xl(folder: StrPath) -> PtbXlTables:
    """Read ``ptbxl_database.csv`` and ``scp_statements.csv``.

    Parameters
    ----------
    folder : path-like
        Of the data set, or of a part of it.

    Returns
    -------
    PtbXlTables

    Raises
    ------
    FormatError
        If a table can't be read, lacks a column, or a cell is not what it should be; or a patient is in two splits.

    Warns
    -----
    InputWarning
        If a recording has a statement that ``scp_statements.csv`` doesn't have.
    """
    folder = os.fsdecode(folder)
    if not os.path.isdir(folder):
        raise ConfigError("there is no such directory", path=folder, field="ptb-xl")
    path = os.path.join(folder, DATABASE)
    header, _ = read_rows(path)
    needed = ["ecg_id", "patient_id", "scp_codes", "strat_fold", "filename_lr", "filename_hr"]
    about = [name for name in ("age", "sex", "site", "device") if name in header]
    columns = read_columns(path, [*needed, *about])
    count = len(columns["ecg_id"])
    if not count:
        raise FormatError("the table has no rows", path=path)
    number = {name: whole_numbers(columns[name], path, name) for name in ("ecg_id", "patient_id", "strat_fold")}
    _check(number, path)
    records = {"ecg_id": number["ecg_id"], "patient_id": number["patient_id"], "fold": number["strat_fold"]}
    text = {name: [cell.strip() for cell in columns.get(name, [""] * count)] for name in ("sex", "site", "device")}
    records |= {name: np.array(columns[name]) for name in ("filename_lr", "filename_hr")}
    records["age"] = np.array([_age(cell) for cell in columns.get("age", [""] * count)])
    records["sex"] = np.array([_SEX.get(cell.removesuffix(".0"), "") for cell in text["sex"]])
    records |= {
        name: np.array(["" if is_missing(one) else one.removesuffix(".0") for one in text[name]])
        for name in ("site", "device")
    }
    codes = _all_codes(columns["scp_codes"], path)
    statements = _read_statements(os.path.join(folder, STATEMENTS))
    unknown = sorted({code for each in codes for code in each} - statements.keys())
    if unknown:
        listed = ", ".join(map(shown, unknown[:5])) + ", ..." * (len(unknown) > 5)
        what = f"{path}: statements that {STATEMENTS} doesn't have are labels of the task all alone: {listed}"
        warnings.warn(what, InputWarning, stacklevel=2)
    return PtbXlTables(folder, Table(records), codes, statements)


def _check(number: Mapping[str, NDArray[np.int64]], path: str) -> None:
    """Refuse a recording that stands twice, a fold that is none, and a patient in two splits."""
    folds, patients = number["strat_fold"], number["patient_id"]
    bad = np.flatnonzero((folds < 1) | (folds > _FOLDS))
    if len(bad):
        raise FormatError(f"line {bad[0] + 2}: {folds[bad[0]]} is not from 1 to 10", path=path, field="strat_fold")
    values, counts = np.unique(number["ecg_id"], return_counts=True)
    if (counts > 1).any():
        raise FormatError(f"the recording {values[counts > 1][0]} stands twice", path=path, field="ecg_id")
    splits = np.unique(split_of_folds(folds), return_inverse=True)[1]
    pairs = np.unique(np.column_stack([patients, splits]), axis=0)
    twice = pairs[1:][pairs[1:, 0] == pairs[:-1, 0]]
    if len(twice):
        what = f"recordings of the patient {twice[0, 0]} are for training and for testing"
        raise FormatError(what, path=path, field="strat_fold")


def _age(cell: str) -> float:
    try:
        age = float(cell) if len(cell) < 40 else np.nan
    except ValueError:
        return np.nan
    return age if 0 <= age <= _MOST_AGE else np.nan


def _all_codes(cells: Sequence[str], path: StrPath) -> list[dict[str, float]]:
    known: dict[str, dict[str, float]] = {}  # the same texts come again and again
    for line, cell in enumerate(cells, 2):
        if cell not in known:
            known[cell] = _codes(cell, path, line)
    return [known[cell] for cell in cells]


def _codes(cell: str, path: StrPath, line: int) -> dict[str, float]:
    """The statements of a cell: a Python dict in text, code -> likelihood."""
    text, found = cell.strip(), {}
    if text[:1] == "{" and text[-1:] == "}":
        parts = [part for part in text[1:-1].split(",") if part.strip()]
        for part in parts:
            match = _CODE.fullmatch(part)
            try:
                likelihood = float(match[3]) if match else np.nan
            except ValueError:
                likelihood = np.nan
            if match is None or not 0 <= likelihood <= 100:
                break
            found[match[2].strip()] = likelihood
        if len(found) == len(parts):
            return found
    what = f"line {line}: {shown(cell)} is not like {{'NORM': 100.0, 'SR': 0.0}}, each code once"
    raise FormatError(what, path=path, field="scp_codes")


def _read_statements(path: str) -> dict[str, Statement]:
    header, rows = read_rows(path, ["diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass"])
    found: dict[str, Statement] = {}
    for line, row in enumerate(rows, 2):
        code = row[header[0]].strip()
        if not code or code in found:
            what = "an empty cell" if not code else f"{shown(code)} stands twice"
            raise FormatError(f"line {line}: {what}", path=path, field="column 1")
        kind = {name: _is_one(row[name], path, name, line) for name in ("diagnostic", "form", "rhythm")}
        classes = [row[name].strip() for name in ("diagnostic_class", "diagnostic_subclass")]
        superclass, subclass = (None if is_missing(one) else one for one in classes)
        found[code] = Statement(**kind, superclass=superclass, subclass=subclass)
    if not found:
        raise FormatError("the table has no rows", path=path)
    return found


def _is_one(cell: str, path: str, name: str, line: int) -> bool:
    if is_missing(cell) or cell.strip() in ("0", "0.0"):
        return False
    if cell.strip() in ("1", "1.0"):
        return True
    raise FormatError(f"line {line}: {shown(cell)} is neither 1 nor empty", path=path, field=name)


def write_ptb_xl_labels(
    folder: StrPath, task: str, path: StrPath, splits: StrPath | None, meta: StrPath | None = None
) -> tuple[Labels, list[str]]:
    """Write the labels of a task as a table, and the splits of its recordings.

    Parameters
    ----------
    folder, task, meta
        As of `ptb_xl_labels`.
    path : path-like
        A row per recording with a label: ``idx``, ``file``, what is known of the patient, and a column per label.
    splits : path-like or None
        The same rows without labels, as ``ecgfm splits`` makes them from other data sets; None writes none.

    Returns
    -------
    labels : Labels
    about : list of str
        What of the data set is there.
    """
    tables = read_ptb_xl(folder)
    labels, idx = labels_of(tables, task, meta)
    about = [_about(row) for row in tables.records.rows()]
    files, split = [table_cell(os.path.relpath(file, folder)) for file in tables.files()], tables.splits().tolist()
    rows: dict[int, dict[str, Any]] = {}
    for number, row in sorted((int(number), row) for row, number in enumerate(idx) if number >= 0):
        named = {"save_file": labels.save_file[number]} if labels.save_file else {}
        rows[number] = {"idx": number, **named, "file": files[row], "split": split[row], **about[row]}
    columns = list(next(iter(rows.values()), ()))
    for where in (path, *([] if splits is None else [splits])):
        os.makedirs(os.path.dirname(os.path.abspath(where)), exist_ok=True)
    if splits is not None:
        write_rows(splits, columns, (rows[number] for number in labels.idx.tolist()))
    cells = zip(labels.idx.tolist(), labels.y.astype(int).tolist())
    write_rows(path, [*columns, *labels.names], (rows[i] | dict(zip(labels.names, y)) for i, y in cells))
    left = len(labels.unlabeled)
    return labels, [*tables.about(), *[f"{left:,} recordings without a label of the task are left out"] * (left > 0)]


def _about(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a recording's patient, as cells of a table."""
    found = {name: table_cell(row[name]) if isinstance(row[name], str) else row[name] for name in _ABOUT}
    return found | {"age": None if math.isnan(row["age"]) else row["age"]}


def ptb_xl_labels(folder: StrPath, task: str, meta: StrPath | None = None) -> Labels:
    """The labels of a task of the PTB-XL benchmark.

    Parameters
    ----------
    folder : path-like
        Of the data set.
    task : {"all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm"}
    meta : path-like, optional
        The table of preprocessed recordings (``meta.csv``), for their numbers ``idx``. Without it the number of a
        recording is its ``ecg_id``.

    Returns
    -------
    Labels
        Recordings without a label of the task are `Labels.unlabeled`.

    Raises
    ------
    FormatError
        If a table can't be read, or one of `meta` is not in PTB-XL's.
    """
    return labels_of(read_ptb_xl(folder), task, meta)[0]


def labels_of(tables: PtbXlTables, task: str, meta: StrPath | None = None) -> tuple[Labels, NDArray[np.int64]]:
    """The `Labels` of a task, and of all recordings (n,) the number ``idx``; -1 for those that `meta` hasn't."""
    found, ecg_id = tables.task(task), tables.records["ecg_id"]
    idx, names = ecg_id, {}
    if meta is not None:
        columns = read_columns(meta, ["idx", "ecg_id", "save_file"])
        number = whole_numbers(columns["idx"], meta, "idx")
        place = {one: row for row, one in enumerate(ecg_id.tolist())}
        idx = np.full(len(ecg_id), -1)
        for i, ecg in zip(number.tolist(), whole_numbers(columns["ecg_id"], meta, "ecg_id").tolist()):
            if ecg not in place:
                raise FormatError(f"the recording {ecg} is not in {DATABASE}", path=meta, field="ecg_id")
            idx[place[ecg]] = i
        names = dict(zip(number.tolist(), columns["save_file"]))
    there = idx >= 0
    kept, without = there & found.labelled, there & ~found.labelled
    path = os.path.join(tables.folder, DATABASE)
    labels = Labels(idx[kept], found.y[kept], found.names, unlabeled=idx[without], path=path, save_file=names)
    return labels, idx
