"""Decisions at thresholds: sensitivity, specificity, predictive values, F-beta and G-beta, with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..table import Table
from .ranking import mean_of_known
from .resampling import percentiles, resamples

__all__ = ["COUNTED", "MEASURES", "confusion", "decision_table", "measures"]

#: What is counted of each label.
COUNTED: Final = ("true_positive", "false_positive", "false_negative", "true_negative")
#: What follows from the counts.
MEASURES: Final = ("sensitivity", "specificity", "ppv", "npv", "f_beta", "g_beta")
_CELLS = 1 << 22


def confusion(
    scores: NDArray[Any], truth: NDArray[Any], thresholds: NDArray[Any], groups: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Counts of outcomes; what is above its threshold counts as predicted.

    Parameters
    ----------
    scores, truth : ndarray
        (n, Y); the truth is 0, 1, or NaN where it is not known, which counts nowhere.
    thresholds : ndarray
        (Y,)
    groups : ndarray of int, optional
        (n,) what each row is of, 0 to their number - 1; by default all rows are of one.

    Returns
    -------
    ndarray
        (4, groups, Y), in the order of `COUNTED`.
    """
    predicted, actual, known = scores > thresholds, truth == 1, ~np.isnan(truth)
    cells = (predicted & actual, predicted & ~actual, ~predicted & actual, ~predicted & ~actual)
    of = np.zeros(len(scores), np.int64) if groups is None else groups
    out = np.zeros((4, int(of.max()) + 1 if len(of) else 0, scores.shape[1]))
    for kind, there in zip(out, cells):
        np.add.at(kind, of, there & known)
    return out


def measures(counts: NDArray[np.float64], beta: float = 2.0) -> NDArray[np.float64]:
    """The `MEASURES` of counts.

    Sensitivity TP / (TP + FN), specificity TN / (TN + FP), PPV TP / (TP + FP), NPV TN / (TN + FN),
    F-beta (1 + b^2) TP / ((1 + b^2) TP + FP + b^2 FN), and G-beta TP / (TP + FP + b FN), as the PhysioNet/CinC
    Challenge 2020 has them.

    Parameters
    ----------
    counts : ndarray
        (4, ...) in the order of `COUNTED`.
    beta : float

    Returns
    -------
    ndarray
        (6, ...); NaN where nothing is divided by nothing.
    """
    hits, false, missed, right = counts
    square = beta * beta
    pairs = (
        (hits, hits + missed),
        (right, right + false),
        (hits, hits + false),
        (right, right + missed),
        ((1 + square) * hits, (1 + square) * hits + false + square * missed),
        (hits, hits + false + beta * missed),
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([np.where(whole > 0, part / whole, math.nan) for part, whole in pairs])


def _with_averages(counts: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    """(6, ..., Y + 2): the measures of each label, their means, and those of all cells together, of (4, ..., Y)."""
    each = measures(counts, beta)
    pooled = measures(counts.sum(axis=-1, keepdims=True), beta)
    return np.concatenate([each, mean_of_known(each)[..., None], pooled], axis=-1)


def decision_table(
    scores: NDArray[Any],
    truth: NDArray[Any],
    groups: NDArray[Any],
    labels: Sequence[str],
    thresholds: NDArray[Any],
    *,
    beta: float = 2.0,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Table:
    """How good decisions at thresholds are.

    Parameters
    ----------
    scores, truth
        As of `confusion`.
    groups : ndarray of int
        (n,) what is drawn as one: the patient, or the recording, of each row, 0 to their number - 1.
    labels : sequence of str
        (Y,)
    thresholds : ndarray
        (Y,)
    beta : float
        Of F-beta and G-beta.
    bootstrap, confidence, seed
        As of `ecgfm.metrics.intervals.ranking_table`, whose resamples these are.

    Returns
    -------
    Table
        A row per label, then ``macro`` (mean over the labels that have a value) and ``micro`` (all cells as one
        problem): ``label``, ``threshold``, the `COUNTED`, and each of the `MEASURES` with its interval. NaN where
        nothing is divided by nothing, such as the sensitivity of a label without positives.
    """
    counts = confusion(scores, truth, thresholds, groups)
    total, width = counts.shape[1:]
    point = _with_averages(counts.sum(axis=1), beta)
    drawn = np.full((len(MEASURES), bootstrap, width + 2), math.nan)
    for where, weights in resamples(total, bootstrap, seed, _CELLS // max(total, width, 1)):
        drawn[:, where] = _with_averages(weights @ counts, beta)
    rows: dict[str, Any] = {"label": [*labels, "macro", "micro"], "threshold": [*thresholds, math.nan, math.nan]}
    for name, kind in zip(COUNTED, counts.sum(axis=1).astype(np.int64)):
        rows[name] = [*kind, kind.sum(), kind.sum()]
    for name, values, replicates in zip(MEASURES, point, drawn):
        low, high = percentiles(values, replicates, confidence)
        rows |= {name: values, f"{name}_low": low, f"{name}_high": high}
    return Table({name: np.array(column) for name, column in rows.items()})
