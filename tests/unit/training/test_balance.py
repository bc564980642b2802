"""Weights of labels by how often they are there; the learning rate by a plain name; shares held back, stratified."""

import numpy as np
import pytest
import weights
from sklearn.utils.class_weight import compute_class_weight

import ecgfm
from ecgfm.training.balance import label_weights
from ecgfm.training.grouping import held_out
from ecgfm.training.schedules import with_rate

rng = np.random.default_rng(5)
Y = (rng.random((200, 3)) < [0.5, 0.1, 0.02]).astype(float)
Y[::7, 1] = np.nan
NAMES = ("a", "b", "c")


def test_balanced_as_scikit_learn():
    found = label_weights(None, "balanced", Y, NAMES, 3)
    for i in range(3):
        known = Y[~np.isnan(Y[:, i]), i]
        negative, positive = compute_class_weight("balanced", classes=np.array([0.0, 1.0]), y=known)
        np.testing.assert_allclose(found["label_weight"][i], negative)
        np.testing.assert_allclose(found["pos_weight"][i] * found["label_weight"][i], positive)
    alone = label_weights("balanced", None, Y, NAMES, 3)
    np.testing.assert_allclose(alone["pos_weight"], found["pos_weight"])
    assert set(alone) == {"pos_weight"}


def test_mappings():
    found = label_weights(None, {0: 2, 1: 6}, Y, None, 3)
    np.testing.assert_allclose(found["label_weight"], 2)
    np.testing.assert_allclose(found["pos_weight"], 3)
    found = label_weights(None, {"b": {1: 4}, "c": "balanced"}, Y, NAMES, 3)
    np.testing.assert_allclose(found["pos_weight"][:2], [1, 4])
    np.testing.assert_allclose(found["label_weight"][:2], 1)
    assert found["pos_weight"][2] > 20
    assert label_weights(None, None, None, None, 3) == {}
    assert label_weights([1, 2, 3], None, None, None, 3) == {"pos_weight": [1, 2, 3]}


def test_a_label_without_a_side():
    y = Y.copy()
    y[:, 2] = 0
    with pytest.warns(ecgfm.InputWarning, match="c has positives or negatives only"):
        found = label_weights("balanced", None, y, NAMES, 3)
    assert found["pos_weight"][2] == 1


@pytest.mark.parametrize(
    "pos, given, error",
    [
        ("balanced", "balanced", "pos_weight says the same"),
        (None, "even", "neither"),
        (None, {}, "neither"),
        (None, {"z": "balanced"}, "none of a, b, c"),
        (None, {0: 0, 1: 1}, "class_weight"),
        (None, {0: float("nan")}, "class_weight"),
        (None, {2: 1}, "no {0: weight"),
        (None, {"a": 3}, "no {0: weight"),
    ],
)
def test_refusals(pos, given, error):
    with pytest.raises(ecgfm.Error, match=error):
        label_weights(pos, given, Y, NAMES, 3)


def test_labels_that_cannot_be_counted():
    with pytest.raises(ecgfm.LabelError, match="can't be counted"):
        label_weights("balanced", None, None, NAMES, 3)
    with pytest.raises(ecgfm.LabelError, match="no names"):
        label_weights(None, {"a": {1: 2}}, Y, None, 3)


def test_the_learning_rate():
    assert with_rate(None, {"schedule": 3}) == {} and with_rate(1e-4, {}) == {"schedule": 1e-4}
    found = with_rate(1e-4, {"schedule": {"_name": "tri_stage", "max_update": 9}, "dropout": 0})
    assert found == {"schedule": {"_name": "tri_stage", "max_update": 9, "lr": [1e-4]}}
    for schedule in (1e-3, {"_name": "fixed", "lr": [1]}):
        with pytest.raises(ecgfm.ConfigError, match="a learning rate of its own"):
            with_rate(1e-4, {"schedule": schedule})
    for lr in (0, -1, float("nan"), "fast"):
        with pytest.raises(ecgfm.ConfigError, match="lr"):
            with_rate(lr, {})


@pytest.mark.parametrize("seed", range(5))
def test_held_out_is_stratified(seed):
    """Each label's share of positives, with patients of one to five rows; a patient is on one side only."""
    draw = np.random.default_rng(seed)
    groups = np.repeat(np.arange(400), draw.integers(1, 6, 400))
    y = (draw.random((len(groups), 4)) < [0.4, 0.1, 0.02, 0.0]).astype(float)
    y[draw.random(y.shape) < 0.1] = np.nan
    chosen = held_out(groups, 0.25, seed, y=y)
    assert not set(groups[chosen]) & set(groups[~chosen])
    assert len(np.unique(groups[chosen])) == 100
    total, kept = np.nansum(y, axis=0), np.nansum(y[chosen], axis=0)
    assert (np.abs(kept - 0.25 * total) <= 3).all(), (kept, total)  # a patient has up to 5 rows
    np.testing.assert_array_equal(chosen, held_out(groups, 0.25, seed, y=y))


def test_held_out_of_numbers():
    groups = np.arange(20)
    plain = held_out(groups, 0.25, 1)
    np.testing.assert_array_equal(held_out(groups, 0.25, 1, y=np.linspace(-3, 9, 20)[:, None]), plain)
    assert held_out(groups, 0.25, 1, y=np.full((20, 2), np.nan)).sum() == 5
    with pytest.raises(ecgfm.ConfigError, match="nothing on one side"):
        held_out(groups, 0.01, 1, y=np.zeros((20, 1)))


@pytest.fixture(scope="module")
def arrays():
    model = ecgfm.Model.from_state_dict(
        weights.SMALL | {"num_labels": 1}, weights.weights(weights.parameters(weights.SMALL | {"num_labels": 1}))
    )
    return model, weights.signal("balance", 12, 12, 400), np.arange(12) % 4 == 0


def tune(arrays, **more):
    model, x, y = arrays
    return ecgfm.finetune(model, x, y, labels=["event"], epochs=1, batch_size=4, progress=False, **more)


def test_finetune_takes_them(arrays):
    """(n,) labels, the rate and the weights reach the trainer: the same weights of the network as when spelled out."""
    found = tune(arrays, lr=3e-4, class_weight="balanced", valid=0.25, groups=np.arange(12) // 2)
    assert found.model.labels == ("event",) and found.history["valid_loss"].shape == (1,)
    plain = tune(arrays, lr=3e-4, pos_weight="balanced")
    spelled = tune(arrays, schedule=3e-4, pos_weight=[3.0])
    for name, values in plain.model.state_dict().items():
        np.testing.assert_array_equal(values, spelled.model.state_dict()[name])
    with pytest.raises(ecgfm.ConfigError, match="a learning rate of its own"):
        tune(arrays, lr=1e-4, schedule=1e-4)
