"""What a folder holds beside recordings is counted and named; endings decide what is written."""

import csv

import numpy as np
import pytest

import ecgfm
from ecgfm.ecg import simulate


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "recordings"
    made.mkdir()
    record = simulate(6.0, 500, seed=0)
    np.savez(made / "a.npz", signal=record.signal, sampling_rate=500, leads=record.leads)
    (made / "b.txt").write_text("1 2 3\n")
    (made / "c.csv.gz").write_bytes(b"\x1f\x8b")
    (made / "README.md").write_text("about\n")
    return made


def test_files_left_out_are_said_once_and_in_the_status(run, fake, folder, tmp_path):
    for argv in (["predict"], ["predict", "--out", tmp_path / "p.csv"], ["embed", "--out", tmp_path / "e.npy"]):
        done = run(argv[0], "m.pt", folder, *argv[1:])
        assert done.err.count("2 files were left out, not read as recordings (1 .txt, 1 .gz)") == 1
        assert "b.txt" in done.err and "inflate it first" in done.err and "README" not in done.err
    for name in ("p", "e"):
        with open(tmp_path / f"{name}.status.csv", newline="") as file:
            rows = [(row["file"].rpartition("/")[2], row["status"]) for row in csv.DictReader(file)]
        assert sorted(rows) == [("a.npz", "done"), ("b.txt", "ignored"), ("c.csv.gz", "ignored")]
    run("predict", "m.pt", folder, "--out", tmp_path / "p.csv", "--resume")


def test_a_folder_of_nothing_else(run, fake, folder):
    (folder / "a.npz").unlink()
    done = run("predict", "m.pt", folder)
    assert done.status == 2 and len(done.err.splitlines()) == 1
    assert "holds no recordings; 2 files were left out" in done.err and "b.txt" in done.err


def test_in_python_it_is_a_warning(fake, folder):
    with pytest.warns(ecgfm.InputWarning, match="2 files were left out"):
        ecgfm.predict(fake, folder)


def test_of_two_columns_of_paths_the_one_that_is_there(fake, folder):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"filename_lr": [str(folder / "a.npz")], "filename_hr": ["no/such_hr"], "age": [50]})
    assert len(ecgfm.predict(fake, table).records) == 1
    assert len(ecgfm.predict(fake, table[["filename_lr"]].values).records) == 1


def test_the_endings_of_label_and_plot(run, fake, folder, tmp_path):
    reports = tmp_path / "r.csv"
    reports.write_text("report\nSinus rhythm\n")
    for name, how in (("l.parquet", "long"), ("l.json", "wide"), ("l.csv", "jsonl"), ("l", "long")):
        done = run("label", reports, "--out", tmp_path / name, "--format", how)
        assert done.status == 2 and "--out: the name must end in" in done.err
    assert run("label", reports, "--out", tmp_path / "new" / "l.CSV").status == 0
    done = run("saliency", "m.pt", folder, "--out", tmp_path / "s.npy", "--plot", tmp_path / "a.png")
    assert done.status == 2 and "--plot" in done.err and "folder" in done.err
