"""XML of Mortara's ELI electrocardiographs (``ECG``): the channels of the rhythm, not the typical cycle.

The maker has published no description: what is read is what other readers of such files agree on.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from .._text import short, shown
from ..ecg.record import Record
from ..errors import FormatError, LeadError, SignalError
from .common import Format, Given, leads_record
from .xml import first_element, from_base64, number, tree

__all__ = ["FORMAT"]

_MAX_XML, _MAX_LEADS = 1 << 22, 64  # bytes, 20 times what a usual file has
_ROOT, _CHANNEL = "ECG", "CHANNEL"
_STORED = {"BITS": "16", "FORMAT": "SIGNED", "ENCODING": "BASE64"}


def _read(path: str, given: Given) -> Record:
    channels = tree(path, _MAX_XML, {_ROOT}).findall(_CHANNEL)
    if not channels:
        raise FormatError("the file holds no channels", path=path, field=_CHANNEL)
    if len(channels) > _MAX_LEADS:
        raise LeadError(f"{len(channels):,} channels; at most {_MAX_LEADS} are read", path=path, field=_CHANNEL)
    names = [channel.get("NAME", "") for channel in channels]
    rates = {number(channel.get("SAMPLE_FREQ"), path, "SAMPLE_FREQ", at_least=1) for channel in channels}
    if len(rates) > 1:
        what = f"leads of several rates, {min(rates):g} to {max(rates):g} Hz"
        raise SignalError(what, path=path, field="SAMPLE_FREQ")
    rate = rates.pop()
    rows = [_millivolts(channel, rate, path, f"lead {short(name, 40)}") for channel, name in zip(channels, names)]
    return leads_record(rows, names, path, given, rate=rate, units="mV")


def _millivolts(channel: Element, rate: float, path: str, field: str) -> NDArray[np.float64]:
    for name, known in _STORED.items():
        kind = channel.get(name, known).strip()
        if kind.upper() != known:
            raise FormatError(f"{name} {shown(kind)} is not read, only {known}", path=path, field=field)
    if number(channel.get("OFFSET", "0"), path, f"{field}: OFFSET") != 0:
        raise SignalError("an OFFSET other than 0, whose meaning is not known", path=path, field=field)
    per_millivolt = number(channel.get("UNITS_PER_MV"), path, f"{field}: UNITS_PER_MV", at_least=1e-9)
    raw = from_base64(channel.get("DATA") or channel.text or "", path, field)
    if not raw or len(raw) % 2:
        raise FormatError(f"{len(raw):,} bytes are no samples of 16 bits", path=path, field=field)
    count = len(raw) // 2
    stated = number(channel.get("DURATION", str(count)), path, f"{field}: DURATION")
    if count not in (stated, round(stated * rate / 1000)):  # it is their number, or their time in ms
        what = f"{'truncated: ' * (count < stated)}{stated:g} samples are stated, {count:,} are there"
        raise FormatError(what, path=path, field=field)
    return np.frombuffer(raw, "<i2") / per_millivolt


FORMAT = Format("Mortara XML", (".xml",), lambda head: first_element(head) == _ROOT, _read, side_files=True)
