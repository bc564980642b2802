"""Losses beside the binary cross entropy, weights, and labels that are not known: values and gradients in float64."""

import math

import numpy as np
import pytest
import twin
import weights
from twin import differences

import ecgfm
from ecgfm.metrics import losses

CONFIG = weights.SMALL | {"num_labels": 3}
N = 400
EXACT = {"activation_dropout": 0.0, "schedule": 1e-3}
HEAD = ("proj.weight", "proj.bias")


@pytest.fixture(scope="module")
def params():
    return weights.weights(weights.parameters(CONFIG))


@pytest.fixture(scope="module")
def x():
    return weights.signal("losses", 4, 12, N)


@pytest.fixture(scope="module")
def logits(params, x):
    return twin.forward(CONFIG, params, x)["logits"]


def trainer(params, **settings):
    info = {"target": TARGET} if settings.get("loss") == "mse" else None
    return ecgfm.Trainer(ecgfm.Model.from_state_dict(CONFIG, params, info=info), **(EXACT | settings))


Y = np.array([[1, 0, np.nan], [np.nan] * 3, [0.25, 1, 1], [np.nan, 0, 1]])
KNOWN = ~np.isnan(Y)
ROWS = np.array([2.0, 3.0, 0.5, 1.0])
POSITIVE, OF_LABEL = np.array([3.0, 1.0, 0.5]), np.array([1.0, 0.25, 2.0])
TARGET = {"mean": [50.0, -3.0, 0.1], "std": [20.0, 0.5, 4.0], "units": ["years", "mV", ""]}
NUMBERS = np.where(KNOWN, np.array([[60.0, -3.1, 1.0]]) + np.arange(4)[:, None], np.nan)


def cells_of(name, settings):
    """The losses of cells as the definition has them, of logits and labels that are known."""
    if name == "mse":
        return lambda z, y: OF_LABEL * (z - (y - TARGET["mean"]) / TARGET["std"]) ** 2
    if name == "focal":
        pair = settings["alpha"] * POSITIVE * OF_LABEL, (1 - settings["alpha"]) * OF_LABEL
        return lambda z, y: twin.asymmetric(z, y, settings["gamma"], settings["gamma"], 0, *pair)
    gammas = (1, 4, 0.05) if name == "asymmetric" else (0, 0, 0)
    return lambda z, y: twin.asymmetric(z, y, *gammas, POSITIVE * OF_LABEL, OF_LABEL)


