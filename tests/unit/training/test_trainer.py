"""The trainer as users hold it: what it accepts and refuses, its state, threads, interruption, memory."""

import math
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import twin
import weights
from bounded import PATIENCE_S

import ecgfm
from ecgfm.checkpoint.directory import write_directory
from ecgfm.kernels import core
from ecgfm.metrics.counts import bce_sums

CONFIG = weights.SMALL | {"num_labels": 3}
LABELS = ("AF", "RBBB", "sinus")
N = 400
DROPOUT = {"dropout": 0.1, "attention_dropout": 0.1, "encoder_layerdrop": 0.2}


@pytest.fixture(scope="module")
def params():
    return weights.weights(weights.parameters(CONFIG))


@pytest.fixture(scope="module")
def model(params):
    return ecgfm.Model.from_state_dict(CONFIG, params, labels=LABELS)


@pytest.fixture(scope="module")
def encoder():
    table = weights.parameters(CONFIG, "pretraining")
    return ecgfm.Model.from_state_dict(CONFIG, weights.weights(table), kind="pretraining")


@pytest.fixture(scope="module")
def x():
    values = weights.signal("trainer", 5, 12, N)
    values.flags.writeable = False
    return values


@pytest.fixture(scope="module")
def y():
    values = np.random.default_rng(3).integers(0, 2, (5, 3)).astype(np.float32)
    values.flags.writeable = False
    return values


def everything(trainer):
    """The bits of all that a step may change, and the counts."""
    blocks = {name: trainer.engine.core.arrays(name) for name in ("parameters", "gradients", "exp_avg", "exp_avg_sq")}
    bits = {name: [values.tobytes() for values in block.values()] for name, block in blocks.items()}
    return bits, trainer.engine.core.steps(), trainer.num_updates, trainer.skipped, trainer.seed, trainer.epoch


# ---- what it is made of ---------------------------------------------------------------------------------------------


def test_the_model_is_copied(model, params, x, y):
    trainer = ecgfm.Trainer(model, schedule=1e-2)
    assert trainer.labels == LABELS and trainer.num_labels == 3 and "3 labels" in repr(trainer)
    for name, values in trainer.state_dict().items():
        np.testing.assert_array_equal(values, params[name], err_msg=name)
    trainer.step(x, y)
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, params[name], err_msg=name)
    changed = trainer.model()
    assert changed.labels == LABELS
    np.testing.assert_array_equal(changed(x).logits, trainer.logits(x))
    assert not np.array_equal(changed(x).logits, model(x).logits)


def test_a_new_head_for_an_encoder(encoder, x, y):
    trainers = [ecgfm.Trainer(encoder, num_labels=3, seed=seed) for seed in (1, 1, 2)]
    first, same, other = (trainer.state_dict() for trainer in trainers)
    found = encoder.state_dict()
    assert set(first) == {f"encoder.{name}" for name in found} | {"proj.weight", "proj.bias"}
    for name, values in found.items():
        np.testing.assert_array_equal(first["encoder." + name], values)
    head = first["proj.weight"]
    bound = math.sqrt(6 / (3 + 32))
    assert 0.8 * bound < np.abs(head).max() <= bound and abs(head.mean()) < 0.2 * bound
    assert not first["proj.bias"].any()
    np.testing.assert_array_equal(same["proj.weight"], head)
    assert not np.array_equal(other["proj.weight"], head)
    assert math.isfinite(trainers[0].step(x, y)["loss"])
    assert trainers[0].model().kind == "classifier" and trainers[0].labels is None


def test_another_number_of_labels(model, params):
    trainer = ecgfm.Trainer(model, labels=["a", "b"])
    assert trainer.num_labels == 2 and trainer.labels == ("a", "b")
    assert trainer.state_dict()["proj.weight"].shape == (2, 32)
    same = ecgfm.Trainer(model, num_labels=3)
    assert same.labels == LABELS
    np.testing.assert_array_equal(same.state_dict()["proj.weight"], params["proj.weight"])


