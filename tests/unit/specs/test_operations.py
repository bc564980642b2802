"""Operations of a segment: as the benchmark counts them for itself, and as the parameters say."""

import importlib
from math import prod
from pathlib import Path

import pytest

from ecgfm.kernels import core
from ecgfm.specs.architecture import Architecture
from ecgfm.specs.operations import operations

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.mark.parametrize("size", ["base", "large", "tiny"])
def test_the_benchmark_counts_the_same(size, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    common = importlib.import_module("common")
    config = common.model_config(size)
    found = operations(Architecture.of_config(config), 2500)
    assert sum(found.values()) == common.operations(config)
    assert found["linear"] == common.linear_operations(config)


def test_each_weight_counts_twice_for_each_value_that_it_meets():
    keys = {"encoder_embed_dim": 32, "encoder_ffn_embed_dim": 48, "encoder_layers": 3, "encoder_attention_heads": 4}
    keys |= {"conv_feature_layers": [(32, 3, 2), (32, 2, 2)], "conv_pos": 8, "conv_pos_groups": 4, "num_labels": 5}
    model = Architecture.of_kind("classifier", keys)
    steps = model.steps(1000)
    expected = {"convolutions": 0, "linear": 0, "attention": 3 * 4 * steps[-1] ** 2 * 32}
    for name, shape in core().parameters(model.config(), "classifier"):
        if len(shape) < 2 or name.endswith("original0"):
            continue
        rows = 1 if name == "proj.weight" else steps[-1]
        if ".conv_layers." in name:
            rows = steps[int(name.split(".conv_layers.")[1][0])]
        expected["convolutions" if "conv" in name else "linear"] += 2 * rows * prod(shape)
    assert operations(model, 1000) == expected


def test_an_encoder_has_no_labels_to_count():
    encoder, classifier = (
        operations(Architecture(kind=kind, num_labels=17), 2500) for kind in ("encoder", "classifier")
    )
    assert classifier["linear"] - encoder["linear"] == 2 * 768 * 17
