"""Calibration and thresholds against scikit-learn and definitions."""

import math

import numpy as np
import pytest

import ecgfm
from ecgfm.metrics import calibration
from ecgfm.metrics.thresholds import Rule, choose
from ecgfm.specs.trust import MOST_KNOTS


def problem(n=400, seed=0, slope=0.4, shift=-1.0):
    """Logits that are too sure of themselves, labels, and weights."""
    rng = np.random.default_rng(seed)
    z = 3 * rng.standard_normal(n)
    y = rng.random(n) < 1 / (1 + np.exp(-(slope * z + shift)))
    return z, y, rng.uniform(0.2, 2, n)


def by_hand(y, p, bins):
    """The definition, for distinct probabilities: bins of equally many cells."""
    order = np.argsort(p)
    parts = [order[np.arange(len(p)) * bins // len(p) == b] for b in range(bins)]
    return sum(len(part) * abs(p[part].mean() - y[part].mean()) for part in parts if len(part)) / len(p)


@pytest.mark.parametrize("bins", [10, 15])
@pytest.mark.parametrize("n", [3, 97, 400])
def test_expected_calibration_error(n, bins):
    rng = np.random.default_rng(n)
    p = rng.random(n)
    y = (rng.random(n) < p**2).astype(float)
    assert calibration.ece(y, p, bins) == pytest.approx(by_hand(y, p, bins), abs=1e-12)
    unknown = np.append(y, [np.nan] * 5)
    assert calibration.ece(unknown, np.append(p, rng.random(5)), bins) == pytest.approx(by_hand(y, p, bins), abs=1e-12)
    assert calibration.ece(np.where(p > 0.5, 1.0, 0.0), np.where(p > 0.5, 1.0, 0.0), bins) == 0


def test_equal_probabilities_are_one_bin():
    """The order of equal ones doesn't matter."""
    p, y = np.full(100, 0.3), np.repeat([0.0, 1.0], [70, 30])
    assert calibration.ece(y, p) == pytest.approx(0, abs=1e-12) == calibration.ece(y[::-1], p)


def test_errors_of_a_table():
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    rng = np.random.default_rng(3)
    p = rng.random((200, 3))
    y = (rng.random((200, 3)) < p).astype(float)
    y[4:, 2], y[rng.random(y.shape) < 0.1] = 0, np.nan
    y[:4, 2] = 1  # fewer than 5 positives
    found = calibration.calibration_errors(y, p)
    known = ~np.isnan(y)
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(y[known], p[known]))
    each = [by_hand(y[known[:, i], i], p[known[:, i], i], 15) for i in range(2)]
    assert found["ece_macro"] == pytest.approx(np.mean(each)) and found["ece"] == pytest.approx(
        by_hand(y[known], p[known], 10)
    )
    table = calibration.calibration_table(y, p, ["a", "b", "c"])
    assert list(table["label"]) == ["a", "b", "c", "macro", "micro"] and math.isnan(table["ece"][2])
    assert table["ece"][-1] == found["ece"] and table["ece"][-2] == found["ece_macro"]
    assert table["brier"][0] == pytest.approx(metrics.brier_score_loss(y[known[:, 0], 0], p[known[:, 0], 0]))


def test_reliability_curve():
    """As scikit-learn's with quantiles as bins."""
    sklearn = pytest.importorskip("sklearn.calibration", reason="needs scikit-learn")
    rng = np.random.default_rng(5)
    p = rng.random(500)
    y = (rng.random(500) < p).astype(float)
    table = calibration.reliability_table(y[:, None], p[:, None], ["a"])
    share, mean = sklearn.calibration_curve(y, p, n_bins=10, strategy="quantile")
    rows = table["label"] == "a"
    np.testing.assert_allclose(table["share"][rows], share, atol=0.03)  # a cell at an edge is in the other bin there
    np.testing.assert_allclose(table["probability"][rows], mean, atol=2e-3)
    assert table["n"][rows].sum() == 500


@pytest.mark.parametrize("slope, shift", [(0.4, -1.0), (3.0, 2.0), (0.05, 0.0)])
def test_platt_and_temperature(slope, shift):
    """As scikit-learn's logistic regression of Platt's soft labels, each as a pair of weighted hard ones."""
    linear = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    z, y, w = problem(slope=slope, shift=shift)
    positives, negatives = w[y].sum(), w[~y].sum()
    soft = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    given = np.tile(z, 2)[:, None], np.repeat([1, 0], len(z)), np.concatenate([w * soft, w * (1 - soft)])
    for fit, own in ((True, calibration.fit_platt), (False, calibration.fit_temperature)):
        reference = linear.LogisticRegression(C=1e12, fit_intercept=fit, tol=1e-12, max_iter=10_000).fit(*given)
        found = own(z, y, w)
        assert found.slope == pytest.approx(reference.coef_[0, 0], rel=1e-4)
        assert found.intercept == pytest.approx(float(np.ravel(reference.intercept_)[0]), rel=1e-4, abs=1e-6)
        np.testing.assert_allclose(found.probabilities(z), reference.predict_proba(z[:, None])[:, 1], atol=1e-5)


@pytest.mark.parametrize("n", [5, 400, 5000])
def test_isotonic(n):
    isotonic = pytest.importorskip("sklearn.isotonic", reason="needs scikit-learn")
    z, y, w = problem(n, seed=n)
    z = np.round(z, 1)  # ties
    reference = isotonic.IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(z, y, sample_weight=w)
    found = calibration.fit_isotonic(z, y, w)
    at = np.linspace(-15, 15, 301)
    np.testing.assert_allclose(found.probabilities(at), reference.predict(at), atol=1e-6)  # it works in float32 there
    assert len(found.x) <= MOST_KNOTS and all(a < b for a, b in zip(found.x, found.x[1:]))


def test_logits_that_tell_all_apart_or_go_the_wrong_way():
    z, y = np.linspace(-3, 3, 20), np.repeat([False, True], 10)
    for fit in (calibration.fit_platt, calibration.fit_temperature):
        assert 0 < fit(z, y, np.ones(20)).slope < 100
        assert fit(-z, y, np.ones(20)) is None
        huge = fit(1e4 * z, y, np.ones(20)).probabilities(np.array([-1e30, 1e30]))
        np.testing.assert_array_equal(huge, [0, 1])
    assert calibration.fit_isotonic(-z, y, np.ones(20)).y == (0.5, 0.5)


def test_curves_of_very_many_steps_are_thinned():
    x = np.arange(4000.0)
    found = calibration.fit_isotonic(x, x / 4000, np.ones(4000))
    assert len(found.x) == MOST_KNOTS
    np.testing.assert_allclose(found.probabilities(x), x / 4000, atol=2e-3)


# ---- thresholds ----------------------------------------------------------------------------------------------------


def shares(truth, scores, at):
    predicted = scores > at
    return (predicted & (truth == 1)).sum() / (truth == 1).sum(), (~predicted & (truth == 0)).sum() / (truth == 0).sum()


@pytest.fixture
def scored():
    rng = np.random.default_rng(8)
    p = np.round(rng.random(300), 2)  # ties
    return (rng.random(300) < p).astype(float), p


def test_youden(scored):
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    false, true, _ = metrics.roc_curve(*scored)
    at = choose(*scored, Rule.of("youden"))
    assert sum(shares(*scored, at)) - 1 == pytest.approx((true - false).max(), abs=1e-12)
    unknown = np.append(scored[0], np.nan), np.append(scored[1], 0.9)
    assert choose(*unknown, Rule.of("youden")) == at


@pytest.mark.parametrize("least", [0.5, 0.9, 0.95, 1.0])
def test_fixed_sensitivity_and_specificity(scored, least):
    """At least so much, and of the other as much as that allows."""
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    false, true, _ = metrics.roc_curve(*scored, drop_intermediate=False)
    sensitivity, specificity = shares(*scored, choose(*scored, Rule.of(f"sensitivity={least}")))
    assert sensitivity >= least - 1e-12 and specificity == pytest.approx(1 - false[true >= least - 1e-12].min())
    sensitivity, specificity = shares(*scored, choose(*scored, Rule.of(f"specificity={least}")))
    assert specificity >= least - 1e-12 and sensitivity == pytest.approx(true[1 - false >= least - 1e-12].max())


@pytest.mark.parametrize("cost", [0.1, 1, 5, 1000])
def test_cost(scored, cost):
    truth, p = scored

    def costs(at):
        return ((p > at) & (truth == 0)).sum() + cost * ((p <= at) & (truth == 1)).sum()

    found = choose(truth, p, Rule.of(f"cost={cost}"))
    assert costs(found) == pytest.approx(min(costs(at) for at in np.linspace(0, 1, 1001)))


def test_labels_of_one_class_have_none():
    for truth in (np.zeros(4), np.ones(4), np.full(4, np.nan)):
        assert choose(truth, np.linspace(0, 1, 4), Rule.of("youden")) is None
    assert choose(np.array([1.0, 0.0]), np.array([0.0, 0.5]), Rule.of("sensitivity=1")) == 0.25  # 0 is above nothing


@pytest.mark.parametrize("given", [None, 7, "", "youden=1", "sensitivity", "sensitivity=0", "specificity=1.1",
                                   "cost=0", "cost=x", "cost=nan", "best", "youden" * 100])  # fmt: skip
def test_rules_that_are_refused(given):
    with pytest.raises(ecgfm.ConfigError) as caught:
        Rule.of(given)
    assert caught.value.field == "thresholds"
