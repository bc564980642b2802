"""How far probabilities can be trusted, and curves from logits to probabilities that can be."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..specs.trust import MOST_KNOTS, Curve
from ..table import Table

__all__ = [
    "LEAST",
    "brier",
    "calibration_errors",
    "calibration_table",
    "ece",
    "fit_isotonic",
    "fit_platt",
    "fit_temperature",
    "reliability_table",
]

#: Positives, and negatives, of which a label needs so many to have a curve or a part in ``ece_macro``.
LEAST: Final = 5
BINS, BINS_OF_LABEL = 10, 15
_STEPS = 200


# ---- how good -------------------------------------------------------------------------------------------------------


def brier(truth: NDArray[Any], scores: NDArray[Any]) -> float:
    """The mean squared difference of probabilities and truth, over the cells whose truth is known; NaN of none."""
    known = ~np.isnan(truth)
    return float(np.mean((scores[known] - (truth[known] == 1)) ** 2)) if known.any() else math.nan


def ece(truth: NDArray[Any], scores: NDArray[Any], bins: int = BINS) -> float:
    """The expected calibration error: over bins of equally many cells, how far the share of positives is from the mean.

    Parameters
    ----------
    truth : ndarray
        Of any shape: 1, 0, or NaN where it is not known.
    scores : ndarray
        Probabilities of the same shape; all cells together are one problem.
    bins : int
        Fewer, where there are fewer cells. Equal probabilities are in one bin, that of the first of them.

    Returns
    -------
    float
        NaN where nothing is known.
    """
    parts = _binned(truth, scores, bins)
    return float((parts[0] * np.abs(parts[1] - parts[2])).sum() / parts[0].sum()) if len(parts[0]) else math.nan


def calibration_errors(truth: NDArray[Any], scores: NDArray[Any]) -> dict[str, float]:
    """``ece``, ``ece_macro`` and ``brier`` of truth and probabilities (n, Y).

    The first is of all cells pooled, with ten bins; the second the mean over labels with at least 5 positives, 15 bins.
    """
    each = [ece(t, s, BINS_OF_LABEL) for t, s in zip(truth.T, scores.T) if (t == 1).sum() >= LEAST]
    macro = float(np.mean(each)) if each else math.nan
    return {"ece": ece(truth, scores), "ece_macro": macro, "brier": brier(truth, scores)}


def calibration_table(truth: NDArray[Any], scores: NDArray[Any], labels: Any) -> Table:
    """A row for each label, then ``macro`` and ``micro``: ``label``, ``n``, ``positives``, ``ece``, ``brier``.

    Of a label ``ece`` has 15 bins and is NaN with fewer than 5 positives; ``macro`` is the mean over the labels that
    have a value, ``micro`` all cells pooled, with ten bins.
    """
    found = calibration_errors(truth, scores)
    each = [ece(t, s, BINS_OF_LABEL) if (t == 1).sum() >= LEAST else math.nan for t, s in zip(truth.T, scores.T)]
    squares = [brier(t, s) for t, s in zip(truth.T, scores.T)]
    known, positive = (~np.isnan(truth)).sum(axis=0), (truth == 1).sum(axis=0)
    there = [value for value in squares if not math.isnan(value)]
    return Table(
        {
            "label": [*labels, "macro", "micro"],
            "n": [*known, int((~np.isnan(truth)).any(axis=1).sum()), int(known.sum())],
            "positives": [*positive, int(positive.sum()), int(positive.sum())],
            "ece": [*each, found["ece_macro"], found["ece"]],
            "brier": [*squares, float(np.mean(there)) if there else math.nan, found["brier"]],
        }
    )


def reliability_table(truth: NDArray[Any], scores: NDArray[Any], labels: Any, bins: int = BINS) -> Table:
    """The reliability curve of each label, and of all cells (``micro``): ``label``, ``n``, ``probability``, ``share``.

    A row is a bin of equally many cells: the mean of their probabilities, and the share of positives among them.
    """
    rows: dict[str, list[Any]] = {"label": [], "n": [], "probability": [], "share": []}
    for name, t, s in [*zip(labels, truth.T, scores.T), ("micro", truth, scores)]:
        for count, mean, share in zip(*_binned(t, s, bins)):
            for column, value in zip(rows.values(), (name, int(count), mean, share)):
                column.append(value)
    return Table({name: np.array(column) for name, column in rows.items()})


def _binned(truth: NDArray[Any], scores: NDArray[Any], bins: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Cells, mean probability and share of positives of each bin."""
    known = ~np.isnan(truth)
    p, y = scores[known].astype(np.float64), truth[known] == 1
    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order]
    places = np.searchsorted(p, p, side="left")  # the first of its equals
    number = places * min(bins, max(len(p), 1)) // max(len(p), 1)
    first = np.flatnonzero(np.append(True, number[1:] != number[:-1])) if len(p) else np.array([], int)
    if not len(first):
        return np.array([]), np.array([]), np.array([])
    counts = np.diff(np.append(first, len(p))).astype(np.float64)
    return counts, np.add.reduceat(p, first) / counts, np.add.reduceat(y.astype(np.float64), first) / counts


