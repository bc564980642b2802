"""embed, saliency, evaluate and predict on many files: options, --resume, the progress bar, Ctrl-C."""

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from bounded import PATIENCE_S
from fakes import LABELS

import ecgfm
from ecgfm.cli.common import Bar
from ecgfm.ecg import simulate

DEMO = os.path.join(os.path.dirname(ecgfm.__file__), "assets", "demo")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Six simulated recordings, the third of them damaged."""
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(6):
        record = simulate(5.5 + 5 * (i % 2), 500, seed=i)
        np.savez(folder / f"{i}.npz", signal=record.signal, sampling_rate=500, leads=record.leads)
    (folder / "2.npz").write_bytes(b"PK\x03\x04")
    return folder


@pytest.fixture(scope="module")
def model():
    return ecgfm.load(DEMO)


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def good(folder):
    return [str(folder / f"{i}.npz") for i in (0, 1, 3, 4, 5)]


# ---- embed and saliency ---------------------------------------------------------------------------------------------


def test_embed(run, recordings, model, tmp_path):
    out = tmp_path / "e.npy"
    done = run("embed", DEMO, recordings, "--out", out)
    assert done.status == 1 and "skipped: " + str(recordings / "2.npz") in done.err
    assert "5 recordings, 8 segments of 5 s" in done.out and str(tmp_path / "e.status.csv") in done.out
    expected = ecgfm.embed(model, good(recordings))
    np.testing.assert_allclose(np.load(out), expected.embeddings, atol=1e-5)
    assert [row["file"] for row in table(tmp_path / "e.csv")] == expected.segments["file"].tolist()


@pytest.mark.parametrize(
    "argv, options, kind",
    [
        (["--layer", 0], {"layer": 0}, "embeddings"),
        (["--tokens"], {"tokens": True}, "tokens"),
        (["--per", "record"], {}, "records"),
        (["--overlap", 2.5], {"overlap_s": 2.5}, "embeddings"),
        (["--only-leads", "I,II"], {"only_leads": ["I", "II"]}, "embeddings"),
    ],
)
def test_embed_options(run, recordings, model, tmp_path, argv, options, kind):
    assert run("embed", DEMO, *good(recordings), "--out", tmp_path / "e.npy", *argv).status == 0
    expected = ecgfm.embed(model, good(recordings), **options)
    expected = expected.per_record() if kind == "records" else getattr(expected, kind)
    np.testing.assert_allclose(np.load(tmp_path / "e.npy"), expected, atol=1e-5)


def test_saliency(run, recordings, model, tmp_path):
    argv = ["--out", tmp_path / "s.npy", "--layer", 1, "--reduction", "received"]
    assert run("saliency", DEMO, *good(recordings), *argv).status == 0
    expected = ecgfm.saliency(model, good(recordings), layer=1, reduction="received")
    np.testing.assert_allclose(np.load(tmp_path / "s.npy"), expected.samples, atol=1e-4)
    assert len(table(tmp_path / "s.csv")) == 8
    argv[1] = tmp_path / "t.npy"
    assert run("saliency", DEMO, *good(recordings), *argv, "--tokens").status == 0
    np.testing.assert_allclose(np.load(tmp_path / "t.npy"), expected.tokens, atol=1e-5)


def test_saliency_draws(run, recordings, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "plots").mkdir()
    argv = ["--out", tmp_path / "s.npy", "--plot", tmp_path / "plots"]
    done = run("saliency", DEMO, *good(recordings)[:2], *argv)
    assert done.status == 0 and "Drawn: 2 pictures" in done.out
    for name in ("0_0.png", "1_1.png"):
        assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "command, argv, words",
    [
        ("embed", ["--out", "e.csv"], "--out: the name must end in .npy"),
        ("embed", ["--out", "e.npy", "--layer", "9"], "layer: 9 is not an integer from 0 to 2"),
        ("embed", ["--out", "e.npy", "--tokens", "--per", "record"], "--per: tokens are those of a segment"),
        ("embed", [], "the following arguments are required: --out"),
        ("saliency", ["--out", "s.npy", "--layer", "-1"], "layer: -1 is not"),
        ("saliency", ["--out", "s.npy", "--plot", "/dev/null/x"], "--plot: the directory can't be made"),
        ("saliency", ["--out", "s.npy", "--reduction", "mean"], "invalid choice"),
        ("embed", ["--out", "e.npy", "--overlap", "5"], "overlap_s: 5.0 is not a number from 0 to 4.9"),
        ("embed", ["--out", "e.npy", "--readers", "-1"], "readers: -1 is not an integer"),
    ],
)
def test_wrong_options(run, recordings, tmp_path, monkeypatch, command, argv, words):
    monkeypatch.chdir(tmp_path)
    done = run(command, DEMO, *good(recordings), *argv)
    assert done.status == 2 and words in done.err and done.err.count("\n") == 1, done.err
    assert os.listdir(tmp_path) == []


# ---- evaluate -------------------------------------------------------------------------------------------------------


def truth(path, files):
    y = np.random.default_rng(2).integers(0, 2, (len(files), len(LABELS)))
    y[0], y[1] = 0, 1
    y[:, -1] = 0  # a label of one class
    lines = [",".join(["file", *LABELS])]
    lines += [",".join([os.path.basename(file), *map(str, row)]) for file, row in zip(files, y)]
    path.write_text("\n".join(lines) + "\n")
    return y


def test_evaluate(run, fake, recordings, tmp_path):
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    y = truth(tmp_path / "truth.csv", good(recordings))
    argv = ["--truth", tmp_path / "truth.csv", "--bootstrap", 50]
    done = run("evaluate", "m.pt", *good(recordings), *argv, "--json")
    assert done.status == 0, done.err
    expected = ecgfm.evaluate(fake, good(recordings), y, bootstrap=50)
    assert json.loads(done.out) == json.loads(expected.to_json())
    done = run("evaluate", "m.pt", recordings, *argv, "--out", tmp_path / "e.csv", "--predictions", tmp_path / "p.csv")
    assert done.status == 1 and "macro" in done.out  # one recording is damaged
    assert [row["record"] for row in table(tmp_path / "p.csv")] == good(recordings)
    assert {row["label"] for row in table(tmp_path / "e.csv")} >= set(LABELS)


def test_evaluate_names_what_has_no_labels(run, fake, recordings, tmp_path):
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    truth(tmp_path / "truth.csv", good(recordings)[:4])
    done = run("evaluate", "m.pt", *good(recordings), "--truth", tmp_path / "truth.csv", "--bootstrap", 0)
    assert done.status == 1 and f"left out: {good(recordings)[4]}: it is not in the labels" in done.err


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--truth", "absent.csv"], "absent.csv"),
        ([], "the following arguments are required: --truth"),
        (["--truth", "t.csv", "--bootstrap", "-1"], "bootstrap"),
        (["--truth", "t.csv", "--confidence", "1.5"], "confidence"),
        (["--truth", "t.csv", "--out", "t.csv"], "is one of the recordings"),
    ],
)
def test_evaluate_wrong_options(run, fake, recordings, tmp_path, monkeypatch, argv, words):
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    monkeypatch.chdir(tmp_path)
    truth(tmp_path / "t.csv", good(recordings))
    done = run("evaluate", "m.pt", *good(recordings), *argv)
    assert done.status == 2 and words in done.err and done.err.count("\n") == 1, done.err


# ---- many files -----------------------------------------------------------------------------------------------------


def test_resume(run, recordings, tmp_path):
    whole, out = tmp_path / "whole.csv", tmp_path / "p.csv"
    assert run("predict", DEMO, *good(recordings), "--out", whole).status == 0
    assert run("predict", DEMO, *good(recordings)[:2], "--out", out, "--resume").status == 0
    done = run("predict", DEMO, *good(recordings), "--out", out, "--resume")
    assert done.status == 0 and "2 of the recordings had been done before" in done.out
    assert [row["file"] for row in table(out)] == [row["file"] for row in table(whole)]
    done = run("predict", DEMO, *good(recordings), "--out", out, "--resume", "--aggregate", "max")
    assert done.status == 2 and "begin anew, without resume" in done.err
    assert run("predict", DEMO, *good(recordings), "--out", out, "--resume").status == 0
    done = run("predict", DEMO, *good(recordings), "--resume")
    assert done.status == 2 and "--resume: only CSV files can be continued" in done.err


def slowly(argv, **options):
    """A process that runs a command with a model that takes its time."""
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "import ecgfm.model\n"
        "call = ecgfm.model.Model.__call__\n"
        "ecgfm.model.Model.__call__ = lambda *args, **given: (time.sleep(0.15), call(*args, **given))[1]\n"
        "from ecgfm.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    return subprocess.Popen([sys.executable, "-c", code, *map(str, argv)], **options)


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_broken_off_and_continued(run, recordings, tmp_path, number, status):
    out = tmp_path / "p.csv"
    files = good(recordings) * 20
    argv = ["predict", DEMO, *files, "--out", out, "--batch-size", 1]
    with slowly(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        status_file = tmp_path / "p.status.csv.part"
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and not (status_file.exists() and status_file.read_text().count("\n") > 3):
            time.sleep(0.02)
        child.send_signal(number)
        _, err = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == status and b"Traceback" not in err
    assert b"what is done is kept; --resume does the rest" in err and not out.exists()
    done = run(*argv, "--resume")
    assert done.status == 0 and "of the recordings had been done before" in done.out
    rows = table(out)
    assert len(rows) == 100 and [row["file"] for row in rows] == files
    for row in rows:  # the same recording, the same numbers, before and after the break
        assert float(row[list(row)[2]]) == pytest.approx(float(rows[files.index(row["file"])][list(row)[2]]), abs=1e-5)


def test_a_bar_on_a_terminal_and_none_elsewhere(recordings, tmp_path):
    argv = ["predict", DEMO, recordings, "--out", tmp_path / "p.csv", "--batch-size", 1]
    master, slave = pty.openpty()
    with slowly(argv, stdout=subprocess.PIPE, stderr=slave) as child:
        os.close(slave)
        drawn = b""
        while True:
            try:
                more = os.read(master, 4096)
            except OSError:  # the terminal was closed
                break
            if not more:
                break
            drawn += more
        child.communicate(timeout=PATIENCE_S)
    os.close(master)
    text = drawn.decode()
    assert child.returncode == 1
    assert "of 6 recordings" in text and "[########################] 6 of 6 recordings" in text
    assert text.rsplit("\r\x1b[K", 1)[-1].startswith("ecgfm: skipped: ")  # the line is taken away before a message
    done = slowly([*argv[:3], "--batch-size", 1], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, err = done.communicate(timeout=PATIENCE_S)
    assert b"\r" not in err and b"of 6 recordings" not in err


def test_the_bar_s_arithmetic():
    now = [0.0]
    out = io.StringIO()
    bar = Bar(100, stream=out, clock=lambda: now[0])
    for done in range(41, 61):  # forty were done by an earlier run
        now[0] += 2.0
        bar(done, "x")
    last = out.getvalue().rsplit("\x1b[K", 1)[-1]
    assert last == "[##############..........] 60 of 100 recordings, 0.5/s, 1:20 left"
    count = out.getvalue().count("\r")
    bar(61, "x")  # at once: not drawn
    assert out.getvalue().count("\r") == count
    bar.clear()
    assert out.getvalue().endswith("\r\x1b[K")
    assert not Bar.wanted(io.StringIO())
