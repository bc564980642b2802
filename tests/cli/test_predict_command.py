"""ecgfm predict: tables, files, JSON, and what is skipped."""

import csv
import json
import os

import numpy as np
import pytest

import ecgfm


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_tables(run, fake, folder):
    done = run("predict", "fake.pt", folder, "--sampling-rate", 500)
    assert done.status == 0 and done.err == ""
    assert done.out.startswith("3 recordings, 4 segments of 5 s")
    assert "Probability per recording (aggregate: tutorial)" in done.out and "Probability per segment" in done.out
    assert "Label names are assumed" in done.out and done.out.endswith("Not for clinical use.\n")
    fake.labels_assumed = False
    assert "Label names are assumed" not in run("predict", "fake.pt", folder / "b.npz").out
    fake.labels = None
    assert "The model has no label names" in run("predict", "fake.pt", folder / "b.npz").out


def test_json(run, fake, folder):
    done = run("predict", "fake.pt", folder, "--sampling-rate", 500, "--json")
    data = json.loads(done.out)
    assert list(data) == ["model", "labels", "records", "segments", "errors"]
    assert [os.path.basename(row["file"]) for row in data["records"]] == ["a.npy", "b.npz", "c.csv"]
    assert len(data["segments"]) == 4 and data["model"]["labels_assumed"] is True
    assert "Label names are assumed" in done.err and "Not for clinical use." in done.err


@pytest.mark.parametrize("method", ["tutorial", "mean", "max"])
def test_out(run, fake, folder, tmp_path, method):
    out = tmp_path / "preds.csv"
    done = run("predict", "m.pt", folder / "b.npz", folder / "c.csv", "--out", out, "--aggregate", method)
    assert done.status == 0 and f"Written: {out}, {tmp_path / 'preds.segments.csv'}" in done.out
    result = ecgfm.predict(fake, [folder / "b.npz", folder / "c.csv"], aggregate=method)
    records, segments = table(out), table(tmp_path / "preds.segments.csv")
    assert list(records[0]) == result.records.columns and list(segments[0]) == result.segments.columns
    assert [row["segments"] for row in records] == ["2", "1"]
    for i, label in enumerate(fake.labels):
        assert [np.float32(row[label]) for row in records] == result.records.probabilities[:, i].tolist()
        assert [np.float32(row[label]) for row in segments] == result.segments.probabilities[:, i].tolist()
    assert {row["aggregate"] for row in records} == {method}
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_out_as_json(run, fake, folder, tmp_path):
    assert run("predict", "m.pt", folder / "b.npz", "--out", tmp_path / "p.json").status == 0
    assert len(json.loads((tmp_path / "p.json").read_text())["segments"]) == 2


def test_options_arrive(run, fake, folder):
    np.save(folder / "d.npy", np.load(folder / "a.npy")[::-1])
    leads = ",".join(ecgfm.LEADS[::-1])
    argv = ["predict", "m.pt", folder / "d.npy", folder / "b.npz", "--sampling-rate", "500"]
    assert run(*argv, "--labels", "label_def.csv", "--batch-size", 1).status == 0
    options = {"labels": "label_def.csv", "precision": None, "max_change": 0.01, "input": None}
    assert fake.calls == [("m.pt", options)]
    assert fake.batches == [(1, 12, 2500)] * 3
    fake.batches.clear()
    reverse = json.loads(run(*argv[:3], *argv[4:], "--leads", leads, "--json").out)["records"][0]
    straight = json.loads(run("predict", "m.pt", folder / "a.npy", *argv[4:], "--json").out)["records"][0]
    assert reverse["Sinus rhythm"] == straight["Sinus rhythm"]


def test_choices_arrive(run, fake, tmp_path):
    signal = ecgfm.ecg.simulate(3, 500).signal
    np.savez(tmp_path / "a.npz", signal=signal[[0, 1, 7]], sampling_rate=500, leads=["I", "II", "V2"])
    done = run("predict", "m.pt", tmp_path / "a.npz")
    assert done.status == 2 and "--short pad" in done.err
    done = run("predict", "m.pt", tmp_path / "a.npz", "--short", "pad")
    assert done.status == 2 and "--missing-leads zero" in done.err
    argv = ["--missing-leads", "zero", "--short", "pad", "--only-leads", "ii,V2,V3"]
    done = run("predict", "m.pt", tmp_path / "a.npz", *argv, "--out", tmp_path / "p.csv")
    assert done.status == 0
    (row,) = table(tmp_path / "p.csv")
    assert row["zero_leads"] == "I III aVR aVL aVF V1 V3 V4 V5 V6" and row["padded_s"] == "2.0"
    assert table(tmp_path / "p.segments.csv")[0]["end_s"] == "3.0"
    assert run("predict", "m.pt", tmp_path / "a.npz", "--short", "cut").status == 2


