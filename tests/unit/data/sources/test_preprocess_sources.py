"""Every source, on folders in the layout of its data set."""

import gzip
import shutil

import data_sets
import made_files
import numpy as np
import pytest

import ecgfm
from ecgfm.data import Files, Recording, condition, preprocess, read_mat

LEADS = list(ecgfm.LEADS)


def rows_of(folder, table="meta", key="save_file"):
    return {row[key]: row for row in data_sets.read_table(folder / f"{table}.csv")}


@pytest.fixture
def physionet(tmp_path):
    return tmp_path / "challenge", data_sets.physionet2021(tmp_path / "challenge")


def test_physionet2021(physionet, tmp_path):
    raw, stored = physionet
    summary = preprocess("physionet2021", tmp_path / "out", raw)
    assert (summary.records, summary.skipped, summary.segments) == (5, 0, 10)
    meta = rows_of(tmp_path / "out")
    assert list(meta) == [f"physionet2021_{path.replace('/', '_')}.mat" for path in sorted(stored)]
    for path, signal in stored.items():
        name = f"physionet2021_{path.replace('/', '_')}.mat"
        row, org = meta[name], read_mat(tmp_path / "out/org" / name)
        np.testing.assert_array_equal(org["feats"], signal)
        rate = {"ptb": 1000, "st_petersburg_incart": 257}.get(row["dataset"], 500)
        assert row["sample_rate"] == str(rate) and row["dataset"] == path.split("/")[0]
        assert row["path"] == str(raw / "training" / path) and row["units"] == "mv"
        done = read_mat(tmp_path / "out/preprocessed" / name)
        np.testing.assert_array_equal(done["feats"], condition(signal, rate)[0])
        assert done["feats"].shape[1] == int(signal.shape[1] * 500 / rate)
    first = meta["physionet2021_cpsc_2018_g1_A0001.mat"]
    assert [first[name] for name in ("age", "sex", "diagnosis")] == ["74", "0", "59118001"]
    assert [first[name] for name in ("Rx", "Hx", "Sx")] == ["", "", ""]
    second, third = (meta[f"physionet2021_cpsc_2018_{name}.mat"] for name in ("g1_A0002", "g2_A0003"))
    assert (second["age"], second["sex"], second["diagnosis"]) == ("", "1", "426783006,164889003")
    assert third["sex"] == "" and meta["physionet2021_st_petersburg_incart_g1_I0001.mat"]["sex"] == "1"


