"""A model that takes something else than ECG-FM, from its file to the answer: DeepECG's set of keys."""

import csv
import json
import os

import checkpoint_files as files
import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.cli.main import main

CONFIG = weights.SMALL | {"num_labels": 77}
COUNTS = 1000  # of a WFDB file, per millivolt


@pytest.fixture
def deepecg(tmp_path):
    """A finetuned file as the fork writes it: old names of the weight norm, no rate, a pretrained file that is gone."""
    renamed = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in files.state(CONFIG).items()
    }
    value, storages = files.content(CONFIG, model=renamed, extra_state={"best": 1.0})
    task = {"_name": "ecg_classification", "data": "/media/data1/mhi/train.parquet", "normalize": False,
            "sample_rate": None, "enable_padding": True, "filter": False}  # fmt: skip
    model = files.settings(CONFIG) | {
        "model_path": "/home/user/base_ssl.pt",
        "normalize": False,
        "linear_evaluation": False,
    }
    value["cfg"] = {"common": {"seed": 1}, "task": task, "model": model}
    path = tmp_path / "wcr.pt"
    path.write_bytes(files.zip_bytes(files.zip_members(value, storages.raw)))
    return path


@pytest.fixture
def recording(tmp_path):
    """A 12-lead recording of 25 s at 500 Hz in a WFDB file, and its whole numbers."""
    record = ecgfm.ecg.SimulatedPatient(7).record(25, 500)
    counts = np.round(record.signal * COUNTS).astype("<i2")
    names = [*ecgfm.LEADS[6:], *ecgfm.LEADS[:6]]  # not the model's order
    counts = np.concatenate([counts[6:], counts[:6]])
    counts.T.tofile(tmp_path / "r.dat")
    lines = [f"r 12 500 {counts.shape[1]}"] + [f"r.dat 16 {COUNTS}(0)/mV 16 0 0 0 0 {name}" for name in names]
    (tmp_path / "r.hea").write_text("\n".join(lines) + "\n")
    return tmp_path / "r.hea", np.concatenate([counts[6:], counts[:6]])


def by_hand(counts):
    """What DeepECG's own code feeds: every second sample, in millivolts, 2500 of them, as they are."""
    x = (counts.astype(np.float64) / COUNTS)[:, ::2]
    return np.stack([x[:, :2500], x[:, 2500:5000]]).astype(np.float32)


