"""Splits of a processed data set: its tables with the split of each record and each segment."""

import os
from collections import Counter

import numpy as np

from ...errors import ConfigError, FormatError
from ...storage.columns import check_name, flags, is_missing, read_columns, split_list, whole_numbers
from ...storage.json import write_json
from ...storage.rows import read_rows, write_rows
from .assigning import STRATEGIES, Splits, assign_splits, split_fractions
from .keys import Names, key_columns

__all__ = ["STRATEGIES", "Splits", "assign_splits", "make_splits", "split_fractions"]


def make_splits(
    processed_root,
    strategy,
    *,
    meta_file="meta.csv",
    segmented_file=None,
    save_files_suffix="_split",
    fractions="0.8,0.1,0.1",
    split_labels="train,valid,test",
    group_col=None,
    date_col=None,
    grouped_temporal_filter_strategy="train",
    filter_cols=None,
    dataset_subset=None,
    keep_cols=None,
    seed=1,
):
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
    root = os.fsdecode(processed_root)
    meta_path = os.path.join(root, meta_file)
    extra = [] if keep_cols is None else split_list(keep_cols, "keep_cols")
    filters = [] if filter_cols is None else split_list(filter_cols, "filter_cols")
    subset = None if dataset_subset is None else split_list(dataset_subset, "dataset_subset")
    named = [*(name for name in (group_col, date_col) if name), *extra, *filters]
    keys, meta = _meta(meta_path, named + ["dataset"] * (subset is not None))
    segments = _segments(root, segmented_file)
    keep, dropped = _wanted(meta, meta_path, filters, subset)
    done = assign_splits(
        len(keep),
        strategy,
        fractions=fractions,
        split_labels=split_labels,
        seed=seed,
        groups=None if group_col is None else [meta[group_col][row] for row in keep],
        dates=None if date_col is None else [meta[date_col][row] for row in keep],
        filter_strategy=grouped_temporal_filter_strategy,
    )
    rows = keep[done.rows]
    if not len(rows):
        raise FormatError("no record is left to be split", path=meta_path)
    grouped = done.group_split is not None and grouped_temporal_filter_strategy is not True
    of_group = f"{group_col}_split" if grouped else None
    columns = [*keys, "split", *(name for name in (group_col, of_group, date_col) if name), *extra]
    columns = list(dict.fromkeys(columns))
    records = _records(meta, rows, done, columns, of_group)
    paths = {"meta": os.path.join(root, f"meta{save_files_suffix}.csv")}
    write_rows(paths["meta"], columns, records)
    drawn = Counter(record["split"] for record in records)
    counts, of_segments = {label: drawn[label] for label in split_list(split_labels, "split_labels")}, None
    if segments is not None:
        paths["segmented"], of_segments = _write_segments(
            segments,
            records,
            keys[-1],
            counts,
            columns,
            meta_path,
            os.path.join(root, f"segmented{save_files_suffix}.csv"),
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
    paths["args"] = os.path.join(root, f"meta{save_files_suffix}_args.json")
    write_json(paths["args"], made)
    return {
        "counts": counts,
        "segments": of_segments,
        "transitions": done.transitions,
        "dropped": made["left_out"],
        "merged": done.merged,
        "paths": paths,
    }


def _meta(path, names):
    """The keys of the records' table, of which the last is their name, and its columns."""
    header, _ = read_rows(path)
    if "split" in header:
        raise FormatError(
            "the table has that column already",
            path=path,
            field="split",
            remedy="Give the table of the records as preprocessing wrote it",
        )
    keys = key_columns(header, path)
    if "save_file" in keys:  # beside it the path is only where the recording came from
        keys = [name for name in ("idx", "save_file") if name in keys]
    meta = read_columns(path, [*keys, *names], once=keys)
    for name in keys:
        _check_once(whole_numbers(meta[name], path, name).tolist() if name == "idx" else meta[name], path, name)
    return keys, meta


def _records(meta, rows, done, columns, of_group):
    """The rows of the table that is written, as dicts; `of_group` names the column of the group's split, if any."""
    records = [{name: meta[name][row] for name in columns if name in meta} for row in rows]
    for i, record in enumerate(records):
        record["split"] = done.split[i]
        if of_group is not None:
            record[of_group] = done.group_split[i]
    return records


def _write_segments(segments, records, key, counts, columns, meta_path, path):
    """Write the table of segments; return its path and how many segments each split has."""
    found = dict.fromkeys(counts, 0)
    rows = _joined(segments, records, key, found, meta_path)
    write_rows(path, list(dict.fromkeys([*columns, "path", "sample_size"])), rows)
    return path, found


def _check_once(values, path, column):
    seen = set()
    for line, value in enumerate(values, 2):
        if value in seen:
            raise FormatError(f"line {line}: {value} stands twice", path=path, field=column)
        if value == "" or (isinstance(value, str) and is_missing(value)):
            raise FormatError(f"line {line}: an empty cell", path=path, field=column)
        seen.add(value)


def _segments(root, name):
    """Columns of the table of segments, or None if there is none and none was asked for."""
    path = os.path.join(root, name or "segmented.csv")
    if name is None and not os.path.exists(path):
        return None
    return read_columns(path, ["path", "save_file", "sample_size"])


def _wanted(meta, path, filters, subset):
    keep, dropped = np.ones(len(next(iter(meta.values()))), bool), {}
    if subset is not None:
        keep &= np.array([name.strip() in subset for name in meta["dataset"]], bool)
        dropped["of other data sets"] = int((~keep).sum())
    for name in filters:
        marked = flags(meta[name], path, name, empty=False) & keep
        dropped[f"with {name}"] = int(marked.sum())
        keep &= ~marked
    return np.flatnonzero(keep), {reason: count for reason, count in dropped.items() if count}


def _joined(segments, records, key, counts, path):
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
