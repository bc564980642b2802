"""What who reads a model's answers must know travels with the model."""

from importlib import resources

import pytest
import weights

import ecgfm

DEMO = resources.files("ecgfm") / "assets" / "demo"


def made(folder, info):
    """A small model saved with this info and loaded again."""
    from ecgfm import checkpoint

    tensors = weights.weights(weights.parameters(weights.SMALL))
    checkpoint.save(folder, kind="classifier", config=weights.SMALL, tensors=tensors, info=info)
    return ecgfm.load(folder)


def test_the_demonstration_model_says_what_it_knows():
    model = ecgfm.load(str(DEMO))
    assert "simulated patients only" in model.caveat and model.info["caveat"] == model.caveat
    assert repr(model).count("simulated patients only") == 1


@pytest.mark.parametrize("name", ("copy", "copy.pt", "copy.safetensors"))
def test_it_travels(tmp_path, name):
    model = ecgfm.load(str(DEMO))
    model.save(tmp_path / name)
    assert ecgfm.load(tmp_path / name).caveat == model.caveat


def test_it_may_stand_in_the_card(tmp_path):
    assert made(tmp_path / "a", {"card": {"caveat": "Adults only"}}).caveat == "Adults only"


@pytest.mark.parametrize("training, word", [("none", "untrained"), ("simulated patients", "simulated"), ("all", None)])
def test_older_models_say_how_they_were_trained(tmp_path, training, word):
    caveat = made(tmp_path / "a", {"training": training}).caveat
    assert (caveat is None) == (word is None) and (word is None or word in caveat)


@pytest.mark.parametrize("info", [{}, {"caveat": None}, {"caveat": 3}, {"caveat": " "}, {"card": 1}, {"training": []}])
def test_without_one(tmp_path, info):
    model = made(tmp_path / "a", info)
    assert model.caveat is None and "caveat" not in repr(model)


def test_what_a_file_says_is_short_and_can_be_printed(tmp_path):
    model = made(tmp_path / "a", {"caveat": "a\x1b[2J\n\u202eb" + "c" * 100_000})
    assert len(model.caveat) <= 300 and model.caveat.isprintable() and len(repr(model)) < 1000


def test_a_model_of_arrays_has_none():
    tensors = weights.weights(weights.parameters(weights.SMALL))
    assert ecgfm.Model.from_state_dict(weights.SMALL, tensors).caveat is None
