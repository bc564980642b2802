"""Which segments belong together: groups that a user gives, recordings that segments and manifests name themselves."""

import os
import re

import numpy as np

from .._signals import refuse_masked
from .._text import shown
from ..errors import ConfigError, Error, SignalError

__all__ = ["group_numbers", "held_out", "recordings_of"]

_PAIRS = 4  # that are read
_NUMBERED = re.compile(r"^(.*)_\d+(\.[^.]*)?$")


def group_numbers(values, count, field, error=SignalError):
    """Integers or text as int64 from 0 up, equal where they are equal.

    Parameters
    ----------
    values : array_like
        (count,) integers (also written as 3.0) or text, whose spaces at the ends don't count.
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
        array = np.array([_key(value, row, field, error) for row, value in enumerate(array.tolist())])
    return np.unique(array, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _key(value, row, field, error):
    """A value as text, so that 15709, 15709.0 and "15709" are one."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 64:
        return str(value)
    if isinstance(value, str) and value.strip():
        text = value.strip()
        return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text
    raise error(f"row {row} says no group: it is neither an integer nor text", field=field)


def recordings_of(segments):
    """Numbers of the recordings that the items of a data set are of.

    Parameters
    ----------
    segments : SegmentFiles, PackedSegments or SegmentArrays
        The names of files say it, as preprocessing makes them: ``a_0.mat``, ``a_1.mat`` are of one recording, unless
        some of them, which are read, have another index. So do the records' indices of a packed split.

    Returns
    -------
    ndarray of int64
        (items,)
    """
    first = segments.starts[:-1]
    if segments.idx is not None and len(segments.idx) == len(segments):
        keys = np.asarray(segments.idx)[first]
    else:
        names = [segments.name(int(i)) for i in first]
        stems = [_stem(name) for name in names]
        keys = np.array(stems if _are_segments(segments, stems) else names)
    return np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _are_segments(segments, stems):
    """Whether files whose names differ in a number only are of one recording; of some the index is read."""
    seen, looked_at = {}, 0
    for item, stem in enumerate(stems):
        other = seen.setdefault(stem, item)
        if other == item or other is None:
            continue
        seen[stem] = None  # one pair of each is enough
        try:
            pair = [segments.read(int(segments.starts[i])).idx for i in (other, item)]
        except Error:
            continue
        if None not in pair and pair[0] != pair[1]:
            return False
        looked_at += 1
        if looked_at == _PAIRS:
            break
    return True


def _stem(name):
    folder, base = os.path.split(name)
    found = _NUMBERED.match(base)
    return os.path.join(folder, found.group(1) if found else base)


def held_out(groups, share, seed, what="groups"):
    """Which rows a share of the groups, drawn at random, has.

    Parameters
    ----------
    groups : ndarray of int64
        (n,)
    share : float
    seed : int
    what : str
        What a group is called, for messages.

    Returns
    -------
    ndarray of bool
        (n,)

    Raises
    ------
    ConfigError
        If it is no share, or leaves nothing on one side.
    """
    if isinstance(share, bool) or not isinstance(share, float) or not 0 < share < 1:
        raise ConfigError(f"{shown(share)} is neither arrays nor a share between 0 and 1", field="valid")
    each = np.unique(groups)
    count = round(len(each) * share)
    if not 0 < count < len(each):
        raise ConfigError(f"a share of {share} of {len(each)} {what} leaves nothing on one side", field="valid")
    return np.isin(groups, np.random.RandomState(seed).permutation(each)[:count])
