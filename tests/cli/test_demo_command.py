"""ecgfm demo: no files needed."""

import json
import re
from importlib import resources

import numpy as np
import pytest

from ecgfm.cli.demo import SIMULATED, UNTRAINED, simulated
from ecgfm.ecg import SIMULATED_LABELS


@pytest.fixture
def shipped():
    """The model in the package; its absence is a defect of the package."""
    directory = resources.files("ecgfm") / "assets" / "demo"
    assert (directory / "config.json").is_file() and (directory / "model.safetensors").is_file()
    return json.loads((directory / "config.json").read_text())


def test_the_whole_path(process, shipped):
    done = process("demo", "--seed", 5)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("3 simulated recordings of 10 s (--seed 5 repeats them)")
    assert all(label in done.stdout for label in shipped["labels"])
    assert (UNTRAINED if shipped.get("training") == "none" else SIMULATED) in done.stdout
    assert "Not for clinical use." in done.stdout
    true = [record.labels for record in simulated(3, 5)]
    assert len(re.findall(r"\d true", done.stdout)) == sum(map(len, true))


def test_new_recordings_each_time(run):
    first, second = (run("demo", "--records", 1).out for _ in range(2))
    assert first != second
    seed = re.search(r"--seed (\d+) repeats them", first)[1]
    assert run("demo", "--records", 1, "--seed", seed).out == first


def test_seed_and_number_of_recordings(run, shipped):
    first, again, other = (json.loads(run("demo", "--json", "--records", 2, "--seed", seed).out) for seed in (1, 1, 2))
    assert first == again and first != other and first["seed"] == 1
    assert len(first["records"]) == 2 and len(first["segments"]) == 4
    assert [one["file"] for one in first["truth"]] == [row["file"] for row in first["records"]]
    assert [one["labels"] for one in first["truth"]] == [list(record.labels) for record in simulated(2, 1)]
    p = np.array([[row[label] for label in first["labels"]] for row in first["segments"]])
    assert ((p >= 0) & (p <= 1)).all() and p.std(axis=0).max() > 0  # they depend on the recording


def test_truth_stands_beside_the_prediction(run, shipped):
    out = run("demo", "--records", 8, "--seed", 3).out
    values = {row["file"]: row for row in json.loads(run("demo", "--records", 8, "--seed", 3, "--json").out)["records"]}
    blocks = out.split("\n\n")[1:3]  # six recordings beside each other, and two
    names = [name for block in blocks for name in block.splitlines()[0].split()]
    assert names == [f"simulated_{i}" for i in range(8)]
    truth = {record.source: record.labels for record in simulated(8, 3)}
    for block in blocks:
        head, *rows = block.splitlines()
        for row in rows:
            label = next(one for one in shipped["labels"] if row.startswith(f"{one} "))
            cells = re.findall(r"(\d\.\d{3})( true)?", row[len(label) :])
            for name, (value, true) in zip(head.split(), cells, strict=True):
                assert float(value) == pytest.approx(values[name][label], abs=0.001)
                assert bool(true) == (label in truth[name])


def test_many_recordings_are_not_all_printed(run):
    done = run("demo", "--records", 61, "--seed", 0)
    assert "... and 1 more (--json prints all)" in done.out and "simulated_59" in done.out
    assert "simulated_60" not in done.out


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


def test_plot(run, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "a.svg"
    done = run("demo", "--seed", 2, "--records", 1, "--plot", path)
    assert done.status == 0 and f"Drawn: simulated_0 in {path}" in done.out
    text = path.read_text()
    assert "<svg" in text and len(text) > 50_000
    assert done.out.startswith(run("demo", "--seed", 2, "--records", 1).out.rstrip())  # it changes nothing else


@pytest.mark.parametrize("name", ["a.txt", "a"])
def test_plots_that_cannot_be(run, tmp_path, name):
    pytest.importorskip("matplotlib")
    done = run("demo", "--plot", tmp_path / name)
    assert done.status == 2 and "--plot" in done.err and done.err.count("\n") == 1 and not done.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "argv", [("--records", 0), ("--records", 10**9), ("--seed", -1), ("--seed", "x"), ("--seed", 10**30)]
)
def test_wrong_options(run, argv):
    done = run("demo", *argv)
    assert done.status == 2 and argv[0] in done.err and done.err.count("\n") == 1


def test_recordings_differ():
    made = list(simulated(4, 0))
    assert [record.source for record in made] == [f"simulated_{i}" for i in range(4)]
    assert len({record.signal.tobytes() for record in made}) == 4
    assert all(set(record.labels) <= set(SIMULATED_LABELS) for record in made)
    found = [record.labels for record in simulated(40, 1)]
    assert set().union(*found) == set(SIMULATED_LABELS)