# ---- curves ---------------------------------------------------------------------------------------------------------


def fit_temperature(z: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> Curve | None:
    """The factor with which the logistic function of logits fits labels best; None if that is not above 0.

    Parameters
    ----------
    z, y, weights : ndarray
        (n,) logits, labels (bool), and what each counts for.

    Notes
    -----
    Least log loss. As in Platt's method, labels are 1 - 1/(P + 2) and 1/(N + 2) of P positives and N negatives, so that
    the factor is finite where logits tell all labels apart.
    """
    return _positive(_logistic(z[:, None], y, weights), None)


def fit_platt(z: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> Curve | None:
    """The same with a factor and a shift (Platt 1999)."""
    found = _logistic(np.column_stack([z, np.ones(len(z))]), y, weights)
    return _positive(found[:1], float(found[1]))


def _positive(slope: NDArray[np.float64], intercept: float | None) -> Curve | None:
    value = float(slope[0])
    return Curve(value, intercept or 0.0) if 0 < value < math.inf else None


def _logistic(x: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
    """Coefficients (k,) of a logistic regression of the columns of x (n, k): Newton's method, steps halved."""
    x, w = x.astype(np.float64), weights.astype(np.float64)
    scale = np.maximum(np.abs(x).max(axis=0), 1e-300)
    x = x / scale
    positives, negatives = float(w[y].sum()), float(w[~y].sum())
    t = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(b: NDArray[np.float64]) -> float:
        z = x @ b
        return float((w * (np.logaddexp(0, z) - t * z)).sum())

    beta = np.zeros(x.shape[1])
    value = loss(beta)
    for _ in range(_STEPS):
        p = np.exp(-np.logaddexp(0, -(x @ beta)))
        slope, bend = x.T @ (w * (p - t)), (x.T * (w * p * (1 - p))) @ x
        step = np.linalg.solve(bend + 1e-12 * np.trace(bend) * np.eye(len(beta)) + 1e-300 * np.eye(len(beta)), slope)
        size = 1.0
        while size > 1e-10 and loss(beta - size * step) > value:
            size /= 2
        new = loss(beta - size * step)
        if not new < value:
            break
        beta, gained, value = beta - size * step, value - new, new
        if gained < 1e-14 * abs(value):
            break
    found: NDArray[np.float64] = beta / scale
    return found


def fit_isotonic(z: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> Curve:
    """The rising curve that fits best, by least squares; of so many knots at most as a file may hold."""
    order = np.argsort(z, kind="stable")
    x, first = np.unique(z[order].astype(np.float64), return_index=True)
    w = np.add.reduceat(weights[order].astype(np.float64), first)
    mean = np.add.reduceat((weights * y)[order].astype(np.float64), first) / w
    start = np.arange(len(x))  # of each block of neighbours that share a value
    while len(mean) > 1 and (np.diff(mean) <= 0).any():
        head = np.flatnonzero(np.append(True, np.diff(mean) > 0))  # each run that doesn't rise becomes one block
        total = np.add.reduceat(w, head)
        mean, w, start = np.add.reduceat(w * mean, head) / total, total, start[head]
    end = np.append(start[1:], len(x)) - 1
    knots = np.unique(np.column_stack([start, end]).ravel(), return_index=True)[0]
    height = np.repeat(mean, end - start + 1)[knots]
    if len(knots) > MOST_KNOTS:
        kept = np.unique(np.linspace(0, len(knots) - 1, MOST_KNOTS).astype(int))
        knots, height = knots[kept], height[kept]
    return Curve(x=tuple(map(float, x[knots])), y=tuple(map(float, np.clip(height, 0, 1))))
