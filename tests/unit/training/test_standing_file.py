"""checkpoint_dir: a finetuning that is killed after any epoch goes on and ends with the same bits."""

import os

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.training.standing_file import NAME

CONFIG = weights.SMALL | {"num_labels": 2}
X = weights.signal("standing", 16, 12, 400)
Y = np.random.default_rng(1).integers(0, 2, (16, 2)).astype(np.float32)
HOW = {"epochs": 4, "batch_size": 5, "schedule": [2e-3, 2e-3, 0.3, 1e-3], "seed": 3, "valid": (X[:6], Y[:6])}

pytestmark = pytest.mark.filterwarnings("ignore::ecgfm.InputWarning")


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def model():
    return ecgfm.Model.from_state_dict(CONFIG, weights.weights(weights.parameters(CONFIG)), labels=["a", "b"])


@pytest.fixture(scope="module")
def whole(model):
    return ecgfm.finetune(model, X, Y, **HOW)


def killed_after(epoch):
    """Dies in the epoch behind this one: the file of the one before is the last."""

    def callback(row):
        if row["epoch"] > epoch:
            raise Killed

    return callback


def assert_same(found, expected):
    assert [repr(row) for row in found.history.rows()] == [repr(row) for row in expected.history.rows()]
    assert found.best_epoch == expected.best_epoch
    for name, values in expected.model.state_dict().items():
        np.testing.assert_array_equal(found.model.state_dict()[name], values)
    for block in ("parameters", "exp_avg", "exp_avg_sq"):
        for name, values in expected.trainer.state()[block].items():
            np.testing.assert_array_equal(found.trainer.state()[block][name], values)


@pytest.mark.parametrize(
    "epoch, more",
    [(1, {}), (2, {}), (3, {}), (2, {"adapters": 2}), (2, {"trainable": 1})],
    ids=["1", "2", "3", "adapters", "frozen"],
)
def test_killed_after_an_epoch(model, whole, tmp_path, epoch, more):
    expected = ecgfm.finetune(model, X, Y, **HOW, **more) if more else whole
    with pytest.raises(Killed):
        ecgfm.finetune(model, X, Y, **HOW, **more, checkpoint_dir=tmp_path / "run", callback=killed_after(epoch))
    found = ecgfm.finetune(model, X, Y, **HOW, **more, checkpoint_dir=tmp_path / "run")
    assert_same(found, expected)
    assert_same(ecgfm.finetune(model, X, Y, **HOW, **more, checkpoint_dir=tmp_path / "run"), expected)  # all is done


def test_more_epochs(model, whole, tmp_path):
    """What was trained to the end goes on where more epochs are asked for; the best epoch may be the old last one."""
    for epochs in (1, 2, 4):
        found = ecgfm.finetune(model, X, Y, **HOW | {"epochs": epochs}, checkpoint_dir=tmp_path)
    assert_same(found, whole)


def test_patience_and_callbacks_stay(model, tmp_path):
    stopped = ecgfm.finetune(model, X, Y, **HOW, checkpoint_dir=tmp_path, callback=lambda row: row["epoch"] == 2)
    assert len(stopped.history) == 2
    assert_same(ecgfm.finetune(model, X, Y, **HOW, checkpoint_dir=tmp_path), stopped)


def test_patience_may_differ(model, whole, tmp_path):
    """The third epoch is worse: a patience of 1 ends there, the same again stays there, a longer one goes on."""
    short = ecgfm.finetune(model, X, Y, **HOW, patience=1)
    assert len(short.history) < 4
    for _ in range(2):
        assert_same(ecgfm.finetune(model, X, Y, **HOW, patience=1, checkpoint_dir=tmp_path), short)
    assert_same(ecgfm.finetune(model, X, Y, **HOW, patience=4, checkpoint_dir=tmp_path), whole)


@pytest.mark.parametrize(
    "change, differs",
    [
        ({"seed": 4}, "seed"),
        ({"update_freq": 2}, "update_freq"),
        ({"batch_size": 4}, "batch_size"),
        ({"dropout": 0.3}, "dropout"),
        ({"valid": None}, "valid"),
    ],
)
def test_another_training_is_refused(model, tmp_path, change, differs):
    ecgfm.finetune(model, X, Y, **HOW | {"epochs": 1}, checkpoint_dir=tmp_path)
    with pytest.raises(ecgfm.ConfigError, match=f"another training: .*{differs}"):
        ecgfm.finetune(model, X, Y, **HOW | change, checkpoint_dir=tmp_path)


def test_other_data_are_refused(model, tmp_path):
    ecgfm.finetune(model, X, Y, **HOW | {"epochs": 1}, checkpoint_dir=tmp_path)
    with pytest.raises(ecgfm.ConfigError, match="another training: 'training' differ"):
        ecgfm.finetune(model, X, 1 - Y, **HOW, checkpoint_dir=tmp_path)
    with pytest.raises(ecgfm.ConfigError, match="'model'"):
        ecgfm.finetune("demo", X, Y, **HOW, checkpoint_dir=tmp_path)


def test_damaged_files(model, tmp_path):
    ecgfm.finetune(model, X, Y, **HOW | {"epochs": 1}, checkpoint_dir=tmp_path)
    path = tmp_path / NAME
    good = path.read_bytes()
    for bad in (
        good[: len(good) // 2],
        b"",
        good.replace(b'\\"rows\\"', b'\\"Rows\\"'),
        good.replace(b"best_epoch", b"best_epoxx"),
    ):
        path.write_bytes(bad)
        with pytest.raises(ecgfm.CheckpointError, match=NAME):
            ecgfm.finetune(model, X, Y, **HOW, checkpoint_dir=tmp_path)
        assert path.read_bytes() == bad
    model.save(path, force=True)
    with pytest.raises(ecgfm.CheckpointError, match="no file of finetune"):
        ecgfm.finetune(model, X, Y, **HOW, checkpoint_dir=tmp_path)


def test_a_folder_that_cannot_be_made(model, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ecgfm.ConfigError, match="the folder can't be made"):
        ecgfm.finetune(model, X, Y, **HOW, checkpoint_dir=tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]
