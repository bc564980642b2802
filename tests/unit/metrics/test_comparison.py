"""Paired comparisons: DeLong against its definition and a published example, the bootstrap by hand; coverage."""

import math

import numpy as np
import pytest

from ecgfm.metrics.comparison import comparison_table, delong, delong_difference
from ecgfm.metrics.intervals import weighted_ranking
from ecgfm.metrics.resampling import percentiles, resamples, two_sided_p

metrics = pytest.importorskip("sklearn.metrics", reason="needs the extra [train]")


def by_definition(scores, truth):
    """AUROCs and their covariance as DeLong et al. (1988) define them, with the kernel of all pairs."""
    x, y = scores[:, truth], scores[:, ~truth]
    kernel = (x[:, :, None] > y[:, None, :]) + 0.5 * (x[:, :, None] == y[:, None, :])
    v10, v01, auroc = kernel.mean(axis=2), kernel.mean(axis=1), kernel.mean(axis=(1, 2))
    s10 = (v10 - auroc[:, None]) @ (v10 - auroc[:, None]).T / (x.shape[1] - 1)
    s01 = (v01 - auroc[:, None]) @ (v01 - auroc[:, None]).T / (y.shape[1] - 1)
    return auroc, s10 / x.shape[1] + s01 / y.shape[1]


@pytest.mark.parametrize("count, digits", [(4, 1), (30, 1), (200, 6)])
def test_delong_against_its_definition(count, digits):
    rng = np.random.default_rng(count)
    truth = np.arange(count) % 3 == 0
    scores = (rng.random((3, count)) + 0.4 * truth).round(digits)
    for found, wanted in zip(delong(scores, truth), by_definition(scores, truth)):
        np.testing.assert_allclose(found, wanted, atol=1e-14)
    np.testing.assert_allclose(delong(scores, truth)[0], [metrics.roc_auc_score(truth, one) for one in scores])


def test_delong_on_a_published_example():
    """The 109 images that Hanley and McNeil (1982) rate from 1 to 5: Stata's manual states the area 0.8932, its
    standard error by DeLong's method 0.0307, and the interval 0.83295 to 0.95339."""
    normal, abnormal = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
    ratings = np.concatenate([np.repeat(np.arange(1, 6), counts) for counts in (normal, abnormal)])
    truth = np.arange(109) >= 58
    area, covariance = delong(ratings[None], truth)
    error = math.sqrt(covariance[0, 0])
    assert round(area[0], 4) == 0.8932 and round(error, 4) == 0.0307
    interval = area[0] - 1.959964 * error, area[0] + 1.959964 * error
    np.testing.assert_allclose(interval, (0.83295, 0.95339), atol=1e-5)


def test_the_difference_by_delong():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    truth = rng.random(150) < 0.4
    scores = rng.random((2, 150)) + np.array([[0.5], [0.3]]) * truth
    auroc, covariance = by_definition(scores, truth)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    low, high, p = delong_difference(scores, truth, 0.9)
    wanted = stats.norm.interval(0.9, auroc[0] - auroc[1], error)
    np.testing.assert_allclose((low, high), wanted, rtol=1e-9)
    np.testing.assert_allclose(p, 2 * stats.norm.sf(abs(auroc[0] - auroc[1]) / error), rtol=1e-9)


def test_delong_where_there_is_nothing_to_compare():
    truth = np.array([True, True, False, False])
    scores = np.array([0.9, 0.3, 0.4, 0.1])
    assert delong_difference(np.stack([scores, 2 * scores]), truth) == (0, 0, 1)
    assert all(map(math.isnan, delong_difference(np.stack([truth, ~truth]).astype(float), truth)))
    for few in (np.zeros(4, bool), truth & False, np.array([True, False, False, False])):
        assert all(map(math.isnan, delong_difference(np.stack([scores, scores[::-1]]), few)))


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(7)
    truth = (rng.random((80, 2)) < 0.4).astype(float)
    first, second = (rng.random((80, 2)) + weight * truth for weight in (0.5, 0.3))
    truth[:5, 1] = np.nan
    return first.round(2), second.round(2), truth


def test_the_paired_bootstrap_by_hand(study):
    first, second, truth = study
    groups = np.arange(80) // 2
    table = comparison_table(first, second, truth, groups, ("a", "b"), bootstrap=50, seed=5)
    draws = np.random.default_rng(5).multinomial(40, np.full(40, 1 / 40), size=50)
    for i in range(2):
        known = ~np.isnan(truth[:, i])
        differences = []
        for draw in draws:
            rows = np.repeat(np.arange(80)[known], draw[groups[known]])
            one = [metrics.roc_auc_score(truth[rows, i], scores[rows, i]) for scores in (first, second)]
            differences.append(one[0] - one[1])
        low, high = np.percentile(differences, [2.5, 97.5])
        at_most, at_least = (np.array(differences) <= 0).sum(), (np.array(differences) >= 0).sum()
        p = min(1, 2 * (min(at_most, at_least) + 1) / 51)
        found = [table[name][i] for name in ("auroc_low", "auroc_high", "auroc_p")]
        np.testing.assert_allclose(found, [low, high, p], atol=1e-12)
        point = [metrics.roc_auc_score(truth[known, i], scores[known, i]) for scores in (first, second)]
        np.testing.assert_allclose([table["auroc_a"][i], table["auroc_b"][i]], point)
        np.testing.assert_allclose(table["auroc_difference"][i], point[0] - point[1])
    assert np.isnan(table["delong_p"]).all()  # patients have two rows