CASES = {
    "binary_cross_entropy_with_logits": ({"pos_weight": POSITIVE}, Y),
    "focal": ({"pos_weight": POSITIVE, "gamma": 1.5, "alpha": 0.3}, Y),
    "asymmetric": ({"pos_weight": POSITIVE}, Y),
    "mse": ({}, NUMBERS),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient(params, x, logits, name):
    """Of weighted cells, some of them not known; the gradient is that of the float64 twin by finite differences."""
    settings, y = CASES[name]
    cells = cells_of(name, settings)

    def loss(z):
        return np.where(KNOWN, ROWS[:, None] * cells(z, np.where(KNOWN, y, 0.5)), 0).sum()

    diff = differences.gradient(loss, logits)
    assert (diff[~KNOWN] == 0).all()
    trace = twin.forward(CONFIG, params, x)
    expected = twin.backward(CONFIG, params, x, diff, None, None, 0.0, trace)
    made = trainer(params, loss=name, label_weight=OF_LABEL, **settings)
    made.accumulate(x, y, sample_weight=ROWS)
    for tensor in HEAD:
        want = expected[tensor]
        np.testing.assert_allclose(made.gradients()[tensor], want, atol=2e-5 * np.abs(want).max(), err_msg=tensor)
    found = made.update()
    size = (ROWS[:, None] * KNOWN).sum()
    assert found["loss_sum"] == pytest.approx(loss(logits), rel=1e-5)
    assert found["sample_size"] == size and found["nsignals"] == 3
    assert found["loss"] == pytest.approx(found["loss_sum"] / size / (1 if name == "mse" else math.log(2)))


@pytest.mark.parametrize("name", CASES)
def test_a_validation_gives_what_the_kernels_give(params, x, name):
    settings, y = CASES[name]
    made = trainer(params, loss=name, label_weight=OF_LABEL, **settings)
    expected = made.evaluate(x, y)
    assert made.losses(made.logits(x), y) == expected
    step = made.step(x, y)
    for key in expected:
        assert step[key] == pytest.approx(expected[key], rel=1e-5, nan_ok=True), key


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_known_changes_nothing(params, x, name):
    """Rows without a known label, whatever stands in them, and cells that are NaN, as if they were not there."""
    settings, y = CASES[name]
    first, second = (trainer(params, loss=name, **settings) for _ in range(2))
    other = x.copy()
    other[1] = weights.signal("another", 1, 12, N)[0]
    first.accumulate(x, y)
    second.accumulate(other, y)
    for tensor in HEAD:
        np.testing.assert_array_equal(first.gradients()[tensor], second.gradients()[tensor])
    assert first.update()["sample_size"] == second.update()["sample_size"] == KNOWN.sum()


def test_nothing_known_at_all(params, x):
    """Alone it is no update and no error; beside other batches it adds nothing."""
    made, unknown = trainer(params), np.full((4, 3), np.nan)
    before = {name: values.copy() for name, values in made.state_dict().items()}
    found = made.step(x, unknown)
    assert not found["applied"] and made.num_updates == 0 and made.skipped == 1
    assert math.isnan(found["loss"]) and math.isnan(found["accuracy"]) and found["sample_size"] == 0
    for name, values in made.state_dict().items():
        np.testing.assert_array_equal(values, before[name])
    full, y = trainer(params), np.ones((4, 3))
    made.accumulate(x, unknown)
    made.accumulate(x, y)
    full.accumulate(x, y)
    assert made.update()["gnorm"] == pytest.approx(full.update()["gnorm"], rel=1e-6)


def test_weights_of_rows_count_as_copies(params, x):
    y = np.ones((4, 3))
    weighed, copied, without = (trainer(params) for _ in range(3))
    weighed.accumulate(x, y, sample_weight=[2, 0, 1, 1])
    copied.accumulate(x[[0, 0, 2, 3]], y)
    assert weighed.update()["loss"] == pytest.approx(copied.update()["loss"], rel=1e-6)
    for tensor in HEAD:
        np.testing.assert_allclose(weighed.state_dict()[tensor], copied.state_dict()[tensor], atol=1e-6)
    without.accumulate(x, y, sample_weight=np.zeros(4))
    assert not without.update()["applied"]


@pytest.mark.parametrize(
    "given, field",
    [(np.ones(3), "sample_weight"), ([1, 1, 1, np.nan], "sample_weight"), ([1, 1, 1, -1], "sample_weight")],
)
def test_weights_of_rows_that_are_refused(params, x, given, field):
    made = trainer(params)
    with pytest.raises(ecgfm.LabelError) as caught:
        made.accumulate(x, np.ones((4, 3)), sample_weight=given)
    assert caught.value.field == field
    pretrained = ecgfm.Trainer(ecgfm.Model.from_state_dict(CONFIG, params), loss="cmsc")
    with pytest.raises(ecgfm.ConfigError, match="weighs no segments"):
        pretrained.accumulate(x, sample_weight=np.ones(4), ids=[1, 1, 2, 2])


def test_focal_without_focus_is_the_cross_entropy(params, x):
    y = np.random.default_rng(0).random((4, 3))
    plain = trainer(params).step(x, y)
    for other in ({"loss": "focal", "gamma": 0.0}, {"loss": "asymmetric", "gamma_pos": 0, "gamma_neg": 0, "clip": 0}):
        assert trainer(params, **other).step(x, y)["loss"] == pytest.approx(plain["loss"], rel=1e-12)


def test_cells_of_huge_logits():
    """In NumPy as in the kernels: no NaN, no infinity."""
    z = np.array([1e4, -1e4, 1e4, -1e4])
    y = np.array([1.0, 0.0, 0.0, 1.0])
    focal = losses.asymmetric(z, y, gamma_positive=2, gamma_negative=2, clip=0)
    np.testing.assert_array_equal(focal, [0, 0, 1e4, 1e4])
    lowered = losses.asymmetric(z, y, gamma_positive=1, gamma_negative=4, clip=0.05)
    np.testing.assert_allclose(lowered, [0, 0, -math.log(0.05) * 0.95**4, 1e4])
    np.testing.assert_array_equal(losses.cross_entropy(z, y), [0, 0, 1e4, 1e4])


def test_cells_follow_the_definition(rng=np.random.default_rng(1)):
    z, y = 6 * rng.standard_normal((50, 3)), rng.random((50, 3))
    for gammas in ((2, 2, 0), (1, 4, 0.05), (0, 3, 0.3), (0.5, 0.5, 0)):
        want = twin.asymmetric(z, y, *gammas, POSITIVE, OF_LABEL)
        names = dict(zip(("gamma_positive", "gamma_negative", "clip"), gammas))
        np.testing.assert_allclose(losses.asymmetric(z, y, POSITIVE, OF_LABEL, **names), want, rtol=1e-9)


def test_metrics_leave_out_what_is_not_known(params, x):
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    rng = np.random.default_rng(2)
    made, segments = trainer(params), weights.signal("metrics", 24, 12, N)
    y = rng.integers(0, 2, (24, 3)).astype(float)
    y[rng.random(y.shape) < 0.3] = np.nan
    found = made.evaluate_all([(segments[:10], y[:10]), (segments[10:], y[10:])], ranking=True)
    z, known = made.logits(segments), ~np.isnan(y)
    assert found["accuracy"] == pytest.approx(((z > 0) == (y == 1))[known].mean())
    assert found["recall"] == pytest.approx((z > 0)[y == 1].mean())
    from sklearn.metrics import roc_auc_score

    each = [roc_auc_score(y[rows, i], z[rows, i]) for i, rows in enumerate(known.T)]
    assert found["auroc_macro"] == pytest.approx(np.mean(each))
    assert found["auroc"] == pytest.approx(roc_auc_score(y[known], z[known]))


def test_finetuning_with_labels_that_are_not_known(params):
    model = ecgfm.Model.from_state_dict(CONFIG, params, labels=("a", "b", "c"))
    segments, y = weights.signal("unknown", 12, 12, N), np.ones((12, 3))
    y[:, 1], y[3], y[5:, 0] = np.nan, np.nan, 0
    with pytest.warns(ecgfm.InputWarning, match="1 of 12 segments have no known label"):
        tuned = ecgfm.finetune(
            model, segments, y, valid=(segments, y), epochs=2, batch_size=1, loss="asymmetric", progress=False
        )
    assert tuned.trainer.num_updates == 22 and tuned.trainer.skipped == 2
    assert np.isfinite(tuned.history["train_loss"]).all() and np.isfinite(tuned.history["valid_loss"]).all()
    kept, begun = tuned.model.state_dict()["proj.weight"], params["proj.weight"]
    np.testing.assert_array_equal(kept[1], begun[1])  # of a label that nobody knows nothing is learned
    assert not np.array_equal(kept[0], begun[0])


def test_weights_of_recordings_and_of_lines(params, tmp_path):
    """A weight for each recording of a list of Segments, and for each line of a manifest, as for each segment."""
    model = ecgfm.Model.from_state_dict(CONFIG, params, labels=("a", "b", "c"))
    records = [ecgfm.ecg.simulate(12, 500, seed=i) for i in range(3)]
    parts = [ecgfm.prepare(record, model) for record in records]
    y = np.eye(3)
    quick = {"epochs": 1, "batch_size": 3, "progress": False, **EXACT}
    first = ecgfm.finetune(model, parts, y, sample_weight=[1, 0, 2], **quick)
    x, counts = np.concatenate([np.asarray(part) for part in parts]), [len(part) for part in parts]
    each = np.repeat([1.0, 0, 2], counts)
    second = ecgfm.finetune(model, x, np.repeat(y, counts, axis=0), sample_weight=each, **quick)
    data = ecgfm.data.Dataset(x, training=True, labels=np.repeat(y, counts, axis=0))
    third = ecgfm.finetune(model, data, sample_weight=each, **quick)
    for name, values in first.model.state_dict().items():
        np.testing.assert_array_equal(values, second.model.state_dict()[name])
    assert third.trainer.num_updates == second.trainer.num_updates
    assert third.history["train_loss"][0] == pytest.approx(second.history["train_loss"][0], rel=0.2)


@pytest.mark.parametrize("cache", ["memory", "folder"])
def test_weights_of_segments_reach_what_is_kept(params, tmp_path, cache):
    """With what lies below the output layer computed once, as without."""
    model = ecgfm.Model.from_state_dict(CONFIG, params, labels=("a", "b", "c"))
    segments, y = weights.signal("kept", 8, 12, N), np.eye(8, 3)
    y[4, 1] = np.nan
    quick = {"epochs": 2, "batch_size": 4, "progress": False, "trainable": "head", "sample_weight": np.arange(8.0)}
    where = str(tmp_path / "kept") if cache == "folder" else cache
    found = [ecgfm.finetune(model, segments, y, cache=each, **quick, **EXACT) for each in (where, "off")]
    for tensor in HEAD:
        first, second = (one.model.state_dict()[tensor] for one in found)
        np.testing.assert_allclose(first, second, atol=1e-6)
