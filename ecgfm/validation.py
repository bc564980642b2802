"""Checks of numbers and generators that functions of several rooms take."""

import math

import numpy as np

from ._text import shown
from .errors import ConfigError

__all__ = ["check_legacy", "is_finite", "not_negative", "number", "one_of", "probability", "whole"]


def number(value, field):
    """A finite real number as float."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)) or not is_finite(value):
        raise ConfigError(f"{shown(value)} is not a finite number", field=field)
    return float(value)


def is_finite(value):
    """Whether a number is finite as a float, too, which an integer of many digits is not."""
    try:
        return math.isfinite(value)
    except (OverflowError, TypeError, ValueError):
        return False


def one_of(value, choices):
    """Whether a value is one of some texts; an array, which is equal to many things at once, is not."""
    return isinstance(value, str) and value in choices


def not_negative(value, field):
    """A finite number from 0 up as float."""
    if number(value, field) < 0:
        raise ConfigError(f"{shown(value)} is below 0", field=field)
    return float(value)


def probability(value, field):
    """A number from 0 to 1 as float."""
    if not 0 <= number(value, field) <= 1:
        raise ConfigError(f"{shown(value)} is not from 0 to 1", field=field)
    return float(value)


def whole(value, field, least=0):
    """An integer from `least` up as int."""
    if number(value, field) != int(value) or value < least:
        raise ConfigError(f"{shown(value)} is not an integer from {least} up", field=field)
    return int(value)


def check_legacy(rng):
    """Refuses what is no legacy generator."""
    if not (hasattr(rng, "rand") and hasattr(rng, "randint")):
        raise ConfigError(
            f"a {type(rng).__name__} is no legacy generator", field="rng", remedy="Give a numpy.random.RandomState"
        )
