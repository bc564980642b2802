"""Splits: which record is for training, validation, testing."""

import json
import os
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import numpy as np

from .._files import write_text
from ..errors import ConfigError, FormatError
from .columns import flags, is_missing, read_columns, split_list, whole_numbers
from .rows import read_rows, write_rows

__all__ = ["STRATEGIES", "Splits", "assign_splits", "make_splits", "split_fractions"]

STRATEGIES = ("random", "grouped", "temporal", "grouped_temporal")


@dataclass(eq=False)
class Splits:
    """What `assign_splits` gives.

    Attributes
    ----------
    rows : ndarray of int64
        (n,) the rows that are in a split, in the order in which they are to be listed: as given, or by date.
    split : ndarray of str
        (n,) the split of each.
    group_split : ndarray of str or None
        (n,) for ``grouped_temporal``: the split that has most rows of each one's group.
    transitions : list of str
        For the temporal strategies: the last date of each split but the last.
    dropped : dict
        Reason -> how many rows are in no split.
    """

    rows: np.ndarray
    split: np.ndarray
    group_split: np.ndarray | None
    transitions: list
    dropped: dict


def split_fractions(fractions):
    """Shares of the splits, adding up to 1.

    Parameters
    ----------
    fractions : str, float or sequence of float
        ``"0.8,0.1,0.1"``: of a text, digits, dots and commas count. If they add up to less than 1, the rest is one
        more.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ConfigError
        If one is no number or negative, or all are 0.
    """
    given = fractions
    try:
        if isinstance(fractions, str):
            parts = [Decimal(part) for part in re.sub("[^0-9.,]", "", fractions).split(",")]
        else:
            parts = [Decimal(repr(float(part))) for part in np.atleast_1d(fractions)]
    except (InvalidOperation, ValueError, TypeError):
        raise ConfigError(f"{given!r} are not numbers with commas between them", field="fractions") from None
    if not all(part.is_finite() and part >= 0 for part in parts) or sum(parts) == 0:
        raise ConfigError(f"{given!r} are not shares from 0 up", field="fractions")
    values = [float(part) for part in parts]
    if sum(parts) < 1:
        values.append(float(1 - sum(parts)))
    return np.array(values) / sum(values)