def test_from_a_path(model, tmp_path, x):
    folder = tmp_path / "model"
    write_directory(folder, kind=model.kind, config=model.config, tensors=model.state_dict(), labels=LABELS)
    trainer = ecgfm.Trainer(folder)
    assert trainer.labels == LABELS
    np.testing.assert_array_equal(trainer.logits(x), ecgfm.Trainer(model).logits(x))


@pytest.mark.parametrize(
    "settings, field",
    [
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"dropout": math.nan}, "dropout"),
        ({"dropout": "0.1"}, "dropout"),
        ({"dropout": True}, "dropout"),
        ({"encoder_layerdrop": 1}, "encoder_layerdrop"),
        ({"drop_out": 0.1}, "drop_out"),
        ({"feature_grad_mult": -1.0}, "feature_grad_mult"),
        ({"feature_grad_mult": math.inf}, "feature_grad_mult"),
        ({"freeze_finetune_updates": 1.5}, "freeze_finetune_updates"),
        ({"loss": "mae"}, "loss"),
        ({"on_nonfinite": "ignore"}, "on_nonfinite"),
        ({"optimizer": {"_name": "sgd"}}, "optimizer"),
        ({"optimizer": {"adam_eps": 0}}, "adam_eps"),
        ({"optimizer": {"adam_betas": (0.9, 1.0)}}, "adam_betas"),
        ({"optimizer": {"adam_betas": 0.9}}, "adam_betas"),
        ({"optimizer": {"weight_decay": -1}}, "weight_decay"),
        ({"optimizer": {"clip": 1}}, "clip"),
        ({"schedule": -1.0}, "lr"),
        ({"seed": -1}, "seed"),
        ({"seed": 1 << 32}, "seed"),
        ({"seed": 1.0}, "seed"),
        ({"num_labels": 0}, "num_labels"),
    ],
)
def test_settings_that_are_refused(model, settings, field):
    with pytest.raises(ecgfm.errors.ConfigError) as info:
        ecgfm.Trainer(model, **settings)
    assert info.value.field == field
    assert field or next(iter(settings)) in str(info.value)


def test_other_arguments_that_are_refused(model, encoder):
    with pytest.raises(ecgfm.errors.ConfigError, match="num_labels"):
        ecgfm.Trainer(encoder)
    with pytest.raises(ecgfm.errors.ConfigError, match="model"):
        ecgfm.Trainer({"weights": 1})
    with pytest.raises(ecgfm.errors.LabelError):
        ecgfm.Trainer(model, labels=["a", "b"], num_labels=3)
    with pytest.raises(ecgfm.errors.Error):
        ecgfm.Trainer("no/such/file.pt")


@pytest.mark.parametrize(
    "pos_weight, words",
    [
        ([1.0, 2.0], "shape"),
        (3.0, "shape"),
        ([1.0, math.inf, 1.0], "RBBB"),
        ([1.0, 1.0, math.nan], "sinus"),
        ([-1.0, 1.0, 1.0], "AF"),
        ([1e300, 1.0, 1.0], "AF"),
        (["a", "b", "c"], "real numbers"),
    ],
)
def test_pos_weight_that_is_refused(model, pos_weight, words):
    with pytest.raises(ecgfm.errors.LabelError, match=words) as info:
        ecgfm.Trainer(model, pos_weight=pos_weight)
    assert info.value.field == "pos_weight"


# ---- what a step says -----------------------------------------------------------------------------------------------


def test_what_a_step_reports(model, x, y):
    weight = np.array([0.5, 1.0, 3.0], np.float32)
    soft = y.copy()
    soft[0] = 0.25, 0.5, 0.75
    trainer = ecgfm.Trainer(model, pos_weight=weight, activation_dropout=0.0, schedule=[1e-3, 1e-4])
    trainer.epoch = 2
    logits = trainer.logits(x).astype(np.float64)
    row = trainer.step(x, soft)
    loss = twin.bce_with_logits(logits, soft, weight)
    predicted, actual = logits > 0, soft != 0
    assert row["loss_sum"] == pytest.approx(loss, rel=1e-6)
    assert row["loss"] == pytest.approx(loss / 15 / math.log(2), rel=1e-6)
    assert (row["sample_size"], row["nsignals"], row["num_updates"], row["applied"]) == (15, 5, 1, True)
    assert row["accuracy"] == (predicted == soft).mean()
    assert row["em_accuracy"] == (predicted == soft).all(axis=1).mean()
    assert row["precision"] == pytest.approx((predicted & actual).sum() / predicted.sum())
    assert row["recall"] == pytest.approx((predicted & actual).sum() / actual.sum())
    assert row["lr"] == 1e-4


