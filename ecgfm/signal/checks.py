"""What the array, the sampling rate and the unit of a recording may be."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from ..errors import SignalError
from ..specs.inputs import MAX_RATE, MIN_RATE

__all__ = [
    "MAX_RATE",
    "MIN_RATE",
    "UNIT_ASSUMED",
    "checked_rate",
    "checked_signal",
    "checked_unit",
    "is_masked",
    "millivolts_per",
]

#: The note of what states no unit.
UNIT_ASSUMED: Final = "unit assumed: mV"

_MILLIVOLTS = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "\u00b5v": 1e-3, "\u03bcv": 1e-3, "nv": 1e-6}
_MOST_UNIT = 64  # characters of a unit's name


def millivolts_per(unit: object) -> float | None:
    """How many millivolts a unit of voltage is (in any case), or None if it is none."""
    return _MILLIVOLTS.get(str(unit)[:_MOST_UNIT].strip().lower())


def checked_unit(unit: Any) -> str | None:
    """A unit as the user gives it, for all leads: "mV", "uV" or "V" (in any case), or None.

    Raises
    ------
    SignalError
        If it is not a unit of voltage.
    """
    if unit is not None and (not isinstance(unit, str) or millivolts_per(unit) is None):
        raise SignalError(f"the unit {shown(unit)} is not known", field="unit", remedy="Give 'mV', 'uV' or 'V'")
    return unit


def checked_rate(value: Any, *, path: str | None = None) -> float:
    """A sampling rate in Hz as a float.

    Raises
    ------
    SignalError
        If it is not a number from 50 to 100,000 Hz.
    """
    try:
        rate = float(value)
    except (TypeError, ValueError, OverflowError):
        rate = math.nan
    if isinstance(value, (bool, np.bool_)) or not MIN_RATE <= rate <= MAX_RATE:
        raise SignalError(
            f"the sampling rate {shown(value)} is not a number from {MIN_RATE:g} to {MAX_RATE:g} Hz",
            path=path,
            field="sampling_rate",
        )
    return rate


def is_masked(array: Any) -> bool:
    """Whether an array, or one of those in a list, has values under a mask, which are not to be used."""
    if isinstance(array, (list, tuple)):
        return any(map(is_masked, array))
    return bool(np.ma.is_masked(array))


def checked_signal(array: Any, *, path: str | None = None, field: str = "signal") -> NDArray[Any]:
    """A two-dimensional array of real numbers, (leads, samples), not copied.

    Raises
    ------
    SignalError
        If the array has another number of dimensions, is empty, or holds no real numbers.
    """
    if is_masked(array):
        raise SignalError("the array has masked values", path=path, field=field, remedy="Fill or cut them out first")
    try:
        found: NDArray[Any] = np.asarray(array)
    except (TypeError, ValueError) as error:
        raise SignalError(f"not an array: {error}", path=path, field=field) from None
    if found.dtype.kind not in "iuf":
        raise SignalError(f"the values are of type {found.dtype}, not real numbers", path=path, field=field)
    if found.ndim != 2:
        raise SignalError(
            f"the array has {found.ndim} dimensions, a recording has 2: (leads, samples)", path=path, field=field
        )
    if found.size == 0:
        raise SignalError(f"the array is empty: shape {found.shape}", path=path, field=field)
    return found
