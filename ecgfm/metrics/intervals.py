"""AUROC and average precision: per label and averaged, with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..table import Table
from .ranking import METRICS, mean_of_known, ranking
from .resampling import percentiles, resamples

__all__ = ["ranking_replicates", "ranking_table", "weighted_ranking"]

_CELLS = 1 << 22  # of weights at a time in the bootstrap


def ranking_table(
    scores: NDArray[Any],
    truth: NDArray[Any],
    records: NDArray[Any],
    labels: Sequence[str],
    *,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Table:
    """How well scores rank positives before negatives.

    Parameters
    ----------
    scores : ndarray
        (n, Y).
    truth : ndarray
        (n, Y): 0, 1, or NaN where it is not known.
    records : ndarray of int
        (n,) what is drawn as one: the patient, or the recording, of each row, 0 to their number - 1.
    labels : sequence of str
        (Y,)
    bootstrap : int
        Resamples for the intervals; 0 gives none.
    confidence : float
        Of the intervals.
    seed : int

    Returns
    -------
    Table
        A row per label, then ``macro`` (mean over the labels that have both classes) and ``micro`` (all cells as one
        problem): ``label``, ``n`` (rows whose truth is known), ``positives``, ``auroc``, ``auroc_low``, ``auroc_high``,
        ``auprc`` (average precision) and its interval. NaN for a label that has one class only.

    Notes
    -----
    Whole patients, or recordings, are drawn with replacement, and the interval is that of the percentiles. A label that
    is left with one class in a resample has no value in it, and the others' mean is that resample's macro average.
    """
    rows: dict[str, Any] = {"label": [*labels, "macro", "micro"]}
    known = ~np.isnan(truth)
    rows["n"] = [*known.sum(axis=0), np.count_nonzero(known.any(axis=1)), known.sum()]
    positive = (truth == 1).sum(axis=0)
    rows["positives"] = [*positive, positive.sum(), positive.sum()]
    drawn = ranking_replicates(scores, truth, records, bootstrap, seed)
    for metric, point, replicates in zip(METRICS, ranking(truth, scores), drawn):
        low, high = percentiles(point, replicates, confidence)
        rows |= {metric: point, f"{metric}_low": low, f"{metric}_high": high}
    return Table({name: np.array(column) for name, column in rows.items()})


def ranking_replicates(
    scores: NDArray[Any], truth: NDArray[Any], records: NDArray[Any], count: int, seed: int
) -> NDArray[np.float64]:
    """AUROC and average precision of resamples.

    Parameters
    ----------
    scores, truth, records, seed
        As of `ranking_table`.
    count : int
        Of resamples.

    Returns
    -------
    ndarray
        (2, count, Y + 2): of each label, ``macro`` and ``micro``. The same `records`, `count` and `seed` give the same
        resamples.
    """
    known = ~np.isnan(truth)
    out = np.full((2, count, truth.shape[1] + 2), math.nan)
    total = int(records.max()) + 1 if len(records) else 0
    problems = [_Ranking(scores[rows, i], truth[rows, i] == 1, records[rows]) for i, rows in enumerate(known.T)]
    cell_records = np.broadcast_to(records[:, None], truth.shape)[known]
    problems.append(_Ranking(scores[known], truth[known] == 1, cell_records))
    for where, weights in resamples(total, count, seed, _CELLS // max(total, len(cell_records), 1)):
        for i, problem in enumerate(problems):
            out[:, where, i if i < truth.shape[1] else -1] = problem.weighted(weights)
        out[:, where, -2] = mean_of_known(out[:, where, :-2])
    return out


def weighted_ranking(scores: NDArray[Any], truth: NDArray[np.bool_], weights: NDArray[Any]) -> NDArray[np.float64]:
    """AUROC and average precision of weighted rows, for several sets of weights at a time.

    Parameters
    ----------
    scores : ndarray
        (n,)
    truth : ndarray of bool
        (n,)
    weights : ndarray
        (R, n), not negative.

    Returns
    -------
    ndarray
        (2, R); NaN where one class has no weight. Equal scores count half in AUROC, and are one threshold.
    """
    return _Ranking(scores, truth, np.arange(len(scores))).weighted(np.asarray(weights, dtype=np.float64))


class _Ranking:
    """Rows of one problem, sorted by falling score once for all resamples."""

    def __init__(self, scores: NDArray[Any], truth: NDArray[np.bool_], records: NDArray[Any]) -> None:
        order = np.argsort(-scores, kind="stable")
        self.truth, self.records = truth[order], records[order]
        scores = scores[order]
        self.ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.array([], int)

    def weighted(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        if not len(self.ends):
            return np.full((2, len(weights)), math.nan)
        weights = weights[:, self.records]
        hits = np.cumsum(weights * self.truth, axis=1)[:, self.ends]
        false = np.cumsum(weights * ~self.truth, axis=1)[:, self.ends]
        new_hits, new_false = np.diff(hits, prepend=0), np.diff(false, prepend=0)
        positive, negative = hits[:, -1], false[:, -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            auroc = (new_false * (hits - new_hits / 2)).sum(axis=1) / (positive * negative)
            precision = np.where(hits + false > 0, hits / (hits + false), 0)
            auprc = (new_hits * precision).sum(axis=1) / positive
        one_class = (positive == 0) | (negative == 0)
        return np.where(one_class, math.nan, np.stack([auroc, auprc]))
