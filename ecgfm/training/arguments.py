"""Arguments of a trainer, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .._text import shown
from ..errors import ConfigError
from ..validation import Seed, checked, is_one_of
from .settings import Optimizer

__all__ = ["checked_optimizer", "checked_seed"]


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
