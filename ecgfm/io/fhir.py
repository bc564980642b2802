"""FHIR: an ``Observation`` whose leads are ``SampledData``, alone or as the only one of a ``Bundle``.

A sample is a number times ``factor`` plus ``origin``, in the unit of ``origin``. Without a unit it is no voltage, and
is not read.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import short, shown
from ..ecg.record import Record
from ..errors import FormatError, LeadError, SignalError
from ..signal.leads import LEADS, canonical_lead, is_lead
from ..storage.inputs import read_input
from ..storage.json import parse_json
from . import kardia
from .common import Format, Given, leads_record, millivolts_per

__all__ = ["FORMAT"]

_MAX_SAMPLES, _MAX_LEADS = 2_000_000, 64
_RESOURCE = re.compile(rb'"resourceType"\s*:\s*"[A-Za-z]{1,64}"')
_MDC = {str(131328 + number): name for number, name in zip((1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), LEADS)}
_PREFIX = re.compile(r"^MDC_ECG_(ELEC_POTL_)?", re.IGNORECASE)
_MISSING = {"E", "U", "L"}  # no value; above and below what can be measured
_WORDS = re.compile(r"[0-9+\-.eEUL\s]*")
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_EXPORT = "Export the recording as DICOM, HL7 aECG or WFDB"


def _read(path: str, given: Given) -> Record:
    raw = read_input(path, most=kardia.MAX_JSON).removeprefix(BOM_UTF8)
    content = parse_json(raw, path=path, most=kardia.MAX_VALUES)
    if kardia.is_recording(content):  # whose keys stand after what is looked at
        return kardia.record_of(content, path, given)
    observation = _observation(content, path)
    parts = observation.get("component") if "valueSampledData" not in observation else [observation]
    parts = [part for part in _objects(parts) if isinstance(part.get("valueSampledData"), dict)]
    if not parts or len(parts) > _MAX_LEADS:
        raise FormatError(f"a FHIR Observation with {len(parts)} leads as SampledData", path=path, field="component")
    leads = [_Lead(part, number, path) for number, part in enumerate(parts, start=1)]
    rates = sorted({lead.rate() for lead in leads})
    if len(rates) > 1:
        raise FormatError(f"leads of different rates: {rates[0]:g} to {rates[-1]:g} Hz", path=path, field="period")
    unit = {lead.unit() for lead in leads}
    notes: list[str] = []
    rows = [lead.millivolts(len(leads), notes) for lead in leads]
    names = [lead.name for lead in leads]
    shared = unit.pop() if len(unit) == 1 else ""
    return leads_record(rows, names, path, given, rate=rates[0], units=shared, notes=dict.fromkeys(notes))


def _objects(value: Any) -> list[dict[str, Any]]:
    """The JSON objects in a list; none if it is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _observation(content: Any, path: str) -> dict[str, Any]:
    """The one Observation with SampledData of a resource."""
    kind = content.get("resourceType") if isinstance(content, dict) else None
    if kind == "Observation":
        return content  # type: ignore[no-any-return]
    if kind != "Bundle":
        what = f"a FHIR resource of the type {shown(kind)}" if kind else "no FHIR resource"
        raise FormatError(f"{what}, not an Observation", path=path, field="resourceType")
    found = [entry.get("resource") for entry in _objects(content.get("entry"))]
    sampled = [
        each
        for each in found
        if isinstance(each, dict)
        and each.get("resourceType") == "Observation"
        and any("valueSampledData" in part for part in [each, *_objects(each.get("component"))])
    ]
    if len(sampled) != 1:
        what = f"a FHIR Bundle with {len(sampled)} Observations that hold SampledData"
        raise FormatError(what, path=path, field="entry", remedy="Save one Observation in a file of its own")
    return sampled[0]


