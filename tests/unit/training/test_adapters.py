"""Low-rank adapters: their gradients against finite differences, and the weights that they are merged into."""

import numpy as np
import pytest
import twin
import weights
from twin_problems import NONE, RATES, factors, masks_for, problem, twin_gradients

import ecgfm
from ecgfm import ConfigError

TAG = "layers_3_heads_2"


def trainer_for(params, config, **settings):
    model = ecgfm.Model.from_state_dict(config, params)
    return ecgfm.Trainer(model, **(NONE | {"adapters": 3, "schedule": 1e-2, "seed": 4} | settings))


def adapters_of(trainer):
    return {name: values for name, values in trainer.state()["parameters"].items() if ".adapter_" in name}


def started(tag=TAG, **settings):
    """A trainer whose adapters add something, with its problem."""
    given = problem(tag)
    config, params, x, mask, y, _ = given
    trainer = trainer_for(params, config, **settings)
    for _ in range(2):
        trainer.step(x, y, mask)
    return trainer, given


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("tag", [TAG, "pre_norm"])
def test_gradients(tag, recompute):
    """Those of A and B follow from the gradient of the whole weight, which the float64 twin gives."""
    trainer, given = started(tag, recompute=recompute, **RATES)
    config, _, x, mask, y, _ = given
    masks = masks_for(config, x.shape[2], RATES)
    inside = {name: values for name, values in masks.items() if name == "final" or name.startswith("layer")}
    weights_now = dict(trainer.state_dict())
    for _ in range(2):
        trainer.accumulate(x, y, mask, noise=masks)
    _, expected = twin_gradients((config, weights_now, x, mask, y, None), mask, factors(inside, RATES))
    found, now = trainer.gradients(), adapters_of(trainer)
    assert set(found) == set(now) | {"proj.weight", "proj.bias"} and len(now) == 4 * config["encoder_layers"]
    for name, values in found.items():
        want = expected.get(name)
        if name.endswith("_a"):
            want = now[name[:-1] + "b"].astype(np.float64).T @ expected[name.replace(".adapter_a", ".weight")]
        elif name.endswith("_b"):
            want = expected[name.replace(".adapter_b", ".weight")] @ now[name[:-1] + "a"].astype(np.float64).T
        np.testing.assert_allclose(values, 2 * want, rtol=1e-4, atol=2e-5 * np.abs(want).max(), err_msg=name)


def test_the_gradient_is_the_slope_of_the_loss():
    trainer, (config, _, x, mask, y, _) = started()
    now, base = adapters_of(trainer), dict(trainer.state_dict())
    trainer.accumulate(x, y, mask)
    gradients = {name: values.astype(np.float64) for name, values in trainer.gradients().items() if name in now}
    for name, direction in gradients.items():
        weight, h = name.split(".adapter_")[0], 1e-3 / np.abs(direction).max()
        losses = []
        for sign in (1, -1):
            a, b = (now[f"{weight}.adapter_{factor}"].astype(np.float64) for factor in "ab")
            moved = (b @ (a + sign * h * direction)) if name.endswith("_a") else (b + sign * h * direction) @ a
            params = base | {f"{weight}.weight": base[f"{weight}.weight"] + moved - b @ a}
            losses.append(twin.bce_with_logits(twin.forward(config, params, x, mask, None)["logits"], y, None))
        assert (losses[0] - losses[1]) / (2 * h) == pytest.approx((direction**2).sum(), rel=2e-3), name


@pytest.mark.parametrize("decay, rate", [(0.0, 1.0), (0.1, 0.5)])
def test_an_update_is_one_of_adam(decay, rate):
    config, params, x, mask, y, _ = problem(TAG)
    optimizer = {"weight_decay": decay, "adam_eps": 1e-8}
    trainer = trainer_for(params, config, optimizer=optimizer, lr_decay=rate)
    trainer.accumulate(x, y, mask)
    before = {name: values.astype(np.float64) for name, values in adapters_of(trainer).items()}
    size = y.size
    gradients = {name: trainer.gradients()[name].astype(np.float64) / size for name in before}
    trainer.update()
    for name, values in adapters_of(trainer).items():
        lr = 1e-2 * rate ** (config["encoder_layers"] - int(name.split(".")[3]))
        g = gradients[name]
        m, v = 0.1 * g, 0.02 * g * g
        step = lr * np.sqrt(1 - 0.98) / (1 - 0.9) * m / (np.sqrt(v) + 1e-8)
        np.testing.assert_allclose(values, (1 - lr * decay) * before[name] - step, rtol=1e-4, atol=1e-6, err_msg=name)


