"""evaluate over patients, at thresholds, in subgroups, with the challenge's score; compare."""

import json

import data_sets
import numpy as np
import pytest
import weights
from fakes import LABELS, FakeModel

import ecgfm
from ecgfm import ConfigError, LabelError, Table, compare, evaluate
from ecgfm.cli.main import main
from ecgfm.ecg import simulate
from ecgfm.metrics.comparison import comparison_table
from ecgfm.metrics.decisions import MEASURES, decision_table
from ecgfm.metrics.intervals import ranking_table
from ecgfm.model.untrained import untrained_like

pytest.importorskip("sklearn.metrics", reason="needs the extra [train]")
COUNT = 16
PATIENTS = [f"p{i // 2}" for i in range(COUNT)]


@pytest.fixture(scope="module")
def records():
    made = [simulate(5.5, 500, seed=i, heart_rate=50 + 7 * i) for i in range(COUNT)]
    for i, record in enumerate(made):
        record.source = f"data/r{i}.npy"
    return made


@pytest.fixture(scope="module")
def y():
    made = (np.random.default_rng(3).random((COUNT, 5)) < 0.45).astype(float)
    made[2, 0] = np.nan
    return made


@pytest.fixture(scope="module")
def table(y):
    columns = {"file": [f"r{i}" for i in range(COUNT)], "patient_id": [f"{i // 2}.0" for i in range(COUNT)]}
    columns |= {"sex": ["m", "f", "", "m"] * 4, "age": [str(10 * i) for i in range(COUNT)]}
    return Table(columns | {label: y[:, i] for i, label in enumerate(LABELS)})


class Other(FakeModel):
    """Another network."""

    def __call__(self, x, padding_mask=None):
        return super().__call__(np.asarray(x)[:, ::-1] ** 2)


def scores_of(model, records):
    return ecgfm.predict(model, records).records.probabilities


def same(found, wanted):
    assert found.columns == wanted.columns
    for name in wanted.columns:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


# ---- evaluate -------------------------------------------------------------------------------------------------------


