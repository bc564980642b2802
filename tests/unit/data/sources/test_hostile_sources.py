"""Numbers and dates in the tables of data sets that are none, or of thousands of digits."""

import gzip

import numpy as np
import pytest

import ecgfm
from ecgfm.data import preprocess


@pytest.mark.parametrize("number", ["7" * 5000, "\u00b2", "", "-1", "1.5", "0", "9" * 30])
def test_exam_numbers_of_code_15(tmp_path, number):
    h5py = pytest.importorskip("h5py", reason="needs the extra [io]")
    with h5py.File(tmp_path / "exams_part0.hdf5", "w") as file:
        file["tracings"] = np.random.default_rng(0).normal(size=(1, 4096, 12)).astype("f4")
        file["exam_id"] = np.array([1])
    (tmp_path / "exams.csv").write_text(f"exam_id,age\n1,5\n{number},5\n")
    reasons = []
    done = preprocess(
        "code_15", tmp_path / "out", tmp_path, workers=1, on_error=lambda path, why: reasons.append(str(why))
    )
    assert (done.records, done.skipped) == (1, 1) and "exam" in reasons[0] and len(reasons[0]) < 2000


@pytest.mark.parametrize(
    "column, value",
    [
        ("ecg_time", "yesterday"),
        ("ecg_time", "9999-12-31 23:59:59"),
        ("ecg_time", "2" * 100_000),
        ("anchor_age", "old"),
        ("anchor_age", "9" * 5000),
        ("anchor_year", "9" * 400),
        ("anchor_year_group", "-3 - -1"),
        ("anchor_year_group", "9998 - 10000"),
        ("anchor_year_group", "x"),
        ("dod", "never"),
    ],
)
def test_ages_and_dates_of_mimic(tmp_path, column, value):
    hosp = tmp_path / "mimic" / "hosp"
    hosp.mkdir(parents=True)
    row = {"subject_id": "1", "study_id": "2", "ecg_time": "2150-01-01 10:00:00", "path": "files/a"}
    patient = {
        "subject_id": "1",
        "gender": "F",
        "anchor_age": "50",
        "anchor_year": "2100",
        "anchor_year_group": "2011 - 2013",
        "dod": "2150-01-01",
    }
    if column == "ecg_time" and value.startswith("9999"):
        patient["anchor_year"] = "1"  # moves all by two thousand years
    (row if column in row else patient)[column] = value

    def table(one):
        return ",".join(one) + "\n" + ",".join(one.values()) + "\n"

    (tmp_path / "record_list.csv").write_text(table(row))
    (tmp_path / "machine_measurements.csv").write_text("study_id,report_0\n2,normal\n")
    (hosp / "patients.csv.gz").write_bytes(gzip.compress(table(patient).encode()))
    events = "labevent_id,subject_id,itemid,charttime,storetime,value,valuenum,valueuom,hadm_id,specimen_id,flag\n"
    (hosp / "labevents.csv.gz").write_bytes(gzip.compress(events.encode()))
    with pytest.raises(ecgfm.FormatError) as caught:
        preprocess("mimic_iv_ecg", tmp_path / "out", tmp_path, workers=1, mimic_iv_root=tmp_path / "mimic")
    assert column in caught.value.field and len(str(caught.value)) < 2000