def test_delong_where_each_patient_has_one_row(study):
    first, second, truth = study
    table = comparison_table(first, second, truth, np.arange(80), ("a", "b"), bootstrap=10)
    for i in range(2):
        known = ~np.isnan(truth[:, i])
        wanted = delong_difference(np.stack([first[known, i], second[known, i]]), truth[known, i] == 1)
        np.testing.assert_allclose([table[f"delong_{name}"][i] for name in ("low", "high", "p")], wanted)
    assert np.isnan(table["delong_p"][2:]).all()


def test_a_model_against_itself(study):
    first, _, truth = study
    table = comparison_table(first, first, truth, np.arange(80), ("a", "b"), bootstrap=50)
    for metric in ("auroc", "auprc"):
        assert (table[f"{metric}_difference"] == 0).all() and (table[f"{metric}_p"] == 1).all()
        assert (table[f"{metric}_low"] == 0).all() and (table[f"{metric}_high"] == 0).all()


def test_p_values_are_uniform_where_models_are_equal():
    """Of 400 comparisons of two equally good models some 5 % are below 0.05, by both methods."""
    rng, truth = np.random.default_rng(0), np.arange(100) % 2 == 1
    ps = []
    for seed in range(400):
        shared = 0.8 * truth + 0.7 * rng.standard_normal(100)
        scores = shared + 0.7 * rng.standard_normal((2, 100))
        weights = next(resamples(100, 100, seed))[1]
        first, second = (weighted_ranking(one, truth, weights)[0] for one in scores)
        ps.append((two_sided_p((first - second)[:, None])[0], delong_difference(scores, truth)[2]))
    below = (np.array(ps) < 0.05).mean(axis=0)
    assert (0.02 < below).all() and (below < 0.09).all(), below


def test_resamples_do_not_depend_on_how_many_come_at_once():
    whole = np.concatenate([weights for _, weights in resamples(7, 20, 3)])
    np.testing.assert_array_equal(whole, np.concatenate([weights for _, weights in resamples(7, 20, 3, at_once=3)]))
    assert (whole.sum(axis=1) == 7).all()


def test_p_and_percentiles_without_values():
    nothing = np.full((5, 2), np.nan)
    assert np.isnan(two_sided_p(nothing)).all() and np.isnan(percentiles(np.zeros(2), nothing, 0.95)).all()
    assert two_sided_p(np.ones((99, 1))).tolist() == [0.02]


def test_intervals_cover():
    """Studies of 200 patients with two recordings each: 95 % of the intervals hold the true value, +- 3 %.

    A short form, with fewer resamples and, for AUROC, studies. The full one is benchmarks/coverage.py.
    """
    rng, count = np.random.default_rng(1), 1000
    sick, patient = rng.random((count, 200, 1)) < 0.5, rng.standard_normal((count, 200, 1))
    truth = np.where(rng.random((count, 200, 2)) < 0.9, sick, rng.random((count, 200, 2)) < 0.5)
    scores = 1.2 * truth + 0.8 * patient + 0.8 * rng.standard_normal((count, 200, 2))
    sensitivity, auroc = (0.5 * math.erfc(-x / math.sqrt(2)) for x in (0.6 / math.sqrt(1.28), 1.2 / math.sqrt(2.56)))
    weights = next(resamples(200, 200, 0))[1]
    hits = np.array([scores > 0.6, truth]).all(axis=0).sum(axis=2).T  # (patients, studies)
    share = (weights @ hits) / (weights @ truth.sum(axis=2).T)
    low, high = percentiles(hits.sum(axis=0) / truth.sum(axis=(1, 2)), share, 0.95)
    assert abs(np.mean((low <= sensitivity) & (sensitivity <= high)) - 0.95) < 0.03
    groups, held, width = np.repeat(np.arange(200), 2), [], []
    for study in range(400):
        given = scores[study].ravel(), truth[study].ravel()
        weights = next(resamples(200, 200, study))[1]
        (low,), (high,) = percentiles(np.zeros(1), weighted_ranking(*given, weights[:, groups])[0][:, None], 0.95)
        held.append(low <= auroc <= high)
        width.append(high - low)
    assert abs(np.mean(held) - 0.95) < 0.03
    # recordings drawn by themselves would not do: their intervals are too narrow
    weights = next(resamples(400, 200, 0))[1]
    narrow = [np.ptp(np.percentile(weighted_ranking(scores[study].ravel(), truth[study].ravel(), weights)[0],
                                   [2.5, 97.5])) for study in range(50)]  # fmt: skip
    assert np.mean(narrow) < 0.95 * np.mean(width)
