"""Real recordings of ../shared read as its tables say, or are refused with the reason that is true."""

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED

from ecgfm import Error, read
from ecgfm.signal.leads import LEADS, canonical_lead, derive

REAL, RECORDS = SHARED / "real/formats", SHARED / "records"

#: What the user must say of files that leave it out.
GIVEN = {
    "text/testing_ecg.txt": {"sampling_rate": 500, "leads": LEADS, "unit": "uV"},
    "sph/SPH00001.h5": {"sampling_rate": 500},
    "sph/SPH00005.h5": {"sampling_rate": 500},
    "matlab/example_ecg.mat": {"sampling_rate": 500},
    "matlab/A1983.mat": {"sampling_rate": 500},
}

#: What is refused, and the words that say why.
REFUSED = {
    "scp/62.SCP": ["Healforce", "SCP-ECG", "Export"],
    "contec/0000053.ECG": ["Contec", "Export"],
    "edf/test_edfann.edf": ["EDF+", "no signal"],
    "edf/test_generator_datarec_generator_2.bdf": ["sine 2.5Hz", "no signal is an ECG lead", "missing"],
    "fhir/Observation-Example-observation-ekg.json": ["FHIR", "unit", "origin"],
    "matlab/data_00014.mat": ["leads"],
    "wfdb/237s/237s.hea": ["missing", "segment"],
    "wfdb/p000878/p000878-2137-10-26-16-57.hea": ["3269321_0003", "segment"],
}

#: Of these, the samples after the first 5,000 hold a calibration pulse, which is cut off.
PHILIPS = {"philips/invalid-doc-type.xml": "philips/129DYPRG.XML"}


@cache
def expected(folder):
    path = folder / "expected.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def names(folder, refused=False):
    """The files of a table, or one that stands for all where there is no table."""
    return [name for name in expected(folder) if (name in REFUSED) == refused] or [None]


def the(folder, name):
    if name is None:
        pytest.skip("needs ../shared/real and ../shared/records, which are not part of the project")
    entry = expected(folder)[name]
    for library in ("h5py",) * name.startswith("sph/") + ("ecgdatakit",) * name.startswith(("muse", "aecg", "scp")):
        pytest.importorskip(library, reason="needs the extra [io]")
    if name.startswith("wfdb/") and not name.endswith(("lr.hea", "E07500.hea")):
        pytest.importorskip("wfdb", reason="needs the extra [io]")
    return {**entry, **expected(folder).get(PHILIPS.get(name), {})}, folder / name


def rows(record):
    return dict(zip(record.leads, record.signal.astype(np.float64)))


def near(found, wanted, tolerance, what):
    found, wanted = (np.array([math.nan if value is None else value for value in each]) for each in (found, wanted))
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=tolerance, err_msg=what)


@pytest.mark.parametrize("name", names(REAL))
def test_formats(name):
    entry, path = the(REAL, name)
    record = read(path, **GIVEN.get(name, {}))
    found, tolerance = rows(record), entry.get("tolerance_mV", 1e-6)
    is_philips = "std_mV_first_5000" in entry
    rate = entry.get("sampling_rate_exact", entry["sampling_rate"])
    assert record.sampling_rate == pytest.approx(rate, rel=1e-6)
    if is_philips:
        assert 5000 <= record.samples < 5350 and any("calibration" in note for note in record.notes)
        assert record.samples == max(5000, entry["calibration_starts_at"] or 0)
    else:
        assert record.samples == entry["samples"]
    unread = [lead for lead, unit in zip(entry["leads"], entry.get("units", ())) if "V" not in unit]
    wanted = [canonical_lead(lead) for lead in entry["leads"] if lead not in unread]
    assert set(record.leads) == set(wanted) | set(record.derived)
    assert set(wanted) & set(LEADS) == set(LEADS) - set(record.derived) or len(wanted) < 8 or name.startswith("wfdb/")
    _numbers(found, entry, tolerance, is_philips)
    missing = {canonical_lead(lead): count for lead, count in entry.get("missing_samples", {}).items()}
    for lead in wanted:
        if "expanded_first5" not in entry:  # of frames, which wfdb averages
            assert np.isnan(found[lead]).sum() == missing.get(lead, 0), lead


