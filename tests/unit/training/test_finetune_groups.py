"""finetune: recordings and patients stay on one side; input that is not prepared, padded values, Ctrl-C."""

import os
import signal
import threading
import warnings

import numpy as np
import pytest
import weights
from made_segments import make_split, write_segment

import ecgfm
from ecgfm.data import Dataset, Labels, assign_splits, condition, cut, reorder_leads
from ecgfm.inference import aggregate
from ecgfm.training.engine import Engine
from ecgfm.training.grouping import recordings_of

N = 400
LABELS = ("fast", "left axis")
CONFIG = weights.SMALL | {"num_labels": 2}
OPTIONS = {"epochs": 1, "batch_size": 4, "schedule": 1e-3, "progress": False, "labels": LABELS}


@pytest.fixture(scope="module")
def model():
    return ecgfm.Model.from_state_dict(CONFIG, weights.weights(weights.parameters(CONFIG)), labels=LABELS)


@pytest.fixture(scope="module")
def data():
    y = np.zeros((12, 2))
    y[::2, 0] = y[:3, 1] = 1
    return weights.signal("groups", 12, 12, N), y


def texts_of(call):
    """What the call gives, and the texts of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    return found, [str(one.message) for one in caught]


def held(monkeypatch):
    """The first samples of the segments that the trainer sees without training on them."""
    seen = []
    logits = Engine.logits
    monkeypatch.setattr(
        Engine, "logits", lambda self, x, *rest: (seen.extend(x[:, 0, 0].tolist()), logits(self, x, *rest))[1]
    )
    return seen


@pytest.mark.parametrize(
    "groups",
    [
        [7, 7, 7, 1, 1, 1, 2, 2, 2, 9, 9, 9],
        np.array(["p1", "p1 ", "p1"] + ["p2"] * 3 + ["q"] * 3 + ["r"] * 3, dtype=object),
        [15709, "15709", 15709.0] + [1.0] * 3 + ["x"] * 3 + [2] * 3,
        np.repeat([1.0, 2, 3, 4], 3),
        ["P1", "p1 ", " P1"] + ["007", "7", "7.00"] + ["3"] * 3 + ["r"] * 3,
    ],
)
@pytest.mark.parametrize("name", ["groups", "ids"])
def test_groups_stay_together(model, data, groups, name, monkeypatch):
    x, y = data
    seen = held(monkeypatch)
    _, texts = texts_of(lambda: ecgfm.finetune(model, x, y, valid=0.25, **{name: groups}, **OPTIONS))
    rows = [int(np.flatnonzero(x[:, 0, 0] == np.float32(value))[0]) for value in seen]
    assert len(rows) == 3 and len({row // 3 for row in rows}) == 1
    assert not any("groups=" in text for text in texts)


def test_a_group_for_each_recording_of_a_list(model, data, monkeypatch):
    x, y = data
    parts = [ecgfm.ecg.Segments(x[i : i + 2], np.zeros(2)) for i in range(0, 12, 2)]
    seen = held(monkeypatch)
    ecgfm.finetune(model, parts, y, groups=["a", "a", "b", "b", "c", "c"], valid=0.34, **OPTIONS)
    rows = {int(np.flatnonzero(x[:, 0, 0] == np.float32(value))[0]) // 4 for value in seen}
    assert len(seen) == 4 and len(rows) == 1


def test_names_of_two_kinds_in_one_manifest(tmp_path):
    """Recordings that are called visit_0, visit_1, ... don't make others' segments fall apart."""
    for i in range(2):
        write_segment(tmp_path / f"visit_{i}.mat", np.random.rand(12, N), idx=i, number=0)
        for j in range(3):
            write_segment(tmp_path / f"z{j}_{i}.mat", np.random.rand(12, N), idx=10 + j, number=i)
    names = ["visit_0", "visit_1"] + [f"z{j}_{i}" for j in range(3) for i in range(2)]
    (tmp_path / "m.tsv").write_text("\n".join([f"{tmp_path}/", *(f"{name}.mat\t{N}" for name in names)]) + "\n")
    found = recordings_of(Dataset(tmp_path / "m.tsv").segments)
    assert len(set(found[:2].tolist())) == 2
    assert found[2::2].tolist() == found[3::2].tolist() and len(set(found.tolist())) == 5


def test_plain_arrays_without_groups_are_told(model, data):
    _, texts = texts_of(lambda: ecgfm.finetune(model, *data, valid=0.25, **OPTIONS))
    assert sum("Give groups=" in text for text in texts) == 1
    _, texts = texts_of(lambda: ecgfm.finetune(model, *data, valid=data, **OPTIONS))
    assert not any("Give groups=" in text for text in texts)


@pytest.mark.parametrize(
    "groups, words",
    [
        (np.arange(11), "12 integers or texts"),
        ([None] * 12, "row 0"),
        ([1.5] * 12, "1.5"),
        ([np.nan] + [1.0] * 11, "nan"),
        ([""] * 12, "row 0"),
        (np.zeros((12, 1)), "12 integers or texts"),
        (np.ma.array(np.arange(12), mask=np.arange(12) == 3), "masked"),
        ([[1], [2, 3]] * 6, "not an array"),
        (np.ones(12), "1 groups leaves nothing"),
        (np.zeros(12, bool), "integers or texts"),
    ],
)
def test_groups_that_are_none(model, data, groups, words):
    with pytest.raises(ecgfm.Error, match=words):
        ecgfm.finetune(model, *data, groups=groups, valid=0.25, **OPTIONS)
    with pytest.raises(ecgfm.ConfigError, match="mean the same"):
        ecgfm.finetune(model, *data, groups=np.arange(12), ids=np.arange(12), valid=0.25, **OPTIONS)


def test_segments_say_their_recording(model, monkeypatch):
    prepared = [ecgfm.prepare(ecgfm.ecg.simulate(16, 500, seed=i, noise_mv=0.02)) for i in range(4)]
    y = np.array([[0, 1], [1, 0], [0, 0], [1, 1]])
    seen = held(monkeypatch)
    tuned, texts = texts_of(lambda: ecgfm.finetune(model, prepared, y, valid=0.25, **OPTIONS))
    x = np.concatenate([part.x for part in prepared])
    assert len(x) == 12 and len(seen) == 3 and texts == []
    assert len({int(np.flatnonzero(x[:, 0, 0] == np.float32(value))[0]) // 3 for value in seen}) == 1
    same = ecgfm.finetune(model, x, y.repeat(3, axis=0), groups=np.arange(4).repeat(3), valid=0.25, **OPTIONS)
    per_segment = ecgfm.finetune(model, prepared, y.repeat(3, axis=0), valid=0.25, **OPTIONS)
    for other in (same, per_segment):
        assert [repr(row) for row in tuned.history.rows()] == [repr(row) for row in other.history.rows()]
    with pytest.raises(ecgfm.ConfigError, match="share of 0.5 of 1 groups"):
        ecgfm.finetune(model, prepared[0], y[:3], valid=0.5, **OPTIONS)


@pytest.mark.parametrize("source", ["train.tsv", "packed/train.npy"])
def test_manifests_say_their_recordings(model, tmp_path, source, monkeypatch):
    x = make_split(tmp_path, samples=N)
    y = np.random.RandomState(0).randint(0, 2, (16, 2))
    seen = held(monkeypatch)
    tuned = ecgfm.finetune(model, tmp_path / source, y, valid=0.34, **OPTIONS)
    rows = [int(np.flatnonzero(x[:, 0, 0] == np.float32(value))[0]) for value in seen]
    assert sorted(rows) == sorted({*rows}) and len(rows) == 4 and {row // 2 * 2 for row in rows} < {*rows}
    assert tuned.history["num_updates"].tolist() == [2]
    seen.clear()
    ecgfm.finetune(model, tmp_path / source, y, valid=0.5, groups=np.arange(12) // 6, **OPTIONS)
    rows = [int(np.flatnonzero(x[:, 0, 0] == np.float32(value))[0]) for value in seen]
    assert len(rows) == 6 and len({row // 6 for row in rows}) == 1
    with pytest.raises(ecgfm.ConfigError, match="valid"):
        ecgfm.finetune(model, Dataset(tmp_path / source, training=True, labels=y), valid=0.5, **OPTIONS)


# ---- input ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raw():
    return np.stack([ecgfm.ecg.simulate(10, 500, seed=i).signal for i in range(4)])


def test_unprepared_arrays_are_noticed_once(model, raw, data):
    y = data[1][:4]
    trainer = ecgfm.Trainer(model)
    calls = {
        "finetune": lambda: ecgfm.finetune(model, raw, y, **OPTIONS | {"epochs": 3}),
        "trainer": lambda: [trainer.step(raw, y) for _ in range(3)],
        "logits": lambda: ecgfm.Trainer(model).logits(raw),
        "pretrain": lambda: ecgfm.pretrain(np.stack([raw, raw], axis=1), config=CONFIG_SMALL, epochs=2),
        "evaluate": lambda: ecgfm.evaluate(model, raw, y, bootstrap=0),
    }
    for name, call in calls.items():
        if name == "evaluate":
            pytest.importorskip("sklearn")
        _, texts = texts_of(call)
        found = [text for text in texts if "expects prepared segments" in text]
        assert len(found) == 1 and "5000 samples" in found[0] and "ecgfm.prepare" in found[0], (name, texts)


CONFIG_SMALL = {name: value for name, value in weights.SMALL.items() if name != "num_labels"}


def test_prepared_segments_are_passed_over(model, data):
    x = np.concatenate([ecgfm.prepare(ecgfm.ecg.simulate(5, 500, seed=i, noise_mv=0.02)).x for i in range(4)])
    _, texts = texts_of(lambda: ecgfm.finetune(model, x, data[1][:4], **OPTIONS))
    assert texts == []


def test_what_stands_under_the_padding_does_not_count(model, data):
    x, y = data
    mask = np.zeros((12, N), bool)
    mask[3, 250:] = mask[7, 399:] = True
    zeros = np.where(mask[:, None], 0, x)
    for filling in (5.0, np.nan):
        other = np.where(mask[:, None], np.float32(filling), x)
        kept = other.copy()
        with pytest.warns(ecgfm.InputWarning, match="under padding_mask; they are taken as 0"):
            found = model(other, mask)
        np.testing.assert_array_equal(found.logits, model(zeros, mask).logits)
        np.testing.assert_array_equal(found.tokens, model(zeros, mask).tokens)
        with pytest.warns(ecgfm.InputWarning, match="under padding_mask"):
            np.testing.assert_array_equal(ecgfm.Trainer(model).logits(other, mask), found.logits)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tuned = ecgfm.finetune(model, other, y, padding_mask=mask, **OPTIONS)
        assert [one.filename for one in caught if "under padding_mask" in str(one.message)] == [__file__]
        same, texts = texts_of(lambda: ecgfm.finetune(model, zeros, y, padding_mask=mask, **OPTIONS))
        assert tuned.history["train_loss"].tolist() == same.history["train_loss"].tolist()
        assert not any("padding_mask" in text for text in texts)
        np.testing.assert_array_equal(other, kept)


def paired(values):
    return values.reshape(6, 2, *values.shape[1:])


MASKED = np.ma.masked_equal(np.arange(12 * 12 * N, dtype=np.float32).reshape(12, 12, N), 5)
WEIGHTS = weights.weights(weights.parameters(CONFIG))
MASK = np.ma.masked_equal(np.zeros((12, N), bool), False)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x, y: m(MASKED),
        lambda m, x, y: m(list(MASKED)),
        lambda m, x, y: m(ecgfm.ecg.Segments(MASKED, np.zeros(12))),
        lambda m, x, y: m(x, MASK),
        lambda m, x, y: ecgfm.finetune(m, MASKED, y, **OPTIONS),
        lambda m, x, y: ecgfm.finetune(m, [ecgfm.ecg.Segments(MASKED, np.zeros(12))], y, **OPTIONS),
        lambda m, x, y: ecgfm.finetune(m, x, y, padding_mask=MASK, **OPTIONS),
        lambda m, x, y: ecgfm.finetune(m, x, y, valid=(MASKED, y), **OPTIONS),
        lambda m, x, y: ecgfm.finetune(m, x, y, valid=(x, np.ma.array(y, mask=y == 1)), **OPTIONS),
        lambda m, x, y: ecgfm.Trainer(m).step(MASKED, y),
        lambda m, x, y: ecgfm.Trainer(m).step(x, np.ma.array(y, mask=y == 1)),
        lambda m, x, y: ecgfm.Trainer(m).step(x, y, MASK),
        lambda m, x, y: ecgfm.Trainer(m, pos_weight=np.ma.array([1.0, 2.0], mask=[0, 1])),
        lambda m, x, y: ecgfm.pretrain(MASKED.reshape(6, 2, 12, N), config=CONFIG_SMALL),
        lambda m, x, y: ecgfm.pretrain(paired(x), config=CONFIG_SMALL, padding_mask=paired(MASK)),
        lambda m, x, y: ecgfm.pretrain(paired(x), np.ma.array([1] * 6, mask=[1] * 6), config=CONFIG_SMALL),
        lambda m, x, y: ecgfm.Trainer(CONFIG_SMALL, loss="wav2vec2_with_cmsc").step(MASKED.reshape(6, 2, 12, N)),
        lambda m, x, y: ecgfm.Trainer(m).losses(np.ma.array(y, mask=y == 1), y),
        lambda m, x, y: ecgfm.Model.from_state_dict(CONFIG, {k: np.ma.masked_equal(v, v) for k, v in WEIGHTS.items()}),
        lambda m, x, y: Dataset(x, labels=np.ma.array(y, mask=y == 1)),
        lambda m, x, y: Labels(range(12), np.ma.array(y, mask=y == 1), LABELS),
        lambda m, x, y: assign_splits(12, "grouped", groups=np.ma.array(range(12), mask=y[:, 0])),
        lambda m, x, y: condition(MASKED[0], 400),
        lambda m, x, y: cut(MASKED[0], 100),
        lambda m, x, y: reorder_leads(MASKED[0], ecgfm.LEADS),
        lambda m, x, y: aggregate(np.ma.array(y, mask=y == 1), [12], LABELS),
        lambda m, x, y: ecgfm.evaluate(m, MASKED, y),
        lambda m, x, y: ecgfm.evaluate(m, x, np.ma.array(y, mask=y == 1)),
        lambda m, x, y: ecgfm.evaluate(m, x, {"file": ["a"] * 12, "fast": np.ma.array(y[:, 0], mask=y[:, 0])}),
    ],
)
def test_masked_values_are_refused(model, data, call):
    with pytest.raises(ecgfm.Error, match="masked values"):
        call(model, *data)


@pytest.mark.parametrize(
    "x",
    [
        np.full((12, 12, N), None),
        np.full((12, 12, N), "1"),
        np.zeros((12, 12, N), complex),
        np.zeros((12, 12, N), "M8[s]"),
        [np.zeros((12, N)), np.zeros((12, N - 1))],
        np.zeros((12, 12)),
        np.zeros((0, 12, N)),
        "no such folder.tsv",
        None,
        3,
        object(),
    ],
    ids=lambda x: f"{type(x).__name__}",
)
def test_arrays_that_are_none(model, data, x):
    y = data[1]
    with pytest.raises(ecgfm.Error):
        ecgfm.finetune(model, x, y, **OPTIONS)
    with pytest.raises(ecgfm.Error):
        ecgfm.Trainer(model).step(x, y)
    with pytest.raises(ecgfm.Error):
        ecgfm.pretrain(x, config=CONFIG_SMALL)
    with pytest.raises(ecgfm.Error):
        ecgfm.Trainer(CONFIG_SMALL, loss="wav2vec2_with_cmsc").step(x)


# ---- Ctrl-C ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt, also where these tests were started without it."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


def interrupt_after(monkeypatch, updates):
    """The process gets SIGINT while the update of that number runs."""
    update, count = ecgfm.Trainer.update, []

    def interrupting(self):
        count.append(1)
        if len(count) == updates:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):
                pass
        return update(self)

    monkeypatch.setattr(ecgfm.Trainer, "update", interrupting)


@pytest.mark.parametrize("monitored", [True, False])
def test_ctrl_c_gives_the_best_so_far(model, data, monitored, monkeypatch, interruptible):
    x, y = data
    options = OPTIONS | ({"valid": (x, y)} if monitored else {})
    whole = ecgfm.finetune(model, x, y, **options | {"epochs": 2})  # three updates an epoch
    interrupt_after(monkeypatch, 8)
    with pytest.warns(UserWarning, match="interrupted in epoch 3 of 9, after 7 updates"):
        found = ecgfm.finetune(model, x, y, **options | {"epochs": 9})
    assert found.interrupted and not whole.interrupted and found.best_epoch == whole.best_epoch
    assert [repr(row) for row in found.history.rows()] == [repr(row) for row in whole.history.rows()]
    same = whole.model if monitored else found.trainer
    for name, values in same.state_dict().items():
        np.testing.assert_array_equal(found.model.state_dict()[name], values)
    with pytest.raises(ecgfm.Error, match="no batch"):
        found.trainer.update()


def test_ctrl_c_before_the_first_validation(model, data, monkeypatch, interruptible):
    x, y = data
    interrupt_after(monkeypatch, 2)
    with pytest.warns(UserWarning, match="after 1 updates: the weights as they are come back"):
        found = ecgfm.finetune(model, x, y, valid=(x, y), **OPTIONS)
    assert found.best_epoch == 0 and len(found.history) == 0 and found.trainer.num_updates == 1
    np.testing.assert_array_equal(found.model.state_dict()["proj.weight"], found.trainer.state_dict()["proj.weight"])
    assert not np.array_equal(found.model.state_dict()["proj.weight"], model.state_dict()["proj.weight"])


def test_ctrl_c_in_pretraining(data, monkeypatch, interruptible):
    pairs = data[0].reshape(6, 2, 12, N)
    options = {"config": CONFIG_SMALL, "batch_size": 3, "schedule": 1e-3, "progress": False, "valid": (pairs,)}
    whole = ecgfm.pretrain(pairs, epochs=1, **options)
    interrupt_after(monkeypatch, 4)
    with pytest.warns(UserWarning, match="interrupted in epoch 2 of 5, after 3 updates"):
        found = ecgfm.pretrain(pairs, epochs=5, **options)
    assert found.interrupted and found.best_epoch == 1
    assert [repr(row) for row in found.history.rows()] == [repr(row) for row in whole.history.rows()]
    for name, values in whole.model.state_dict().items():
        np.testing.assert_array_equal(found.model.state_dict()[name], values, err_msg=name)


def test_ctrl_c_comes_through_between_layers(monkeypatch, interruptible):
    """A signal inside a step of seconds ends that step; the model that was given is as before."""
    config = CONFIG | {"encoder_layers": 16, "encoder_embed_dim": 128, "encoder_ffn_embed_dim": 512}
    model = ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)))
    x, y = weights.signal("slow", 4, 12, 2500).repeat(100, axis=0), np.zeros((400, 2), np.float32)
    before = {name: values.copy() for name, values in model.state_dict().items()}
    accumulate = ecgfm.Trainer.accumulate

    def interrupted(self, *args, **options):
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            return accumulate(self, *args, **options)
        finally:
            timer.cancel()

    monkeypatch.setattr(ecgfm.Trainer, "accumulate", interrupted)
    with pytest.warns(UserWarning, match="interrupted in epoch 1 of 1000, after 0 updates"):
        found = ecgfm.finetune(model, x, y, **OPTIONS | {"epochs": 1000, "batch_size": 400})
    assert found.trainer.last_logits is None  # the step did not come to its end
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[name], err_msg=name)
