"""The float64 twin, the list of parameters and the weight recipe against the reference data.

The data record how far the reference's float32 arrays are from its float64 run.  The twin must be exactly that far
from the float32 arrays: nearer or farther would be another function.
"""

import numpy as np
import pytest
import twin
import weights
from golden import VARIANT_TAGS, arrays, checkpoint, load_json

EXACT = 1e-12  # what is left between two float64 programs at features of size 1


def largest_error(got, expected):
    assert got.shape == expected.shape
    return np.abs(got - expected).max()


@pytest.fixture(scope="module")
def finetuned(shared):
    return checkpoint(shared / "golden/tiny/finetuned.pt")


@pytest.mark.parametrize("case", "ABCD")
def test_forward(shared, finetuned, case):
    tiny = shared / "golden/tiny"
    expected = arrays(tiny / "forward.npz", case + ".")
    recorded = load_json(tiny / "forward_tolerance.json")[case]
    source, mask = expected.pop("source"), expected.pop("padding_mask", None)
    expected.pop("lengths", None)
    trace = twin.forward(*finetuned, source, mask)
    for name, array in expected.items():
        if name.endswith("64"):
            assert largest_error(trace[name[:-2]], array) < EXACT, name
        elif array.dtype == bool:
            np.testing.assert_array_equal(trace[name], array)
        else:
            assert largest_error(trace[name], array) == pytest.approx(recorded[name]["max_abs"], abs=EXACT), name


def test_forward_of_the_pretrained_encoder(shared):
    tiny = shared / "golden/tiny"
    expected = arrays(tiny / "forward_pretrained.npz", "")
    recorded = load_json(tiny / "forward_tolerance.json")["pretrained"]
    trace = twin.forward(*checkpoint(tiny / "pretrained.pt"), expected["source"])
    for name, ours in {"x": "encoder_out", "features": "layer_norm"}.items():
        assert largest_error(trace[ours], expected[name]) == pytest.approx(recorded[name]["max_abs"], abs=EXACT)


@pytest.mark.parametrize("tag", VARIANT_TAGS)
def test_variants(shared, tag):
    folder = shared / "golden/tiny/variants"
    config, params = checkpoint(folder / f"{tag}.pt")
    inputs, expected = arrays(folder / "variants.npz", ""), arrays(folder / "variants.npz", tag + "/")
    recorded = load_json(folder / "variants.json")[tag]["float32_vs_float64_max_abs"]
    plain = twin.forward(config, params, inputs["source"])
    padded = twin.forward(config, params, inputs["source_padded"], inputs["padding_mask"])
    for name, array in expected.items():
        trace, bare = (padded, name.removeprefix("padded/")) if name.startswith("padded/") else (plain, name)
        if array.dtype == bool:
            np.testing.assert_array_equal(trace[bare], array)
        elif name in recorded:
            assert largest_error(trace[bare], array) == pytest.approx(recorded[name], abs=EXACT), name
        else:
            assert largest_error(trace[bare], array) < 1e-5, name  # float32 features, 2e-6 where it is recorded


# ---- gradients ------------------------------------------------------------------------------------------------------


def first_batch(tiny):
    """Signals, labels and pos_weight of the first batch of the finetuning runs."""
    with np.load(tiny / "finetune_step.npz") as data:
        return data["source"][0], data["label"][0], data["pos_weight"]


@pytest.mark.parametrize("multiplier", ["0", "0.1", "1"])
def test_gradients(shared, finetuned, multiplier):
    tiny = shared / "golden/tiny"
    config, params = finetuned
    case = f"grad_fgm{multiplier}"
    expected = arrays(tiny / "finetune_step.npz", case + "/")
    recorded = load_json(tiny / "finetune_step.json")[case]
    x, y, pos_weight = first_batch(tiny)
    trace = twin.forward(config, params, x)
    loss = twin.bce_with_logits(trace["logits"], y, pos_weight)
    assert loss == pytest.approx(recorded["loss_sum_float64"], rel=1e-14)
    diff_logits = twin.bce_with_logits_backward(trace["logits"], y, pos_weight)
    diff = twin.backward(config, params, x, diff_logits, feature_grad_mult=float(multiplier), trace=trace)
    assert set(params) - set(diff) == set(recorded["params_without_grad"])
    for name, array in diff.items():
        error = largest_error(array, expected[name])
        assert error == pytest.approx(recorded["per_param_abs_err_vs_float64"][name], abs=EXACT, rel=1e-6), name


