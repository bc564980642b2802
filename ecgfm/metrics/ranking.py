"""AUROC and average precision: one rule for finetuning and evaluation."""

import math

import numpy as np

from ..errors import MissingExtraError

__all__ = ["auroc_auprc", "mean_of_known", "ranking", "scikit_learn"]


def scikit_learn(field="evaluate"):
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
    return metrics


def auroc_auprc(truth, scores):
    """AUROC and average precision of one label; both NaN where the truth has one class only.

    Parameters
    ----------
    truth : ndarray of bool
        (n,)
    scores : ndarray
        (n,) logits or probabilities.

    Returns
    -------
    (float, float)
    """
    metrics = scikit_learn()
    if len(truth) == 0 or truth.all() or not truth.any():
        return math.nan, math.nan
    return float(metrics.roc_auc_score(truth, scores)), float(metrics.average_precision_score(truth, scores))


def ranking(truth, scores):
    """AUROC and average precision of each label, of the labels' mean, and of all cells as one problem.

    Parameters
    ----------
    truth : ndarray
        (n, Y): bool; or numbers, where 1 is positive, all else is negative, and NaN is not known.
    scores : ndarray
        (n, Y)

    Returns
    -------
    ndarray
        (2, Y + 2): each label, ``macro`` (the mean over the labels that have both classes) and ``micro``. What is
        undefined is NaN.
    """
    known = np.ones(truth.shape, bool) if truth.dtype == bool else ~np.isnan(truth)
    positive = truth == 1
    each = [auroc_auprc(positive[rows, i], scores[rows, i]) for i, rows in enumerate(known.T)]
    each = np.array(each, dtype=np.float64).reshape(-1, 2).T
    micro = np.array(auroc_auprc(positive[known], scores[known]))
    return np.column_stack([each, mean_of_known(each), micro])


def mean_of_known(values):
    """Mean along the last axis without NaN; NaN if all are."""
    there = ~np.isnan(values)
    count = there.sum(axis=-1)
    sums = np.where(there, values, 0).sum(axis=-1)
    return np.where(count, sums / np.maximum(count, 1), math.nan)
