"""GE CardioSoft XML (``CardiologyXML``): the rhythm (``StripData``), not the median beats, loops or full disclosure."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from .._text import short, shown
from ..ecg.record import Record
from ..errors import FormatError, SignalError
from .common import Format, Given, leads_record
from .xml import first_element, number, numbers, stated_count, tree

__all__ = ["FORMAT", "MAX_XML"]

#: Bytes of a file: hours of full disclosure, which is not read, may stand in it.
MAX_XML = 1 << 25

_ROOT, _RHYTHM = "CardiologyXML", "StripData"
_UNITS, _RATES = {"uvperlsb": 1e-3, "mvperlsb": 1.0, "nvperlsb": 1e-6}, {"hz": 1.0, "": 1.0}


def _read(path: str, given: Given) -> Record:
    root = tree(path, MAX_XML, {_ROOT})
    strips = list(root.iter(_RHYTHM))
    if not strips:
        others = [name for name in ("MedianSamples", "FullDisclosure") if root.find(f".//{name}") is not None]
        what = f"the file holds no rhythm strip{', but ' + ' and '.join(others) if others else ''}"
        raise FormatError(what, path=path, field=_RHYTHM, remedy="Export the resting ECG")
    strip = strips[0]
    rate, _ = _stated(strip, "SampleRate", _RATES, path)
    step, per = _stated(strip, "Resolution", _UNITS, path)
    waves = strip.findall("WaveformData")
    count = stated_count(strip.findtext("ChannelSampleCountTotal"), len(waves), path, "ChannelSampleCountTotal")
    leads = strip.findtext("NumberOfLeads")
    if leads is not None and number(leads, path, "NumberOfLeads") != len(waves):
        raise FormatError(f"{shown(leads)} leads are stated, {len(waves)} are there", path=path, field="NumberOfLeads")
    names = [wave.get("lead") or wave.get("Lead") or "" for wave in waves]
    rows = [numbers(wave.text, count, path, f"lead {short(name, 40)}") * step for wave, name in zip(waves, names)]
    notes = [f"read: strip 1 of {len(strips)}"] if len(strips) > 1 else []
    return leads_record(rows, names, path, given, rate=rate, units=f"{per[0]}V", notes=notes)


def _stated(strip: Element, name: str, units: dict[str, float], path: str) -> tuple[float, str]:
    """A number above 0, in Hz or millivolts, and the unit that it has in the file, in small letters."""
    value = number(strip.findtext(name), path, name, at_least=1e-9)
    element = strip.find(name)
    unit = (element.get("units") or "") if element is not None else ""
    if unit.strip().lower() not in units:
        raise SignalError(f"the unit {shown(unit)} is not known", path=path, field=name)
    return value * units[unit.strip().lower()], unit.strip().lower()


FORMAT = Format("GE CardioSoft XML", (".xml",), lambda head: first_element(head) == _ROOT, _read, side_files=True)
