"""What predict, embed, saliency, evaluate and demo say beside their numbers: caveats, doubts, assumptions, counts."""

import csv
import json
import os

import numpy as np
import pytest
from fakes import LABELS

import ecgfm
from ecgfm.ecg import simulate
from ecgfm.inference import stream

DEMO = os.path.join(os.path.dirname(ecgfm.__file__), "assets", "demo")
CAVEAT = "It knows simulated patients only"


@pytest.fixture
def recordings(tmp_path):
    made = tmp_path / "recordings"
    made.mkdir()
    for i in range(3):
        record = simulate(6.0, 500, seed=i)
        np.savez(made / f"{i}.npz", signal=record.signal, sampling_rate=500, leads=record.leads)
    return made


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_caveat_is_said_once_in_every_command(run, fake, recordings, tmp_path, monkeypatch):
    fake.caveat = CAVEAT
    out, err = (done := run("predict", "m.pt", recordings)).out, done.err
    assert out.count(CAVEAT) == 1 and CAVEAT not in err
    done = run("predict", "m.pt", recordings, "--json")
    assert json.loads(done.out)["model"]["caveat"] == CAVEAT and done.err.count(CAVEAT) == 1
    for argv in (["predict", "--out", tmp_path / "p.csv"], ["embed", "--out", tmp_path / "e.npy"]):
        done = run(argv[0], "m.pt", recordings, *argv[1:])
        assert done.status == 0 and (done.out + done.err).count(CAVEAT) == 1
    assert run("predict", "m.pt", recordings, "--out", tmp_path / "p.csv", "--resume").out.count(CAVEAT) == 1
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    truth = tmp_path / "t.csv"
    truth.write_text(f"file,{LABELS[0]},{LABELS[1]}\n0.npz,0,1\n1.npz,1,0\n2.npz,0,1\n")
    argv = ["--truth", truth, "--bootstrap", 0]
    assert run("evaluate", "m.pt", recordings, *argv).out.count(CAVEAT) == 1
    done = run("evaluate", "m.pt", recordings, *argv, "--json")
    assert json.loads(done.out)["model"]["caveat"] == CAVEAT and done.err.count(CAVEAT) == 1


def test_the_demonstration_model_says_what_it_is(run, recordings, tmp_path):
    model = ecgfm.load(DEMO)
    if not getattr(model, "caveat", None):
        pytest.skip("the model has no caveat")
    for argv in (["predict"], ["saliency", "--out", tmp_path / "s.npy"], ["embed", "--out", tmp_path / "e.npy"]):
        done = run(argv[0], DEMO, recordings, *argv[1:])
        assert (done.out + done.err).count(model.caveat) == 1
    assert run("demo", "--records", 1).out.count(model.caveat) == 1


def test_doubtful_signals_and_assumptions_are_in_the_summary(run, fake, recordings, tmp_path):
    record = simulate(6.0, 500, seed=7)
    record.signal[:6] = 0  # electrodes off
    np.savez(recordings / "off.npz", signal=record.signal, sampling_rate=500, leads=record.leads)
    for i in range(5):
        record = simulate(6.0, 500, seed=10 + i)
        np.savez(recordings / f"uv{i}.npz", signal=record.signal * 1000, sampling_rate=500, leads=record.leads)
    np.save(recordings / "plain.npy", simulate(6.0, 500, seed=8).signal)
    argv = ["predict", "m.pt", recordings, "--sampling-rate", "500"]
    for done in (
        run(*argv),
        run(*argv, "--out", tmp_path / "p.csv"),
        run("embed", "m.pt", recordings, "--sampling-rate", "500", "--out", tmp_path / "e.npy"),
    ):
        (doubts,) = [line for line in done.out.splitlines() if line.startswith("Doubtful")]
        assert doubts.startswith("Doubtful signals in 6 of 10: off.npz (flat: I II III") and "uv0.npz" in doubts
        assert "and 3 more (column quality)" in doubts
        (leads,) = [line for line in done.out.splitlines() if line.startswith("Leads assumed")]
        assert leads.endswith("; in 1 of 10: plain.npy (column notes).")
        (unit,) = [line for line in done.out.splitlines() if line.startswith("Unit assumed: mV; in 10 of 10: ")]
        assert unit.endswith(" and 7 more (column notes).")
    done = run(*argv, "--json")
    assert "Doubtful signals in 6 of 10" in done.err and json.loads(done.out)["records"]
    assert "Doubtful" not in run("predict", "m.pt", recordings / "0.npz").out


def test_a_recording_with_all_electrodes_off_is_skipped(run, fake, recordings, tmp_path):
    flat = np.repeat(np.arange(12.0)[:, None], 3000, axis=1)
    np.savez(recordings / "flat.npz", signal=flat, sampling_rate=500, leads=ecgfm.LEADS)
    two = np.concatenate([simulate(6.0, 500).signal[:2], flat[2:]])
    np.savez(recordings / "two.npz", signal=two, sampling_rate=500, leads=ecgfm.LEADS)
    done = run("predict", "m.pt", recordings, "--out", tmp_path / "p.csv")
    assert done.status == 1 and "flat.npz: signal: each lead holds one value throughout" in done.err
    assert [os.path.basename(row["file"]) for row in table(tmp_path / "p.csv")] == [
        "0.npz",
        "1.npz",
        "2.npz",
        "two.npz",
    ]
    for lead in (["--only-leads", "III"], ["--only-leads", "III,V1"]):
        done = run("predict", "m.pt", recordings / "two.npz", *lead)
        assert done.status == 2 and "each lead holds one value" in done.err


