"""A model by its name: what is here comes first, what was fetched by hand next, and what a file must be."""

import os
import warnings
from pathlib import Path

import checkpoint_files as files
import numpy as np
import pytest
import weights

import ecgfm
from ecgfm import CheckpointError, InputWarning, checkpoint
from ecgfm.checkpoint.places import by_hand, located
from ecgfm.cli.main import main
from ecgfm.specs.known import DEEPECG, KNOWN
from ecgfm.specs.label_sets import CHALLENGE_2021, DEEPECG_77


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory; models that were fetched by hand lie in ``hand``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECGFM_MODELS", str(tmp_path / "hand"))
    return tmp_path


def put(name, file, kind="classifier", cfg=None, **config):
    """A small checkpoint where that of a known model is looked for."""
    place = by_hand(KNOWN[name])
    os.makedirs(place, exist_ok=True)
    return write(os.path.join(place, file), kind, cfg, **config)


def write(path, kind="classifier", cfg=None, **config):
    config = weights.SMALL | config
    own = files.MODULE_CFG | {"model": files.settings(config, kind)}
    for group, values in (cfg or {}).items():
        own[group] = own.get(group, {}) | values
    value, storages = files.content(config, kind, cfg=own)
    with open(path, "wb") as file:
        file.write(files.zip_bytes(files.zip_members(value, storages.raw)))
    return os.fspath(path)


def test_the_shipped_model_by_its_name(folder):
    model = ecgfm.load("demo")
    assert model.labels == KNOWN["demo"].labels and not model.labels_assumed and "simulated" in model.caveat
    assert model.label_groups["pacing"] == ("Electronic pacemaker",) and model.label_groups["quality"]


def test_what_was_fetched_by_hand(folder):
    put("ecg-fm/physionet", "physionet_finetuned.pt", num_labels=26)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ecgfm.load("ecg-fm/physionet")
    assert model.labels == CHALLENGE_2021.names and not model.labels_assumed
    assert model.labels_source == "known model ecg-fm/physionet" and "weights.csv" in model.caveat
    model.save("saved")
    again = ecgfm.load("saved")
    assert again.labels == model.labels and again.labels_source == "file" and again.caveat == model.caveat


def test_a_file_whose_name_is_not_known_beside_one_that_is(folder):
    """A finetuned file that names the base_ssl.pt it was made from loads without it, and beside it."""
    path = put("deepecg/77", "wcr_77_classes.pt", num_labels=77, cfg={"model": {"model_path": "weights/base_ssl.pt"}})
    model = ecgfm.load("deepecg/77")
    assert model.source == path and model.labels == DEEPECG_77.names and "250 Hz" in model.caveat
    assert model.input == DEEPECG and model.input_source == "known model: deepecg/77"
    put("deepecg/77", "base_ssl.pt", kind="pretraining")
    assert ecgfm.load("deepecg/77").source == path
    put("deepecg/77", "other.pt", num_labels=77)
    with pytest.raises(CheckpointError, match="several files that may be deepecg/77: 'other.pt', 'wcr_77_classes.pt'"):
        ecgfm.load("deepecg/77")


def test_a_file_that_is_another_model(folder):
    put("ecg-fm/physionet", "physionet_finetuned.pt", num_labels=17)
    with pytest.raises(CheckpointError, match="not ecg-fm/physionet: that model has 26 outputs, the file has 17"):
        ecgfm.load("ecg-fm/physionet")
    put("ecg-fm", "mimic_iv_ecg_finetuned.pt", kind="pretraining")
    with pytest.raises(CheckpointError, match="the file has no outputs"):
        ecgfm.load("ecg-fm")
    put("ecg-fm/pretrained", "mimic_iv_ecg_physionet_pretrained.pt")
    with pytest.raises(CheckpointError, match="that model has no outputs, the file has 17 outputs"):
        ecgfm.load("ecg-fm/pretrained")


def test_a_path_that_is_there_wins(folder):
    write("demo", num_labels=3)
    assert ecgfm.load("demo").num_labels == 3
    os.mkdir("ecg-fm")
    with pytest.raises(CheckpointError, match="It hides the known model ecg-fm"):
        ecgfm.load("ecg-fm")
    write("ecg-fm/model.pt")
    with located("ecg-fm/model.pt") as found:
        assert found == ("ecg-fm/model.pt", None)


def test_a_text_is_a_name_a_path_is_none(folder):
    with pytest.raises(CheckpointError, match="demo: no such file"):
        ecgfm.load(Path("demo"))


@pytest.mark.parametrize(
    "text, near",
    [("ecg-fn", "ecg-fm"), ("deepecg/78", "deepecg/77"), ("Demo", "demo"), ("ecg-fm/pretraind", "ecg-fm/pretrained")],
)
def test_misspelled(folder, text, near):
    with pytest.raises(CheckpointError, match=f"nor a known model. Did you mean {near}"):
        ecgfm.load(text)
    with pytest.raises(CheckpointError, match=near):
        ecgfm.predict(text, np.zeros((1, 12, 2500), np.float32))


def test_a_name_of_the_hub_that_begins_as_a_known_one(folder, monkeypatch):
    asked = []
    monkeypatch.setattr("ecgfm.checkpoint.places.fetch", lambda name: asked.append(name.repo) or "none")
    for text in ("hf://deepecg/78", "melp/other", "demo/one", "wanglab/ecg-fm"):
        with pytest.raises(CheckpointError, match="none: no such file"):
            ecgfm.load(text)
    assert asked == ["deepecg/78", "melp/other", "demo/one", "wanglab/ecg-fm"]
    with pytest.raises(CheckpointError, match="hf://deepecg/78 asks the Hub for it"):
        ecgfm.load("deepecg/78")


