"""Two models on the same recordings: differences with intervals and p, by paired bootstrap over patients and DeLong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..table import Table
from .intervals import ranking_replicates
from .ranking import METRICS, ranking
from .resampling import percentiles, two_sided_p

__all__ = ["comparison_table", "delong", "delong_difference"]


def comparison_table(
    first: NDArray[Any],
    second: NDArray[Any],
    truth: NDArray[Any],
    groups: NDArray[Any],
    labels: Sequence[str],
    *,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Table:
    """Differences of AUROC and average precision between two models, first minus second.

    Parameters
    ----------
    first, second, truth : ndarray
        (n, Y): scores of the two models for the same rows, and 0, 1, or NaN where the truth is not known.
    groups : ndarray of int
        (n,) what is drawn as one: the patient of each row, 0 to their number - 1. The rows of one patient are drawn
        together, and both models are scored on the same draw.
    labels : sequence of str
        (Y,)
    bootstrap, confidence, seed
        As of `ecgfm.metrics.intervals.ranking_table`.

    Returns
    -------
    Table
        A row per label, then ``macro`` and ``micro``: ``label``, ``n``, ``positives``, and of each metric
        ``auroc_a``, ``auroc_b``, ``auroc_difference``, ``auroc_low``, ``auroc_high`` and ``auroc_p`` (see
        `ecgfm.metrics.resampling.two_sided_p`); then ``delong_low``, ``delong_high``, ``delong_p`` of AUROC, which are
        NaN where DeLong's method does not hold: if a patient has several rows, and for ``macro`` and ``micro``.
    """
    known, positive = ~np.isnan(truth), (truth == 1).sum(axis=0)
    rows: dict[str, Any] = {
        "label": [*labels, "macro", "micro"],
        "n": [*known.sum(axis=0), np.count_nonzero(known.any(axis=1)), known.sum()],
        "positives": [*positive, positive.sum(), positive.sum()],
    }
    points = ranking(truth, first), ranking(truth, second)
    drawn = [ranking_replicates(scores, truth, groups, bootstrap, seed) for scores in (first, second)]
    for metric, a, b, replicates in zip(METRICS, *points, drawn[0] - drawn[1]):
        low, high = percentiles(a - b, replicates, confidence)
        p = np.where(np.isnan(a - b), math.nan, two_sided_p(replicates))
        rows |= {f"{metric}_a": a, f"{metric}_b": b, f"{metric}_difference": a - b}
        rows |= {f"{metric}_low": low, f"{metric}_high": high, f"{metric}_p": p}
    found = np.full((len(labels) + 2, 3), math.nan)
    if len(np.unique(groups)) == len(groups):
        for i, there in enumerate(known.T):
            both = np.stack([first[there, i], second[there, i]])
            found[i] = delong_difference(both, truth[there, i] == 1, confidence)
    rows |= dict(zip(("delong_low", "delong_high", "delong_p"), found.T))
    return Table({name: np.array(column) for name, column in rows.items()})


def delong(scores: NDArray[Any], truth: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUROCs of several scores of the same independent rows, and their covariance (DeLong et al. 1988).

    By mid-ranks, as Sun and Xu (2014) compute it: the component of a positive row is the share of negative rows that it
    stands above, equal ones counting half, and the other way round.

    Parameters
    ----------
    scores : ndarray
        (m, n)
    truth : ndarray of bool
        (n,)

    Returns
    -------
    auroc : ndarray
        (m,)
    covariance : ndarray
        (m, m); NaN with fewer than two rows of a class, as is `auroc` with none.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    size = len(scores)
    if not positives or not negatives:
        return np.full(size, math.nan), np.full((size, size), math.nan)
    above, below = np.empty((size, positives)), np.empty((size, negatives))
    for row, values in enumerate(np.asarray(scores, np.float64)):
        ranks = _mid_ranks(values)
        above[row] = (ranks[truth] - _mid_ranks(values[truth])) / negatives
        below[row] = 1 - (ranks[~truth] - _mid_ranks(values[~truth])) / positives
    auroc: NDArray[np.float64] = above.mean(axis=1)
    if min(positives, negatives) < 2:
        return auroc, np.full((size, size), math.nan)
    covariance = np.cov(above).reshape(size, size) / positives + np.cov(below).reshape(size, size) / negatives
    return auroc, covariance


def _mid_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1 up; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def delong_difference(
    scores: NDArray[Any], truth: NDArray[np.bool_], confidence: float = 0.95
) -> tuple[float, float, float]:
    """The interval of the difference of two AUROCs, first minus second, and its two-sided p.

    Parameters
    ----------
    scores : ndarray
        (2, n) of independent rows.
    truth : ndarray of bool
        (n,)
    confidence : float

    Returns
    -------
    low, high, p : float
        NaN where there is no variance to go by: fewer than two rows of a class. Two scores that rank alike have the
        interval 0 to 0 and p 1.
    """
    auroc, covariance = delong(scores, truth)
    difference = float(auroc[0] - auroc[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if math.isnan(variance):
        return math.nan, math.nan, math.nan
    deviation = math.sqrt(max(variance, 0.0))
    if deviation < 1e-12:  # rounding: the components of both are the same but for a constant
        return (0.0, 0.0, 1.0) if abs(difference) < 1e-12 else (math.nan, math.nan, math.nan)
    half = NormalDist().inv_cdf((1 + confidence) / 2) * deviation
    return difference - half, difference + half, math.erfc(abs(difference) / deviation / math.sqrt(2))
