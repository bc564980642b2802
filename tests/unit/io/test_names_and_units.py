"""What a file says of leads and units, what the user says, and who is right."""

import numpy as np
import pytest
from made_files import counts, dicom_group, write_aecg, write_dicom, write_edf, write_wfdb

import ecgfm
from ecgfm import LEADS, LeadError, SignalError, read

X = np.round(np.random.default_rng(1).normal(0, 400, (12, 3000))).astype(np.float32)
ASSUMED = "unit assumed: mV"


def csv(path, names=LEADS, x=X, *, delimiter=",", top="# sampling_rate: 500\n", decimal=".", times=None):
    """A table; `times` is (name, texts) of a first column."""
    rows = [[str(v).replace(".", decimal) for v in row] for row in x.T.tolist()]
    if times is not None:
        names, rows = [times[0], *names], [[text, *row] for text, row in zip(times[1], rows)]
    lines = [delimiter.join(names), *(delimiter.join(row) for row in rows)]
    path.write_text(top + "\n".join(lines) + "\n", encoding="utf-8")
    return path


# ---- units ----------------------------------------------------------------------------------------------------------


def test_a_unit_that_is_not_stated_is_assumed_and_noted(tmp_path):
    np.save(tmp_path / "a.npy", X)
    np.savez(tmp_path / "a.npz", signal=X, leads=LEADS)
    csv(tmp_path / "a.csv")
    for name in ("a.npy", "a.npz", "a.csv"):
        found = read(tmp_path / name, None if name == "a.csv" else 500)
        assert ASSUMED in found.notes and np.array_equal(found.signal, X)
        assert "amplitude" in ecgfm.ecg.quality(found)  # 400 "mV"
        said = read(tmp_path / name, None if name == "a.csv" else 500, unit="uV")
        assert ASSUMED not in said.notes and "amplitude" not in ecgfm.ecg.quality(said)
        np.testing.assert_allclose(said.signal, X * 1e-3, rtol=1e-6)
        assert said.units == ("uV",) * 12


@pytest.mark.parametrize("name", ["{} [uV]", "{} (\u00b5V)", "{}_uv", "{}/uV", "{} uV", "ECG_{}_uV", "lead {} (uV)"])
def test_units_of_columns(tmp_path, name):
    path = csv(tmp_path / "a.csv", [name.format(lead.lower()) for lead in LEADS])
    found = read(path)
    assert found.leads == LEADS and found.notes == ()
    np.testing.assert_allclose(found.signal, X * 1e-3, rtol=1e-6)
    assert np.array_equal(read(path, unit="uV").signal, found.signal)
    with pytest.raises(SignalError, match="the file says (?i:uv|\u00b5v); given was mV") as caught:
        read(path, unit="mV")
    assert caught.value.path == str(path)


def test_a_unit_in_a_comment_and_units_of_some_columns(tmp_path):
    assert read(csv(tmp_path / "a.csv", top="# fs: 500\n# unit: uV\n")).units == ("uV",) * 12
    with pytest.raises(SignalError, match="no voltage"):
        read(csv(tmp_path / "b.csv", top="# fs: 500\n# unit: mmHg\n"))
    path = csv(tmp_path / "c.csv", ["I [uV]", *LEADS[1:]])
    found = read(path)
    np.testing.assert_allclose(found.signal[0], X[0] * 1e-3, rtol=1e-6)
    assert np.array_equal(found.signal[1:], X[1:]) and ASSUMED in found.notes and found.units[:2] == ("uV", None)
    np.testing.assert_allclose(read(path, unit="uV").signal, X * 1e-3, rtol=1e-6)
    with pytest.raises(SignalError, match="the file says uV; given was V"):
        read(path, unit="V")


def test_a_stated_unit_is_not_changed(tmp_path):
    path = write_wfdb(tmp_path / "a.hea", counts(), unit="uV")
    found = read(path)
    assert found.units == ("uV",) * 12 and found.notes == ()
    assert np.array_equal(read(path, unit="uV").signal, found.signal)
    with pytest.raises(SignalError, match="the file says uV; given was V"):
        read(path, unit="V")


@pytest.mark.parametrize(
    "name, write, unit",
    [
        ("a.dcm", lambda path: write_dicom(path, dicom_group(counts())), "uV"),
        ("a.edf", lambda path: write_edf(path, counts()), "uV"),
        ("a.xml", lambda path: write_aecg(path, counts()), "uV"),
    ],
)
def test_units_of_other_formats(tmp_path, name, write, unit):
    for module in ("pydicom", "edfio", "ecgdatakit"):
        pytest.importorskip(module)
    path = write(tmp_path / name)
    assert np.array_equal(read(path, unit=unit).signal, read(path).signal)
    with pytest.raises(SignalError, match="given was V"):
        read(path, unit="V")


