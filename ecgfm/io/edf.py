"""EDF and BDF (with their ``+``): the signals that are named as ECG leads."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from ..ecg.record import Record
from ..errors import FormatError, LeadError, SignalError
from ..signal.leads import LEADS, canonical_lead, listed
from ..storage.inputs import open_input
from .common import MAX_BYTES, Format, Given, check_size, decoded, make_record, millivolts_per

__all__ = ["FORMAT"]

_EDF, _BDF = b"0       ", b"\xffBIOSEMI"
_FIXED, _PER_SIGNAL = 256, 256  # bytes of the header
_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # of a signal's fields, each of which stands for all signals in a row
_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")  # labels of what is no signal
_MAX_SIGNALS = 512
_BLOCK = 1 << 22  # bytes that are read at once
_FRANK = ("VX", "VY", "VZ", "X", "Y", "Z")
_ECG = re.compile(r"\s*(ecg|ekg)\b", re.IGNORECASE)


def _matches(head: bytes) -> bool:
    """The version, a date, and the header's own length, which follows from the number of signals."""
    if head[:8] not in (_EDF, _BDF) or head[170:171] != b"." or head[173:174] != b".":
        return False
    signals = _integer(head[252:256])
    return signals is not None and _integer(head[184:192]) == _FIXED + _PER_SIGNAL * signals


def _integer(text: bytes) -> int | None:
    try:
        return int(text.decode("ascii"))
    except ValueError:
        return None


def _number(text: bytes) -> float:
    try:
        return float(decoded(text))
    except ValueError:
        return np.nan


@dataclass
class _Signal:
    """What the header says of a signal: `start` and `count` are of its samples in each data record."""

    label: str
    unit: str
    physical: tuple[bytes, bytes]
    digital: tuple[bytes, bytes]
    start: int
    count: int

    @property
    def is_ecg(self) -> bool:
        return canonical_lead(self.label) in LEADS + _FRANK or bool(_ECG.match(self.label))

    def scale(self, path: str) -> tuple[float, float, float]:
        """What is added to a stored number, what the sum is multiplied by, and the factor to millivolts."""
        field = f"lead {self.label}"
        factor = millivolts_per(self.unit)
        if factor is None:
            raise SignalError(f"the unit {shown(self.unit)} is no voltage", path=path, field=field)
        low, high = map(_integer, self.digital)
        least, most = map(_number, self.physical)
        if low is None or high is None or not np.isfinite([least, most]).all() or low >= high or least == most:
            numbers = [shown(decoded(raw).strip()) for raw in (*self.physical, *self.digital)]
            raise FormatError("a range of {} to {} for {} to {}".format(*numbers), path=path, field=field)
        gain = (most - least) / (high - low)
        return most / gain - high, gain, factor


@dataclass
class _Header:
    """What the header says, held against the size of the file: `width` bytes a sample, `size` samples a record."""

    width: int
    records: int
    seconds: float
    signals: list[_Signal]
    size: int
    notes: list[str]


def _read(path: str, given: Given) -> Record:
    with open_input(path, most=MAX_BYTES) as file:
        header = _header(file, path)
        ordinary = [signal for signal in header.signals if signal.label not in _ANNOTATIONS]
        signals = [signal for signal in ordinary if signal.is_ecg]
        ignored = [signal.label for signal in ordinary if not signal.is_ecg]
        if not signals:
            what = f"no signal is an ECG lead: {listed(ignored)}; all of the 12 leads are missing"
            raise LeadError(what, path=path, field="leads")
        rates = sorted({signal.count / header.seconds for signal in signals})
        if len(rates) > 1:
            what = f"leads of several rates, {rates[0]:g} to {rates[-1]:g} Hz"
            raise SignalError(what, path=path, field="sampling_rate")
        array = _millivolts(file, header, signals, path)
    return make_record(
        array,
        path,
        given,
        rate=rates[0],
        leads=[signal.label for signal in signals],
        units=[signal.unit for signal in signals],
        notes=[*(f"signals not read: {listed(ignored)}" for _ in ignored[:1]), *header.notes],
    )


