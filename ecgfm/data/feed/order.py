"""Which items make a batch, and in which order batches come: the rules of fairseq-signals."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import ConfigError
from ...validation import Seed, Whole, checked

__all__ = ["batches", "epoch_order"]


def batches(
    sizes: ArrayLike,
    *,
    batch_size: int | None = None,
    max_tokens: int | None = None,
    required_batch_size_multiple: int = 1,
    seed: int = 1,
    shuffle: bool = True,
    path: str | os.PathLike[str] | None = None,
) -> list[NDArray[np.int64]]:
    """Cut a data set into batches. Their composition stays the same in all epochs.

    Parameters
    ----------
    sizes : array_like of int
        Length of each item, in samples.
    batch_size : int, optional
        Most items of a batch.
    max_tokens : int, optional
        Most samples of a batch, counted with the length of its longest item.
    required_batch_size_multiple : int
        A batch larger than this has a multiple of it.
    seed : int
    shuffle : bool
        Whether items of equal length are put in random order, and longer ones first; else the order is as given.
    path : path-like, optional
        Where the items come from, for messages.

    Returns
    -------
    list of ndarray
        Indices of the items of each batch.

    Raises
    ------
    ConfigError
        If a limit is not positive, or an item is longer than ``max_tokens``.
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    batch_size = checked(batch_size, Whole(1, none=True), "batch_size")
    max_tokens = checked(max_tokens, Whole(1, none=True), "max_tokens")
    multiple = checked(required_batch_size_multiple, Whole(1), "required_batch_size_multiple")
    seed = checked(seed, Seed(), "seed")
    if batch_size is None and max_tokens is None:
        raise ConfigError("neither batch_size nor max_tokens is given", path=path, field="batch_size")
    order = np.arange(len(sizes))
    if shuffle:
        rank = np.random.RandomState(seed).permutation(len(sizes))
        order = np.lexsort((rank, sizes))[::-1]
    found, start = [], 0
    while start < len(order):
        most = len(order) if batch_size is None else batch_size
        if max_tokens is not None:  # as many of the first one's length; no more can fit
            most = min(most, max(1, max_tokens // max(1, int(sizes[order[start]]))))
        count = _allowed(sizes[order[start : start + most]], batch_size, max_tokens, multiple)
        if count == 0:
            item = int(order[start])
            raise ConfigError(
                f"item {item} has {sizes[item]} samples, more than max_tokens {max_tokens}",
                path=path,
                field="max_tokens",
            )
        found.append(order[start : start + count])
        start += count
    return found


def _allowed(sizes: NDArray[np.int64], batch_size: int | None, max_tokens: int | None, multiple: int) -> int:
    """The largest number of items from the front that may be one batch."""
    most = len(sizes) if batch_size is None else min(len(sizes), batch_size)
    if max_tokens is not None:
        longest = np.maximum.accumulate(sizes[:most])
        fits = np.flatnonzero(longest * np.arange(1, most + 1) > max_tokens)
        most = int(fits[0]) if fits.size else most
    return most if most < multiple else most - most % multiple


def epoch_order(
    found: Iterable[NDArray[Any]], *, seed: int = 1, epoch: int = 1, shuffle: bool = True
) -> list[NDArray[Any]]:
    """The batches in the order of an epoch (1, 2, ...): shuffled with the seed and the epoch's number."""
    found = list(found)
    if shuffle:
        np.random.RandomState((seed + epoch) % (1 << 32)).shuffle(found)
    return found