def test_from_file_to_answer(deepecg, recording, tmp_path, capsys):
    path, counts = recording
    model = ecgfm.load(deepecg)
    assert (model.input.sampling_rate, model.input.samples, model.input.normalisation) == (250, 2500, "none")
    assert "known model" in model.input_source and not model.input_assumed
    x = by_hand(counts)
    np.testing.assert_allclose(ecgfm.prepare(ecgfm.read(path), model).x, x, rtol=0, atol=1e-6)
    wanted = 1 / (1 + np.exp(-model(x).logits.astype(float)))

    found = ecgfm.predict(model, path)
    np.testing.assert_allclose(found.segments.probabilities, wanted, rtol=0, atol=1e-5)
    assert found.segments["start_s"].tolist() == [0, 10] and found.segments["end_s"].tolist() == [10, 20]
    assert found.model["input"] == model.input.to_dict() and "2 segments of 10 s" in str(found)
    np.testing.assert_allclose(ecgfm.embed(model, path).embeddings, model(x).embedding, rtol=0, atol=1e-4)
    shown = ecgfm.saliency(model, path)
    assert shown.samples.shape == (2, 2500) and shown.sampling_rate == 250

    out = tmp_path / "p.csv"
    assert main(["predict", str(deepecg), str(path), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "1 recording, 2 segments of 10 s" in printed and "Input is assumed" not in printed
    with open(tmp_path / "p.segments.csv", newline="") as file:
        header, *rows = csv.reader(file)
    np.testing.assert_allclose(np.array([row[4:81] for row in rows], float), wanted, rtol=0, atol=1e-5)
    assert [row[2:4] for row in rows] == [["0.0", "10.0"], ["10.0", "20.0"]] and header[2:4] == ["start_s", "end_s"]


def test_pictures_and_tables_go_by_its_rate(deepecg, recording, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra [plot]")
    path, _ = recording
    model, record = ecgfm.load(deepecg), ecgfm.read(path)
    segments, shown = ecgfm.prepare(record, model), ecgfm.saliency(model, record)
    axis = ecgfm.plot(segments, saliency=shown, leads=["II"], start_s=10, duration_s=10).axes[0]
    assert 19.9 < max(line[-1][0] for one in axis.collections for line in one.get_segments()) <= 20
    lines = ecgfm.plot(record, saliency=shown, leads=["II"], duration_s=25).axes[0].collections[0]
    grey = [line for line, no in zip(lines.get_segments(), np.ma.getmaskarray(lines.get_array())) if no]
    assert len(grey) == 1 and grey[0][0][0] == pytest.approx(20, abs=0.01)  # behind the last segment
    more = ["--out", str(tmp_path / "s.npy"), "--plot", str(tmp_path / "p")]
    assert main(["saliency", str(deepecg), str(path), *more]) == 0
    assert len(os.listdir(tmp_path / "p")) == 1 and np.load(tmp_path / "s.npy").shape == (2, 2500)


def test_evaluation(deepecg, recording):
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    path, counts = recording
    model = ecgfm.load(deepecg)
    y = np.random.default_rng(0).integers(0, 2, (2, 77))
    found = ecgfm.evaluate(model, by_hand(counts), y, bootstrap=0)
    wanted = 1 / (1 + np.exp(-model(by_hand(counts)).logits.astype(float)))
    told = np.stack([found.predictions[name] for name in model.labels], axis=1)
    np.testing.assert_allclose(told, wanted, rtol=0, atol=1e-5)
    with pytest.warns(ecgfm.InputWarning, match="in mV, not standardised"):
        ecgfm.evaluate(ecgfm.load(deepecg), by_hand(counts) * 1000, y, bootstrap=0)


def test_the_same_segments_standardised_give_another_answer(deepecg, recording):
    """What a user gets who doesn't know the rule is far from right: the specification matters."""
    path, counts = recording
    model = ecgfm.load(deepecg)
    wrong = ecgfm.load(deepecg, input=ecgfm.InputSpec())
    right, other = (ecgfm.predict(one, path).records.probabilities for one in (model, wrong))
    assert np.abs(right - other).max() > 1e-3


def test_the_command_line_says_otherwise(deepecg, recording, tmp_path, capsys):
    path, counts = recording
    text = "sampling_rate=500,samples=2500,normalisation=none,resampling=linear,long=crop"
    assert main(["embed", str(deepecg), str(path), "--input", text, "--out", str(tmp_path / "e.npy")]) == 0
    assert "1 recording, 1 segment of 5 s" in capsys.readouterr().out
    x = (counts.astype(np.float64) / COUNTS)[None, :, :2500].astype(np.float32)
    wanted = ecgfm.load(deepecg, input=text)(x).embedding
    np.testing.assert_allclose(np.load(tmp_path / "e.npy"), wanted, rtol=0, atol=1e-4)
    assert main(["predict", str(deepecg), str(path), "--input", "normalisation=min-max"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "min-max" in error and "known but not computed" in error


def test_what_contradicts_it_is_refused_or_said(deepecg, recording, tmp_path, capsys):
    path, counts = recording
    model, x = ecgfm.load(deepecg), by_hand(counts)
    with pytest.warns(ecgfm.InputWarning, match="leads that are standardised"):
        model((x - x.mean(axis=2, keepdims=True)) / x.std(axis=2, keepdims=True))
    with pytest.warns(ecgfm.InputWarning, match="1250 samples"):
        model(x[:, :, :1250])
    with pytest.raises(ecgfm.SignalError, match="prepared for another model: 500 Hz instead of 250 Hz"):
        model(ecgfm.prepare(ecgfm.read(path)))
    short = ecgfm.ecg.simulate(5, 500, seed=1)
    with pytest.raises(ecgfm.SignalError, match=r"\(5.00 s\) are too few: the model needs 10 s"):
        ecgfm.predict(model, [short])
    stage = tmp_path / "stage.mat"
    _standardised(stage, x[0])
    assert main(["predict", str(deepecg), str(stage)]) == 2
    assert "its leads are standardised, and the model takes mV" in capsys.readouterr().err


def _standardised(path, x):
    from ecgfm.storage.mat import mat_bytes

    fields = {
        "feats": x.astype(np.float64),
        "curr_sample_rate": 250,
        "mean": np.zeros((12, 1)),
        "std": np.ones((12, 1)),
    }
    path.write_bytes(b"".join(bytes(part) for part in mat_bytes(fields)))


def test_an_assumption_is_printed_where_the_answer_is(recording, tmp_path, capsys):
    files.write(tmp_path / "a.pt")
    assert main(["predict", str(tmp_path / "a.pt"), str(recording[0])]) == 0
    printed = capsys.readouterr().out
    assert (
        "Input is assumed: 12 leads, 2500 samples at 500 Hz (5 s), each lead standardised over its recording" in printed
    )
    assert main(["predict", str(tmp_path / "a.pt"), str(recording[0]), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"]["input_source"].startswith("assumed")


# ---- training data ---------------------------------------------------------------------------------


def preprocessed(tmp_path, *options):
    raw = tmp_path / "raw"
    if not raw.exists():
        raw.mkdir()
        for name in ("r.hea", "r.dat"):
            os.rename(tmp_path / name, raw / name)
    root = tmp_path / f"made{len(os.listdir(tmp_path))}"
    given = ["preprocess", "files", "--raw_root", str(raw), "--processed_root", str(root), "--no_parallel"]
    return main([*given, "--packed", *options]), root


def test_preprocess_for_a_model(deepecg, recording, tmp_path, capsys):
    _, counts = recording
    status, root = preprocessed(tmp_path, "--for", str(deepecg), "--stages", "segmented")
    assert status == 0
    said = capsys.readouterr().err
    assert "2500 samples at 250 Hz (10 s), in mV, not standardised" in said and "known model" in said
    np.testing.assert_allclose(np.load(root / "packed" / "all.npy"), by_hand(counts), rtol=0, atol=1e-6)
    model = ecgfm.load(deepecg)
    parts = sorted((root / "segmented").iterdir())
    x = np.concatenate([np.asarray(ecgfm.prepare(ecgfm.read(part), model)) for part in parts])
    np.testing.assert_allclose(x, by_hand(counts), rtol=0, atol=1e-6)
    with open(root / "segmented.csv", newline="") as file:
        assert {row["sample_size"] for row in csv.DictReader(file)} == {"2500"}
    status, _ = preprocessed(tmp_path, "--for", str(deepecg), "--segment_seconds", "5")
    assert status == 2 and "--segment_seconds" in capsys.readouterr().err
    assert preprocessed(tmp_path, "--input", "samples=10")[0] == 2


@pytest.mark.parametrize("text", [
    "unit=uV,samples=1000", "normalisation=segment,sampling_rate=500", "normalisation=recording,sampling_rate=400",
    "long=crop,resampling=linear", "short=pad,samples=10000", "normalisation=segment,short=pad,samples=10000,unit=V",
    "sampling_rate=333,samples=1000",
])  # fmt: skip
def test_preprocess_and_prepare_agree(deepecg, recording, tmp_path, text):
    path, _ = recording
    model = ecgfm.load(deepecg, input=text)
    wanted = ecgfm.prepare(ecgfm.read(path), model.input.replaced(profile="pipeline"))
    status, root = preprocessed(tmp_path, "--for", str(deepecg), "--input", text, "--stages", "segmented")
    assert status == 0
    np.testing.assert_array_equal(np.load(root / "packed" / "all.npy"), wanted.x)
    if model.input.normalisation == "none":
        read = np.concatenate(
            [ecgfm.prepare(ecgfm.read(one), model).x for one in sorted((root / "segmented").iterdir())]
        )
        np.testing.assert_allclose(read, wanted.x, rtol=1e-6, atol=1e-6 * np.abs(wanted.x).max())


def test_preprocess_keeps_the_order_of_the_leads(tmp_path, recording):
    _, counts = recording
    files.write(tmp_path / "three.pt", weights.SMALL | {"in_d": 3})
    text = "leads=V1,II,I,normalisation=none"
    status, root = preprocessed(tmp_path, "--for", str(tmp_path / "three.pt"), "--input", text)
    assert status == 0
    x = np.load(root / "packed" / "all.npy")
    assert x.shape == (5, 3, 2500)
    np.testing.assert_allclose(x[0], counts[[6, 1, 0], :2500] / COUNTS, rtol=0, atol=1e-6)
    assert preprocessed(tmp_path, "--for", str(tmp_path / "three.pt"))[0] == 2
