"""Gradients of whole networks, of all shapes and with all kinds of noise, against the float64 twin."""

import numpy as np
import pytest
import weights
from twin_problems import NONE, RATES, factors, masks_for, problem, twin_gradients

import ecgfm


def trainer_for(config, params, pos_weight=None, **settings):
    model = ecgfm.Model.from_state_dict(config, params)
    return ecgfm.Trainer(model, pos_weight=pos_weight, **(NONE | {"feature_grad_mult": 1.0} | settings))


def compare(trainer, expected):
    """Within rounding: 1e-5 of a tensor's largest entry, and of the largest of all where a tensor is 0 in theory."""
    found = trainer.gradients()
    assert {name for name, values in found.items() if values.any()} <= set(expected) <= set(found)
    largest = max(np.abs(values).max() for values in expected.values())
    for name, want in expected.items():
        limit = max(1e-5 * np.abs(want).max(), 1e-6 * largest)
        assert np.abs(found[name] - want).max() <= limit, name


# ---- all shapes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("tag", weights.VARIANTS)
def test_variants(tag, padded, recompute):
    given = problem(tag)
    config, params, x, mask, y, pos_weight = given
    mask = mask if padded else None
    loss, expected = twin_gradients(given, mask)
    trainer = trainer_for(config, params, pos_weight, recompute=recompute)
    trainer.accumulate(x, y, mask)
    compare(trainer, expected)
    assert trainer.update()["loss_sum"] == pytest.approx(loss, rel=2e-6)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("tag", weights.VARIANTS)
def test_variants_with_every_dropout(tag, padded, recompute):
    given = problem(tag)
    config, params, x, mask, y, pos_weight = given
    mask = mask if padded else None
    masks = masks_for(config, x.shape[2], RATES)
    loss, expected = twin_gradients(given, mask, factors(masks, RATES))
    trainer = trainer_for(config, params, pos_weight, recompute=recompute, **RATES)
    trainer.accumulate(x, y, mask, noise=masks)
    compare(trainer, expected)
    assert trainer.update()["loss_sum"] == pytest.approx(loss, rel=2e-6)


# ---- one at a time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["default", "pre_norm"])
@pytest.mark.parametrize("setting", RATES)
def test_one_dropout(tag, setting):
    given = problem(tag)
    config, params, x, mask, y, pos_weight = given
    rates = NONE | {setting: 0.4}
    masks = masks_for(config, x.shape[2], rates)
    assert masks
    _, expected = twin_gradients(given, mask, factors(masks, rates))
    trainer = trainer_for(config, params, pos_weight, **rates)
    trainer.accumulate(x, y, mask, noise=masks)
    compare(trainer, expected)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("runs", [(True, False, True), (False, True, True), (True, True, False), (False, False, False)])
@pytest.mark.parametrize("norm_first", [False, True])
def test_layer_drop(norm_first, runs, recompute):
    config = weights.SMALL | {"encoder_layers": 3, "layer_norm_first": norm_first}
    _, _, x, mask, y, pos_weight = problem("default")
    params = weights.weights(weights.parameters(config))
    given = config, params, x, mask, y, pos_weight
    masks = masks_for(config, x.shape[2], RATES) | {"layers": np.array(runs)}
    loss, expected = twin_gradients(given, mask, factors(masks, RATES))
    trainer = trainer_for(config, params, pos_weight, recompute=recompute, encoder_layerdrop=0.5, **RATES)
    trainer.accumulate(x, y, mask, noise=masks)
    compare(trainer, expected)
    found = trainer.gradients()
    for i, layer in enumerate(runs):
        touched = [values.any() for name, values in found.items() if f".layers.{i}." in name]
        assert all(touched) if layer else not any(touched)
    assert trainer.update()["loss_sum"] == pytest.approx(loss, rel=2e-6)


@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_scaled_gradient_of_the_extractor(factor):
    given = problem("conv_bias")
    config, params, x, mask, y, pos_weight = given
    _, expected = twin_gradients(given, mask, feature_grad_mult=factor)
    trainer = trainer_for(config, params, pos_weight, feature_grad_mult=factor)
    trainer.accumulate(x, y, mask)
    compare(trainer, expected)


@pytest.mark.parametrize("tag", ["default", "conv_bias", "no_projection", "extractor_layer_norm_mixed_convs"])
def test_frozen_extractor(tag):
    """No gradients, moments, steps, decay; the other gradients are those that they are without freezing."""
    given = problem(tag)
    config, params, x, mask, y, pos_weight = given
    optimizer = {"weight_decay": 0.5}
    trainer = trainer_for(config, params, pos_weight, feature_grad_mult=0.0, optimizer=optimizer, schedule=1e-2)
    frozen = {name for name in params if ".conv_layers." in name}
    assert frozen
    for part in (
        trainer.gradients(),
        trainer.state()["exp_avg"],
        trainer.state()["exp_avg_sq"],
        trainer.state()["steps"],
    ):
        assert set(part) == set(params) - frozen
    trainer.accumulate(x, y, mask)
    _, expected = twin_gradients(given, mask, feature_grad_mult=0.0)
    compare(trainer, expected)
    trainer.update()
    for name, values in trainer.state_dict().items():
        assert np.array_equal(values, params[name]) == (name in frozen), name


def test_several_passes_are_one_batch():
    """A batch that is worked through in parts gives the sum of its parts."""
    config = weights.SMALL
    params = weights.weights(weights.parameters(config))
    x = weights.signal("passes", 21, 12, 2500)
    y = np.random.default_rng(1).integers(0, 2, (21, 17)).astype(np.float32)
    mask = weights.padding(21, 12, 2500, np.linspace(600, 2500, 21).astype(int))
    x[mask] = 0
    masks = masks_for(config, 2500, RATES, batch=21)
    loss, expected = twin_gradients((config, params, x, None, y, None), mask, factors(masks, RATES))
    trainer = trainer_for(config, params, **RATES)
    trainer.accumulate(x, y, mask, noise=masks)
    compare(trainer, expected)
    row = trainer.update()
    assert row["loss_sum"] == pytest.approx(loss, rel=2e-6) and row["nsignals"] == 21


# ---- the same to the bit --------------------------------------------------------------------------------------------


def bits(trainer):
    return {name: values.tobytes() for name, values in trainer.gradients().items()}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("tag", ["default", "pre_norm", "extractor_layer_norm", "odd_widths", "layers_3_heads_2"])
def test_recomputing_gives_the_same_bits(tag, padded):
    config, params, x, mask, y, pos_weight = problem(tag)
    found = []
    for recompute in (False, True):
        trainer = trainer_for(config, params, pos_weight, recompute=recompute, encoder_layerdrop=0.3, seed=4, **RATES)
        trainer.accumulate(x, y, mask if padded else None)
        found.append(bits(trainer))
    assert found[0] == found[1]


@pytest.mark.parametrize("tag", weights.VARIANTS)
def test_the_same_step_gives_the_same_bits(tag):
    config, params, x, mask, y, pos_weight = problem(tag)
    found = []
    for _ in range(2):
        trainer = trainer_for(config, params, pos_weight, seed=9, **RATES)
        for _ in range(2):
            row = trainer.step(x, y, mask)
        found.append(([values.tobytes() for values in trainer.state_dict().values()], row))
    assert found[0] == found[1]