def test_gradient_norm_is_that_of_the_mean(model, x, y):
    trainer = ecgfm.Trainer(model, feature_grad_mult=1.0)
    trainer.accumulate(x, y)
    squares = sum((values.astype(np.float64) ** 2).sum() for values in trainer.gradients().values())
    assert trainer.update()["gnorm"] == pytest.approx(math.sqrt(squares) / 15, rel=1e-6)


def test_undefined_shares_are_nan(model, x):
    trainer = ecgfm.Trainer(model)
    sure = np.full((5, 3), -9.0)
    found = trainer.losses(sure, np.zeros((5, 3)))
    assert math.isnan(found["precision"]) and math.isnan(found["recall"]) and found["em_accuracy"] == 1.0


def test_losses_of_logits_are_those_of_a_step(model, x, y):
    """NumPy and the kernel compute the same sums."""
    trainer = ecgfm.Trainer(model, pos_weight=[0.5, 1.0, 3.0], activation_dropout=0.0)
    told = trainer.losses(trainer.logits(x), y)
    row = trainer.step(x, y)
    for name, value in told.items():
        assert row[name] == pytest.approx(value, rel=1e-6, nan_ok=True), name
    extreme = bce_sums(np.array([[800.0, -800.0]]), np.array([[0.0, 1.0]]))
    assert extreme["loss"] == 1600.0


def test_labels_of_every_kind(model, x, y):
    found = []
    for labels in (y, y.astype(bool), y.astype(int), y.astype(">f8"), np.asfortranarray(y), y.tolist()):
        trainer = ecgfm.Trainer(model)
        trainer.accumulate(x, labels)
        found.append([values.tobytes() for values in trainer.gradients().values()])
    assert all(other == found[0] for other in found)


def test_inputs_are_not_changed(model, x, y):
    trainer = ecgfm.Trainer(model)
    mask = weights.padding(5, 12, N, [N, 300, N, 200, 100])
    before = x.copy(), y.copy(), mask.copy()
    trainer.step(x, y, mask)
    for now, then in zip((x, y, mask), before):
        np.testing.assert_array_equal(now, then)


def test_signals_of_every_kind(model, x, y):
    found = []
    for signals in (x, x.astype(np.float64), x.astype(">f4"), np.repeat(x, 2, axis=2)[:, :, ::2], np.asfortranarray(x)):
        trainer = ecgfm.Trainer(model)
        trainer.accumulate(signals, y)
        found.append([values.tobytes() for values in trainer.gradients().values()])
    assert all(other == found[0] for other in found)


# ---- bad input ------------------------------------------------------------------------------------------------------


def wrong(values, place, value):
    values = np.array(values)
    values[place] = value
    return values