def _numbers(found, entry, tolerance, is_philips):
    for key in ("first5_mV", "derived_first5_mV"):
        for lead, values in entry.get(key, {}).items():
            near(found[canonical_lead(lead)][:5], values, tolerance, lead)
    for key in ("first5", "frame_averaged_first5"):
        for lead in [lead for lead in entry.get(key, {}) if lead in found]:
            near(found[lead][:5], entry[key][lead], 1e-6, lead)
    for lead, values in entry.get("first5_raw", {}).items():  # of WFDB's formats, 200 steps per mV
        near(200 * found[lead][:5], values, 0.5, lead)
    for lead in [lead for lead in entry.get("std", {}) if lead in found]:
        near([np.nanstd(found[lead])], [entry["std"][lead]], 2e-6, lead)
    kept = slice(0, 5000) if is_philips else slice(None)
    spread = "std_mV_first_5000" if is_philips else "std_mV"
    for lead, value in {**entry.get(spread, {}), **entry.get("derived_std_mV", {})}.items():
        if canonical_lead(lead) in found:
            near([np.nanstd(found[canonical_lead(lead)][kept])], [value], 1e-6 + tolerance / 100, lead)
    for lead, value in {} if is_philips else entry.get("mean_mV", {}).items():
        if canonical_lead(lead) in found:
            near([np.nanmean(found[canonical_lead(lead)])], [value], 1e-6 + tolerance / 100, lead)
    for lead, values in {} if is_philips else entry.get("min_max_mV", {}).items():
        row = found.get(canonical_lead(lead))
        if row is not None:
            near([np.nanmin(row), np.nanmax(row)], values, tolerance, lead)


@pytest.mark.parametrize("name", names(REAL, refused=True))
def test_what_is_refused(name):
    _, path = the(REAL, name)
    with pytest.raises(Error) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and len(text) < 1000
    for word in REFUSED[name]:
        assert word.lower() in text.lower(), (word, text)


def identities(found):
    """Lead -> the largest deviation of what is recorded from what follows from I and II."""
    one, two = found["I"], found["II"]
    return {lead: np.abs(found[lead] - derive(lead, one, two)).max() for lead in ("III", "aVR", "aVL", "aVF")}


CHECKED = [name for name in names(REAL) if name and any("lead_check" in key for key in expected(REAL)[name])] or [None]


@pytest.mark.parametrize("name", CHECKED)
def test_limb_leads_are_what_their_names_say(name):
    entry, path = the(REAL, name)
    record = read(path, **GIVEN.get(name, {}))
    key = next(key for key in entry if key.startswith("lead_check"))
    kept = record.signal[:, :5000] if "first_5000" in key else record.signal
    found = dict(zip(record.leads, kept.astype(np.float64)))
    if len(found) < 6:
        found |= {lead: derive(lead, found["I"], found["II"]) for lead in LEADS[3:6]}
    for lead, most in entry[key].items():
        # what the table rounds, and half a step of float16
        assert identities(found)[lead] <= most + 2e-6 + (1e-3 if name.startswith("sph/") else 0), lead


@pytest.mark.parametrize("name", [name for name in CHECKED if name and name.startswith("wfdb/ludb")] or [None])
def test_integers_of_ludb(name):
    """Its gains scale each lead apart; what is stored fulfils Einthoven's law."""
    _, path = the(REAL, name)
    raw = np.frombuffer(path.with_suffix(".dat").read_bytes(), "<i2").reshape(-1, 12).T.astype(np.int64)
    assert (raw[2] == raw[1] - raw[0]).all()
    found = rows(read(path))
    lines = [line.split() for line in path.read_text().splitlines()[1:13]]
    for lead, line, row in zip(LEADS, lines, raw):
        gain, baseline = line[2].split("/")[0].rstrip(")").split("(")
        np.testing.assert_allclose(found[lead], (row - int(baseline)) / float(gain), atol=1e-6)


@pytest.mark.parametrize("name", names(RECORDS))
def test_records(name):
    entry, path = the(RECORDS, name)
    pytest.importorskip("ecgdatakit", reason="needs the extra [io]")
    record = read(path)
    assert record.sampling_rate == pytest.approx(entry["sampling_rate"]) and record.samples == entry["samples"]
    found = rows(record)
    wanted = [canonical_lead(lead) for lead in entry["leads"]]
    assert set(wanted) | set(record.derived) == set(record.leads)
    for lead, values in entry["mV"].items():
        row = found[canonical_lead(lead)]
        near(row[:5], values["first5"], 1e-5, lead)
        near(
            [row.min(), row.max(), row.mean(), row.std()],
            [values[k] for k in ("min", "max", "mean", "std")],
            2e-6,
            lead,
        )
    assert all(value <= 0.006 for value in identities(found).values()), identities(found)


GEORGIA = sorted(Path(SHARED, "real/challenge").glob("*/*.hea")) or [None]


@pytest.mark.parametrize("path", GEORGIA, ids=lambda path: path and path.stem)
def test_headers_of_the_challenges(path):
    """Also those that begin with ``E05526.mat``."""
    if path is None:
        pytest.skip("needs ../shared/real")
    record = read(path)
    lines = path.read_text().splitlines()
    _, count, rate, samples = lines[0].split()[:4]
    raw = np.frombuffer(path.with_suffix(".mat").read_bytes()[24:], "<i2").reshape(-1, int(count)).T
    assert record.sampling_rate == float(rate) and record.samples == int(samples) == raw.shape[1]
    for line, row, stored in zip(lines[1:], record.signal, raw):
        gain = float(line.split()[2].split("/")[0].split("(")[0])
        np.testing.assert_allclose(row, stored / gain, atol=1e-6)
    if not path.parent.name == "ptb":
        assert max(identities(rows(record)).values()) < 0.01
