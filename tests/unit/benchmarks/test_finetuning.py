"""The benchmark of finetuning: what it counts, how it judges, and one short run of the whole."""

import importlib
import json
import subprocess
import sys
from math import inf, prod
from pathlib import Path

import numpy as np
import pytest

import ecgfm

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"
NOWHERE = "/nowhere/python"


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def threads():
    """Leaves the number of threads as it was."""
    before = ecgfm.get_num_threads()
    yield
    ecgfm.set_num_threads(before)


def module(name):
    return importlib.import_module(name)


def run(*arguments):
    command = [sys.executable, str(FOLDER / "finetuning.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


# ---- what is counted


@pytest.mark.parametrize("size", ["base", "tiny"])
def test_a_step_is_three_forwards_without_the_frozen_extractor(size):
    common = module("common")
    config = common.model_config(size)
    extractor = sum(
        2 * steps * prod(common.parameter_shapes(config)[f"encoder.feature_extractor.conv_layers.{i}.0.weight"])
        for i, steps in enumerate(common.token_counts(config))
    )
    forward = common.operations(config)
    assert common.training_operations(config) == extractor + 3 * (forward - extractor)


def test_targets_depend_on_nothing_but_the_batch():
    common = module("common")
    y = common.targets(16)
    assert y.shape == (16, 17) and y.dtype == np.float32 and set(np.unique(y)) == {0, 1}
    assert np.array_equal(y[:4], common.targets(4))
    assert common.pos_weight().shape == (17,) and (common.pos_weight() > 0).all()


def test_ratios_are_medians_over_rounds():
    finetuning, common = module("finetuning"), module("common")
    ready = {name: contestant(1.0) for name in ("ecgfm", "torch")}
    rounds = [  # the machine is twice as slow in the second round, which no ratio shows
        ({"ecgfm": [0.1, 0.1], "torch": [0.2, 0.2]}, 1e12, False, {"ecgfm": [0.1, 0.1], "torch": [0.2, 0.2]}),
        ({"ecgfm": [0.2, 0.2], "torch": [0.4, 0.4]}, 5e11, False, {"ecgfm": [0.1, 0.09], "torch": [0.2, 0.2]}),
        ({"ecgfm": [0.1, 0.1], "torch": [0.18, 0.9]}, 1e12, False, {"ecgfm": [0.1, 0.1], "torch": [0.2, 0.2]}),
    ]
    own, peer = finetuning.rows_of("tiny", 2, 1, ready, rounds, {"ecgfm": 0.0, "torch": 1e-6})
    work = 2 * common.training_operations(common.model_config("tiny"))
    assert own["ratio"] == 1 and peer["ratio"] == pytest.approx(2) and peer["best_ratio"] == pytest.approx(1.8)
    assert own["processor_ms_min"] == pytest.approx(45) and peer["processor_ms_min"] == pytest.approx(100)
    assert own["ms_median"] == pytest.approx(50) and peer["ms_min"] == pytest.approx(90)
    assert own["share_of_peak"] == pytest.approx(work / 0.1 / 1e12)
    assert own["best_share_of_peak"] == pytest.approx(work / 0.1 / 1e12)
    assert peer["gradient_difference"] == 1e-6


# ---- how it judges


def contestant(loss, worker=None):
    ready = object.__new__(module("finetuning").Ready)
    ready.worker, ready.version, ready.loss, ready.seconds = worker, "1", loss, 1.0
    return ready


def write(folder, **tensors):
    folder.mkdir()
    for name, values in tensors.items():
        np.save(folder / f"{name}.npy", np.asarray(values, np.float32))


@pytest.mark.parametrize(
    "other, expected",
    [([1.0, -4.0], 0), ([1.0, -4.4], 0.1), ([1.0, np.nan], inf), ([1.0], inf), (None, inf)],
)
def test_the_difference_of_a_gradient_is_relative_to_its_largest_entry(tmp_path, other, expected):
    write(tmp_path / "own", a=[1, -4], b=[1])
    write(tmp_path / "other", b=[1], **({} if other is None else {"a": other}))
    found, name = module("finetuning").gradient_difference(["a", "b"], tmp_path / "own", tmp_path / "other")
    assert found == pytest.approx(expected)
    assert name == ("a" if expected else "")


def test_a_gradient_of_zeros_that_the_other_does_not_have_is_a_difference(tmp_path):
    write(tmp_path / "own", a=[0, 0])
    write(tmp_path / "other", a=[0, 1])
    assert module("finetuning").gradient_difference(["a"], tmp_path / "own", tmp_path / "other") == (inf, "a")


def test_what_rounding_leaves_of_a_key_bias_is_measured_against_the_query(tmp_path):
    names = ["k_proj.bias", "q_proj.bias"]
    write(tmp_path / "own", **{names[0]: [1e-9], names[1]: [1.0]})
    write(tmp_path / "other", **{names[0]: [-2e-9], names[1]: [1.0]})
    found, _ = module("finetuning").gradient_difference(names, tmp_path / "own", tmp_path / "other")
    assert found == pytest.approx(3e-9)


def test_losses_and_gradients_that_disagree_make_the_run_fail(tmp_path):
    finetuning, common = module("finetuning"), module("common")
    bench = finetuning.Benchmark(finetuning.parse_options(["--quick"]), tmp_path)
    names = [n for n in common.parameter_shapes(common.model_config("tiny")) if not n.startswith(finetuning.FROZEN)]
    write(tmp_path / "ecgfm", **{name: [1.0] for name in names})
    write(tmp_path / "torch", **{name: [1.1] if name == "proj.bias" else [1.0] for name in names})
    found = finetuning.compare(bench, "tiny", {"ecgfm": contestant(1.0), "torch": contestant(1.01)})
    assert found["ecgfm"] == 0 and found["torch"] == pytest.approx(0.1)
    loss, gradient = bench.failures
    assert "loss" in loss and "proj.bias" in gradient
    assert not list(tmp_path.iterdir())


class Recorded:
    """A worker that answers from a list: what others took of the processors in each turn."""

    def __init__(self, others):
        self.others = iter(others)

    def ask(self, do, **arguments):
        if do == "peak":
            return {"flops": 1e9}
        seconds = [1.0] * arguments["times"]
        return {"seconds": seconds, "processor": seconds, "others": next(self.others)}


@pytest.mark.parametrize(
    "others, expected",
    [
        ([0, 0, 0], (3, 3, False)),
        ([0, 9, 0, 0], (3, 4, False)),
        ([0, 9, 9, 9, 0, 9], (2, 6, False)),
        ([9, 9, 0, 9, 9, 9], (6, 6, True)),
    ],
)
def test_disturbed_rounds_are_repeated(tmp_path, others, expected):
    finetuning = module("finetuning")
    bench = finetuning.Benchmark(finetuning.parse_options(["--rounds", "3", "--seconds", "0.5"]), tmp_path)
    found, tried, busy = finetuning.take_turns(bench, {"ecgfm": contestant(1.0, Recorded(others))}, 1, 1)
    assert (len(found), tried, busy) == expected


@pytest.mark.parametrize("arguments", [["--threads", "0"], ["--batch", "0"], ["--rounds", "0"], ["--threads", "many"]])
def test_options_that_make_no_sense_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        module("finetuning").parse_options(arguments)
    assert arguments[0] in capsys.readouterr().err


# ---- the whole


def test_a_short_run_without_peers(tmp_path):
    report = tmp_path / "report.json"
    done = run("--size", "tiny", "--quick", "--batch", 2, "--threads", 1, "--peer-python", NOWHERE, "--json", report)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())
    names = {name for name in module("finetuning").TITLES if name.startswith("torch")}
    assert set(found["absent"]) == names and not found["failures"]
    row, lower = found["timings"]
    assert (
        lower["contestant"] == "ecgfm_bfloat16"
        and row["contestant"] == "ecgfm"
        and row["ratio"] == 1
        and row["gradient_difference"] == 0
    )
    assert 0 < row["ms_min"] <= row["ms_median"] and 0 < row["best_share_of_peak"] < 1
    memory = found["memory"][0]
    parameters = sum(map(prod, module("common").parameter_shapes(module("common").model_config("tiny")).values()))
    assert memory["memory_mb"] > 4 * 4 * parameters / 1e6
    assert "PyTorch eager (" in done.stdout and NOWHERE in done.stdout


def test_a_short_run_with_frozen_parts(tmp_path):
    report = tmp_path / "report.json"
    few = ("--frozen", "--size", "tiny", "--quick", "--rounds", 1, "--batch", 2, "--threads", 1)
    done = run(*few, "--json", report)
    assert done.returncode == 0, done.stderr
    rows = {row["mode"]: row for row in json.loads(report.read_text())["frozen"]}
    assert len(rows) == 8 and rows["all layers"]["of_all_layers"] == 1
    assert all(0 < row["ms_min"] <= row["ms_median"] for row in rows.values())
    assert "output layer, kept" in done.stdout


def test_the_gradients_that_a_worker_writes_are_those_of_its_loss(tmp_path, threads):
    """Along a direction in the last layer, the loss changes as the gradient says."""
    common, files, trainers = module("common"), module("files"), module("finetuning_worker")
    files.main("safetensors", "tiny", tmp_path)
    ecgfm = trainers.Ecgfm()
    ecgfm.load(common.model_config("tiny"), files.path_of(tmp_path, "tiny", "safetensors"), 1, 2)
    x = common.segments(2)
    state = ecgfm.trainer.state()
    start = {name: values.copy() for name, values in state["parameters"].items()}
    _, gradients = ecgfm.gradients(x)
    gradient = gradients["proj.weight"]

    def loss_at(length):
        moved = start["proj.weight"] + np.float32(length) * np.sign(gradient)
        ecgfm.trainer.load_state(state | {"parameters": start | {"proj.weight": moved}})
        return ecgfm.run(x)

    assert (loss_at(1e-2) - loss_at(-1e-2)) / 2e-2 == pytest.approx(np.abs(gradient).sum(), rel=1e-2)


def test_a_short_profile(tmp_path):
    report = tmp_path / "report.json"
    done = run("--size", "tiny", "--quick", "--profile", "--batch", 2, "--threads", 1, "--json", report)
    assert done.returncode == 0, done.stderr
    (profile,) = json.loads(report.read_text())["profiles"]
    assert {"matmul", "convolution", "reorder", "other"} <= {row["kind"] for row in profile["kinds"]}


def test_without_ecgfm_the_run_fails(tmp_path):
    done = run("--size", "tiny", "--quick", "--contestants", "ecgfm", "--ecgfm-python", NOWHERE)
    assert done.returncode == 1 and "absent: ecgfm" in done.stdout
