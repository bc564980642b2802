"""The loss of pretraining and its gradients against the float64 twin and its finite differences."""

import numpy as np
import pytest
import weights
from twin import pretraining
from twin.differences import slope
from twin.network import token_counts

import ecgfm

B, COUNT, NEGATIVES, CODEBOOK = 4, 9, 6, 3
CHANGES = {
    "default": {},
    "target_glu": {"target_glu": True},
    "latent_dim": {"latent_dim": 10},
    "three_groups": {"latent_groups": 3},
    "pre_norm": {"layer_norm_first": True},
    "no_projection": {"conv_feature_layers": [(32, 2, 2)] * 4},
    "extractor_layer_norm": {"extractor_mode": "layer_norm", "conv_bias": True},
}


def problem(changes, samples=400):
    config = weights.SMALL | changes
    params = weights.weights(weights.parameters(config, "pretraining"))
    rng = np.random.default_rng(11)
    tokens = int(token_counts(samples, config["conv_feature_layers"]))
    steps = np.zeros((B, tokens), dtype=bool)
    for row in steps:
        row[rng.choice(tokens - 4, COUNT, replace=False)] = True
    rows, codes = B * COUNT, (config["latent_groups"], config["latent_vars"])
    own = np.arange(rows)[:, None] // COUNT * COUNT
    noise = {
        "steps": steps,
        "negatives": (own + rng.integers(0, COUNT, (rows, NEGATIVES))).astype(np.int32),
        "gumbel": rng.gumbel(size=(rows, *codes)).astype(np.float32),
        "ids": np.array([5, 5, 9, 9]),
        "second": np.array([False, True, False, True]),
    }
    return config, params, weights.signal("pretraining", B, config["in_d"], samples), noise


def run(config, params, x, noise, settings, *, valid=None, backward=True, rates=(), given=None):
    alone = "steps" not in noise
    trainer = ecgfm._core.Trainer(config, {"feature_grad_mult": 1.0, "no_heads": alone} | dict(rates), "pretraining")
    for name, values in trainer.arrays("parameters").items():
        values[...] = params[name]
    arrays = {name: noise.get(name) for name in ("codebook", "channels", "gumbel", "ids", "second")}
    steps, negatives = noise.get("steps"), noise.get("negatives")
    found = trainer.pretrain(x, steps, negatives, settings, valid=valid, backward=backward, noise=given, **arrays)
    return found, trainer.arrays("gradients")


def compare(config, params, x, noise, settings, *, padding_mask=None, factors=(), **how):
    """Each part of the loss; and the gradient of each tensor along two directions."""
    settings, factors = pretraining.SETTINGS | settings, noise | dict(factors)
    valid = None if padding_mask is None else (~padding_mask[:, 0]).sum(axis=1)
    found, gradients = run(config, params, x, noise, settings, valid=valid, **how)
    fixed = {}
    exact = pretraining.loss(config, params, x, factors, settings, padding_mask, fixed)
    for name in pretraining.PARTS:
        assert found[name] == pytest.approx(exact[name], rel=1e-5, abs=1e-6), name
    assert found["rows"] == exact["rows"]
    if "steps" in noise:
        np.testing.assert_array_equal(found["codes"], exact["codes"])
        np.testing.assert_allclose(found["logits"], exact["logits"], rtol=0, atol=2e-4)
        assert found["correct"] == exact["correct"]
        for name in ("prob_perplexity", "code_perplexity"):
            assert found[name] == pytest.approx(exact[name], rel=1e-5)
    rng = np.random.default_rng(3)
    for name, gradient in gradients.items():
        for direction in (np.sign(gradient), rng.choice([-1.0, 1.0], gradient.shape)):
            direction = direction / max(1.0, np.sqrt(direction.size))

            def total(values):
                changed = params | {name: values}
                return pretraining.loss(config, changed, x, factors, settings, padding_mask, fixed)["loss"]

            expected = slope(total, params[name], direction)
            scale = np.abs(gradient).sum() / np.sqrt(gradient.size)
            assert float((gradient * direction).sum()) == pytest.approx(expected, rel=0, abs=2e-4 * scale + 2e-4), name
    return found