def test_a_recording_through_a_model_of_another_rate_by_its_name(folder):
    """10 s at 500 Hz become one segment of 2500 samples at 250 Hz, every second of the millivolts as they are."""
    put("deepecg/77", "wcr_77_classes.pt", num_labels=77, cfg={"model": {"model_path": "weights/base_ssl.pt"}})
    model = ecgfm.load("deepecg/77")
    signal = np.random.default_rng(0).standard_normal((12, 5000)).astype(np.float32)
    record = ecgfm.Record(signal, 500, ecgfm.LEADS)
    x = ecgfm.prepare(record, model)
    assert np.array_equal(np.asarray(x), signal[None, :, ::2])
    found = ecgfm.predict("deepecg/77", record)
    assert len(found.segments) == 1 and "labels_assumed" not in found.records.columns
    assert np.array_equal(np.asarray(found.segments.probabilities), np.asarray(model(x).probabilities))


@pytest.mark.parametrize("name", [name for name, one in KNOWN.items() if one.refused])
def test_a_model_that_does_not_run_is_refused_by_name(folder, name):
    with pytest.raises(CheckpointError, match="knows this model and can't run it: it"):
        ecgfm.load(name)


def test_names_work_in_every_command(folder, capsys):
    put("ecg-fm/pretrained", "mimic_iv_ecg_physionet_pretrained.pt", kind="pretraining")
    np.save("a.npy", np.random.default_rng(0).standard_normal((12, 5000)).astype(np.float32))
    about = ["a.npy", "--sampling-rate", "500", "--leads", ",".join(ecgfm.LEADS)]
    for command in (
        ["inspect", "demo"],
        ["convert", "demo", "copy"],
        ["predict", "demo", *about],
        ["saliency", "demo", *about, "--out", "s.npy"],
        ["embed", "ecg-fm/pretrained", *about, "--out", "e.npy"],
    ):
        assert main(command) == 0, (command, capsys.readouterr())
    assert ecgfm.load("copy").labels == KNOWN["demo"].labels
    x = np.random.default_rng(1).standard_normal((4, 12, 2500)).astype(np.float32)
    y = np.array([[0, 1], [1, 0], [0, 1], [1, 0]])
    assert ecgfm.Trainer("demo", labels=["a", "b"]).num_labels == 2
    tuned = ecgfm.finetune("ecg-fm/pretrained", x, y, labels=["a", "b"], epochs=1)
    assert tuned.model.labels == ("a", "b")


def test_what_the_file_itself_says_wins_over_what_its_outputs_suggest(folder):
    with checkpoint.read(write("a.pt", num_labels=77, cfg={"task": {"sample_rate": 500}})) as found:
        assert found.input.sampling_rate == 500 and found.input_source.startswith("the file's own keys (sample_rate)")
    with checkpoint.read(write("b.pt", num_labels=77)) as found:
        assert found.input == DEEPECG and found.input_source == "assumed: DeepECG-SSL's, as the model has 77 outputs"


# ---- what a path turns out to be ------------------------------------------------------------------------------------


def test_assumed_once(folder):
    path = write("a.pt", num_labels=77)
    with pytest.warns(InputWarning, match="Label names are assumed: .* HeartWise's DeepECG, which has as many") as said:
        model = ecgfm.load(path)
    assert len(said) == 1 and said[0].filename == __file__
    assert model.labels == DEEPECG_77.names and model.labels_assumed
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ecgfm.load(path, labels=[f"mine {i}" for i in range(77)]).labels[0] == "mine 0"
        assert ecgfm.load(write("b.pt", num_labels=5)).labels is None


def test_inspect_says_what_a_file_seems_to_be(folder, capsys):
    main(["inspect", write("a.pt", num_labels=77)])
    out = capsys.readouterr().out
    assert "model       deepecg/77, assumed as the model has 77 outputs" in out
    assert "built-in, assumed: the checkpoint has none; these are those of HeartWise's DeepECG" in out
    main(["inspect", write("b.pt", num_labels=1, cfg={"model": {"model_path": "base_ssl.pt"}})])
    out = capsys.readouterr().out
    assert "model       deepecg/lvef40 or deepecg/lvef50 or deepecg/afib5y, as the file names base_ssl.pt" in out
    main(["inspect", write("c.pt", num_labels=2)])
    assert "\nmodel " not in capsys.readouterr().out
    main(["inspect", "demo"])
    assert "model       demo\n" in capsys.readouterr().out


def test_a_yaml_beside_a_file_says_nothing(folder):
    """The published pretraining YAML states another network than its file."""
    path = write("mimic_iv_ecg_finetuned.pt", num_labels=26)
    with open("mimic_iv_ecg_finetuned.yaml", "w") as file:
        file.write("model:\n  num_labels: 17\n  encoder_layers: 24\n")
    with checkpoint.read(path) as found:
        assert [one.name for one in found.recognised.models] == ["ecg-fm/physionet"] and found.config[
            "encoder_layers"
        ] == 2
        assert found.labels == CHALLENGE_2021.names


def test_assumed_names_are_in_the_tables(folder):
    x = np.random.default_rng(0).standard_normal((12, 5000)).astype(np.float32)
    with pytest.warns(InputWarning, match="assumed"):
        model = ecgfm.load(write("a.pt"))
    found = ecgfm.predict(model, ecgfm.Record(x, 500, ecgfm.LEADS))
    assert list(found.records["labels_assumed"]) == ["yes"] and found.model["labels_assumed"]
    sure = ecgfm.load("a.pt", labels=[f"mine {i}" for i in range(17)])
    assert "labels_assumed" not in ecgfm.predict(sure, ecgfm.Record(x, 500, ecgfm.LEADS)).records.columns
