"""Regression: numbers instead of labels, from finetuning to the file, the tables and the metrics."""

import csv
import json

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.checkpoint import write_pt
from ecgfm.checkpoint.conversion import pt_content
from ecgfm.metrics.regression import MEASURES, regression, regression_table
from ecgfm.specs.target import Target

CONFIG = weights.SMALL | {"num_labels": 2}
N = 400
QUICK = {"epochs": 1, "batch_size": 6, "progress": False, "schedule": 1e-3, "activation_dropout": 0.0}
NAMES, UNITS = ("age", "potassium"), ("years", "mmol/l")


@pytest.fixture(scope="module")
def model():
    return ecgfm.Model.from_state_dict(CONFIG, weights.weights(weights.parameters(CONFIG)), labels=("a", "b"))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    y = np.column_stack([rng.normal(60, 15, 12), rng.normal(4.2, 0.5, 12)])
    y[2, 0] = y[5, 1] = np.nan
    return weights.signal("regression", 12, 12, N), y


@pytest.fixture(scope="module")
def tuned(model, data):
    with pytest.warns(ecgfm.InputWarning, match="output layer is made anew"):
        return ecgfm.finetune(model, *data, loss="mse", labels=NAMES, units=UNITS, valid=data, **QUICK)


# ---- the target -----------------------------------------------------------------------------------------------------


def test_the_target_is_that_of_the_known_values(tuned, data):
    x, y = data
    target = tuned.model.target
    np.testing.assert_allclose(target.mean, np.nanmean(y, axis=0))
    np.testing.assert_allclose(target.std, np.nanstd(y, axis=0))
    assert target.units == UNITS and "2 numbers" in repr(tuned.model)
    out = tuned.model(x)
    np.testing.assert_allclose(out.values, out.logits.astype(float) * target.std + target.mean)
    assert out.probabilities is None and out.values.dtype == np.float64
    assert "probs" not in tuned.model.forward_trace(x) and "logits" in tuned.model.forward_trace(x)


def test_outputs_of_others_are_no_values(model, data):
    assert model.target is None and model(data[0]).values is None


def test_history(tuned, data):
    """The loss is in deviations, as scikit-learn's and SciPy's measures are of standardised numbers."""
    x, y = data
    target, row = tuned.model.target, dict(zip(tuned.history.columns, next(tuned.history.rows()).values()))
    known, errors = ~np.isnan(y), tuned.model(x).logits - target.standardised(y)
    assert row["valid_loss"] == pytest.approx((errors[known] ** 2).mean(), rel=1e-5)
    assert row["valid_mae"] == pytest.approx(np.abs(errors[known]).mean(), rel=1e-5)
    each = regression(y, tuned.model(x).values)
    assert row["valid_r2"] == pytest.approx(each[2].mean(), rel=1e-4)
    assert row["valid_pearson"] == pytest.approx(each[3].mean(), rel=1e-4)


def test_it_learns(model):
    """A number that follows from the strength of a lead."""
    rng = np.random.default_rng(0)
    x, strength = weights.signal("strength", 32, 12, N), rng.uniform(0.2, 3, 32)
    x[:, 1] *= strength[:, None]
    y = 1000 + 50 * strength[:, None]
    quick = QUICK | {"epochs": 12, "batch_size": 8, "schedule": 3e-3, "feature_grad_mult": 1.0}
    found = ecgfm.finetune(model, x, y, loss="mse", labels=("strength",), valid=(x, y), monitor="r2", **quick)
    assert found.history["train_loss"][-1] < 0.5 * found.history["train_loss"][0]
    assert found.history["valid_r2"].max() > 0.5
    assert abs(found.model(x).values - y).mean() < 0.6 * abs(y - y.mean()).mean()


@pytest.mark.parametrize("numbers", [[[5.0]], [[5.0]] * 3, [[0.0]] * 3])
def test_numbers_that_are_all_the_same(model, numbers):
    x = weights.signal("same", len(numbers), 12, N)
    found = ecgfm.finetune(model, x, np.array(numbers), loss="mse", labels=("n",), **QUICK)
    assert found.model.target.std == (1.0,) and np.isfinite(found.model(x).values).all()


def test_rows_that_are_kept_say_what_they_said(tuned, data):
    """In another mean and deviation, before anything is learned; other outputs are made anew."""
    target = {"mean": [10, 0.5], "std": [3, 8]}
    trainer = ecgfm.Trainer(tuned.model, loss="mse", target=target)
    np.testing.assert_allclose(trainer.model()(data[0]).values, tuned.model(data[0]).values, rtol=1e-4, atol=1e-3)
    assert trainer.model().target == Target((10.0, 0.5), (3.0, 8.0), UNITS)
    assert ecgfm.Trainer(tuned.model, loss="mse").model().target == tuned.model.target
    with pytest.warns(ecgfm.InputWarning, match="1 of 2 rows"):
        other = ecgfm.Trainer(tuned.model, loss="mse", labels=("potassium", "new"))
    assert other.model().target.mean == (tuned.model.target.mean[1], 0.0) and other.model().target.units[1] == ""


