"""Label files for finetuning: from a table of labels, from CODE-15%, from PhysioNet 2021.

What comes out: ``y.npy`` (float64, a row for each idx), ``label_def.csv`` (counts, shares and weights of each label),
``pos_weight.txt`` (one line for ``criterion.pos_weight``).
"""

import os
import warnings
from collections import Counter

import numpy as np

from ..._text import short, shown
from ...errors import FormatError, InputWarning, LabelError
from ...storage.columns import check_name, flag, is_missing, read_columns, whole_number, whole_numbers
from ...storage.rows import read_rows, write_rows
from ...validation import refuse_masked
from .keys import KEYS, Records, key_columns
from .label_files import MAX_INDEX, write_label_files

__all__ = ["CODE_15", "Labels", "code_15_labels", "find_meta", "physionet2021_labels", "prepare_labels", "read_labels"]

_MAX_BYTES = 1 << 31  # of y.npy

#: The labels of CODE-15%, columns of its table.
CODE_15 = ("is_male", "1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg")


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

    def __init__(self, idx, y, names, *, unlabeled=(), path=None, save_file=None, unknown=0):
        self.save_file, self.unknown = save_file or {}, unknown
        for values, field in ((idx, "idx"), (y, "y"), (unlabeled, "unlabeled")):
            refuse_masked(values, field, LabelError)
        y = np.asarray(y)
        if y.dtype != bool and not ((y == 0) | (y == 1)).all():
            raise LabelError("the values are not all 0 or 1", path=path, field="y")
        self.idx, self.y, self.names = np.asarray(idx, np.int64), np.asarray(y, bool), list(names)
        self.unlabeled, self.path = np.asarray(unlabeled, np.int64), path
        order = np.argsort(self.idx, kind="stable")
        self.idx, self.y = self.idx[order], self.y[order]
        twice = self.idx[1:][self.idx[1:] == self.idx[:-1]]
        if len(twice):
            raise LabelError(f"the index {twice[0]} stands twice", path=path, field="idx")
        if len(self.idx) and self.idx[-1] >= MAX_INDEX:
            raise LabelError(f"{self.idx[-1]} is not below {MAX_INDEX:,}", path=path, field="idx")
        for name, count in Counter(self.names).items():
            if count > 1:
                raise LabelError(f"the label {shown(name)} stands twice", path=path, field="labels")

    def to_csv(self, path, *, words=False):
        """Write ``labels.csv``: idx and a column for each label, 1 and 0, or in words (True, False)."""
        texts = ("False", "True") if words else (0, 1)
        folder = os.path.dirname(os.path.abspath(path))
        os.makedirs(folder, exist_ok=True)
        rows = zip(self.idx.tolist(), self.y.tolist())
        cells = ({"idx": i, **{name: texts[value] for name, value in zip(self.names, row)}} for i, row in rows)
        write_rows(path, ["idx", *self.names], cells)


def read_labels(path, records=None):
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


def code_15_labels(meta):
    """The labels of CODE-15% from its table of records (``meta.csv``, ``records.csv``).

    Returns
    -------
    Labels
        Those of `CODE_15`.
    """
    return _from_columns(meta, list(CODE_15))


def _from_columns(path, names, keys=("idx",), records=None):
    """Labels from the columns `names`; `records` finds the number of each row's record by `keys`."""
    header, rows = read_rows(path, [*keys, *names])
    find = _Finder(path, keys, records)
    idx, y, unlabeled, save_file = [], bytearray(), [], {}
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
    y = np.frombuffer(bytes(y), bool).reshape(len(idx), len(names))
    return Labels(idx, y, names, unlabeled=unlabeled, path=path, save_file=save_file, unknown=find.unknown)


