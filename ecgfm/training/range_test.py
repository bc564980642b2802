"""The learning-rate range test: which rates a training can take, in a few updates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..ecg.prepare import spec_of
from ..errors import ConfigError, Error
from ..specs.inputs import ECG_FM
from ..table import Table
from ..validation import Number, Whole, checked
from .arguments import checked_seed
from .finetune_data import Wanted
from .trainer import Trainer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .._types import StrPath
    from ..model import Model
    from .keywords import LoopKeywords

__all__ = ["LearningRates", "learning_rates"]

_SMOOTHING = 0.9  # of the loss, over updates
_TOO_FAR = 4.0  # times the least smoothed loss: there it ends
_LEAST = 8  # updates


@dataclass(eq=False)
class LearningRates:
    """What a range test found.

    Attributes
    ----------
    table : Table
        A row per update: ``lr``, ``loss`` of its batch, ``smoothed``.
    suggested : float
        Where the smoothed loss falls most steeply over the logarithm of the rate; NaN if it falls nowhere.
    highest : float
        Where the smoothed loss was least: from about there on a training gets worse.
    """

    table: Table
    suggested: float
    highest: float

    def __repr__(self) -> str:
        return f"LearningRates({len(self.table)} updates, suggested {self.suggested:.1e}, highest {self.highest:.1e})"


def learning_rates(
    model: Model | StrPath,
    x: Any,
    y: Any = None,
    *,
    padding_mask: ArrayLike | None = None,
    low: float = 1e-7,
    high: float = 1e-1,
    updates: int = 60,
    batch_size: int = 16,
    seed: int = 1,
    **settings: Unpack[LoopKeywords],
) -> LearningRates:
    """Train for some updates with a rate that rises from update to update, and look at the loss.

    Nothing is kept of that training. It is Smith's range test (2017).

    Parameters
    ----------
    model, x, y, padding_mask, batch_size, seed
        As of `ecgfm.finetune`; `x` are segments, a manifest or a packed split.
    low, high : float
        The first rate and the last one; between them it rises by a factor.
    updates : int
        From 8 up. It ends before where the loss has grown to four times its least.
    **settings
        As of `ecgfm.finetune`, without ``schedule``.

    Returns
    -------
    LearningRates

    Raises
    ------
    ConfigError, LabelError, SignalError, FormatError
        As of `ecgfm.finetune`; or if `low` is not below `high`.
    """
    low, high = (float(checked(value, Number(above=0), name)) for name, value in (("low", low), ("high", high)))
    updates = checked(updates, Whole(_LEAST), "updates")
    if low >= high:
        raise ConfigError(f"{low} is not below high, {high}", field="low")
    given: dict[str, Any] = dict(settings)
    if "schedule" in given:
        raise ConfigError("the rates come from low and high", field="schedule", remedy="Leave it out")
    seed = checked_seed(seed)
    wanted = Wanted(given.pop("labels", None), batch_size, seed, 0.01, spec_of(model) or ECG_FM)
    train, _, names, num_labels = wanted.parts(x, y, padding_mask, None, None)
    given.setdefault("num_labels", num_labels)
    given["on_nonfinite"] = "skip"
    steps = np.geomspace(low, high, updates)
    trainer = Trainer(
        model, seed=seed, labels=names, schedule=lambda done, epoch: float(steps[min(done, updates - 1)]), **given
    )
    losses = _losses(trainer, train, updates)
    return _found(steps[: len(losses)], np.array(losses))


def _losses(trainer: Trainer, train: Any, updates: int) -> list[float]:
    """The loss of each update, until they are done or it has grown too much."""
    found: list[float] = []
    epoch, average, best = 1, 0.0, math.inf
    while len(found) < updates:
        before = len(found)
        for batch in islice(filter(None, train.epoch(epoch)), updates - len(found)):
            trainer.accumulate(*batch)
            result = trainer.update()
            loss = float(result["loss"])
            average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
            smoothed = average / (1 - _SMOOTHING ** (len(found) + 1))
            if not math.isfinite(loss) or not result["applied"] or smoothed > _TOO_FAR * best:
                return found
            best = min(best, smoothed)
            found.append(loss)
        if len(found) == before:
            raise Error("no batch could be read", field="x")
        epoch += 1
    return found


def _found(rates: Any, losses: Any) -> LearningRates:
    smoothed, average = np.empty(len(losses)), 0.0
    for i, loss in enumerate(losses):
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        smoothed[i] = average / (1 - _SMOOTHING ** (i + 1))
    table = Table({"lr": rates, "loss": losses, "smoothed": smoothed})
    if len(losses) < _LEAST:
        return LearningRates(table, math.nan, math.nan)
    slope = np.gradient(smoothed, np.log(rates))
    least = int(np.argmin(smoothed))
    steepest = int(np.argmin(slope[: least + 1]))
    suggested = float(rates[steepest]) if slope[steepest] < 0 else math.nan
    return LearningRates(table, suggested, float(rates[least]))