@pytest.mark.parametrize("unit", ["kV", "mmHg", "", 3, ["mV"], "x" * 10_000])
def test_units_that_are_none(tmp_path, unit):
    np.save(tmp_path / "a.npy", X)
    for call in (lambda: read(tmp_path / "a.npy", 500, unit=unit), lambda: ecgfm.prepare(X, 500, unit=unit)):
        with pytest.raises(SignalError, match="is not known") as caught:
            call()
        assert caught.value.field == "unit" and len(str(caught.value)) < 300


@pytest.mark.parametrize("unit, factor", [("mV", 1), ("uV", 1e-3), ("V", 1e3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_units_of_arrays(unit, factor, dtype):
    x = X.astype(dtype)
    before = x.copy()
    found = ecgfm.prepare(x, 500, unit=unit)
    assert np.array_equal(x, before) and ASSUMED not in found.provenance["notes"]
    plain = ecgfm.prepare(x, 500)
    assert ASSUMED in plain.provenance["notes"]
    np.testing.assert_allclose(found.x, plain.x, atol=2e-6)
    assert ("amplitude" in found.provenance["quality"]) == (unit != "uV")


def test_units_of_records(tmp_path):
    np.save(tmp_path / "a.npy", X)
    record = read(tmp_path / "a.npy", 500)
    assert "amplitude" not in ecgfm.prepare(record, unit="uV").provenance["quality"]
    assert np.array_equal(record.signal, X) and record.units == (None,) * 12  # it is not changed
    with pytest.raises(SignalError, match="a Record is in mV"):
        ecgfm.prepare(ecgfm.Record(X, 500, LEADS), unit="uV")
    assert ecgfm.prepare(ecgfm.Record(X, 500, LEADS), unit="mV").provenance["notes"] == []


# ---- names of leads -------------------------------------------------------------------------------------------------


def test_given_names_replace_names_that_are_no_leads(tmp_path):
    numbered = [f"lead_{i + 1}" for i in range(12)]
    path = csv(tmp_path / "a.csv", numbered)
    with pytest.raises(LeadError, match="names no leads but lead_1, lead_2.*leads='I,II,...'"):
        read(path)
    found = read(path, leads=",".join(LEADS))
    assert np.array_equal(found.signal, X) and found.leads == LEADS
    assert any(note.startswith("leads as given; the file names them lead_1") for note in found.notes)
    assert np.array_equal(read(csv(tmp_path / "b.csv", ["I", "II", *numbered[2:]]), leads=LEADS).signal, X)
    times = ("time", [f"{i / 500:.4f}" for i in range(3000)])
    found = read(csv(tmp_path / "c.csv", numbered, times=times, top=""), leads=LEADS)
    assert np.array_equal(found.signal, X) and found.sampling_rate == 500
    with pytest.raises(LeadError, match="11 names for 12 columns"):
        read(path, leads=LEADS[:11])


def test_given_names_that_contradict(tmp_path):
    path = csv(tmp_path / "a.csv")
    with pytest.raises(LeadError, match="the file says I, II"):
        read(path, leads=LEADS[::-1])
    path = csv(tmp_path / "b.csv", ["II", *(f"ch{i}" for i in range(11))])
    with pytest.raises(LeadError, match="the file says II"):
        read(path, leads=LEADS)


def test_given_names_of_other_formats(tmp_path):
    x = counts()
    path = write_wfdb(tmp_path / "a.hea", x, [f"lead_{i + 1}" for i in range(12)])
    found = read(path, leads=LEADS)
    assert found.leads == LEADS and np.array_equal(found.signal, x / np.float32(200))
    np.savez(tmp_path / "a.npz", signal=X, fs=500, leads=[f"ECG{i}" for i in range(12)])
    assert read(tmp_path / "a.npz", leads=LEADS).leads == LEADS
    with pytest.raises(LeadError, match="the file says"):
        read(path, leads=LEADS[:11])


def test_long_and_strange_names(tmp_path):
    np.savez(tmp_path / "a.npz", signal=X[:3], fs=500, leads=["I", "x" * 500, "\x1b[2J\u202e"])
    names = read(tmp_path / "a.npz").leads
    assert names[0] == "I" and len(names[1]) <= 64 and all(name.isprintable() for name in names)
    assert ecgfm.ecg.canonical_lead("x" + " " * 10**6 + "y") and len(ecgfm.ecg.canonical_lead("(" * 10**6)) <= 64


# ---- tables as people write them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [";", "\t", " "])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("ending", [".csv", ".txt"])
def test_separators_and_decimal_commas(tmp_path, delimiter, decimal, ending):
    x = X / 1024
    path = csv(tmp_path / f"a{ending}", x=x, delimiter=delimiter, decimal=decimal)
    assert np.array_equal(read(path).signal, x.astype(np.float32))
    assert ecgfm.io.is_recording(str(path))
    without = tmp_path / f"b{ending}"
    without.write_text("".join(path.read_text().splitlines(True)[2:]))
    assert np.array_equal(read(without, 500, LEADS).signal, x.astype(np.float32))


def test_points_and_commas(tmp_path):
    for first, second in (("1,5;2,5", "1.234;2"), ("1.5;2", "1,5;2"), ("1.234,5;2", "1;2")):
        (tmp_path / "a.csv").write_text(f"I;II\n{first}\n{second}\n")
        with pytest.raises(ecgfm.FormatError, match="points and numbers with commas"):
            read(tmp_path / "a.csv", 500)
    (tmp_path / "b.csv").write_text("I;II;note\n1,5;2,5;v1.2\n2,5;2,5;v1.3\n")
    assert read(tmp_path / "b.csv", 500).signal.tolist() == [[1.5, 2.5], [2.5, 2.5]]


@pytest.mark.parametrize("name", ["time", "Timestamp", "datetime"])
@pytest.mark.parametrize("start", ["2024-03-01T10:00:0", "2024-03-01 23:59:5", "10:00:0"])
@pytest.mark.parametrize("rate", [500, 250])
def test_dates_and_times(tmp_path, name, start, rate):
    times = [f"{start}{i / rate:.6f}" for i in range(1000)]
    path = csv(tmp_path / "a.csv", x=X[:, :1000], times=(name, times), top="")
    found = read(path)
    assert found.sampling_rate == rate and np.array_equal(found.signal, X[:, :1000]) and found.notes == (ASSUMED,)


def test_dates_that_give_no_rate(tmp_path):
    coarse = [f"2024-03-01 10:00:{i // 500:02}" for i in range(3000)]
    path = csv(tmp_path / "a.csv", times=("time", coarse), top="")
    with pytest.raises(ecgfm.FormatError, match="don't rise evenly"):
        read(path)
    found = read(path, 500)
    assert found.sampling_rate == 500 and any("columns not read: time" in note for note in found.notes)
    path = csv(tmp_path / "b.csv", times=("time", [f"1.3.2024 {i}" for i in range(3000)]), top="")
    with pytest.raises(SignalError, match="neither a number nor a date.*sampling_rate=500"):
        read(path)
    assert np.array_equal(read(path, 500).signal, X)


# ---- WFDB as PhysioNet writes it ------------------------------------------------------------------------------------


def test_records_without_an_ending(tmp_path, monkeypatch):
    x = counts()
    (tmp_path / "records100" / "00000").mkdir(parents=True)
    path = write_wfdb(tmp_path / "records100" / "00000" / "00001_lr.hea", x, rate=100)
    expected = read(path).signal
    assert np.array_equal(read(str(path)[:-4]).signal, expected)
    assert np.array_equal(read(path.with_suffix("")).signal, expected)
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(read("records100/00000/00001_lr").signal, expected)
    with pytest.raises(ecgfm.FormatError, match="no such file"):
        read("records100/00000/00002_lr")


@pytest.mark.parametrize(
    "line",
    [
        "E00001.mat 12 500 3000 05-May-2020 14:50:55",
        "E00001.mat 12 500 3000",
        "E00001.dat 12 500 3000 10:00:00",
    ],
)
@pytest.mark.parametrize("form", ["16 ", "16x1 "])
def test_headers_of_2020(tmp_path, line, form):
    x = counts()
    path = write_wfdb(tmp_path / "E00001.hea", x)
    expected = read(path).signal
    text = path.read_text().replace("dat 16 ", f"dat {form}")
    path.write_text(line + text[text.index("\n") :])
    assert ecgfm.io.find_format(str(path)).name == "WFDB"
    assert np.array_equal(read(path).signal, expected) and read(path).sampling_rate == 500