@pytest.mark.parametrize("loss", ["binary_cross_entropy_with_logits", "focal"])
def test_labels_after_numbers_and_numbers_after_labels(model, tuned, loss):
    """The output layer is made anew, and says so; without names it can't be taken over."""
    with pytest.warns(ecgfm.InputWarning, match="made anew"):
        labelled = ecgfm.Trainer(tuned.model, loss=loss, num_labels=2).model()
    assert labelled.target is None and not np.array_equal(
        labelled.state_dict()["proj.weight"], tuned.model.state_dict()["proj.weight"]
    )
    with pytest.raises(ecgfm.ConfigError, match="num_labels: the model's outputs are numbers"):
        ecgfm.Trainer(tuned.model, loss=loss)
    with pytest.raises(ecgfm.ConfigError, match="num_labels: the model's outputs are labels"):
        ecgfm.Trainer(model, loss="mse")


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tuned", "tuned.safetensors", "tuned.pt"])
@pytest.mark.parametrize("of", ["model", "trainer"])
def test_files_keep_the_target(tuned, data, tmp_path, name, of):
    getattr(tuned, of).save(tmp_path / name)
    found = ecgfm.load(tmp_path / name)
    assert found.target == tuned.model.target and found.labels == NAMES
    np.testing.assert_array_equal(found(data[0]).values, tuned.model(data[0]).values)
    if name == "tuned":
        written = json.loads((tmp_path / "tuned/config.json").read_text())
        assert written["target"]["units"] == list(UNITS)
    trainer = ecgfm.Trainer(tmp_path / name, loss="mse")
    assert trainer.model().target == found.target
    rounded = found.with_precision("bfloat16") if "bfloat16" in ecgfm.kernels.core().precisions() else found
    assert rounded.target == found.target


def test_a_checkpoint_of_the_original(model, tmp_path):
    """Whose criterion says that its outputs are numbers, in their own unit."""
    model.save(tmp_path / "a.pt")
    with ecgfm.checkpoint.read(tmp_path / "a.pt") as found:
        content = pt_content(found)
        content["cfg"]["criterion"] = {"_name": "mse"}
        content["extra_state"].pop("ecgfm")
        write_pt(tmp_path / "mse.pt", content)
    found = ecgfm.load(tmp_path / "mse.pt")
    assert found.target == Target((0.0, 0.0), (1.0, 1.0)) and found.labels is None
    x = weights.signal("original", 2, 12, N)
    np.testing.assert_array_equal(found(x).values, found(x).logits)


@pytest.mark.parametrize(
    "target, field",
    [
        (7, "target"),
        ({"mean": [0, 0]}, "target"),
        ({"mean": [0], "std": [1, 1]}, "target.mean"),
        ({"mean": [0, 0], "std": [1, -1]}, "target.std"),
        ({"mean": [0, float("inf")], "std": [1, 1]}, "target.mean"),
        ({"mean": [0, 10**400], "std": [1, 1]}, "target.mean"),
        ({"mean": [True, 0], "std": [1, 1]}, "target.mean"),
        ({"mean": [0, 0], "std": [1, 1], "units": ["x\x1b[31m", ""]}, "target.units"),
        ({"mean": [0, 0], "std": [1, 1], "units": "ab"}, "target.units"),
        ({"mean": [0, 0], "std": [1, 1], "more": 1}, "target"),
    ],
)
def test_targets_that_are_refused(model, tmp_path, target, field):
    """In a file and by a user, by their names."""
    model.save(tmp_path / "model")
    path = tmp_path / "model/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"target": target}))
    with pytest.raises(ecgfm.CheckpointError) as caught:
        ecgfm.load(tmp_path / "model")
    assert caught.value.field in (field, None) and "\x1b" not in str(caught.value)  # None: such a number is no JSON
    with pytest.raises(ecgfm.ConfigError) as caught:
        ecgfm.Trainer(model, loss="mse", num_labels=2, target=target)
    assert caught.value.field == field


# ---- tables and metrics ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records():
    return [ecgfm.ecg.simulate(10 + 5 * (i % 2), 500, heart_rate=60 + 5 * i, seed=i) for i in range(5)]


@pytest.fixture(scope="module")
def whole(tuned):
    """The same model for segments of 5 s."""
    return tuned.model


def test_predict(whole, records, tmp_path):
    result = ecgfm.predict(whole, records)
    values = np.concatenate([whole(ecgfm.prepare(record, whole)).values for record in records])
    segments = np.column_stack([result.segments[name] for name in NAMES])
    np.testing.assert_allclose(segments, values, rtol=1e-5)
    counts = result.records["segments"]
    means = np.add.reduceat(values, np.cumsum(counts) - counts) / counts[:, None]
    np.testing.assert_allclose(result.records["age"], means[:, 0], rtol=1e-5)
    assert set(result.records["units"]) == {"age: years; potassium: mmol/l"}
    assert set(result.records["aggregate"]) == {"mean"}  # the rule of the tutorial is of labels
    assert "age (years)" in result.to_text() and "Value per recording" in result.to_text()
    assert json.loads(result.to_json())["model"]["target"]["units"] == list(UNITS)
    files = [tmp_path / f"{i}.npy" for i in range(2)]
    for path, record in zip(files, records):
        np.save(path, record.signal)
    ecgfm.inference.predict_to(whole, files, tmp_path / "p.csv", sampling_rate=500)
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["age"]) == pytest.approx(result.records["age"][1], rel=1e-4)
    assert rows[0]["units"].startswith("age: years")


