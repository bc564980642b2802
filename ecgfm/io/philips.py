"""Philips XML (SierraECG, PageWriter): the rhythm, packed as XLI or plain. What was seen are versions 1.03 and 1.04.

The recording ends with a pulse of 1 mV in all leads, which is no ECG: it is cut off.
"""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from .._text import short, shown
from ..ecg.record import Record
from ..errors import FormatError, LeadError
from ..signal.leads import LEADS
from .common import Format, Given, leads_record
from .xli import unpacked
from .xml import first_element, from_base64, number, numbers, tree

__all__ = ["FORMAT", "MAX_XML"]

#: Bytes of a file, 20 times what a usual one has.
MAX_XML = 1 << 22

_ROOT = "restingecgdata"
_TYPES, _VERSIONS = ("SierraECG", "PhilipsECG"), ("1.03", "1.04")
_STANDARD = ("STD-12", "10-WIRE")
_DATA = "parsedwaveforms"
_MAX_LEADS, _MAX_SAMPLES = 64, 1 << 21
_TAIL_S, _PULSE_S = 1.0, 0.05  # where the pulse is looked for, and how long it lasts at least


def _read(path: str, given: Given) -> Record:
    root = tree(path, MAX_XML, {_ROOT})
    wave = root.find(f"waveforms/{_DATA}")
    if wave is None:
        raise FormatError("the file holds no rhythm", path=path, field=_DATA)
    about = _About(root, wave, path)
    rate = number(about.text("samplespersecond", "samplingrate"), path, "samplingrate", at_least=1)
    step = number(about.text("resolution", "resolution", "signalresolution"), path, "resolution", at_least=1e-9)
    offset = number(about.text("signaloffset", "signaloffset") or "0", path, "signaloffset")
    names, notes = about.leads()
    counts = _samples(about, names, rate, path)
    signal = (np.stack(counts) - offset) * (step / 1000)
    end = _calibration(signal, rate)
    if end is not None:
        notes.append(f"the calibration pulse is cut off: what comes after {end / rate:g} s")
    notes = [*_foreign(root), *notes]
    return leads_record(list(signal[:, :end]), names, path, given, rate=rate, units="uV", notes=notes)


class _About:
    """What a file says of its rhythm: of the samples themselves, else of how they were recorded."""

    def __init__(self, root: Element, wave: Element, path: str) -> None:
        self.wave, self.path = wave, path
        self._recorded = root.find("dataacquisition/signalcharacteristics")

    def text(self, attribute: str, *elements: str) -> str:
        """The text of an attribute, else of the first element that has one; empty if there is none."""
        found = self.wave.get(attribute, "").strip()
        for name in elements:
            stated = self._recorded.findtext(name) if self._recorded is not None else None
            found = found or (stated or "").strip()
        return found

    def leads(self) -> tuple[list[str], list[str]]:
        """The names of the leads, and what was assumed of them."""
        names = self.wave.get("leadlabels", "").replace(",", " ").split()
        if names:
            text = self.wave.get("numberofleads", "").strip() or str(len(names))
        else:
            text = self.text("numberofleads", "numberchannelsvalid", "numberchannelsallocated")
        count = number(text, self.path, "numberofleads", at_least=1)
        if count > _MAX_LEADS or count % 1 or (names and count > len(names)):
            what = f"{shown(text)} leads, of which {len(names)} are named"
            raise FormatError(what, path=self.path, field="numberofleads")
        if names:
            return names[: int(count)], []
        stated = self.text("leadset", "leadset"), self.text("acquisitiontype", "acquisitiontype")
        is_standard = any(name.upper() in _STANDARD for name in stated)
        if count != len(LEADS) and not (is_standard and count > len(LEADS)):
            raise LeadError(f"{int(count)} leads that are not named", path=self.path, field="leadlabels")
        return list(LEADS), [] if is_standard else ["leads assumed in the order I II III aVR aVL aVF V1-V6"]


