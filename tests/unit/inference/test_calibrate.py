"""Calibration and thresholds of a model: chosen on recordings, kept in the model, followed by predict and evaluate."""

import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.cli.main import main
from ecgfm.metrics.calibration import calibration_errors, ece
from ecgfm.specs.trust import Calibration, Curve, Thresholds

CONFIG = weights.SMALL | {"num_labels": 2}
DEMO = Path(ecgfm.__file__).parent / "assets" / "demo"
LABELS = ("fast", "slow")
N = 400
LOGITS = np.array([[-3.0, 2.0], [0.5, -1.0]], np.float32)


@pytest.fixture(scope="module")
def model():
    """Far too sure of itself."""
    params = weights.weights(weights.parameters(CONFIG))
    params["proj.weight"] = 8 * params["proj.weight"]
    return ecgfm.Model.from_state_dict(CONFIG, params, labels=LABELS)


@pytest.fixture(scope="module")
def data(model):
    """Segments of 60 patients, and labels that the logits know something of."""
    x = weights.signal("calibration", 120, 12, N)
    z = model(x).logits.astype(float)
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    y = (np.random.default_rng(0).random(z.shape) < 1 / (1 + np.exp(-1.5 * z))).astype(float)
    y[3, 0] = np.nan
    return x, y, np.arange(120) // 2


@pytest.fixture(scope="module")
def found(model, data):
    x, y, patients = data
    return ecgfm.calibrate(model, x, y, groups=patients, method="platt")


def test_calibration_lowers_the_error(model, data, found):
    x, y, patients = data
    table = found.table
    assert table["ece"][-1] < 0.6 * table["ece_before"][-1] and table["brier"][-1] < table["brier_before"][-1]
    for when, column in (("before", "ece_before"), ("after", "ece")):
        rows = (found.reliability["when"] == when) & (found.reliability["label"] == "micro")
        n, p, share = (found.reliability[name][rows] for name in ("n", "probability", "share"))
        assert (n * abs(p - share)).sum() / n.sum() == pytest.approx(table[column][-1], abs=1e-6)
    assert found.method == "platt" and found.left == () and "Brier before" in str(found) and "platt" in repr(found)
    auto = ecgfm.calibrate(model, x, y, groups=patients, thresholds=None)
    least = min(
        ecgfm.calibrate(model, x, y, groups=patients, method=each).table["brier"][-2]
        for each in ("none", "temperature", "platt", "isotonic")
    )
    assert auto.table["brier"][-2] == least and auto.model.thresholds is None


def test_curves_are_those_of_scikit_learn(model, data, found):
    """On all recordings together, a segment each here."""
    linear = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    x, y, _ = data
    z, known = model(x).logits[:, 0].astype(float), ~np.isnan(y[:, 0])
    z, t = z[known], y[known, 0] == 1
    soft = np.where(t, (t.sum() + 1) / (t.sum() + 2), 1 / ((~t).sum() + 2))
    given = np.tile(z, 2)[:, None], np.repeat([1, 0], len(z))
    reference = linear.LogisticRegression(C=1e12, tol=1e-12, max_iter=10_000).fit(
        *given, sample_weight=np.concatenate([soft, 1 - soft])
    )
    curve = found.model.calibration.curves[0]
    assert curve.slope == pytest.approx(reference.coef_[0, 0], rel=1e-3)


