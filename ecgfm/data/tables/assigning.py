"""Which record is for training, validation, testing: by chance, by group, by date."""

import re
import warnings
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

import numpy as np

from ..._text import shown
from ...errors import ConfigError, InputWarning
from ...storage.columns import check_name, is_missing, split_list
from ...validation import Choice, Seed, Whole, checked, refuse_masked
from .groups import by_date, same_groups

__all__ = ["STRATEGIES", "Splits", "assign_splits", "split_fractions"]

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
    merged : list of tuple of str
        The ways in which each group is written that is written in more than one, such as ``15709`` and ``15709.0``.
    """

    rows: np.ndarray
    split: np.ndarray
    group_split: np.ndarray | None
    transitions: list
    dropped: dict
    merged: list = field(default_factory=list)


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
        raise ConfigError(f"{shown(given)} are not numbers with commas between them", field="fractions") from None
    if not all(part.is_finite() and part >= 0 for part in parts) or sum(parts) == 0:
        raise ConfigError(f"{shown(given)} are not shares from 0 up", field="fractions")
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
        Groups that differ in spaces, capitals or the writing of a number (``15709`` and ``15709.0``) are one. Dates are
        numbers, in ISO's form, or all in one other form that leaves no doubt.
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
        If arguments don't fit each other, or a date is none.

    Warns
    -----
    InputWarning
        If a split that was to have a share has no record.
    """
    done = _assigned(count, strategy, fractions, split_labels, groups, dates, filter_strategy, seed)
    held = set(done.split.tolist())
    empty = [
        label
        for label, share in zip(split_list(split_labels, "split_labels"), split_fractions(fractions))
        if share > 0 and label not in held
    ]
    if empty and count:
        what = ", ".join(map(shown, empty))
        warnings.warn(f"no record is in the split {what}: there are too few for its share", InputWarning, stacklevel=2)
    return done


def _assigned(count, strategy, fractions, split_labels, groups, dates, filter_strategy, seed):
    checked(count, Whole(), "count")
    strategy = checked(strategy, Choice(STRATEGIES), "strategy")
    seed = checked(seed, Seed(), "seed")
    labels = np.array(split_list(split_labels, "split_labels"), dtype=object)
    shares = split_fractions(fractions)
    if len(labels) != len(shares) or len(set(labels)) != len(labels):
        raise ConfigError(
            f"{len(labels)} names ({', '.join(labels)}) for {len(shares)} shares",
            field="split_labels",
            remedy="Give each share a name of its own",
        )
    for label in labels:
        check_name(label, "a split", field="split_labels", error=ConfigError)
    for name, given, word in (("groups", groups, "grouped"), ("dates", dates, "temporal")):
        refuse_masked(given, name, ConfigError)
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
    names, merged = ([], []) if groups is None else same_groups([groups[row] for row in rows])
    if strategy == "grouped":
        return Splits(rows, _grouped(names, shares, labels, random), None, [], dropped, merged)
    order = by_date([dates[row] for row in rows])
    rows = rows[order]
    split = _cut(np.arange(len(rows)), shares, labels)
    cuts = _cuts(len(rows), shares)
    transitions = [str(dates[rows[cut - 1]]) for cut in cuts if 0 < cut]
    if strategy == "temporal":
        return Splits(rows, split, None, transitions, dropped)
    of_group = _most([names[place] for place in order], split)
    keep = _kept(split, of_group, filter_strategy, labels)
    if not keep.all():
        dropped["whose group is in another split"] = int((~keep).sum())
    return Splits(rows[keep], split[keep], of_group[keep], transitions, dropped, merged)


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


def _grouped(names, shares, labels, random):
    known = sorted(set(names))
    order = random.permutation(len(known))
    of, left = {}, shares
    for label in labels:
        # each in turn takes its share of the groups that are left, rounded down; the last one takes the rest
        count = int(np.floor(left[0] / left.sum() * len(order) + 1e-9)) if len(left) > 1 and left.sum() else len(order)
        of.update((known[i], label) for i in order[:count])
        order, left = order[count:], left[1:]
    return np.array([of[name] for name in names], dtype=object)


def _most(groups, split):
    """For each row the split with most rows of its group; of equal ones, the first by name."""
    counts = {}
    for group, label in zip(groups, split):
        of = counts.setdefault(group, {})
        of[label] = of.get(label, 0) + 1
    best = {group: min(of, key=lambda label: (-of[label], label)) for group, of in counts.items()}
    return np.array([best[group] for group in groups], dtype=object)


def _kept(split, of_group, strategy, labels):
    strategy = checked(strategy, Choice((False, True, *labels)), "grouped_temporal_filter_strategy")
    if strategy in (False, True):
        return split == of_group if strategy else np.ones(len(split), bool)
    return (split == strategy) == (of_group == strategy)
