"""What `measure_speed` makes of its measurements, and the processes that it takes them in."""

import json
from contextlib import contextmanager

import numpy as np
import pytest

import ecgfm
from ecgfm import machine
from ecgfm.inference import speed as module
from ecgfm.inference.opening import shipped_model
from ecgfm.inference.speed import accuracy, measure_speed, random_model
from ecgfm.inference.timed import TimedModel
from ecgfm.specs.architecture import Architecture
from ecgfm.specs.operations import operations


@pytest.fixture(scope="module")
def shipped():
    with shipped_model() as path:
        yield str(path)


class Clock:
    """In place of a process: each precision takes a time of its own; the second round is twice as slow."""

    MS = {"float32": 8.0, "bfloat16": 4.0, "int8": 2.0}
    others = 0.0

    def __init__(self, source, precision, threads):
        self.precision, self.rounds = precision, 0

    def run(self, batch, threads, seconds):
        if seconds == 0:
            return {"seconds": [9.0], "others": 0.0}  # the first run of a turn, which is not counted
        self.rounds += 1
        slow = 2 if self.rounds % 3 == 2 else 1
        return {"seconds": [slow * batch * self.MS[self.precision] / 1e3] * 3, "others": self.others}

    def peak(self, threads, seconds):
        if self.precision == "bfloat16":
            return None
        return (5e10 if self.rounds % 3 == 1 else 1e11) * threads * 8 / self.MS[self.precision]

    def first_answer(self, batch):
        return 0.25, 100.0 + batch

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(module, "TimedModel", Clock)
    monkeypatch.setattr(Clock, "others", 0.0)
    return Clock


@pytest.fixture
def all_precisions(monkeypatch):
    class Core:
        def __getattr__(self, name):
            return getattr(ecgfm._core, name)

        def precisions(self):
            return ["float32", "bfloat16", "int8"]

    monkeypatch.setattr(module, "core", Core)


def test_medians_ratios_and_shares(shipped, clock, all_precisions):
    found = measure_speed(shipped, batches=[8, 1], threads=[2, 1], rounds=3)
    rows = {(row["precision"], row["batch"], row["threads"]): row for row in found.rows}
    assert list(rows) == [(p, b, t) for p in ("float32", "bfloat16", "int8") for b in (1, 8) for t in (1, 2)]
    work = sum(operations(Architecture.of_config(ecgfm.load(shipped).config), 2500).values())
    for (precision, batch, threads), row in rows.items():
        ms = Clock.MS[precision]
        assert row["ms"] == pytest.approx(ms) and row["ms_min"] == pytest.approx(ms) and row["runs"] == 9
        assert row["times_float32"] == pytest.approx(8 / ms)
        assert row["gops"] == pytest.approx(work / ms / 1e6)
        if precision == "bfloat16":
            assert row["share_of_peak"] is None and row["peak_gops"] is None
        else:  # the slow round has half the peak, so that no share shows it
            assert row["share_of_peak"] == pytest.approx(work / (8e-3 * 1e11 * threads))
        assert ("memory_mb" in row) == ("first_answer_s" in row) == (threads == 2)
    assert rows["int8", 8, 2]["memory_mb"] == 108.0


def test_the_line_and_the_dictionary(shipped, clock, all_precisions):
    found = measure_speed(shipped, name="mine", batches=[8], threads=[2], rounds=1)
    assert found.line().startswith(f"ecgfm {ecgfm.__version__} mine on ")
    assert "threads 2, batch 8" in found.line() and found.line().endswith("% of peak) ms a segment")
    assert "bfloat16 4, int8 2 (" in found.line() and "\n" not in found.line()
    whole = found.to_dict()
    assert json.loads(json.dumps(whole)) == whole and whole["busy"] is False and whole["line"] == found.line()
    assert whole["model"]["name"] == "mine" and whole["model"]["samples"] == 2500 and whole["absent"] == {}


def test_other_programs_are_noticed(shipped, clock):
    clock.others = 0.5
    processors = len(machine.processor()["allowed"])
    assert measure_speed(shipped, precisions=["float32"], threads=[processors], rounds=1).busy


