"""The benchmark of inference: what it counts, how it judges, and one short run of the whole."""

import importlib
import json
import subprocess
import sys
from math import prod
from pathlib import Path

import numpy as np
import pytest

from ecgfm.kernels import core
from ecgfm.specs.architecture import Architecture

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"
NOWHERE = "/nowhere/python"


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def module(name):
    return importlib.import_module(name)


def run(*arguments):
    command = [sys.executable, str(FOLDER / "inference.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


# ---- the network that all contestants share


@pytest.mark.parametrize("size", ["base", "large", "tiny"])
def test_the_benchmark_and_the_package_have_the_same_parameters(size):
    common = module("common")
    config = common.model_config(size)
    own = dict(core().parameters(config | {"conv_feature_layers": common.conv_layers(config)}, "classifier"))
    assert common.parameter_shapes(config) == own


def test_weights_and_input_depend_on_nothing_but_names_and_sizes():
    common = module("common")
    first, second = common.state_dict(common.model_config("tiny")), common.state_dict(common.model_config("tiny"))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert all(values.dtype == np.float32 for values in first.values())
    x = common.segments(3)
    assert x.shape == (3, 12, 2500) and x.dtype == np.float32
    assert np.array_equal(x[:2], common.segments(2))
    np.testing.assert_allclose(x.mean(axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("size", ["base", "large", "tiny"])
def test_operations_are_two_for_each_weight_and_token(size):
    common = module("common")
    config = common.model_config(size)
    steps = common.token_counts(config)
    assert steps == [1250, 625, 312, 156] == Architecture.of_config(config).steps(2500)
    expected = config["encoder_layers"] * 4 * 156 * 156 * config["encoder_embed_dim"]
    for name, shape in common.parameter_shapes(config).items():
        if len(shape) < 2 or name.endswith("original0"):
            continue
        rows = 1 if name == "proj.weight" else 156
        if ".conv_layers." in name:
            rows = steps[int(name.split(".conv_layers.")[1][0])]
        expected += 2 * rows * prod(shape)
    assert common.operations(config) == expected


# ---- how it judges


def ready(**logits):
    return {name: (None, "1", np.asarray(values, np.float32), 1.0) for name, values in logits.items()}


@pytest.mark.parametrize(
    "other, agree",
    [([[1.0, 2.0]], True), ([[1.0, 2.00001]], True), ([[1.0, 2.1]], False), ([[1.0, np.nan]], False), ([[1.0]], False)],
)
def test_outputs_that_differ_are_reported(other, agree):
    found = module("inference").disagreements(ready(ecgfm=[[1.0, 2.0]], torch=other))
    assert (found == []) is agree
    assert agree or "ecgfm and PyTorch" in found[0]


def test_ratios_are_medians_over_rounds():
    inference, common = module("inference"), module("common")
    rounds = [  # the machine is twice as slow in the second round, which no ratio shows
        ({"ecgfm": [0.1, 0.1], "torch": [0.2, 0.2]}, {"float32": 1e12}, False),
        ({"ecgfm": [0.2, 0.2], "torch": [0.4, 0.4]}, {"float32": 5e11}, False),
        ({"ecgfm": [0.1, 0.1], "torch": [0.2, 0.9]}, {"float32": 1e12}, False),
    ]
    own, peer = inference.timing_rows("tiny", 2, 1, ready(ecgfm=[[1.0]], torch=[[1.5]]), rounds)
    work = 2 * common.operations(common.model_config("tiny"))
    assert own["ratio"] == 1 and peer["ratio"] == pytest.approx(2)
    assert own["ms_median"] == pytest.approx(50) and own["ms_min"] == pytest.approx(50)
    assert peer["ms_median"] == pytest.approx(150) and peer["ms_min"] == pytest.approx(100)
    assert own["gflops"] == pytest.approx(work / 0.1 / 1e9)
    assert own["share_of_peak"] == pytest.approx(work / 0.1 / 1e12)
    assert peer["difference"] == pytest.approx(0.5)


def test_each_precision_has_its_own_peak_and_its_change_of_a_probability():
    inference, common = module("inference"), module("common")
    rounds = [
        ({"ecgfm": [0.4], "ecgfm int8": [0.1], "openvino bfloat16": [0.2]}, {"float32": 1e12, "int8": 8e12}, False)
    ]
    found = ready(**{"ecgfm": [[0.0, 1.0]], "ecgfm int8": [[0.0, 1.5]], "openvino bfloat16": [[0.0, 1.0]]})
    exact, own, peer = inference.timing_rows("tiny", 1, 1, found, rounds)
    work = common.operations(common.model_config("tiny"))
    assert (own["precision"], own["ratio"], own["peak_gflops"]) == ("int8", 0.25, 8e3)
    assert own["share_of_peak"] == pytest.approx(work / 0.1 / 8e12)
    assert own["change"] == pytest.approx(1 / (1 + np.exp(-1.5)) - 1 / (1 + np.exp(-1.0)))
    assert exact["change"] == peer["change"] == 0 and own["change_mean"] == pytest.approx(own["change"] / 2)
    linear = common.linear_operations(common.model_config("tiny"))
    assert own["share_of_limit"] == pytest.approx((linear / 8e12 + (work - linear) / 1e12) / 0.1)
    assert "share_of_peak" not in peer  # this processor has no instruction to measure


def test_lower_precisions_may_differ_but_must_be_numbers():
    inference = module("inference")
    found = ready(**{"ecgfm": [[1.0]], "torch bfloat16": [[1.2]], "openvino int8": [[np.nan]]})
    assert inference.disagreements(found) == ["OpenVINO int8 (NNCF) gives no numbers"]


def test_contestants_are_those_of_the_precisions_that_were_asked_for(tmp_path):
    inference = module("inference")

    def names(*options):
        bench = inference.Benchmark(inference.parse_options(["--quick", *options]), tmp_path / "-".join(options))
        return list(dict.fromkeys(entry.contestant for entry in bench.entries()))

    assert names() == ["ecgfm", "torch", "onnxruntime", "openvino"]
    assert names("--precision", "int8") == ["ecgfm int8", "onnxruntime int8", "openvino int8"]
    assert names("--precision", "bfloat16", "--contestants", "torch") == ["torch bfloat16"]


class Recorded:
    """A worker that answers from a list: what others took of the processors in each turn."""

    def __init__(self, others):
        self.others = iter(others)

    def ask(self, do, **arguments):
        return {"flops": 1e9} if do == "peak" else {"seconds": [1.0] * arguments["times"], "others": next(self.others)}


@pytest.mark.parametrize(
    "others, expected",
    [
        ([0, 0, 0], (3, 3, False)),
        ([0, 99, 0, 99, 99, 0], (3, 6, False)),  # disturbed rounds are repeated
        ([0, 0] + [99] * 10, (2, 12, False)),
        ([0] + [99] * 11, (12, 12, True)),  # too few quiet ones: all count, and it is said
    ],
)
def test_rounds_with_other_processes_are_repeated(others, expected, tmp_path, monkeypatch):
    inference = module("inference")
    monkeypatch.setattr(inference, "PAUSE", 0)
    options = inference.parse_options(["--rounds", "3", "--seconds", "0.1"])
    bench = inference.Benchmark(options, tmp_path)
    threads = module("common").processors()
    rounds, tried, busy = inference.take_turns(bench, {"ecgfm": (Recorded(others), "1", None, 1.0)}, 1, threads)
    assert (len(rounds), tried, busy) == expected


def test_a_worker_that_dies_is_a_failure_with_its_last_words(tmp_path):
    inference = module("inference")
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no memory left >&2\nexit 3\n")
    python.chmod(0o755)
    with inference.Worker("ecgfm", str(python), 1) as worker:
        with pytest.raises(inference.Failed, match="3: no memory left"):
            worker.ask("usage")
    with pytest.raises(inference.Absent, match=NOWHERE):
        inference.Worker("torch", NOWHERE, 1)


def test_a_worker_reports_what_it_cannot_do():
    inference = module("inference")
    with inference.Worker("ecgfm", sys.executable, 1) as worker:
        with pytest.raises(inference.Failed, match="FileNotFoundError"):
            worker.ask("run", input="/nowhere.npy", times=1)
        with pytest.raises(inference.Failed, match="unknown command"):
            worker.ask("dance")
        assert worker.ask("usage")["bytes"] > 1 << 20


@pytest.mark.parametrize("arguments", [["--threads", "many"], ["--batch", "0"], ["--rounds", "0"], ["--size", "huge"]])
def test_bad_options_are_refused(arguments):
    assert run(*arguments).returncode == 2


# ---- the profile

LINEAR = "inner_product,brgemm:avx512_core,forward_inference,src_f32::blocked:ab::f0,,,mb1248ic768oc3072"
CONV = "convolution,brgconv:avx512_core,forward_inference,,,alg:x,g16mb8_ic768oc768_iw156ow156kw128sw1dw0pw64"
RECORD = f"""\
onednn_verbose,info,oneDNN v3.2.0 (commit 0)
onednn_verbose,info,prim_template:operation,engine,primitive,implementation,prop_kind,problem_desc,exec_time
onednn_verbose,exec,cpu,{LINEAR},10
onednn_verbose,exec,cpu,{LINEAR},20
onednn_verbose,exec,cpu,{CONV},8
onednn_verbose,exec,cpu,matmul,gemm:jit:f32,undef,src_f32::blocked:acbd:1x2x3x4:f0,,,8x12x156x64:8x12x64x156,2
"""


def test_profile_adds_up_what_onednn_reports():
    profiling = module("profiling")
    rows = profiling.summarise(RECORD, runs=2, seconds=0.05)
    linear = rows[0]
    assert (linear["kind"], linear["problem"], linear["calls"]) == ("inner_product", "mb1248ic768oc3072", 1)
    assert linear["ms"] == 15 and linear["share"] == pytest.approx(0.6)
    assert linear["gflops"] == pytest.approx(2 * 1248 * 768 * 3072 / 0.015 / 1e9)
    assert [row["kind"] for row in rows] == ["inner_product", "convolution", "matmul", "other"]
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert rows[-1]["ms"] == pytest.approx(5)
    kinds = {row["kind"]: row for row in profiling.by_kind(rows)}
    assert kinds["inner_product"]["gflops"] == pytest.approx(linear["gflops"])
    assert kinds["other"]["gflops"] == 0


@pytest.mark.parametrize(
    "kind, problem, expected",
    [
        ("inner_product", "mb2ic3oc5", 2 * 2 * 3 * 5),
        ("convolution", "mb2_ic12oc256_iw2500ow1250kw2sw2dw0pw0", 2 * 2 * 1250 * 256 * 12 * 2),
        ("convolution", "g16mb1_ic768oc768_iw156ow156kw128sw1dw0pw64", 2 * 156 * 768 * 48 * 128),
        ("matmul", "8x12x156x64:8x12x64x100", 2 * 8 * 12 * 156 * 64 * 100),
        ("reorder", "768x768", 0),
    ],
)
def test_operations_of_a_primitive(kind, problem, expected):
    assert module("profiling").primitive_operations(kind, problem) == expected


# ---- the whole


def test_short_run_without_peers(tmp_path):
    report = tmp_path / "report.json"
    done = run("--size", "tiny", "--quick", "--batch", 1, 2, "--threads", 1, "--peer-python", NOWHERE, "--json", report)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert set(found["absent"]) == {"torch", "onnxruntime", "openvino"}
    assert found["failures"] == []
    assert [(row["contestant"], row["batch"]) for row in found["timings"]] == [("ecgfm", 1), ("ecgfm", 2)]
    for row in found["timings"]:
        assert 0 < row["ms_min"] <= row["ms_median"] and row["ratio"] == 1 and row["difference"] == 0
        assert 0 < row["share_of_peak"] and row["rounds"] <= row["rounds_tried"]
    assert [row["entry"] for row in found["starts"]] == ["ecgfm .safetensors", "ecgfm .pt"] * 2
    assert all(0 < row["load_s"] < row["first_answer_s"] and row["memory_mb"] > 10 for row in found["starts"])
    assert "absent: PyTorch" in done.stdout and "tiny, batch 2, threads 1" in done.stdout


QKV = ("mb156ic64oc192", "156x64:64x192")  # an inner product or a matrix product, by the processor


def test_short_profile(tmp_path):
    report = tmp_path / "report.json"
    done = run("--profile", "--size", "tiny", "--quick", "--batch", 1, "--threads", 1, "--json", report)
    assert done.returncode == 0, done.stdout + done.stderr
    (profile,) = json.loads(report.read_text())["profiles"]
    assert {"convolution", "matmul", "other"} <= {row["kind"] for row in profile["kinds"]}
    assert sum(row["share"] for row in profile["primitives"]) == pytest.approx(1)
    layers = module("common").model_config("tiny")["encoder_layers"]
    (qkv,) = [row for row in profile["primitives"] if row["problem"] in QKV]
    assert qkv["calls"] == layers


def test_logits_are_those_of_the_package(tmp_path):
    inference, common = module("inference"), module("common")
    from ecgfm.model.model import Model

    bench = inference.Benchmark(inference.parse_options(["--quick", "--contestants", "ecgfm"]), tmp_path)
    found = inference.start_workers(bench, "tiny", 2, 1)
    worker, _, logits, _ = found["ecgfm"]
    worker.__exit__()
    config = common.model_config("tiny")
    model = Model.from_state_dict(config, common.state_dict(config))
    np.testing.assert_allclose(logits, model(common.segments(2)).logits, atol=1e-6)


def test_short_run_in_lower_precisions(tmp_path):
    """All that this processor has; a file that holds the rounded weights is loaded for the first answer."""
    precisions = core().precisions()
    report = tmp_path / "report.json"
    arguments = ("--size", "tiny", "--quick", "--batch", 2, "--threads", 1, "--contestants", "ecgfm", "--json", report)
    done = run(*arguments, "--precision", *precisions)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert [row["precision"] for row in found["timings"]] == precisions
    for row in found["timings"]:
        assert (row["change"] == 0) == (row["precision"] == "float32") and row["change"] < 0.1
    entries = [row["entry"] for row in found["starts"]]
    assert all(f"ecgfm {name}, saved so" in entries for name in precisions[1:])
