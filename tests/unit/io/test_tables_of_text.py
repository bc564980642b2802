"""Tables of text as devices, watches and people write them: lines above the names, units, commas, encodings."""

import json

import numpy as np
import pytest
from made_files import LEADS, counts

from ecgfm import FormatError, LeadError, SignalError, read
from ecgfm.io import is_recording

X = counts()  # whole numbers


def rows(x=X, delimiter=",", form="{:g}", first=None):
    lines = (delimiter.join(form.format(value) for value in column) for column in np.asarray(x, float).T)
    return [*(f"{first[i]}{delimiter}{line}" if first else line for i, line in enumerate(lines))]


def written(path, *lines, encoding="utf-8", end="\n"):
    path.write_bytes(end.join([*lines, ""]).encode(encoding))
    return path


def names(delimiter=",", form="{}"):
    return delimiter.join(map(form.format, LEADS))


@pytest.mark.parametrize(
    "top, factor",
    [
        (["Sampling Rate (Hz): 500", "Gain (digit/millivolt): 2048 "], 2048),
        (["Patient;X", "Abtastrate;500 Hz", "Aufl\u00f6sung;4,88 \u00b5V/LSB"], 1 / 4.88e-3),
        (["# sampling_rate: 500", "# gain: 1000 adu/mV"], 1000),
        (["Fs = 500", "Gain\t200/mV"], 200),
        (["", "Sample rate:\t500 hertz", "Resolution: 0.5 uV per bit", "", "Filter: 0.05 - 150 Hz"], 2000),
        (["Fr\u00e9quence d'\u00e9chantillonnage: 500", "Gain: 10 mm/mV", "Unit: uV"], 1000),
    ],
)
def test_lines_before_the_names(tmp_path, top, factor):
    path = written(tmp_path / "a.csv", *top, names(), *rows())
    found = read(path)
    assert found.sampling_rate == 500 and found.leads == LEADS and found.notes == ()
    np.testing.assert_allclose(found.signal, X / factor, rtol=1e-6)
    assert is_recording(str(path)) and set(found.units) <= {"mV", "uV"}
    if "uV" not in found.units:
        with pytest.raises(SignalError, match="the file says mV; given was uV"):
            read(path, unit="uV")
    with pytest.raises(SignalError, match="the file says 500 Hz; given was 250"):
        read(path, 250)


def test_what_contradicts_itself(tmp_path):
    written(tmp_path / "a.csv", "Sample rate: 500 Hz", "fs: 250", names(), *rows())
    with pytest.raises(SignalError, match="rate: the lines above the table say 500 and 250"):
        read(tmp_path / "a.csv")
    written(tmp_path / "b.csv", "Unit: mV", "Units: uV", names(), *rows())
    with pytest.raises(SignalError, match="unit: the lines above the table say mV and uV"):
        read(tmp_path / "b.csv", 500)


@pytest.mark.parametrize("line", ["Gain: 2048", "Resolution;16", "Gain (digit/millivolt): high"])
def test_a_scale_of_unknown_meaning_is_asked_about(tmp_path, line):
    path = written(tmp_path / "a.csv", line, "fs: 500", names(), *rows())
    with pytest.raises(SignalError, match="a scale that doesn't say of what.*Say what the numbers are in: unit='mV'"):
        read(path)
    np.testing.assert_allclose(read(path, unit="uV").signal, X / 1000, rtol=1e-6)


def test_a_filter_is_no_sampling_rate(tmp_path):
    written(tmp_path / "a.csv", "Notch filter: 50 Hz", "High pass: 100 Hz", names(), *rows())
    with pytest.raises(SignalError, match="doesn't state the sampling rate"):
        read(tmp_path / "a.csv")
    written(tmp_path / "b.csv", "Proximity: 500 Hz", "Other: 300 Hz", names(), *rows())
    with pytest.raises(SignalError, match="doesn't state the sampling rate"):
        read(tmp_path / "b.csv")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("units", ["mV", "[uV]", "(\u00b5V)"])
def test_a_line_of_units(tmp_path, delimiter, units):
    times = [f"{i / 500:.3f}" for i in range(X.shape[1])]
    top = [delimiter.join(["time", *LEADS]), delimiter.join(["s", *[units] * 12])]
    found = read(written(tmp_path / "a.txt", "ECG of today", *top, *rows(delimiter=delimiter, first=times)))
    assert found.sampling_rate == 500 and found.notes == () and found.units == (units.strip("[]()"),) * 12
    np.testing.assert_allclose(found.signal, X / (1 if units == "mV" else 1000), rtol=1e-6)


def test_what_physionet_exports(tmp_path):
    times = [f"'0:{i / 500:06.3f}'" for i in range(X.shape[1])]
    top = ["'Elapsed time'," + ",".join(f"'{name.lower()}'" for name in LEADS), "'mm:ss.mmm'" + ",'mV'" * 12]
    found = read(written(tmp_path / "a.csv", *top, *rows(first=times)))
    assert found.sampling_rate == 500 and found.leads == LEADS and found.notes == () and set(found.units) == {"mV"}
    assert np.array_equal(found.signal, X)
    seconds = [f"{i / 500:.3f}" for i in range(X.shape[1])]
    top[1] = "'seconds'" + ",'mV'" * 12
    assert read(written(tmp_path / "b.csv", *top, *rows(first=seconds))).sampling_rate == 500