def _header(file: BufferedReader, path: str) -> _Header:
    present = os.fstat(file.fileno()).st_size
    head = file.read(_FIXED)
    if not _matches(head):
        raise FormatError("not an EDF header", path=path)
    count, claimed = int(head[252:256]), _integer(head[236:244])
    if not 1 <= count <= _MAX_SIGNALS:
        raise FormatError(f"{count} signals; 1 to {_MAX_SIGNALS} are read", path=path, field="number of signals")
    if head[192:197] in (b"EDF+D", b"BDF+D") and claimed != 1:
        raise SignalError("the recording has gaps (EDF+D)", path=path, field="signal", remedy="Cut it at the gaps")
    if claimed is None or claimed < -1 or claimed == 0:
        raise FormatError(f"{shown(head[236:244])} is no number", path=path, field="number of data records")
    signals = _signals(file.read(_PER_SIGNAL * count), count, path)
    if all(signal.label in _ANNOTATIONS for signal in signals):
        raise FormatError("an EDF+ file of annotations, which holds no signal", path=path, field="signals")
    width, size = 2 if head[:8] == _EDF else 3, sum(signal.count for signal in signals)
    expected = check_size((max(claimed, 1), size), width, path=path, field="number of data records")
    present -= _FIXED + _PER_SIGNAL * count
    if expected > present:
        what = f"truncated: {max(claimed, 1):,} data records take {expected:,} bytes, the file has {present:,}"
        raise FormatError(what, path=path, field="signal")
    records, rest = divmod(present, width * size)
    notes = ["the last data record is incomplete and not read"] * (rest > 0)
    if records != claimed:
        notes.append(f"the header says {claimed:,} data records, the file has {records:,}: all are read")
    seconds = _number(head[244:252])
    if not 0 < seconds < np.inf:
        what = f"data records of {shown(decoded(head[244:252]).strip())} seconds give no sampling rate"
        raise FormatError(what, path=path, field="duration of a data record")
    return _Header(width, records, seconds, signals, size, notes)


def _signals(raw: bytes, count: int, path: str) -> list[_Signal]:
    starts = itertools.accumulate((width * count for width in _WIDTHS), initial=0)
    fields = [[raw[at + i * width : at + (i + 1) * width] for i in range(count)] for at, width in zip(starts, _WIDTHS)]
    found, start = [], 0
    for label, _, unit, least, most, low, high, _, samples, _ in zip(*fields):
        size = _integer(samples)
        if size is None or size < 1:
            raise FormatError("a signal without a number of samples", path=path, field="samples per data record")
        found.append(_Signal(decoded(label).rstrip(), decoded(unit).rstrip(), (least, most), (low, high), start, size))
        start += size
    return found


def _millivolts(file: BufferedReader, header: _Header, signals: list[_Signal], path: str) -> NDArray[np.float32]:
    """(leads, samples) float32, read in blocks of data records."""
    scales = [signal.scale(path) for signal in signals]
    count, record = signals[0].count, header.width * header.size
    found = np.empty((len(signals), header.records * count), np.float32)
    block = bytearray(record * max(1, min(header.records, _BLOCK // record)))
    for first in range(0, header.records, len(block) // record):
        view = memoryview(block)[: record * min(len(block) // record, header.records - first)]
        if file.readinto(view) != len(view):
            raise FormatError("it was cut short while it was read", path=path, field="signal")
        raw = np.frombuffer(view, np.uint8).reshape(-1, header.size, header.width)
        for row, signal, (offset, gain, factor) in zip(found, signals, scales):
            values = _numbers(raw[:, signal.start : signal.start + count]) + offset
            values *= gain
            values *= factor
            with np.errstate(over="ignore"):
                row[first * count : first * count + len(values)] = values
    return found


def _numbers(raw: NDArray[np.uint8]) -> NDArray[Any]:
    """The integers, (records, samples) in a row, of their bytes, (records, samples, 2 or 3), the lowest first."""
    if raw.shape[2] == 2:
        return raw.view("<i2").ravel()
    low, middle, high = (raw[..., i].astype(np.int32) for i in range(3))
    values: NDArray[np.int32] = low + (middle << 8) + (high.astype(np.int8).astype(np.int32) << 16)
    return values.ravel()


FORMAT = Format("EDF", (".edf", ".bdf"), _matches, _read)
