"""The usual WFDB record, read without the library: one segment, storage format 16, every field stated.

That is how PhysioNet's 12-lead collections are stored, and some ten times faster. Whatever is unusual about a record is
left to the library: `read_plain` then returns None, and says nothing of what may be wrong.
"""

import datetime
import os
import re
from dataclasses import dataclass

import numpy as np

from ..storage.inputs import open_input, read_input

__all__ = ["PlainRecord", "read_plain"]

_MAX_HEADER, _MAX_SIGNALS = 1 << 16, 64
_MAX_VALUES = 1 << 24  # 45 minutes of 12 leads at 500 Hz; longer ones are read in blocks, so that they are held once
_INVALID = -32768  # a sample that is none
_RECORD = re.compile(
    r"[-\w]+[ \t]+(\d{1,3})[ \t]+(\d{1,6}(?:\.\d{1,9})?)[ \t]+(\d{1,9})"
    r"(?:[ \t]+(\d\d?):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:[ \t]+(\d\d)/(\d\d)/(\d{4}))?)?$",
    re.ASCII,
)
_RECORD_2020 = re.compile(  # of the Challenge 2020, whose records are named as files; the date is not looked at
    r"[-\w]+\.(?:mat|dat|hea)[ \t]+(\d{1,3})[ \t]+(\d{1,6}(?:\.\d{1,9})?)[ \t]+(\d{1,9})(?:[ \t].*)?$",
    re.ASCII,
)
_SIGNAL = re.compile(
    r"([-\w]+\.\w+)[ \t]+16(?:x1)?(?:\+(\d{1,6}))?[ \t]+(\d{1,9}(?:\.\d{1,18})?)(?:\((-?\d{1,6})\))?(?:/([a-zA-Z]+))?"
    r"[ \t]+\d+[ \t]+(-?\d{1,6})[ \t]+-?\d+[ \t]+-?\d+[ \t]+\d+[ \t]+(\w[^\t\r\n\f\v]*)$",
    re.ASCII,
)


@dataclass
class PlainRecord:
    """What a record says.

    Attributes
    ----------
    rate : int or float
        In Hz.
    names, units : list of str
        Of the signals.
    values : ndarray
        (samples, signals) float64, in these units; NaN where a sample is missing.
    comments : list of str
        Without their marks.
    base_time, base_date : datetime.time, datetime.date or None
    """

    rate: float
    names: list[str]
    units: list[str]
    values: np.ndarray
    comments: list[str]
    base_time: datetime.time | None = None
    base_date: datetime.date | None = None


def read_plain(path):
    """Read a record of the usual kind.

    Parameters
    ----------
    path : str
        The header, ``.hea``.

    Returns
    -------
    PlainRecord or None
    """
    try:
        return _parsed(os.path.dirname(path), read_input(path, most=_MAX_HEADER))
    except (OSError, ValueError):  # a date that is none, a file that can't be read
        return None


def _parsed(folder, text):
    lines = [line.strip() for line in text.decode("ascii", errors="ignore").splitlines()]
    comments = [line.strip(" \t#") for line in lines if line.startswith("#")]
    lines = [line for line in lines if line and not line.startswith("#")]
    record = (_RECORD.match(lines[0]) or _RECORD_2020.match(lines[0])) if lines else None
    if record is None:
        return None
    count, samples = int(record[1]), int(record[3])
    if not 1 <= count <= _MAX_SIGNALS or len(lines) != count + 1 or not 1 <= samples * count <= _MAX_VALUES:
        return None
    signals = [_SIGNAL.match(line) for line in lines[1:]]
    if None in signals:
        return None
    stored = _stored(folder, signals, samples)
    if stored is None:
        return None
    gain = np.array([float(signal[3]) or 200.0 for signal in signals])  # 0 says that none is known
    zero = np.array([float(signal[4] if signal[4] is not None else signal[6]) for signal in signals])
    values = np.subtract(stored, zero, dtype=np.float64)
    values /= gain
    if stored.min() == _INVALID:
        values[stored == _INVALID] = np.nan
    rate = float(record[2])
    time, date = _began(record) if record.re is _RECORD else (None, None)
    return PlainRecord(
        int(rate) if round(rate, 8) == int(rate) else rate,
        [signal[7] for signal in signals],
        [signal[5] or "mV" for signal in signals],
        values,
        comments,
        time,
        date,
    )


def _began(record):
    """Time and date of a record line, each None if it is not stated."""
    time = date = None
    if record[4]:
        time = datetime.time(*map(int, record.group(4, 5, 6)), int((record[7] or "0").ljust(6, "0")))
    if record[8]:
        date = datetime.date(int(record[10]), int(record[9]), int(record[8]))
    return time, date


def _stored(folder, signals, samples):
    """(samples, signals) int16, or None if the files are not as they should be."""
    groups = []  # [file, offset, signals in it]
    for signal in signals:
        name, offset = signal[1], int(signal[2] or 0)
        if groups and groups[-1][:2] == [name, offset]:
            groups[-1][2] += 1
        elif any(group[0] == name for group in groups):
            return None
        else:
            groups.append([name, offset, 1])
    parts = []
    for name, offset, count in groups:
        with open_input(os.path.join(folder, name)) as file:
            part = np.fromfile(file, "<i2", samples * count, offset=offset)
        if len(part) != samples * count:
            return None
        parts.append(part.reshape(samples, count))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