def test_evaluate(whole, records, tmp_path):
    """Against scikit-learn and SciPy, over known values, with intervals."""
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    stats = pytest.importorskip("scipy.stats", reason="needs SciPy")
    rng = np.random.default_rng(3)
    y = np.column_stack([rng.normal(60, 15, 5), rng.normal(4.2, 0.5, 5)])
    y[1, 1] = np.nan
    found = ecgfm.evaluate(whole, records, y, bootstrap=50)
    said = np.column_stack([ecgfm.predict(whole, records).records[name] for name in NAMES])
    for i, row in enumerate(found.records.rows()):
        known = ~np.isnan(y[:, i])
        truth, value = y[known, i], said[known, i]
        assert row["unit"] == UNITS[i] and row["n"] == known.sum()
        assert row["mae"] == pytest.approx(metrics.mean_absolute_error(truth, value), rel=1e-6)
        assert row["rmse"] == pytest.approx(metrics.mean_squared_error(truth, value) ** 0.5, rel=1e-6)
        assert row["r2"] == pytest.approx(metrics.r2_score(truth, value), rel=1e-6)
        assert row["pearson"] == pytest.approx(stats.pearsonr(truth, value)[0], rel=1e-4)
        assert row["mae_low"] <= row["mae"] <= row["mae_high"]
    assert "Pearson r" in found.to_text() and "age (years)" in found.to_text() and "5 records" in repr(found)
    assert json.loads(found.to_json())["records"][0]["label"] == "age"
    assert "record,age,years,5" in found.to_csv()
    np.testing.assert_array_equal(found.predictions["true age"], y[:, 0])
    table = tmp_path / "truth.csv"
    lines = ["record,age,potassium", *(f"{i},{a},{'' if np.isnan(b) else b}" for i, (a, b) in enumerate(y))]
    table.write_text("\n".join(lines))
    named = []
    for i, record in enumerate(records):
        np.save(tmp_path / f"{i}.npy", record.signal)
        named.append(str(tmp_path / f"{i}.npy"))
    again = ecgfm.evaluate(whole, named, table, sampling_rate=500, bootstrap=0)
    np.testing.assert_allclose(again.records["rmse"], found.records["rmse"], rtol=1e-4)
    with pytest.raises(ecgfm.LabelError, match="no finite number"):
        ecgfm.evaluate(whole, records, np.full((5, 2), np.inf))
    table.write_text("\n".join([lines[0], "0,old,4", *lines[2:]]))
    with pytest.raises(ecgfm.LabelError, match="'old' in row 0 is no finite number"):
        ecgfm.evaluate(whole, named, table, sampling_rate=500)


def test_the_bootstrap_draws_whole_recordings():
    """The same as regression of repeated rows, drawn by hand."""
    rng = np.random.default_rng(5)
    truth, records = rng.normal(1e6, 2, (40, 1)), np.repeat(np.arange(10), 4)
    values = truth + rng.normal(0, 1, truth.shape)
    table = regression_table(values, truth, records, ["a"], units=[""], bootstrap=200, seed=7)
    draws = np.random.default_rng(7).multinomial(10, np.full(10, 0.1), size=200)
    again = [
        regression(np.repeat(truth, counts[records], axis=0), np.repeat(values, counts[records], axis=0))[:, 0]
        for counts in draws
    ]
    for name, drawn in zip(MEASURES, np.array(again).T):
        np.testing.assert_allclose(
            [table[f"{name}_low"][0], table[f"{name}_high"][0]], np.percentile(drawn, [2.5, 97.5]), rtol=1e-6
        )


@pytest.mark.parametrize(
    "truth, values, undefined",
    [
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], "r2 pearson"),
        ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0], "pearson"),
        ([np.nan] * 3, [1.0, 2.0, 3.0], "mae rmse r2 pearson"),
        ([1.0, np.nan, np.nan], [1.0, 2.0, 3.0], "r2 pearson"),
    ],
)
def test_what_is_undefined_is_nan(truth, values, undefined):
    found = dict(zip(MEASURES, regression(np.array(truth)[:, None], np.array(values)[:, None])[:, 0]))
    assert {name for name, value in found.items() if np.isnan(value)} == set(undefined.split())


def test_a_report_of_probabilities_is_refused(whole):
    with pytest.raises(ecgfm.ConfigError, match="a regression model gives no probabilities"):
        ecgfm.quantization_report(whole)