def _samples(about: _About, names: list[str], rate: float, path: str) -> list[NDArray[Any]]:
    """The samples of each lead, as stored."""
    duration = number(about.wave.get("durationperchannel"), path, "durationperchannel", at_least=0)
    count = round(min(duration * rate / 1000, 1e12))
    if count * len(names) > _MAX_SAMPLES:
        what = f"{count:,} samples of {len(names)} leads; {_MAX_SAMPLES:,} are read"
        raise FormatError(what, path=path, field="durationperchannel")
    text, encoding = "".join(about.wave.itertext()), about.wave.get("dataencoding", "")
    packing = about.wave.get("compression") or about.wave.get("compressmethod") or ""
    if about.wave.get("compressflag", "True").lower() == "false" or packing.lower() in ("", "none", "uncompressed"):
        packing = ""
    if not count or encoding not in ("Base64", "Plain") or packing.upper() not in ("", "XLI"):
        what = f"{count} samples in {shown(encoding)}, packed as {shown(packing)}" if count else "no samples"
        raise FormatError(f"{what} are not read", path=path, field=_DATA)
    bits = about.text("bitspersample", "bitspersample") or about.wave.get("nbitspersample") or "16"
    signed = (about.text("signalsigned", "signalsigned") or "True").lower() != "false"
    if encoding == "Plain":
        return list(numbers(text, count * len(names), path, _DATA).reshape(len(names), count))
    if bits != "16" or (packing and not signed):
        raise FormatError(f"samples of {shown(bits)} bits are not read", path=path, field=_DATA)
    raw = from_base64(text, path, _DATA)
    if packing:
        return _restored(unpacked(raw, len(names), count, path, _DATA), names, path)
    if len(raw) != 2 * count * len(names):
        what = f"{count:,} samples of {len(names)} leads take {2 * count * len(names):,} bytes, {len(raw):,} are there"
        raise FormatError(what, path=path, field=_DATA)
    return list(np.frombuffer(raw, "<i2" if signed else "<u2").reshape(len(names), count).astype(np.float64))


def _restored(counts: list[NDArray[np.int64]], names: list[str], path: str) -> list[NDArray[np.int64]]:
    """The leads, of which III, aVR, aVL and aVF are packed as what differs from what follows from I and II."""
    if [name.lower() for name in names[:6]] != [name.lower() for name in LEADS[:6]]:
        if {name.lower() for name in names} & {name.lower() for name in LEADS[2:6]}:
            what = f"packed leads in an order that is not known: {short(' '.join(names), 100)}"
            raise FormatError(what, path=path, field="leadlabels")
        return counts
    one, two, *rest = counts
    three = two - one - rest[0]
    limbs = [three, -rest[1] - (one + two) // 2, (one - three) // 2 - rest[2], (two + three) // 2 - rest[3]]
    return [one, two, *limbs, *rest[4:]]


def _calibration(signal: NDArray[np.float64], rate: float) -> int | None:
    """Where what is no ECG begins: all leads are the same from there on, and make a step of 1 mV; None if nowhere."""
    samples = signal.shape[1]
    tail = signal[:, -min(samples - 1, round(_TAIL_S * rate)) :] if len(signal) > 1 and samples > 1 else signal[:, :0]
    if not tail.shape[1]:
        return None
    differs = np.flatnonzero((tail != tail[0]).any(axis=0))
    start = int(differs[-1]) + 1 if len(differs) else 0
    pulse = np.abs(tail[0, start:] - 1) < 1e-6
    return samples - tail.shape[1] + start if pulse.sum() >= _PULSE_S * rate else None


def _foreign(root: Element) -> list[str]:
    """What is to be said of a document that is none of those that were seen."""
    kind = (root.findtext("documentinfo/documenttype") or "").strip()
    version = (root.findtext("documentinfo/documentversion") or "").strip()
    if kind in _TYPES and version[:4] in _VERSIONS:
        return []
    return [f"the document says that it is {shown(kind, 40)} {shown(version, 20)}; read as Philips XML of 1.03 or 1.04"]


FORMAT = Format("Philips XML", (".xml",), lambda head: first_element(head) == _ROOT, _read, side_files=True)