def test_physionet2021_takes_the_training_folder_too(physionet, tmp_path):
    raw, _ = physionet
    for name, root in (("a", raw), ("b", raw / "training")):
        preprocess("physionet2021", tmp_path / name, root, dataset_subset=["cpsc_2018", "ptb"])
        assert [row["idx"] for row in rows_of(tmp_path / name).values()] == ["0", "1", "2", "3"]
    for file in (tmp_path / "a").rglob("*.mat"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_physionet2021_broken_and_unusual(physionet, tmp_path):
    raw, _ = physionet
    folder = raw / "training/cpsc_2018/g1"
    x = data_sets.signal(10)
    fifteen = np.concatenate([x, x[:3]])
    data_sets.wfdb_record(folder, "B15", fifteen, leads=[lead.lower() for lead in LEADS] + ["vx", "vy", "vz"])
    data_sets.wfdb_record(folder, "Bgap", np.where(np.arange(5000) % 1000 == 7, np.nan, x))
    data_sets.wfdb_record(folder, "Bshort", x[:, :2000])
    data_sets.wfdb_record(folder, "Beight", x[[0, 1, *range(6, 12)]], leads=[LEADS[i] for i in (0, 1, *range(6, 12))])
    data_sets.wfdb_record(folder, "Btrunc", x)
    (folder / "Btrunc.dat").write_bytes((folder / "Btrunc.dat").read_bytes()[:-1000])
    data_sets.wfdb_record(folder, "Bnohead", x, mat=True)
    (folder / "Bnohead.hea").unlink()
    data_sets.wfdb_record(folder, "Bnodata", x)
    (folder / "Bnodata.dat").unlink()
    (folder / "Bempty.hea").write_bytes(b"")
    with open(folder / "RECORDS", "a") as file:
        file.write("Bgone\nBshort\n")
    with open(raw / "RECORDS", "a") as file:
        file.write("training/georgia/g1/\n")
    out = tmp_path / "out"
    summary = preprocess("physionet2021", out, raw)
    errors = {name.split("_")[-1][:-4]: row["error"] for name, row in rows_of(out, "errors").items()}
    assert sorted(errors) == ["Bempty", "Bgone", "Bnodata", "Bnohead", "Btrunc", "g1"]
    for name, text in {
        "Bgone": "no such file",
        "Bnohead": "Bnohead.hea: no such file",
        "Btrunc": "truncated",
        "Bnodata": "signal file Bnodata.dat",
        "g1": "georgia/g1.hea: no such file",
    }.items():
        assert text in errors[name]
    meta = rows_of(out)
    assert summary.records == 9 and summary.skipped == 6 and summary.derived == 1
    at = "physionet2021_cpsc_2018_g1_{}.mat"
    assert meta[at.format("Beight")]["derived_leads"] == "['III', 'aVR', 'aVL', 'aVF']"
    assert meta[at.format("Bgap")]["nan_any"] == "True" and meta[at.format("Bgap")]["nan_leads_any"] == "False"
    org = read_mat(out / "org" / at.format("B15"))["feats"]
    np.testing.assert_allclose(org, x, atol=6e-4)
    assert meta[at.format("Bshort")]["sample_size"] == "2000"
    assert not list((out / "segmented").glob("*Bshort*")) and (out / "preprocessed" / at.format("Bshort")).exists()
    everything = sorted([*meta.values(), *rows_of(out, "errors").values()], key=lambda row: int(row["idx"]))
    assert [int(row["idx"]) for row in everything] == list(range(15))


def test_missing_leads(tmp_path):
    """III, aVR, aVL, aVF are calculated and named; of others it is said what becomes of them."""
    x = data_sets.signal(10)
    eight, seven = [0, 1, *range(6, 12)], [0, 1, *range(7, 12)]
    derived = ["III", "aVR", "aVL", "aVF"]
    stored = data_sets.wfdb_record(tmp_path / "raw/ptb/g1", "a", x[eight], leads=[LEADS[i] for i in eight])
    data_sets.wfdb_record(tmp_path / "raw/ptb/g1", "b", x[seven], leads=[LEADS[i] for i in seven])
    found = {}
    for missing in ("error", "derive", "zero", "nan"):
        out = tmp_path / missing
        summary = preprocess("physionet2021", out, tmp_path / "raw", options=ecgfm.data.Options(missing_leads=missing))
        calculated, refused = missing != "nan", missing in ("error", "derive")
        assert (summary.skipped, summary.derived) == (refused, (2 - refused) * calculated)
        for name, rows in (("a", eight), ("b", seven)):
            status = rows_of(out, "status")[f"physionet2021_ptb_g1_{name}.mat"]
            if refused and name == "b":
                assert status["status"] == "skipped" and "leads missing: V1 (" in status["reason"]
                continue
            assert status["status"] == "done"
            assert status["reason"] == ("calculated from I and II: III, aVR, aVL, aVF" if calculated else "")
            row = rows_of(out)[f"physionet2021_ptb_g1_{name}.mat"]
            assert row["derived_leads"] == str(derived if calculated else [])
            assert row["avail_leads"] == str([LEADS[i] for i in range(12) if i in rows or (calculated and 1 < i < 6)])
            found[missing, name] = read_mat(out / f"org/physionet2021_ptb_g1_{name}.mat")["feats"]
            np.testing.assert_array_equal(found[missing, name][rows], stored[[eight.index(i) for i in rows]])
    for missing in ("error", "derive", "zero"):
        np.testing.assert_allclose(found[missing, "a"][2], stored[1] - stored[0], atol=1e-12)
        np.testing.assert_array_equal(found[missing, "a"], found["error", "a"])
    assert not found["zero", "b"][6].any() and found["zero", "b"][2].any()
    assert np.isnan(found["nan", "b"][2:7]).all()


@pytest.fixture
def mimic(tmp_path):
    return tmp_path / "mimic", data_sets.mimic_iv_ecg(tmp_path / "mimic")


def test_mimic_iv_ecg(mimic, tmp_path):
    raw, stored = mimic
    summary = preprocess("mimic_iv_ecg", tmp_path / "out", raw)
    assert (summary.records, summary.segments) == (3, 6)
    meta = rows_of(tmp_path / "out", key="study_id")
    for study, signal in stored.items():
        row = meta[str(study)]
        subject = row["subject_id"]
        assert row["save_file"] == f"mimic_iv_ecg_p{subject[:4]}_p{subject}_s{study}_{study}.mat"
        assert row["machine_report"] == f"Sinus rhythm; Report of {study}"
        assert (row["dataset"], row["units"], row["sample_size"]) == ("mimic_iv_ecg", "mv", "5000")
        assert "base_date" not in row and row["ecg_time"].startswith("2180-0")
        np.testing.assert_array_equal(read_mat(tmp_path / "out/org" / row["save_file"])["feats"], signal)


def test_mimic_iv_ecg_with_patients(mimic, tmp_path):
    raw, _ = mimic
    hospital = tmp_path / "mimiciv"
    (hospital / "hosp").mkdir(parents=True)
    with gzip.open(hospital / "hosp/patients.csv.gz", "wt") as file:
        file.write(
            "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod\n"
            "10000032,F,52,2180,2014 - 2016,2180-09-09\n10000033,M,40,2170,2008 - 2010,\n"
        )
    with gzip.open(hospital / "hosp/labevents.csv.gz", "wt") as file:
        file.write("labevent_id,subject_id,itemid,value\n")
        file.write("1,10000032,51003,0.01\n2,10000032,50000,7\n3,10000032,50911,4\n")
    preprocess("mimic_iv_ecg", tmp_path / "out", raw, mimic_iv_root=hospital)
    meta = list(rows_of(tmp_path / "out").values())
    days = int(-165 * 365.25)
    assert [row["sex"] for row in meta] == ["1", "1", "0"]
    assert (meta[0]["anchor_year"], meta[0]["anchor_day_offset"]) == ("2015", f"{days} days")
    shifted = np.datetime64("2180-01-23T08:44:00") + np.timedelta64(days, "D")
    assert meta[0]["ecg_time"] == str(shifted).replace("T", " ")
    since = (shifted - np.datetime64("2015-01-01")).astype("timedelta64[D]").astype(int)
    assert float(meta[0]["age"]) == 52 + since / 365.25
    assert meta[0]["dod"] == str(np.datetime64("2180-09-09") + np.timedelta64(days, "D")) and meta[2]["dod"] == ""
    assert [row["itemid"] for row in data_sets.read_table(tmp_path / "out/cardiac_markers.csv")] == ["51003", "50911"]
    assert len(data_sets.read_table(tmp_path / "out/patients.csv")) == 2


def test_mimic_reports_that_contradict(mimic, tmp_path):
    raw, _ = mimic
    (path,) = raw.glob("*/machine_measurements.csv")
    rows = data_sets.read_table(path)
    data_sets.write_table(path, [*rows, rows[0] | {"report_0": "Atrial fibrillation"}])
    with pytest.raises(ecgfm.FormatError, match="two different reports of study 49036311"):
        preprocess("mimic_iv_ecg", tmp_path / "out", raw)
    data_sets.write_table(path, [*rows[:2], rows[0]])  # one stands there twice, one has none
    preprocess("mimic_iv_ecg", tmp_path / "out", raw)
    assert rows_of(tmp_path / "out", key="study_id")["40689238"]["machine_report"] == ""


HEAD = """
   <PatientDemographics><PatientID>77</PatientID><PatientAge>18</PatientAge><AgeUnits>MONTHS</AgeUnits>
   <Gender>FEMALE</Gender><DateofBirth>02-03-2019</DateofBirth><PatientLastName>UNKNOWN</PatientLastName>
   </PatientDemographics>
   <TestDemographics><AcquisitionDate>08-04-2020</AcquisitionDate><AcquisitionTime>10:11:12</AcquisitionTime>
   </TestDemographics>
   <Diagnosis><DiagnosisStatement><StmtText>Sinus  rhythm</StmtText></DiagnosisStatement>
   <DiagnosisStatement><StmtText>ST & T changes</StmtText></DiagnosisStatement></Diagnosis>
   <QRSTimesTypes><QRS><Number>1</Number><Time>200</Time></QRS></QRSTimesTypes>
"""


def test_muse(tmp_path):
    raw = tmp_path / "raw/2020"
    raw.mkdir(parents=True)
    counts = made_files.counts(8, 3000)
    made_files.write_muse(raw / "one.xml", counts, extra=HEAD)
    (raw / "broken.xml").write_text("<RestingECG><Waveform>")
    (raw / "notes.txt").write_text("nothing")
    summary = preprocess("muse", tmp_path / "out", tmp_path / "raw")
    assert (summary.records, summary.skipped) == (1, 1)
    (row,) = data_sets.read_table(tmp_path / "out/meta.csv")
    assert (row["save_file"], row["idx"]) == ("muse_2020_one.mat", "1")
    assert [row[name] for name in ("age", "sex", "patient_id", "acq_dt", "edit_dt", "dob")] == [
        "1.5",
        "1",
        "77",
        "2020-08-04 10:11:12",
        "",
        "2019-02-03",
    ]
    assert row["Diagnosis_DiagnosisStatement"] == "Sinus rhythm ST & T changes"
    assert row["PatientDemographics_PatientLastName"] == "" and row["derived_leads"] == "['III', 'aVR', 'aVL', 'aVF']"
    leads = data_sets.read_table(tmp_path / "out/lead_data.csv")
    assert [lead["LeadID"] for lead in leads] == ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]
    assert data_sets.read_table(tmp_path / "out/qrs_data.csv") == [
        {"idx": "1", "save_file": "muse_2020_one.mat", "Number": "1", "Time": "200"}
    ]
    org = read_mat(tmp_path / "out/org/muse_2020_one.mat")["feats"]
    np.testing.assert_allclose(org[6], counts[2] * 4.88e-3, rtol=1e-5)
    np.testing.assert_allclose(org[4], org[0] - org[1] / 2, atol=1e-5)