class _Finder:
    """The number of each row's record, by ``idx`` alone or by all keys."""

    def __init__(self, path, keys, records):
        self.path, self.keys, self.records = path, list(keys), records
        self.rows = self.unknown = self.agreed = 0
        self._seen = set()
        self.unchecked = None  # (line, name, number) of the first row whose names aren't known

    def __call__(self, row, line):
        self.rows += 1
        number = self._number(row, line)
        if number in self._seen:
            raise LabelError(f"line {line}: the index {number} stands twice", path=self.path, field="idx")
        if number is not None:
            self._seen.add(number)
        return number

    def _number(self, row, line):
        if self.records is None:
            return whole_number(row["idx"], self.path, f"idx, line {line}")
        number, agreed = self.records.find(row, self.keys, self.path, line)
        self.agreed += agreed
        self.unknown += number is None
        named = [row[key] for key in self.keys if key != "idx" and not is_missing(row[key])]
        if named and not agreed and self.unchecked is None:
            self.unchecked = line, named[0], number
        return number

    def end(self):
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


def physionet2021_labels(meta, weights, abbreviations, *, combined=True):
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
    column_of, labels = {}, []
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
    y = np.zeros((len(idx), len(labels)), bool)
    for row, text in enumerate(columns["diagnosis"]):
        for code in text.split(","):
            column = column_of.get(code.strip())
            if column is not None:
                y[row, column] = True
    return Labels(idx, y, labels, path=meta, save_file=dict(zip(idx.tolist(), columns.get("save_file", ()))))


def _first_column(path):
    header, rows = read_rows(path)
    found = [row[header[0]].strip() for row in rows] if header else []
    if not found or "" in found:
        raise FormatError("its first column has an empty cell, or no row", path=path, field="column 1")
    return found


def prepare_labels(
    labels,
    output_dir,
    meta_splits=None,
    *,
    meta=None,
    segmented_splits=None,
    labeled_meta_splits_save_file=None,
    labeled_segmented_splits_save_file=None,
    infinite=True,
    settings=None,
):
    """Write ``y.npy``, ``label_def.csv`` and ``pos_weight.txt``.

    Counts, shares and weights are of records that have labels and are in a split; `pos_weight.txt` is for the split
    ``train``, or for all if there is none of that name.

    Parameters
    ----------
    labels : Labels or path-like
        Or a table as `read_labels` takes it.
    output_dir : path-like
        Folder to write to; made if need be.
    meta_splits : path-like, optional
        Table with ``split`` and ``idx``, or a name, of each record.
    meta : path-like, optional
        Table with ``idx`` and the names of the records, by which rows of the others are found or checked. Default:
        ``meta.csv`` beside `meta_splits` if it is there, else `meta_splits`.
    segmented_splits : path-like, optional
        The same of each segment.
    labeled_meta_splits_save_file, labeled_segmented_splits_save_file : path-like, optional
        Where to write the rows of those tables whose records have labels.
    infinite : bool
        What ``pos_weight.txt`` says of a label without a positive record: ``inf`` as the original does, or 1.
    settings : dict, optional
        Written to ``labels_args.json``.

    Returns
    -------
    dict
        ``records`` (in the splits), ``labeled`` (of them), ``never`` (labels without a positive record).

    Raises
    ------
    FormatError, LabelError
        If tables can't be read or don't fit each other.
    """
    for wanted, table, name in (
        (labeled_meta_splits_save_file, meta_splits, "meta_splits"),
        (labeled_segmented_splits_save_file, segmented_splits, "segmented_splits"),
    ):
        if wanted is not None and table is None:
            raise LabelError(f"{os.fspath(wanted)} is made from it", field=name, remedy=f"Give --{name}")
    meta = find_meta(meta, meta_splits)
    if not isinstance(labels, Labels):
        labels = read_labels(labels, meta or meta_splits)
    splits, of, rows, records = None, {}, 0, len(labels.idx) + len(labels.unlabeled)
    if meta_splits is not None:
        of = _read_splits(meta_splits, meta)
        _check_names(labels, of, meta_splits)
        records = sum(split != "" for split, _ in of.values())
        splits = [of.get(i, ("",))[0] for i in labels.idx.tolist()]
        if not any(splits):
            raise LabelError(
                "no record has labels and a split",
                path=meta_splits,
                field="idx",
                remedy=f"Check that {labels.path} belongs to the same data",
            )
        rows = max(of) + 1
    if len(labels.unlabeled):
        rows = max(rows, int(labels.unlabeled.max()) + 1)
    _check_rows(max(rows, int(labels.idx.max()) + 1 if len(labels.idx) else 0), labels)
    never = write_label_files(
        output_dir,
        labels.idx,
        labels.y,
        labels.names,
        splits=splits,
        settings=settings,
        labels=False,
        rows=rows,
        infinite=infinite,
    )
    called = {number: name for number, (_, name) in of.items()} | labels.save_file
    known = {number: called.get(number) for number in labels.idx.tolist()}
    for table, path in (
        (meta_splits, labeled_meta_splits_save_file),
        (segmented_splits, labeled_segmented_splits_save_file),
    ):
        if path is not None:
            _write_labeled(table, path, known)
    labeled = len(labels.idx) if splits is None else sum(name != "" for name in splits)
    return {"records": records, "labeled": labeled, "never": never}