def test_predict_and_evaluate_follow_and_say_so(model, data, found):
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    x, y, patients = data
    calibrated = found.model
    out = calibrated(x)
    np.testing.assert_array_equal(out.probabilities, model(x).probabilities)  # of the network itself
    expected = calibrated.calibration.probabilities(out.logits)
    parts = [each[None] for each in x[:6]]
    result = ecgfm.predict(calibrated, ecgfm.Segments(x[:6], start_s=np.arange(6.0)))
    np.testing.assert_allclose(result.segments.probabilities, expected[:6], atol=1e-6)
    np.testing.assert_allclose(result.logits, out.logits[:6], atol=1e-4)
    assert set(result.records["calibration"]) == {"platt"} and "calibration: platt" in result.to_text()
    raw = ecgfm.predict(calibrated, ecgfm.Segments(x[:6], start_s=np.arange(6.0)), calibrated=False)
    np.testing.assert_allclose(raw.segments.probabilities, out.probabilities[:6], atol=1e-6)
    assert set(raw.records["calibration"]) == {"none"} and raw.model["calibration"] == "none"
    assert "calibration" not in ecgfm.predict(model, ecgfm.Segments(x[:6], start_s=np.arange(6.0))).records
    assert len(parts) == 6
    judged = ecgfm.evaluate(calibrated, x, y, groups=patients, bootstrap=0)
    errors = calibration_errors(y, expected)
    assert judged.calibration["ece"][-1] == pytest.approx(errors["ece"], abs=1e-6)
    assert judged.calibration["brier"][-1] == pytest.approx(errors["brier"], abs=1e-6)
    assert judged.settings["thresholds"] == "the model's" and "(calibration: platt)" in judged.to_text()
    counts = [judged.decisions[name][:2] for name in ("true_positive", "false_positive")]
    at = np.array([calibrated.thresholds[name] for name in LABELS])
    np.testing.assert_array_equal(counts[0], ((expected > at) & (y == 1)).sum(axis=0))
    np.testing.assert_array_equal(counts[1], ((expected > at) & (y == 0)).sum(axis=0))
    np.testing.assert_array_equal(found.table["true_positive"][:2], counts[0])
    raw = ecgfm.evaluate(calibrated, x, y, bootstrap=0, calibrated=False)
    assert "assumed" in raw.settings["thresholds"] and raw.calibration["ece"][-1] > judged.calibration["ece"][-1]


def test_segments_of_a_recording_count_as_one(model):
    """Two segments each of some, one of others: the same curves as with weights by hand."""
    rng = np.random.default_rng(2)
    x = weights.signal("segments", 60, 12, N)
    parts = [ecgfm.Segments(x[i : i + 1 + i % 2], start_s=np.arange(1.0 + i % 2)) for i in range(40)]
    y = (rng.random((40, 2)) < 0.5).astype(float)
    found = ecgfm.calibrate(model, parts, y, method="temperature", thresholds=None)
    from ecgfm.metrics.calibration import fit_temperature

    z = np.concatenate([model(part.x).logits for part in parts])
    counts = np.array([len(part.x) for part in parts])
    labels, weight = np.repeat(y, counts, axis=0) == 1, np.repeat(1 / counts, counts)
    for i, curve in enumerate(found.model.calibration.curves):
        by_hand = fit_temperature(z[:, i], labels[:, i], weight)
        assert (curve is None) == (by_hand is None)
        assert curve is None or curve.slope == pytest.approx(by_hand.slope, rel=1e-4)


def test_labels_with_few_recordings_are_left_as_they_are(model, data):
    x, y, _ = data
    few = y.copy()
    few[:, 1] = 0
    few[:4, 1] = 1
    found = ecgfm.calibrate(model, x, few, method="isotonic")
    assert found.left == ("slow",) and found.model.calibration.curves[1] is None
    expected = found.model.calibration.probabilities(model(x).logits)
    np.testing.assert_array_equal(expected[:, 1], model(x).probabilities[:, 1])
    assert set(found.model.thresholds) == set(LABELS)  # which need a positive and a negative alone
    alone = ecgfm.calibrate(model, x, np.column_stack([y[:, 0], np.zeros(120)]), method="none")
    assert set(alone.model.thresholds) == {"fast"} and alone.model.calibration is None
    assert "slow" not in alone.model.thresholds


