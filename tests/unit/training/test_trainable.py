"""What is trained: gradients of what is against the float64 twin, and nothing of what isn't."""

import numpy as np
import pytest
import twin
import weights
from twin_problems import NONE, RATES, factors, masks_for, problem, twin_gradients

import ecgfm
from ecgfm import ConfigError
from ecgfm.training.trainable import learning_rates, trained_tensors

TAGS = ("default", "pre_norm", "layers_3_heads_2")


def trainer_for(config, params, trainable, **settings):
    model = ecgfm.Model.from_state_dict(config, params)
    return ecgfm.Trainer(model, trainable=trainable, **(NONE | {"feature_grad_mult": 1.0} | settings))


def names_of(config, trainable, **how):
    names = [name for name, _ in weights.parameters(config)]
    chosen = trained_tensors(trainable, names, config, **({"extractor": True, "new": False} | how))
    return set(names) if chosen is None else set(chosen)


def same(found, expected, names):
    """Within the rounding of float32 of the largest entry, and of the largest of all where a tensor is 0 in theory."""
    assert set(found) == names
    largest = max(np.abs(expected[name]).max() for name in names)
    for name in names:
        limit = max(1e-5 * np.abs(expected[name]).max(), 1e-6 * largest)
        assert np.abs(found[name] - expected[name]).max() <= limit, name


CHOICES = {
    "head": "head",
    "last": 1,
    "one tensor of each layer": ["encoder.*.fc1.weight", "proj.*"],
    "biases and norms": ["*.bias", "*layer_norm.weight"],
    "queries and values": ["*.q_proj.weight", "*.v_proj.weight"],
    "the front alone": ["encoder.post_extract_proj.*", "encoder.conv_pos.*original1"],
    "the extractor alone": ["encoder.feature_extractor.*"],
    "the first layer": ["encoder.encoder.layers.0.*"],
}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("tag", TAGS)
def test_gradients(tag, choice, recompute):
    given = problem(tag)
    config, params, x, mask, y, _ = given
    _, expected = twin_gradients((*given[:5], None), mask)
    trainer = trainer_for(config, params, CHOICES[choice], recompute=recompute)
    for _ in range(2):  # the second batch adds
        trainer.accumulate(x, y, mask)
    names = names_of(config, CHOICES[choice])
    assert 0 < len(names) < len(params)
    same(trainer.gradients(), {name: 2 * values for name, values in expected.items()}, names)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("tag", TAGS)
def test_nothing_is_dropped_in_what_is_frozen(tag, recompute):
    given = problem(tag)
    config, params, x, mask, y, _ = given
    masks = masks_for(config, x.shape[2], RATES)
    last = config["encoder_layers"] - 1
    kept = {name: values for name, values in masks.items() if name == "final" or name.startswith(f"layer{last}.")}
    _, expected = twin_gradients((*given[:5], None), mask, factors(kept, RATES))
    trainer = trainer_for(config, params, 1, recompute=recompute, **RATES)
    trainer.accumulate(x, y, mask, noise=masks)
    same(trainer.gradients(), expected, names_of(config, 1))


@pytest.mark.parametrize("tag", ["layers_3_heads_2", "pre_norm"])
def test_a_frozen_layer_between_trained_ones(tag):
    """Gradients pass through it; it has no dropout, and is never left out."""
    given = problem(tag)
    config, params, x, mask, y, _ = given
    choice = ["encoder.encoder.layers.0.*", "proj.*"]
    masks = masks_for(config, x.shape[2], RATES)
    kept = {name: values for name, values in masks.items() if name == "final" or name.startswith("layer0.")}
    masks["layers"] = np.array([True] + [False] * (config["encoder_layers"] - 1))
    _, expected = twin_gradients((*given[:5], None), mask, factors(kept, RATES))
    trainer = trainer_for(config, params, choice, encoder_layerdrop=0.5, **RATES)
    trainer.accumulate(x, y, mask, noise=masks)
    same(trainer.gradients(), expected, names_of(config, choice))


def test_a_dropped_first_layer():
    """The input of the layer above it is then that of the frozen part."""
    given = problem("layers_3_heads_2")
    config, params, x, mask, y, _ = given
    masks = {"layers": np.array([True, False, True])}
    _, expected = twin_gradients((*given[:5], None), mask, factors(masks, RATES))
    for recompute in (False, True):
        trainer = trainer_for(config, params, 2, encoder_layerdrop=0.5, recompute=recompute)
        trainer.accumulate(x, y, mask, noise=masks)
        names = names_of(config, 2)
        zeros = {name: np.zeros_like(params[name]) for name in names if ".layers.1." in name}
        same(trainer.gradients(), dict(expected) | zeros, names)


def test_all_is_all_to_the_bit():
    config, params, x, mask, y, _ = problem("default")
    ways = [trainer_for(config, params, trainable, **RATES) for trainable in ("all", ["*"], ["proj*", "encoder*"])]
    for trainer in ways:
        trainer.step(x, y, mask)
    first = ways[0].state_dict()
    for trainer in ways[1:]:
        assert all(np.array_equal(first[name], values) for name, values in trainer.state_dict().items())