def assign_splits(
    count,
    strategy,
    *,
    fractions="0.8,0.1,0.1",
    split_labels=("train", "valid", "test"),
    groups=None,
    dates=None,
    filter_strategy="train",
    seed=1,
):
    """Put records into splits.

    Parameters
    ----------
    count : int
        Number of records.
    strategy : {"random", "grouped", "temporal", "grouped_temporal"}
        ``random``: each record by itself. ``grouped``: whole groups, such as patients; the shares are of groups.
        ``temporal``: by date, the earliest first. ``grouped_temporal``: by date, and each group is told the split that
        has most of its records.
    fractions : str or sequence of float
        As in `split_fractions`.
    split_labels : str or sequence of str
        A name for each share.
    groups, dates : sequence, optional
        (count,) of each record, for the strategies that are named after them. Records that lack one are in no split.
        Dates are compared as numbers if all are, else as text.
    filter_strategy : bool or str
        Of ``grouped_temporal``: False keeps all records, True only those whose group has most of its records in the
        same split, the name of a split drops those for which one of the two is that split and the other is not.
    seed : int
        From 0 to 4294967295. The same seed gives the same splits, whatever the order of the groups.

    Returns
    -------
    Splits

    Raises
    ------
    ConfigError
        If arguments don't fit each other.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"{strategy!r} is not known", field="strategy", remedy=f"Give {', '.join(STRATEGIES)}")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 32:
        raise ConfigError(f"{seed!r} is not a whole number from 0 to {(1 << 32) - 1}", field="seed")
    labels = np.array(split_list(split_labels, "split_labels"), dtype=object)
    shares = split_fractions(fractions)
    if len(labels) != len(shares) or len(set(labels)) != len(labels):
        raise ConfigError(
            f"{len(labels)} names ({', '.join(labels)}) for {len(shares)} shares", field="split_labels",
            remedy="Give each share a name of its own",
        )
    for name, given, word in (("groups", groups, "grouped"), ("dates", dates, "temporal")):
        if (given is not None) != (word in strategy):
            what = "needs" if given is None else "does not take"
            raise ConfigError(f"the strategy {strategy} {what} {name}", field=name)
        if given is not None and len(given) != count:
            raise ConfigError(f"{len(given)} {name} for {count} records", field=name)
    rows, dropped = np.arange(count, dtype=np.int64), {}
    for name, given in (("group", groups), ("date", dates)):
        if given is not None:
            there = np.array([not _lacks(given[row]) for row in rows], bool)
            if not there.all():
                dropped[f"without a {name}"] = int((~there).sum())
            rows = rows[there]
    random = np.random.RandomState(seed)
    if strategy == "random":
        return Splits(rows, _cut(random.permutation(len(rows)), shares, labels), None, [], dropped)
    if strategy == "grouped":
        return Splits(rows, _grouped(rows, groups, shares, labels, random), None, [], dropped)
    rows = rows[_by_date([dates[row] for row in rows])]
    split = _cut(np.arange(len(rows)), shares, labels)
    cuts = _cuts(len(rows), shares)
    transitions = [str(dates[rows[cut - 1]]) for cut in cuts if 0 < cut]
    if strategy == "temporal":
        return Splits(rows, split, None, transitions, dropped)
    of_group = _most([str(groups[row]) for row in rows], split)
    keep = _kept(split, of_group, filter_strategy, labels)
    if not keep.all():
        dropped["whose group is in another split"] = int((~keep).sum())
    return Splits(rows[keep], split[keep], of_group[keep], transitions, dropped)


def _lacks(value):
    return value is None or (isinstance(value, str) and is_missing(value)) or value != value


def _cuts(count, shares):
    return np.round(np.cumsum(shares)[:-1] * count).astype(np.int64)


def _cut(order, shares, labels):
    """The split of each position of `order`, which is cut by position."""
    split = np.empty(len(order), dtype=object)
    for label, part in zip(labels, np.split(order, _cuts(len(order), shares))):
        split[part] = label
    return split


def _grouped(rows, groups, shares, labels, random):
    names = [str(groups[row]) for row in rows]
    known = sorted(set(names))
    order = random.permutation(len(known))
    of, left = {}, shares
    for label in labels:
        # each in turn takes its share of the groups that are left, rounded down; the last one takes the rest
        count = int(np.floor(left[0] / left.sum() * len(order) + 1e-9)) if len(left) > 1 and left.sum() else len(order)
        of.update((known[i], label) for i in order[:count])
        order, left = order[count:], left[1:]
    return np.array([of[name] for name in names], dtype=object)


def _by_date(dates):
    try:
        keys = np.array([float(date) for date in dates])
    except (TypeError, ValueError):
        keys = np.array([str(date) for date in dates], dtype=object)
    return np.argsort(keys, kind="stable")


def _most(groups, split):
    """For each row the split with most rows of its group; of equal ones, the first by name."""
    counts = {}
    for group, label in zip(groups, split):
        of = counts.setdefault(group, {})
        of[label] = of.get(label, 0) + 1
    best = {group: min(of, key=lambda label: (-of[label], label)) for group, of in counts.items()}
    return np.array([best[group] for group in groups], dtype=object)


def _kept(split, of_group, strategy, labels):
    if strategy is False or strategy is True:
        return split == of_group if strategy else np.ones(len(split), bool)
    if strategy not in labels:
        raise ConfigError(
            f"{strategy!r} is neither true nor false nor one of {', '.join(labels)}",
            field="grouped_temporal_filter_strategy",
        )
    return (split == strategy) == (of_group == strategy)


# ---- files ------------------------------------------------------------------------------------------


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
        Table of the records: ``idx``, ``save_file``, and the columns that are named here.
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
        ``dropped`` (reason -> records), ``paths``.

    Raises
    ------
    ConfigError
        If arguments don't fit each other.
    FormatError
        If a table can't be read, lacks a column, has one named ``split``, or names a record or an index twice.
    """
    if not save_files_suffix:
        raise ConfigError("is empty, the tables would be written over", field="save_files_suffix")
    root = os.fsdecode(processed_root)
    meta_path = os.path.join(root, meta_file)
    extra = [] if keep_cols is None else split_list(keep_cols, "keep_cols")
    filters = [] if filter_cols is None else split_list(filter_cols, "filter_cols")
    subset = None if dataset_subset is None else split_list(dataset_subset, "dataset_subset")
    named = ["idx", "save_file", *(name for name in (group_col, date_col) if name), *extra, *filters]
    meta = _meta(meta_path, named + ["dataset"] * (subset is not None))
    segments = _segments(root, segmented_file)
    keep, dropped = _wanted(meta, meta_path, filters, subset)
    done = assign_splits(
        len(keep),
        strategy,
        fractions=fractions,
        split_labels=split_labels,
        groups=None if group_col is None else [meta[group_col][row] for row in keep],
        dates=None if date_col is None else [meta[date_col][row] for row in keep],
        filter_strategy=grouped_temporal_filter_strategy,
        seed=seed,
    )
    rows = keep[done.rows]
    if not len(rows):
        raise FormatError("no record is left to be split", path=meta_path)
    columns = ["idx", "save_file", "split", *([group_col] if group_col else [])]
    if done.group_split is not None and grouped_temporal_filter_strategy is not True:
        columns.append(f"{group_col}_split")
    columns = list(dict.fromkeys([*columns, *([date_col] if date_col else []), *extra]))
    records = [{name: meta[name][row] for name in columns if name in meta} for row in rows]
    for i, record in enumerate(records):
        record["split"] = done.split[i]
        if f"{group_col}_split" in columns:
            record[f"{group_col}_split"] = done.group_split[i]
    paths = {"meta": os.path.join(root, f"meta{save_files_suffix}.csv")}
    write_rows(paths["meta"], columns, records)
    counts = {label: 0 for label in split_list(split_labels, "split_labels")}
    of_segments = None
    for record in records:
        counts[record["split"]] += 1
    if segments is not None:
        paths["segmented"] = os.path.join(root, f"segmented{save_files_suffix}.csv")
        by_file = {record["save_file"]: record for record in records}
        of_segments = dict.fromkeys(counts, 0)
        write_rows(paths["segmented"], [*columns, "path", "sample_size"], _joined(segments, by_file, of_segments))
    told = {
        "strategy": strategy, "fractions": split_fractions(fractions).tolist(), "split_labels": list(counts),
        "seed": int(seed), "meta_file": meta_file, "group_col": group_col, "date_col": date_col,
        "grouped_temporal_filter_strategy": grouped_temporal_filter_strategy if done.group_split is not None else None,
        "filter_cols": filters, "dataset_subset": subset, "keep_cols": extra, "records": counts,
        "segments": of_segments, "transitions": done.transitions, "left_out": {**dropped, **done.dropped},
    }
    paths["args"] = os.path.join(root, f"meta{save_files_suffix}_args.json")
    write_text(paths["args"], json.dumps(told, indent=1) + "\n")
    return {"counts": counts, "segments": of_segments, "transitions": done.transitions,
            "dropped": told["left_out"], "paths": paths}


