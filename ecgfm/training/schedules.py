"""Learning rates of the updates: the three schedules of fairseq-signals, under its names.

A schedule is called with the number of updates that are finished (0 for the first one) and the epoch (1, 2, ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._text import shown
from ..errors import ConfigError
from ..validation import Number, Rule, Settings, check_known, number, numbers

__all__ = ["Fixed", "Step", "TriStage", "learning_rate", "make_schedule", "with_rate"]


@dataclass(frozen=True)
class _Rates(Rule):
    """Learning rates from 0 up as a tuple, of which a single number is one; or exactly one, as a float."""

    one: bool = False

    def check(self, value: object, field: str) -> Any:
        given: Any = value if isinstance(value, (list, tuple)) else [value]
        try:
            found = tuple(Number(0).check(float(rate), field) for rate in given)
        except (TypeError, ValueError, OverflowError):  # a ConfigError is a ValueError, too
            found = ()
        if not found:
            text = f"{shown(value)} is not a number from 0 up, or a list of such numbers"
            raise ConfigError(text, field=field)
        if self.one and len(found) != 1:
            raise ConfigError(f"this schedule takes one learning rate, not {len(found)}", field=field)
        return found[0] if self.one else found


def _rates(*, one: bool = False) -> Any:
    return field(default=5e-5, metadata={"rule": _Rates(one)})


@dataclass(frozen=True, slots=True)
class Fixed(Settings):
    """A rate for each epoch, with a linear warm-up.

    Parameters
    ----------
    lr : float or list of float
        Of epoch 1, 2, ...; the last one stays.
    warmup_updates : int
        Over this many updates the rate rises from 1 / warmup_updates of itself.
    force_anneal : int or None
        From this epoch on the last rate is multiplied by ``lr_shrink`` in each epoch.
    lr_shrink : float
    """

    lr: Any = _rates()
    warmup_updates: float = number(0, at_least=0)
    force_anneal: float | None = number(None, at_least=0)
    lr_shrink: float = number(0.1, at_least=0)

    def __call__(self, updates: int, epoch: int = 1) -> float:
        base: float
        if self.force_anneal is None or epoch < self.force_anneal:
            base = self.lr[min(epoch, len(self.lr)) - 1]
        else:
            base = self.lr[-1] * self.lr_shrink ** (epoch + 1 - self.force_anneal)
        return float(base * (updates + 1) / self.warmup_updates if updates < self.warmup_updates else base)


@dataclass(frozen=True, slots=True)
class TriStage(Settings):
    """Linear rise, plateau, exponential fall.

    Parameters
    ----------
    lr : float
        Of the plateau.
    warmup_steps, hold_steps, decay_steps : int
        Updates of the three stages.
    phase_ratio : tuple of float or None
        The stages as shares of ``max_update`` instead; they sum to 1.
    init_lr_scale, final_lr_scale : float
        The first and the last rate as shares of ``lr``.
    max_update : int
    """

    lr: Any = _rates(one=True)
    warmup_steps: float = number(0, at_least=0)
    hold_steps: float = number(0, at_least=0)
    decay_steps: float = number(0, at_least=0)
    phase_ratio: tuple[float, ...] | None = numbers(3, None, at_least=0)
    init_lr_scale: float = number(0.01, at_least=0)
    final_lr_scale: float = number(0.01, above=0)
    max_update: float = number(0)

    def agree(self) -> None:
        if self.phase_ratio is None:
            return
        if abs(sum(self.phase_ratio) - 1) > 1e-9:
            raise ConfigError(f"{shown(self.phase_ratio)} are not three shares that sum to 1", field="phase_ratio")
        if self.max_update <= 0:
            raise ConfigError("phase_ratio needs max_update above 0", field="max_update")
        for name, share in zip(("warmup_steps", "hold_steps", "decay_steps"), self.phase_ratio):
            object.__setattr__(self, name, int(self.max_update * share))

    def __call__(self, updates: int, epoch: int = 1) -> float:
        lr: float = self.lr
        start, end = self.init_lr_scale * lr, self.final_lr_scale * lr
        hold, decay = self.warmup_steps, self.warmup_steps + self.hold_steps
        if updates < hold:
            return start + (lr - start) * updates / self.warmup_steps
        if updates < decay:
            return lr
        if self.decay_steps and updates <= decay + self.decay_steps:
            return lr * math.exp(math.log(self.final_lr_scale) * (updates - decay) / self.decay_steps)
        return end


@dataclass(frozen=True, slots=True)
class Step(Settings):
    """Linear warm-up, then a fall by a factor after each period.

    Parameters
    ----------
    lr : float
        After the warm-up.
    warmup_updates : int
    warmup_init_lr : float
        The first rate; ``min_lr`` if it is negative.
    min_lr : float
    lr_decay : float
        The factor, at most 1.
    lr_deacy_period : int
        Updates between two falls; the original's spelling.
    """

    lr: Any = _rates(one=True)
    warmup_updates: float = number(0, at_least=0)
    warmup_init_lr: float = number(-1)
    min_lr: float = number(0.0, at_least=0)
    lr_decay: float = number(1.0, above=0, at_most=1)
    lr_deacy_period: float = number(25000, at_least=1)

    def agree(self) -> None:
        if not self.lr > self.min_lr:
            raise ConfigError(f"{self.lr} is not above min_lr {self.min_lr}", field="lr")

    def __call__(self, updates: int, epoch: int = 1) -> float:
        lr: float = self.lr
        if updates < self.warmup_updates:
            start = self.warmup_init_lr if self.warmup_init_lr >= 0 else self.min_lr
            return start + updates * (lr - start) / self.warmup_updates
        falls = (updates - self.warmup_updates) // self.lr_deacy_period
        return max(lr * float(self.lr_decay**falls), self.min_lr)


_BY_NAME: dict[str, type[Fixed | TriStage | Step]] = {"fixed": Fixed, "tri_stage": TriStage, "step": Step}


def make_schedule(value: Any) -> Callable[[int, int], float]:
    """A schedule from a number, a list of numbers, a dict with ``_name`` and the schedule's keys, or a callable."""
    if callable(value):
        made: Callable[[int, int], float] = value
        return made
    if not isinstance(value, dict):
        return Fixed(value)
    settings = dict(value)
    name = settings.pop("_name", "fixed")
    if not isinstance(name, str) or name not in _BY_NAME:
        raise ConfigError(
            f"there is no schedule {shown(name)}", field="lr_scheduler", remedy=f"Choose from {', '.join(_BY_NAME)}"
        )
    kind = _BY_NAME[name]
    check_known(settings, kind.__dataclass_fields__, prefix="lr_scheduler.")
    return kind(**settings)


def learning_rate(schedule: Callable[[int, int], float], updates: int, epoch: int) -> float:
    """What a schedule gives, if it is a rate."""
    try:
        lr = float(schedule(updates, epoch))
    except OverflowError:
        lr = math.inf
    if not (math.isfinite(lr) and lr >= 0):
        raise ConfigError(f"it gives the learning rate {lr} after {updates} updates", field="schedule")
    return lr


def with_rate(lr: float | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The ``schedule`` of these settings with this learning rate; a fixed one where they have none.

    Raises
    ------
    ConfigError
        If it is no number above 0, or the schedule names a rate, or is one.
    """
    if lr is None:
        return {}
    lr, schedule = float(Number(above=0).check(lr, "lr")), settings.get("schedule")
    if schedule is None:
        return {"schedule": lr}
    if isinstance(schedule, Mapping) and "lr" not in schedule:
        return {"schedule": {**schedule, "lr": [lr]}}
    raise ConfigError("the schedule has a learning rate of its own", field="lr", remedy="Give one of them")