def test_real_recordings_of_other_patients(shared):
    """The shipped model, which knows simulated patients, on PTB-XL: fitted on some folds, measured on others."""
    folder = shared / "real/ptbxl"
    if not folder.is_dir():
        pytest.skip("needs the reference data, real/ptbxl")
    demo = ecgfm.load(DEMO)
    codes = {"Sinus rhythm": "SR", "Atrial fibrillation": "AFIB", "Tachycardia": "STACH", "Bradycardia": "SBRAD"}
    with open(folder / "ptbxl_database.csv", newline="") as file:
        rows = list(csv.DictReader(file))

    def part(folds):
        chosen = [row for row in rows if row["strat_fold"] in folds][:150]
        y = np.full((len(chosen), demo.num_labels), np.nan)
        for name, code in codes.items():
            y[:, demo.labels.index(name)] = [f"'{code}'" in row["scp_codes"] for row in chosen]
        return [str(folder / f"{row['filename_lr']}.hea") for row in chosen], y

    found = ecgfm.calibrate(demo, *part(("1", "2")), method="platt")
    files, y = part(("5", "6"))
    result = ecgfm.predict(found.model, files)
    truth = np.repeat(y, result.records["segments"], axis=0)
    raw = 1 / (1 + np.exp(-result.logits.astype(float)))
    assert ece(truth, result.segments.probabilities) < ece(truth, raw)


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model", "model.safetensors"])
@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_files_keep_them(model, data, tmp_path, name, method):
    x, y, patients = data
    found = ecgfm.calibrate(model, x, y, method=method, thresholds="sensitivity=0.9")
    found.model.save(tmp_path / name)
    loaded = ecgfm.load(tmp_path / name)
    assert loaded.calibration == found.model.calibration and loaded.thresholds == found.model.thresholds
    assert json.loads((tmp_path / name.partition(".")[0] / "config.json").read_text() if name == "model" else (
        tmp_path / "config.json").read_text())["thresholds"]["rule"] == "sensitivity=0.9"  # fmt: skip
    assert ecgfm.Trainer(loaded).model().calibration is None  # of other weights it says nothing
    with pytest.warns(ecgfm.InputWarning, match="keeps no calibration and no thresholds"):
        loaded.save(tmp_path / "a.pt")
    assert ecgfm.load(tmp_path / "a.pt").calibration is None and ecgfm.load(tmp_path / "a.pt").thresholds is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.save(tmp_path / "b.pt")


CURVE = {"slope": 1.0, "intercept": 0.0}


@pytest.mark.parametrize(
    "entry, given, field",
    [
        ("calibration", 7, "calibration"),
        ("calibration", {"method": "best", "curves": [None, None]}, "calibration.method"),
        ("calibration", {"method": "platt", "curves": [None]}, "calibration.curves"),
        ("calibration", {"method": "platt", "curves": [None, {"slope": -1, "intercept": 0}]}, "calibration.curves.1"),
        ("calibration", {"method": "platt", "curves": [{"slope": 1}, None]}, "calibration.curves.0"),
        ("calibration", {"method": "isotonic", "curves": [{"x": [1, 0], "y": [0, 1]}, None]}, "calibration.curves.0"),
        ("calibration", {"method": "isotonic", "curves": [{"x": [0, 0], "y": [0, 1]}, None]}, "calibration.curves.0"),
        ("calibration", {"method": "isotonic", "curves": [{"x": [0, 1], "y": [0, 2]}, None]}, "calibration.curves.0"),
        ("calibration", {"method": "isotonic", "curves": [{"x": [], "y": []}, None]}, "calibration.curves.0"),
        ("calibration", {"method": "isotonic", "curves": [{"x": [*range(2000)], "y": [0] * 2000}, None]}, None),
        ("calibration", {"method": "platt", "curves": [CURVE, CURVE], "recordings": -1}, "calibration.recordings"),
        ("thresholds", [0.5, 0.5], "thresholds"),
        ("thresholds", {"rule": "youden", "values": [0.5], "calibrated": True}, "thresholds.values"),
        ("thresholds", {"rule": "youden", "values": [0.5, 1.5], "calibrated": True}, "thresholds.values.1"),
        ("thresholds", {"rule": "\x1b", "values": [0.5, 0.5], "calibrated": True}, "thresholds.rule"),
        ("thresholds", {"rule": "youden", "values": [0.5, None], "calibrated": 1}, "thresholds.calibrated"),
    ],
)
def test_files_that_lie(model, tmp_path, entry, given, field):
    model.save(tmp_path / "model")
    path = tmp_path / "model/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {entry: given}))
    with pytest.raises(ecgfm.CheckpointError) as caught:
        ecgfm.load(tmp_path / "model")
    assert len(str(caught.value)) < 500 and "\x1b" not in str(caught.value)
    assert field is None or caught.value.field == field


