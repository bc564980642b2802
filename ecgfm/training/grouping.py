"""Which segments belong together: groups that a user gives, recordings that segments and manifests name themselves."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.tables.groups import same_groups
from ..errors import ConfigError, Error, SignalError
from ..validation import Number, checked, refuse_masked

__all__ = ["group_numbers", "held_out", "recordings_of"]

_PAIRS = 4  # that are read
_NUMBERED = re.compile(r"^(.*)_\d+(\.[^.]*)?$")


def group_numbers(values: Any, count: int, field: str, error: type[Error] = SignalError) -> NDArray[np.int64]:
    """Integers or text as int64 from 0 up, equal where they are one group: also if it is written in several ways.

    Parameters
    ----------
    values : array_like
        (count,) integers (also written as 3.0) or text. What makes no difference is that of `ecgfm.data.assign_splits`:
        spaces, capitals, how a number is written.
    count : int
    field : str
        What they are, for messages.
    error : type, optional

    Raises
    ------
    Error
        If their number differs, or one is missing (NaN, None) or neither an integer nor text.
    """
    refuse_masked(values, field, error)
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError) as problem:
        raise error(f"not an array: {problem}", field=field) from None
    if array.shape != (count,) or array.dtype.kind not in "iufUSO":
        raise error(f"{array.dtype} of shape {array.shape} are not {count} integers or texts", field=field)
    if array.dtype.kind == "f":
        bad = np.flatnonzero(~(np.isfinite(array) & (array == np.floor(array))))
        if bad.size:
            raise error(f"{array[bad[0]]} in row {bad[0]} is neither an integer nor text", field=field)
    if array.dtype.kind in "USO":
        array = np.array(same_groups([_key(value, row, field, error) for row, value in enumerate(array.tolist())])[0])
    return np.unique(array, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _key(value: object, row: int, field: str, error: type[Error]) -> str:
    """A value as text."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 64:
        return str(value)
    if isinstance(value, str) and value.strip():
        return value
    raise error(f"row {row} says no group: it is neither an integer nor text", field=field)


def recordings_of(segments: Any) -> NDArray[np.int64]:
    """Numbers of the recordings that the items of a data set are of.

    Parameters
    ----------
    segments : SegmentFiles, PackedSegments or SegmentArrays
        The names of files say it, as preprocessing makes them: ``a_0.mat``, ``a_1.mat`` are of one recording. A few of
        each kind are read: if any have different indices, those of all files decide. So do those of a packed split.

    Returns
    -------
    ndarray of int64
        (items,)
    """
    first = segments.starts[:-1]
    if segments.idx is not None and len(segments.idx) == len(segments):
        keys = np.asarray(segments.idx)[first]
    else:
        stems = [_stem(segments.name(int(i))) for i in first]
        keys = np.array(stems if _one_index_each(segments, stems) else _with_indices(segments, stems))
    return np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _one_index_each(segments: Any, stems: list[str]) -> bool:
    """Whether, of a few names that differ in a number only, both files of a pair have one index."""
    seen: dict[str, int | None] = {}
    looked_at = 0
    for item, stem in enumerate(stems):
        other = seen.setdefault(stem, item)
        if other == item or other is None:
            continue
        seen[stem] = None  # one pair of each is enough
        pair = [_index(segments, i) for i in (other, item)]
        if None in pair:
            continue
        if pair[0] != pair[1]:
            return False
        looked_at += 1
        if looked_at == _PAIRS:
            break
    return True


def _with_indices(segments: Any, stems: list[str]) -> list[str]:
    """The names with the index of each file; those that have none, or can't be read, keep the name's."""
    found = [_index(segments, item) for item in range(len(stems))]
    return [stem if idx is None else f"{stem}\0{idx}" for stem, idx in zip(stems, found)]


def _index(segments: Any, item: int) -> Any:
    try:
        return segments.read(int(segments.starts[item])).idx
    except Error:
        return None


def _stem(name: str) -> str:
    folder, base = os.path.split(name)
    found = _NUMBERED.match(base)
    return os.path.join(folder, found.group(1) if found else base)


def held_out(
    groups: NDArray[np.int64], share: Any, seed: int, what: str = "groups", y: NDArray[Any] | None = None
) -> NDArray[np.bool_]:
    """Which rows a share of the groups, drawn at random, has.

    Parameters
    ----------
    groups : ndarray of int64
        (n,)
    share : float
    seed : int
    what : str
        What a group is called, for messages.
    y : ndarray, optional
        (n, Y) labels from 0 to 1, NaN where one is not known: each has its share of positives on either side, as nearly
        as whole groups allow. Numbers beyond that are no labels, and not looked at.

    Returns
    -------
    ndarray of bool
        (n,)

    Raises
    ------
    ConfigError
        If it is no share, or leaves nothing on one side.
    """
    share = checked(share, Number(above=0, below=1), "valid")
    each, place = np.unique(groups, return_inverse=True)
    count = round(len(each) * share)
    if not 0 < count < len(each):
        raise ConfigError(f"a share of {share} of {len(each)} {what} leaves nothing on one side", field="valid")
    order = np.random.RandomState(seed).permutation(len(each))
    chosen = np.zeros(len(each), bool)
    if y is None or np.nanmin(y, initial=0) < 0 or np.nanmax(y, initial=0) > 1:
        chosen[order[:count]] = True
    else:
        positive = np.zeros((len(each), y.shape[1]), np.int64)
        np.add.at(positive, place.reshape(-1), y > 0.5)
        chosen[_stratified(positive, order, count)] = True
    return chosen[place.reshape(-1)]


def _stratified(positive: NDArray[np.int64], order: NDArray[np.int64], count: int) -> list[int]:
    """Which `count` groups to hold back: the rarest label first, each group to the side that lacks it most.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) with whole groups.
    """
    total, n = positive.sum(axis=0), len(order)
    lacks = np.array([total * count / n, total * (1 - count / n)])  # positives, of the side held back and the other
    room = [count, n - count]
    left, chosen = np.ones(n, bool), []
    while left.any():
        rest = positive[order] * left[order, None]
        rows = np.count_nonzero(rest, axis=0)
        label = int(np.argmin(np.where(rows > 0, rows, n + 1))) if rows.any() else None
        for group in order[left[order] & (rest[:, label] > 0)] if label is not None else order[left[order]]:
            need = lacks[:, label] if label is not None else np.array(room, float)
            side = int(need[1] > need[0]) if need[0] != need[1] else int(room[1] * count > room[0] * (n - count))
            side = side if room[side] else 1 - side
            lacks[side] -= positive[group]
            room[side] -= 1
            left[group] = False
            if side == 0:
                chosen.append(int(group))
    return chosen
