"""The bootstrap over patients: how often each was drawn, and the intervals and p-values that follow from resamples."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["percentiles", "resamples", "two_sided_p"]


def resamples(
    groups: int, count: int, seed: int, at_once: int = 1 << 10
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Draw whole groups, such as patients, with replacement: as many as there are, each time.

    Parameters
    ----------
    groups : int
        How many there are.
    count : int
        Of resamples.
    seed : int
        The same seed gives the same resamples, whatever `at_once` is: what is computed of two models is paired.
    at_once : int
        Resamples that are handed on together.

    Yields
    ------
    where : slice
        Which resamples these are.
    weights : ndarray
        (resamples, groups) how often each group was drawn.
    """
    rng = np.random.default_rng(seed)
    for start in range(0, count, max(1, at_once)):
        stop = min(start + max(1, at_once), count)
        yield slice(start, stop), rng.multinomial(groups, np.full(groups, 1 / groups), stop - start).astype(np.float64)


def percentiles(
    point: NDArray[Any], replicates: NDArray[Any], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The percentile interval of each value.

    Parameters
    ----------
    point : ndarray
        (k,) of the data themselves.
    replicates : ndarray
        (resamples, k); NaN where a resample has no value.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    low, high : ndarray
        (k,) NaN where the value is, or no resample has one.
    """
    tail = 50 * (1 - confidence)
    low, high = np.full(len(point), math.nan), np.full(len(point), math.nan)
    for i in np.flatnonzero(~np.isnan(replicates).all(axis=0) & ~np.isnan(point)):
        low[i], high[i] = np.nanpercentile(replicates[:, i], [tail, 100 - tail])
    return low, high


def two_sided_p(replicates: NDArray[Any]) -> NDArray[np.float64]:
    """The p-value of differences: twice the smaller share of resamples on one side of 0, which counts for both sides.

    Parameters
    ----------
    replicates : ndarray
        (resamples, k) differences; NaN where a resample has none.

    Returns
    -------
    ndarray
        (k,) at most 1; NaN without resamples. The data count as one more resample, so that it is never 0: with 1000
        resamples it is 0.002 or more.
    """
    known = (~np.isnan(replicates)).sum(axis=0)
    tails = np.minimum((replicates <= 0).sum(axis=0), (replicates >= 0).sum(axis=0))
    return np.where(known > 0, np.minimum(1, 2 * (tails + 1) / (known + 1)), math.nan)
