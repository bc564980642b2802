"""ecgfm finetune: from recordings and a table of labels to a model directory that every command takes."""

import csv
import os

import numpy as np
import pytest

import ecgfm
from ecgfm.cli.main import main

QUICK = ["--epochs", "1", "--trainable", "head", "--lr", "1e-3"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with ten recordings, of which one is cut, and their labels."""
    folder = tmp_path_factory.mktemp("finetune")
    os.mkdir(folder / "recordings")
    rows = [["file", "patient_id", "fast", "age"]]
    for i in range(10):
        record = ecgfm.ecg.simulate(5, 500, heart_rate=60 + 40 * (i % 2), seed=i)
        np.savez(folder / "recordings" / f"r{i}.npz", signal=record.signal, sampling_rate=500, leads=record.leads)
        rows.append([f"r{i}.npz", f"P{i // 2}", i % 2, 40 + i])
    cut = folder / "recordings" / "r7.npz"
    cut.write_bytes(cut.read_bytes()[:700])
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def run(made, monkeypatch, *more):
    monkeypatch.chdir(made)
    return main(["finetune", "demo", "recordings/", "labels.csv", *QUICK, *more])


def test_a_model_comes_out(made, monkeypatch, capsys):
    """One recording is skipped: exit status 1. The model knows its label, and predict takes it."""
    assert run(made, monkeypatch, "--group", "patient_id", "--out", "tuned", "--balanced") == 1
    said = capsys.readouterr()
    assert "9 recordings, 9 segments, 5 groups; labels: fast" in said.out and "valid_loss" in said.out
    assert "skipped: recordings/r7.npz" in said.err and "labels are the columns of 0 and 1: fast" in said.err
    assert ecgfm.load("tuned").labels == ("fast",)
    with open("tuned/history.csv") as file:
        assert len(list(csv.DictReader(file))) == 1
    assert main(["predict", "tuned", "recordings/r0.npz"]) == 0
    assert "fast" in capsys.readouterr().out


@pytest.mark.parametrize(
    "more, said",
    [
        (["--out", "taken"], "taken/config.json: --out: the file exists"),
        (["--out", "t.pt"], "t.pt: --out: names a file"),
        (["--out", "new", "--group", "who"], "labels.csv: who: there is no column 'who'"),
        (["--out", "new", "--labels", "slow"], "slow"),
        (["--out", "new", "--loss", "mse"], "labels says which column is to be learned"),
        (["--out", "new", "--trainable", "some"], "trainable"),
        (["--out", "new", "--valid", "1"], "valid"),
        (["--out", "new", "--lr", "0"], "lr"),
        (["--out", "new", "--epochs", "0"], "epochs"),
    ],
)
def test_refusals(made, monkeypatch, capsys, more, said):
    monkeypatch.chdir(made)
    os.makedirs("taken", exist_ok=True)
    with open("taken/config.json", "w") as file:
        file.write("{}")
    assert run(made, monkeypatch, *more) == 2
    said_all = capsys.readouterr()
    assert "skipped" not in said_all.err or more[2] in ("--loss", "--trainable")  # else it was refused before reading
    errors = [line for line in said_all.err.splitlines() if line.startswith("ecgfm: error:")]
    assert len(errors) == 1 and said in errors[0]
    assert not os.path.exists("new/model.safetensors")
