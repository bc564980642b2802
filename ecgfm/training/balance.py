"""Weights of labels by how often they are there, as scikit-learn's ``class_weight`` has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from ..errors import ConfigError, LabelError
from ..validation import Number
from .warned import warn

__all__ = ["BALANCED", "label_weights"]

BALANCED = "balanced"
_POSITIVE = Number(above=0)


def label_weights(
    pos_weight: Any, class_weight: Any, y: NDArray[Any] | None, names: Sequence[str] | None, num_labels: int
) -> dict[str, Any]:
    """``pos_weight`` and ``label_weight`` of a loss.

    Parameters
    ----------
    pos_weight : "balanced" or (Y,) numbers or None
        ``"balanced"``: what a label's negatives are to its positives, in `y`.
    class_weight : "balanced", mapping or None
        Of a label's two classes. ``"balanced"``: n / (2 n_c), with n of the label's known values, n_c of those of the
        class. A mapping ``{0: a, 1: b}`` for all labels, or label -> such a mapping or ``"balanced"``; labels that it
        lacks have 1 and 1.
    y : ndarray or None
        (n, Y) the labels of training, NaN where one is not known.
    names : sequence of str or None
    num_labels : int

    Returns
    -------
    dict
        Of what the loss takes; empty where nothing is asked for.

    Raises
    ------
    ConfigError
        If a weight is out of range, or both are given.
    LabelError
        If a mapping names a label that is none of these, or labels are to be counted that stand in files.
    """
    if class_weight is None:
        if not (isinstance(pos_weight, str) and pos_weight == BALANCED):
            return {} if pos_weight is None else {"pos_weight": pos_weight}
        negative, positive = _counts(y, "pos_weight", names)
        return {"pos_weight": negative / positive}
    if pos_weight is not None:
        raise ConfigError("pos_weight says the same", field="class_weight", remedy="Give one of them")
    per_label = _per_label(class_weight, names, num_labels)
    weights = np.ones((num_labels, 2))
    if BALANCED in per_label:
        counts = np.array(_counts(y, "class_weight", names))  # (2, Y)
        weights = (counts.sum(axis=0) / (2 * counts)).T
    for i, given in enumerate(per_label):
        if given != BALANCED:
            weights[i] = _pair(given)
    return {"pos_weight": weights[:, 1] / weights[:, 0], "label_weight": weights[:, 0]}


def _per_label(given: Any, names: Sequence[str] | None, num_labels: int) -> list[Any]:
    if isinstance(given, str) and given == BALANCED:
        return [BALANCED] * num_labels
    if not isinstance(given, Mapping) or not given:
        text = f'{shown(given)} is neither "balanced" nor {{0: weight, 1: weight}} nor such weights by label'
        raise ConfigError(text, field="class_weight")
    if all(isinstance(key, (int, np.integer, bool)) for key in given):
        return [given] * num_labels
    if names is None:
        raise LabelError("it goes by label, and the labels have no names", field="class_weight", remedy="Give labels=")
    unknown = [key for key in given if key not in names]
    if unknown:
        raise LabelError(f"{shown(unknown[0])} is none of {', '.join(names[:20])}", field="class_weight")
    return [given.get(name, {}) for name in names]


def _pair(given: Any) -> tuple[float, float]:
    if not isinstance(given, Mapping) or not set(given) <= {0, 1}:
        raise ConfigError(f"{shown(given)} is no {{0: weight, 1: weight}}", field="class_weight")
    return tuple(float(_POSITIVE.check(given.get(each, 1.0), "class_weight")) for each in (0, 1))  # type: ignore[return-value]


def _counts(y: NDArray[Any] | None, field: str, names: Sequence[str] | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """How many known values of each label are negative, and positive; labels that lack a side count as 1 and 1."""
    if y is None:
        remedy = "Give y as an array or a table, or numbers as weights"
        raise LabelError(
            "the labels stand in the files of the segments: they can't be counted", field=field, remedy=remedy
        )
    known, positive = np.sum(~np.isnan(y), axis=0, dtype=float), np.nansum(y, axis=0, dtype=float)
    counts = np.array([known - positive, positive])
    lacking = np.flatnonzero((counts <= 0).any(axis=0))
    if lacking.size:
        listed = ", ".join(names[i] if names else f"column {i}" for i in lacking[:5])
        more = ", ..." if lacking.size > 5 else ""
        warn(f"{field}: {listed}{more} has positives or negatives only among the training segments: its weights are 1")
        counts[:, lacking] = 1
    return counts[0], counts[1]
