"""Finetuning from manifests and packed splits: the same as from arrays, and damaged segments."""

import numpy as np
import pytest
import weights
from made_segments import make_split

import ecgfm
from ecgfm.data import Dataset

CONFIG = weights.SMALL | {"num_labels": 2}
OPTIONS = {"epochs": 2, "batch_size": 4, "update_freq": 2, "schedule": 1e-3, "progress": False}


@pytest.fixture(scope="module")
def model():
    return ecgfm.Model.from_state_dict(CONFIG, weights.weights(weights.parameters(CONFIG)))


@pytest.fixture
def split(tmp_path):
    """12 segments of 6 records, idx 10 to 15, and labels."""
    x = make_split(tmp_path)
    y = np.random.RandomState(0).randint(0, 2, (16, 2)).astype(np.float64)
    np.save(tmp_path / "y.npy", y)
    return tmp_path, x, y[10 + np.arange(12) // 2]


def same(first, second):
    assert [repr(row) for row in first.history.rows()] == [repr(row) for row in second.history.rows()]
    for name, values in first.model.state_dict().items():
        np.testing.assert_array_equal(values, second.model.state_dict()[name], err_msg=name)


@pytest.mark.parametrize("source", ["train.tsv", "packed/train.npy"])
def test_the_same_as_from_arrays(model, split, source):
    folder, x, y = split
    expected = ecgfm.finetune(model, x, y, valid=(x, y), **OPTIONS)
    labels = folder / "y.npy"
    same(ecgfm.finetune(model, folder / source, labels, valid=(folder / source, labels), **OPTIONS), expected)
    data = Dataset(folder / source, training=True, labels=labels)
    same(ecgfm.finetune(model, data, valid=Dataset(folder / source, labels=labels), **OPTIONS), expected)


def test_a_damaged_segment(model, split):
    folder, x, y = split
    (folder / "segmented" / "r2_0.mat").write_bytes(b"")
    with pytest.raises(ecgfm.FormatError, match="max_bad_segments"), pytest.warns(UserWarning, match="r2_0.mat"):
        ecgfm.finetune(model, folder / "train.tsv", folder / "y.npy", **OPTIONS)
    with pytest.warns(UserWarning, match="r2_0.mat"):
        tuned = ecgfm.finetune(model, folder / "train.tsv", folder / "y.npy", max_bad_segments=0.1, **OPTIONS)
    assert tuned.trainer.num_updates == 4
    with pytest.raises(ecgfm.FormatError, match="r2_0.mat"):
        valid = (folder / "train.tsv", folder / "y.npy")
        ecgfm.finetune(model, folder / "packed" / "train.npy", folder / "y.npy", valid=valid, **OPTIONS)


def test_an_update_without_a_segment_is_left_out(model, split):
    folder, x, y = split
    for i in range(12):
        if i != 3:
            (folder / "segmented" / f"r{i // 2}_{i % 2}.mat").write_bytes(b"")
    with pytest.warns(UserWarning):
        tuned = ecgfm.finetune(
            model, folder / "train.tsv", folder / "y.npy", max_bad_segments=1, **OPTIONS | {"update_freq": 1}
        )
    assert tuned.trainer.num_updates == 2


@pytest.mark.parametrize(
    "arguments, words",
    [
        (lambda f, x, y: ((f / "train.tsv",), {}), ["train.tsv", "no labels"]),
        (lambda f, x, y: ((f / "no.tsv", f / "y.npy"), {}), ["no.tsv"]),
        (lambda f, x, y: ((f / "train.tsv", f / "no.npy"), {}), ["no.npy"]),
        (lambda f, x, y: ((f / "train.tsv", f / "small.npy"), {}), ["small.npy", "record 1", "0 to 10"]),
        (lambda f, x, y: ((f / "packed" / "train.npy", f / "small.npy"), {}), ["small.npy", "record 15", "0 to 10"]),
        (lambda f, x, y: ((x, y), {"valid": (f / "train.tsv", f / "y.npy")}), ["valid"]),
        (lambda f, x, y: ((f / "train.tsv", f / "y.npy"), {"valid": 1.5}), ["valid"]),
        (lambda f, x, y: ((f / "train.tsv", f / "y.npy"), {"valid": 3}), ["valid"]),
        (lambda f, x, y: ((f / "train.tsv", f / "y.npy"), {"valid": (f / "train.tsv", f / "one.npy")}), ["1 labels"]),
        (lambda f, x, y: ((f / "train.tsv", f / "y.npy"), {"padding_mask": x[:, 0] > 0}), ["padding_mask"]),
        (lambda f, x, y: ((Dataset(f / "train.tsv", pairs=False, training=True), f / "y.npy"), {}), ["y", "data set"]),
        (
            lambda f, x, y: (
                (f / "train.tsv", f / "y.npy"),
                {"valid": Dataset(f / "train.tsv", training=True, labels=f / "y.npy")},
            ),
            ["valid", "for training"],
        ),
    ],
)
def test_what_does_not_fit_is_found_before_the_first_update(model, split, arguments, words):
    folder, x, y = split
    np.save(folder / "small.npy", np.zeros((11, 2)))
    np.save(folder / "one.npy", np.zeros((16, 1)))
    positional, named = arguments(folder, x, y)
    told = []
    with pytest.raises(ecgfm.Error) as info:
        ecgfm.finetune(model, *positional, **named, callback=told.append, **OPTIONS)
    assert all(word in str(info.value) for word in words), str(info.value)
    assert not told
