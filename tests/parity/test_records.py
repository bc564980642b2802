"""Real recordings of five formats against values that were read independently."""

import csv
import json

import numpy as np
import pytest

from ecgfm import LEADS, load, predict, prepare, read
from ecgfm.cli.main import main
from ecgfm.ecg import canonical_lead, quality
from ecgfm.io import is_recording

FILES = {
    "s0010_re.hea": "wfdb",
    "waveform_ecg.dcm": "numpy",
    "muse_1.xml": "ecgdatakit",
    "muse_2.xml": "ecgdatakit",
    "example.scp": "ecgdatakit",
}


@pytest.fixture(params=FILES)
def name(request, shared):
    pytest.importorskip(FILES[request.param], reason="needs the extra [io]")
    return request.param


@pytest.fixture
def expected(name, shared):
    return json.loads((shared / "records" / "expected.json").read_text())[name]


def test_rates_leads_and_values(name, expected, shared):
    record = read(shared / "records" / name)
    assert record.sampling_rate == expected["sampling_rate"] and record.samples == expected["samples"]
    assert set(record.leads) == {canonical_lead(lead) for lead in expected["leads"]}
    assert len(record.leads) == len(expected["leads"]) == len(expected["mV"])
    for lead, values in expected["mV"].items():
        row = record.signal[record.leads.index(canonical_lead(lead))].astype(np.float64)
        rounded = [round(value, 6) for value in row[:5].tolist()]
        assert rounded == values["first5"], lead
        assert (round(row.min(), 6), round(row.max(), 6)) == (values["min"], values["max"]), lead
        np.testing.assert_allclose([row.mean(), row.std()], [values["mean"], values["std"]], rtol=0, atol=1e-6)


def test_what_is_told_of_them(name, shared):
    record = read(shared / "records" / name)
    assert record.derived == (("III", "aVR", "aVL", "aVF") if name.startswith("muse") else ())
    assert quality(record) == {}
    segments = prepare(record)
    assert segments.x.shape == (int(record.duration_s // 5), 12, 2500) and segments.provenance["zero_leads"] == []
    assert segments.provenance["derived_leads"] == list(record.derived)


def test_einthoven_holds_in_each(name, shared):
    record = read(shared / "records" / name)
    rows = {lead: record.signal[record.leads.index(lead)].astype(np.float64) for lead in LEADS[:6]}
    step = 0.011  # mV: each lead was rounded by itself
    assert np.abs(rows["I"] + rows["III"] - rows["II"]).max() < step
    assert np.abs(rows["aVR"] + rows["aVL"] + rows["aVF"]).max() < step


@pytest.mark.parametrize("as_folder", [False, True])
def test_all_are_predicted_in_one_command(shared, tmp_path, capsys, as_folder):
    for module in set(FILES.values()):
        pytest.importorskip(module, reason="needs the extra [io]")
    records = shared / "records"
    assert {path.name for path in records.iterdir() if is_recording(str(path))} == set(FILES)  # no .dat, .xyz, .json
    given = [records] if as_folder else [records / file for file in FILES]
    out = tmp_path / "p.csv"
    assert main(["predict", str(shared / "golden/tiny/finetuned.pt"), *map(str, given), "--out", str(out)]) == 0
    capsys.readouterr()
    with open(out, newline="") as file:
        rows = {row["file"].rpartition("/")[2]: row for row in csv.DictReader(file)}
    assert set(rows) == set(FILES)
    assert rows["muse_1.xml"]["derived_leads"] == "III aVR aVL aVF" and rows["example.scp"]["derived_leads"] == ""
    assert {row["quality"] for row in rows.values()} == {""} and rows["s0010_re.hea"]["sampling_rate"] == "1000.0"
    model = load(shared / "golden/tiny/finetuned.pt")
    found = predict(model, read(records / "muse_1.xml"))
    label = found.labels[0]
    np.testing.assert_allclose(float(rows["muse_1.xml"][label]), found.records[label][0], atol=1e-5)
