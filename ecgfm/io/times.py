"""Times of samples as text or numbers, and the sampling rate that they give."""

from __future__ import annotations

import datetime

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError

__all__ = ["clock", "rate_of_times"]

_RATE_DIGITS, _NEAR_INTEGER = 6, 2e-4  # times are rounded, and so is the rate that is taken from them
_MOST_TEXT = 64
_EPOCH = datetime.datetime(2000, 1, 1)


def clock(text: str) -> float | None:
    """Seconds of a date and time, or of a time of day, in the ISO's form; None if the text is neither."""
    text = text.strip().strip('"').replace(",", ".")
    if not 5 <= len(text) <= _MOST_TEXT or ":" not in text:
        return None
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        try:
            found = datetime.datetime.combine(_EPOCH, datetime.time.fromisoformat(text))
        except ValueError:
            return None
    if found.tzinfo is not None:
        if not 1 < found.year < 9999:  # the zone's offset may lead out of the years that there are
            return None
        found = found.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return (found - _EPOCH).total_seconds()


def rate_of_times(times: NDArray[np.float64], path: str, name: str) -> float:
    """The sampling rate in Hz that times in seconds give.

    Parameters
    ----------
    times : ndarray
        (samples,) float64.
    name : str
        Of their column.

    Raises
    ------
    FormatError
        If they don't rise evenly, or there is one only.
    """
    steps = np.diff(times)
    if not len(steps):
        raise FormatError("one row gives no sampling rate", path=path, field=name)
    step = (times[-1] - times[0]) / len(steps)
    if not (np.isfinite(step) and step > 0 and np.abs(steps - step).max() <= step / 2):
        raise FormatError(
            "the times don't rise evenly, so that they give no sampling rate",
            path=path,
            field=name,
            remedy="Resample the recording evenly, or state the rate in a line '# sampling_rate: 500'",
        )
    with np.errstate(over="ignore", divide="ignore"):
        rate = float(np.float64(1) / step)
    if not np.isfinite(rate):
        raise FormatError("the times lie too close to give a sampling rate", path=path, field=name)
    nearest = round(rate)
    return float(nearest) if abs(rate - nearest) <= _NEAR_INTEGER * rate else float(f"{rate:.{_RATE_DIGITS}g}")
