"""EDF and BDF (with their ``+``): the signals that are named as ECG leads. edfio parses."""

import os
import re
from pathlib import Path

import numpy as np

from .._text import shown
from ..errors import FormatError, LeadError, SignalError
from ..signal.leads import LEADS, canonical_lead
from ..storage.inputs import open_input
from .common import MAX_BYTES, Format, check_size, make_record, millivolts_per, optional, parsing, warned

__all__ = ["FORMAT"]

_EDF, _BDF = b"0       ", b"\xffBIOSEMI"
_FIXED, _PER_SIGNAL = 256, 256  # bytes of the header
_MAX_SIGNALS = 512
_FRANK = ("VX", "VY", "VZ", "X", "Y", "Z")
_ECG = re.compile(r"\s*(ecg|ekg)\b", re.IGNORECASE)


def _matches(head):
    """The version, a date, and the header's own length, which follows from the number of signals."""
    if head[:8] not in (_EDF, _BDF) or head[170:171] != b"." or head[173:174] != b".":
        return False
    signals = _integer(head[252:256])
    return signals is not None and _integer(head[184:192]) == _FIXED + _PER_SIGNAL * signals


def _integer(text):
    try:
        return int(text.decode("ascii"))
    except ValueError:
        return None


def _read(path, *, sampling_rate, leads):
    kind = _check_claims(path)
    library = optional("edfio", path, "EDF files")
    with parsing(path, kind), warned() as notes:
        read = library.read_edf if kind == "EDF" else library.read_bdf
        try:
            file = read(Path(path))
        except UnicodeDecodeError:  # not what the standard allows, and common
            file = read(Path(path), header_encoding="latin-1")
        signals = [signal for signal in file.signals if _is_ecg(signal.label)]
        ignored = [signal.label for signal in file.signals if not _is_ecg(signal.label)]
    if not signals:
        raise LeadError(f"no signal is an ECG lead: {', '.join(ignored) or 'none'}", path=path, field="leads")
    lengths = {signal.samples_per_data_record for signal in signals}
    if len(lengths) > 1:
        rates = sorted(signal.sampling_frequency for signal in signals)
        raise SignalError(f"leads of several rates, {rates[0]:g} to {rates[-1]:g} Hz", path=path, field="sampling_rate")
    with parsing(path, kind), warned() as more:
        first = _millivolts(signals[0], path)
        array = np.empty((len(signals), len(first)), dtype=np.float32)
        array[0] = first
        for row, signal in zip(array[1:], signals[1:]):
            row[:] = _millivolts(signal, path)
    return make_record(
        array,
        path,
        field="signal",
        rate=signals[0].sampling_frequency,
        given_rate=sampling_rate,
        leads=[signal.label for signal in signals],
        given_leads=leads,
        units=[signal.physical_dimension for signal in signals],
        notes=[*(f"signals not read: {', '.join(ignored)}" for _ in ignored[:1]), *notes, *more],
    )


def _is_ecg(label):
    return canonical_lead(label) in LEADS + _FRANK or bool(_ECG.match(label))


def _millivolts(signal, path):
    field = f"lead {signal.label}"
    factor = millivolts_per(signal.physical_dimension)
    if factor is None:
        raise SignalError(f"the unit {shown(signal.physical_dimension)} is no voltage", path=path, field=field)
    ends = np.array([*signal.digital_range, *signal.physical_range], dtype=np.float64)
    if not np.isfinite(ends).all() or ends[0] >= ends[1] or ends[2] == ends[3]:
        raise FormatError(
            f"a range of {ends[2]:g} to {ends[3]:g} for {ends[0]:g} to {ends[1]:g}", path=path, field=field
        )
    return signal.data * factor


def _check_claims(path):
    """Hold the header against the size of the file; return "EDF" or "BDF"."""
    with open_input(path, most=MAX_BYTES) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_FIXED)
        if not _matches(head):
            raise FormatError("not an EDF header", path=path)
        signals, records = _integer(head[252:256]), _integer(head[236:244])
        if not 1 <= signals <= _MAX_SIGNALS:
            raise FormatError(f"{signals} signals; 1 to {_MAX_SIGNALS} are read", path=path, field="number of signals")
        if head[192:197] in (b"EDF+D", b"BDF+D") and records != 1:
            raise SignalError("the recording has gaps (EDF+D)", path=path, field="signal", remedy="Cut it at the gaps")
        file.seek(_FIXED + 216 * signals)
        counts = [_integer(file.read(8)) for _ in range(signals)]
    if records is None or records < -1 or records == 0:
        raise FormatError(f"{shown(head[236:244])} is no number", path=path, field="number of data records")
    if any(count is None or count < 1 for count in counts):
        raise FormatError("a signal without a number of samples", path=path, field="samples per data record")
    width = 2 if head[:8] == _EDF else 3
    expected = check_size((max(records, 1), sum(counts)), width, path=path, field="number of data records")
    present = size - _FIXED - _PER_SIGNAL * signals
    if expected > present:
        raise FormatError(
            f"truncated: {max(records, 1):,} data records take {expected:,} bytes, the file has {present:,}",
            path=path,
            field="signal",
        )
    return "EDF" if width == 2 else "BDF"


FORMAT = Format("EDF", (".edf", ".bdf"), _matches, _read)
