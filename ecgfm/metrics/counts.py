"""Counts at a threshold: sums over cells and rows, and the shares that follow from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["COUNTS", "bce_sums", "cut_of", "f1", "loss_and_shares", "share", "shares"]

#: What is counted beside the loss.
COUNTS: Final = ("count", "correct", "rows", "exact", "true_positive", "false_positive", "false_negative")


def bce_sums(
    logits: NDArray[Any], y: NDArray[Any], pos_weight: NDArray[Any] | None = None, threshold: float = 0.5
) -> dict[str, float]:
    """The sums of a batch from its logits (B, Y) and labels (B, Y), as the kernel gives them, in float64.

    What has a probability above `threshold` counts as predicted.

    Returns
    -------
    dict
        ``loss`` (binary cross entropy, in nats) and the `COUNTS`: cells, cells and rows that are right, and the cells
        of each kind of outcome.
    """
    z, y = logits.astype(np.float64), y.astype(np.float64)
    tail, weight = np.log1p(np.exp(-np.abs(z))), 1.0 if pos_weight is None else pos_weight.astype(np.float64)
    predicted, actual = z > cut_of(threshold), y != 0
    correct = predicted == y
    return {
        "loss": float((weight * y * (tail + np.maximum(-z, 0)) + (1 - y) * (tail + np.maximum(z, 0))).sum()),
        "count": y.size,
        "correct": int(correct.sum()),
        "rows": len(y),
        "exact": int(correct.all(axis=1).sum()),
        "true_positive": int((predicted & actual).sum()),
        "false_positive": int((predicted & ~actual).sum()),
        "false_negative": int((~predicted & actual).sum()),
    }


def cut_of(threshold: float) -> float:
    """The logit of a probability."""
    return math.log(threshold / (1 - threshold))


def share(part: float, whole: float) -> float:
    """A part of a whole; NaN where there is nothing."""
    return part / whole if whole else math.nan


def shares(sums: Mapping[str, float]) -> dict[str, float]:
    """``accuracy`` (of cells), ``em_accuracy`` (of whole rows), ``precision`` and ``recall`` (over all cells)."""
    hits = sums["true_positive"]
    return {
        "accuracy": share(sums["correct"], sums["count"]),
        "em_accuracy": share(sums["exact"], sums["rows"]),
        "precision": share(hits, hits + sums["false_positive"]),
        "recall": share(hits, hits + sums["false_negative"]),
    }


def f1(precision: float, recall: float) -> float:
    """The harmonic mean of precision and recall; NaN where both are 0 or one is unknown."""
    total = precision + recall
    return 2 * precision * recall / total if total > 0 else math.nan


def loss_and_shares(sums: Mapping[str, float]) -> dict[str, float]:
    """What is reported of sums over batches.

    Returns
    -------
    dict
        ``loss`` (mean over cells, in bits), ``loss_sum`` (in nats), ``sample_size`` (cells), ``nsignals`` (rows), and
        the `shares`.
    """
    return {
        "loss": sums["loss"] / sums["count"] / math.log(2),
        "loss_sum": sums["loss"],
        "sample_size": sums["count"],
        "nsignals": sums["rows"],
        **shares(sums),
    }
