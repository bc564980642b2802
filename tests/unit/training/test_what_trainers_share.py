"""One trainer for every objective: names of arguments, what is said of the model at the start, whom a warning means."""

import warnings
from importlib import resources

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.specs.architecture import architecture_keys
from ecgfm.training import PretrainingTrainer
from ecgfm.training.objectives import OBJECTIVES
from ecgfm.training.objectives.classification import BinaryCrossEntropy

CONFIG = weights.SMALL | {"num_labels": 2}
ENCODER = {name: weights.SMALL[name] for name in architecture_keys("pretraining")}
DEMO = str(resources.files("ecgfm") / "assets" / "demo")
N = 400


@pytest.fixture(scope="module")
def model():
    return ecgfm.Model.from_state_dict(CONFIG, weights.weights(weights.parameters(CONFIG)), labels=("a", "b"))


@pytest.fixture(scope="module")
def data():
    return weights.signal("share", 4, 12, N), np.eye(2)[[0, 1, 0, 1]]


def pretraining(**settings):
    return ecgfm.Trainer(ENCODER, loss="wav2vec2_with_cmsc", num_negatives=3, mask_length=2, **settings)


def test_both_names_of_an_argument(model, data):
    x, y = data
    rows = [ecgfm.Trainer(model).step(*given, **named) for given, named in [((x, y), {}), ((), {"x": x, "y": y})]]
    assert rows[0] == rows[1]
    pairs, ids = x.reshape(2, 2, 12, N), ["p", "q"]
    rows = [
        pretraining().step(*given, **named)
        for given, named in [((pairs, ids), {}), ((), {"pairs": pairs, "ids": ids}), ((pairs,), {"y": ids})]
    ]
    assert rows[0] == rows[1] == rows[2]


def test_what_is_not_given(model, data):
    with pytest.raises(ecgfm.LabelError, match="no labels"):
        ecgfm.Trainer(model).step(data[0])
    with pytest.raises(ecgfm.SignalError):
        ecgfm.Trainer(model).step()


def test_a_classifier_is_evaluated_as_a_step_reports(model, data):
    """Without dropout the same numbers, to rounding, before the update."""
    x, y = data
    trainer = ecgfm.Trainer(model, activation_dropout=0.0)
    found, before = trainer.evaluate(x, y), trainer.state_dict()["proj.weight"].copy()
    assert found == trainer.losses(trainer.logits(x), y) == trainer.evaluate_all([(x[:3], y[:3]), (x[3:], y[3:])])
    np.testing.assert_array_equal(trainer.state_dict()["proj.weight"], before)
    row = trainer.step(x, y)
    assert {name: row[name] for name in found} == pytest.approx(found, rel=1e-5, nan_ok=True)


def test_a_saved_classifier_is_the_model(model, data, tmp_path):
    trainer = ecgfm.Trainer(model)
    trainer.step(*data)
    trainer.save(tmp_path / "tuned.safetensors")
    found = ecgfm.load(tmp_path / "tuned.safetensors")
    assert found.labels == ("a", "b") and found.kind == "classifier"
    np.testing.assert_array_equal(found(data[0]).logits, trainer.model()(data[0]).logits)


def test_the_old_name_pretrains_alone():
    with pytest.raises(ecgfm.ConfigError, match="does not pretrain") as error:
        PretrainingTrainer(ENCODER, loss="binary_cross_entropy_with_logits")
    assert error.value.field == "loss"


# ---- what is said of the model ----------------------------------------------------------------------------------


def test_the_caveat_of_the_model_at_the_start_is_that_of_the_tuned_one(data, tmp_path):
    start = ecgfm.load(DEMO)
    assert "simulated patients only" in start.caveat
    x, y = data
    for given in (start, DEMO):
        tuned = ecgfm.finetune(given, x, y, epochs=1, labels=("a", "b"), progress=False).model
        assert tuned.caveat == start.caveat
    tuned.save(tmp_path / "tuned")
    assert ecgfm.load(tmp_path / "tuned").caveat == start.caveat
    trainer = ecgfm.Trainer(start, loss="wav2vec2_with_cmsc", num_negatives=3, mask_length=2)
    trainer.save(tmp_path / "pretrained.safetensors")
    for found in (trainer.model(), ecgfm.load(tmp_path / "pretrained.safetensors")):
        assert found.caveat == start.caveat


def test_what_was_trained_is_no_longer_untrained(model, tmp_path):
    from ecgfm import checkpoint

    untrained = checkpoint.save(tmp_path / "a", kind="classifier", config=CONFIG, tensors=model.state_dict(),
                                info={"training": "none"})[0].parent  # fmt: skip
    assert "untrained" in ecgfm.load(untrained).caveat
    assert ecgfm.Trainer(untrained).model().caveat is None
    assert ecgfm.Trainer(model).model().caveat is None


# ---- warnings -----------------------------------------------------------------------------------------------------


class OfMine(ecgfm.Trainer):
    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)


@pytest.mark.parametrize(
    "made",
    [
        lambda model, x, y: ecgfm.Trainer(model, labels=["a", "c"]),
        lambda model, x, y: ecgfm.Trainer(model, num_labels=3),
        lambda model, x, y: ecgfm.finetune(model, x, y, labels=["a", "c"], epochs=1, progress=False),
        lambda model, x, y: ecgfm.Trainer(model).step(x, y),
        lambda model, x, y: ecgfm.Trainer(model).logits(x),
        lambda model, x, y: ecgfm.finetune(
            model, x, y, padding_mask=np.arange(N) > np.full((4, 1), 300), epochs=1, progress=False
        ),
        lambda model, x, y: pretraining().evaluate(x.reshape(2, 2, 12, N)),
        lambda model, x, y: ecgfm.finetune(model, x, y, valid=0.5, epochs=1, progress=False),
        lambda model, x, y: ecgfm.pretrain(
            x.reshape(2, 2, 12, N), config=ENCODER, valid=0.5, epochs=1, num_negatives=3, mask_length=2
        ),
    ],
)
def test_a_warning_points_at_the_line_of_the_user(model, data, made):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made(model, *data)
    assert caught
    assert {warning.filename for warning in caught if issubclass(warning.category, ecgfm.InputWarning)} == {__file__}


# ---- an objective of one's own ------------------------------------------------------------------------------------


class Half(BinaryCrossEntropy):
    """Half of the loss: one file and one registration are all that it takes."""

    loss = "half"
    optimizer = {"weight_decay": 0.5}
    columns = ("loss", "accuracy", "half")

    def report(self, sums):
        return super().report(sums) | {"half": sums["loss"] / 2}


def test_a_registered_objective_is_trained(model, data, monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "half", Half)
    trainer = ecgfm.Trainer(model, loss="half")
    assert trainer.optimizer["weight_decay"] == 0.5
    row = trainer.step(*data)
    assert row["half"] == row["loss_sum"] / 2
    tuned = ecgfm.finetune(model, *data, loss="half", valid=data, epochs=2, progress=False)
    assert {"train_half", "valid_half"} <= set(tuned.history.columns)
    assert "criterion" in dir(Half.reporting()) and Half.reporting().train_columns[0] == "loss"
