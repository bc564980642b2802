"""The command line run in this process, with a model that needs no file; and real processes."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from bounded import PATIENCE_S
from fakes import FakeModel

import ecgfm
from ecgfm.cli.main import main


@pytest.fixture
def run(capsys):
    """run(*argv): exit status, stdout and stderr of a command run in this process."""

    def call(*argv):
        status = main([str(arg) for arg in argv])
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return call


@pytest.fixture
def process():
    """process(*argv): the same in a process of its own."""

    def call(*argv, **options):
        return subprocess.run(
            [sys.executable, "-m", "ecgfm", *map(str, argv)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            **options,
        )

    return call


@pytest.fixture
def fake(monkeypatch):
    """A fake model in place of what `ecgfm.load` would give; fake.calls are the calls of load."""
    model = FakeModel(assumed=True)
    model.calls = []

    def load(source, **options):
        model.calls.append((str(source), options))
        return model

    monkeypatch.setattr(ecgfm, "load", load, raising=False)
    return model


@pytest.fixture
def folder(tmp_path):
    """Three recordings at 500 Hz: a.npy (one segment), b.npz (two), c.csv (one)."""
    from ecgfm.ecg import simulate

    made = [simulate(seconds, 500, seed=i) for i, seconds in enumerate((6, 11, 7))]
    np.save(tmp_path / "a.npy", made[0].signal)
    np.savez(tmp_path / "b.npz", signal=made[1].signal, sampling_rate=500, leads=made[1].leads)
    rows = "\n".join(",".join(map(str, row)) for row in made[2].signal.T.tolist())
    (tmp_path / "c.csv").write_text("# sampling_rate: 500\n" + ",".join(made[2].leads) + "\n" + rows + "\n")
    return tmp_path
