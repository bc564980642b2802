"""What a model takes: who says it, who wins, that it travels with the model, and what is refused."""

import json

import checkpoint_files as files
import pytest
import weights

import ecgfm
from ecgfm import CheckpointError, ConfigError, InputSpec, checkpoint
from ecgfm.cli.main import main
from ecgfm.specs.inputs import ECG_FM
from ecgfm.specs.known import DEEPECG

OTHER = InputSpec(sampling_rate=250, samples=1000, unit="uV", normalisation="none", long="crop")
MANY = weights.SMALL | {"num_labels": 77}


def save(path, config=weights.SMALL, kind="classifier", ours=None, task=(), model=()):
    value, storages = files.content(config, kind, extra_state={"best": 1.0} | ({} if ours is None else {"ecgfm": ours}))
    cfg = {"common": {"seed": 1}, "task": {"_name": "ecg_classification", **dict(task)}}
    value["cfg"] = cfg | {"model": files.settings(config, kind) | dict(model)}
    path.write_bytes(files.zip_bytes(files.zip_members(value, storages.raw)))
    return path


def found(path, **options):
    with checkpoint.read(path, **options) as one:
        return one.input, one.input_source


# ---- who says it ---------------------------------------------------------------------------------


def test_nothing_said_is_assumed(tmp_path):
    spec, source = found(save(tmp_path / "a.pt"))
    assert spec == ECG_FM and source.startswith("assumed")
    model = ecgfm.load(tmp_path / "a.pt")
    assert model.input == ECG_FM and model.input_assumed and "(assumed)" in repr(model)


def test_the_user_wins_over_the_file_and_the_file_over_what_is_recognised(tmp_path):
    path = save(tmp_path / "a.pt", MANY, ours={"input": OTHER.to_dict()}, task={"data": "/x/mhi-mimic-code15"})
    assert found(path) == (OTHER, "file")
    assert found(path, input=ECG_FM) == (ECG_FM, "the caller")
    spec, source = found(path, input={"samples": 999})
    assert spec == OTHER.replaced(samples=999) and source == "the caller (samples), the rest from: file"
    assert found(path, input={}) == (OTHER, "file")
    same = found(path, input="sampling_rate=250")
    assert same == (OTHER, "the caller (sampling_rate), the rest from: file")
    model = ecgfm.load(path, input="unit=V")
    assert model.input == OTHER.replaced(unit="V") and not model.input_assumed


@pytest.mark.parametrize("task, model", [
    ({"data": "/data/mhi-mimic-code15/manifest"}, {}),
    ({}, {"model_path": "C:\\weights\\base_ssl.pt"}),
    ({}, {"model_path": "/x" * 5000 + "/base_ssl.pt"}),
    ({}, {"w2v_args": {"task": {"data": "mhi-mimic-code15"}, "model": {}}}),
])  # fmt: skip
def test_deepecg_is_recognised_by_what_its_configuration_names(tmp_path, task, model):
    config = weights.SMALL | {"num_labels": 1}
    spec, source = found(save(tmp_path / "a.pt", config, task=task, model=model))
    assert spec == DEEPECG and source.startswith("known model: DeepECG-SSL, as the file names ")
    assert (spec.sampling_rate, spec.samples, spec.normalisation, spec.unit) == (250, 2500, "none", "mV")


def test_deepecg_before_finetuning_saw_five_seconds(tmp_path):
    spec, _ = found(save(tmp_path / "a.pt", kind="pretraining", task={"data": "mhi-mimic-code15"}))
    assert (spec.sampling_rate, spec.samples, spec.duration_s) == (250, 1250, 5)


def test_77_outputs_alone_are_no_more_than_an_assumption(tmp_path):
    spec, source = found(save(tmp_path / "a.pt", MANY))
    assert spec == DEEPECG and source == "assumed: DeepECG-SSL's, as the model has 77 outputs"


def test_training_signals_that_were_filtered_are_mentioned(tmp_path):
    spec, source = found(save(tmp_path / "a.pt", task={"filter": True, "sample_rate": 250}))
    assert spec == ECG_FM.replaced(sampling_rate=250) and source.endswith(
        "filtered (filter: true), which is not done here"
    )
    spec, source = found(save(tmp_path / "a.pt", task={"filter": True}))
    assert spec == ECG_FM and source.startswith("assumed") and "filter: true" in source
    assert "filter" not in found(save(tmp_path / "a.pt", task={"filter": False, "sample_rate": 250}))[1]


def test_other_words_are_not_taken_for_deepecg(tmp_path):
    spec, source = found(save(tmp_path / "a.pt", task={"data": "/home/emhi/data/mhir"}))
    assert spec == ECG_FM and source.startswith("assumed")


def test_the_keys_of_fairseq_signals(tmp_path):
    task = {"sample_rate": 250, "max_sample_size": 2000, "normalize": True, "mean_path": "m.txt"}
    spec, source = found(save(tmp_path / "a.pt", task=task))
    assert spec == InputSpec(sampling_rate=250, samples=2000, normalisation="segment")
    assert source == ("the file's own keys (sample_rate, max_sample_size, normalize), the rest assumed; the means and "
                      "deviations that it was standardised by are in other files")  # fmt: skip
    three = weights.SMALL | {"in_d": 3}
    assert found(save(tmp_path / "b.pt", three, task={"leads_to_load": "[0, 1, 6]"}))[0].leads == ("I", "II", "V1")


