"""Arguments of a trainer, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .._text import shown
from ..errors import ConfigError
from ..kernels import core
from ..specs.precision import FLOAT32, TRAINED
from ..validation import Seed, checked, is_one_of
from .objectives import OBJECTIVES
from .settings import Optimizer

__all__ = ["check_loss", "checked_optimizer", "checked_seed", "training_precision"]


def check_loss(loss: object) -> None:
    """Raise ConfigError unless it is the name of a loss."""
    if not is_one_of(loss, OBJECTIVES):
        known = ", ".join(map(repr, OBJECTIVES))
        raise ConfigError(f"the loss {shown(loss)} is not known", field="loss", remedy=f"Known are {known}")


def checked_optimizer(given: object, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of Adam."""
    if given is not None and not isinstance(given, dict):
        raise ConfigError(f"{shown(given)} is not a dict", field="optimizer", remedy='Give {"weight_decay": 0.01}')
    values = dict(defaults) | (given or {})
    name = values.pop("_name", "adam")
    if not is_one_of(name, ("adam",)):
        raise ConfigError(f"the optimizer {shown(name)} is not known", field="optimizer", remedy="Give adam")
    return asdict(Optimizer.of(values))


def checked_seed(value: object) -> int:
    """A seed, if it is one."""
    return int(checked(value, Seed(), "seed"))


def training_precision(asked: object) -> str:
    """The type of the products of a training; ConfigError if it is not known, or this processor lacks it."""
    if not is_one_of(asked, TRAINED):
        known = " and ".join(TRAINED)
        raise ConfigError(f"training computes in {known}, not in {shown(asked)}", field="precision")
    if asked not in core().precisions():
        remedy = f'Give "{FLOAT32}"'
        raise ConfigError(f"this processor lacks the instructions for {asked}", field="precision", remedy=remedy)
    return str(asked)