def test_the_first_line_counts_all(run, fake, recordings, tmp_path):
    files = [recordings / "0.npz"] * 120
    done = run("predict", "m.pt", *files, "--out", tmp_path / "p.csv")
    assert done.out.splitlines()[0] == "120 recordings, 120 segments of 5 s; 40 of the recordings are shown"
    assert run("predict", "m.pt", *files[:1]).out.splitlines()[0] == "1 recording, 1 segment of 5 s"


@pytest.mark.parametrize("option, value", [("--out", "new/deep/p.csv"), ("--out", "new/p.json")])
def test_folders_are_made(run, fake, recordings, tmp_path, monkeypatch, option, value):
    monkeypatch.chdir(tmp_path)
    assert run("predict", "m.pt", recordings, option, value).status == 0 and os.path.isfile(value)


def test_plots_go_into_a_folder_that_is_made(run, recordings, tmp_path):
    pytest.importorskip("matplotlib")
    argv = ["--out", tmp_path / "a" / "s.npy", "--plot", tmp_path / "b" / "c"]
    assert run("saliency", DEMO, recordings / "0.npz", *argv).status == 0
    assert len(os.listdir(tmp_path / "b" / "c")) == 1


@pytest.mark.parametrize("name", ["p.parquet", "p.tsv", "p.csv.gz", "p.npz", "p", "p.CSVX"])
def test_an_ending_decides_or_is_refused_before_the_work(run, fake, recordings, tmp_path, name):
    truth = tmp_path / "t.csv"
    truth.write_text(f"file,{LABELS[0]}\n0.npz,0\n1.npz,1\n2.npz,1\n")
    for command, argv in (
        ("predict", []), ("embed", []), ("saliency", []), ("evaluate", ["--truth", truth]),
        ("evaluate", ["--truth", truth, "--predictions", tmp_path / name, "--out", tmp_path / "o.csv"])
    ):  # fmt: skip
        more = [] if "--out" in argv else ["--out", tmp_path / name]
        done = run(command, "m.pt", recordings, *argv, *more)
        assert done.status == 2 and "the name must end in" in done.err and done.err.count("\n") == 1
    assert fake.batches == [] and fake.calls == [] and set(os.listdir(tmp_path)) == {"recordings", "t.csv"}


def test_a_broken_off_run_asks(run, fake, recordings, tmp_path):
    out = tmp_path / "p.csv"
    call = type(fake).__call__

    class Stops(type(fake)):
        def __call__(self, x, padding_mask=None):
            if len(self.batches):
                raise KeyboardInterrupt
            return call(self, x, padding_mask)

    fake.__class__ = Stops
    argv = ["predict", "m.pt", recordings, "--out", out, "--batch-size", 1]
    assert run(*argv).status == 130
    fake.__class__ = Stops.__base__
    done = run(*argv)
    assert done.status == 2 and "--resume" in done.err and "--overwrite" in done.err and done.err.count("\n") == 1
    assert os.path.exists(f"{out}.part")
    assert "1 of the recordings had been done before" in run(*argv, "--resume").out
    os.unlink(recordings / "2.npz")
    assert "1 recording of the earlier run left out" in run(*argv, "--resume").out
    assert [os.path.basename(row["file"]) for row in table(out)] == ["0.npz", "1.npz"]


def test_a_mistake_of_ours_in_the_midst_of_a_command(run, fake, recordings, tmp_path, monkeypatch):
    def mistaken(*args, **options):
        raise TypeError("unsupported operand")

    monkeypatch.setattr(stream, "segments_of", mistaken)
    for argv in ([], ["--out", tmp_path / "p.csv"]):
        done = run("predict", "m.pt", recordings, *argv)
        assert done.status == 3 and done.err.count("\n") == 1
        assert "a defect of ecgfm: TypeError in inference/stream.py" in done.err
        shown = run("predict", "m.pt", recordings, *argv, "--debug")
        assert shown.status == 3 and "Traceback" in shown.err and "in mistaken" in shown.err


def test_a_reader_s_mistake_is_shown_by_debug(run, fake, recordings, monkeypatch):
    real = stream.segments_of

    def mistaken(one, reading):
        if not one.endswith("1.npz"):
            return real(one, reading)
        try:
            raise TypeError("deep inside a reader")
        except TypeError as error:
            raise ecgfm.FormatError("cannot be read: TypeError in the NPZ reader", path=one) from error

    monkeypatch.setattr(stream, "segments_of", mistaken)
    for debug in ([], ["--debug"]):
        done = run("predict", "m.pt", recordings, *debug)
        assert done.status == 1 and "1.npz: cannot be read" in done.err
        assert ("deep inside a reader" in done.err) == bool(debug)
        alone = run("predict", "m.pt", recordings / "1.npz", *debug)
        assert alone.status == 2 and ("deep inside a reader" in alone.err) == bool(debug)


def test_labels_with_controls(run, fake, recordings, tmp_path):
    fake.labels = ("a\x1b[2J", "\u202eb", "=1+1", "c\udcff", "d\x07")
    done = run("predict", "m.pt", recordings, "--out", tmp_path / "p.csv")
    written = (tmp_path / "p.csv").read_text(encoding="utf-8") + (tmp_path / "p.segments.csv").read_text(
        encoding="utf-8"
    )
    written += run("predict", "m.pt", recordings, "--json").out
    assert not {"\x1b", "\u202e", "\x07"} & set(done.out + done.err + written) and done.out.isascii()
    assert "'=1+1" in table(tmp_path / "p.csv")[0]
    assert json.loads(run("predict", "m.pt", recordings, "--json").out)["labels"][3] == "c\\udcff"
