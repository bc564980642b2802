"""Counts at a threshold: sums over cells and rows, and the shares that follow from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .losses import cross_entropy

__all__ = ["COUNTS", "bce_sums", "cut_of", "f1", "label_sums", "loss_and_shares", "share", "shares", "size_of"]

#: The loss of each cell, of logits and labels.
Cells = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

#: What is counted beside the loss.
COUNTS: Final = ("count", "correct", "rows", "exact", "true_positive", "false_positive", "false_negative")


def bce_sums(
    logits: NDArray[Any], y: NDArray[Any], pos_weight: NDArray[Any] | None = None, threshold: float = 0.5
) -> dict[str, float]:
    """`label_sums` of the binary cross entropy, in nats."""
    weight = 1.0 if pos_weight is None else pos_weight.astype(np.float64)
    return label_sums(logits, y, lambda z, t: cross_entropy(z, t, weight), threshold)


def label_sums(logits: NDArray[Any], y: NDArray[Any], cells: Cells, threshold: float = 0.5) -> dict[str, float]:
    """The sums of a batch from its logits (B, Y) and labels (B, Y), as the kernel gives them, in float64.

    What has a probability above `threshold` counts as predicted. A label that is NaN is not known: its cell has no loss
    and is not counted, nor is a row without a known label.

    Parameters
    ----------
    cells : callable
        The loss of each cell, of float64 logits and labels.

    Returns
    -------
    dict
        ``loss`` and the `COUNTS`: cells, cells and rows that are right, and the cells of each kind of outcome.
    """
    z, known = logits.astype(np.float64), ~np.isnan(y)
    y = np.where(known, y, 0).astype(np.float64)
    predicted, actual = z > cut_of(threshold), y != 0
    correct = predicted == y
    return {
        "loss": float(np.where(known, cells(z, y), 0).sum()),
        "count": int(known.sum()),
        "correct": int((correct & known).sum()),
        "rows": int(known.any(axis=1).sum()),
        "exact": int(((correct | ~known).all(axis=1) & known.any(axis=1)).sum()),
        "true_positive": int((predicted & actual & known).sum()),
        "false_positive": int((predicted & ~actual & known).sum()),
        "false_negative": int((~predicted & actual & known).sum()),
    }


def size_of(sums: Mapping[str, float]) -> float:
    """What sums are divided by: the cells, each of which counts as much as the weight of its row."""
    weight = sums.get("weight", sums["count"])
    return sums["count"] if weight == sums["count"] else weight


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
        ``loss`` (mean over cells, in bits; NaN where no label is known), ``loss_sum`` (in nats), ``sample_size``
        (cells, each with the weight of its row), ``nsignals`` (rows), and the `shares`.
    """
    size = size_of(sums)
    return {
        "loss": sums["loss"] / size / math.log(2) if size else math.nan,
        "loss_sum": sums["loss"],
        "sample_size": size,
        "nsignals": sums["rows"],
        **shares(sums),
    }
