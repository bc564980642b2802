"""The small model that ships in the package, and the script that trains it."""

import importlib.util
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import ecgfm
from ecgfm.ecg import SIMULATED_LABELS, simulate_cohort

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "train_demo_model.py"
ASSETS = resources.files("ecgfm") / "assets" / "demo"


@pytest.fixture(scope="module")
def script():
    found = importlib.util.spec_from_file_location("train_demo_model", SCRIPT)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shipped():
    return ecgfm.load(ASSETS)


def test_it_is_small_and_says_what_it_is(shipped):
    assert (ASSETS / "model.safetensors").stat().st_size <= 5_000_000
    assert shipped.labels == SIMULATED_LABELS and shipped.info["training"] == "simulated patients"
    card = (ASSETS / "README.md").read_text()
    for wanted in ("simulated patients", "not**: a model of real ECGs", "AUROC", "AUPRC", *SIMULATED_LABELS):
        assert wanted in card


def test_it_tells_simulated_patients_apart(script, shipped):
    """On patients that no training has seen: what the model card claims, and more than rate and size tell."""
    train, test = simulate_cohort(700, seed=901), simulate_cohort(700, seed=902)
    found = script.scores(script.probabilities(shipped, test.prepared()[0]), test.y, seed=0, resamples=200)
    rate_and_size = script.baseline(script.features(train), train.y, script.features(test))
    linear = script.scores(rate_and_size, test.y, seed=0, resamples=2)
    auroc = np.array([found[label]["auroc"] for label in SIMULATED_LABELS])
    assert auroc.mean() >= 0.97 and auroc.min() >= 0.9, found
    for label in ("Atrial fibrillation", "Left bundle branch block", "1st degree atrioventricular block"):
        assert found[label]["auroc_low"] > linear[label]["auroc"]
    assert max(row["calibration_error"] for row in found.values()) < 0.1
    lines = (ASSETS / "README.md").read_text().splitlines()
    claimed = {line.split("|")[1].strip(): line for line in lines if line.count("|") > 7}
    for label, row in found.items():
        value = float(claimed[label].split("|")[3].split()[0])
        assert row["auroc_low"] - 0.02 <= value <= row["auroc_high"] + 0.02, label


def test_a_written_cohort_is_evaluated(shipped, tmp_path):
    """From WFDB files and labels.csv the same as from arrays."""
    pytest.importorskip("sklearn")
    cohort = simulate_cohort(40, recordings=2, seed=9)
    paths = cohort.write(tmp_path / "made")
    found = ecgfm.evaluate(shipped, [tmp_path / "made"], tmp_path / "made" / "labels.csv", bootstrap=0)
    assert not len(found.errors) and not found.unlabelled and len(found.predictions) == len(paths) == 80
    x, row = cohort.prepared()
    expected = shipped(x).probabilities
    for i, label in enumerate(SIMULATED_LABELS):
        np.testing.assert_allclose(found.predictions[label], expected[:, i], atol=1e-6)
        assert np.array_equal(found.predictions[f"true {label}"], cohort.y[:, i])


def test_scores(script):
    """Against scikit-learn; the intervals hold the value, and are narrower with more patients."""
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    widths = []
    for count in (200, 2000):
        truth = (rng.random((count, 10)) < 0.3).astype(np.uint8)
        p = 1 / (1 + np.exp(-(truth * 1.5 - 1 + rng.standard_normal(truth.shape))))
        found = script.scores(p, truth, seed=1, resamples=300)
        for i, label in enumerate(SIMULATED_LABELS):
            row = found[label]
            assert row["auroc"] == pytest.approx(metrics.roc_auc_score(truth[:, i], p[:, i]), abs=1e-9)
            assert row["auprc"] == pytest.approx(metrics.average_precision_score(truth[:, i], p[:, i]), abs=1e-9)
            assert row["brier"] == pytest.approx(metrics.brier_score_loss(truth[:, i], p[:, i]))
            assert row["auroc_low"] < row["auroc"] < row["auroc_high"] and row["positives"] == truth[:, i].sum()
        widths.append(np.mean([row["auroc_high"] - row["auroc_low"] for row in found.values()]))
    assert widths[1] < 0.5 * widths[0]
    certain = np.repeat([0.2, 0.7], 500)
    truth = np.concatenate([np.arange(500) % 5 == 0, np.arange(500) % 10 < 7])
    assert script.calibration(certain, truth, bins=2) == pytest.approx(0, abs=1e-9)
    assert script.calibration(certain + 0.1, truth, bins=2) == pytest.approx(0.1)


def test_training_is_reproducible(script, tmp_path, monkeypatch, capsys):
    """The same seed gives the same weights, to the bit; another seed others; the card is filled in."""
    pytest.importorskip("sklearn")
    few = "--patients 48 --test-patients 48 --epochs 1 --pretrain-patients 32 --pretrain-epochs 1".split()
    for name, *more in (("a",), ("b", "--worth"), ("c", "--seed", "2"), ("d", "--pretrain-epochs", "0")):
        monkeypatch.setattr("sys.argv", ["x", "--out", str(tmp_path / name), *few, *more])
        assert script.main() == 0
    states = [ecgfm.load(tmp_path / name).state_dict() for name in "abcd"]
    weights = [b"".join(values.tobytes() for values in state.values()) for state in states]
    assert weights[0] == weights[1] and len(set(weights)) == 3
    model = ecgfm.load(tmp_path / "a")
    assert model.labels == SIMULATED_LABELS and model.info["training"] == "simulated patients"
    report = json.loads((tmp_path / "a" / "evaluation.json").read_text())
    card = (tmp_path / "a" / "README.md").read_text()
    assert f"{report['model']['Tachycardia']['auroc']:.3f} (" in card and "{" not in card
    assert "epoch 1" in capsys.readouterr().out
    worth = json.loads((tmp_path / "b" / "evaluation.json").read_text())["worth"]
    assert [row["share"] for row in worth] == [0.01, 0.1, 1.0]
    assert all(0 <= row[start] <= 1 for row in worth for start in ("pretrained", "random"))
    with_worth = (tmp_path / "b" / "README.md").read_text()
    assert f"| 1 % | {worth[0]['pretrained']:.4f} | {worth[0]['random']:.4f} |" in with_worth and "worth" not in card
    assert "--pretrain-epochs 0" in (tmp_path / "d" / "README.md").read_text()
