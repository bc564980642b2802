"""What a model takes is what its training data were prepared for; it is kept by every training and in every file."""

import numpy as np
import pytest
import weights
from made_segments import make_split

import ecgfm
from ecgfm import ConfigError, InputSpec, SignalError

DEEPECG = InputSpec(sampling_rate=250, normalisation="none", resampling="decimate")
SMALL = {name: value for name, value in weights.SMALL.items() if name != "num_labels"}
OPTIONS = {"epochs": 1, "batch_size": 2, "progress": False}


def model_of(spec=None, **config):
    config = weights.SMALL | {"num_labels": 2} | config
    return ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)), input=spec)


def recordings(spec, count=4):
    made = [ecgfm.ecg.SimulatedPatient(i).record(20, 500) for i in range(count)]
    return [ecgfm.prepare(one, spec) for one in made]


def kept(found, spec, tmp_path):
    """The model and every file of it say the same."""
    model = found.model
    assert model.input == spec
    for name in ("a.pt", "a.safetensors", "b"):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        getattr(found, "save", found.model.save)(folder / name)
        assert ecgfm.load(folder / name).input == spec
        found.trainer.save(folder / name, force=True)
        assert ecgfm.load(folder / name).input == spec
    return model


@pytest.mark.filterwarnings("ignore")
def test_finetuning_keeps_what_the_model_takes(tmp_path):
    x = np.concatenate([np.asarray(one) for one in recordings(DEEPECG)])
    y = np.eye(2)[np.arange(len(x)) % 2]
    found = ecgfm.finetune(model_of(DEEPECG), x, y, groups=range(len(x)), **OPTIONS)
    model = kept(found, DEEPECG, tmp_path)
    assert model.input_source == "the caller" and not model.input_assumed


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_was_assumed_takes_what_its_segments_say(tmp_path):
    segments = recordings(InputSpec(samples=1250))
    found = ecgfm.finetune(model_of(), segments, np.eye(4, 2), **OPTIONS)
    model = kept(found, InputSpec(samples=1250), tmp_path)
    assert model.input_source == "the training data"
    assert ecgfm.predict(model, ecgfm.ecg.simulate(10, 500)).segments["end_s"].tolist() == [2.5, 5, 7.5, 10]


def test_segments_for_another_model_are_refused():
    y = np.eye(4, 2)
    with pytest.raises(SignalError, match="500 Hz instead of 250 Hz"):
        ecgfm.finetune(model_of(DEEPECG), recordings(InputSpec()), y, **OPTIONS)
    with pytest.raises(SignalError, match="250 Hz instead of 500 Hz"):
        ecgfm.finetune(model_of(), recordings(DEEPECG), y, **OPTIONS)
    mixed = recordings(InputSpec(), 2) + recordings(DEEPECG.replaced(samples=2500), 2)
    with pytest.raises(SignalError, match="prepared for another model"):
        ecgfm.finetune(model_of(), mixed, y, **OPTIONS)
    held = recordings(DEEPECG)
    with pytest.raises(SignalError, match="prepared for another model"):
        ecgfm.finetune(model_of(), recordings(InputSpec()), y, valid=(held, y), **OPTIONS)


@pytest.mark.filterwarnings("ignore")
def test_the_user_says_it():
    x = np.concatenate([np.asarray(one) for one in recordings(DEEPECG)])
    found = ecgfm.finetune(model_of(), x, np.eye(len(x), 2), input=DEEPECG, groups=range(len(x)), **OPTIONS)
    assert found.model.input == DEEPECG and found.model.input_source == "the caller"
    trainer = ecgfm.Trainer(model_of(), input="sampling_rate=250")
    assert trainer.input.sampling_rate == 250 and trainer.model().input_source.startswith("the caller (sampling_rate)")
    with pytest.raises(ConfigError, match="give no token"):
        ecgfm.Trainer(model_of(), input={"samples": 2})


@pytest.mark.filterwarnings("ignore")
def test_pretraining_keeps_it(tmp_path):
    x = np.stack([np.asarray(one)[:2] for one in recordings(DEEPECG)])
    found = ecgfm.pretrain(x, config=SMALL, input=DEEPECG, epochs=1, batch_size=2, progress=False)
    assert kept(found, DEEPECG, tmp_path).input_source == "the caller"
    again = ecgfm.pretrain(x, config=tmp_path / "a_pt" / "a.pt", epochs=1, batch_size=2, progress=False)
    assert again.model.input == DEEPECG
    tuned = ecgfm.Trainer(again.model, num_labels=3)
    assert tuned.input == DEEPECG
    new = ecgfm.pretrain(x, config=SMALL, epochs=1, batch_size=2, progress=False)
    assert new.model.input == InputSpec() and new.model.input_assumed


def test_a_data_set_of_another_rate_is_refused(tmp_path):
    make_split(tmp_path, records=4)
    for source in ("train.tsv", "packed/train.npy"):
        with pytest.raises(SignalError) as error:
            ecgfm.finetune(model_of(DEEPECG), tmp_path / source, np.zeros((20, 2)), **OPTIONS)
        assert "500 Hz, and the model takes 250 Hz" in str(error.value) and "preprocess --for MODEL" in str(error.value)


@pytest.mark.filterwarnings("ignore")
def test_a_new_model_takes_the_rate_of_its_data(tmp_path):
    make_split(tmp_path, records=4)
    index = tmp_path / "packed" / "train.index.csv"
    index.write_text(index.read_text().replace(",500,", ",250,"))
    source = tmp_path / "packed" / "train.npy"
    found = ecgfm.pretrain(source, config=SMALL, epochs=1, batch_size=2, progress=False)
    assert found.model.input == InputSpec(sampling_rate=250)
    assert found.model.input_source == "the training data (sampling_rate), the rest assumed"
    with pytest.raises(SignalError, match="250 Hz, and the model takes 400 Hz"):
        ecgfm.pretrain(source, config=SMALL, input="sampling_rate=400", epochs=1, batch_size=2, progress=False)
