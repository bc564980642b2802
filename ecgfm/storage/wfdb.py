"""WFDB: a text header ``.hea`` and the signal files that it names. Header lines are parsed and written here.

The usual record is read without the library: one segment, storage format 16, every field stated. That is how
PhysioNet's 12-lead collections are stored, and some ten times faster. Whatever is unusual about a record is left to the
library: `read_plain` then returns None, and says nothing of what may be wrong.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .atomic import write_text, writing
from .inputs import input_size, read_input
from .npy import check_size
from .wfdb_values import Blocks, SignalFile, physical_blocks

__all__ = ["RECORD_LINE", "SEGMENT_LINE", "SIGNAL_LINE", "WfdbRecord", "header_lines", "read_plain", "write_plain"]

#: The first line of a header: what it is recognised by, and whether the record has segments.
RECORD_LINE = re.compile(r"[\w-]+(?:\.\w+)?(/\d+)?[ \t]+\d+([ \t]+[\d.]|$)", re.ASCII)
#: The lines that follow it.
SIGNAL_LINE = re.compile(r"[\w~.-]+[ \t]+\d+(x\d+)?(:\d+)?(\+\d+)?([ \t]|$)", re.ASCII)
SEGMENT_LINE = re.compile(r"[\w~-]+[ \t]+\d+\s*$", re.ASCII)

_MAX_HEADER, _MAX_SIGNALS = 1 << 16, 64
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
class WfdbRecord:
    """What a header says, and where the values are.

    Attributes
    ----------
    rate : int or float or None
        In Hz; None if it states none.
    names, units : list of str
        Of the signals.
    comments : list of str
        Without their marks.
    base_time, base_date : datetime.time, datetime.date or None
    samples : int
        Of each signal.
    files : list of SignalFile
        Empty if the library alone can read them.
    gains, baselines : sequence of float
        Of each signal: a stored number, less the baseline, is divided by the gain.
    """

    rate: float | None
    names: list[str]
    units: list[str]
    comments: list[str]
    base_time: datetime.time | None
    base_date: datetime.date | None
    samples: int
    files: Sequence[SignalFile] = ()
    gains: Sequence[float] = ()
    baselines: Sequence[float] = ()

    def blocks(self) -> Blocks:
        """Iterate over (start, stop, values): (samples, signals) in the units, NaN where a sample is missing."""
        return physical_blocks(self.files, self.samples, self.gains, self.baselines)


def header_lines(text: bytes) -> dict[int, str]:
    """The lines of a header that are no comments, by their numbers, which begin with 1."""
    lines = enumerate(map(str.strip, text.decode("ascii", errors="ignore").splitlines()), 1)
    return {number: line for number, line in lines if line and not line.startswith("#")}


def read_plain(path: str) -> WfdbRecord | None:
    """Read the header of a record of the usual kind, and hold the sizes of its signal files against it.

    Parameters
    ----------
    path : str
        The header, ``.hea``.

    Returns
    -------
    WfdbRecord or None
    """
    try:
        return _parsed(os.path.dirname(path), read_input(path, most=_MAX_HEADER))
    except (OSError, ValueError):  # a date that is none, a file that can't be read
        return None


def _parsed(folder: str, text: bytes) -> WfdbRecord | None:
    first, *lines = list(header_lines(text).values()) or [""]
    record = _RECORD.match(first) or _RECORD_2020.match(first)
    signals = [signal for line in lines if (signal := _SIGNAL.match(line))]
    if record is None or len(signals) < len(lines) or not 1 <= int(record[1]) == len(lines) <= _MAX_SIGNALS:
        return None
    samples, files = int(record[3]), _files(folder, signals)
    check_size((len(signals), samples), 8, path=folder, field=None)
    if not samples or not files or any(input_size(file.path) < file.bytes(samples) for file in files):
        return None
    rate = float(record[2])
    lines = [line.strip() for line in text.decode("ascii", errors="ignore").splitlines()]
    return WfdbRecord(
        int(rate) if round(rate, 8) == int(rate) else rate,
        [signal[7] for signal in signals],
        [signal[5] or "mV" for signal in signals],
        [line.strip(" \t#") for line in lines if line.startswith("#")],
        *(_began(record) if record.re is _RECORD else (None, None)),
        samples,
        files,
        [float(signal[3]) or 200.0 for signal in signals],  # 0 says that none is known
        [float(signal[6] if signal[4] is None else signal[4]) for signal in signals],
    )


def _began(record: re.Match[str]) -> tuple[datetime.time | None, datetime.date | None]:
    """Time and date of a record line, each None if it is not stated."""
    time = date = None
    if record[4]:
        hour, minute, second = map(int, record.group(4, 5, 6))
        time = datetime.time(hour, minute, second, int((record[7] or "0").ljust(6, "0")))
    if record[8]:
        date = datetime.date(int(record[10]), int(record[9]), int(record[8]))
    return time, date


def _files(folder: str, signals: Sequence[re.Match[str]]) -> list[SignalFile] | None:
    """The signal files; None if one is named with several offsets."""
    files: dict[str, SignalFile] = {}
    for column, signal in enumerate(signals):
        name, start = signal[1], int(signal[2] or 0)
        if name not in files:
            files[name] = SignalFile(os.path.join(folder, name), "16", start)
        file = files[name]
        if file.start != start:
            return None
        file.add(column)
    return list(files.values())


def write_plain(
    path: str,
    digital: NDArray[np.int16],
    names: Sequence[str],
    units: Sequence[str],
    rate: float,
    comments: Iterable[str] = (),
) -> None:
    """Write a record of the usual kind: a header and a signal file beside it.

    Parameters
    ----------
    path : str
        Of the header, ``.hea``.
    digital : ndarray
        (signals, samples), the numbers that are stored.
    names, units : sequence of str
        Of the signals; a unit with its gain, ``1024(0)/mV``.
    rate : float
        In Hz.
    comments : iterable of str
        Lines of the header after the signals.
    """
    stem = os.path.splitext(path)[0]
    name = os.path.basename(stem)
    sums = digital.sum(axis=1, dtype=np.int64) + (1 << 15)
    checks = (sums % (1 << 16) - (1 << 15)).tolist()
    lines = [
        f"{name} {len(digital)} {rate:.12g} {digital.shape[1]}",
        *(
            f"{name}.dat 16 {unit} 16 0 {row[0]} {check} 0 {lead}"
            for row, check, unit, lead in zip(digital, checks, units, names)
        ),
        *(f"# {comment}" for comment in comments),
    ]
    with writing(f"{stem}.dat") as file:
        file.write(np.ascontiguousarray(digital.T, dtype="<i2").tobytes())
    write_text(path, "\n".join(lines) + "\n")