def find_meta(meta, meta_splits):
    """The table of all records: as given, or ``meta.csv`` beside the splits, or None."""
    if meta is not None or meta_splits is None:
        return meta
    beside = os.path.join(os.path.dirname(os.fspath(meta_splits)), "meta.csv")
    return beside if os.path.isfile(beside) else None


def _read_splits(path, meta):
    """Number of each record of a table -> (its split, or an empty text; its name, if the table says it)."""
    header, rows = read_rows(path, ["split"])
    keys = key_columns(header, path)
    if meta is None and "idx" not in keys:
        raise FormatError(
            "columns missing: idx",
            path=path,
            field="header",
            remedy="To find records by name give a table of them, such as meta.csv",
        )
    records, of = None if meta is None or keys == ["idx"] else Records(meta), {}
    for line, row in enumerate(rows, 2):
        if records is None:
            number = whole_number(row["idx"], path, f"idx, line {line}")
        else:
            number, _ = records.find(row, keys, path, line)
        if number is None:
            raise FormatError(f"line {line}: no record of {os.fspath(meta)} is called so", path=path, field=keys[-1])
        if number in of:
            raise FormatError(f"line {line}: the index {number} stands twice", path=path, field="idx")
        split = row["split"]
        if is_missing(split):
            split = ""
        else:
            check_name(split, "a split", path=path, field=f"split, line {line}")
        of[number] = split, row.get("save_file")
    if not of:
        raise FormatError("the table has no rows", path=path)
    return of


def _check_names(labels, of, path):
    """Refuse splits that call a record other than the labels do."""
    for number, name in labels.save_file.items():
        other = of.get(number, ("", None))[1]
        if other is not None and other != name:
            raise FormatError(
                f"record {number} is {shown(other)}, by {os.fspath(labels.path)} it is {shown(name)}",
                path=path,
                field="save_file",
                remedy="Both tables must come from the same preprocessing",
            )


def _check_rows(rows, labels):
    """Refuse an index that would make y.npy larger than is written."""
    size = 8 * rows * len(labels.names)
    if rows > MAX_INDEX or size > _MAX_BYTES:
        raise LabelError(
            f"the largest index is {rows - 1:,}: y.npy would have a row for each up to it, {size:,} bytes for"
            f" {len(labels.names):,} labels, more than the {_MAX_BYTES:,} that are written",
            path=labels.path,
            field="idx",
            remedy="Numbers must be those of preprocessing (idx in meta.csv)",
        )


def _write_labeled(table, path, known):
    """The rows of a table whose records have labels; idx comes first."""
    if os.path.exists(path) and os.path.samefile(table, path):
        raise LabelError("would be written over", path=table, remedy="Give another name")
    header, rows = read_rows(table, ["idx"])
    columns = ["idx", *(name for name in header if name != "idx")]

    def kept():
        for line, row in enumerate(rows, 2):
            number = whole_number(row["idx"], table, f"idx, line {line}")
            if number not in known:
                continue
            name = known[number]
            if name is not None and row.get("save_file", name) != name:
                raise FormatError(
                    f"line {line}: record {number} is {shown(row['save_file'])}, elsewhere it is {shown(name)}",
                    path=table,
                    field="save_file",
                    remedy="The tables must come from the same preprocessing",
                )
            yield row

    write_rows(path, columns, kept())
