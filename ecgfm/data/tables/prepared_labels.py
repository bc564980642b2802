"""Writes the label files of a data set that is split: ``y.npy``, ``label_def.csv`` and ``pos_weight.txt``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ..._text import shown
from ..._types import StrPath
from ...errors import FormatError, LabelError
from ...storage.columns import check_name, is_missing, whole_number
from ...storage.rows import read_rows, write_rows
from .keys import Records, key_columns
from .label_files import MAX_INDEX, write_label_files
from .labels import Labels, read_labels

__all__ = ["find_meta", "prepare_labels"]

_MAX_BYTES = 1 << 31  # of y.npy


def prepare_labels(
    labels: Labels | StrPath,
    output_dir: StrPath,
    meta_splits: StrPath | None = None,
    *,
    meta: StrPath | None = None,
    segmented_splits: StrPath | None = None,
    labeled_meta_splits_save_file: StrPath | None = None,
    labeled_segmented_splits_save_file: StrPath | None = None,
    infinite: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
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
    splits: list[str] | None = None
    of: dict[int, tuple[str, str | None]] = {}
    rows, records = 0, len(labels.idx) + len(labels.unlabeled)
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
    options: dict[str, Any] = {"settings": settings, "labels": False, "rows": rows, "infinite": infinite}
    never = write_label_files(output_dir, labels.idx, labels.y, labels.names, splits=splits, **options)
    called = {number: name for number, (_, name) in of.items()} | labels.save_file
    known = {number: called.get(number) for number in labels.idx.tolist()}
    for table, path in (
        (meta_splits, labeled_meta_splits_save_file),
        (segmented_splits, labeled_segmented_splits_save_file),
    ):
        if path is not None and table is not None:
            _write_labeled(table, path, known)
    labeled = len(labels.idx) if splits is None else sum(name != "" for name in splits)
    return {"records": records, "labeled": labeled, "never": never}


def find_meta(meta: StrPath | None, meta_splits: StrPath | None) -> StrPath | None:
    """The table of all records: as given, or ``meta.csv`` beside the splits, or None."""
    if meta is not None or meta_splits is None:
        return meta
    beside = os.path.join(os.path.dirname(os.fspath(meta_splits)), "meta.csv")
    return beside if os.path.isfile(beside) else None


def _read_splits(path: StrPath, meta: StrPath | None) -> dict[int, tuple[str, str | None]]:
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
    records = None if meta is None or keys == ["idx"] else Records(meta)
    of: dict[int, tuple[str, str | None]] = {}
    for line, row in enumerate(rows, 2):
        if records is None:
            number: int | None = whole_number(row["idx"], path, f"idx, line {line}")
        else:
            number, _ = records.find(row, keys, path, line)
        if number is None:
            raise FormatError(f"line {line}: no record of {meta} is called so", path=path, field=keys[-1])
        if number in of:
            raise FormatError(f"line {line}: the index {number} stands twice", path=path, field="idx")
        split = "" if is_missing(row["split"]) else row["split"]
        if split:
            check_name(split, "a split", path=path, field=f"split, line {line}")
        of[number] = split, row.get("save_file")
    if not of:
        raise FormatError("the table has no rows", path=path)
    return of


def _check_names(labels: Labels, of: Mapping[int, tuple[str, str | None]], path: StrPath) -> None:
    """Refuse splits that call a record other than the labels do."""
    for number, name in labels.save_file.items():
        other = of.get(number, ("", None))[1]
        if other is not None and other != name:
            raise FormatError(
                f"record {number} is {shown(other)}, by {labels.path} it is {shown(name)}",
                path=path,
                field="save_file",
                remedy="Both tables must come from the same preprocessing",
            )


def _check_rows(rows: int, labels: Labels) -> None:
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


def _write_labeled(table: StrPath, path: StrPath, known: Mapping[int, str | None]) -> None:
    """The rows of a table whose records have labels; idx comes first."""
    if os.path.exists(path) and os.path.samefile(table, path):
        raise LabelError("would be written over", path=table, remedy="Give another name")
    header, rows = read_rows(table, ["idx"])
    columns = ["idx", *(name for name in header if name != "idx")]

    def kept() -> Iterator[dict[str, str]]:
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
