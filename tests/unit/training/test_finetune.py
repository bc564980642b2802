"""The loop over epochs: learning, validation, early stopping, what comes back, what is refused."""

import math
import sys

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.checkpoint.directory import write_directory
from ecgfm.training.grouping import held_out

CONFIG = weights.SMALL | {"num_labels": 2}
LABELS = ("fast", "left axis")
N = 400
QUICK = {"schedule": 2e-3, "feature_grad_mult": 1.0, "activation_dropout": 0.0}
METRICS = ("loss", "accuracy", "em_accuracy", "precision", "recall")


@pytest.fixture(scope="module")
def model():
    return ecgfm.Model.from_state_dict(CONFIG, weights.weights(weights.parameters(CONFIG)), labels=LABELS)


@pytest.fixture(scope="module")
def data():
    """24 segments; the labels follow from the signals' strength in two leads."""
    x = weights.signal("finetune", 24, 12, N)
    y = np.random.default_rng(1).integers(0, 2, (24, 2)).astype(np.float32)
    x[:, 0] *= 0.5 + y[:, :1]
    x[:, 7] *= 0.5 + y[:, 1:]
    return x, y


def rows(history):
    """The history as text, in which a NaN equals a NaN."""
    return [repr(row) for row in history.rows()]


def assert_same_weights(first, second):
    for name, values in first.state_dict().items():
        np.testing.assert_array_equal(values, second.state_dict()[name], err_msg=name)


# ---- learning -------------------------------------------------------------------------------------------------------


def auroc(score, truth):
    """The share of pairs of a positive and a negative that stand in the right order; ties count half."""
    positive, negative = score[truth], score[~truth]
    above = (positive[:, None] > negative).sum() + 0.5 * (positive[:, None] == negative).sum()
    return above / (positive.size * negative.size)


def simulated():
    """16 simulated segments with two labels: fast, and the axis to the left."""
    x, y = [], []
    for i in range(16):
        fast, left = i % 2, i // 2 % 2
        record = ecgfm.ecg.simulate(6, 500, heart_rate=60 + 50 * fast + i, axis_deg=-60 * left, noise_mv=0.02, seed=i)
        x.append(ecgfm.prepare(record).x[0])
        y.append((fast, left))
    return np.stack(x), np.array(y)


def test_simulated_signals_are_learnt_by_heart(model):
    x, y = simulated()
    assert x.shape == (16, 12, 2500)
    tuned = ecgfm.finetune(model, x, y, epochs=60, batch_size=8, **QUICK)
    logits = tuned.model(x).logits
    assert [auroc(logits[:, i], y[:, i] > 0) for i in range(2)] == [1.0, 1.0]
    assert tuned.history["train_loss"][-1] < 0.2 * tuned.history["train_loss"][0]
    assert tuned.model.labels == LABELS


# ---- what comes back ------------------------------------------------------------------------------------------------


def test_without_validation(model, data):
    tuned = ecgfm.finetune(model, *data, epochs=3, batch_size=10, update_freq=2, **QUICK)
    history = tuned.history
    assert tuple(history.columns) == (
        "epoch",
        "num_updates",
        *(f"train_{name}" for name in METRICS),
        "train_gnorm",
        "train_lr",
    )
    assert history["epoch"].tolist() == [1, 2, 3] and tuned.best_epoch == 3
    assert history["num_updates"].tolist() == [2, 4, 6]  # batches of 10, 10 and 4; two and one an update
    assert (history["train_lr"] == 2e-3).all()
    assert_same_weights(tuned.model, tuned.trainer)
    assert not np.array_equal(tuned.model(data[0]).logits, model(data[0]).logits)


def test_an_epoch_is_its_batches(model, data):
    """The loop does what one does by hand with the trainer and the order of batches."""
    from ecgfm.data.feed.order import batches, epoch_order

    x, y = data
    tuned = ecgfm.finetune(model, x, y, epochs=2, batch_size=5, update_freq=2, seed=3, schedule=[1e-3, 1e-4])
    trainer = ecgfm.Trainer(model, seed=3, schedule=[1e-3, 1e-4])
    plan, losses = batches([N] * 24, batch_size=5, seed=3), []
    for epoch in (1, 2):
        trainer.epoch, steps = epoch, []
        order = epoch_order(plan, seed=3, epoch=epoch)
        for start in range(0, len(order), 2):
            for part in order[start : start + 2]:
                trainer.accumulate(x[part], y[part])
            steps.append(trainer.update())
        losses.append(sum(step["loss"] * step["sample_size"] for step in steps) / 48)
    assert_same_weights(tuned.model, trainer)
    np.testing.assert_allclose(tuned.history["train_loss"], losses, rtol=1e-12)
    assert tuned.history["train_lr"].tolist() == [1e-3, 1e-4]


