"""The benchmark of pretraining: what it counts, and one short run of it."""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ecgfm

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture
def common(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("common")


@pytest.mark.parametrize("size", ["base", "large", "tiny"])
def test_its_network_is_ours(common, size):
    config = common.pretraining_config(size)
    more = {"conv_feature_layers": common.conv_layers(config), "latent_dim": 0, "target_glu": False}
    shapes = dict(ecgfm._core.parameters(config | more, "pretraining"))
    assert {name: tuple(shape) for name, shape in shapes.items()} == common.pretraining_shapes(config)


def test_operations_are_three_times_the_products(common):
    """Every weight meets as many values as its layer has rows; a backward has two products of that size."""
    config, shapes = common.pretraining_config("tiny"), common.pretraining_shapes(common.pretraining_config("tiny"))
    tokens, masked = common.token_counts(config), int(common.pretraining_noise(config, 1)["steps"][0].sum())
    products = 0
    for name, shape in shapes.items():
        if name.endswith("weight") and len(shape) == 3 and "conv_layers" in name:
            rows = tokens[int(name.split(".")[2])] * (1 if ".0.0." not in name else 2 / 3)  # no gradient of the signal
        elif name.endswith("original1"):
            rows = tokens[-1]
        elif name.endswith("weight") and len(shape) == 2:
            rows = masked if name.startswith(("quantizer", "project_q", "final_proj")) else tokens[-1]
        else:
            continue
        products += rows * math.prod(shape)
    products += config["encoder_layers"] * 2 * tokens[-1] ** 2 * config["encoder_embed_dim"]  # attention
    assert common.pretraining_operations(config, 4) == pytest.approx(2 * 4 * 3 * 2 * products, rel=1e-12)


def test_its_negatives_are_other_steps_of_the_row(common):
    noise = common.pretraining_noise(common.pretraining_config("tiny"), 2)
    masked = int(noise["steps"][0].sum())
    rows = np.arange(4 * masked)[:, None]
    assert (noise["steps"].sum(axis=1) == masked).all()
    assert (noise["negatives"] // masked == rows // masked).all() and (noise["negatives"] != rows).all()


def test_a_short_run(tmp_path):
    report = tmp_path / "report.json"
    command = [sys.executable, str(FOLDER / "pretraining.py"), "--size", "tiny", "--quick", "--batch", "2"]
    command += ["--threads", "1", "--contestants", "ecgfm", "--json", str(report)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    found = json.loads(report.read_text())
    (row,) = found["timings"]
    assert row["contestant"] == "ecgfm" and row["ratio"] == 1 and 0 < row["share_of_peak"] < 1
    assert found["memory"][0]["memory_mb"] > 10 and found["failures"] == []


def test_a_short_run_of_what_pretraining_is_worth(tmp_path):
    report = tmp_path / "report.json"
    command = [
        sys.executable,
        str(FOLDER / "pretraining_worth.py"),
        "--seeds",
        "2",
        "--patients",
        "16",
        "--tested",
        "40",
    ]
    command += ["--pretraining-epochs", "1", "--labelled", "12", "--epochs", "1", "--json", str(report)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    found = json.loads(report.read_text())
    differences = [row["pretrained"] - row["random"] for row in found["rows"]]
    assert found["difference"]["mean"] == pytest.approx(np.mean(differences))
    half = 12.71 * abs(differences[0] - differences[1]) / 2  # t of one degree of freedom, s / sqrt(2)
    assert found["difference"]["half_width"] == pytest.approx(half, rel=1e-3, abs=1e-9)
    assert all(0 <= row[name] <= 1 for row in found["rows"] for name in ("pretrained", "random"))