class _Lead:
    """A lead: its name, and what says what its samples are worth."""

    def __init__(self, part: dict[str, Any], number: int, path: str) -> None:
        self.data: dict[str, Any] = part["valueSampledData"]
        self.path, self.field = path, f"lead {number}"
        self.name = self._name(part)
        self.field = f"lead {short(self.name, 40)}"
        dimensions = self.data.get("dimensions", 1)
        if dimensions != 1:
            what = f"{shown(dimensions)} dimensions in one SampledData are not read"
            raise FormatError(what, path=path, field=f"{self.field}: dimensions")

    def _name(self, part: dict[str, Any]) -> str:
        code = part.get("code")
        code = code if isinstance(code, dict) else {}
        texts: list[str] = []
        for coding in _objects(code.get("coding")):
            number = str(coding.get("code", "")).rpartition("#")[2]
            texts += [_MDC.get(number, ""), str(coding.get("display", "")), _PREFIX.sub("", number)]
        texts.append(str(code.get("text", "")))
        names = [canonical_lead(_PREFIX.sub("", text.strip())) for text in texts if text.strip()]
        name = next((name for name in names if is_lead(name)), names[0] if names else None)
        if name is None:
            raise LeadError("nothing names the lead", path=self.path, field=f"{self.field}: code")
        return name

    def _number(self, value: Any, name: str) -> float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        found = float(value) if is_number and abs(value) < 1e300 else np.nan
        if np.isnan(found):
            raise FormatError(f"{shown(value)} is no number", path=self.path, field=f"{self.field}: {name}")
        return found

    def rate(self) -> float:
        """In Hz: from the period in ms (R4), or an interval with its unit (R5)."""
        if "interval" in self.data:
            unit = self.data.get("intervalUnit")
            if not isinstance(unit, str) or unit.lower() not in {*_SECONDS, "hz", "/s"}:
                raise FormatError(f"the unit {shown(unit)} is no time", path=self.path, field=f"{self.field}: interval")
            step, scale = self._number(self.data["interval"], "interval"), _SECONDS.get(unit.lower())
        else:
            step, scale = self._number(self.data.get("period"), "period"), 1e-3
        if not step > 0:
            raise FormatError(f"{step:g} gives no sampling rate", path=self.path, field=f"{self.field}: period")
        return step if scale is None else float(f"{1 / (step * scale):.9g}")

    def _origin(self) -> dict[str, Any]:
        origin = self.data.get("origin")
        if not isinstance(origin, dict):
            what = "a FHIR Observation without an origin, which would state the unit"
            raise SignalError(what, path=self.path, field=f"{self.field}: origin", remedy=_EXPORT)
        return origin

    def unit(self) -> str:
        """Of the samples."""
        stated = [self._origin().get(key) for key in ("code", "unit")]
        if not any(stated):
            what = "a FHIR Observation whose origin has no unit: what its samples are worth is not known"
            raise SignalError(what, path=self.path, field=f"{self.field}: origin", remedy=_EXPORT)
        unit = next((unit for unit in stated if millivolts_per(unit) is not None), None)
        if unit is None:
            what = f"the unit {shown(next(filter(None, stated)))} is no voltage"
            raise SignalError(what, path=self.path, field=f"{self.field}: origin")
        return str(unit)

    def millivolts(self, leads: int, notes: list[str]) -> NDArray[np.float64]:
        """(samples,): the numbers times the factor, plus the origin."""
        values = self._values(leads, notes)
        factor = self._number(self.data.get("factor", 1), "factor")
        if not factor:
            raise SignalError("a factor of 0 is no voltage", path=self.path, field=f"{self.field}: factor")
        origin = self._number(self._origin().get("value", 0), "origin")
        millivolts = millivolts_per(self.unit())
        with np.errstate(over="ignore"):
            return (values * factor + origin) * (millivolts or 1.0)

    def _values(self, leads: int, notes: list[str]) -> NDArray[np.float64]:
        """The numbers as they stand; NaN where there is none."""
        text = self.data.get("data")
        if not isinstance(text, str) or not text.strip():
            raise FormatError("there are no samples", path=self.path, field=f"{self.field}: data")
        if not _WORDS.fullmatch(text):
            raise FormatError("samples that are no numbers", path=self.path, field=f"{self.field}: data")
        words = text.split()
        if len(words) * leads > _MAX_SAMPLES:
            raise FormatError(
                f"{len(words):,} samples of {leads} leads; {_MAX_SAMPLES:,} are read",
                path=self.path,
                field=f"{self.field}: data",
            )
        if not _MISSING.isdisjoint(words):
            notes.append("samples that were not measured, or lie beyond the range, are missing")
            words = ["nan" if word in _MISSING else word for word in words]
        try:
            return np.array(words, dtype=np.float64)
        except ValueError:
            raise FormatError("samples that are no numbers", path=self.path, field=f"{self.field}: data") from None


def _matches(head: bytes) -> bool:
    return head.removeprefix(BOM_UTF8).lstrip()[:1] == b"{" and _RESOURCE.search(head) is not None


FORMAT = Format("FHIR Observation", (".json",), _matches, _read, side_files=True)