def test_loss_without_pos_weight(shared, finetuned):
    tiny = shared / "golden/tiny"
    x, y, _ = first_batch(tiny)
    loss = twin.bce_with_logits(twin.forward(*finetuned, x)["logits"], y)
    recorded = load_json(tiny / "finetune_step.json")["no_pos_weight"]["loss_sum"]
    assert loss == pytest.approx(recorded, rel=2e-6)  # a float32 sum


@pytest.mark.parametrize("tag", VARIANT_TAGS)
def test_variant_gradients(shared, tag):
    folder = shared / "golden/tiny/variants"
    config, params = checkpoint(folder / f"{tag}.pt")
    inputs = arrays(folder / "variants.npz", "")
    recorded = load_json(folder / "variant_grads.json")
    pos_weight = np.float32(recorded["pos_weight_used"])
    label = arrays(folder / "variant_grads.npz", "label")[""]
    for kind, figures in recorded[tag].items():
        padded = kind == "padded"
        x, mask = (inputs["source_padded"], inputs["padding_mask"]) if padded else (inputs["source"], None)
        trace = twin.forward(config, params, x, mask)
        loss = twin.bce_with_logits(trace["logits"], label, pos_weight)
        assert loss == pytest.approx(figures["loss_float64"], rel=1e-8)  # pos_weight is recorded with 3 decimals
        diff_logits = twin.bce_with_logits_backward(trace["logits"], label, pos_weight)
        diff = twin.backward(config, params, x, diff_logits, mask, trace=trace)
        expected = arrays(folder / "variant_grads.npz", f"{tag}/{kind}/")
        assert set(diff) == set(expected)
        for name, array in expected.items():
            error = largest_error(diff[name], array)
            if zero_in_theory(config, name):
                assert np.abs(diff[name]).max() < EXACT and error < 1e-5, name
            else:
                assert error <= 5e-6 * np.abs(diff[name]).max(), name  # float32; recorded up to 3.2e-6


def zero_in_theory(config, name):
    """The softmax cancels k_proj.bias, the group norm a bias before it."""
    before_group_norm = name.endswith("conv_layers.0.0.bias") and config["extractor_mode"] == "default"
    return name.endswith("k_proj.bias") or before_group_norm


# ---- the list of parameters -----------------------------------------------------------------------------------------


def table(entries):
    return [(entry["name"], tuple(entry["shape"])) for entry in entries]


@pytest.mark.parametrize("size", ["base", "large"])
def test_parameters(shared, size):
    recorded = load_json(shared / f"golden/params_{size}.json")
    pretraining, finetuned = recorded["pretraining"], recorded["finetuned"]
    config = weights.config_from(recorded["hyperparameters_pretraining"])
    assert weights.parameters(config, "pretraining") == table(pretraining["state_dict"])
    assert weights.count(weights.parameters(config, "pretraining")) == pretraining["total"]
    config = weights.config_from(recorded["hyperparameters_finetuned"])
    assert weights.parameters(config, "classifier") == table(finetuned["state_dict"])
    assert weights.count(weights.parameters(config, "classifier")) == finetuned["total"]
    assert config == (weights.BASE if size == "base" else weights.LARGE)


@pytest.mark.parametrize("tag", VARIANT_TAGS)
def test_variant_parameters(shared, tag):
    recorded = load_json(shared / "golden/tiny/variants/variants.json")[tag]
    config = weights.config_from(recorded["model_overrides"])
    assert weights.parameters(config) == [(name, tuple(shape)) for name, shape in recorded["names"]]


@pytest.mark.parametrize("case", ["default", "target_glu", "latent_dim_16"])
def test_pretraining_parameters(shared, case):
    tiny = shared / "golden/tiny"
    config, params = checkpoint(tiny / "pretrained.pt")
    config |= load_json(tiny / "pretrain_options.json")[case]["overrides"] if case != "default" else {}
    changed = arrays(tiny / "pretrain_options.npz", f"{case}/params/")
    expected = {name: value.shape for name, value in (params | changed).items()}
    assert dict(weights.parameters(config, "pretraining")) == expected
