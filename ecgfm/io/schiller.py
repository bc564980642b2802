"""Schiller XML (SEMA EDI): the rhythm (``ECG_RHYTHMS``), not the averages that stand before it."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from .._text import short, shown
from ..ecg.record import Record
from ..errors import FormatError, SignalError
from .common import Format, Given, leads_record, millivolts_per
from .xml import first_element, number, numbers, stated_count, tree

__all__ = ["FORMAT", "MAX_XML"]

#: Bytes of a file, 25 times what a usual one has.
MAX_XML = 1 << 23

_ROOT = "com.xiriuz.sema.xml.schillerEDI.SchillerEDI"
_RHYTHM, _LIST = "ECG_RHYTHMS", "COMMASEPARATE"


def _read(path: str, given: Given) -> Record:
    root = tree(path, MAX_XML, {_ROOT})
    waves = {wave: (wave.findtext("type") or "").strip() for wave in root.iter("wavedata")}
    rhythms = [wave for wave, kind in waves.items() if kind == _RHYTHM]
    if not rhythms:
        what = f"the file holds no rhythm, but {short(', '.join(waves.values()), 100) or 'no waves'}"
        raise FormatError(what, path=path, field=_RHYTHM)
    wave = rhythms[0]
    rate = number(wave.findtext("resolution/samplerate/value"), path, "samplerate", at_least=1)
    exponent = wave.findtext("resolution/samplerate/exponent")
    if exponent is not None and number(exponent, path, "samplerate exponent") != 1:
        raise FormatError(f"a rate with the exponent {shown(exponent)} is not read", path=path, field="samplerate")
    unit = (wave.findtext("resolution/yres/units") or "").strip()
    factor = millivolts_per(unit)
    if factor is None:
        raise SignalError(f"the unit {shown(unit)} is no voltage", path=path, field="yres")
    step = number(wave.findtext("resolution/yres/unitperbit"), path, "unitperbit", at_least=1e-9)
    channels = wave.findall("channel")
    names = [(channel.findtext("name") or "").strip() for channel in channels]
    rows = [_counts(channel, name, len(channels), path) * (step * factor) for channel, name in zip(channels, names)]
    notes = [f"read: rhythm 1 of {len(rhythms)}"] if len(rhythms) > 1 else []
    return leads_record(rows, names, path, given, rate=rate, units=unit, notes=notes)


def _counts(channel: Element, name: str, leads: int, path: str) -> NDArray[np.float64]:
    """The samples of a lead, as stored."""
    field = f"lead {short(name, 40)}"
    kind = (channel.findtext("datastype") or _LIST).strip()
    if kind != _LIST:
        raise FormatError(f"samples stored as {shown(kind)} are not read", path=path, field=field)
    count = stated_count(channel.findtext("samplecount"), leads, path, f"{field}: samplecount")
    return numbers(channel.findtext("data"), count, path, field)


FORMAT = Format("Schiller XML", (".xml",), lambda head: first_element(head) == _ROOT, _read, side_files=True)
