"""WFDB: a text header ``.hea`` and the signal files that it names, as PhysioNet keeps recordings.

The usual ones are read by `read_plain`; wfdb parses the headers of the others. Since it opens the files that a header
names and takes its lengths at their word, both are checked before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from ..ecg.record import Record
from ..errors import FormatError, LeadError, SignalError
from ..signal.leads import LEADS, canonical_lead, listed
from ..storage.inputs import check_inflation, input_size, read_input
from ..storage.wfdb import RECORD_LINE, SEGMENT_LINE, SIGNAL_LINE, WfdbRecord, header_lines, read_plain
from ..storage.wfdb_values import BITS, FORMS, Blocks, SignalFile
from .common import Format, Given, check_size, make_record, millivolts_per, optional, parsing

__all__ = ["FORMAT", "read_values"]

_MAX_HEADER, _MAX_LINE, _MAX_SIGNALS, _MAX_SEGMENTS = 1 << 22, 1024, 512, 1024
_MAX_SIGNAL_FILE = 1 << 42  # a claim for the disk, not for memory: what is read of it is held against its size
_RATE = re.compile(r"(\d+(\.\d*)?|\.\d+)(/.*)?$", re.ASCII)
_PLAIN = re.compile(r"\w[\w.-]*$", re.ASCII)
_BLOCK = 1 << 20  # samples
_MAX_BASELINE = 1 << 40


def _matches(head: bytes) -> bool:
    """A record line, and after it the line of a signal or of a segment."""
    lines = [] if b"\0" in head else list(header_lines(head).values())
    record = RECORD_LINE.match(lines[0]) if len(lines) > 1 else None
    return bool(record and (SEGMENT_LINE if record[1] else SIGNAL_LINE).match(lines[1]))


def _lines(path: str) -> list[str]:
    try:
        return list(header_lines(read_input(path, most=_MAX_HEADER)).values())
    except FormatError:
        return []


def _beside_its_header(path: str) -> FormatError | None:
    """What is said of a signal file whose header lies beside it and names it."""
    header, name = os.path.splitext(path)[0] + ".hea", os.path.basename(path)
    if not any(line.split()[:1] == [name] for line in _lines(header)[1:]):
        return None
    return FormatError("a signal file of a WFDB record", path=path, remedy=f"Name its header, {header}")


def _is_part(path: str) -> bool:
    """Whether a file belongs to a record beside it, by a header of its name (signals, annotations) or as the header
    of a segment (``r_0001.hea`` and ``r_layout.hea`` of ``r``).
    """
    header = os.path.splitext(path)[0] + ".hea"
    if header != path:
        return os.path.isfile(header)
    master = re.sub(r"_(\d+|layout)\.hea$", ".hea", path)
    record = RECORD_LINE.match((_lines(master) or [""])[0]) if master != path else None
    return bool(record and record[1])


def _read(path: str, given: Given) -> Record:
    about, blocks = _opened(path)
    chosen, factors = _voltages(about, path)
    signal = np.empty((len(factors), about.samples), dtype=np.float32)
    columns = slice(None) if len(chosen) == len(about.names) else chosen  # which copies nothing
    for start, stop, values in blocks:
        np.multiply(values[:, columns].T, factors[:, None], out=signal[:, start:stop], casting="same_kind")
    ignored = [f"{name} ({unit})" for name, unit in zip(about.names, about.units) if millivolts_per(unit) is None]
    return make_record(
        signal,
        path,
        given,
        rate=about.rate,
        leads=[about.names[i] for i in chosen],
        units=[about.units[i] for i in chosen],
        notes=(f"signals not read: {listed(ignored)}",) if ignored else (),
    )


def read_values(path: str) -> tuple[NDArray[np.float64], WfdbRecord]:
    """A record with its values in float64, and all that its header says.

    Parameters
    ----------
    path : str
        The header.

    Returns
    -------
    values : ndarray
        (samples, signals) of the signals that are voltages, in mV.
    about : WfdbRecord
        With names and units of these; ``units`` are those of the file, ``rate`` is None if it states none.

    Raises
    ------
    FormatError, SignalError, LeadError
    """
    about, blocks = _opened(path)
    chosen, factors = _voltages(about, path)
    as_they_are = len(chosen) == len(about.names) and bool((factors == 1).all())
    found = np.empty((0, len(chosen)))
    for start, stop, values in blocks:
        if as_they_are and len(values) == about.samples:
            return values, about
        found = found if start else np.empty((about.samples, len(chosen)))
        np.multiply(values[:, chosen], factors, out=found[start:stop])
    about.names, about.units = [about.names[i] for i in chosen], [about.units[i] for i in chosen]
    return found, about


def _opened(path: str) -> tuple[WfdbRecord, Blocks]:
    """What a header says, and an iterator over (start, stop, values)."""
    if not path.endswith(".hea"):
        raise FormatError("a WFDB header by another name", path=path, remedy="Name it <record>.hea")
    about = read_plain(path)
    if about is not None:
        return about, about.blocks()
    library = optional("wfdb", path, "WFDB records")
    header, samples, files = _check_claims(library, path)
    if not samples and not hasattr(header, "seg_name"):
        what = "the record holds no samples"
        if "~" in (header.file_name or ()):
            what = "a layout: it describes the signals of a record's segments and holds none"
        raise FormatError(what, path=path, remedy="Name the record's header, or a segment's")
    stated = _states_rate(path)
    if files and samples and _is_usual(header):
        about = _about(header, stated, samples, files, header.adc_gain, header.baseline)
        return about, about.blocks()
    says_so = bool(header.sig_len) or hasattr(header, "seg_name")
    block = min(_BLOCK, samples) if says_so else samples  # the library can't take a part of what states no length
    with parsing(path, "WFDB"):
        first = library.rdrecord(_base(path), sampto=block if says_so else None)
        if getattr(first, "p_signal", None) is None or not len(first.sig_name) == len(first.units) > 0:
            raise FormatError("the header describes no signals", path=path)
    return _about(first, stated, samples), _blocks(library, path, first, samples, block)


def _is_usual(header: Any) -> bool:
    """Whether all signals are read here: of formats other than FLAC, with one sample a frame and no skew."""
    usual = all((frame or 1) == 1 for frame in header.samps_per_frame) and not any(header.skew)
    return usual and set(header.fmt) <= FORMS.keys() and None not in (*header.adc_gain, *header.baseline)


def _about(record: Any, states_rate: bool, samples: int, *stored: Any) -> WfdbRecord:
    """What the library's record or header says, without its values."""
    return WfdbRecord(
        record.fs if states_rate else None,
        [name or f"signal {i}" for i, name in enumerate(record.sig_name)],
        list(record.units),
        list(record.comments),
        record.base_time,
        record.base_date,
        samples,
        *stored,
    )


