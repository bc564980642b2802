"""Recordings of AliveCor's Kardia API (JSON): the samples as measured (``data.raw``), of one lead or six."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import short, shown
from ..ecg.record import Record
from ..errors import FormatError, SignalError
from ..storage.inputs import read_input
from ..storage.json import parse_json
from .common import Format, Given, leads_record

__all__ = ["FORMAT", "MAX_JSON", "MAX_VALUES", "is_recording", "record_of"]

#: Bytes and values of a JSON file.
MAX_JSON, MAX_VALUES = 1 << 23, 500_000

_KEYS = re.compile(rb'"(recordedAt|algorithmDetermination|amplitudeResolution|mainsFrequency)"\s*:')
_MAX_LEADS = 64


def _read(path: str, given: Given) -> Record:
    content = parse_json(read_input(path, most=MAX_JSON).removeprefix(BOM_UTF8), path=path, most=MAX_VALUES)
    return record_of(content, path, given)


def is_recording(content: Any) -> bool:
    """Whether a JSON value has the form of such a recording."""
    data = content.get("data") if isinstance(content, dict) else None
    return isinstance(data, dict) and isinstance(data.get("raw"), dict)


def record_of(content: Any, path: str, given: Given) -> Record:
    """The recording in a JSON value; raises as `ecgfm.read` does."""
    if isinstance(content, dict) and "data12L" in content:
        what = "12 leads of Kardia, which do not state what a sample is worth, are not read"
        raise FormatError(what, path=path, field="data12L")
    if not is_recording(content):
        raise FormatError("there is no data.raw", path=path, field="data")
    raw = content["data"]["raw"]
    rate = _positive(raw.get("frequency"), path, "data.raw.frequency")
    step = _positive(raw.get("amplitudeResolution"), path, "data.raw.amplitudeResolution")
    samples = raw.get("samples")
    if not isinstance(samples, dict) or len(samples) > _MAX_LEADS:
        raise FormatError(f"{shown(samples)} are no samples of leads", path=path, field="data.raw.samples")
    rows = [_counts(values, path, f"lead {short(name, 40)}") * (step * 1e-6) for name, values in samples.items()]
    return leads_record(rows, list(samples), path, given, rate=rate, units="nV")


def _positive(value: Any, path: str, field: str) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value < 1e12:
        raise SignalError(f"{shown(value)} is not a number above 0", path=path, field=field)
    return float(value)


def _counts(values: Any, path: str, field: str) -> NDArray[np.float64]:
    """(samples,) as stored."""
    if not isinstance(values, list) or not values or not all(type(value) in (int, float) for value in values):
        raise FormatError("samples that are no list of numbers", path=path, field=field)
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        raise FormatError("a sample beyond what a number can hold", path=path, field=field) from None


def _matches(head: bytes) -> bool:
    text = head.removeprefix(BOM_UTF8).lstrip()
    return text[:1] == b"{" and b'"resourceType"' not in text and len(set(_KEYS.findall(text))) >= 2


FORMAT = Format("AliveCor Kardia JSON", (".json",), _matches, _read, side_files=True)