def test_what_is_written_is_read():
    for made in (
        Calibration("isotonic", (Curve(x=(-1.0, 2.0), y=(0.25, 0.75)), None), 9),
        Calibration("platt", (Curve(0.5, -1.0), Curve(2.0, 0.0)), 3),
    ):
        assert Calibration.read(json.loads(json.dumps(made.to_dict())), 2) == made
        assert made.probabilities(LOGITS).dtype == np.float32
    np.testing.assert_allclose(made.probabilities(LOGITS)[0], 1 / (1 + np.exp([2.5, -4.0])), rtol=1e-6)
    chosen = Thresholds("cost=5", (0.25, None), True)
    assert Thresholds.read(json.loads(json.dumps(chosen.to_dict())), 2) == chosen


# ---- arguments and the command --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, field",
    [({"method": "best"}, "method"), ({"thresholds": "best"}, "thresholds"), ({"seed": -1}, "seed")],
)
def test_arguments_that_are_refused(model, data, change, field):
    with pytest.raises(ecgfm.ConfigError) as caught:
        ecgfm.calibrate(model, *data[:2], **change)
    assert caught.value.field == field


def test_too_few_recordings_are_refused(model, data):
    x, y, _ = data
    for given in (y[:8], np.full((8, 2), np.nan), np.ones((8, 2))):
        with pytest.raises(ecgfm.LabelError, match="no label has 5 recordings with it"):
            ecgfm.calibrate(model, x[:8], given)
    assert ecgfm.calibrate(model, x[:8], y[:8], method="none").model.thresholds
    with pytest.raises(ecgfm.LabelError, match="one without it"):
        ecgfm.calibrate(model, x[:8], np.ones((8, 2)), method="none")


def test_other_models_are_refused(model, data):
    target = {"mean": [0, 0], "std": [1, 1]}
    numbers = ecgfm.Model.from_state_dict(CONFIG, model.state_dict(), info={"target": target})
    with pytest.raises(ecgfm.ConfigError, match="probabilities of labels are calibrated"):
        ecgfm.calibrate(numbers, *data[:2])


def test_the_command(model, tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn", reason="needs the extra [train]")
    monkeypatch.chdir(tmp_path)
    model.save("model")
    rows = ["record,patient,fast,slow"]
    for i in range(24):
        record = ecgfm.ecg.simulate(5.5, 500, heart_rate=50 + 4 * i, seed=i)
        ecgfm_path = tmp_path / "recordings" / f"{i}.npy"
        ecgfm_path.parent.mkdir(exist_ok=True)
        np.save(ecgfm_path, record.signal)
        rows.append(f"{i},{i // 2},{int(i > 11)},{int(i % 3 == 0)}")
    (tmp_path / "truth.csv").write_text("\n".join(rows))
    given = ["model", "recordings", "--truth", "truth.csv", "--sampling-rate", "500"]
    asked = [*given, "--group", "patient", "--method", "temperature", "--out", "calibrated", "--report", "r.csv"]
    assert main(["calibrate", *asked]) == 0, capsys.readouterr()
    assert "Calibration: temperature" in capsys.readouterr().out
    assert (tmp_path / "r.csv").exists() and (tmp_path / "r.curves.csv").exists()
    assert main(["predict", "calibrated", "recordings", "--sampling-rate", "500", "--out", "p.csv"]) == 0
    assert "calibration: temperature" in capsys.readouterr().out
    said = ["predict", "calibrated", "recordings", "--sampling-rate", "500", "--out", "q.csv", "--uncalibrated"]
    assert main(said) == 0
    assert "calibration: none" in capsys.readouterr().out
    with open("q.csv", newline="") as file:
        assert {row["calibration"] for row in csv.DictReader(file)} == {"none"}
    evaluated = ["evaluate", "calibrated", *given[1:], "--bootstrap", "0"]
    assert main(evaluated) == 0 and "the model's" in capsys.readouterr().out
    assert main([*evaluated, "--uncalibrated"]) == 0 and "(calibration: none)" in capsys.readouterr().out
    assert main(["calibrate", *asked]) == 2 and "exists" in capsys.readouterr().err
    assert main(["calibrate", *given, "--out", "a.pt"]) == 2 and "keeps no calibration" in capsys.readouterr().err
    assert main(["calibrate", *given, "--out", "b", "--thresholds", "x"]) == 2
