"""Precisions of the compiled model: how far from float64, the same bits whatever the batch, weights as they are held.

Limits: a product in bfloat16 rounds each factor to 8 bits (a relative 2^-9), in int8 each row to 255 steps
of its range. Tokens have a deviation of 1, which a handful of products in a row reaches with one percent: the root
mean square is held to 2 % and 3 %, where a mistake gives the order of 100 %. Logits are means over tokens.
"""

import numpy as np
import pytest
import twin
import weights

from ecgfm.errors import Error
from ecgfm.kernels import core

# Of tokens (root mean square), of attention weights and of logits (largest).
LIMITS = {"float32": (2e-6, 5e-6, 5e-6), "bfloat16": (0.02, 0.06, 0.01), "int8": (0.03, 0.08, 0.02)}
REDUCED = ["bfloat16", "int8"]


def supported(precision):
    if precision not in core().precisions():
        pytest.skip(f"this processor has no instructions for {precision}")


def set_all(model, config, values):
    for name, shape in sorted(core().parameters(config, "classifier"), key=lambda entry: len(entry[1])):
        model.set(name, np.ascontiguousarray(values[name].reshape(shape), np.float32))
    model.finish()
    return model


def build(config, precision, values=None):
    supported(precision)
    return set_all(core().Model(config, "classifier", precision), config, values or made(config))


def made(config):
    return weights.weights(weights.parameters(config))


def segments(count=3, samples=500, leads=12):
    return np.random.default_rng(0).standard_normal((count, leads, samples), dtype=np.float32)


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("variant", weights.VARIANTS)
def test_near_the_twin_in_float64(precision, variant):
    config = weights.VARIANTS[variant]
    x = segments(leads=config["in_d"])
    found = build(config, precision).forward(x, tokens=True, attention=True)
    expected = twin.forward(config, made(config), x)
    tokens, attention, logits = LIMITS[precision]
    error = np.sqrt(np.mean((found["tokens"] - expected["encoder_out"]) ** 2))
    assert error < tokens
    assert np.abs(found["attention"] - expected["saliency"]).max() < attention
    assert np.abs(found["logits"] - expected["logits"]).max() < logits
    assert precision == "float32" or error > 1e-4  # it does run in that type


@pytest.mark.parametrize("changes", [{}, {"conv_bias": True, "extractor_mode": "layer_norm"}])
def test_wide_conv_blocks_round_little_and_their_weights_come_back(changes):
    config = weights.SMALL | {"conv_feature_layers": [(130, 2, 2), (134, 3, 2), (37, 2, 1)]} | changes
    values, x = made(config), segments(samples=120)
    model = build(config, "float32", values)
    assert "ecgfm:blocks" in model.describe(3, 120)
    found, expected = model.forward(x, trace=True), twin.forward(config, values, x)
    error = np.sqrt(np.mean((found["trace"]["layer_norm"] - expected["layer_norm"]) ** 2))
    assert error < 5e-7
    assert np.abs(found["logits"] - expected["logits"]).max() < 5e-6
    np.testing.assert_array_equal(model.forward(x)["logits"], found["logits"])
    np.testing.assert_array_equal(model.forward(x[2:])["logits"][0], found["logits"][2])
    for name, value in values.items():
        np.testing.assert_array_equal(model.get(name), value, err_msg=name)


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("variant", ["default", "pre_norm"])
def test_the_same_bits_for_any_batch_and_number_of_threads(precision, variant):
    config = weights.VARIANTS[variant]
    x = segments(9)
    valid = np.array([500, 300, 500, 500, 480, 500, 500, 500, 100])
    model = build(config, precision)
    together = model.forward(x, valid, tokens=True)
    for one in (0, 1, 8):
        alone = model.forward(x[one : one + 1].copy(), valid[one : one + 1].copy(), tokens=True)
        for name in ("logits", "tokens", "embedding"):
            np.testing.assert_array_equal(alone[name][0], together[name][one], err_msg=name)
    before = core().get_num_threads()
    try:
        core().set_num_threads(1)
        single = build(config, precision).forward(x, valid)
    finally:
        core().set_num_threads(before)
    np.testing.assert_array_equal(single["logits"], together["logits"])