def _meta(path, names):
    header, _ = read_rows(path)
    if "split" in header:
        raise FormatError("the table has that column already", path=path, field="split",
                          remedy="Give the table of the records as preprocessing wrote it")
    meta = read_columns(path, names)
    whole_numbers(meta["idx"], path, "idx")
    for name in ("idx", "save_file"):
        _check_once(meta[name], path, name)
    return meta


def _check_once(values, path, column):
    seen = set()
    for line, value in enumerate(values, 2):
        if value in seen:
            raise FormatError(f"line {line}: {value} stands twice", path=path, field=column)
        seen.add(value)


def _segments(root, name):
    """Columns of the table of segments, or None if there is none and none was asked for."""
    path = os.path.join(root, name or "segmented.csv")
    if name is None and not os.path.exists(path):
        return None
    return read_columns(path, ["path", "save_file", "sample_size"])


def _wanted(meta, path, filters, subset):
    keep, dropped = np.ones(len(meta["idx"]), bool), {}
    if subset is not None:
        keep &= np.array([name.strip() in subset for name in meta["dataset"]], bool)
        dropped["of other data sets"] = int((~keep).sum())
    for name in filters:
        marked = flags(meta[name], path, name, empty=False) & keep
        dropped[f"with {name}"] = int(marked.sum())
        keep &= ~marked
    return np.flatnonzero(keep), {reason: count for reason, count in dropped.items() if count}


def _joined(segments, by_file, counts):
    for path, save_file, size in zip(segments["path"], segments["save_file"], segments["sample_size"]):
        record = by_file.get(save_file)
        if record is not None:
            counts[record["split"]] += 1
            yield {**record, "path": path, "sample_size": size}