@pytest.mark.parametrize("case", CHANGES)
def test_gradients(case):
    compare(*problem(CHANGES[case]), {})


@pytest.mark.parametrize("target_glu", [False, True])
def test_negatives_from_the_codebook(target_glu):
    config, params, x, noise = problem({"target_glu": target_glu})
    total = config["latent_vars"] ** config["latent_groups"]
    noise["codebook"] = np.random.default_rng(0).integers(0, total, (CODEBOOK, B * COUNT)).astype(np.int32)
    found = compare(config, params, x, noise, {})
    assert found["logits"].shape == (B * COUNT, 1 + NEGATIVES + CODEBOOK)


def test_binary_form():
    found = compare(*problem({}), {"binary": True})
    assert np.isinf(found["logits"]).any()  # a negative with the codes of the positive costs nothing


def test_masked_channels():
    config, params, x, noise = problem({})
    noise["channels"] = np.random.default_rng(1).random((B, config["encoder_embed_dim"])) < 0.3
    compare(config, params, x, noise, {})


def test_steps_that_are_predicted_but_not_masked():
    config, params, x, noise = problem({})
    found, gradients = run(config, params, x, noise, {"predicted_only": True}, rates={"no_masks": True})
    assert "mask_emb" not in gradients
    compare(config, params, x, noise, {"predicted_only": True}, rates={"no_masks": True})
    masked, _ = run(config, params, x, noise, {})
    assert masked["contrastive"] != found["contrastive"] and masked["diversity"] == found["diversity"]


def test_padding():
    config, params, x, noise = problem({})
    mask = weights.padding(B, config["in_d"], x.shape[2], [x.shape[2]] * 2 + [x.shape[2] - 20] * 2)
    compare(config, params, x, noise, {}, padding_mask=mask)


def test_cmsc_alone():
    config, params, x, noise = problem({})
    found = compare(config, params, x, {name: noise[name] for name in ("ids", "second")}, {})
    assert found["rows"] == 2 and found["contrastive"] == 0 and found["codes"].shape[0] == 0


def test_pairs_of_one_patient_belong_together():
    config, params, x, noise = problem({})
    noise["ids"] = np.array([5, 5, 5, 5])
    compare(config, params, x, noise, {})


def test_one_pair_costs_no_cmsc():
    config, params, x, noise = problem({})
    one = {name: values[: 2 * COUNT] for name, values in noise.items() if name in ("negatives", "gumbel")}
    one |= {name: values[:2] for name, values in noise.items() if name in ("steps", "ids", "second")}
    found, _ = run(config, params, x[:2], one, {})
    assert found["cmsc"] == 0 and found["contrastive"] > 0


def test_without_cmsc():
    config, params, x, noise = problem({})
    rest = {name: values for name, values in noise.items() if name not in ("ids", "second")}
    assert compare(config, params, x, rest, {})["cmsc"] == 0


def test_dropout_of_the_features():
    config, params, x, noise = problem({})
    keep = np.random.default_rng(2).random((B * COUNT, config["conv_feature_layers"][-1][0])) < 0.7
    settings = {"dropout_features": 0.3}
    compare(config, params, x, noise, settings, factors={"features": keep / 0.7}, given={"features": keep})


def test_validation_takes_no_noise_and_changes_nothing():
    config, params, x, noise = problem({})
    quiet = noise | {"gumbel": None}
    found, gradients = run(config, params, x, quiet, {"dropout_features": 0.5}, backward=False)
    exact = pretraining.loss(config, params, x, {k: v for k, v in quiet.items() if v is not None})
    assert found["contrastive"] == pytest.approx(exact["contrastive"], rel=1e-5)
    assert not any(values.any() for values in gradients.values())
