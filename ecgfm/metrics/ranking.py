"""AUROC and average precision, of scores as they are given: the one rule for finetuning, evaluation and the
commands."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError

__all__ = ["METRICS", "OneClass", "auroc_auprc", "mean_of_known", "ranking", "scikit_learn", "truth_of"]

METRICS: Final = ("auroc", "auprc")
OneClass = Literal["nan", "share"]


def scikit_learn(field: str = "evaluate") -> ModuleType:
    """``sklearn.metrics``.

    Parameters
    ----------
    field : str
        What needs it, for the message.

    Raises
    ------
    MissingExtraError
        If it isn't installed.
    """
    try:
        from sklearn import metrics
    except ImportError:
        raise MissingExtraError(
            "scikit-learn is not installed", field=field, remedy="Install it with: pip install 'ecgfm[train]'"
        ) from None
    return metrics  # type: ignore[no-any-return]


def auroc_auprc(truth: NDArray[np.bool_], scores: NDArray[Any], *, one_class: OneClass = "nan") -> tuple[float, float]:
    """AUROC and average precision of one label.

    Parameters
    ----------
    truth : ndarray of bool
        (n,)
    scores : ndarray
        (n,) logits or probabilities. They are ranked as they are: equal ones stay equal.
    one_class : {"nan", "share"}
        The average precision where the truth has one class only, and AUROC is NaN: NaN, or the share of positives (0
        or 1), as the original has it.
    """
    metrics = scikit_learn()
    if len(truth) == 0 or truth.all() or not truth.any():
        return math.nan, math.nan if one_class == "nan" else float(truth.any())
    return float(metrics.roc_auc_score(truth, scores)), float(metrics.average_precision_score(truth, scores))


def ranking(truth: NDArray[Any], scores: NDArray[Any], *, one_class: OneClass = "nan") -> NDArray[np.float64]:
    """AUROC and average precision of each label, of the labels' mean, and of all cells as one problem.

    Parameters
    ----------
    truth : ndarray
        (n, Y): bool; or numbers, where 1 is positive, all else is negative, and NaN is not known.
    scores : ndarray
        (n, Y), as of `auroc_auprc`.
    one_class : {"nan", "share"}
        As of `auroc_auprc`, for all cells as one problem; the value of a label is NaN.

    Returns
    -------
    ndarray
        (2, Y + 2): each label, ``macro`` (the mean over the labels that have both classes) and ``micro``. What is
        undefined is NaN.
    """
    known = np.ones(truth.shape, bool) if truth.dtype == bool else ~np.isnan(truth)
    positive = truth == 1
    each = [auroc_auprc(positive[rows, i], scores[rows, i]) for i, rows in enumerate(known.T)]
    table = np.array(each, dtype=np.float64).reshape(-1, 2).T
    micro = np.array(auroc_auprc(positive[known], scores[known], one_class=one_class))
    return np.column_stack([table, mean_of_known(table), micro])


def truth_of(y: NDArray[Any]) -> NDArray[Any]:
    """Labels (n, Y) in [0, 1] as `ranking` takes them: positive above 0.5; NaN stays not known."""
    unknown = np.isnan(y)
    return np.where(unknown, np.nan, y > 0.5) if unknown.any() else y > 0.5


def mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean along the last axis without NaN; NaN if all are."""
    there = ~np.isnan(values)
    count = there.sum(axis=-1)
    sums = np.where(there, values, 0).sum(axis=-1)
    return np.where(count, sums / np.maximum(count, 1), math.nan)
