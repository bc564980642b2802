"""The model in C against the float64 twin, on weights and signals from formulas: needs no reference data.

Tolerances.  Float32 keeps 6e-8 of a number; a feature is a sum of some hundred products behind a handful of norms,
which leaves 1e-6 to 5e-6 at features of size 1 (the reference in float32 is as far from itself in float64).  The
bounds are four times the largest errors that were measured here.
"""

import numpy as np
import pytest
import twin
import weights

import ecgfm
from ecgfm.kernels import core

ATOL_FEATURES = 2e-5
ATOL_OUTPUTS = 4e-6
OUTPUTS = {"pooled", "logits", "probs", "saliency"}


@pytest.fixture(scope="module")
def models():
    made = {}

    def model(tag):
        if tag not in made:
            config = weights.VARIANTS[tag]
            params = weights.weights(weights.parameters(config))
            made[tag] = config, params, ecgfm.Model.from_state_dict(config, params, kind="classifier")
        return made[tag]

    return model


def shortest(conv_layers):
    """The fewest samples that yield one token."""
    samples = 1
    for _, kernel, stride in reversed(conv_layers):
        samples = (samples - 1) * stride + kernel
    return samples


def check(config, params, model, x, mask=None):
    before = x.copy()
    padded = x if mask is None else np.where(mask, np.float32(0), x)  # what stands under the padding does not count
    expected = twin.forward(config, params, padded, mask)
    found = model.forward_trace(x, mask)
    missing = set(expected) - set(found) - {"encoder_in"}
    assert not missing, f"the trace lacks {sorted(missing)}"
    for name, array in expected.items():
        if name not in found:
            continue
        assert found[name].shape == array.shape, name
        if array.dtype == bool:
            np.testing.assert_array_equal(found[name], array)
            continue
        limit = ATOL_OUTPUTS if name in OUTPUTS else ATOL_FEATURES
        scale = max(1.0, np.abs(array).max())
        assert np.abs(found[name] - array).max() <= limit * scale, name
    out = model(x, padding_mask=mask, attention=True)
    public = {"logits": out.logits, "probs": out.probabilities, "pooled": out.embedding, "encoder_out": out.tokens}
    for name, array in (public | {"saliency": out.attention}).items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)  # one forward: a call is its trace
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("tag", weights.VARIANTS)
def test_plain(models, tag):
    config, params, model = models(tag)
    check(config, params, model, weights.signal(f"formula.{tag}", 2, config["in_d"], 1200))


@pytest.mark.parametrize("tag", weights.VARIANTS)
def test_padded(models, tag):
    config, params, model = models(tag)
    x = weights.signal(f"formula.{tag}.padded", 3, config["in_d"], 1200)
    lengths = [1200, 731, shortest(config["conv_feature_layers"])]
    mask = weights.padding(*x.shape, lengths)
    x[mask] = 0
    check(config, params, model, x, mask)


@pytest.mark.parametrize("tag", weights.VARIANTS)
def test_shortest_input(models, tag):
    config, params, model = models(tag)
    samples = shortest(config["conv_feature_layers"])
    assert twin.token_counts([samples - 1, samples], config["conv_feature_layers"]).tolist() == [0, 1]
    check(config, params, model, weights.signal(f"formula.{tag}.short", 2, config["in_d"], samples))


@pytest.mark.parametrize("tag", ["default", "pre_norm", "odd_widths", "mixed_convs", "extractor_layer_norm"])
@pytest.mark.parametrize("samples", [17, 33, 501, 999, 2500, 3667])
def test_lengths(models, tag, samples):
    config, params, model = models(tag)
    if samples < shortest(config["conv_feature_layers"]):
        samples += shortest(config["conv_feature_layers"])
    check(config, params, model, weights.signal(f"formula.{samples}", 1, config["in_d"], samples))


@pytest.mark.parametrize("tag", ["default", "pre_norm", "odd_widths"])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5])
def test_batches(models, tag, batch):
    config, params, model = models(tag)
    x = weights.signal("formula.batch", batch, config["in_d"], 700)
    check(config, params, model, x)
    lengths = [700 - 97 * i for i in reversed(range(batch))]
    check(config, params, model, x, weights.padding(*x.shape, lengths))


def test_a_mask_without_padding_is_no_mask(models):
    config, _, model = models("default")
    x = weights.signal("formula.nomask", 2, config["in_d"], 500)
    x[1, :, 497:] = 0
    plain = model(x)
    np.testing.assert_array_equal(model(x, padding_mask=np.zeros(x.shape, bool)).logits, plain.logits)
    np.testing.assert_array_equal(model(x, padding_mask=weights.padding(*x.shape, [500, 497])).logits, plain.logits)


@pytest.mark.parametrize("tag", ["default", "pre_norm"])
def test_batch_size_changes_logits_by_rounding_only(models, tag):
    config, _, model = models(tag)
    x = weights.signal("formula.rows", 5, config["in_d"], 2500)
    whole = model(x).logits
    for i in range(5):
        np.testing.assert_allclose(model(x[i : i + 1]).logits, whole[i : i + 1], rtol=0, atol=5e-6)


# ---- kinds of model and of array ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["default", "pre_norm", "no_projection", "odd_widths"])
def test_a_pretraining_model_is_an_encoder(tag):
    config = weights.VARIANTS[tag]
    params = weights.weights(weights.parameters(config, "pretraining"))
    model = ecgfm.Model.from_state_dict(config, params, kind="pretraining")
    x = weights.signal("formula.encoder", 2, config["in_d"], 1200)
    expected, out = twin.forward(config, params, x), model(x, attention=True)
    np.testing.assert_allclose(out.tokens, expected["encoder_out"], rtol=0, atol=ATOL_FEATURES)
    np.testing.assert_allclose(out.embedding, twin.pool(expected["encoder_out"]), rtol=0, atol=ATOL_OUTPUTS)
    np.testing.assert_allclose(out.attention, expected["saliency"], rtol=0, atol=ATOL_OUTPUTS)
    assert out.logits is None and out.probabilities is None


@pytest.mark.parametrize("kind", ["classifier", "pretraining"])
@pytest.mark.parametrize("tag", weights.VARIANTS)
def test_parameter_table(tag, kind):
    table = core().parameters(weights.VARIANTS[tag], kind)
    expected = weights.parameters(weights.VARIANTS[tag], kind)
    assert [(entry[0], tuple(entry[1])) for entry in table] == expected


@pytest.mark.parametrize(("size", "total"), [("BASE", 90_883_072), ("LARGE", 311_940_352)])
def test_parameter_counts_of_the_pretraining_models(size, total):
    table = core().parameters(getattr(weights, size), "pretraining")
    assert weights.count((entry[0], entry[1]) for entry in table) == total


def test_state_dict_gives_back_what_was_put_in(models):
    _, params, model = models("odd_widths")
    state = model.state_dict()
    assert list(state) == list(params)
    for name, value in params.items():
        assert state[name].dtype == np.float32
        np.testing.assert_array_equal(state[name], value, err_msg=name)
    assert model.num_parameters == sum(value.size for value in params.values())
