"""What is reported of a loss: sums over cells and rows, and what follows from them."""

import math

import numpy as np

__all__ = ["bce_sums", "losses"]


def losses(sums):
    """What is reported of sums over batches."""

    def share(part, whole):
        return part / whole if whole else math.nan

    positive = sums["true_positive"] + sums["false_positive"]
    actual = sums["true_positive"] + sums["false_negative"]
    return {
        "loss": sums["loss"] / sums["count"] / math.log(2),
        "loss_sum": sums["loss"],
        "sample_size": sums["count"],
        "nsignals": sums["rows"],
        "accuracy": share(sums["correct"], sums["count"]),
        "em_accuracy": share(sums["exact"], sums["rows"]),
        "precision": share(sums["true_positive"], positive),
        "recall": share(sums["true_positive"], actual),
    }


def bce_sums(logits, y, pos_weight=None, threshold=0.5):
    """The sums of a batch from its logits (B, Y) and labels (B, Y), as the kernel gives them, in float64.

    What has a probability above `threshold` counts as predicted.
    """
    z, y = logits.astype(np.float64), y.astype(np.float64)
    tail, weight = np.log1p(np.exp(-np.abs(z))), 1.0 if pos_weight is None else pos_weight.astype(np.float64)
    predicted, actual = z > math.log(threshold / (1 - threshold)), y != 0
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