@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize(
    "rate, lead, unit",
    [
        ("Sample Rate,512 hertz", "Lead,Lead I", "Unit,\u00b5V"),
        ("Messrate,512 Hertz", "Lead,Lead I", "Einheit,\u00b5V"),
        ("Frecuencia de muestreo,512 hercios", "Derivaci\u00f3n,Derivaci\u00f3n I", "Unidad,\u00b5V"),
        ("\u30b5\u30f3\u30d7\u30eb\u30ec\u30fc\u30c8,512\u30d8\u30eb\u30c4", "Lead,Lead I", "Unit,\u00b5V"),
        ("Frekvens,512 Hz", "Afleiding,Afleiding I", "Enhed,\u00b5V"),
    ],
)
def test_what_watches_write(tmp_path, decimal, rate, lead, unit):
    x = X[0] * 0.53
    top = ["Name,\u00c5sa", "Recorded Date,2024-01-02 10:00:00 +0100", "Symptoms,", 'Device,"Watch6,2"']
    top += [rate, "", lead, unit, ""]
    path = written(tmp_path / "ecg_2024.csv", *top, *(f"{value:.3f}".replace(".", decimal) for value in x))
    found = read(path)
    assert found.leads == ("I",) and found.sampling_rate == 512 and found.units == ("\u00b5V",) and found.notes == ()
    np.testing.assert_allclose(found.signal[0], x / 1000, rtol=1e-3, atol=1e-6)
    assert is_recording(str(path))
    whole = written(tmp_path / "b.csv", *top, *("-3", f"57{decimal}992", "12", f"-0{decimal}5"))
    np.testing.assert_allclose(read(whole).signal[0], [-0.003, 0.057992, 0.012, -0.0005], rtol=1e-6)
    with pytest.raises(LeadError, match="the file says I; given was II"):
        read(path, leads="II")


def test_what_muse_exports(tmp_path):
    lines = ["", "", f"Rhythm signal: {X.shape[1]} X 12 ", "", *rows(delimiter=" ")]
    path = written(tmp_path / "a.txt", *lines, end="\r\n")
    with pytest.raises(SignalError, match="doesn't state the sampling rate"):
        read(path)
    found = read(path, 500)
    assert found.leads == LEADS and np.allclose(found.signal, X / 1000) and is_recording(str(path))
    assert found.notes == (
        "leads assumed in the order I II III aVR aVL aVF V1-V6, as GE MUSE writes them",
        "unit assumed: uV, as GE MUSE writes it",
    )
    found = read(path, 500, LEADS[::-1], "mV")
    assert found.leads == LEADS[::-1] and np.array_equal(found.signal, X) and found.notes == ()
    more = written(tmp_path / "b.txt", *lines, "", "Median signal: 600 X 12", *rows(X[:, :600], " "))
    assert np.array_equal(read(more, 500).signal, read(path, 500).signal)
    for cut in (lines[:-1], [*lines[:4], *(line[: line.rindex(" ")] for line in lines[4:])]):
        with pytest.raises(FormatError, match=r"3,000 rows of 12 numbers are announced; there are \d,\d+ of 1[12]"):
            read(written(tmp_path / "c.txt", *cut), 500, LEADS[: cut[9].count(" ") + 1])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path, encoding):
    path = written(tmp_path / "a.csv", "fs;500", names(";", "{} [\u00b5V]"), *rows(delimiter=";"), encoding=encoding)
    found = read(path)
    assert found.units == ("\u00b5V",) * 12 and np.allclose(found.signal, X / 1000) and is_recording(str(path))
    assert found.notes == (("text taken as Latin-1",) if encoding == "latin-1" else ())


def test_tables_of_anything_else(tmp_path):
    for lines in (
        ["file,label", "a,1"],
        [
            "A database of 12 leads",
            "",
            "Leads i, ii, iii, avr, avl, avf, v1, v2 were recorded.",
            "Ages 20, 30, 40",
            "1, 2",
        ],
        ["A database", "There are leads, i, ii, iii", "and, others, too, here"],
        ["notes", "lead I and lead II were off", "12"],
    ):
        assert not is_recording(str(written(tmp_path / "a.csv", *lines)))


def test_names_of_what_is_no_lead(tmp_path):
    """Names of two columns, or of one, are not a key and its value."""
    for lines in (["time,ecg", *(f"{i / 500},{i}" for i in range(99))], ["ecg", *map(str, range(99))]):
        path = written(tmp_path / "a.csv", *lines)
        found = read(path, 500, "II")
        assert found.leads == ("II",) and np.array_equal(found.signal[0], np.arange(99)) and found.sampling_rate == 500


def test_times_without_a_unit(tmp_path):
    path = written(tmp_path / "a.csv", f"time,{names()}", *rows(first=[2 * i for i in range(X.shape[1])]))
    with pytest.raises(FormatError, match="time: no unit is stated, and in seconds .* 0.5 Hz.*Name the times"):
        read(path)
    assert read(path, 500).sampling_rate == 500
    with pytest.raises(FormatError, match="no unit is stated"):
        read(path, 250)


def test_real_files(shared):
    folder = shared / "real/formats"
    if not folder.is_dir():
        pytest.skip("needs ../shared/real")
    expected = json.loads((folder / "expected.json").read_text())
    for name in ("text/ECG_12L.csv", "text/testing_ecg.txt"):
        about = expected[name]
        found = read(folder / name, about["sampling_rate"])
        assert list(found.leads) == about["leads"] and found.samples == about["samples"]
        for lead, std in about["std_mV"].items():
            assert found.signal[found.leads.index(lead)].std(dtype=float) == pytest.approx(std, abs=2e-6)
        one, two, three = found.signal[:3]
        assert np.abs(three - two + one).max() <= about["lead_check_max_abs_mV"]["III"] + 1e-6