def test_the_weights_are_the_merged_ones(tmp_path):
    trainer, (config, params, x, mask, y, _) = started()
    now, merged = adapters_of(trainer), trainer.state_dict()
    changed = set()
    for name, values in merged.items():
        if np.array_equal(values, params[name]):
            continue
        changed.add(name.split(".self_attn.")[-1])
        if not name.startswith("proj."):
            a, b = (now[name.replace(".weight", f".adapter_{factor}")].astype(np.float64) for factor in "ab")
            np.testing.assert_allclose(values, params[name] + b @ a, atol=1e-7)
            assert np.linalg.matrix_rank(values.astype(np.float64) - params[name], tol=1e-5) == 3
    assert changed == {"q_proj.weight", "v_proj.weight", "proj.weight", "proj.bias"}
    assert set(merged) == set(params)
    trainer.save(tmp_path / "merged.safetensors")
    again = ecgfm.load(tmp_path / "merged.safetensors")
    np.testing.assert_array_equal(again(x, mask).logits, trainer.model()(x, mask).logits)
    np.testing.assert_allclose(again(x, mask).logits, trainer.logits(x, mask), atol=1e-5)


def test_they_begin_with_nothing():
    config, params, x, mask, *_ = problem(TAG)
    trainer, plain = trainer_for(params, config), trainer_for(params, config, adapters=0)
    np.testing.assert_array_equal(trainer.logits(x, mask), plain.logits(x, mask))
    for name, values in adapters_of(trainer).items():
        assert values.any() == name.endswith("_a")
    assert any(
        not np.array_equal(values, adapters_of(trainer_for(params, config, seed=5))[name])
        for name, values in adapters_of(trainer).items()
    )


def test_of_the_last_layers(tmp_path):
    """What lies below is kept as ever, with the same bits."""
    config, params, x, mask, y, _ = problem(TAG)
    ways = [trainer_for(params, config, trainable=1) for _ in range(2)]
    assert {name.split(".")[3] for name in adapters_of(ways[0])} == {"2"}
    kept = ways[1].below(x, mask)
    for _ in range(3):
        assert ways[0].step(x, y, mask) == ways[1].step(kept, y)
    all_layers = trainer_for(params, config)
    assert all_layers.step(all_layers.below(x, mask), y)["applied"]  # what comes before the layers


def test_what_they_hold():
    """No moments of the weights that they are added to."""
    config, params, *_ = problem(TAG)
    state = trainer_for(params, config, adapters=2).state()
    width, layers = config["encoder_embed_dim"], config["encoder_layers"]
    count = 2 * layers * 2 * 2 * width + (width + 1) * config["num_labels"]
    for block in ("exp_avg", "exp_avg_sq"):
        assert sum(values.size for values in state[block].values()) == count


def test_a_state_goes_on_to_the_bit():
    trainer, (config, params, x, mask, y, _) = started()
    other = trainer_for(params, config, seed=9)
    state = trainer.state()
    other.load_state({key: dict(value) if isinstance(value, dict) else value for key, value in state.items()})
    for _ in range(2):
        assert trainer.step(x, y, mask) == other.step(x, y, mask)
    for name, values in trainer.state()["parameters"].items():
        np.testing.assert_array_equal(values, other.state()["parameters"][name], err_msg=name)


def test_of_another_model():
    trainer, (config, params, x, mask, _, _) = started()
    moved = params | {
        "encoder.encoder.layers.0.self_attn.q_proj.weight": params["encoder.encoder.layers.0.fc1.weight"][:32]
    }
    moved = {name: np.ascontiguousarray(values) for name, values in moved.items()}
    other = trainer_for(moved, config)
    before = {name: values.copy() for name, values in other.state()["parameters"].items()}
    with pytest.raises(ConfigError, match="the adapters were trained from another model"):
        other.load_state(trainer.state())
    for name, values in other.state()["parameters"].items():
        np.testing.assert_array_equal(values, before[name], err_msg=name)
    np.testing.assert_array_equal(other.logits(x, mask), trainer_for(moved, config).logits(x, mask))


def test_first_the_output_layer_alone():
    config, params, x, mask, y, _ = problem(TAG)
    trainer = trainer_for(params, config, freeze_finetune_updates=1)
    trainer.step(x, y, mask)
    assert not any(values.any() for name, values in adapters_of(trainer).items() if name.endswith("_b"))
    trainer.step(x, y, mask)
    assert all(values.any() for name, values in adapters_of(trainer).items() if name.endswith("_b"))


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"adapters": 33}, "33 is more than the width 32"),
        ({"adapters": -1}, "adapters"),
        ({"adapters": 1.5}, "adapters"),
        ({"adapters": True}, "adapters"),
        ({"adapters": "8"}, "adapters"),
        ({"adapters": 1 << 40}, "adapters"),
        ({"trainable": "head"}, "adapters are of all layers"),
        ({"trainable": ["*"]}, "adapters are of all layers"),
        ({"trainable": 4}, "the encoder has 3 layers, not 4"),
    ],
)
def test_refused(settings, words):
    config, params, *_ = problem(TAG)
    with pytest.raises(ConfigError, match=words):
        trainer_for(params, config, **settings)


def test_finetune():
    config = weights.VARIANTS[TAG]
    model = ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 12, 400)).astype(np.float32)
    y = rng.integers(0, 2, (6, config["num_labels"]))
    with pytest.warns(UserWarning):
        tuned = ecgfm.finetune(model, x, y, epochs=2, batch_size=3, adapters=2, valid=(x, y), progress=False)
    assert set(tuned.model.state_dict()) == set(model.state_dict())
