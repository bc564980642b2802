"""MATLAB 5 files: the stages of ECG-FM's preprocessing (``org``, ``preprocessed``, ``segmented``), and structs."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

import numpy as np

from .._text import short
from ..ecg.record import Record
from ..errors import FormatError, SignalError
from ..signal.checks import UNIT_ASSUMED
from ..signal.leads import LEADS
from ..storage.inputs import read_head
from ..storage.mat import MatFile, Variable
from ..storage.mat_struct import Node
from .common import LEAD_KEYS, RATE_KEYS, SIGNAL_KEYS, UNIT_KEYS, Format, Given, first_key, in_millivolts, make_record
from .mat_parts import found_in

__all__ = ["FORMAT"]

_STAGE = frozenset(("curr_sample_rate", "idx"))  # names in the stages
_COUNTS = "val"  # of PhysioNet's Challenges: the signal file of a WFDB record
_MAX_NAME = 64
_UNITS = "units_per_mV"


def _matches(head: bytes) -> bool:
    return head[124:128] in (b"\x00\x01IM", b"\x01\x00MI") or head.startswith(b"MATLAB 7.3")


def _read(path: str, given: Given) -> Record:
    _refuse_version_4(path)
    with MatFile(path) as file:
        shapes = {name: found.shape for name, found in file.variables.items() if found.what == "numbers"}
        key, rate_key = first_key(SIGNAL_KEYS, shapes), first_key(RATE_KEYS, shapes)
        if key is None:
            return _of_structs(file, path, given)
        wanted = [name for name in (key, rate_key, "segment_i", "mean", "std", _UNITS) if name in shapes]
        for name in wanted:
            if name in (rate_key, "segment_i", _UNITS) and shapes[name] != (1, 1):
                raise FormatError(f"not one number but an array of shape {shapes[name]}", path=path, field=name)
        found = file.read(wanted)
        leads, unit = _said(file, path)
    is_stage = shapes[key][0] == len(LEADS) and not _STAGE.isdisjoint(shapes)
    standardised = "mean" in found and "std" in found
    record = make_record(
        in_millivolts(found[key], None if _UNITS in found else unit, path, "unit"),
        path,
        # The order of leads is the one that every stage is written in.
        Given(given.sampling_rate, LEADS) if is_stage and given.leads is None else given,
        field=key,
        rate=found[rate_key].item() if rate_key else None,
        leads=leads,
        units=unit,
        notes=("standardised in the file",) if standardised else (),
        standardised=standardised,
    )
    if _UNITS in found and not standardised:  # as `ecgfm preprocess --for` writes it for a model of another unit
        units = found[_UNITS].item()
        if not 1e-6 <= units <= 1e9:
            raise FormatError(f"{units} is no number of units", path=path, field=_UNITS)
        record.signal /= np.float32(units)
        record.units, record.notes = ("",) * len(record.leads), tuple(n for n in record.notes if n != UNIT_ASSUMED)
    if "segment_i" in found:
        index = found["segment_i"].item()
        if not 0 <= index < 1 << 31:
            raise FormatError(f"{index} is no segment number", path=path, field="segment_i")
        record.start_s = float(index) * record.duration_s
    return record


def _said(file: MatFile, path: str) -> tuple[list[str] | None, str | None]:
    """The names of the leads and the unit, as texts beside the signal say; None where they don't."""
    wanted = [key for keys in (LEAD_KEYS, UNIT_KEYS) if (key := first_key(keys, file.variables))]
    texts = {key: file.parts(key) for key in wanted if file.variables[key].what in ("text", "a cell array")}
    leads, unit = (texts.get(first_key(keys, texts) or "") for keys in (LEAD_KEYS, UNIT_KEYS))
    names = list(leads.split(",")) if isinstance(leads, str) else leads
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise FormatError("not a list of names", path=path, field="leads")
    return None if names is None else list(map(str, names)), unit if isinstance(unit, str) and unit else None


def _of_structs(file: MatFile, path: str, given: Given) -> Record:
    """The recording that lies within structs."""
    structs = [name for name, variable in file.variables.items() if variable.what == "a struct" and name]
    if _COUNTS in file.variables or not structs:
        raise _no_signal(file.variables, path)
    beside = [
        name for name, variable in file.variables.items() if variable.shape == (1, 1) and variable.what == "numbers"
    ]
    parts: dict[str, Node] = {**file.read(beside), **{name: file.parts(name) for name in structs}}
    found = found_in(parts, path)
    if found is None:
        raise _no_signal(file.variables, path)
    if found.scale is not None and found.unit is None and given.unit is None:
        raise SignalError(
            f"a field {found.scale!r} stands beside it and no unit: its numbers may be counts",
            path=path,
            field=found.name,
            remedy="Say what they are in: unit='mV' (--unit mV)",
        )
    return make_record(
        in_millivolts(found.signal, found.unit, path, found.name),
        path,
        given,
        field=found.name,
        rate=found.rate if found.notes == () or given.sampling_rate is None else None,
        leads=found.leads,
        units=found.unit,
        notes=found.notes if given.sampling_rate is None else (),
    )


def _no_signal(variables: Mapping[str, Variable], path: str) -> FormatError:
    """The error that says what a file holds instead."""
    if _COUNTS in variables:
        return _counts_alone(path, "the array 'val'")
    some = [f"{short(v.name, _MAX_NAME)} ({v.what})" for v in list(variables.values())[:10] if v.name]
    return FormatError(
        f"no array is named {' or '.join(SIGNAL_KEYS)}; there are {', '.join(some) or 'none'}",
        path=path,
        field="signal",
        remedy="Save the signal in millivolts as the array 'signal' (leads in rows), its rate in Hz as 'sampling_rate'",
    )


def _counts_alone(path: str, what: str) -> FormatError:
    header = f"{os.path.splitext(path)[0]}.hea"
    return FormatError(
        f"{what}, as PhysioNet's Challenges have it: numbers whose unit, rate and leads stand in a WFDB header",
        path=path,
        field=_COUNTS,
        remedy=f"Name its header, {header}" if os.path.isfile(header) else "Put its header (.hea) beside it; name that",
    )


def _refuse_version_4(path: str) -> None:
    """MATLAB 4 has no signature: a type, rows, columns, whether imaginary, and the length of the name that follows."""
    head = read_head(path, 20 + _MAX_NAME)
    for order in "<>" if len(head) >= 22 else "":
        kind, rows, columns, imaginary, length = struct.unpack_from(f"{order}5i", head)
        name = head[20 : 20 + max(length, 0)].rstrip(b"\0").decode("ascii", "replace")
        plausible = 0 <= kind < 5000 and rows > 0 and columns > 0 and imaginary in (0, 1) and 2 <= length <= _MAX_NAME
        if not plausible or not name.isidentifier():
            continue
        if name == _COUNTS:
            raise _counts_alone(path, f"the array 'val' of shape ({rows}, {columns})")
        raise FormatError(
            f"a MATLAB 4 file with the array {name}; that version is not read",
            path=path,
            remedy="Save it as version 7 (save -v7)",
        )


FORMAT = Format("MATLAB 5 .mat", (".mat",), _matches, _read)
