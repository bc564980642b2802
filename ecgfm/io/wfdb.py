"""WFDB: a text header ``.hea`` and the signal files that it names, as PhysioNet keeps recordings.

The usual ones are read by `read_plain`; wfdb parses the others. Since it opens the files that a header names and takes
its lengths at their word, both are checked before.
"""

import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._text import shown
from ..errors import FormatError, LeadError, SignalError
from ..signal.leads import LEADS, canonical_lead, listed
from ..storage.inputs import check_inflation, read_input
from .common import Format, check_file_size, check_size, make_record, millivolts_per, optional, parsing
from .wfdb_plain import PlainRecord, read_plain
from .wfdb_values import physical_blocks, signal_files

__all__ = ["FORMAT", "header_beside", "is_part", "is_segment", "read_values"]

_MAX_HEADER, _MAX_LINE, _MAX_SIGNALS, _MAX_SEGMENTS = 1 << 22, 1024, 512, 1024
_MAX_SIGNAL_FILE = 1 << 42  # a claim for the disk, not for memory: what is read of it is held against its size
_RECORD = re.compile(r"[\w-]+(?:\.\w+)?(/\d+)?[ \t]+\d+([ \t]+[\d.]|$)", re.ASCII)
_RATE = re.compile(r"(\d+(\.\d*)?|\.\d+)(/.*)?$", re.ASCII)
_SIGNAL = re.compile(r"[\w~.-]+[ \t]+\d+(x\d+)?(:\d+)?(\+\d+)?([ \t]|$)", re.ASCII)
_SEGMENT = re.compile(r"[\w~-]+[ \t]+\d+\s*$", re.ASCII)
_PLAIN = re.compile(r"\w[\w.-]*$", re.ASCII)
_BITS = {"8": 8, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12, "310": 32 / 3, "311": 32 / 3}
_PACKED_BITS = {"508": 8, "516": 16, "524": 24}  # FLAC
_BLOCK = 1 << 20  # samples
_MAX_BASELINE = 1 << 40