ALL_PADDED = np.ones((5, N), bool)
MASK = np.ones((5, N // 16, 32), bool)
BAD = {
    "labels too narrow": ({"y": np.zeros((5, 2))}, "LabelError", "y"),
    "labels too few": ({"y": np.zeros((4, 3))}, "LabelError", "y"),
    "labels flat": ({"y": np.zeros(15)}, "LabelError", "y"),
    "labels above 1": ({"y": wrong(np.zeros((5, 3)), (2, 1), 1.5)}, "LabelError", "y"),
    "labels below 0": ({"y": wrong(np.zeros((5, 3)), (2, 1), -0.1)}, "LabelError", "y"),
    "labels infinite": ({"y": wrong(np.zeros((5, 3)), (2, 1), np.inf)}, "LabelError", "y"),
    "labels as text": ({"y": np.full((5, 3), "1")}, "LabelError", "y"),
    "labels complex": ({"y": np.zeros((5, 3), complex)}, "LabelError", "y"),
    "NaN": ({"x": wrong(np.zeros((5, 12, N)), (1, 2, 3), np.nan)}, "SignalError", None),
    "infinity": ({"x": wrong(np.zeros((5, 12, N)), (1, 2, 3), np.inf)}, "SignalError", None),
    "beyond float32": ({"x": wrong(np.zeros((5, 12, N)), (1, 2, 3), 1e300)}, "SignalError", None),
    "three leads": ({"x": np.zeros((5, 3, N))}, "SignalError", "x"),
    "one segment": ({"x": np.zeros((12, N))}, "SignalError", "x"),
    "too short": ({"x": np.zeros((5, 12, 15))}, "SignalError", "x"),
    "no segment": ({"x": np.zeros((0, 12, N)), "y": np.zeros((0, 3))}, "SignalError", "x"),
    "text": ({"x": np.full((5, 12, N), "0")}, "SignalError", "x"),
    "all padded": ({"padding_mask": ALL_PADDED}, "SignalError", "padding_mask"),
    "padding of another shape": ({"padding_mask": ALL_PADDED[:, :9]}, "SignalError", "padding_mask"),
    "padding at the start": ({"padding_mask": wrong(~ALL_PADDED, (0, 0), True)}, "SignalError", "padding_mask"),
    "padding as numbers": ({"padding_mask": np.zeros((5, N))}, "SignalError", "padding_mask"),
    "unknown mask": ({"noise": {"layer0.residual": MASK}}, "ConfigError", "noise.layer0.residual"),
    "mask of a layer too many": ({"noise": {"layer2.residual1": MASK}}, "ConfigError", "noise.layer2.residual1"),
    "mask of another shape": ({"noise": {"input": MASK[1:]}}, "ConfigError", "noise.input"),
    "mask of numbers": ({"noise": {"input": MASK * 1.0}}, "ConfigError", "noise.input"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_changes_nothing(model, x, y, case):
    changes, kind, field = BAD[case]
    trainer = ecgfm.Trainer(model, **DROPOUT, schedule=1e-2)
    trainer.step(x, y)
    trainer.accumulate(x, y)
    before = everything(trainer)
    for call in (trainer.accumulate, trainer.step):
        with pytest.raises(getattr(ecgfm.errors, kind)) as info:
            call(**({"x": x, "y": y} | changes))
        assert info.value.field == field
        assert everything(trainer) == before
    if case.startswith("labels ") and field == "y" and "NaN" in case:
        assert "RBBB" in str(info.value) and "row 2" in str(info.value)
    # What had been accumulated is still there, and goes on as if nothing had happened.
    other = ecgfm.Trainer(model, **DROPOUT, schedule=1e-2)
    other.step(x, y)
    other.accumulate(x, y)
    for one in (trainer, other):
        one.accumulate(x[:2], y[:2])
    assert trainer.update() == other.update() and everything(trainer) == everything(other)


def test_an_update_needs_a_batch(model, x, y):
    trainer = ecgfm.Trainer(model)
    for _ in range(2):
        with pytest.raises(ecgfm.errors.Error, match="no batch"):
            trainer.update()
        trainer.step(x, y)


@pytest.mark.parametrize("rate", [math.nan, math.inf, -1e-3])
def test_a_schedule_that_gives_nonsense(model, x, y, rate):
    trainer = ecgfm.Trainer(model, schedule=lambda updates, epoch: rate)
    trainer.accumulate(x, y)
    before = everything(trainer)
    with pytest.raises(ecgfm.errors.ConfigError) as info:
        trainer.update()
    assert info.value.field == "schedule" and everything(trainer) == before


# ---- gradients that are not finite ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["proj.bias", "encoder.layer_norm.weight"])
def test_a_gradient_that_is_not_finite(model, x, y, name, value):
    trainer = ecgfm.Trainer(model, schedule=1e-2)
    trainer.step(x, y)
    before = everything(trainer)
    trainer.accumulate(x, y)
    trainer.engine.core.arrays("gradients")[name][-1] = value
    with pytest.raises(ecgfm.errors.Error, match="norm of the gradients") as info:
        trainer.update()
    assert info.value.field == "gradients" and "update 2" in str(info.value)
    after = everything(trainer)
    assert {**after[0], "gradients": 0} == {**before[0], "gradients": 0} and after[1:3] == before[1:3]
    assert trainer.skipped == 1
    with pytest.raises(ecgfm.errors.Error, match="no batch"):
        trainer.update()
    assert trainer.step(x, y)["num_updates"] == 2
    assert all(np.isfinite(values).all() for values in trainer.state_dict().values())


def test_weights_that_overflow_are_skipped_and_counted(params, x, y):
    """A loss that overflows by itself: huge weights of the output layer."""
    huge = params | {"proj.weight": np.full_like(params["proj.weight"], 3e38)}
    trainer = ecgfm.Trainer(ecgfm.Model.from_state_dict(CONFIG, huge), on_nonfinite="skip", schedule=1e-2)
    before = everything(trainer)
    for count in (1, 2):
        row = trainer.step(x, y)
        assert not row["applied"] and not math.isfinite(row["gnorm"]) and row["num_updates"] == 0
        assert trainer.skipped == count and trainer.num_updates == 0
    after = everything(trainer)
    assert {**after[0], "gradients": 0} == {**before[0], "gradients": 0} and after[1] == before[1]


# ---- clipping, freezing ---------------------------------------------------------------------------------------------


def test_clipping(model, x, y):
    """Adam's first moment is 0.1 of the gradient that it is given."""
    trainer = ecgfm.Trainer(model, optimizer={"clip_norm": 0.01}, feature_grad_mult=1.0)
    gnorm = trainer.step(x, y)["gnorm"]
    moments = trainer.state()["exp_avg"].values()
    norm = math.sqrt(sum((values.astype(np.float64) ** 2).sum() for values in moments)) / (1 - 0.9)
    assert gnorm > 0.02 and norm == pytest.approx(0.01 * gnorm / (gnorm + 1e-6), rel=1e-5)
    loose = ecgfm.Trainer(model, optimizer={"clip_norm": 1e6})
    plain = ecgfm.Trainer(model)
    assert loose.step(x, y) == plain.step(x, y)
    assert everything(loose) == everything(plain)


def test_freezing_the_encoder_at_first(model, params, x, y):
    trainer = ecgfm.Trainer(
        model, freeze_finetune_updates=2, schedule=1e-2, optimizer={"weight_decay": 0.1}, feature_grad_mult=1.0
    )
    head = {"proj.weight", "proj.bias"}
    for update in range(1, 3):
        trainer.accumulate(x, y)
        gradients = trainer.gradients()
        assert {name for name, values in gradients.items() if values.any()} == head
        squares = sum((gradients[name].astype(np.float64) ** 2).sum() for name in head)
        assert trainer.update()["gnorm"] == pytest.approx(math.sqrt(squares) / 15, rel=1e-6)
        for name, values in trainer.state_dict().items():
            assert np.array_equal(values, params[name]) == (name not in head), name
        for block in ("exp_avg", "exp_avg_sq"):
            moved = {name for name, values in trainer.state()[block].items() if values.any()}
            assert moved == head
        assert {name for name, steps in trainer.state()["steps"].items() if steps} == head
    trainer.step(x, y)
    steps = trainer.state()["steps"]
    assert {name: steps[name] for name in head} == dict.fromkeys(head, 3)
    assert {value for name, value in steps.items() if name not in head} == {1}
    # The first step of Adam has the length of the learning rate: the corrections count from there.
    name = "encoder.encoder.layers.1.fc2.bias"
    moved = trainer.state_dict()[name] - params[name] * np.float32(1 - 1e-2 * 0.1)
    np.testing.assert_allclose(np.abs(moved), 1e-2, rtol=1e-3)


def test_freezing_gives_the_gradients_of_the_output_layer(model, x, y):
    frozen, free = (ecgfm.Trainer(model, freeze_finetune_updates=n) for n in (1, 0))
    for trainer in (frozen, free):
        trainer.accumulate(x, y)
    for name in ("proj.weight", "proj.bias"):
        np.testing.assert_array_equal(frozen.gradients()[name], free.gradients()[name])


# ---- state ----------------------------------------------------------------------------------------------------------


def copied(state):
    return {
        key: {name: np.copy(part) if isinstance(part, np.ndarray) else part for name, part in value.items()}
        if isinstance(value, dict)
        else value
        for key, value in state.items()
    }


@pytest.mark.parametrize("recompute", [False, True])
def test_a_state_goes_on_to_the_bit(model, encoder, x, y, recompute):
    def make(source, seed):
        schedule = {"_name": "tri_stage", "lr": 1e-2, "warmup_steps": 3, "hold_steps": 2, "decay_steps": 3}
        return ecgfm.Trainer(
            source, num_labels=3, seed=seed, recompute=recompute, schedule=schedule, feature_grad_mult=0.5, **DROPOUT
        )

    first, second = make(model, 5), make(encoder, 8)
    first.epoch = 4
    for _ in range(3):
        first.step(x, y)
    second.accumulate(x, y)  # to be dropped
    second.load_state(copied(first.state()))
    with pytest.raises(ecgfm.errors.Error, match="no batch"):
        second.update()
    assert second.epoch == 4 and second.seed == 5 and second.num_updates == 3
    for _ in range(3):
        assert first.step(x, y) == second.step(x, y)
    assert everything(first) == everything(second)


def test_state_is_a_view(model, x, y):
    trainer = ecgfm.Trainer(model, schedule=1e-2)
    state, gradients = trainer.state(), trainer.gradients()
    before = state["parameters"]["proj.bias"].copy()
    trainer.step(x, y)
    assert not np.array_equal(state["parameters"]["proj.bias"], before)
    assert state["exp_avg"]["proj.bias"].any() and gradients["proj.bias"].any()
    for views in (state["parameters"], state["exp_avg"], state["exp_avg_sq"], gradients, trainer.state_dict()):
        for values in views.values():
            assert values.dtype == np.float32 and not values.flags.writeable and not values.flags.owndata
            with pytest.raises(ValueError):
                values[...] = 0


def test_views_outlive_the_trainer(model):
    values = ecgfm.Trainer(model).state_dict()["proj.weight"]
    np.testing.assert_array_equal(values, model.state_dict()["proj.weight"])


def without(state, part, name=None):
    state = copied(state)
    del (state[part] if name else state)[name or part]
    return state


def with_value(state, part, name, value):
    state = copied(state)
    (state[part] if name else state)[name or part] = value
    return state


STATES = {
    "no moments": (lambda s: without(s, "exp_avg"), "exp_avg"),
    "moments are no dict": (lambda s: with_value(s, "exp_avg", None, 3), "exp_avg"),
    "a tensor is missing": (lambda s: without(s, "parameters", "proj.bias"), "parameters.proj.bias"),
    "a tensor too many": (lambda s: with_value(s, "exp_avg_sq", "extra", np.zeros(2)), "exp_avg_sq.extra"),
    "another shape": (lambda s: with_value(s, "exp_avg_sq", "proj.bias", np.zeros(4)), "exp_avg_sq.proj.bias"),
    "no steps": (lambda s: without(s, "steps"), "steps"),
    "a step is missing": (lambda s: without(s, "steps", "proj.bias"), "steps.proj.bias"),
    "a negative step": (lambda s: with_value(s, "steps", "proj.bias", -1), "steps.proj.bias"),
    "a step as text": (lambda s: with_value(s, "steps", "proj.bias", "1"), "steps.proj.bias"),
    "no updates": (lambda s: without(s, "num_updates"), "num_updates"),
    "negative updates": (lambda s: with_value(s, "num_updates", None, -1), "num_updates"),
    "an epoch as text": (lambda s: with_value(s, "epoch", None, "1"), "epoch"),
    "no seed": (lambda s: without(s, "seed"), "seed"),
    "a seed too large": (lambda s: with_value(s, "seed", None, 1 << 32), "seed"),
}


@pytest.mark.parametrize("case", STATES)
def test_a_state_that_is_refused_changes_nothing(model, x, y, case):
    change, field = STATES[case]
    source, trainer = (ecgfm.Trainer(model, schedule=1e-2, seed=seed) for seed in (1, 2))
    for _ in range(2):
        source.step(x, y)
    trainer.step(x[:3], y[:3])
    trainer.accumulate(x, y)
    before = everything(trainer)
    with pytest.raises(ecgfm.errors.ConfigError) as info:
        trainer.load_state(change(source.state()))
    assert info.value.field == field and everything(trainer) == before
    assert trainer.update()["applied"]


# ---- several threads ------------------------------------------------------------------------------------------------


def test_two_threads_take_turns(model, x, y):
    """Each step is whole: the result is that of as many steps one after the other."""
    trainer, alone = (ecgfm.Trainer(model, schedule=1e-3, activation_dropout=0.0) for _ in range(2))
    rows, problems = [], []

    def work():
        try:
            for _ in range(20):
                rows.append(trainer.step(x, y))
                trainer.logits(x)
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    expected = [alone.step(x, y) for _ in range(60)]
    assert sorted(rows, key=lambda row: row["num_updates"]) == expected
    assert everything(trainer) == everything(alone)


def test_the_kernel_refuses_a_second_call(model):
    """Below the trainer's lock."""
    trainer = ecgfm.Trainer(model)
    x = weights.signal("long", 4, 12, 2500).repeat(60, axis=0)
    y = np.zeros((240, 3), np.float32)
    started, problems = threading.Event(), []

    def work():
        started.set()
        trainer.engine.core.accumulate(x, y)

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    while thread.is_alive() and not problems:
        try:
            trainer.engine.core.forget()
        except RuntimeError as problem:
            problems.append(str(problem))
    thread.join()
    assert problems and "in use" in problems[0]
    assert trainer.engine.core.update(1e-3, 0.9, 0.98, 1e-8, 0.0, 1.0)[1]


# ---- interruption ---------------------------------------------------------------------------------------------------


class Alarm(Exception):
    pass


@pytest.fixture(scope="module")
def slow():
    """A trainer and a batch that take some seconds."""
    config = CONFIG | {"encoder_layers": 16, "encoder_embed_dim": 128, "encoder_ffn_embed_dim": 512}
    model = ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)))
    x = weights.signal("slow", 4, 12, 2500).repeat(100, axis=0)
    return ecgfm.Trainer(model), x, np.zeros((400, 3), np.float32)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Alarm])
