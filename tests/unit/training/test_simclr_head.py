"""The head of SimCLR in the kernels: its loss, its gradients by differences, and what it refuses."""

import numpy as np
import pytest
import weights

import ecgfm

IDS = np.repeat(np.arange(3), 2)
SECOND = np.arange(6) % 2 == 1
SETTINGS = {"cmsc": 1.0, "cmsc_temp": 0.1}


def made(config=weights.SMALL, **settings):
    trainer = ecgfm._core.Trainer(config, {"no_heads": True, "head": "simclr"} | settings, "pretraining")
    params = weights.weights(weights.parameters(config, "pretraining"))
    for name, values in trainer.arrays("parameters").items():
        values[...] = params[name]
    return trainer


@pytest.fixture
def x():
    return weights.signal("simclr", 6, 12, 400)


def loss_of(trainer, x, backward=False):
    return trainer.pretrain(x, None, None, SETTINGS, ids=IDS, second=SECOND, backward=backward)


def test_loss_of_the_pooled_output(x):
    trainer = made()
    features = trainer.pretrain(x, None, None, SETTINGS, ids=IDS, second=SECOND, wait=True).astype(np.float64)
    found = trainer.finish(features.astype(np.float32), IDS, SECOND, 0, 3)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similar = unit @ unit.T / 0.1
    np.fill_diagonal(similar, -np.inf)
    rows, partners = np.arange(6), np.arange(6) ^ 1
    expected = np.mean(np.log(np.exp(similar).sum(axis=1)) - similar[rows, partners])
    assert found["rows"] == 3 and found["cmsc"] == pytest.approx(3 * expected, rel=1e-9)
    assert found["contrastive"] == found["diversity"] == found["penalty"] == 0


@pytest.mark.parametrize("changes", [{}, {"layer_norm_first": True}, {"extractor_mode": "layer_norm"}])
def test_gradients_by_differences(x, changes):
    trainer = made(weights.SMALL | changes)
    loss_of(trainer, x, backward=True)
    gradients = {name: values.astype(np.float64) for name, values in trainer.arrays("gradients").items()}
    checked = 0
    for name, values in trainer.arrays("parameters").items():
        gradient, old = gradients.get(name), values.copy()
        norm = 0 if gradient is None else np.linalg.norm(gradient)
        if norm < 0.5:  # below, the loss's own rounding is too large a part
            continue
        step, side = 0.005 / norm, []
        for sign in (-1, 1):
            values[...] = old + sign * step * gradient / norm
            side.append(loss_of(trainer, x)["cmsc"])
        values[...] = old
        assert (side[1] - side[0]) / (2 * step) == pytest.approx(norm, rel=0.02), name
        checked += 1
    assert checked >= 10


def test_what_belongs_to_no_head_is_refused(x):
    with pytest.raises(ecgfm.ConfigError, match="pretraining has no head classifier"):
        made(head="classifier")
    for head in ("nothing", 3):
        with pytest.raises(ecgfm.ConfigError, match="has no head"):
            made(head=head)
    trainer, steps = made(no_heads=False), np.zeros((6, 25), bool)
    steps[:, :3] = True
    gumbel = np.zeros((18, weights.SMALL["latent_groups"], weights.SMALL["latent_vars"]), np.float32)
    with pytest.raises(ecgfm.Error, match="no masked steps"):
        trainer.pretrain(x, steps, np.zeros((18, 2), np.int32), SETTINGS, gumbel=gumbel)