def test_whole_patients_are_resampled(records, y, table):
    found = evaluate(FakeModel(), records, y, groups=PATIENTS, bootstrap=40, seed=2)
    patients, scores = np.arange(COUNT) // 2, scores_of(FakeModel(), records)
    same(found.records, ranking_table(scores, y, patients, LABELS, bootstrap=40, seed=2))
    same(found.decisions, decision_table(scores, y, patients, LABELS, np.full(5, 0.5), bootstrap=40, seed=2))
    assert found.settings["patients"] == 8 and "40 resamples of 8 patients" in found.to_text()
    assert found.predictions["patient"].tolist() == patients.tolist()
    for groups in (np.arange(COUNT) // 2, [i // 2 for i in range(COUNT)], "patient_id"):
        given = table if isinstance(groups, str) else y
        again = evaluate(FakeModel(), records, given, groups=groups, bootstrap=40, seed=2)
        same(again.records, found.records)
    by_recording = evaluate(FakeModel(), records, y, bootstrap=40, seed=2)
    assert by_recording.records["auroc_low"].tolist() != found.records["auroc_low"].tolist()
    assert by_recording.records["auroc"].tolist() == found.records["auroc"].tolist()
    assert by_recording.settings["patients"] is None and "of recordings" in by_recording.to_text()


def test_recordings_without_a_patient_are_said(records, y):
    groups = [None, "", float("nan"), *PATIENTS[3:]]
    found = evaluate(FakeModel(), records, y, groups=groups, bootstrap=5, thresholds=1)
    assert "An interval without width" in found.to_text()  # nothing is above 1
    assert found.settings["patients"] == 3 + 7 and found.settings["patients_unknown"] == 3
    assert "The patient of 3 recordings is not known: each counts as one." in found.to_text()


def test_patients_of_recordings_of_several_inputs(records, y):
    recordings = [i // 2 for i in range(COUNT)]
    patients = [i // 4 for i in range(COUNT)]
    found = evaluate(FakeModel(), records, y[::2][recordings], recordings=recordings, groups=patients, bootstrap=9)
    assert found.settings["patients"] == 4 and len(found.predictions) == 8
    with pytest.raises(LabelError, match="another patient") as caught:
        evaluate(FakeModel(), records, y[::2][recordings], recordings=recordings, groups=[0, 1] * 8, bootstrap=0)
    assert caught.value.field == "groups"


@pytest.mark.parametrize("given, wanted, said", [
    (None, [0.5] * 5, "0.5 of each label, assumed"), (0.3, [0.3] * 5, "as given"),
    ([0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5], "as given"),
    ({LABELS[1]: 0.2}, [0.5, 0.2, 0.5, 0.5, 0.5], "as given; 0.5 of 4 labels without one, assumed"),
])  # fmt: skip
def test_thresholds(records, y, given, wanted, said):
    found = evaluate(FakeModel(), records, y, thresholds=given, bootstrap=0, beta=1)
    assert found.decisions["threshold"][:5].tolist() == wanted and found.settings["thresholds"] == said
    scores = scores_of(FakeModel(), records)
    same(found.decisions, decision_table(scores, y, np.arange(COUNT), LABELS, np.array(wanted), beta=1, bootstrap=0))
    assert f"at thresholds ({said})" in found.to_text() and "F-beta (beta 1)" in found.to_text()


def test_thresholds_of_the_model(records, y):
    model = FakeModel()
    model.thresholds = dict(zip(LABELS, (0.1, None, 0.3, float("nan"), 0.9)))
    found = evaluate(model, records, y, bootstrap=0)
    assert found.decisions["threshold"][:5].tolist() == [0.1, 0.5, 0.3, 0.5, 0.9]
    assert found.settings["thresholds"] == "the model's; 0.5 of 2 labels without one, assumed"


def test_subgroups(records, y, table):
    found = evaluate(FakeModel(), records, table, groups="patient_id", subgroups="sex,age", bootstrap=10, seed=1)
    scores = scores_of(FakeModel(), records)
    sex = np.array(["m", "f", "unknown", "m"] * 4)
    parts = found.subgroups
    assert list(dict.fromkeys(zip(parts["variable"].tolist(), parts["value"].tolist()))) == [
        ("sex", "f"), ("sex", "m"), ("sex", "unknown"),
        *(("age", band) for band in ("0-17", "18-39", "40-59", "60-79", "80+", "unknown")),
    ]  # fmt: skip
    there = sex == "m"
    patients = np.unique(np.arange(COUNT)[there] // 2, return_inverse=True)[1]
    wanted = ranking_table(scores[there], y[there], patients, LABELS, bootstrap=10, seed=1)
    rows = (parts["variable"] == "sex") & (parts["value"] == "m")
    for name in wanted.columns:
        np.testing.assert_array_equal(parts[name][rows], wanted[name])
    assert parts["patients"][rows].tolist() == [8] * 7 and "sex f" in found.to_text()
    given = {"sex": ["m", "f", "", "m"] * 4, "age": [10 * i for i in range(COUNT)]}
    again = evaluate(FakeModel(), records, y, groups=PATIENTS, subgroups=given, bootstrap=10, seed=1)
    same(again.subgroups, parts)
    assert again.predictions["subgroup sex"].tolist() == sex.tolist()


def test_the_score_of_the_challenge(records, y, tmp_path):
    sinus, af, pvc = "426783006", "164889003", "164884008|427172004"  # the last is a pair that counts as one
    rows = [",".join(["", sinus, af, pvc, "999"]), f"{sinus},1,.3,.4,.5", f"{af},.3,1,.2,.1", f"{pvc},.4,.2,1,.3"]
    path = tmp_path / "weights.csv"
    path.write_text("\n".join([*rows, "999,.5,.1,.3,1"]) + "\n")
    found = evaluate(FakeModel(), records, y, challenge=path, bootstrap=30, groups=PATIENTS)
    predicted = (scores_of(FakeModel(), records) > 0.5)[:, [1, 3, 2]]
    truth = y[:, [1, 3, 2]] == 1
    weights = np.array([[1, 0.3, 0.4], [0.3, 1, 0.2], [0.4, 0.2, 1]])

    def reward(of):
        counts = np.maximum((of | truth).sum(axis=1), 1)
        return sum(t @ weights @ p / n for t, p, n in zip(truth.astype(float), of.astype(float), counts))

    none = np.zeros_like(truth)
    none[:, 0] = True
    wanted = (reward(predicted) - reward(none)) / (reward(truth) - reward(none))
    row = next(found.challenge.rows())
    assert row["score"] == pytest.approx(wanted) and row["score_low"] <= wanted <= row["score_high"]
    assert (row["n"], row["classes"], row["classes_without_label"]) == (COUNT, 4, 1)
    assert "1 of its 4 classes are none of the model's labels" in found.to_text()
    path.write_text(f",{sinus}\n{sinus},1\n")
    with pytest.raises(ConfigError, match="none of the model's labels"):
        evaluate(FakeModel(labels=("a", "b", "c", "d", "e")), records, y, challenge=path, bootstrap=0)


@pytest.mark.parametrize("wrong, error, field", [
    ({"thresholds": 1.5}, ConfigError, "thresholds"), ({"thresholds": [0.5]}, ConfigError, "thresholds"),
    ({"thresholds": {"none": 0.5}}, ConfigError, "thresholds"), ({"thresholds": ["x"] * 5}, ConfigError, "thresholds"),
    ({"thresholds": "0.5"}, ConfigError, "thresholds"), ({"beta": 0}, ConfigError, "beta"),
    ({"groups": PATIENTS[1:]}, LabelError, "groups"), ({"groups": "patient_id"}, LabelError, "patient_id"),
    ({"groups": [PATIENTS] * 2}, ConfigError, "groups"), ({"subgroups": 3}, ConfigError, "subgroups"),
    ({"subgroups": []}, ConfigError, "subgroups"), ({"subgroups": ","}, ConfigError, "subgroups"),
    ({"subgroups": {"sex": ["m"]}}, LabelError, "sex"), ({"subgroups": "sex"}, LabelError, "sex"),
    ({"subgroups": {"height": list(range(COUNT))} }, None, None),
    ({"challenge": "no such file"}, ConfigError, "challenge"),
])  # fmt: skip
def test_what_is_refused(records, y, wrong, error, field):
    model = FakeModel()
    if error is None:
        assert evaluate(model, records, y, bootstrap=0, **wrong).subgroups is not None
        return
    with pytest.raises(error) as caught:
        evaluate(model, records, y, bootstrap=0, **wrong)
    assert caught.value.field == field and model.batches == [] and len(str(caught.value)) < 500


def test_a_column_that_is_not_there(records, table):
    with pytest.raises(LabelError, match="there is no column 'site'"):
        evaluate(FakeModel(), records, table, subgroups=["sex", "site"])


# ---- compare --------------------------------------------------------------------------------------------------------


def test_two_models(records, y, table):
    found = compare(FakeModel(), Other(), records, y, groups=PATIENTS, bootstrap=40, seed=4)
    a, b = scores_of(FakeModel(), records), scores_of(Other(), records)
    same(found.table, comparison_table(a, b, y, np.arange(COUNT) // 2, LABELS, bootstrap=40, seed=4))
    text = found.to_text()
    assert "DeLong's p and interval are not given: patients have several recordings" in text
    assert "40 resamples of 8 patients" in text and np.isnan(found.table["delong_p"]).all()
    assert found.predictions[f"b {LABELS[0]}"].tolist() == b[:, 0].tolist()
    by_name = compare(FakeModel(), Other(), iter(records), table, groups="patient_id", bootstrap=40, seed=4)
    same(by_name.table, found.table)


def test_delong_is_given_where_it_holds(records, y):
    alone = compare(FakeModel(), Other(), records, y, groups=list(range(COUNT)), bootstrap=5)
    assert "each patient has one recording" in alone.delong and not np.isnan(alone.table["delong_p"][:5]).any()
    assumed = compare(FakeModel(), Other(), records, y, bootstrap=5)
    assert "(assumed: no groups are given)" in assumed.to_text()
    assert "DeLong: difference, p" in assumed.to_text()


def test_labels_in_another_order_and_some_in_common(records, y, table):
    other = Other((LABELS[2], "another", LABELS[0], LABELS[1], "more"))
    with pytest.warns(ecgfm.InputWarning):
        found = compare(FakeModel(), other, records, table, bootstrap=0)
    assert found.table["label"].tolist() == [LABELS[0], LABELS[1], LABELS[2], "macro", "micro"]
    assert set(found.labels_left_out) == {LABELS[3], LABELS[4], "another", "more"}
    np.testing.assert_array_equal(found.predictions[f"b {LABELS[0]}"], scores_of(other, records)[:, 2])
    with pytest.raises(LabelError, match="no label in common"):
        compare(FakeModel(), Other(tuple("vwxyz")), records, y, bootstrap=0)


def test_random_weights_and_precisions(tmp_path, capsys):

    config = weights.SMALL | {"num_labels": 2}
    model = ecgfm.Model.from_state_dict(config, weights.weights(weights.parameters(config)), labels=["a", "b"])
    x = np.random.default_rng(0).standard_normal((6, 12, 400)).astype(np.float32)
    y = np.array([[0, 1], [1, 0]] * 3)
    found = compare(model, "random weights", x, y, bootstrap=5, seed=3)
    np.testing.assert_array_equal(found.predictions["b a"], untrained_like(model, 3)(x).probabilities[:, 0])
    assert found.models[1]["source"] == "random weights"
    one, again, other = (untrained_like(model, seed).state_dict() for seed in (3, 3, 4))
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not all(np.array_equal(one[name], other[name]) for name in one)
    half = compare(model, model.with_precision("bfloat16"), x, y, bootstrap=5)
    assert [about["precision"] for about in half.models] == ["float32", "bfloat16"]
    assert "bfloat16" in half.to_text().splitlines()[1]
    with pytest.raises(ConfigError, match="no network"):
        compare(FakeModel(("a", "b"), outputs=2), "random weights", x, y)


# ---- commands -------------------------------------------------------------------------------------------------------


def test_the_commands(records, table, tmp_path, capsys):
    for i, record in enumerate(records[:8]):
        np.save(tmp_path / f"r{i}.npy", record.signal)
    names = ["Sinus rhythm", "Tachycardia"]
    rows = {"file": [f"r{i}" for i in range(8)], "patient_id": [i // 2 for i in range(8)], "sex": ["m", "f"] * 4}
    Table(rows | {name: (np.arange(8) + i) % 3 == 0 for i, name in enumerate(names)}).to_csv(tmp_path / "y.csv")
    model = "demo"
    given = [*map(str, sorted(tmp_path.glob("*.npy"))), "--truth", str(tmp_path / "y.csv"), "--sampling-rate", "500"]
    given += ["--bootstrap", "20", "--group", "patient_id"]
    out = ["--out", str(tmp_path / "e.csv")]
    assert main(["evaluate", model, *given, *out, "--subgroups", "sex", "--threshold", "0.2"]) == 0
    printed = capsys.readouterr().out
    assert "20 resamples of 4 patients" in printed and "sex f" in printed and "at thresholds (as given)" in printed
    assert {row["value"] for row in data_sets.read_table(tmp_path / "e.subgroups.csv")} == {"f", "m"}
    row = data_sets.read_table(tmp_path / "e.csv")[0]
    assert row["threshold"] == "0.2" and set(MEASURES) <= set(row)
    assert main(["compare", model, "random-weights", *given, "--out", str(tmp_path / "c.json")]) == 0
    printed = capsys.readouterr().out
    assert "b: random weights, float32" in printed and "a: This model knows simulated" in printed
    assert json.loads((tmp_path / "c.json").read_text())["settings"]["patients"] == 4
    assert main(["compare", model, model, *given, "--precision-b", "int8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][1]["precision"] == "int8"
    assert main(["compare", model, model, *given, "--group", "none"]) == 2
    assert "there is no column 'none'" in capsys.readouterr().err
