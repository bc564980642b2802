"""Which record is for training, validation, testing: by chance, by group, by date."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..._text import shown
from ...errors import ConfigError, InputWarning
from ...storage.columns import check_name, is_missing, split_list
from ...validation import Choice, Seed, Whole, checked, refuse_masked
from .groups import by_date, same_groups

__all__ = ["STRATEGIES", "Splits", "assign_splits", "split_fractions"]

STRATEGIES: Final = ("random", "grouped", "temporal", "grouped_temporal")


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

    rows: NDArray[np.int64]
    split: NDArray[Any]
    group_split: NDArray[Any] | None
    transitions: list[str]
    dropped: dict[str, int]
    merged: list[tuple[str, ...]] = field(default_factory=list)


def split_fractions(fractions: str | float | Sequence[float]) -> NDArray[np.float64]:
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
    count: int,
    strategy: str,
    *,
    fractions: str | float | Sequence[float] = "0.8,0.1,0.1",
    split_labels: str | Sequence[str] = ("train", "valid", "test"),
    groups: Sequence[Any] | None = None,
    dates: Sequence[Any] | None = None,
    filter_strategy: bool | str = "train",
    seed: int = 1,
) -> Splits:
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


def _assigned(
    count: int,
    strategy: str,
    fractions: str | float | Sequence[float],
    split_labels: str | Sequence[str],
    groups: Sequence[Any] | None,
    dates: Sequence[Any] | None,
    filter_strategy: bool | str,
    seed: int,
) -> Splits:
    checked(count, Whole(), "count")
    strategy = checked(strategy, Choice(STRATEGIES), "strategy")
    random = np.random.RandomState(checked(seed, Seed(), "seed"))
    labels, shares = _checked_shares(fractions, split_labels)
    of_row = _checked_rows(groups, "groups", "grouped" in strategy, strategy, count)
    on_date = _checked_rows(dates, "dates", "temporal" in strategy, strategy, count)
    rows = list(range(count))
    dropped: dict[str, int] = {}
    for name, values in (("group", of_row), ("date", on_date)):
        if values is not None:
            there = [row for row in rows if not _lacks(values[row])]
            if len(there) < len(rows):
                dropped[f"without a {name}"] = len(rows) - len(there)
            rows = there
    names, merged = ([], []) if of_row is None else same_groups([of_row[row] for row in rows])
    kept = np.array(rows, np.int64)
    if on_date is None:
        whole = of_row is not None
        drawn = (
            _grouped(names, shares, labels, random) if whole else _cut(random.permutation(len(rows)), shares, labels)
        )
        return Splits(kept, drawn, None, [], dropped, merged)
    order = by_date([on_date[row] for row in rows])
    kept = kept[order]
    split = _cut(np.arange(len(kept)), shares, labels)
    transitions = [str(on_date[kept[cut - 1]]) for cut in _cuts(len(kept), shares) if cut > 0]
    if of_row is None:
        return Splits(kept, split, None, transitions, dropped)
    of_group = _most([names[place] for place in order], split)
    keep = _kept(split, of_group, filter_strategy, labels)
    if not keep.all():
        dropped["whose group is in another split"] = int((~keep).sum())
    return Splits(kept[keep], split[keep], of_group[keep], transitions, dropped, merged)


def _checked_shares(
    fractions: str | float | Sequence[float], split_labels: str | Sequence[str]
) -> tuple[list[str], NDArray[np.float64]]:
    labels, shares = split_list(split_labels, "split_labels"), split_fractions(fractions)
    if len(labels) != len(shares) or len(set(labels)) != len(labels):
        raise ConfigError(
            f"{len(labels)} names ({', '.join(labels)}) for {len(shares)} shares",
            field="split_labels",
            remedy="Give each share a name of its own",
        )
    for label in labels:
        check_name(label, "a split", field="split_labels", error=ConfigError)
    return labels, shares


def _checked_rows(values: Sequence[Any] | None, name: str, needed: bool, strategy: str, count: int) -> list[Any] | None:
    """Groups or dates, a value for each record; None where the strategy takes none."""
    refuse_masked(values, name, ConfigError)
    if (values is not None) != needed:
        what = "needs" if values is None else "does not take"
        raise ConfigError(f"the strategy {strategy} {what} {name}", field=name)
    if values is not None and len(values) != count:
        raise ConfigError(f"{len(values)} {name} for {count} records", field=name)
    return None if values is None else list(values)


def _lacks(value: Any) -> bool:
    return value is None or (isinstance(value, str) and is_missing(value)) or bool(value != value)


def _cuts(count: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.round(np.cumsum(shares)[:-1] * count).astype(np.int64)


def _cut(order: NDArray[np.int64], shares: NDArray[np.float64], labels: list[str]) -> NDArray[Any]:
    """The split of each position of `order`, which is cut by position."""
    split = np.empty(len(order), dtype=np.object_)
    for label, part in zip(labels, np.split(order, _cuts(len(order), shares))):
        split[part] = label
    return split


def _grouped(
    names: list[str], shares: NDArray[np.float64], labels: list[str], random: np.random.RandomState
) -> NDArray[Any]:
    known = sorted(set(names))
    order = random.permutation(len(known))
    of: dict[str, str] = {}
    left = shares
    for label in labels:
        # each in turn takes its share of the groups that are left, rounded down; the last one takes the rest
        count = int(np.floor(left[0] / left.sum() * len(order) + 1e-9)) if len(left) > 1 and left.sum() else len(order)
        of.update((known[i], label) for i in order[:count])
        order, left = order[count:], left[1:]
    return np.array([of[name] for name in names], dtype=np.object_)


def _most(groups: list[str], split: NDArray[Any]) -> NDArray[Any]:
    """For each row the split with most rows of its group; of equal ones, the first by name."""
    counts: dict[str, dict[str, int]] = {}
    for group, label in zip(groups, split):
        of = counts.setdefault(group, {})
        of[label] = of.get(label, 0) + 1
    best = {group: min(of, key=lambda label: (-of[label], label)) for group, of in counts.items()}
    return np.array([best[group] for group in groups], dtype=np.object_)


def _kept(split: NDArray[Any], of_group: NDArray[Any], strategy: bool | str, labels: list[str]) -> NDArray[np.bool_]:
    strategy = checked(strategy, Choice((False, True, *labels)), "grouped_temporal_filter_strategy")
    if strategy in (False, True):
        return np.asarray(split == of_group) if strategy else np.ones(len(split), np.bool_)
    return np.asarray((split == strategy) == (of_group == strategy))
