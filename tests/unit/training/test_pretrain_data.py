"""Pretraining from manifests of pairs and packed splits: the same as from arrays, and damaged segments."""

import numpy as np
import pytest
import weights
from made_segments import make_split

import ecgfm
from ecgfm.data import Dataset
from ecgfm.specs.architecture import architecture_keys

CONFIG = {name: weights.SMALL[name] for name in architecture_keys("pretraining")}
OPTIONS = {"config": CONFIG, "num_negatives": 5, "schedule": 1e-3, "batch_size": 2, "progress": False, "epochs": 2}


@pytest.fixture
def split(tmp_path):
    """Six records of two segments, idx 10 to 15."""
    return tmp_path, make_split(tmp_path, samples=800).reshape(6, 2, 12, 800)


@pytest.mark.parametrize("source", ["cmsc/train.tsv", "packed/train.npy"])
def test_the_same_as_from_arrays(split, source):
    folder, x = split
    ids = np.arange(10, 16)
    expected = ecgfm.pretrain(x, ids, valid=(x, ids), update_freq=2, **OPTIONS)
    data = Dataset(folder / source, pairs=True, training=True)
    for train, valid in ((folder / source, folder / source), (data, Dataset(folder / source, pairs=True))):
        found = ecgfm.pretrain(train, valid=valid, update_freq=2, **OPTIONS)
        assert [repr(row) for row in found.history.rows()] == [repr(row) for row in expected.history.rows()]
        for name, values in expected.model.state_dict().items():
            np.testing.assert_array_equal(found.model.state_dict()[name], values, err_msg=name)


def test_a_damaged_segment_goes_with_its_partner(split):
    folder, _ = split
    (folder / "segmented" / "r2_0.mat").unlink()
    with pytest.warns(UserWarning, match="r2_0.mat"):
        found = ecgfm.pretrain(folder / "cmsc" / "train.tsv", max_bad_segments=0.1, **OPTIONS)
    assert found.trainer.num_updates == 6
    with pytest.raises(ecgfm.FormatError, match="max_bad_segments"), pytest.warns(UserWarning):
        ecgfm.pretrain(folder / "cmsc" / "train.tsv", **OPTIONS)
    with pytest.raises(ecgfm.FormatError, match="r2_0.mat"):
        ecgfm.pretrain(folder / "packed" / "train.npy", valid=folder / "cmsc" / "train.tsv", **OPTIONS)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (lambda f, x: ((f / "cmsc" / "no.tsv",), {}), ["no.tsv"]),
        (lambda f, x: ((f / "train.tsv",), {}), ["train.tsv", "not a manifest of pairs"]),
        (lambda f, x: ((f / "cmsc" / "train.tsv", np.arange(6)), {}), ["ids", "data set"]),
        (lambda f, x: ((f / "cmsc" / "train.tsv",), {"valid": (x,)}), ["valid"]),
        (lambda f, x: ((x,), {"valid": f / "cmsc" / "train.tsv"}), ["valid"]),
        (lambda f, x: ((Dataset(f / "train.tsv", training=True),), {}), ["train.tsv", "not one of pairs"]),
    ],
)
def test_what_does_not_fit_is_found_before_the_first_update(split, arguments, words):
    folder, x = split
    positional, named = arguments(folder, x)
    told = []
    with pytest.raises(ecgfm.Error) as info:
        ecgfm.pretrain(*positional, **named, callback=told.append, **OPTIONS)
    assert all(word in str(info.value) for word in words), str(info.value)
    assert not told