def _blocks(library: Any, path: str, first: Any, samples: int, length: int) -> Blocks:
    """The values of a record in blocks, since the library takes several times the memory of what it reads.

    `first` is the library's record of the first block.
    """
    for start in range(0, samples, length or 1):
        stop = min(start + length, samples)
        with parsing(path, "WFDB"):
            block = library.rdrecord(_base(path), sampfrom=start, sampto=stop) if start else first
        yield start, stop, block.p_signal


def _states_rate(path: str) -> bool:
    """Whether the record line states a rate; the library takes 250 Hz where it doesn't, or what it can't read."""
    fields = _lines(path)[0].split()
    if len(fields) > 2 and not _RATE.match(fields[2]):
        raise FormatError(f"{shown(fields[2])} is no sampling rate", path=path, field="record line")
    return len(fields) > 2


def _base(path: str) -> str:
    return os.path.abspath(path)[: -len(".hea")]


def _voltages(about: WfdbRecord, path: str) -> tuple[list[int], NDArray[np.float64]]:
    """Numbers of the signals that are voltages, and the factor of each to millivolts."""
    factors = [millivolts_per(unit) for unit in about.units]
    for name, unit, factor in zip(about.names, about.units, factors):
        if factor is None and canonical_lead(name) in LEADS:
            raise SignalError(f"the unit {shown(unit)} is no voltage", path=path, field=f"lead {name}")
    chosen = [i for i, factor in enumerate(factors) if factor is not None]
    if not chosen:
        raise LeadError(f"none of the signals is a voltage: {listed(about.names)}", path=path, field="leads")
    return chosen, np.array([factors[i] for i in chosen], np.float64)


def _check_claims(library: Any, path: str) -> tuple[Any, int, list[SignalFile]]:
    """Hold what a header says, and what the headers of its segments say, against the files.

    Returns
    -------
    tuple
        The library's header, the samples of the record, and its signal files, none if it consists of segments.
    """
    header = _header(library, path, path)
    segments = getattr(header, "seg_name", None)
    if segments is None:
        return header, *_check_files(header, path, path)[:2]
    if not 1 <= len(segments) <= _MAX_SEGMENTS or len(segments) != header.n_seg:
        raise FormatError(f"{header.n_seg} segments, {len(segments)} described", path=path, field="segments")
    lengths: dict[str, int] = {}
    stored = 0
    for name, claimed in zip(segments, header.seg_len):
        if name == "~":
            continue
        if name not in lengths:
            lengths[name], size = _segment_length(library, name, path)
            stored += size
        if lengths[name] != claimed:
            raise FormatError(
                f"{claimed:,} samples, its own header says {lengths[name]:,}", path=path, field=f"segment {name}"
            )
    total = sum(header.seg_len)
    if header.sig_len not in (None, 0, total):
        raise FormatError(f"{header.sig_len:,} samples in segments of {total:,}", path=path, field="segments")
    check_size((header.n_sig, total), 8, path=path, field="number of samples")
    # Gaps, and segments that are named again and again, are nowhere stored.
    check_inflation(stored, 4 * header.n_sig * total, path=path, field="segments", held=True)
    return header, total, []