@pytest.mark.parametrize("precision", REDUCED)
def test_attention_and_a_layer_that_are_asked_for_change_nothing(precision):
    model, x = build(weights.SMALL, precision), segments()
    plain = model.forward(x)["logits"]
    np.testing.assert_array_equal(model.forward(x, attention=True, tokens=True, layer=0)["logits"], plain)
    np.testing.assert_array_equal(model.forward(x, trace=True)["logits"], plain)


def test_weights_as_they_are_held_give_the_same_bits():
    model, x = build(weights.SMALL, "int8"), segments()
    again, kinds = core().Model(weights.SMALL, "classifier", "int8"), set()
    for name, shape in core().parameters(weights.SMALL, "classifier"):
        values, scales, factors = model.stored(name)
        kinds.add(values.dtype)
        assert values.shape == shape
        if scales is None:
            again.set(name, model.get(name))
            continue
        weight = values * scales[:, None] * factors
        np.testing.assert_allclose(model.get(name), weight, rtol=1e-6)
        assert np.abs(weight - made(weights.SMALL)[name]).max() <= 0.51 * (scales[:, None] * factors).max()
        again.set_stored(name, values, scales, factors)
    again.finish()
    assert {np.dtype(np.int8), np.dtype(np.float32)} <= kinds
    np.testing.assert_array_equal(again.forward(x)["logits"], model.forward(x)["logits"])


def test_bfloat16_weights_as_they_are_held_give_the_same_bits():
    model, x = build(weights.SMALL, "bfloat16"), segments()
    held = {name: model.stored(name)[0] for name, _ in core().parameters(weights.SMALL, "classifier")}
    assert held["encoder.encoder.layers.0.fc1.weight"].dtype == np.uint16
    values = {
        name: (value.astype(np.uint32) << 16).view(np.float32) if value.dtype == np.uint16 else value
        for name, value in held.items()
    }
    for name, value in values.items():
        np.testing.assert_array_equal(value, model.get(name))
    np.testing.assert_array_equal(
        build(weights.SMALL, "bfloat16", values).forward(x)["logits"], model.forward(x)["logits"]
    )


def test_channels_with_large_gains_are_shared_between_rows_and_weights():
    supported("int8")
    values, x = made(weights.SMALL), segments()
    for name in values:
        if "layer_norm.weight" in name and ".layers." in name:
            values[name] = values[name].copy()
            values[name][:2] *= 12
    found = build(weights.SMALL, "int8", values)
    expected = build(weights.SMALL, "float32", values).forward(x)["logits"]
    # Twelvefold in two of 32 channels makes the others small: twice the limit of plain weights (found: 1.3 times).
    assert np.abs(found.forward(x)["logits"] - expected).max() < 2 * LIMITS["int8"][2]
    factors = found.stored("encoder.encoder.layers.0.fc1.weight")[2]
    assert (factors[:2] < factors[2:].min()).all()


def test_what_is_wrong_is_refused():
    supported("int8")
    with pytest.raises(ValueError, match="float64 is not known"):
        core().Model(weights.SMALL, "classifier", "float64")
    model, values = core().Model(weights.SMALL, "classifier", "int8"), made(weights.SMALL)
    name = "encoder.encoder.layers.0.fc1.weight"
    with pytest.raises(Error, match="after the norms"):
        model.set(name, np.ascontiguousarray(values[name], np.float32))
    numbers, scales, factors = np.zeros((48, 32), np.int8), np.ones(48, np.float32), np.ones(32, np.float32)
    with pytest.raises(ValueError, match="the numbers"):
        model.set_stored(name, numbers.T.copy(), scales, factors)
    with pytest.raises(ValueError, match="the scales"):
        model.set_stored(name, numbers, scales[:3].copy(), factors)
    with pytest.raises(ValueError):
        model.set_stored("encoder.layer_norm.weight", numbers, scales, factors)
    with pytest.raises(ValueError, match="not finite"):
        model.set_stored(name, numbers, scales * np.float32("nan"), factors)
    group = [f"encoder.encoder.layers.0.self_attn.{part}_proj.weight" for part in "qk"]
    square, ones = np.zeros((32, 32), np.int8), np.ones(32, np.float32)
    model.set_stored(group[0], square, ones, ones)
    with pytest.raises(ValueError, match="group"):
        model.set_stored(group[1], square, ones, ones * 2)
    with pytest.raises(Error, match="group"):
        model.set(group[1], np.zeros((32, 32), np.float32))