@pytest.mark.parametrize("trainable", ["head", 1, ["*.q_proj.*", "proj.*"]])
def test_what_is_frozen_stays_and_costs_nothing(trainable):
    config, params, x, mask, y, _ = problem("layers_3_heads_2")
    trainer = trainer_for(config, params, trainable, optimizer={"weight_decay": 0.1}, schedule=1e-2)
    before = {name: values.copy() for name, values in trainer.state_dict().items()}
    trainer.step(x, y, mask)
    names, state = names_of(config, trainable), trainer.state()
    for block in ("exp_avg", "exp_avg_sq", "steps"):
        assert set(state[block]) == names
    changed = {name for name, values in trainer.state_dict().items() if not np.array_equal(values, before[name])}
    assert changed == names


def test_the_gradient_is_the_slope_of_the_loss():
    """Finite differences of the float64 twin, along the gradient."""
    given = problem("default")
    config, params, x, mask, y, _ = given
    trainer = trainer_for(config, params, ["*.q_proj.weight", "*.fc2.bias", "proj.bias"])
    trainer.accumulate(x, y, mask)
    for name, values in trainer.gradients().items():
        direction, h = values.astype(np.float64), 1e-3 / np.abs(values).max()
        losses = []
        for sign in (1, -1):
            moved = dict(params) | {name: params[name] + sign * h * direction}
            losses.append(twin.bce_with_logits(twin.forward(config, moved, x, mask, None)["logits"], y, None))
        assert (losses[0] - losses[1]) / (2 * h) == pytest.approx((direction**2).sum(), rel=1e-3), name


# ---- how fast --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", TAGS)
def test_layer_wise_learning_rates(tag):
    """Adam's first step is the learning rate times the sign of the gradient, where eps is small."""
    config, params, x, mask, y, _ = problem(tag)
    trainer = trainer_for(config, params, "all", lr_decay=0.5, schedule=1e-3, optimizer={"adam_eps": 1e-30})
    before = {name: values.astype(np.float64) for name, values in trainer.state_dict().items()}
    trainer.accumulate(x, y, mask)
    moved = {name: values != 0 for name, values in trainer.gradients().items()}
    trainer.update()
    layers = config["encoder_layers"]
    for name, values in trainer.state_dict().items():
        power = layers + 1
        if name.startswith("proj.") or (config["layer_norm_first"] and name.startswith("encoder.encoder.layer_norm.")):
            power = 0
        elif name.startswith("encoder.encoder.layers."):
            power = layers - int(name.split(".")[3])
        step = np.abs(values - before[name])[moved[name]]
        np.testing.assert_allclose(step, 1e-3 * 0.5**power, rtol=2e-3, atol=3e-8 * np.abs(before[name]).max())


def test_without_decay_all_is_as_it_was():
    config, params, x, mask, y, _ = problem("default")
    assert learning_rates(1.0, ["proj.bias"], config) is None
    ways = [trainer_for(config, params, "all", **extra) for extra in ({}, {"lr_decay": 1.0})]
    for trainer in ways:
        trainer.step(x, y, mask)
    first, second = (trainer.state_dict() for trainer in ways)
    assert all(np.array_equal(first[name], second[name]) for name in first)


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value, words",
    [
        ("heads", "is not 'all', 'head'"),
        ("encoder.*", "A pattern stands in a list"),
        (0, "Give 'head'"),
        (-1, "is not"),
        (3, "the encoder has 2 layers, not 3"),
        (1.5, "is not"),
        (True, "is not"),
        (None, "is not"),
        ([], "is not"),
        ([1], "is not"),
        ([""], "is not"),
        (["x" * 201], "is not"),
        (["*"] * 1001, "is not"),
        (["encoder.layers.99.*"], "no tensor has a name like"),
        ({"a": 1}, "is not"),
        (np.arange(3), "is not"),
    ],
)
def test_refused(value, words):
    config, params, *_ = problem("default")
    with pytest.raises(ConfigError, match="trainable") as caught:
        trainer_for(config, params, value)
    assert words in str(caught.value) and len(str(caught.value)) < 400


def test_the_extractor_needs_its_gradients():
    config, params, *_ = problem("default")
    with pytest.raises(ConfigError, match="Give feature_grad_mult=1"):
        trainer_for(config, params, ["encoder.feature_extractor.*"], feature_grad_mult=0.0)


def test_a_new_output_layer_is_trained():
    config, params, *_ = problem("default")
    model = ecgfm.Model.from_state_dict(config, params)
    with pytest.warns(UserWarning, match="made anew"):
        assert ecgfm.Trainer(model, num_labels=3, trainable=["proj.*"]).gradients() is not None
    with pytest.raises(ConfigError, match="made anew and not trained"):
        ecgfm.Trainer(model, num_labels=3, trainable=["*.fc1.*"])


@pytest.mark.parametrize("value", [0, -0.5, 1.5, "x", None, True, float("nan")])
def test_no_such_decay(value):
    config, params, *_ = problem("default")
    with pytest.raises(ConfigError, match="lr_decay"):
        trainer_for(config, params, "all", lr_decay=value)