@pytest.mark.parametrize("task", [
    {"sample_rate": 0}, {"sample_rate": -1}, {"sample_rate": "500"}, {"sample_rate": 1e9}, {"sample_rate": None},
    {"max_sample_size": 10**12}, {"max_sample_size": 2}, {"max_sample_size": True, "normalize": 1},
    {"normalize": "yes"}, {"leads_to_load": "[0, 1]"}, {"leads_to_load": ["x"] * 12}, {"data": 3}, {"data": ["mhi"]},
])  # fmt: skip
def test_keys_that_say_nothing(tmp_path, task):
    assert found(save(tmp_path / "a.pt", task=task)) == (ECG_FM, found(save(tmp_path / "b.pt"))[1])


def test_a_network_of_other_leads_has_leads_that_nobody_named(tmp_path):
    spec, source = found(save(tmp_path / "a.pt", weights.SMALL | {"in_d": 8}))
    assert spec.leads is None and source.startswith("assumed")
    with pytest.raises(ConfigError, match="3 leads for a network that takes 8"):
        found(tmp_path / "a.pt", input="leads=I,II,V1")
    assert found(tmp_path / "a.pt", input="leads=I,II,V1,V2,V3,V4,V5,V6")[0].leads[2] == "V1"


# ---- it travels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors", "a"])
@pytest.mark.parametrize("given", [OTHER, {"sampling_rate": 250}, None])
def test_it_is_saved_with_the_model(tmp_path, name, given):
    model = ecgfm.load(save(tmp_path / "first.pt", MANY), input=given)
    (tmp_path / "1").mkdir(), (tmp_path / "2").mkdir()
    model.save(tmp_path / "1" / name)
    checkpoint.convert(tmp_path / "1" / name, tmp_path / "2" / name)
    for folder in ("1", "2"):
        again = ecgfm.load(tmp_path / folder / name)
        assert again.input == model.input and again.input_assumed == model.input_assumed
    assert model.input_source == ("the caller" if given is OTHER else model.input_source)


def test_a_part_that_the_user_gave_is_not_lost_as_assumed(tmp_path):
    ecgfm.load(save(tmp_path / "a.pt"), input={"sampling_rate": 250}).save(tmp_path / "b.pt")
    again = ecgfm.load(tmp_path / "b.pt")
    assert again.input.sampling_rate == 250 and again.input_source == "the caller (sampling_rate), the rest assumed"


def test_convert_takes_it(tmp_path, capsys):
    save(tmp_path / "a.pt")
    assert main(["convert", str(tmp_path / "a.pt"), str(tmp_path / "b"), "--input", "sampling_rate=250,unit=uV"]) == 0
    said = json.loads((tmp_path / "b" / "config.json").read_text())
    assert said["input"]["sampling_rate"] == 250 and said["input"]["unit"] == "uV"
    assert InputSpec.from_dict(said["input"]) == ecgfm.load(tmp_path / "b").input


def test_what_earlier_versions_wrote_says_nothing(tmp_path):
    ecgfm.load(save(tmp_path / "a.pt")).save(tmp_path / "b")
    said = json.loads((tmp_path / "b" / "config.json").read_text())
    del said["input_source"]
    said["input"] = {"sampling_rate": 500, "samples": 2500, "leads": list(ecgfm.LEADS)}
    (tmp_path / "b" / "config.json").write_text(json.dumps(said))
    assert found(tmp_path / "b")[1].startswith("assumed")
    said["input"]["sampling_rate"] = 250
    (tmp_path / "b" / "config.json").write_text(json.dumps(said))
    assert found(tmp_path / "b") == (InputSpec(sampling_rate=250), "file")


def test_a_model_of_arrays():
    arrays = weights.weights(weights.parameters(weights.SMALL))
    model = ecgfm.Model.from_state_dict(weights.SMALL, arrays, input=OTHER)
    assert model.input == OTHER and model.input_source == "the caller"
    assert ecgfm.Model.from_state_dict(weights.SMALL, arrays).input_assumed
    with pytest.raises(ConfigError, match="give no token"):
        ecgfm.Model.from_state_dict(weights.SMALL, arrays, input={"samples": 2})


# ---- what is shown, what is refused --------------------------------------------------------------


def test_inspect_says_it(tmp_path, capsys):
    save(tmp_path / "a.pt", MANY)
    assert main(["inspect", str(tmp_path / "a.pt")]) == 0
    out = capsys.readouterr().out
    assert "input       12 leads, 2500 samples at 250 Hz (10 s), in mV, not standardised, resampling decimate\n" in out
    assert "input from  assumed: DeepECG-SSL's, as the model has 77 outputs\n" in out
    assert main(["inspect", "--json", "--input", "samples=1000", str(tmp_path / "a.pt")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["input"]["samples"] == 1000 and said["input_source"] == "the caller (samples), the rest assumed"
    assert main(["inspect", "--input", "samples=none", str(tmp_path / "a.pt")]) == 2
    assert "input.samples: 'none' is not an integer" in capsys.readouterr().err


@pytest.mark.parametrize("said, message", [
    ({"samples": 10**7}, "is not an integer from 1 to 1000000"),
    ({"samples": 10**6}, "would take"),
    ({"unit": "\x1b[2Jmm"}, "is not one of"),
    ({"leads": ["I"]}, "1 leads for a network that takes 12"),
    ({"later": 1}, "Install a newer ecgfm"),
    ("500 Hz", "is no specification"),
    ({"sampling_rate": [500]}, "is not a number"),
])  # fmt: skip
def test_files_that_lie(tmp_path, said, message):
    with pytest.raises(CheckpointError) as error:
        found(save(tmp_path / "a.pt", ours={"input": said}))
    assert message in str(error.value) and "\x1b" not in str(error.value) and error.value.path is not None


def test_a_source_is_text_of_a_line(tmp_path):
    ours = {"input": OTHER.to_dict(), "input_source": "partly assumed\n\x1b[2J" + "x" * 9999}
    source = found(save(tmp_path / "a.pt", ours=ours))[1]
    assert len(source) < 400 and source.isprintable() and "\n" not in source
