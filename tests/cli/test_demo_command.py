"""ecgfm demo: no files needed."""

import json
from importlib import resources

import numpy as np
import pytest

from ecgfm.cli.demo import UNTRAINED, simulated


@pytest.fixture
def shipped():
    """The model in the package; its absence is a defect of the package."""
    directory = resources.files("ecgfm") / "assets" / "demo"
    assert (directory / "config.json").is_file() and (directory / "model.safetensors").is_file()
    return json.loads((directory / "config.json").read_text())


def test_the_whole_path(process, shipped):
    done = process("demo")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("3 recordings, 6 segments of 5 s")
    assert all(label in done.stdout for label in shipped["labels"])
    assert (UNTRAINED in done.stdout) == (shipped.get("training") == "none")
    assert "Not for clinical use." in done.stdout


def test_seed_and_number_of_recordings(run, shipped):
    first, again, other = (
        json.loads(run("demo", "--json", "--records", 2, "--seed", seed).out) for seed in (1, 1, 2)
    )
    assert first == again and first != other
    assert len(first["records"]) == 2 and len(first["segments"]) == 4
    p = np.array([[row[label] for label in first["labels"]] for row in first["segments"]])
    assert ((p > 0) & (p < 1)).all() and p.std(axis=0).max() > 0  # they depend on the recording


@pytest.mark.parametrize("training", ["none", None])
def test_untrained_weights_are_said_to_be(run, fake, training, monkeypatch, tmp_path):
    (tmp_path / "assets" / "demo").mkdir(parents=True)
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    fake.info = {} if training is None else {"training": training}
    done = run("demo")
    assert done.status == 0 and (UNTRAINED in done.out) == (training == "none")
    assert fake.calls[0][0].endswith("assets/demo")
    done = run("demo", "--json")
    assert (UNTRAINED in done.err) == (training == "none") and len(json.loads(done.out)["records"]) == 3


def test_without_the_model(run, monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    done = run("demo")
    assert done.status == 2 and "the model is not there. Install the package again." in done.err


@pytest.mark.parametrize("argv", [("--records", 0), ("--records", 10**9), ("--seed", -1), ("--seed", "x")])
def test_wrong_options(run, argv):
    done = run("demo", *argv)
    assert done.status == 2 and argv[0] in done.err and done.err.count("\n") == 1


def test_recordings_differ():
    made = list(simulated(4, 0))
    assert [record.source for record in made] == [f"simulated_{i}" for i in range(4)]
    assert len({record.signal.tobytes() for record in made}) == 4
