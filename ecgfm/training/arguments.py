"""Arguments of a trainer, checked."""

import numpy as np

from .._text import shown
from ..errors import ConfigError
from ..validation import is_finite, is_one_of

__all__ = ["OPTIMIZER", "checked_count", "checked_optimizer", "checked_seed", "checked_settings"]

OPTIMIZER = {"adam_betas": (0.9, 0.98), "adam_eps": 1e-8, "weight_decay": 0.0, "clip_norm": 0.0}


def checked_count(value, field):
    """An integer from 0 up."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 1 << 62:
        raise ConfigError(f"{shown(value)} is not an integer from 0 up", field=field)
    return int(value)


def checked_settings(defaults, given, field):
    """Numbers from 0 up under the names of the defaults, which stand where nothing is given."""
    unknown = sorted(map(str, set(given) - set(defaults)))
    if unknown:
        raise ConfigError("there is no such setting", field=unknown[0], remedy=f"Known are {', '.join(defaults)}")
    values = defaults | given
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not is_finite(value) or value < 0:
            raise ConfigError(f"{shown(value)} is not a number from 0 up", field=name)
        if isinstance(defaults[name], int) and value != int(value):
            raise ConfigError(f"{shown(value)} is not an integer", field=name)
    return values


def checked_optimizer(given):
    """Settings of Adam."""
    if given is not None and not isinstance(given, dict):
        raise ConfigError(f"{shown(given)} is not a dict", field="optimizer", remedy='Give {"weight_decay": 0.01}')
    given = dict(given or {})
    name = given.pop("_name", "adam")
    if not is_one_of(name, ("adam",)):
        raise ConfigError(f"the optimizer {shown(name)} is not known", field="optimizer", remedy="Give adam")
    betas = given.pop("adam_betas", OPTIMIZER["adam_betas"])
    rest = {key: value for key, value in OPTIMIZER.items() if key != "adam_betas"}
    try:
        beta1, beta2 = (float(beta) for beta in betas)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{shown(betas)} are not two numbers", field="adam_betas") from None
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
        raise ConfigError(f"{shown(betas)} do not lie from 0 to below 1", field="adam_betas")
    values = checked_settings(rest, given, "optimizer")
    if values["adam_eps"] == 0:
        raise ConfigError("it must be above 0", field="adam_eps")
    return values | {"adam_betas": (beta1, beta2)}


def checked_seed(value):
    """A seed, if it is one."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 1 << 32:
        raise ConfigError(f"{shown(value)} is not an integer from 0 to 4294967295", field="seed")
    return int(value)
