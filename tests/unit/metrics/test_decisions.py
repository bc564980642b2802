"""Decisions at thresholds, and subgroups: against scikit-learn and resampling by hand."""

import numpy as np
import pytest

from ecgfm.errors import ConfigError
from ecgfm.metrics.decisions import MEASURES, confusion, decision_table, measures
from ecgfm.metrics.intervals import ranking_table
from ecgfm.metrics.subgroups import UNKNOWN, age_bands, as_levels, subgroup_table

metrics = pytest.importorskip("sklearn.metrics", reason="needs the extra [train]")
LABELS, THRESHOLDS = ("a", "b", "c"), np.array([0.5, 0.3, 0.8])


@pytest.fixture(scope="module")
def study():
    """(scores, truth with gaps, patients) of 60 patients with two rows each."""
    rng = np.random.default_rng(4)
    truth = (rng.random((120, 3)) < 0.4).astype(float)
    scores = (rng.random((120, 3)) + 0.3 * truth).round(2)
    truth[rng.random((120, 3)) < 0.1] = np.nan
    return scores, truth, np.repeat(np.arange(60), 2)


def by_scikit_learn(truth, predicted, beta):
    """The measures of one label; G-beta by its formula."""
    tn, fp, fn, tp = metrics.confusion_matrix(truth, predicted, labels=[0, 1]).ravel()
    nan = {"zero_division": np.nan}
    return [
        metrics.recall_score(truth, predicted, **nan), metrics.recall_score(truth, predicted, pos_label=0, **nan),
        metrics.precision_score(truth, predicted, **nan), metrics.precision_score(truth, predicted, pos_label=0, **nan),
        metrics.fbeta_score(truth, predicted, beta=beta, **nan) if tp + fp + fn else np.nan,
        tp / (tp + fp + beta * fn) if tp + fp + fn else np.nan,
    ]  # fmt: skip


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_measures_against_scikit_learn(study, beta):
    scores, truth, groups = study
    table = decision_table(scores, truth, groups, LABELS, THRESHOLDS, beta=beta, bootstrap=0)
    each = []
    for i in range(3):
        known = ~np.isnan(truth[:, i])
        each.append(by_scikit_learn(truth[known, i], scores[known, i] > THRESHOLDS[i], beta))
    known = ~np.isnan(truth)
    pooled = by_scikit_learn(truth[known], (scores > THRESHOLDS)[known], beta)
    wanted = np.array([*each, np.mean(each, axis=0), pooled])
    np.testing.assert_allclose(np.column_stack([table[name] for name in MEASURES]), wanted, atol=1e-12)
    assert table["label"].tolist() == [*LABELS, "macro", "micro"] and table["threshold"][:3].tolist() == [0.5, 0.3, 0.8]
    assert np.isnan(table["sensitivity_low"]).all()
    assert sum(table[name][-1] for name in ("true_positive", "false_positive", "false_negative", "true_negative")) == (
        known.sum()
    )


def test_what_is_at_the_threshold_is_not_above_it():
    found = confusion(np.array([[0.5], [0.50001]]), np.ones((2, 1)), np.array([0.5]))
    assert found[:, 0, 0].tolist() == [1, 0, 1, 0]


def test_nothing_divided_by_nothing():
    values = measures(np.array([0.0, 0.0, 0.0, 5.0]))
    assert np.isnan(values[[0, 2, 4, 5]]).all() and values[[1, 3]].tolist() == [1, 1]


def test_intervals_against_resampling_by_hand(study):
    scores, truth, groups = study
    found = decision_table(scores, truth, groups, LABELS, THRESHOLDS, bootstrap=40, seed=3)
    draws = np.random.default_rng(3).multinomial(60, np.full(60, 1 / 60), size=40)
    values = []
    for draw in draws:
        rows = np.repeat(np.arange(120), draw[groups])
        known = ~np.isnan(truth[rows, 1])
        values.append(by_scikit_learn(truth[rows, 1][known], scores[rows, 1][known] > 0.3, 2.0))
    low, high = np.nanpercentile(values, [2.5, 97.5], axis=0)
    np.testing.assert_allclose([found[f"{name}_low"][1] for name in MEASURES], low, atol=1e-12)
    np.testing.assert_allclose([found[f"{name}_high"][1] for name in MEASURES], high, atol=1e-12)


# ---- subgroups ------------------------------------------------------------------------------------------------------


def test_subgroups_are_the_tables_of_their_rows(study):
    scores, truth, groups = study
    sex = np.array(["male", "female", UNKNOWN])[groups % 3].tolist()
    found = subgroup_table(scores, truth, groups, LABELS, THRESHOLDS, {"sex": sex}, bootstrap=30, seed=1)
    assert found["value"][::5].tolist() == ["female", "male", "unknown"]
    for i, value in enumerate(("female", "male", UNKNOWN)):
        rows = np.array(sex) == value
        patients = np.unique(groups[rows], return_inverse=True)[1]
        part = scores[rows], truth[rows], patients, LABELS
        for table in (
            ranking_table(*part, bootstrap=30, seed=1),
            decision_table(*part, THRESHOLDS, bootstrap=30, seed=1),
        ):
            for name in table.columns:
                np.testing.assert_array_equal(found[name][5 * i : 5 * i + 5], table[name])
        assert found["patients"][5 * i] == 20 and found["rows"][5 * i] == 40


def test_bands_of_age():
    ages = [0, 17.9, "18", 39, 40.0, "79.0", 80, 130, 131, 300, None, "", "x", np.nan, -1, "9" * 1000]
    assert age_bands(ages) == ["0-17", "0-17", "18-39", "18-39", "40-59", "60-79", "80+", "80+", *[UNKNOWN] * 8]
    assert as_levels("Age", [20, "x"]) == ["18-39", UNKNOWN]


def test_values_as_text():
    assert as_levels("sex", [1.0, "1.0", 1, " f ", "", None, float("nan"), "NaN"]) == [
        "1",
        "1",
        "1",
        "f",
        *["unknown"] * 4,
    ]
    with pytest.raises(ConfigError, match="101 different values") as found:
        as_levels("height", list(range(101)))
    assert found.value.field == "height"


def test_values_come_in_order():
    values = [f"{i}" for i in (10, 9, 2)] + ["100+", "b", "a", UNKNOWN]
    truth = np.tile([[0.0], [1.0]], (7, 1))
    found = subgroup_table(
        truth, truth, np.arange(14), ("x",), np.array([0.5]), {"v": np.repeat(values, 2).tolist()}, bootstrap=0
    )
    assert found["value"][::3].tolist() == ["2", "9", "10", "100+", "a", "b", UNKNOWN]
    assert (found["auroc"] == 1).all()
