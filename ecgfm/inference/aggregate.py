"""From the segments of a recording to one prediction for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import LabelError
from ..validation import Choice, checked, refuse_masked

__all__ = ["METHOD", "METHODS", "TUTORIAL_MAX", "aggregate"]

METHODS = ("tutorial", "mean", "max")
METHOD = Choice(METHODS)

#: Labels of which ECG-FM's tutorial takes the maximum over a recording's segments: findings that need only show up
#: once. Of all other labels it takes the mean.
TUTORIAL_MAX = frozenset(
    (
        "Poor data quality",
        "Premature ventricular contraction",
        "Ventricular tachycardia",
        "Supraventricular tachycardia with aberrancy",
        "Electronic pacemaker",
    )
)


def aggregate(
    probabilities: ArrayLike, counts: ArrayLike, labels: Sequence[str], method: str = "tutorial"
) -> NDArray[np.float32]:
    """One probability per recording and label.

    Parameters
    ----------
    probabilities : array_like
        (n, Y), the segments of the first recording, then those of the second, and so on.
    counts : array_like of int
        (recordings,) the number of segments of each recording, at least 1.
    labels : sequence of str
        Names of the Y columns.
    method : {"tutorial", "mean", "max"}
        "tutorial" takes the maximum for the labels in `TUTORIAL_MAX`, known by name, and the mean for all others.

    Returns
    -------
    ndarray
        (recordings, Y) float32. Means are computed in float64.

    Raises
    ------
    ConfigError
        If there is no such method.
    LabelError
        If the shapes don't fit.
    """
    checked(method, METHOD, "aggregate")
    refuse_masked(probabilities, "probabilities", LabelError)
    probabilities, counts = np.asarray(probabilities), np.asarray(counts, dtype=np.int64)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(labels):
        raise LabelError(f"the shape {probabilities.shape} doesn't fit {len(labels)} labels", field="probabilities")
    if (counts < 1).any() or counts.sum() != len(probabilities):
        raise LabelError(f"the counts don't add up to {len(probabilities)} segments", field="counts")
    starts = np.cumsum(counts) - counts
    use_max = np.array([method == "max" or (method == "tutorial" and name in TUTORIAL_MAX) for name in labels], bool)
    out = np.empty((len(counts), len(labels)), dtype=np.float32)
    if len(counts):
        sums = np.add.reduceat(probabilities[:, ~use_max], starts, axis=0, dtype=np.float64)
        out[:, ~use_max] = sums / counts[:, None]
        out[:, use_max] = np.maximum.reduceat(probabilities[:, use_max], starts, axis=0)
    return out
