"""The positional convolution's weights: held once, packed, and had back to the bit whatever they are."""

import numpy as np
import pytest
import weights

from ecgfm.kernels import core

V = "encoder.conv_pos.pos_conv.0.parametrizations.weight.original1"
G = "encoder.conv_pos.pos_conv.0.parametrizations.weight.original0"
ROUNDS = ["bfloat16"] if "bfloat16" in core().precisions() else []


def made(**other):
    return weights.weights(weights.parameters(weights.SMALL)) | other


def filled(values, precision="float32", first=(), finish=True):
    model = core().Model(weights.SMALL, "classifier", precision)
    for name in [*first, *(name for name in sorted(values, key=lambda name: values[name].ndim) if name not in first)]:
        model.set(name, values[name])
    if finish:
        model.finish()
    return model


def logits(model):
    return model.forward(np.random.default_rng(0).standard_normal((2, 12, 500), dtype=np.float32))["logits"]


@pytest.mark.parametrize("first", [(), (V,), (V, G), (G, V)])
def test_they_are_had_back_to_the_bit_in_any_order(first):
    values = made()
    model = filled(values, first=first)
    for name in (V, G):
        np.testing.assert_array_equal(model.get(name).view(np.uint32), values[name].view(np.uint32))
    np.testing.assert_array_equal(logits(model), logits(filled(values)))


@pytest.mark.parametrize("gain", [0.0, -1.0, 1e-42, 1e-30, 1e30])
def test_they_are_had_back_where_the_product_of_both_does_not_lead_back(gain):
    values = made()
    values[G] = (values[G] * np.float32(gain)).astype(np.float32)
    values[V] = values[V].copy()
    values[V][0, 0, :3] = 0.0, -0.0, 1e-42
    model = filled(values)
    for name in (V, G):
        np.testing.assert_array_equal(model.get(name).view(np.uint32), values[name].view(np.uint32))


@pytest.mark.parametrize("precision", ["float32", *ROUNDS])
def test_either_can_be_set_again(precision):
    values, others = made(), made()
    others[V], others[G] = others[V] * np.float32(-0.5) + 1, others[G] * np.float32(1.25)
    model = filled(values, precision)
    model.set(G, others[G])
    model.set(V, others[V])
    model.finish()
    np.testing.assert_array_equal(logits(model), logits(filled(others, precision)))


def test_setting_one_again_leaves_the_other():
    values = made()
    model = filled(values)
    model.set(G, values[G] * np.float32(3))
    model.finish()
    np.testing.assert_array_equal(model.get(V), values[V])
    np.testing.assert_array_equal(model.get(G), values[G] * np.float32(3))
    np.testing.assert_array_equal(logits(model), logits(filled(values | {G: values[G] * np.float32(3)})))


def test_one_that_is_missing_is_named():
    values = made()
    for name in (V, G):
        rest = {each: value for each, value in values.items() if each != name}
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            filled(rest, first=[each for each in (V, G) if each != name])


@pytest.mark.parametrize("precision", ROUNDS)
def test_rounded_they_are_what_is_computed_with(precision):
    values = made()
    model = filled(values, precision)
    held, again = model.stored(V)[0], model.get(V)
    if held.dtype == np.float32:  # the convolution runs in float32, where bfloat16 gains nothing
        np.testing.assert_array_equal(again, values[V])
        np.testing.assert_array_equal(model.get(G), values[G])
        return
    assert held.dtype == np.uint16
    np.testing.assert_array_equal((held.astype(np.uint32) << 16).view(np.float32), again)
    product = values[V] * (values[G] / np.sqrt(np.square(values[V], dtype=np.float64).sum(axis=(0, 1))))
    assert np.abs(again / product - 1).max() <= 2**-8
    np.testing.assert_allclose(model.get(G), np.sqrt(np.square(again, dtype=np.float64).sum(axis=(0, 1)))[None, None])
    np.testing.assert_allclose(model.get(G), np.abs(values[G]), rtol=2e-3)
    once = filled(values | {V: again, G: model.get(G)}, precision)
    np.testing.assert_array_equal(once.get(V), again)
    np.testing.assert_array_equal(once.get(G), model.get(G))
    np.testing.assert_array_equal(logits(once), logits(model))


@pytest.mark.parametrize("precision", ROUNDS)
def test_a_tap_that_rounds_to_nothing_keeps_its_direction(precision):
    values = made()
    values[G] = values[G].copy()
    values[G][..., 3] = 0
    model = filled(values, precision)
    for name in (V, G):
        np.testing.assert_array_equal(model.get(name), values[name])
    assert model.stored(V)[0].dtype == np.float32
