"""MIMIC-IV-ECG: ``record_list.csv``, ``machine_measurements.csv`` and WFDB records below ``files/``."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from ..._text import shown
from ...errors import ConfigError, FormatError
from ...storage.rows import read_rows, write_rows
from .base import Located, Recording, Rows, Source, check_columns, save_name
from .wfdb_files import read_wfdb, wfdb_files

__all__ = ["MimicIvEcg"]

_INSIDE = "mimic-iv-ecg-diagnostic-electrocardiogram-matched-subset-1.0"
_LIST = ("subject_id", "study_id", "ecg_time", "path")
_SEX = {"F": "1", "M": "0"}
_MARKERS = {"51003": "Troponin T", "50911": "Creatine Kinase, MB Isoenzyme"}
_PATIENT = ("sex", "anchor_age", "anchor_year", "anchor_day_offset", "dod", "anchor_year_dt", "age")
_LONGEST_TIME = 64  # characters


class MimicIvEcg(Source):
    """MIMIC-IV-ECG: record_list.csv with the machine's reports, joined by study."""

    name = "mimic_iv_ecg"
    meta_columns = ("units",)

    def arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--mimic_iv_root",
            metavar="DIR",
            help="MIMIC-IV, for age, sex, date of death (hosp/patients.csv.gz) and cardiac markers "
            "(hosp/labevents.csv.gz)",
        )

    def own(self, args: Namespace) -> dict[str, Any]:
        return {"mimic_iv_root": args.mimic_iv_root}

    def records(self, raw_root: Any, processed_root: Any, mimic_iv_root: Any = None, **own: Any) -> Rows:
        """The rows of ``record_list.csv`` with ``machine_report``, joined by study; with MIMIC-IV also of the patient.

        With MIMIC-IV, ``patients.csv`` and ``cardiac_markers.csv`` are written beside it.
        """
        top = _top(raw_root)
        columns, rows = read_rows(os.path.join(top, "record_list.csv"), _LIST)
        reports = _reports(os.path.join(top, "machine_measurements.csv"))
        patients = None
        if mimic_iv_root is not None:
            if not os.path.isdir(mimic_iv_root):
                raise ConfigError("there is no such directory", path=mimic_iv_root, field="mimic_iv_root")
            patients = _patients(os.path.join(mimic_iv_root, "hosp", "patients.csv.gz"))
            markers = _markers(os.path.join(mimic_iv_root, "hosp", "labevents.csv.gz"))
            write_rows(os.path.join(processed_root, "cardiac_markers.csv"), *markers)
            write_rows(
                os.path.join(processed_root, "patients.csv"),
                ["subject_id", *_PATIENT[:-1]],
                ({"subject_id": subject, **patient} for subject, patient in patients.items()),
            )
        columns = [*columns, *(_PATIENT if patients is not None else ()), "machine_report"]
        return columns, (_joined(row, reports, patients, raw_root) for row in rows)

    def locate(self, raw_root: Any, columns: Collection[str], *, reading: bool = True) -> Located:
        check_columns(columns, ["path"], raw_root)
        top = _top(raw_root) if raw_root is not None else ""

        def located(row: Mapping[str, Any]) -> dict[str, Any]:
            return {
                "path": os.path.join(top, row["path"]),
                "save_file": save_name(self.name, row["path"].removeprefix("files/")),
                "source": self.name,
                "dataset": self.name,
            }

        return located

    def files(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return wfdb_files(row["path"])

    def read(self, row: Mapping[str, Any]) -> Recording:
        return read_wfdb(row["path"])[0]


def _top(raw_root: Any) -> Any:
    inside = os.path.join(raw_root, _INSIDE)
    return inside if os.path.isdir(inside) else raw_root


def _reports(path: str) -> dict[str, str]:
    """Study -> its report: the texts of report_0 ... that are not empty, joined."""
    columns, rows = read_rows(path, ("study_id", "report_0"))
    texts = [name for name in columns if name.startswith("report_")]
    found: dict[str, str] = {}
    for row in rows:
        report = "; ".join(row[name].strip() for name in texts if row[name].strip())
        if found.setdefault(row["study_id"], report) != report:
            raise FormatError(f"two different reports of study {row['study_id']}", path=path, field="study_id")
    return found


def _joined(
    row: Mapping[str, Any], reports: Mapping[str, str], patients: Mapping[str, Mapping[str, Any]] | None, path: Any
) -> dict[str, Any]:
    found = {**row, "machine_report": reports.get(row["study_id"])}
    patient = patients.get(row["subject_id"]) if patients is not None else None
    if patient is None:
        return found
    try:
        days = timedelta(days=int(patient["anchor_day_offset"].split()[0]))
        time = datetime.fromisoformat(row["ecg_time"][:_LONGEST_TIME]) + days
    except (ValueError, OverflowError) as error:
        raise FormatError(f"study {shown(row['study_id'])}: {error}", path=path, field="ecg_time") from None
    first = datetime.fromisoformat(patient["anchor_year_dt"])
    age = int(patient["anchor_age"]) + (time - first).days / 365.25
    return found | dict(patient) | {"ecg_time": time.isoformat(sep=" "), "age": repr(age)}


def _patients(path: str) -> dict[str, dict[str, Any]]:
    """Subject -> sex, age and dates, moved from fictitious years to the middle of the patient's real group of years."""
    needed = ("subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group", "dod")
    found: dict[str, dict[str, Any]] = {}
    for row in read_rows(path, needed)[1]:
        try:
            first, last = (int(year) for year in row["anchor_year_group"].split("-"))
            days = int((first + 1 - int(row["anchor_year"])) * 365.25)
            age = int(row["anchor_age"])
            _ = date(first + 1, 1, 1)  # a year that there is
            died = (date.fromisoformat(row["dod"]) + timedelta(days=days)).isoformat() if row["dod"] else None
        except (ValueError, OverflowError) as error:
            field = "anchor_age, anchor_year, anchor_year_group, dod"
            raise FormatError(f"subject {shown(row['subject_id'])}: {error}", path=path, field=field) from None
        if last != first + 2:
            raise FormatError(f"{row['anchor_year_group']} are not three years", path=path, field="anchor_year_group")
        found[row["subject_id"]] = {
            "sex": _SEX.get(row["gender"]),
            "anchor_age": str(age),
            "anchor_year": str(first + 1),
            "anchor_day_offset": f"{days} days",
            "dod": died,
            "anchor_year_dt": f"{first + 1:04}-01-01",
        }
    return found


def _markers(path: str) -> tuple[list[str], Iterator[dict[str, str]]]:
    """The rows of ``labevents.csv.gz`` on troponin T and CK-MB: (columns, rows)."""
    columns, rows = read_rows(path, ("itemid",))
    return columns, (row for row in rows if row["itemid"] in _MARKERS)