def test_a_signal_ends_a_long_step(slow, kind):
    """Ctrl-C, or whatever else a handler raises: the weights stay, the gradients are dropped."""
    trainer, x, y = slow
    trainer.accumulate(x[:2], y[:2])
    before = [values.tobytes() for values in trainer.state_dict().values()]
    old = signal.getsignal(signal.SIGINT)

    def handler(number, frame):
        raise kind

    signal.signal(signal.SIGINT, handler)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(kind):
            trainer.step(x, y)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, old)
    assert [values.tobytes() for values in trainer.state_dict().values()] == before
    with pytest.raises(ecgfm.errors.Error, match="no batch"):
        trainer.update()
    trainer.accumulate(x[:2], y[:2])
    assert trainer._sums["rows"] == 2
    trainer.engine.core.forget(), trainer._drop()


# ---- memory ---------------------------------------------------------------------------------------------------------


def resident():
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("settings", [{}, {"recompute": True, "feature_grad_mult": 1.0, **DROPOUT}])
def test_every_failing_allocation_is_an_error(model, x, y, settings):
    """While the trainer is made, in its first step, and when a larger batch comes: it can go on afterwards."""
    expected = ecgfm.Trainer(model, **settings)
    rows = [expected.step(x[:2], y[:2]), expected.step(x, y)]
    failures = []
    try:
        for k in range(1, 2000):
            core().fail_allocation(k)
            try:
                ecgfm.Trainer(model, **settings)
                break
            except MemoryError:
                failures.append(k)
        core().fail_allocation(0)
        trainer = ecgfm.Trainer(model, **settings)
        for part, row in ((slice(0, 2), rows[0]), (slice(0, 5), rows[1])):
            for k in range(1, 2000):
                core().fail_allocation(k)
                try:
                    found = trainer.step(x[part], y[part])
                    break
                except MemoryError:
                    failures.append(k)
            core().fail_allocation(0)
            assert found == row
    finally:
        core().fail_allocation(0)
    assert 30 < len(failures) < 5000
    assert everything(trainer) == everything(expected)