def test_seeds(model, data):
    first, same, other = (
        ecgfm.finetune(model, *data, epochs=2, batch_size=4, valid=0.25, seed=seed, **QUICK) for seed in (1, 1, 2)
    )
    assert rows(first.history) == rows(same.history)
    assert_same_weights(first.model, same.model)
    assert rows(first.history) != rows(other.history)
    assert ecgfm.finetune(model, *data, epochs=1, seed=2**32 - 1, **QUICK).best_epoch == 1


def test_inputs_are_not_changed(model, data):
    x, y = data
    before, old = (x.copy(), y.copy()), model.state_dict()
    ecgfm.finetune(model, x, y, epochs=2, valid=0.25, **QUICK)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, old[name])


# ---- validation and early stopping ----------------------------------------------------------------------------------


def test_validation_on_arrays(model, data):
    x, y = data
    tuned = ecgfm.finetune(model, x[:16], y[:16], valid=(x[16:], y[16:]), epochs=4, batch_size=4, **QUICK)
    history = tuned.history
    assert tuple(history.columns)[-5:] == tuple(f"valid_{name}" for name in METRICS)
    best = int(np.argmin(history["valid_loss"]))
    assert tuned.best_epoch == best + 1
    found = tuned.trainer.losses(tuned.model(x[16:]).logits, y[16:])
    for name in METRICS:
        assert found[name] == pytest.approx(history[f"valid_{name}"][best], rel=1e-6, nan_ok=True), name


def test_a_share_for_validation(model, data):
    """A fixed part at random is held out: none of its segments is trained on."""
    x, y = data
    tuned = ecgfm.finetune(model, x, y, valid=0.25, epochs=1, batch_size=6, seed=4, **QUICK)
    chosen = held_out(np.arange(24), 0.25, 4, y=y)
    held, rest = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    assert len(held) == 6
    same = ecgfm.finetune(model, x[rest], y[rest], valid=(x[held], y[held]), epochs=1, batch_size=6, seed=4, **QUICK)
    assert rows(tuned.history) == rows(same.history)


def test_the_best_epoch_comes_back(model, data):
    """The rate explodes in the third epoch: the second's weights come back, the trainer is at the last."""
    x, y = data
    kept = []
    rates = [1e-3, 1e-3, 0.5]
    settings = QUICK | {"schedule": rates}
    tuned = ecgfm.finetune(model, x, y, valid=(x, y), epochs=9, patience=2, batch_size=8, **settings)
    again = ecgfm.finetune(model, x, y, valid=(x, y), epochs=2, batch_size=8, callback=kept.append, **settings)
    assert len(tuned.history) == 4 and tuned.best_epoch == 2 and again.best_epoch == 2
    assert_same_weights(tuned.model, again.model)
    assert np.argmin(tuned.history["valid_loss"]) == 1
    assert tuned.trainer.epoch == 4
    assert not np.array_equal(tuned.trainer.state_dict()["proj.weight"], tuned.model.state_dict()["proj.weight"])
    assert [repr(row) for row in kept] == rows(again.history)


@pytest.mark.parametrize("monitor", ["accuracy", "em_accuracy", "recall"])
def test_a_named_metric(model, data, monitor):
    x, y = data
    tuned = ecgfm.finetune(model, x, y, valid=(x, y), monitor=monitor, epochs=6, batch_size=8, **QUICK)
    assert tuned.best_epoch == 1 + int(np.argmax(tuned.history[f"valid_{monitor}"]))  # the first of equal ones


def test_an_undefined_metric_is_the_worst(model, data):
    """Precision is NaN where nothing is predicted."""
    x, y = data
    y = np.zeros_like(y)
    tuned = ecgfm.finetune(model, x, y, valid=(x, y), monitor="recall", epochs=5, patience=2, batch_size=8, **QUICK)
    assert np.isnan(tuned.history["valid_recall"]).all()
    assert tuned.best_epoch == 1 and len(tuned.history) == 3


@pytest.mark.parametrize("monitor", ["auroc", "auprc", "auroc_macro", "auprc_macro"])
def test_ranking_metrics(model, data, monitor):
    metrics = pytest.importorskip("sklearn.metrics")
    x, y = data
    tuned = ecgfm.finetune(model, x, y, valid=(x, y), monitor=monitor, epochs=3, batch_size=8, **QUICK)
    assert tuned.best_epoch == 1 + int(np.argmax(tuned.history[f"valid_{monitor}"]))
    logits, best = tuned.model(x).logits, tuned.best_epoch - 1
    score = metrics.roc_auc_score if monitor.startswith("auroc") else metrics.average_precision_score
    expected = score(y, logits, average="macro" if monitor.endswith("macro") else "micro")
    assert tuned.history[f"valid_{monitor}"][best] == pytest.approx(expected, rel=1e-6)


