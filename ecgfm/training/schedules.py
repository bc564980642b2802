"""Learning rates of the updates: the three schedules of fairseq-signals, under its names.

A schedule is called with the number of updates that are finished (0 for the first one) and the epoch (1, 2, ...).
"""

import math
from dataclasses import dataclass

from .._text import shown
from ..errors import ConfigError
from ..validation import is_finite

__all__ = ["Fixed", "Step", "TriStage", "learning_rate", "make_schedule"]


def _numbers(lr):
    """The learning rates as a tuple; a single number counts as a list of one."""
    try:
        values = tuple(float(value) for value in (lr if isinstance(lr, (list, tuple)) else [lr]))
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{shown(lr)} is not a number or a list of numbers", field="lr") from None
    if not values or not all(math.isfinite(value) and value >= 0 for value in values):
        raise ConfigError(f"{shown(lr)} has a value that is not finite or is negative", field="lr")
    return values


def _one(lr, name):
    values = _numbers(lr)
    if len(values) != 1:
        raise ConfigError(f"{name} takes one learning rate, not {len(values)}", field="lr")
    return values[0]


def _not_negative(**values):
    for name, value in values.items():
        if not (_is_number(value) and value >= 0):
            raise ConfigError(f"{shown(value)} is not a number from 0 up", field=name)


def _is_number(value):
    return isinstance(value, (int, float)) and is_finite(value)


@dataclass(frozen=True)
class Fixed:
    """A rate for each epoch, with a linear warm-up.

    Parameters
    ----------
    lr : float or list of float
        Of epoch 1, 2, ...; the last one stays.
    warmup_updates : int
        Over so many updates the rate rises from 1 / warmup_updates of itself.
    force_anneal : int or None
        From this epoch on the last rate is multiplied by ``lr_shrink`` in each epoch.
    lr_shrink : float
    """

    lr: object = 5e-5
    warmup_updates: int = 0
    force_anneal: int = None
    lr_shrink: float = 0.1

    def __post_init__(self):
        object.__setattr__(self, "lr", _numbers(self.lr))
        _not_negative(warmup_updates=self.warmup_updates, lr_shrink=self.lr_shrink)
        if self.force_anneal is not None:
            _not_negative(force_anneal=self.force_anneal)

    def __call__(self, updates, epoch=1):
        if self.force_anneal is None or epoch < self.force_anneal:
            base = self.lr[min(epoch, len(self.lr)) - 1]
        else:
            base = self.lr[-1] * self.lr_shrink ** (epoch + 1 - self.force_anneal)
        return base * (updates + 1) / self.warmup_updates if updates < self.warmup_updates else base


@dataclass(frozen=True)
class TriStage:
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

    lr: object = 5e-5
    warmup_steps: int = 0
    hold_steps: int = 0
    decay_steps: int = 0
    phase_ratio: tuple = None
    init_lr_scale: float = 0.01
    final_lr_scale: float = 0.01
    max_update: int = 0

    def __post_init__(self):
        object.__setattr__(self, "lr", _one(self.lr, "tri_stage"))
        _not_negative(
            warmup_steps=self.warmup_steps,
            hold_steps=self.hold_steps,
            decay_steps=self.decay_steps,
            init_lr_scale=self.init_lr_scale,
        )
        if not (_is_number(self.final_lr_scale) and self.final_lr_scale > 0):
            raise ConfigError(f"{shown(self.final_lr_scale)} is not above 0", field="final_lr_scale")
        if self.phase_ratio is None:
            return
        try:
            ratio = tuple(float(share) for share in self.phase_ratio)
        except (TypeError, ValueError, OverflowError):
            ratio = ()
        if len(ratio) != 3 or abs(sum(ratio) - 1) > 1e-9 or min(ratio) < 0:
            raise ConfigError(f"{shown(self.phase_ratio)} are not three shares that sum to 1", field="phase_ratio")
        if not (_is_number(self.max_update) and self.max_update > 0):
            raise ConfigError("phase_ratio needs max_update above 0", field="max_update")
        for name, share in zip(("warmup_steps", "hold_steps", "decay_steps"), ratio):
            object.__setattr__(self, name, int(self.max_update * share))

    def __call__(self, updates, epoch=1):
        start, end = self.init_lr_scale * self.lr, self.final_lr_scale * self.lr
        hold, decay = self.warmup_steps, self.warmup_steps + self.hold_steps
        if updates < hold:
            return start + (self.lr - start) * updates / self.warmup_steps
        if updates < decay:
            return self.lr
        if self.decay_steps and updates <= decay + self.decay_steps:
            return self.lr * math.exp(math.log(self.final_lr_scale) * (updates - decay) / self.decay_steps)
        return end


@dataclass(frozen=True)
class Step:
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

    lr: object = 5e-5
    warmup_updates: int = 0
    warmup_init_lr: float = -1
    min_lr: float = 0.0
    lr_decay: float = 1.0
    lr_deacy_period: int = 25000

    def __post_init__(self):
        object.__setattr__(self, "lr", _one(self.lr, "step"))
        _not_negative(warmup_updates=self.warmup_updates, min_lr=self.min_lr)
        if not _is_number(self.warmup_init_lr):
            raise ConfigError(f"{shown(self.warmup_init_lr)} is not a number", field="warmup_init_lr")
        if not self.lr > self.min_lr:
            raise ConfigError(f"{self.lr} is not above min_lr {self.min_lr}", field="lr")
        if not (_is_number(self.lr_decay) and 0 < self.lr_decay <= 1):
            raise ConfigError(f"{shown(self.lr_decay)} is not above 0 and at most 1", field="lr_decay")
        if not (_is_number(self.lr_deacy_period) and self.lr_deacy_period >= 1):
            raise ConfigError(f"{shown(self.lr_deacy_period)} is not at least 1", field="lr_deacy_period")

    def __call__(self, updates, epoch=1):
        if updates < self.warmup_updates:
            start = self.warmup_init_lr if self.warmup_init_lr >= 0 else self.min_lr
            return start + updates * (self.lr - start) / self.warmup_updates
        falls = (updates - self.warmup_updates) // self.lr_deacy_period
        return max(self.lr * self.lr_decay**falls, self.min_lr)


_BY_NAME = {"fixed": Fixed, "tri_stage": TriStage, "step": Step}


def make_schedule(value):
    """A schedule from a number, a list of numbers, a dict with ``_name`` and the schedule's keys, or a callable."""
    if callable(value):
        return value
    if not isinstance(value, dict):
        return Fixed(value)
    settings = dict(value)
    name = settings.pop("_name", "fixed")
    if not isinstance(name, str) or name not in _BY_NAME:
        raise ConfigError(
            f"there is no schedule {shown(name)}", field="lr_scheduler", remedy=f"Choose from {', '.join(_BY_NAME)}"
        )
    kind = _BY_NAME[name]
    unknown = sorted(map(str, set(settings) - set(kind.__dataclass_fields__)))
    if unknown:
        raise ConfigError(f"{name} has no such setting", field=f"lr_scheduler.{unknown[0]}")
    return kind(**settings)


def learning_rate(schedule, updates, epoch):
    """What a schedule gives, if it is a rate."""
    try:
        lr = float(schedule(updates, epoch))
    except OverflowError:
        lr = math.inf
    if not (math.isfinite(lr) and lr >= 0):
        raise ConfigError(f"it gives the learning rate {lr} after {updates} updates", field="schedule")
    return lr