def test_threads(run, fake, folder):
    before = ecgfm.get_num_threads()
    try:
        assert run("predict", "m.pt", folder / "b.npz", "--threads", 1).status == 0
        assert ecgfm.get_num_threads() == 1
    finally:
        ecgfm.set_num_threads(before)
    assert run("predict", "m.pt", folder / "b.npz", "--threads", 0).status == 2


def test_bad_files_among_good_are_skipped(run, fake, folder):
    (folder / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00")
    files = [folder / "bad.npy", folder / "b.npz", folder / "absent.csv", folder / "c.csv"]
    done = run("predict", "m.pt", *files, "--json")
    assert done.status == 1
    lines = [line for line in done.err.splitlines() if line.startswith("ecgfm: skipped: ")]
    assert len(lines) == 2 and f"{files[0]}: signal: a damaged .npy header" in lines[0]
    assert lines[1] == f"ecgfm: skipped: {files[2]}: no such file"
    data = json.loads(done.out)
    assert [row["file"] for row in data["records"]] == [str(files[1]), str(files[3])]
    assert [row["file"] for row in data["errors"]] == [str(files[0]), str(files[2])]
    assert run("predict", "m.pt", files[0], files[1]).err.count("ecgfm: skipped") == 1


def test_if_all_are_bad_the_command_fails(run, fake, folder, tmp_path):
    done = run("predict", "m.pt", folder / "absent.csv", "--out", tmp_path / "p.csv")
    assert (done.status, done.out) == (2, "") and not (tmp_path / "p.csv").exists()
    assert done.err == f"ecgfm: error: {folder / 'absent.csv'}: no such file\n"
    done = run("predict", "m.pt", "x.csv", "y.csv")
    assert done.status == 2 and done.err.splitlines() == [
        "ecgfm: skipped: x.csv: no such file",
        "ecgfm: skipped: y.csv: no such file",
        "ecgfm: error: none of the 2 recordings could be read",
    ]


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--out", "."], "--out: a directory, not a file"),
        (["--out", "a.npy/p.csv"], "--out: the directory can't be made: "),
        (["--out", "p.parquet"], "--out: the name must end in .csv or .json"),
        (["--out", "p"], "--out: the name must end in .csv or .json"),
        (["--overwrite"], "--overwrite: only CSV files can be continued"),
        (["--batch-size", "0"], "batch_size: 0 is not an integer from 1"),
        (["--sampling-rate", "5"], "sampling_rate: the sampling rate 5.0 is not"),
        (["--leads", "I,I"], "leads: named more than once: I"),
        (["--aggregate", "median"], "argument --aggregate: invalid choice"),
    ],
)
def test_wrong_options(run, fake, folder, argv, words, monkeypatch):
    monkeypatch.chdir(folder)
    done = run("predict", "m.pt", folder / "b.npz", folder / "c.csv", *argv)
    assert done.status == 2 and words in done.err and done.err.count("\n") == 1


def test_an_old_result_survives_a_failure(run, fake, folder, tmp_path, monkeypatch):
    out = tmp_path / "p.csv"
    out.write_text("old")

    def full(*args):
        raise OSError(28, "No space left on device", args[1])

    monkeypatch.setattr(os, "replace", full)
    done = run("predict", "m.pt", folder / "b.npz", "--out", out)
    assert done.status == 2 and "No space left on device" in done.err
    assert out.read_text() == "old" and not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_a_recording_is_not_written_over(run, fake, folder):
    before = (folder / "c.csv").read_text()
    done = run("predict", "m.pt", folder / "b.npz", folder / "c.csv", "--out", folder / "." / "c.csv")
    assert done.status == 2 and "--out: is one of the recordings" in done.err
    assert (folder / "c.csv").read_text() == before and fake.calls == []


def test_an_absent_checkpoint(process, folder):
    done = process("predict", folder / "absent.pt", folder / "b.npz")
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.startswith(f"ecgfm: error: {folder / 'absent.pt'}") and done.stderr.count("\n") == 1