def test_ranking_metrics_need_an_extra(model, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ecgfm.errors.MissingExtraError, match=r"ecgfm\[train\]"):
        ecgfm.finetune(model, *data, valid=0.25, monitor="auroc")


def test_a_callback_ends_it(model, data):
    told = []

    def callback(row):
        told.append(row)
        row["epoch"] = -1  # a copy
        return len(told) == 2

    tuned = ecgfm.finetune(model, *data, epochs=9, callback=callback, **QUICK)
    assert len(told) == len(tuned.history) == 2 and tuned.history["epoch"].tolist() == [1, 2]
    assert tuned.best_epoch == 2
    assert_same_weights(tuned.model, tuned.trainer)


# ---- where the weights come from ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder():
    table = weights.parameters(CONFIG, "pretraining")
    return ecgfm.Model.from_state_dict(CONFIG, weights.weights(table), kind="pretraining")


def test_a_pretrained_encoder_gets_a_head(encoder, data):
    x, y = data
    tuned = ecgfm.finetune(encoder, x, y, epochs=2, labels=LABELS, **QUICK)
    assert tuned.model.kind == "classifier" and tuned.model.labels == LABELS
    assert tuned.model(x).logits.shape == (24, 2)
    nameless = ecgfm.finetune(encoder, x, y[:, :1], epochs=1, **QUICK)
    assert nameless.model.num_labels == 1 and nameless.model.labels is None


def test_from_a_path(encoder, data, tmp_path):
    write_directory(tmp_path, kind="encoder", config=encoder.config, tensors=encoder.state_dict())
    found = ecgfm.finetune(tmp_path, *data, epochs=2, **QUICK)
    assert_same_weights(found.model, ecgfm.finetune(encoder, *data, epochs=2, **QUICK).model)


def test_segments_and_padding(model, data):
    x, y = data
    mask = weights.padding(24, 12, N, np.linspace(100, N, 24).astype(int))
    tuned = ecgfm.finetune(model, x, y, padding_mask=mask, valid=0.25, epochs=2, batch_size=5, **QUICK)
    assert np.isfinite(tuned.history["valid_loss"]).all()
    given = ecgfm.finetune(model, x, y, padding_mask=mask[:, 0], valid=0.25, epochs=2, batch_size=5, **QUICK)
    assert rows(given.history) == rows(tuned.history)
    unpadded = ecgfm.finetune(model, x, y, valid=0.25, epochs=2, batch_size=5, **QUICK)
    assert rows(unpadded.history) != rows(tuned.history)


# ---- what is refused ------------------------------------------------------------------------------------------------


def changed(values, place, value):
    values = np.array(values, dtype=np.float64)
    values[place] = value
    return values