def _matches(head):
    """A record line, and after it the line of a signal or of a segment."""
    if b"\0" in head:
        return False
    lines = [line.strip() for line in head.decode("ascii", errors="ignore").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    record = _RECORD.match(lines[0]) if len(lines) > 1 else None
    return bool(record and (_SEGMENT if record[1] else _SIGNAL).match(lines[1]))


def header_beside(path: Any) -> Any:
    """The path of the header that lies beside a signal file and names it, or None."""
    header = os.path.splitext(path)[0] + ".hea"
    name = os.path.basename(path)
    return header if any(line.split()[:1] == [name] for line in _lines(header)[1:]) else None


def is_part(path: Any) -> bool:
    """Whether a file lies beside a header of its name, or one that names it: signals, annotations."""
    header = os.path.splitext(path)[0] + ".hea"
    return header != path and os.path.isfile(header)


def is_segment(path: Any) -> bool:
    """Whether a header is that of a segment of the record beside it (``r_0001.hea`` and ``r_layout.hea`` of ``r``)."""
    master = re.sub(r"_(\d+|layout)\.hea$", ".hea", path)
    record = _RECORD.match((_lines(master) or [""])[0]) if master != path else None
    return bool(record and record[1])


def _lines(path: Any):
    try:
        lines = read_input(path, most=_MAX_HEADER).decode("ascii", errors="ignore").splitlines()
    except FormatError:
        return []
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _read(path: Any, *, sampling_rate, leads):
    about, samples, blocks = _opened(path)
    names = about.names
    chosen = _voltages(names, about.units, path)
    factors = np.array([millivolts_per(about.units[i]) for i in chosen])[:, None]
    signal = np.empty((len(chosen), samples), dtype=np.float32)
    for start, stop, values in blocks:
        np.multiply(values[:, chosen].T, factors, out=signal[:, start:stop], casting="same_kind")
    ignored = [f"{name} ({unit})" for i, (name, unit) in enumerate(zip(names, about.units)) if i not in chosen]
    return make_record(
        signal,
        path,
        field="signal",
        rate=about.rate,
        given_rate=sampling_rate,
        leads=[names[i] for i in chosen],
        given_leads=leads,
        units=[about.units[i] for i in chosen],
        notes=(f"signals not read: {listed(ignored)}",) if ignored else (),
    )


def read_values(path: Any):
    """A record with its values in float64, and all that its header says.

    Parameters
    ----------
    path : str
        The header.

    Returns
    -------
    PlainRecord
        With the signals that are voltages, in mV; ``units`` are those of the file, ``rate`` is None if it states none.

    Raises
    ------
    FormatError, SignalError, LeadError
    """
    about, samples, blocks = _opened(path)
    chosen = _voltages(about.names, about.units, path)
    factors = np.array([millivolts_per(about.units[i]) for i in chosen])
    whole = len(chosen) == len(about.names) and (factors == 1).all()
    if about.values is not None and whole:
        return about
    about.values = np.empty((samples, len(chosen)))
    for start, stop, values in blocks:
        np.multiply(values[:, chosen], factors, out=about.values[start:stop])
    about.names, about.units = [about.names[i] for i in chosen], [about.units[i] for i in chosen]
    return about


def _opened(path: Any):
    """What a header says (a `PlainRecord`), how many samples there are, and an iterator over (start, stop, values)."""
    if not path.endswith(".hea"):
        raise FormatError("a WFDB header by another name", path=path, remedy="Name it <record>.hea")
    found = read_plain(path)
    if found is not None:
        samples = len(found.values)
        return found, samples, iter([(0, samples, found.values)])
    library = optional("wfdb", path, "WFDB records")
    header, samples, says_so = _check_claims(library, path)
    stated = _states_rate(path)
    files = None if hasattr(header, "seg_name") else signal_files(header, os.path.dirname(path))
    if files and samples:
        return _about(header, stated), samples, physical_blocks(files, samples, header.adc_gain, header.baseline)
    block = min(_BLOCK, samples) if says_so else samples  # the library can't take a part of what states no length
    with parsing(path, "WFDB"):
        first = library.rdrecord(_base(path), sampto=block if says_so else None)
        if getattr(first, "p_signal", None) is None or not len(first.sig_name) == len(first.units) > 0:
            raise FormatError("the header describes no signals", path=path)
    return _about(first, stated), samples, _blocks(library, path, first, samples, block)


def _about(record, states_rate):
    """What the library's record says, without its values."""
    return PlainRecord(
        record.fs if states_rate else None,
        [name or f"signal {i}" for i, name in enumerate(record.sig_name)],
        list(record.units),
        None,
        list(record.comments),
        record.base_time,
        record.base_date,
    )


def _blocks(library, path: Any, first, samples, length):
    """The values of a record in blocks, since the library takes several times the memory of what it reads.

    `first` is the library's record of the first block.
    """
    for start in range(0, samples, length or 1):
        stop = min(start + length, samples)
        with parsing(path, "WFDB"):
            block = library.rdrecord(_base(path), sampfrom=start, sampto=stop) if start else first
        yield start, stop, block.p_signal


def _states_rate(path: Any):
    """Whether the record line states a rate; the library takes 250 Hz where it doesn't, or what it can't read."""
    fields = _lines(path)[0].split()
    if len(fields) > 2 and not _RATE.match(fields[2]):
        raise FormatError(f"{shown(fields[2])} is no sampling rate", path=path, field="record line")
    return len(fields) > 2


def _base(path: Any):
    return os.path.abspath(path)[: -len(".hea")]


def _voltages(names, units, path: Any):
    """Numbers of the signals that are voltages."""
    chosen = [i for i, unit in enumerate(units) if millivolts_per(unit) is not None]
    for i, name in enumerate(names):
        if i not in chosen and canonical_lead(name) in LEADS:
            raise SignalError(f"the unit {shown(units[i])} is no voltage", path=path, field=f"lead {name}")
    if not chosen:
        raise LeadError(f"none of the signals is a voltage: {listed(names)}", path=path, field="leads")
    return chosen


def _check_claims(library, path: Any):
    """Hold what a header says, and what the headers of its segments say, against the files.

    Returns
    -------
    tuple
        The library's header, the samples of the record, and whether the header states them.
    """
    header = _header(library, path, path)
    segments = getattr(header, "seg_name", None)
    if segments is None:
        return header, _check_files(header, path, path)[0], bool(header.sig_len)
    if not 1 <= len(segments) <= _MAX_SEGMENTS or len(segments) != header.n_seg:
        raise FormatError(f"{header.n_seg} segments, {len(segments)} described", path=path, field="segments")
    total, lengths, stored = 0, {}, 0
    for name, claimed in zip(segments, header.seg_len):
        total += claimed
        if name == "~":
            continue
        if name not in lengths:
            lengths[name], size = _segment_length(library, name, path)
            stored += size
        if lengths[name] != claimed:
            raise FormatError(
                f"{claimed:,} samples, its own header says {lengths[name]:,}", path=path, field=f"segment {name}"
            )
    if header.sig_len not in (None, 0, total):
        raise FormatError(f"{header.sig_len:,} samples in segments of {total:,}", path=path, field="segments")
    check_size((header.n_sig, total), 8, path=path, field="number of samples")
    # Gaps, and segments that are named again and again, are nowhere stored.
    check_inflation(stored, 4 * header.n_sig * total, path=path, field="segments", held=True)
    return header, total, True


def _segment_length(library, name, path: Any):
    """Samples of a segment, and the bytes that its signals take."""
    file = _beside(path, f"{name}.hea", "segments")
    try:
        segment = _header(library, file, path)
    except FormatError as error:
        if error.path != file:
            raise
        raise FormatError(
            f"its header can't be read: {error.message}",
            path=path,
            field=f"segment {name}",
            remedy="Get all segments, or read one of them by its own header",
        ) from None
    if getattr(segment, "seg_name", None) is not None:
        raise FormatError("a segment that consists of segments", path=path, field=f"segment {name}")
    return _check_files(segment, file, path)


def _header(library, file, path: Any):
    """The library's header of a file whose text was looked at before."""
    _check_lines(file, path)
    with parsing(path, "WFDB"):
        header = library.rdheader(_base(file))
    if not 0 <= header.n_sig <= _MAX_SIGNALS:
        raise FormatError(f"{header.n_sig} signals; at most {_MAX_SIGNALS} are read", path=path, field="record line")
    check_size((max(header.n_sig, 1), header.sig_len or 0), 8, path=path, field="number of samples")
    return header


def _check_lines(file, path: Any) -> None:
    """Refuse a header with longer lines, or more of them, than the library parses in reasonable time."""
    most, count = None, 0
    for number, line in enumerate(read_input(file, most=_MAX_HEADER).decode("ascii", errors="ignore").splitlines()):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if len(line) > _MAX_LINE:
            raise FormatError(
                f"{len(line):,} characters; at most {_MAX_LINE:,} are read", path=path, field=f"line {number + 1}"
            )
        if most is None:
            record = _RECORD.match(line)
            most = 1 + (_MAX_SEGMENTS if record and record[1] else _MAX_SIGNALS)
        count += 1
        if count > most:
            raise FormatError(f"more than {most - 1:,} signals or segments", path=path, field=f"line {number + 1}")


@dataclass
class _Claim:
    """What a header says of a signal file."""

    form: str
    start: int  # bytes before the first sample
    bits: float = 0  # of a sample of all its signals
    skew: int = 0  # samples that the latest of its signals lags

    @property
    def packed(self):
        return self.form in _PACKED_BITS

    def bytes(self, samples):
        return self.start + int(samples * self.bits // 8)


def _check_files(header, file, path: Any):
    """Each signal file must lie beside the header and hold what it says.

    Returns
    -------
    tuple
        The number of samples, and the bytes of the signal files.
    """
    claims = _claims(header, file, path)
    samples = header.sig_len or 0  # 0 says: as many as the file holds
    held, stored = [], 0
    for name, claim in claims.items():
        field = f"signal file {name}"
        size = _size_beside(file, name, path)
        stored += size
        if claim.packed and not samples:
            raise FormatError("a compressed signal of no stated length", path=path, field=field)
        held.append(int(max(size - claim.start, 0) * 8 // claim.bits))
        expected = claim.bytes(samples)
        if claim.packed:
            check_inflation(size, expected, path=path, field=field, held=True)
        elif expected > size:
            raise FormatError(
                f"truncated: {samples:,} samples take {expected:,} bytes, the file has {size:,}",
                path=path,
                field=field,
            )
        if claim.skew and claim.skew >= (samples or held[-1]):
            raise FormatError(f"a signal lags by {claim.skew:,} samples, more than there are", path=path, field=field)
    samples = samples or min(held, default=0)
    check_size((max(header.n_sig, 1), samples), 8, path=path, field="signal file")
    # Signals may have no file.
    check_inflation(stored, 4 * header.n_sig * samples, path=path, field="number of samples", held=True)
    return samples, stored


def _claims(header, file, path: Any):
    """Name of each signal file -> `_Claim`."""
    names = header.file_name or []
    if not names or header.fmt is None:
        raise FormatError("the header describes no signals", path=path, field=os.path.basename(file))
    if len(names) != header.n_sig:
        raise FormatError(f"{header.n_sig} signals, {len(names)} described", path=path, field=os.path.basename(file))
    claims: dict[str, Any] = {}
    for i, (name, form) in enumerate(zip(names, header.fmt)):
        field = f"signal {i}"
        gain, baseline = header.adc_gain[i], header.baseline[i]
        if gain is not None and not (np.isfinite(gain) and gain):
            raise FormatError(f"a gain of {shown(gain)}", path=path, field=field)
        if baseline is not None and abs(baseline) > _MAX_BASELINE:
            raise FormatError(f"a baseline of {shown(baseline)}", path=path, field=field)
        if name == "~" and form == "0":  # a layout names signals and has no file
            continue
        bits = _BITS.get(form) or _PACKED_BITS.get(form)
        if bits is None:
            raise FormatError(f"the storage format {form[:20]} is not known", path=path, field=field)
        frame = header.samps_per_frame[i] or 1
        check_size((max(header.sig_len or 0, 1), frame), 8, path=path, field=field)
        claim = claims.setdefault(name, _Claim(form, header.byte_offset[i] or 0))
        if (claim.form, claim.start) != (form, header.byte_offset[i] or 0):
            raise FormatError(
                f"a signal file in two formats: {claim.form}+{claim.start} and {form}+{header.byte_offset[i] or 0}",
                path=path,
                field=f"signal file {name}",
            )
        claim.bits += bits * frame
        claim.skew = max(claim.skew, header.skew[i] or 0)
    return claims


def _size_beside(file, name, path: Any):
    """The size of a signal file."""
    found = _beside(file, name, "signal file")
    try:
        return check_file_size(found, _MAX_SIGNAL_FILE)
    except FormatError as error:
        if error.path != found:
            raise
        raise FormatError(error.message, path=path, field=f"signal file {name}") from None


def _beside(path: Any, name, field):
    """The path of a file that a header names; it must lie in the header's directory."""
    if not _PLAIN.match(name):
        raise FormatError(f"the name {shown(name)} is not that of a file beside the header", path=path, field=field)
    return os.path.join(os.path.dirname(path), name)


FORMAT = Format("WFDB", (".hea",), _matches, _read)