def test_failing_allocations_leak_nothing(model, x, y):
    def rounds(count):
        for _ in range(count):
            for k in (3, 9, 20, 40, 60):
                core().fail_allocation(k)
                try:
                    ecgfm.Trainer(model).step(x, y)
                except MemoryError:
                    pass
                finally:
                    core().fail_allocation(0)

    rounds(10)
    before = resident()
    rounds(60)
    assert resident() - before < 4 << 20


def test_a_batch_that_does_not_fit(model, x, y):
    """There are not so many addresses; the trainer goes on."""
    trainer = ecgfm.Trainer(model)
    expected = ecgfm.Trainer(model)
    huge = np.broadcast_to(np.float32(0), (1, 12, 2**42))
    with pytest.raises(MemoryError):
        trainer.step(huge, y[:1])
    assert trainer.step(x, y) == expected.step(x, y)


def test_a_thousand_steps_do_not_grow_the_process(model, x, y):
    """With batches of several shapes, more than are kept planned."""
    trainer = ecgfm.Trainer(model, **DROPOUT, feature_grad_mult=0.1)
    shapes = [(b, n) for b in (1, 2, 3, 5) for n in (200, N)]

    def rounds(count):
        for i in range(count):
            rows, samples = shapes[i // 8 % len(shapes)] if i % 8 == 0 else (2, 200)
            trainer.step(x[:rows, :, :samples], y[:rows])

    threads = ecgfm.get_num_threads()
    try:
        ecgfm.set_num_threads(1)  # on a busy machine small steps wait for their second thread
        rounds(100)
        before = resident()
        rounds(1000)
        assert resident() - before < 2 << 20
    finally:
        ecgfm.set_num_threads(threads)
    assert trainer.num_updates == 1100


@pytest.mark.parametrize("recompute", [False, True])
def test_later_steps_of_a_shape_allocate_nothing(model, x, y, recompute):
    trainer = ecgfm.Trainer(model, recompute=recompute, feature_grad_mult=1.0, **DROPOUT)
    trainer.step(x, y)
    trainer.step(x[:2], y[:2])
    try:
        core().fail_allocation(1)
        for rows in (5, 2, 5):
            assert trainer.step(x[:rows], y[:rows])["applied"]
        with pytest.raises(MemoryError):
            trainer.step(x[:3], y[:3])
    finally:
        core().fail_allocation(0)


def test_making_trainers_does_not_grow_the_process(model, x, y):
    def rounds(count):
        for _ in range(count):
            trainer = ecgfm.Trainer(model)
            trainer.step(x, y)
            trainer.load_state(copied(trainer.state()))
            trainer.model()

    rounds(10)
    before = resident()
    rounds(100)
    assert resident() - before < 4 << 20


def test_recomputing_takes_less_memory():
    """Of a deep network, in a process each: see `memory_of`."""
    plain, recomputed = memory_of(False), memory_of(True)
    assert recomputed < 0.6 * plain


def memory_of(recompute):
    """Bytes that the first step adds."""
    import subprocess
    import sys

    code = f"""
import sys
sys.path[:0] = {[str(Path(__file__).resolve().parents[i]) for i in (0, 2)]!r}
import test_trainer as t
config = t.CONFIG | {{"encoder_layers": 12, "encoder_embed_dim": 64, "encoder_ffn_embed_dim": 256}}
model = t.ecgfm.Model.from_state_dict(config, t.weights.weights(t.weights.parameters(config)))
trainer = t.ecgfm.Trainer(model, recompute={recompute})
x = t.weights.signal("memory", 6, 12, 2500)
before = t.resident()
trainer.step(x, t.np.zeros((6, 3), t.np.float32))
print(t.resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