def test_what_the_processor_lacks(shipped, clock, monkeypatch):
    class Core:
        def __getattr__(self, name):
            return getattr(ecgfm._core, name)

        def precisions(self):
            return ["float32"]

    monkeypatch.setattr(module, "core", Core)
    found = measure_speed(shipped, rounds=1)
    assert {row["precision"] for row in found.rows} == {"float32"} and set(found.absent) == {"bfloat16", "int8"}
    with pytest.raises(ecgfm.Error, match="supports float32 alone"):
        measure_speed(shipped, precisions=["int8"])


@pytest.mark.parametrize(
    "options",
    [{"batches": [0]}, {"threads": [0]}, {"rounds": 0}, {"seconds": -1}, {"starts": -1}, {"precisions": ["int4"]}],
)
def test_numbers_out_of_range(shipped, clock, options):
    with pytest.raises(ecgfm.Error):
        measure_speed(shipped, **options)


def test_a_file_that_is_no_model(tmp_path):
    with pytest.raises(ecgfm.Error, match="absent.pt"):
        measure_speed(tmp_path / "absent.pt")


# ---- processes


def test_a_process_of_its_own(shipped):
    with TimedModel(shipped, "float32", 1) as model:
        seconds, mb = model.first_answer(2)
        assert 0 < seconds < 300 and 20 < mb < 5000
        found = model.run(2, 2, 0.05)
        assert sum(found["seconds"][:-1]) < 0.05 and min(found["seconds"]) > 0 and found["others"] >= 0
        assert model.peak(1, 0.01) > 1e9
        process = model._process
    assert process.returncode is not None


def test_a_process_that_cannot_load(tmp_path):
    with pytest.raises(ecgfm.Error, match="absent.pt"):
        TimedModel(str(tmp_path / "absent.pt"), "float32", 1)


def test_a_process_that_ends(shipped):
    with TimedModel(shipped, "float32", 1) as model:
        model._process.kill()
        with pytest.raises(ecgfm.Error, match="float32: the process that was timed ended with status -9"):
            model.run(1, None, 0)


def test_models_do_not_come_from_the_current_directory(shipped, tmp_path, monkeypatch):
    (tmp_path / "ecgfm.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    with TimedModel(shipped, "float32", 1) as model:
        assert model.run(1, None, 0)["seconds"]


# ---- models of random weights, and accuracy


def test_random_models_have_the_published_sizes(monkeypatch, tmp_path):
    seen = {}

    @contextmanager
    def folder(**options):
        yield str(tmp_path)

    monkeypatch.setattr(module, "TemporaryDirectory", folder)
    monkeypatch.setattr(module.checkpoint, "save", lambda path, **model: seen.update(model))
    monkeypatch.setattr(module.np.random, "default_rng", lambda seed: Zeros())
    for size, count in (("base", 90_386_321), ("large", 311_000_000)):
        with random_model(size):
            total = sum(values.size for values in seen["tensors"].values())
            assert total == pytest.approx(count, rel=0.01)
    with pytest.raises(ecgfm.Error, match="huge"), random_model("huge"):
        pass


class Zeros:
    def standard_normal(self, shape, dtype):
        return np.zeros(shape, dtype)


def test_accuracy_on_recordings_of_the_user(shipped, tmp_path):
    from ecgfm.ecg import simulate

    for i in range(2):
        record = simulate(11, 500, seed=i)
        np.savez(tmp_path / f"{i}.npz", signal=record.signal, sampling_rate=500, leads=record.leads)
    precisions = ecgfm._core.precisions()
    report = accuracy(shipped, precisions, [str(tmp_path)])
    assert report.segments == 4 and report.data == "given"
    assert [change.precision for change in report.changes] == precisions[1:]


def test_accuracy_on_a_folder_without_recordings(shipped, tmp_path):
    with pytest.raises(ecgfm.Error):
        accuracy(shipped, ["float32"], [str(tmp_path)])
