"""The examples and the commands of docs/inference.md."""

import doctest
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import ecgfm
from ecgfm.cli.main import main
from ecgfm.ecg import simulate
from ecgfm.kernels import core

PAGE = Path(__file__).resolve().parents[3] / "docs" / "inference.md"
DEMO = os.path.join(os.path.dirname(ecgfm.__file__), "assets", "demo")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with three recordings, of one segment, two and two, and their labels."""
    pytest.importorskip("matplotlib", reason="needs the extra [plot]")
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    for i, (name, seconds) in enumerate((("a", 6.0), ("b", 11.0), ("c", 12.5))):
        record = simulate(seconds, 500, seed=i)
        np.savez(tmp_path / "recordings" / f"{name}.npz", signal=record.signal, sampling_rate=500, leads=record.leads)
    labels = ecgfm.load(DEMO).labels
    about = [["a.npz", "7", "male", "50"], ["b.npz", "7", "male", "51"], ["c.npz", "8", "female", ""]]
    rows = [",".join([*one, *(["1", "0"][i % 2] for _ in labels)]) for i, one in enumerate(about)]
    header = ",".join(["file", "patient_id", "sex", "age", *labels])
    (tmp_path / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return tmp_path


def test_the_page_says_what_happens(here):
    failed, tried = doctest.testfile(
        str(PAGE), module_relative=False, encoding="utf-8", globs={"checkpoint": DEMO}, optionflags=doctest.ELLIPSIS
    )
    assert tried > 12 and failed == 0
    assert (here / "a.png").stat().st_size > 1000


def test_the_commands_run(here, capsys):
    commands = re.findall(r"^    (ecgfm .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 15
    for command in commands:
        if "int8" in command and "int8" not in core().precisions():
            continue
        argv = [DEMO if word == "CHECKPOINT" else word for word in shlex.split(command)[1:]]
        assert main(argv) == 0, (command, capsys.readouterr().err)
    made = set(os.listdir(here))
    assert made >= {"predictions.csv", "predictions.segments.csv", "predictions.status.csv", "predictions.run.json"}
    assert made >= {
        "emb.npy",
        "emb.csv",
        "records.npy",
        "tokens.npy",
        "saliency.npy",
        "evaluation.csv",
        "scores.csv",
        "compared.json",
    }