@pytest.mark.parametrize(
    "change, kind, field",
    [
        ({"epochs": 0}, "ConfigError", "epochs"),
        ({"epochs": 2.0}, "ConfigError", "epochs"),
        ({"batch_size": 0}, "ConfigError", "batch_size"),
        ({"batch_size": True}, "ConfigError", "batch_size"),
        ({"update_freq": -1}, "ConfigError", "update_freq"),
        ({"patience": 0, "valid": 0.5}, "ConfigError", "patience"),
        ({"patience": 2}, "ConfigError", "patience"),
        ({"monitor": "loss"}, "ConfigError", "monitor"),
        ({"monitor": "f2", "valid": 0.5}, "ConfigError", "monitor"),
        ({"valid": 0.0}, "ConfigError", "valid"),
        ({"valid": 1.5}, "ConfigError", "valid"),
        ({"valid": 0.01}, "ConfigError", "valid"),
        ({"valid": 3}, "ConfigError", "valid"),
        ({"valid": (1,)}, "ConfigError", "valid"),
        ({"seed": -1}, "ConfigError", "seed"),
        ({"seed": -1, "valid": 0.5}, "ConfigError", "seed"),
        ({"seed": 1.5, "valid": 0.5}, "ConfigError", "seed"),
        ({"drop": 0.1}, "ConfigError", "drop"),
        ({"y": np.zeros((24, 2, 1))}, "LabelError", "y"),
        ({"y": np.zeros((23, 2))}, "LabelError", "y"),
        ({"y": np.zeros((24, 0))}, "LabelError", "y"),
        ({"y": changed(np.zeros((24, 2)), (20, 1), 2)}, "LabelError", "y"),
        ({"y": changed(np.zeros((24, 2)), (20, 1), np.inf)}, "LabelError", "y"),
        ({"y": np.full((24, 2), np.nan)}, "LabelError", "y"),
        ({"sample_weight": np.ones(23)}, "LabelError", "sample_weight"),
        ({"sample_weight": changed(np.ones(24), 3, -1)}, "LabelError", "sample_weight"),
        ({"label_weight": [1.0]}, "LabelError", "label_weight"),
        ({"loss": "focus"}, "ConfigError", "loss"),
        ({"loss": "cmsc"}, "ConfigError", "loss"),
        ({"loss": "focal", "gamma": -1}, "ConfigError", "gamma"),
        ({"loss": "focal", "gamma_neg": 1}, "ConfigError", "gamma_neg"),
        ({"loss": "asymmetric", "clip": 1.0}, "ConfigError", "clip"),
        ({"loss": "mse", "pos_weight": [1.0, 1.0]}, "ConfigError", "pos_weight"),
        ({"loss": "mse", "y": changed(np.zeros((24, 2)), (20, 1), np.inf)}, "LabelError", "y"),
        ({"loss": "mse", "target": {"mean": [0, 0], "std": [1, 0]}}, "ConfigError", "target.std"),
        ({"loss": "mse", "target": {"mean": [0], "std": [1]}}, "ConfigError", "target.mean"),
        ({"loss": "mse", "units": ["mV"]}, "ConfigError", "units"),
        ({"loss": "mse", "monitor": "auroc", "valid": 0.5}, "ConfigError", "monitor"),
        ({"pos_weight": [1.0]}, "LabelError", "pos_weight"),
        ({"pos_weight": [1.0, np.inf]}, "LabelError", "pos_weight"),
        ({"labels": ["a", "a"]}, "LabelError", None),
        ({"x": np.zeros((24, 12))}, "SignalError", "x"),
        ({"x": np.zeros((0, 12, N)), "y": np.zeros((0, 2))}, "SignalError", "x"),
        ({"x": np.zeros((24, 3, N))}, "SignalError", "x"),
        ({"x": np.zeros((24, 12, 15))}, "SignalError", "x"),
        ({"x": changed(np.zeros((24, 12, N)), (21, 3, 7), np.nan)}, "SignalError", None),
        ({"x": changed(np.zeros((24, 12, N)), (21, 3, 7), 1e300)}, "SignalError", None),
        ({"padding_mask": np.zeros((23, N), bool)}, "SignalError", "padding_mask"),
        ({"padding_mask": changed(np.zeros((24, N)), 21, 1) > 0}, "SignalError", "padding_mask"),
        ({"valid": (np.zeros((4, 12, N)), np.zeros((4, 3)))}, "LabelError", "valid"),
        ({"valid": (np.zeros((4, 12, N)), np.full((4, 2), 2))}, "LabelError", "y"),
        ({"valid": (changed(np.zeros((4, 12, N)), (1, 2, 3), np.inf), np.zeros((4, 2)))}, "SignalError", None),
        ({"valid": (np.zeros((4, 12, 15)), np.zeros((4, 2)))}, "SignalError", "x"),
    ],
)
def test_refused_before_the_first_update(model, data, change, kind, field, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("a batch was trained")

    monkeypatch.setattr(ecgfm.Trainer, "accumulate", never)
    arguments = {"x": data[0], "y": data[1], "epochs": 2, "batch_size": 4} | change
    with pytest.raises(getattr(ecgfm.errors, kind)) as info:
        ecgfm.finetune(model, **arguments)
    if field:
        assert info.value.field == field


def test_the_place_of_a_value_that_is_not_finite(model, data):
    with pytest.raises(ecgfm.errors.SignalError, match=r"x\[21, 3, 7\]") as info:
        ecgfm.finetune(model, changed(data[0], (21, 3, 7), np.nan), data[1])
    assert "nan" in str(info.value).lower()


# ---- progress -------------------------------------------------------------------------------------------------------


def test_progress(model, data, capsys):
    ecgfm.finetune(model, *data, epochs=2, valid=0.25, progress=True, **QUICK)
    told = capsys.readouterr()
    assert told.out == "" and "epoch 2/2" in told.err and "valid_loss" in told.err and told.err.endswith("\n")
    ecgfm.finetune(model, *data, epochs=2, **QUICK)
    assert capsys.readouterr().err == ""  # not a terminal


def test_a_loss_that_is_not_finite_ends_it(data):
    params = weights.weights(weights.parameters(CONFIG))
    params["proj.weight"] = np.full_like(params["proj.weight"], 3e38)
    model = ecgfm.Model.from_state_dict(CONFIG, params)
    with pytest.raises(ecgfm.errors.Error, match="norm of the gradients"):
        ecgfm.finetune(model, *data, epochs=2, **QUICK)
    tuned = ecgfm.finetune(model, *data, epochs=2, on_nonfinite="skip", **QUICK)
    assert tuned.trainer.skipped == 4 and tuned.history["num_updates"].tolist() == [0, 0]
    assert not math.isfinite(tuned.history["train_gnorm"][0])
