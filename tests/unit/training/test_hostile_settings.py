"""Settings of training of every wrong kind: each is taken, or refused by name, in bounded words."""

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.training import schedules

N = 400
CONFIG = weights.SMALL | {"num_labels": 2}
SMALL = {name: value for name, value in weights.SMALL.items() if name != "num_labels"}
HOSTILE = (
    None, True, -1, 0, 2.5, 10**5000, -(10**400), np.nan, np.inf, 1e308, "", "x", "x" * 1_000_000, b"x", [], [[]], {},
    {"a": 1}, object(), np.zeros(3), np.float32("nan"), np.int64(-5), (1, 2, 3), [None] * 3, 1j, print,
)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return ecgfm.Model.from_state_dict(CONFIG, weights.weights(weights.parameters(CONFIG)))


def refused_or_taken(call):
    """Whether it was refused."""
    try:
        call()
    except ecgfm.Error as error:
        assert len(str(error)) < 2000 and str(error).isprintable()
        return True
    return False


def tried(call, values=HOSTILE):
    """How many of the values were refused; none raises anything but a named error."""
    return sum(refused_or_taken(lambda value=value: call(value)) for value in values)


@pytest.mark.parametrize(
    "name",
    ["num_labels", "labels", "loss", "pos_weight", "schedule", "optimizer", "seed", "on_nonfinite", "dropout",
     "encoder_layerdrop", "feature_grad_mult", "freeze_finetune_updates", "trainable", "lr_decay", "adapters",
     "no such"],
)  # fmt: skip
def test_trainer(model, name):
    assert tried(lambda value: ecgfm.Trainer(model, **{name: value})) > 5


@pytest.mark.parametrize("name", ["adam_betas", "adam_eps", "weight_decay", "clip_norm", "_name"])
def test_optimizer(model, name):
    assert tried(lambda value: ecgfm.Trainer(model, optimizer={name: value})) > 5


@pytest.mark.parametrize("kind", [schedules.Fixed, schedules.TriStage, schedules.Step])
def test_schedules(kind):
    for name in kind.__dataclass_fields__:
        others = {"max_update": 10} if name == "phase_ratio" else {}
        assert tried(lambda value: kind(**{name: value}, **others)) > 5 or name == "max_update", name
    assert tried(lambda value: schedules.make_schedule({"_name": value})) == len(HOSTILE)


@pytest.mark.parametrize(
    "name",
    ["dropout", "mask_prob", "mask_length", "mask_selection", "no_mask_overlap", "num_negatives", "latent_temp",
     "infonce", "loss_weights", "cmsc_weights", "apply_mask", "seed", "schedule", "loss"],
)  # fmt: skip
def test_pretraining_trainer(name):
    options = {"loss": "wav2vec2_with_cmsc", name: None}

    def make(value):
        return ecgfm.training.PretrainingTrainer(SMALL, **options | {name: value})

    assert tried(make) > 5


def test_architectures():
    for name in SMALL:
        assert tried(lambda value: ecgfm.Trainer(SMALL | {name: value}, loss="wav2vec2_with_cmsc")) > 5, name


@pytest.mark.parametrize(
    "name",
    ["epochs", "batch_size", "update_freq", "monitor", "patience", "seed", "valid", "groups", "callback", "labels"],
)
def test_finetune(model, name, monkeypatch):
    monkeypatch.setattr(ecgfm.Trainer, "accumulate", stop)
    x, y = weights.signal("hostile", 4, 12, N), np.eye(2)[[0, 1, 0, 1]]
    others = {"valid": (x, y)} if name in ("monitor", "patience") else {"valid": 0.5} if name == "groups" else {}
    values = [value for value in HOSTILE if not (name == "callback" and value is print)]
    assert tried(lambda value: trained(ecgfm.finetune, model, x, y, **{name: value}, **others), values) > 5


@pytest.mark.parametrize("name", ["epochs", "batch_size", "update_freq", "monitor", "patience", "seed", "valid", "ids"])
def test_pretrain(name, monkeypatch):
    monkeypatch.setattr(ecgfm.training.PretrainingTrainer, "accumulate", stop)
    pairs = weights.signal("hostile", 8, 12, N).reshape(4, 2, 12, N)
    others = {"valid": (pairs,)} if name in ("monitor", "patience") else {}
    assert tried(lambda value: trained(ecgfm.pretrain, pairs, config=SMALL, **{name: value}, **others)) > 5


class Begun(Exception):
    """Training has begun: the arguments were taken."""


def stop(*args, **options):
    raise Begun


def trained(function, *args, **options):
    try:
        function(*args, **options)
    except Begun:
        pass


@pytest.mark.parametrize("name", ["x", "y", "padding_mask", "noise"])
def test_steps(model, name):
    x, y = weights.signal("hostile", 4, 12, N), np.eye(2)[[0, 1, 0, 1]]
    trainer = ecgfm.Trainer(model)
    assert tried(lambda value: trainer.step(**{"x": x, "y": y} | {name: value})) > 5
    if name != "y":
        pretrainer = ecgfm.Trainer(SMALL, loss="wav2vec2_with_cmsc")
        name, x = "pairs" if name == "x" else name, x.reshape(2, 2, 12, N)
        assert tried(lambda value: pretrainer.step(**{"pairs": x} | {name: value})) > 5


def test_states(model):
    trainer = ecgfm.Trainer(model)
    before = {name: values.copy() for name, values in trainer.state_dict().items()}
    assert tried(trainer.load_state) == len(HOSTILE)
    for name in trainer.state():
        assert tried(lambda value: trainer.load_state(trainer.state() | {name: value})) > 5
    tensor = {"proj.bias": None}
    values = [value for value in HOSTILE if np.shape(value) != (2,)]
    for value in values:
        state = trainer.state()
        with pytest.raises(ecgfm.Error):
            trainer.load_state(state | {"parameters": state["parameters"] | dict.fromkeys(tensor, value)})
    for name, kept in before.items():
        np.testing.assert_array_equal(trainer.state_dict()[name], kept)
