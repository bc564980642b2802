"""Above which probability a label should count as there: rules that choose it from recordings with known labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from ..errors import ConfigError

__all__ = ["RULES", "Rule", "choose"]

RULES: Final = ("youden", "sensitivity", "specificity", "cost")
_HELP = (
    "Give youden, sensitivity=0.9, specificity=0.95, or cost=5 (of a positive that is missed, a false alarm costs 1)"
)


@dataclass(frozen=True)
class Rule:
    """How a threshold is chosen: ``youden``, ``sensitivity=S``, ``specificity=S`` or ``cost=C``.

    Attributes
    ----------
    name : str
    value : float
        The least sensitivity or specificity; or what a missed positive costs, where a false alarm costs 1.
    """

    name: str
    value: float = math.nan

    @classmethod
    def of(cls, given: object) -> Rule:
        """From text; `ConfigError` says what is wrong with it."""
        name, _, text = given.partition("=") if isinstance(given, str) and len(given) < 100 else ("", "", "")
        try:
            value = float(text) if text else math.nan
        except ValueError:
            value = math.inf
        fits = {"youden": math.isnan(value), "cost": 0 < value < 1e12}.get(name, 0 < value <= 1)
        if name not in RULES or not fits:
            raise ConfigError(f"{shown(given)} is no rule for thresholds", field="thresholds", remedy=_HELP)
        return cls(name, value)

    def __str__(self) -> str:
        return self.name if math.isnan(self.value) else f"{self.name}={self.value:g}"


def choose(truth: NDArray[Any], scores: NDArray[Any], rule: Rule) -> float | None:
    """The threshold of one label.

    Parameters
    ----------
    truth : ndarray
        (n,) 1, 0, or NaN where it is not known.
    scores : ndarray
        (n,) probabilities.
    rule : Rule

    Returns
    -------
    float or None
        What is above it counts as predicted. Halfway between two of the probabilities, or at an end. Of several that
        are equally good: of ``sensitivity`` the one of the largest specificity, and the other way round; else the
        lowest, which misses least. None of a label that has one class only.
    """
    known = ~np.isnan(truth)
    p, y = scores[known].astype(np.float64), truth[known] == 1
    if not y.any() or y.all():
        return None
    values = np.unique(p)
    cuts = np.concatenate([[0.0] * bool(values[0] > 0), (values[:-1] + values[1:]) / 2, [1.0]])
    hits = y.sum() - np.searchsorted(np.sort(p[y]), cuts, side="right")
    alarms = (~y).sum() - np.searchsorted(np.sort(p[~y]), cuts, side="right")
    sensitivity, specificity = hits / y.sum(), 1 - alarms / (~y).sum()
    if rule.name == "youden":
        best = int(np.argmax(np.round(sensitivity + specificity, 12)))
    elif rule.name == "cost":
        best = int(np.argmin(np.round(alarms + rule.value * (y.sum() - hits), 9)))
    elif rule.name == "sensitivity":
        reached = np.flatnonzero(sensitivity >= rule.value - 1e-12)  # none where a positive has the probability 0
        best = int(reached[-1]) if len(reached) else 0
    else:
        best = int(np.flatnonzero(specificity >= rule.value - 1e-12)[0])
    return float(cuts[best])