def test_muse_files_of_the_reference(shared, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("muse_1", "muse_2"):
        shutil.copy(shared / f"records/{name}.xml", raw)
    preprocess("muse", tmp_path / "out", raw)
    import golden

    expected = golden.load_json(shared / "records/expected.json")
    for name in ("muse_1", "muse_2"):
        org = read_mat(tmp_path / f"out/org/muse_{name}.mat")["feats"]
        for lead, about in expected[f"{name}.xml"]["mV"].items():
            row = org[LEADS.index(ecgfm.ecg.canonical_lead(lead))]
            np.testing.assert_allclose(row[:5], about["first5"], atol=1e-4)
            np.testing.assert_allclose([row.mean(), row.std()], [about["mean"], about["std"]], atol=1e-4)
        meta = rows_of(tmp_path / "out")[f"muse_{name}.mat"]
        assert (meta["sample_rate"], meta["sample_size"]) == ("500", "5000")


@pytest.fixture
def folder(tmp_path):
    raw = tmp_path / "raw"
    x = data_sets.signal(10)
    data_sets.wfdb_record(raw / "ward 1", "a", x)
    np.savez(raw / "b.npz", signal=x, sampling_rate=500, leads=LEADS)
    np.save(raw / "c.npy", x)
    return raw, x


def test_files(folder, tmp_path):
    raw, x = folder
    summary = preprocess("files", tmp_path / "out", raw)
    assert summary.records == 2
    errors = rows_of(tmp_path / "out", "errors")
    assert list(errors) == ["files_c.mat"] and "doesn't state the sampling rate" in errors["files_c.mat"]["error"]
    assert list(rows_of(tmp_path / "out")) == ["files_b.mat", "files_ward_1_a.mat"]
    summary = preprocess(Files(sampling_rate=500, name="ward"), tmp_path / "again", raw)
    assert summary.records == 3
    np.testing.assert_array_equal(read_mat(tmp_path / "again/org/ward_c.mat")["feats"], x)


def test_values_that_are_not_finite(folder, tmp_path):
    raw, x = folder
    for name, value in (("nan", np.nan), ("inf", -np.inf)):
        np.savez(raw / f"{name}.npz", signal=np.where(np.arange(5000) == 9, value, x), sampling_rate=500, leads=LEADS)
    preprocess("files", tmp_path / "out", raw)
    assert rows_of(tmp_path / "out")["files_nan.mat"]["nan_any"] == "True"
    assert np.isnan(read_mat(tmp_path / "out/preprocessed/files_nan.mat")["feats"]).all()
    assert "inf.npz: lead I: infinite values" in rows_of(tmp_path / "out", "errors")["files_inf.mat"]["error"]


def test_files_by_a_table(folder, tmp_path):
    raw, _ = folder
    data_sets.write_table(
        tmp_path / "table.csv",
        [
            {"path": "ward 1/a.hea", "age": 50, "dataset": "one", "save_file": "first.mat"},
            {"path": "b.npz", "age": "", "dataset": "two", "save_file": ""},
            {"path": "gone.npz", "age": 1, "dataset": "two", "save_file": ""},
        ],
    )
    source = Files(table=tmp_path / "table.csv")
    assert preprocess(source, tmp_path / "out", raw).skipped == 1
    meta = rows_of(tmp_path / "out")
    assert [(name, row["age"], row["dataset"]) for name, row in meta.items()] == [
        ("first.mat", "50", "one"),
        ("files_b.mat", "", "two"),
    ]
    assert preprocess(source, tmp_path / "two", raw, dataset_subset=["two"]).records == 1
    assert rows_of(tmp_path / "two")["files_b.mat"]["idx"] == "1"
    assert preprocess(source, tmp_path / "two", raw, dataset_subset=["one", "two"]).resumed == 1
    for path in (tmp_path / "out").rglob("*.mat"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "out")).read_bytes()
    assert (tmp_path / "two/meta.csv").read_bytes() == (tmp_path / "out/meta.csv").read_bytes()
    with pytest.raises(ecgfm.ConfigError, match="the folder holds a run with source"):
        preprocess(Files(table=tmp_path / "table.csv", sampling_rate=400), tmp_path / "out", raw)
    with open(tmp_path / "out/records.csv", "a") as file:
        file.write("c.npy,1,two,\n")
    with pytest.raises(ecgfm.ConfigError, match="records.csv is not the one that this run began with"):
        preprocess(source, tmp_path / "out", raw)


def test_one_s_own_reader(folder, tmp_path):
    raw, x = folder

    def reader(row):
        if row["path"].endswith("c.npy"):
            return np.load(row["path"]), 500, LEADS
        if row["path"].endswith("b.npz"):
            beats = {"beats": [{"at": 1}, {"at": 2}]}
            return Recording(x[::-1].astype(int), 400.0, LEADS[::-1], {"site": "there"}, beats)
        raise RuntimeError("no idea")

    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        summary = preprocess(Files(reader=reader), out, raw, workers=workers)
        assert (summary.records, summary.skipped) == (2, 1)
        assert "RuntimeError: no idea" in rows_of(out, "errors")["files_ward_1_a.mat"]["error"]
        meta = rows_of(out)
        assert meta["files_b.mat"]["site"] == "there" and meta["files_c.mat"]["site"] == ""
        assert [row["at"] for row in data_sets.read_table(out / "beats.csv")] == ["1", "2"]
        np.testing.assert_array_equal(read_mat(out / "org/files_b.mat")["feats"], x.astype(int))
