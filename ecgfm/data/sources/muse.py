"""GE MUSE's XML: the rhythm waveform, and what the file says of patient, test, measurements and diagnosis."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

from ...io import read
from ...io.muse import muse_xml
from .base import Located, Recording, Rows, Source, check_columns, save_name
from .files import walk

__all__ = ["Muse"]

_SECTIONS = (
    "MuseInfo PatientDemographics TestDemographics Order RestingECGMeasurements OriginalRestingECGMeasurements"
    " Diagnosis OriginalDiagnosis QRSTimesTypes PharmaData"
).split()
_YEARS = {"YEARS": 1.0, "MONTHS": 1 / 12, "DAYS": 1 / 365}
_SEX = {"FEMALE": "1", "MALE": "0"}
_DERIVED = ("age", "sex", "patient_id", "acq_dt", "edit_dt", "dob")


class Muse(Source):
    """GE MUSE: a folder of XML files."""

    name = "muse"
    meta_columns = _DERIVED
    relists = True

    def records(self, raw_root: Any, processed_root: Any, **own: Any) -> Rows:
        """A row per ``.xml`` file below the folder: path."""
        return ["path"], ({"path": path} for path in self._files(raw_root))

    def _files(self, top: Any) -> Iterator[str]:
        self.ignored.clear()

        for path in walk(top, self.ignore):
            if path.lower().endswith(".xml"):
                yield path
            else:
                self.ignore(os.path.join(top, path), "not an .xml file")

    def files(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return (row["path"],)

    def locate(self, raw_root: Any, columns: Collection[str], *, reading: bool = True) -> Located:
        check_columns(columns, ["path"], raw_root)

        def located(row: Mapping[str, Any]) -> dict[str, Any]:
            stem, suffix = os.path.splitext(row["path"])
            if suffix.lower() != ".xml":  # the reference leaves it out
                stem, suffix = row["path"], ".xml"
            return {
                "path": os.path.join(raw_root or "", stem + suffix),
                "save_file": save_name(self.name, stem),
                "source": self.name,
                "dataset": row.get("dataset") or self.name,
            }

        return located

    def read(self, row: Mapping[str, Any]) -> Recording:
        record = read(row["path"])
        meta, tables = describe_muse(row["path"])
        return Recording(record.signal, record.sampling_rate, record.leads, meta, tables, record.derived)


def describe_muse(path: str) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """What a file says besides the signal.

    Returns
    -------
    meta : dict
        ``<section>_<field>`` -> text, with the statements of a diagnosis as one text; and in years, codes and ISO
        dates: age, sex (female 1, male 0), patient_id, acq_dt, edit_dt, dob. None where the file says UNKNOWN or
        nothing.
    tables : dict
        ``lead_data`` (a row per stored lead of the rhythm waveform) and ``qrs_data`` (a row per beat).
    """
    root = ElementTree.fromstring(muse_xml(path))
    meta: dict[str, Any] = {}
    tables: dict[str, list[dict[str, Any]]] = {}
    for section in root:
        if section.tag in _SECTIONS:
            meta.update(_fields(section))
        beats = [_leaves(beat) for beat in section.iter("QRS")] if section.tag == "QRSTimesTypes" else []
        if beats:
            tables["qrs_data"] = beats
    for wave in root.iter("Waveform"):
        if wave.findtext("WaveformType") == "Rhythm":
            meta.update((f"Waveform_{name}", text) for name, text in _leaves(wave).items())
            tables["lead_data"] = [_leaves(lead, but="WaveFormData") for lead in wave.iter("LeadData")]
            break
    meta = {name: None if text == "UNKNOWN" else text for name, text in meta.items()}
    return meta | _derived(meta), tables


def _leaves(element: ElementTree.Element, but: str | None = None) -> dict[str, Any]:
    """Name -> text of the fields directly below an element."""
    return {child.tag: _text(child.text) for child in element if not len(child) and child.tag != but}


def _fields(section: ElementTree.Element) -> dict[str, Any]:
    found = {f"{section.tag}_{name}": text for name, text in _leaves(section).items()}
    statements = [_text(text.text) for text in section.iter("StmtText")]
    if statements:
        found[f"{section.tag}_DiagnosisStatement"] = _text(" ".join(filter(None, statements)))
    return found


def _text(text: str | None) -> str | None:
    return re.sub(r"\s+", " ", text or "").strip() or None


def _derived(meta: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(_DERIVED)
    age, unit = meta.get("PatientDemographics_PatientAge"), meta.get("PatientDemographics_AgeUnits")
    with contextlib.suppress(TypeError, ValueError, KeyError):
        found["age"] = float(age) * _YEARS[unit]  # type: ignore[arg-type, index]
    found["sex"] = _SEX.get(str(meta.get("PatientDemographics_Gender")))
    number = meta.get("PatientDemographics_PatientID")
    found["patient_id"] = None if number is None or not number.strip("x") else number
    for name, day in (("acq", "Acquisition"), ("edit", "Edit")):
        parts = meta.get(f"TestDemographics_{day}Date"), meta.get(f"TestDemographics_{day}Time")
        found[f"{name}_dt"] = _date(" ".join(filter(None, parts)), "%m-%d-%Y %H:%M:%S")
    found["dob"] = _date(meta.get("PatientDemographics_DateofBirth"), "%m-%d-%Y")
    return found


def _date(text: str | None, form: str) -> str | None:
    try:
        found = datetime.strptime(text or "", form)
    except ValueError:
        return None
    return found.isoformat(sep=" ") if "%H" in form else found.date().isoformat()
