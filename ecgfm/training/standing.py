"""What a run knows beside weights and moments; a checkpoint carries it."""

from __future__ import annotations

from dataclasses import dataclass, field

from .meters import MeterSet

__all__ = ["Standing"]


@dataclass
class Standing:
    """How a run stands.

    Attributes
    ----------
    meters : MeterSet
    best : dict of str to float
        Subset -> its best score.
    patience : (float or None, int)
        The best score of the first subset, and the validations since.
    due : dict or None
        Set if a signal put off the validation of the last update: whether that update was the ``end`` of an epoch, and
        whether to ``save`` afterwards.
    """

    meters: MeterSet = field(default_factory=MeterSet)
    best: dict[str, float] = field(default_factory=dict)
    patience: tuple[float | None, int] = (None, 0)
    due: dict[str, bool] | None = None
