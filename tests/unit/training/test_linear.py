"""Logistic regressions of embeddings: against scikit-learn."""

import numpy as np
import pytest

from ecgfm import ConfigError, MissingExtraError
from ecgfm.metrics.ranking import ranking
from ecgfm.training.linear import chosen_linear, fit_linear

linear_model = pytest.importorskip("sklearn.linear_model", reason="needs the extra [train]")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 6)).astype(np.float32) * [1, 5, 0.1, 1, 1, 1] + 3
    y = (x @ rng.standard_normal((6, 3)) + rng.standard_normal((300, 3)) > [0, 1, 2]).astype(bool)
    y[:, 2] = np.arange(300) == 7  # a rare label
    return x, y


@pytest.mark.parametrize("strength", [0.001, 0.1, 10.0])
def test_against_scikit_learn(data, strength):
    x, y = data
    found = fit_linear(x, y, strength)
    scaled = (x - x.mean(axis=0, dtype=float)) / x.std(axis=0, dtype=float)
    assert found.converged
    for i in range(3):
        wanted = linear_model.LogisticRegression(C=strength, tol=1e-9, max_iter=10000).fit(scaled, y[:, i])
        np.testing.assert_allclose(found.weight[i], wanted.coef_[0], atol=2e-4)
        np.testing.assert_allclose(found.bias[i], wanted.intercept_[0], atol=2e-3)
        np.testing.assert_allclose(found.logits(x)[:, i], wanted.decision_function(scaled), atol=5e-3)


def test_labels_of_one_class_and_constant_columns(data):
    x, y = data
    x, y = x.copy(), y.copy()
    x[:, 3], y[:, 0], y[:, 1] = 7, False, True
    found = fit_linear(x, y, 1.0)
    logits = found.logits(x)
    assert not found.weight[:2].any() and np.abs(found.weight[:, 3]).max() < 1e-12 and np.isfinite(logits).all()
    assert (logits[:, 0] < -5).all() and (logits[:, 1] > 5).all()
    alone = fit_linear(x, y[:, :2], 1.0)
    assert alone.converged and np.ptp(alone.logits(x), axis=0).max() == 0
    with pytest.raises(ConfigError, match="no recordings"):
        fit_linear(x[:0], y[:0], 1.0)


def test_the_best_on_validation_is_taken(data):
    x, y = data
    strengths = (1.0, 0.0001, 0.01)
    found, auroc = chosen_linear(x[:150], y[:150], x[150:], y[150:], strengths)
    each = {c: ranking(y[150:], fit_linear(x[:150], y[:150], c).logits(x[150:]))[0, -2] for c in strengths}
    assert found.strength == max(each, key=each.get) and auroc == pytest.approx(max(each.values()), abs=1e-4)
    none, auroc = chosen_linear(x[:150], y[:150], x[150:], y[150:] & False, strengths)
    assert np.isnan(auroc) and none.strength == 1.0
    with pytest.raises(ConfigError):
        chosen_linear(x, y, x, y, ())


def test_without_scipy(data, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy.optimize", None)
    with pytest.raises(MissingExtraError, match=r"ecgfm\[train\]"):
        fit_linear(*data, 1.0)
