"""Splits of a processed data set: its tables with the split of each record and each segment."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..._types import StrPath
from ...errors import ConfigError, FormatError
from ...storage.columns import check_name, flags, is_missing, read_columns, split_list, whole_numbers
from ...storage.json import write_json
from ...storage.rows import read_rows, write_rows
from .assigning import STRATEGIES, Splits, assign_splits, split_fractions
from .keys import Names, key_columns

__all__ = ["STRATEGIES", "Splits", "assign_splits", "make_splits", "split_fractions"]


def make_splits(
    processed_root: StrPath,
    strategy: str,
    *,
    meta_file: str = "meta.csv",
    segmented_file: str | None = None,
    save_files_suffix: str = "_split",
    fractions: str | float | Sequence[float] = "0.8,0.1,0.1",
    split_labels: str | Sequence[str] = "train,valid,test",
    group_col: str | None = None,
    date_col: str | None = None,
    grouped_temporal_filter_strategy: bool | str = "train",
    filter_cols: str | Sequence[str] | None = None,
    dataset_subset: str | Sequence[str] | None = None,
    keep_cols: str | Sequence[str] | None = None,
    seed: int = 1,
) -> dict[str, Any]:
    """Split a processed data set: ``meta.csv`` and ``segmented.csv`` to ``meta_split.csv`` and ``segmented_split.csv``.

    Beside them, ``meta_split_args.json`` says the seed and all else that was asked for.

    Parameters
    ----------
    processed_root : path-like
        Folder of the tables.
    strategy, fractions, split_labels, seed
        As in `assign_splits`.
    meta_file : str
        Table of the records: ``idx`` and ``save_file``, or one of these, or ``path``, ``file`` or ``record``; and the
        columns that are named here.
    segmented_file : str, optional
        Table of the segments: ``path``, ``save_file``, ``sample_size``. Default ``segmented.csv`` if there is one.
    save_files_suffix : str
        Goes into the names of what is written.
    group_col, date_col : str, optional
        Columns of groups and of dates.
    grouped_temporal_filter_strategy : bool or str
        `filter_strategy` of `assign_splits`.
    filter_cols : str or sequence of str, optional
        Columns of true and false: records with a true one are left out, such as ``nan_any``.
    dataset_subset : str or sequence of str, optional
        Only records whose column ``dataset`` is one of these.
    keep_cols : str or sequence of str, optional
        Columns of the records' table to keep.

    Returns
    -------
    dict
        ``counts`` (split -> records), ``segments`` (split -> segments; None without a table of them), ``transitions``,
        ``dropped`` (reason -> records), ``merged`` (groups that are written in several ways), ``paths``.

    Raises
    ------
    ConfigError
        If arguments don't fit each other.
    FormatError
        If a table can't be read, lacks a column, has one named ``split``, or names a record or an index twice.
    """
    if not save_files_suffix:
        raise ConfigError("is empty, the tables would be written over", field="save_files_suffix")
    check_name(f"meta{save_files_suffix}", "a table", field="save_files_suffix", error=ConfigError)
    extra = [] if keep_cols is None else split_list(keep_cols, "keep_cols")
    filters = [] if filter_cols is None else split_list(filter_cols, "filter_cols")
    subset = None if dataset_subset is None else split_list(dataset_subset, "dataset_subset")
    asked = [*filter(None, (group_col, date_col)), *extra, *filters, *["dataset"] * (subset is not None)]
    tables = _Tables(os.fsdecode(processed_root), meta_file, segmented_file, asked)
    keep, dropped = tables.wanted(filters, subset)
    names = (("groups", group_col), ("dates", date_col))
    of_rows = {name: [tables.meta[column][row] for row in keep] for name, column in names if column is not None}
    options: dict[str, Any] = {"filter_strategy": grouped_temporal_filter_strategy, **of_rows}
    done = assign_splits(len(keep), strategy, fractions=fractions, split_labels=split_labels, seed=seed, **options)
    if not len(done.rows):
        raise FormatError("no record is left to be split", path=tables.path)
    grouped = done.group_split is not None and grouped_temporal_filter_strategy is not True
    of_group = f"{group_col}_split" if grouped else None
    columns = list(dict.fromkeys([*tables.keys, "split", *filter(None, (group_col, of_group, date_col)), *extra]))
    records = tables.records(keep[done.rows], done, columns, of_group)
    paths, counts, of_segments = tables.write(
        records, columns, split_list(split_labels, "split_labels"), save_files_suffix
    )
    made = {
        "strategy": strategy,
        "fractions": split_fractions(fractions).tolist(),
        "split_labels": list(counts),
        "seed": int(seed),
        "meta_file": meta_file,
        "group_col": group_col,
        "date_col": date_col,
        "grouped_temporal_filter_strategy": grouped_temporal_filter_strategy if done.group_split is not None else None,
        "filter_cols": filters,
        "dataset_subset": subset,
        "keep_cols": extra,
        "records": counts,
        "segments": of_segments,
        "transitions": done.transitions,
        "left_out": {**dropped, **done.dropped},
    }
    paths["args"] = os.path.join(tables.root, f"meta{save_files_suffix}_args.json")
    write_json(paths["args"], made)
    found = {"counts": counts, "segments": of_segments, "transitions": done.transitions}
    return found | {"dropped": made["left_out"], "merged": done.merged, "paths": paths}


class _Tables:
    """The tables of a processed data set: of its records, and of its segments if there are any."""

    def __init__(self, root: str, meta_file: str, segmented_file: str | None, names: Iterable[str]) -> None:
        self.root, self.path = root, os.path.join(root, meta_file)
        header, _ = read_rows(self.path)
        if "split" in header:
            raise FormatError(
                "the table has that column already",
                path=self.path,
                field="split",
                remedy="Give the table of the records as preprocessing wrote it",
            )
        self.keys = key_columns(header, self.path)  # the last of them is the record's name
        if "save_file" in self.keys:  # beside it the path is only where the recording came from
            self.keys = [name for name in ("idx", "save_file") if name in self.keys]
        self.meta = read_columns(self.path, [*self.keys, *names], once=self.keys)
        for name in self.keys:
            cells: list[Any] = self.meta[name]
            _check_once(whole_numbers(cells, self.path, name).tolist() if name == "idx" else cells, self.path, name)
        self.segments: dict[str, list[str]] | None = None
        path = os.path.join(root, segmented_file or "segmented.csv")
        if segmented_file is not None or os.path.exists(path):
            self.segments = read_columns(path, ["path", "save_file", "sample_size"])

    def wanted(self, filters: Iterable[str], subset: Sequence[str] | None) -> tuple[NDArray[np.int64], dict[str, int]]:
        """The rows of the records to split, and how many are left out for each reason."""
        keep, dropped = np.ones(len(next(iter(self.meta.values()))), np.bool_), {}
        if subset is not None:
            keep &= np.array([name.strip() in subset for name in self.meta["dataset"]], np.bool_)
            dropped["of other data sets"] = int((~keep).sum())
        for name in filters:
            marked = flags(self.meta[name], self.path, name, empty=False) & keep
            dropped[f"with {name}"] = int(marked.sum())
            keep &= ~marked
        return np.flatnonzero(keep), {reason: count for reason, count in dropped.items() if count}

    def records(
        self, rows: NDArray[np.int64], done: Splits, columns: Sequence[str], of_group: str | None
    ) -> list[dict[str, str]]:
        """The rows of the table that is written; `of_group` names the column of the group's split, if any."""
        records = [{name: self.meta[name][row] for name in columns if name in self.meta} for row in rows]
        drawn = {"split": done.split} | ({} if of_group is None else {of_group: cast("NDArray[Any]", done.group_split)})
        return [record | {name: values[i] for name, values in drawn.items()} for i, record in enumerate(records)]

    def write(
        self, records: Sequence[Mapping[str, str]], columns: Sequence[str], labels: Iterable[str], suffix: str
    ) -> tuple[dict[str, str], dict[str, int], dict[str, int] | None]:
        """Write both tables: their paths, and how many records and segments each split has."""
        paths = {"meta": os.path.join(self.root, f"meta{suffix}.csv")}
        write_rows(paths["meta"], columns, records)
        drawn = Counter(record["split"] for record in records)
        counts = {label: drawn[label] for label in labels}
        if self.segments is None:
            return paths, counts, None
        paths["segmented"], found = os.path.join(self.root, f"segmented{suffix}.csv"), dict.fromkeys(counts, 0)
        rows = _joined(self.segments, records, self.keys[-1], found, self.path)
        write_rows(paths["segmented"], list(dict.fromkeys([*columns, "path", "sample_size"])), rows)
        return paths, counts, found


def _check_once(values: Iterable[object], path: str, column: str) -> None:
    seen = set()
    for line, value in enumerate(values, 2):
        empty = isinstance(value, str) and is_missing(value)
        if empty or value in seen:
            what = "an empty cell" if empty else f"{value} stands twice"
            raise FormatError(f"line {line}: {what}", path=path, field=column)
        seen.add(value)


def _joined(
    segments: Mapping[str, Sequence[str]],
    records: Sequence[Mapping[str, str]],
    key: str,
    counts: dict[str, int],
    path: str,
) -> Iterator[dict[str, str]]:
    """The segments of the records that are in a split, found by the records' name."""
    if key == "idx":
        raise FormatError(
            "columns missing: save_file",
            path=path,
            field="header",
            remedy="Segments are found by it; name the records, or remove the table of segments",
        )
    names = Names()
    for number, record in enumerate(records):
        names.add(record[key], number)
    for where, save_file, size in zip(segments["path"], segments["save_file"], segments["sample_size"]):
        found = names.find(save_file)
        if len(found) > 1:
            raise FormatError(f"{save_file} fits {len(found)} records", path=path, field=key)
        for number in found:
            record = records[number]
            counts[record["split"]] += 1
            yield {**record, "path": where, "sample_size": size}