def _segment_length(library: Any, name: str, path: str) -> tuple[int, int]:
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
    samples, _, stored = _check_files(segment, file, path)
    return samples, stored


def _header(library: Any, file: str, path: str) -> Any:
    """The library's header of a file whose text was looked at before."""
    _check_lines(file, path)
    with parsing(path, "WFDB"):
        header = library.rdheader(_base(file))
    if not 0 <= header.n_sig <= _MAX_SIGNALS:
        raise FormatError(f"{header.n_sig} signals; at most {_MAX_SIGNALS} are read", path=path, field="record line")
    check_size((max(header.n_sig, 1), header.sig_len or 0), 8, path=path, field="number of samples")
    return header


def _check_lines(file: str, path: str) -> None:
    """Refuse a header with longer lines, or more of them, than the library parses in reasonable time."""
    lines = header_lines(read_input(file, most=_MAX_HEADER))
    record = RECORD_LINE.match(next(iter(lines.values()), ""))
    most = _MAX_SEGMENTS if record and record[1] else _MAX_SIGNALS
    for count, (number, line) in enumerate(lines.items()):
        if len(line) > _MAX_LINE:
            raise FormatError(
                f"{len(line):,} characters; at most {_MAX_LINE:,} are read", path=path, field=f"line {number}"
            )
        if count > most:
            raise FormatError(f"more than {most:,} signals or segments", path=path, field=f"line {number}")


def _check_files(header: Any, file: str, path: str) -> tuple[int, list[SignalFile], int]:
    """Each signal file must lie beside the header and hold what it says.

    Returns
    -------
    tuple
        The number of samples, the signal files, and their bytes.
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
    return samples, list(claims.values()), stored


def _claims(header: Any, file: str, path: str) -> dict[str, SignalFile]:
    """The signal files by their names."""
    names: Sequence[str] = header.file_name or []
    if not names or header.fmt is None:
        raise FormatError("the header describes no signals", path=path, field=os.path.basename(file))
    if len(names) != header.n_sig:
        raise FormatError(f"{header.n_sig} signals, {len(names)} described", path=path, field=os.path.basename(file))
    claims: dict[str, SignalFile] = {}
    for i, (name, form) in enumerate(zip(names, header.fmt)):
        field = f"signal {i}"
        gain, baseline = header.adc_gain[i], header.baseline[i]
        if gain is not None and not (np.isfinite(gain) and gain):
            raise FormatError(f"a gain of {shown(gain)}", path=path, field=field)
        if baseline is not None and abs(baseline) > _MAX_BASELINE:
            raise FormatError(f"a baseline of {shown(baseline)}", path=path, field=field)
        if name == "~" and form == "0":  # a layout names signals and has no file
            continue
        if form not in BITS:
            raise FormatError(f"the storage format {form[:20]} is not known", path=path, field=field)
        frame, start = header.samps_per_frame[i] or 1, header.byte_offset[i] or 0
        check_size((max(header.sig_len or 0, 1), frame), 8, path=path, field=field)
        claim = claims.setdefault(name, SignalFile(os.path.join(os.path.dirname(file), name), form, start))
        if (claim.form, claim.start) != (form, start):
            raise FormatError(
                f"a signal file in two formats: {claim.form}+{claim.start} and {form}+{start}",
                path=path,
                field=f"signal file {name}",
            )
        claim.add(i, header.init_value[i] or 0, frame, header.skew[i] or 0)
    return claims


def _size_beside(file: str, name: str, path: str) -> int:
    """The size of a signal file."""
    found = _beside(file, name, "signal file")
    try:
        return input_size(found, _MAX_SIGNAL_FILE)
    except FormatError as error:
        if error.path != found:
            raise
        raise FormatError(error.message, path=path, field=f"signal file {name}") from None


def _beside(path: str, name: str, field: str) -> str:
    """The path of a file that a header names; it must lie in the header's directory."""
    if not _PLAIN.match(name):
        raise FormatError(f"the name {shown(name)} is not that of a file beside the header", path=path, field=field)
    return os.path.join(os.path.dirname(path), name)


FORMAT = Format("WFDB", (".hea",), _matches, _read, is_part=_is_part, instead=_beside_its_header)
