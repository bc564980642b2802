"""Checks of numbers and generators that functions of several rooms take."""

import numpy as np

from .errors import ConfigError

__all__ = ["check_legacy", "not_negative", "number", "probability", "whole"]


def number(value, field):
    """A finite real number as float."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)) or not np.isfinite(value):
        raise ConfigError(f"{value!r} is not a finite number", field=field)
    return float(value)


def not_negative(value, field):
    """A finite number from 0 up as float."""
    if number(value, field) < 0:
        raise ConfigError(f"{value!r} is below 0", field=field)
    return float(value)


def probability(value, field):
    """A number from 0 to 1 as float."""
    if not 0 <= number(value, field) <= 1:
        raise ConfigError(f"{value!r} is not from 0 to 1", field=field)
    return float(value)


def whole(value, field, least=0):
    """An integer from `least` up as int."""
    if number(value, field) != int(value) or value < least:
        raise ConfigError(f"{value!r} is not an integer from {least} up", field=field)
    return int(value)


def check_legacy(rng):
    """Refuses what is no legacy generator."""
    if not (hasattr(rng, "rand") and hasattr(rng, "randint")):
        raise ConfigError(
            f"a {type(rng).__name__} is no legacy generator", field="rng", remedy="Give a numpy.random.RandomState"
        )
