"""The profile that a model was trained with is saved with it, read back, and shown."""

import numpy as np
import pytest
import weights
from made_segments import make_split

import ecgfm
from ecgfm import LEADS, Record, Segments, prepare
from ecgfm.checkpoint import describe, describe_text, read
from ecgfm.data import Dataset
from ecgfm.signal.profile import profile_of
from ecgfm.specs.architecture import architecture_keys
from ecgfm.training import feed


@pytest.fixture(scope="module")
def model():
    config = weights.SMALL | {"num_labels": 2}
    return ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)), labels=["a", "b"])


def segments(count=4):
    x = np.random.default_rng(1).normal(0, 0.3, (12, 2500 * count)).astype(np.float32)
    return prepare(Record(x, 500, LEADS))


def shown(path):
    with read(path) as found:
        facts, lines = describe(found), describe_text(found)
    [line] = [line for line in lines if line.startswith("profile")]
    return facts["profile"], facts["profile_assumed"], line


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors", "m"])
def test_finetuned_on_prepared_segments(model, name, tmp_path):
    y = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    tuned = ecgfm.finetune(model, segments(), y, epochs=1, batch_size=4, progress=False, labels=["a", "b"]).model
    assert (tuned.profile, tuned.profile_assumed) == ("tutorial", False)
    tuned.save(tmp_path / name)
    again = ecgfm.load(tmp_path / name)
    assert again.info["profile"] == again.profile == "tutorial" and not again.profile_assumed
    assert shown(tmp_path / name) == ("tutorial", False, "profile     tutorial")


def test_finetuned_on_a_manifest(model, tmp_path):
    make_split(tmp_path, records=2, samples=600)
    y = np.zeros((12, 2), np.float32)
    tuned = ecgfm.finetune(model, tmp_path / "train.tsv", y, epochs=1, batch_size=4, progress=False, labels=["a", "b"])
    assert (tuned.model.profile, tuned.model.profile_assumed) == ("pipeline", False)


def test_pretrained_on_a_manifest(tmp_path):
    make_split(tmp_path, records=4, samples=600)
    config = {name: weights.SMALL[name] for name in architecture_keys("pretraining")}
    done = ecgfm.pretrain(
        tmp_path / "cmsc/train.tsv", config=config, num_negatives=5, epochs=1, batch_size=2, progress=False
    )
    assert done.model.profile == "pipeline" and not done.model.profile_assumed
    done.save(tmp_path / "p.pt")
    assert shown(tmp_path / "p.pt")[:2] == ("pipeline", False)


def test_what_is_not_known_is_assumed(model, tmp_path):
    x, y = np.asarray(segments()), np.zeros((4, 2), np.float32)
    tuned = ecgfm.finetune(model, x, y, epochs=1, batch_size=4, progress=False, labels=["a", "b"]).model
    assert "profile" not in tuned.info and (tuned.profile, tuned.profile_assumed) == ("pipeline", True)
    tuned.save(tmp_path / "m.pt")
    assert shown(tmp_path / "m.pt") == (
        "pipeline",
        True,
        "profile     pipeline, assumed: the file does not say how its training data were prepared",
    )


@pytest.mark.parametrize("said", [None, "", "other", 7, ["tutorial"], {"tutorial": 1}, "tutorial "])
def test_what_a_file_says_and_is_no_profile(said):
    assert profile_of({"profile": said}) == ("pipeline", True)


def test_of_several_kinds_none_is_known(tmp_path):
    x = np.zeros((1, 12, 2500), np.float32)
    one, other, own = segments(1), segments(1), Segments(x, np.zeros(1))
    assert feed.profile_of(one) == feed.profile_of([one, other]) == "tutorial"
    assert feed.profile_of([one, own]) is feed.profile_of(own) is feed.profile_of(x) is feed.profile_of([]) is None
    standardised = prepare(
        Record(x[0] + np.random.default_rng(0).normal(0, 1, (12, 2500)), 500, LEADS, standardised=True)
    )
    assert standardised.profile is None
    make_split(tmp_path, records=1)
    assert feed.profile_of(Dataset(tmp_path / "packed" / "train.npy")) == "pipeline"
    assert feed.profile_of(Dataset(x)) is None
