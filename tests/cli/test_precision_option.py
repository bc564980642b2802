"""--precision of the commands that load a model, and of convert."""

import csv
import json
import os

import numpy as np
import pytest

import ecgfm
from ecgfm.ecg import simulate
from ecgfm.kernels import core

DEMO = os.path.join(os.path.dirname(ecgfm.__file__), "assets", "demo")
LOWER = [name for name in ("int8", "bfloat16") if name in core().precisions()]

pytestmark = pytest.mark.skipif(not LOWER, reason="this processor has float32 alone")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(2):
        record = simulate(5.5, 500, seed=i)
        np.savez(folder / f"{i}.npz", signal=record.signal, sampling_rate=500, leads=record.leads)
    return folder


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("precision", LOWER)
def test_it_is_in_what_the_commands_write(run, recordings, tmp_path, precision):
    model = ecgfm.load(DEMO, precision=precision)
    expected = ecgfm.predict(model, recordings)
    assert run("predict", DEMO, recordings, "--out", tmp_path / "p.csv", "--precision", precision).status == 0
    assert {row["precision"] for row in table(tmp_path / "p.csv")} == {precision}
    label = model.labels[0]
    assert [np.float32(row[label]) for row in table(tmp_path / "p.csv")] == expected.records[label].tolist()
    done = run("predict", DEMO, recordings, "--json", "--precision", precision)
    assert json.loads(done.out)["model"]["precision"] == precision and "precision" not in done.err
    assert run("embed", DEMO, recordings, "--out", tmp_path / "e.npy", "--precision", precision).status == 0
    assert np.array_equal(np.load(tmp_path / "e.npy"), ecgfm.embed(model, recordings).embeddings)
    assert {row["precision"] for row in table(tmp_path / "e.csv")} == {precision}
    assert run("saliency", DEMO, recordings, "--out", tmp_path / "s.npy", "--precision", precision).status == 0
    assert {row["precision"] for row in table(tmp_path / "s.csv")} == {precision}


def test_evaluate_and_demo(run, recordings, tmp_path):
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    names = ecgfm.load(DEMO).labels
    rows = [["file", *names], ["0.npz", *"1" * len(names)], ["1.npz", *"0" * len(names)]]
    (tmp_path / "y.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    done = run("evaluate", DEMO, recordings, "--truth", tmp_path / "y.csv", "--bootstrap", 0, "--json",
               "--predictions", tmp_path / "s.csv", "--precision", LOWER[0])  # fmt: skip
    assert json.loads(done.out)["model"]["precision"] == LOWER[0]
    assert {row["precision"] for row in table(tmp_path / "s.csv")} == {LOWER[0]}
    done = run("demo", "--records", 1, "--seed", 1, "--json", "--precision", LOWER[0])
    assert done.status == 0 and json.loads(done.out)["model"]["precision"] == LOWER[0]


def test_resuming_in_another_precision_is_refused(run, recordings, tmp_path):
    out = tmp_path / "p.csv"
    assert run("predict", DEMO, recordings / "0.npz", "--out", out).status == 0
    done = run("predict", DEMO, recordings, "--out", out, "--resume", "--precision", LOWER[0])
    assert done.status == 2 and "begin anew, without resume" in done.err
    assert {row["precision"] for row in table(out)} == {"float32"}


def test_auto_says_what_it_took(run, recordings, tmp_path):
    done = run("predict", DEMO, recordings, "--precision", "auto")
    assert (
        done.status == 0
        and f"ecgfm: float32 is taken: no report says how exact others are; ecgfm speed {DEMO}" in done.err
    )
    ecgfm.load(DEMO).save(tmp_path / "m", report=ecgfm.quantization_report(DEMO))
    done = run("predict", tmp_path / "m", recordings, "--precision", "auto", "--max-change", "1e-9")
    assert done.status == 0 and "not below 1e-09" in done.err
    assert run("predict", DEMO, recordings, "--precision", "auto", "--max-change", "-1").status == 2
    assert run("predict", DEMO, recordings, "--precision", "float8").status == 2


@pytest.mark.parametrize("precision", LOWER)
def test_convert(run, recordings, tmp_path, precision):
    assert run("convert", DEMO, tmp_path / "m", "--precision", precision).status == 0
    model, expected = ecgfm.load(tmp_path / "m"), ecgfm.load(DEMO, precision=precision)
    assert model.precision == precision and model.labels == expected.labels and model.info == expected.info
    x = ecgfm.prepare(ecgfm.read(recordings / "0.npz"))
    assert np.array_equal(model(x).logits, expected(x).logits)
    done = run("predict", tmp_path / "m", recordings, "--precision", "float32")
    assert done.status == 0 and f"rounded to {precision} when the model was saved" in done.err
    assert run("convert", tmp_path / "m", tmp_path / "m.pt").status == 0
    assert ecgfm.load(tmp_path / "m.pt").precision == "float32"
    lines = run("inspect", tmp_path / "m").out.splitlines()
    assert f"precision   {precision}" in lines


def test_speed_keeps_its_report(run, tmp_path):
    ecgfm.load(DEMO).save(tmp_path / "m")
    quick = ("--quick", "--starts", 0, "--rounds", 1, "--batch", 1, "--precision", LOWER[0])
    done = run("speed", tmp_path / "m", *quick, "--accuracy", "--keep")
    assert done.status == 0 and "Kept: " in done.err and "Change of the probabilities against float32" in done.out
    assert ecgfm.load(tmp_path / "m").report.of(LOWER[0]).all.largest > 0
    assert run("speed", tmp_path / "m", *quick, "--keep").status == 2
