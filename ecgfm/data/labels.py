"""Label files for finetuning: from a table of labels, from CODE-15%, from PhysioNet 2021.

What comes out: ``y.npy`` (float64, a row for each idx), ``label_def.csv`` (counts, shares and weights of each label),
``pos_weight.txt`` (one line for ``criterion.pos_weight``).
"""

import os

import numpy as np

from ..errors import FormatError, LabelError
from ..labeler.label_files import MAX_INDEX, write_label_files
from .columns import flags, is_missing, read_columns, whole_numbers
from .rows import read_rows, write_rows

__all__ = ["CODE_15", "Labels", "code_15_labels", "physionet2021_labels", "prepare_labels", "read_labels"]

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
    """

    def __init__(self, idx, y, names, *, unlabeled=(), path=None):
        self.idx, self.y, self.names = np.asarray(idx, np.int64), np.asarray(y, bool), list(names)
        self.unlabeled, self.path = np.asarray(unlabeled, np.int64), path
        order = np.argsort(self.idx, kind="stable")
        self.idx, self.y = self.idx[order], self.y[order]
        twice = self.idx[1:][self.idx[1:] == self.idx[:-1]]
        if len(twice):
            raise LabelError(f"the index {twice[0]} stands twice", path=path, field="idx")
        if len(self.idx) and self.idx[-1] >= MAX_INDEX:
            raise LabelError(f"{self.idx[-1]} is not below {MAX_INDEX:,}", path=path, field="idx")
        for name in self.names:
            if self.names.count(name) > 1:
                raise LabelError(f"the label {name!r} stands twice", path=path, field="labels")

    def to_csv(self, path, *, words=False):
        """Write ``labels.csv``: idx and a column for each label, 1 and 0, or in words (True, False)."""
        texts = ("False", "True") if words else (0, 1)
        folder = os.path.dirname(os.path.abspath(path))
        os.makedirs(folder, exist_ok=True)
        rows = zip(self.idx.tolist(), self.y.tolist())
        cells = ({"idx": i, **{name: texts[value] for name, value in zip(self.names, row)}} for i, row in rows)
        write_rows(path, ["idx", *self.names], cells)


def read_labels(path):
    """Labels from a table with ``idx`` and a column of 1 and 0, or true and false, for each label.

    Raises
    ------
    FormatError
        If the table can't be read or a cell is something else.
    LabelError
        If an index or a label stands twice, or there are none.
    """
    header, _ = read_rows(path, ["idx"])
    names = [name for name in header if name not in ("idx", "")]
    return _from_columns(path, names)


def code_15_labels(meta):
    """The labels of CODE-15% from its table of records (``meta.csv``, ``records.csv``).

    Returns
    -------
    Labels
        Those of `CODE_15`.
    """
    return _from_columns(meta, list(CODE_15))


def _from_columns(path, names):
    columns = read_columns(path, ["idx", *names])
    idx = whole_numbers(columns["idx"], path, "idx")
    if not names or not len(idx):
        raise LabelError(f"the table has no {'rows' if names else 'column of labels'}", path=path)
    empty = np.zeros(len(idx), bool)
    for name in names:
        empty |= np.array([is_missing(text) for text in columns[name]], bool)
    y = np.column_stack([flags(columns[name], path, name, empty=False) for name in names])
    return Labels(idx[~empty], y[~empty], names, unlabeled=idx[empty], path=path)


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
            raise LabelError(f"{name!r} are not the names of {group}", path=abbreviations, field="rows")
        for i, code in enumerate(parts):
            if code.strip() in column_of:
                raise LabelError(f"the code {code} stands twice", path=weights, field="rows")
            column_of[code.strip()] = len(labels) + (0 if combined else i)
        labels += called
    columns = read_columns(meta, ["idx", "diagnosis"])
    idx = whole_numbers(columns["idx"], meta, "idx")
    y = np.zeros((len(idx), len(labels)), bool)
    for row, text in enumerate(columns["diagnosis"]):
        for code in text.split(","):
            column = column_of.get(code.strip())
            if column is not None:
                y[row, column] = True
    return Labels(idx, y, labels, path=meta)


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
        Table with ``idx`` and ``split`` of each record.
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
    if not isinstance(labels, Labels):
        labels = read_labels(labels)
    splits, rows, records = None, 0, len(labels.idx) + len(labels.unlabeled)
    if meta_splits is not None:
        columns = read_columns(meta_splits, ["idx", "split"])
        split_idx = whole_numbers(columns["idx"], meta_splits, "idx")
        of = {i: "" if is_missing(name) else name for i, name in zip(split_idx.tolist(), columns["split"])}
        if len(of) != len(split_idx):
            raise FormatError("an index stands twice", path=meta_splits, field="idx")
        records = sum(name != "" for name in of.values())
        splits = [of.get(i, "") for i in labels.idx.tolist()]
        if not any(splits):
            raise LabelError("no record has labels and a split", path=meta_splits, field="idx",
                             remedy=f"Check that {labels.path} belongs to the same data")
        rows = int(split_idx.max()) + 1
    if len(labels.unlabeled):
        rows = max(rows, int(labels.unlabeled.max()) + 1)
    if rows > MAX_INDEX:
        raise LabelError(f"indices must lie between 0 and {MAX_INDEX - 1}", path=meta_splits, field="idx")
    never = write_label_files(output_dir, labels.idx, labels.y, labels.names, splits=splits, settings=settings,
                              labels=False, rows=rows, infinite=infinite)
    known = set(labels.idx.tolist())
    for table, path in ((meta_splits, labeled_meta_splits_save_file),
                        (segmented_splits, labeled_segmented_splits_save_file)):
        if path is not None:
            _write_labeled(table, path, known)
    labeled = len(labels.idx) if splits is None else sum(name != "" for name in splits)
    return {"records": records, "labeled": labeled, "never": never}


def _write_labeled(table, path, known):
    """The rows of a table whose records have labels; idx comes first."""
    if os.path.exists(path) and os.path.samefile(table, path):
        raise LabelError("would be written over", path=table, remedy="Give another name")
    header, rows = read_rows(table, ["idx"])
    columns = ["idx", *(name for name in header if name != "idx")]

    def kept():
        for line, row in enumerate(rows, 2):
            if int(whole_numbers([row["idx"]], table, f"idx, line {line}")[0]) in known:
                yield row

    write_rows(path, columns, kept())
