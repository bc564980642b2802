"""Losses: the value and the gradient of the logits."""

import numpy as np

from .layers import f64


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -f64(x)))


def bce_with_logits(logits, targets, pos_weight=None):
    """Sum over rows and labels of binary cross entropy; pos_weight (Y) multiplies the term of the positives.

    -(w t log s(x) + (1 - t) log(1 - s(x))) = (1 + (w - 1) t) log(1 + exp(-x)) + (1 - t) x
    """
    logits, targets = f64(logits), f64(targets)
    weight = 1.0 if pos_weight is None else f64(pos_weight)
    return np.sum((1 + (weight - 1) * targets) * np.logaddexp(0, -logits) + (1 - targets) * logits)


def asymmetric(logits, targets, gamma_pos, gamma_neg, clip, pos_weight=1.0, neg_weight=1.0):
    """Cells of the asymmetric loss, straight from its definition: for logits of moderate size.

    With equal gammas and clip 0 they are those of the focal loss.
    """
    p, targets = sigmoid(logits), f64(targets)
    q = np.maximum(p - clip, 0)
    positive = (1 - p) ** gamma_pos * np.log(p)
    negative = q**gamma_neg * np.log(1 - q)
    return -(f64(pos_weight) * targets * positive + f64(neg_weight) * (1 - targets) * negative)


def bce_with_logits_backward(logits, targets, pos_weight=None):
    logits, targets = f64(logits), f64(targets)
    weight = 1.0 if pos_weight is None else f64(pos_weight)
    return (1 - targets) - (1 + (weight - 1) * targets) * sigmoid(-logits)
