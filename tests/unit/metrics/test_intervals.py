"""Bootstrap intervals and weighted rankings: against scikit-learn and by hand."""

import numpy as np
import pytest

from ecgfm.metrics.intervals import ranking_table, weighted_ranking

metrics = pytest.importorskip("sklearn.metrics", reason="needs the extra [train]")


def test_resamples_are_of_recordings():
    """Copies of a recording's segments add nothing: the interval is that of one segment each."""
    rng = np.random.default_rng(0)
    scores, truth = rng.random((40, 2)), (rng.random((40, 2)) < 0.5).astype(float)
    once = ranking_table(scores, truth, np.arange(40), ("a", "b"), bootstrap=200, seed=1)
    thrice = [np.repeat(part, 3, axis=0) for part in (scores, truth, np.arange(40))]
    copied = ranking_table(*thrice, ("a", "b"), bootstrap=200, seed=1)
    for name in ("auroc", "auroc_low", "auroc_high", "auprc", "auprc_low", "auprc_high"):
        np.testing.assert_allclose(copied[name], once[name], atol=1e-12)


def test_the_interval_against_resampling_by_hand():
    rng = np.random.default_rng(0)
    scores, truth = rng.random((30, 1)).round(1), (rng.random((30, 1)) < 0.4).astype(float)
    table = ranking_table(scores, truth, np.arange(30), ("a",), bootstrap=400, seed=9)
    draws = np.random.default_rng(9).multinomial(30, np.full(30, 1 / 30), size=400)
    values = []
    for draw in draws:
        rows = np.repeat(np.arange(30), draw)
        values.append(metrics.roc_auc_score(truth[rows, 0], scores[rows, 0]) if 0 < truth[rows].sum() < 30 else np.nan)
    expected_low, expected_high = np.nanpercentile(values, [2.5, 97.5])
    np.testing.assert_allclose(
        [table["auroc_low"][0], table["auroc_high"][0]], [expected_low, expected_high], atol=1e-12
    )


@pytest.mark.parametrize("count", [1, 2, 5, 60, 400])
def test_weighted_ranking_against_scikit_learn(count):
    rng = np.random.default_rng(count)
    scores = rng.random(count).round(1).astype(np.float32)  # with ties
    truth = rng.random(count) < 0.4
    weights = rng.integers(0, 4, (25, count)).astype(float)
    for found, weight in zip(weighted_ranking(scores, truth, weights).T, weights):
        if not weight[truth].any() or not weight[~truth].any():
            assert np.isnan(found).all()
            continue
        kept = weight > 0
        given = truth[kept], scores[kept]
        wanted = [
            f(*given, sample_weight=weight[kept]) for f in (metrics.roc_auc_score, metrics.average_precision_score)
        ]
        np.testing.assert_allclose(found, wanted, atol=1e-12)
