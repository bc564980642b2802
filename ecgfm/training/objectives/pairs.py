"""Pairs of segments as rows: which of them belong together, on one rank and over all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import SignalError
from ...ranks import Alone, Ranks
from ...validation import bool_array, real_array, refuse_masked
from ..grouping import group_numbers

__all__ = ["common_ids", "company", "paired"]


def paired(
    pairs: Any, ids: Any, padding_mask: ArrayLike | None, *, needed: bool = True
) -> tuple[NDArray[Any], NDArray[np.int64] | None, NDArray[np.bool_] | None, Any]:
    """Pairs as rows.

    Parameters
    ----------
    pairs, ids, padding_mask
        As of `ecgfm.Trainer.accumulate`.
    needed : bool
        Whether segments that are not paired are an error.

    Returns
    -------
    x : (B, L, N).  ids : (B,) int64 or None.  second : (B,) bool or None.  padding_mask

    Raises
    ------
    SignalError
        If segments are not paired, or shapes don't fit.
    """
    pairs = real_array(pairs, "x")
    shape = pairs.shape
    if len(shape) == 4:
        if shape[1] != 2:
            raise SignalError(f"the shape {shape} is not (pairs, 2, leads, samples): unpaired segments", field="x")
        ids = np.arange(shape[0]) if ids is None else group_numbers(ids, shape[0], "ids")
        x = pairs.reshape(2 * shape[0], *shape[2:])
        if padding_mask is not None:
            mask = bool_array(padding_mask, "padding_mask")
            padding_mask = mask.reshape(-1, *mask.shape[2:]) if mask.ndim > 2 else mask
        return x, np.repeat(ids, 2), np.arange(len(x)) % 2 == 1, padding_mask
    if len(shape) != 3:
        known = "(pairs, 2, leads, samples) or (segments, leads, samples)"
        raise SignalError(f"the shape {shape} is not {known}", field="x")
    if ids is None:
        if needed:
            raise SignalError("unpaired segments", field="x", remedy="Give (pairs, 2, leads, samples), or ids")
        return pairs, None, None, padding_mask
    ids = group_numbers(ids, shape[0], "ids")
    order = np.argsort(ids, kind="stable")
    place = np.empty(len(ids), dtype=np.int64)  # of a segment among those of its id
    counts = np.bincount(ids)
    place[order] = np.arange(len(ids)) - np.repeat(np.cumsum(counts) - counts, counts)
    if needed and (counts % 2).any():
        row = int(np.flatnonzero(counts[ids] % 2)[0])
        raise SignalError(f"unpaired segments: the id of row {row} stands at {counts[ids[row]]} rows", field="ids")
    return pairs, ids, place % 2 == 1, padding_mask


# ---- over all ranks ---------------------------------------------------------------------------------


def common_ids(ids: Any, count: int, ranks: Alone | Ranks) -> NDArray[np.int64]:
    """Numbers of ids that are the same on all ranks; a pair without an id has one of its own."""
    refuse_masked(ids, "ids")
    own = [(ranks.rank, i) for i in range(count)] if ids is None else np.asarray(ids).tolist()
    numbers: dict[Any, int] = {}
    for part in ranks.gather(own):
        for each in part:
            numbers.setdefault(each, len(numbers))
    return np.array([numbers[each] for each in own], dtype=np.int64)


def company(
    ids: NDArray[np.int64], second: NDArray[np.bool_], steps: NDArray[np.bool_] | None, ranks: Alone | Ranks
) -> dict[str, Any]:
    """What the kernel needs to compare the rows of all ranks, beside their features."""
    size = int(np.count_nonzero(steps)) if steps is not None else _places(ids, second)
    parts = ranks.gather((ids, second, size))
    there = [part for part in parts if part is not None]
    return {
        "ids": np.concatenate([part[0] for part in there]),
        "second": np.concatenate([part[1] for part in there]),
        "offset": sum(len(part[0]) for part in parts[: ranks.rank] if part is not None),
        "size": sum(part[2] for part in there),
    }


def _places(ids: NDArray[np.int64], second: NDArray[np.bool_]) -> int:
    """Pairs of a first and a second segment with the same id."""
    count = int(ids.max()) + 1
    return int(np.bincount(ids[~second], minlength=count) @ np.bincount(ids[second], minlength=count))
