"""Times of samples as text or numbers, and the sampling rate that they give."""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Error, FormatError
from .checks import MAX_RATE, MIN_RATE

__all__ = ["TIME_UNIT_REMEDY", "clock", "rate_of_times", "seconds_of"]

#: What to do about times whose unit nobody stated.
TIME_UNIT_REMEDY = "Name the times with their unit, time_s or time_ms; or leave them out and give sampling_rate=500"

_RATE_DIGITS, _NEAR_INTEGER, _NEAR = 6, 2e-4, 1e-3  # times are rounded, and so is the rate that is taken from them
_MOST_TEXT = 64
_ELAPSED = re.compile(r"(?:(\d{1,4}):)?(\d{1,4}):([0-5]?\d(?:\.\d{1,9})?)", re.ASCII)  # hours, minutes, seconds
_EPOCH = datetime.datetime(2000, 1, 1)
_UNEVEN = "the times don't rise evenly, so that they give no sampling rate"
_REMEDY = "Resample the recording evenly; or give the rate without the times: sampling_rate=500 (--sampling-rate 500)"


def clock(text: str) -> float | None:
    """Seconds of a date and time, or of a time of day, in the ISO's form, or of a time elapsed (``0:02.004``); None if
    the text is none of them."""
    text = text.strip().strip("\"'[]").replace(",", ".")
    if not 5 <= len(text) <= _MOST_TEXT or ":" not in text:
        return None
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        try:
            found = datetime.datetime.combine(_EPOCH, datetime.time.fromisoformat(text))
        except ValueError:
            return _elapsed(text)
    return _since_epoch(found)


def _elapsed(text: str) -> float | None:
    found = _ELAPSED.fullmatch(text)
    if found is None:
        return None
    return 3600.0 * int(found[1] or 0) + 60.0 * int(found[2]) + float(found[3])


def _since_epoch(found: datetime.datetime) -> float | None:
    if found.tzinfo is not None:
        if not 1 < found.year < 9999:  # the zone's offset may lead out of the years that there are
            return None
        found = found.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return (found - _EPOCH).total_seconds()


def seconds_of(values: Any) -> NDArray[np.float64] | None:
    """Dates and times, or differences of them, as seconds from the first of them; None if they are anything else.

    Parameters
    ----------
    values : array_like
        (samples,) of ``datetime64``, ``timedelta64``, objects of `datetime`, or text in the ISO's form. What is missing
        becomes NaN.
    """
    array = np.asarray(values)
    if array.ndim != 1 or not len(array):
        return None
    if array.dtype.kind in "mM":
        missing = np.isnat(array)
        if missing.all():
            return np.full(len(array), np.nan)
        steps = (array - array[~missing][0]).astype("m8[ns]").astype(np.float64) * 1e-9
        return np.where(missing, np.nan, steps)
    if array.dtype.kind not in "OU":
        return None
    found = [_one(value) for value in array.tolist()]
    first = next((value for value in found if value is not None), None)
    return None if first is None else np.array([np.nan if value is None else value - first for value in found])


def _one(value: Any) -> float | None:
    if isinstance(value, str):
        return clock(value)
    if isinstance(value, datetime.datetime) and value == value:  # which a time that is missing is not
        return _since_epoch(value)
    return value.total_seconds() if isinstance(value, datetime.timedelta) and value == value else None


def rate_of_times(
    times: NDArray[np.float64],
    path: str | None,
    name: str,
    *,
    error: type[Error] = FormatError,
    hint: str = "",
    given: float | None = None,
) -> float:
    """The sampling rate in Hz that times in seconds give.

    They must rise, and no step may differ from their mean by more than half of it: as much as times do that are rounded
    to no more than the step.

    Parameters
    ----------
    times : ndarray
        (samples,) float64.
    name : str
        Of their column.
    error : type, optional
        The `Error` that is raised.
    hint : str, optional
        What to do where the rate is none that recordings have, for times whose unit nobody stated.
    given : float, optional
        The rate in Hz as the user gives it. Times of no stated unit may then also be milliseconds or microseconds that
        give this rate, or numbers of samples.

    Raises
    ------
    Error
        If they don't rise evenly, or there is one only; of times of no stated unit also if the rate is none that
        recordings have.
    """
    steps = np.diff(times)
    if not len(steps):
        raise error("one row gives no sampling rate", path=path, field=name)
    if not np.isfinite(times).all():
        row = int(np.argmin(np.isfinite(times)))
        raise error(f"{_UNEVEN}: there is no time in row {row + 1}", path=path, field=name, remedy=_REMEDY)
    step = (times[-1] - times[0]) / len(steps)
    wrong = np.abs(steps - step) > step / 2 if step > 0 else steps <= 0
    if wrong.any() or not step > 0:
        row = int(np.argmax(wrong))
        raise error(
            f"{_UNEVEN}: a step of {steps[row]:.6g} s after row {row + 1}, {step:.6g} s on average (a step may"
            " differ from that by half of it)",
            path=path,
            field=name,
            remedy=_REMEDY,
        )
    with np.errstate(over="ignore", divide="ignore"):
        rate = float(np.float64(1) / step)
    if not np.isfinite(rate):
        raise error("the times lie too close to give a sampling rate", path=path, field=name)
    if hint and not MIN_RATE <= rate <= MAX_RATE:
        if given is not None and any(abs(found - given) <= _NEAR * given for found in (1e3 * rate, 1e6 * rate)):
            return given
        if given is not None and abs(rate - 1) <= _NEAR:  # 0, 1, 2 ...
            return given
        raise error(
            f"no unit is stated, and in seconds the times give {rate:.6g} Hz", path=path, field=name, remedy=hint
        )
    nearest = round(rate)
    return float(nearest) if abs(rate - nearest) <= _NEAR_INTEGER * rate else float(f"{rate:.{_RATE_DIGITS}g}")
