"""SimCLR: the loss of two views, its gradients by differences, noise, and that it learns."""

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.specs.architecture import architecture_keys
from ecgfm.training import noise as draws

CONFIG = {name: weights.SMALL[name] for name in architecture_keys("pretraining")}
NO_DROPOUT = dict.fromkeys(("dropout", "attention_dropout", "dropout_input"), 0.0)
N = 800


def trainer(**settings):
    return ecgfm.Trainer(CONFIG, loss="simclr", **NO_DROPOUT | {"schedule": 1e-3} | settings)


def segments(count=4):
    return weights.signal("simclr", count, 12, N)


def nt_xent(embeddings, temperature=0.1):
    """Of rows of which each two that follow each other are views of one segment, in float64."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similar = unit @ unit.T / temperature
    np.fill_diagonal(similar, -np.inf)
    rows = np.arange(len(unit))
    return np.mean(np.log(np.exp(similar).sum(axis=1)) - similar[rows, rows ^ 1])


def test_the_loss_is_that_of_two_views():
    t, x = trainer(seed=5, temp=0.2), segments()
    views = draws.perturb(draws.Source(5), range(8), np.repeat(x, 2, axis=0), t.objective.augment)
    embeddings = t.model()(views).tokens.astype(np.float64).mean(axis=1)
    row = t.step(x)
    assert row["sample_size"] == row["nsignals"] == 4 and row["applied"]
    assert row["loss"] == pytest.approx(nt_xent(embeddings, 0.2) / np.log(2), rel=1e-4)


def test_gradients_by_differences():
    t, x = trainer(feature_grad_mult=1.0), segments()
    noise = {"lead_kept": np.random.default_rng(1).random((8, 12)) < 0.6}
    t.accumulate(x, noise=noise)
    gradients = {name: values.copy() for name, values in t.gradients().items()}
    values = t.engine.arrays("parameters")
    for name in ("encoder.layers.0.fc1.weight", "post_extract_proj.weight", "feature_extractor.conv_layers.0.0.weight"):
        gradient, old = gradients[name], values[name].copy()
        norm, sides = np.linalg.norm(gradient), []
        for sign in (-1, 1):
            values[name][...] = old + sign * 0.01 / norm * gradient / norm
            sides.append(t.evaluate(x, noise=noise)["loss_sum"])
        values[name][...] = old
        assert (sides[1] - sides[0]) / (2 * 0.01 / norm) == pytest.approx(norm, rel=0.02), name


def test_views_depend_on_the_row_alone():
    """The second batch of an update has views of its own; a validation repeats itself."""
    x, together, apart = segments(2), trainer(), trainer()
    together.accumulate(x)
    first = {name: values.copy() for name, values in together.gradients().items()}
    together.accumulate(x)
    apart.accumulate(x)
    for name, values in apart.gradients().items():
        np.testing.assert_array_equal(values, first[name])
    assert any(np.abs(values - 2 * first[name]).max() > 1e-4 for name, values in together.gradients().items())
    assert apart.evaluate(x) == apart.evaluate(x)


def test_padding_and_what_is_refused():
    x, mask = segments(), np.zeros((4, N), bool)
    mask[1, 500:], x[1, :, 500:] = True, 0
    assert np.isfinite(trainer().step(x, padding_mask=mask)["loss"])
    for settings, field in [({"perturbation_mode": None}, "perturbation_mode"), ({"temp": 0}, "temp")]:
        with pytest.raises(ecgfm.ConfigError) as error:
            trainer(**settings)
        assert error.value.field == field


def test_it_learns_from_simulated_recordings():
    """Whose view is whose: from near chance to far below it."""
    cohort, _ = ecgfm.ecg.simulate_cohort(8, recordings=1, seed=2).prepared()
    x = np.ascontiguousarray(np.asarray(cohort)[:8, :, :1250])
    t = trainer(schedule=3e-3, feature_grad_mult=1.0, p=0.3)
    losses = [t.step(x)["loss"] for _ in range(60)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
