"""The losses of cells in float64, as the kernels have them (``csrc/losses``): of validations, and for comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["asymmetric", "cross_entropy", "squared"]

Cells = NDArray[np.float64]


def cross_entropy(z: Cells, y: Cells, positive: Any = 1.0, negative: Any = 1.0) -> Cells:
    """Binary cross entropy of logits and labels in [0, 1], in nats; the weights are of the two terms of a label."""
    tail = np.log1p(np.exp(-np.abs(z)))
    found: Cells = positive * y * (tail + np.maximum(-z, 0)) + negative * (1 - y) * (tail + np.maximum(z, 0))
    return found


def asymmetric(
    z: Cells,
    y: Cells,
    positive: Any = 1.0,
    negative: Any = 1.0,
    *,
    gamma_positive: float,
    gamma_negative: float,
    clip: float,
) -> Cells:
    """The asymmetric loss of logits and labels in [0, 1]; with equal gammas and no clip, the focal loss.

    ``-(positive y (1 - p)^gamma_positive log(p) + negative (1 - y) q^gamma_negative log(1 - q))``, where p is the
    logistic function of z and q = max(p - clip, 0).
    """
    above, below = np.logaddexp(0, z), np.logaddexp(0, -z)  # -log(1 - p) and -log(p)
    hit = np.exp(-gamma_positive * above) * below
    if clip == 0:
        miss = np.exp(-gamma_negative * below) * above
    else:
        q = np.maximum(np.exp(-below) - clip, 0)
        miss = np.where(q > 0, np.power(q, gamma_negative), 0) * -np.log1p(-np.minimum(q, 1 - clip))
    found: Cells = positive * y * hit + negative * (1 - y) * miss
    return found


def squared(z: Cells, y: Cells, weight: Any = 1.0) -> Cells:
    """The squared difference of outputs and numbers."""
    found: Cells = weight * (z - y) * (z - y)
    return found
