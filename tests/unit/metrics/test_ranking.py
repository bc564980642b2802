"""AUROC and average precision: against scikit-learn, and what is undefined."""

import numpy as np
import pytest

from ecgfm.metrics.ranking import auroc_auprc, mean_of_known, ranking

metrics = pytest.importorskip("sklearn.metrics", reason="needs the extra [train]")


def test_against_scikit_learn():
    rng = np.random.default_rng(1)
    truth, scores = (rng.random((40, 3)) < 0.3).astype(float), rng.random((40, 3)).round(1)
    truth[5, 0] = truth[7, 2] = np.nan
    found = ranking(truth, scores)
    for i in range(3):
        known = ~np.isnan(truth[:, i])
        args = truth[known, i], scores[known, i]
        assert found[:, i] == pytest.approx([metrics.roc_auc_score(*args), metrics.average_precision_score(*args)])
    known = ~np.isnan(truth)
    assert found[:, 3] == pytest.approx(found[:, :3].mean(axis=1))
    assert found[:, 4] == pytest.approx(
        [f(truth[known], scores[known]) for f in (metrics.roc_auc_score, metrics.average_precision_score)]
    )


@pytest.mark.parametrize("truth", [[0, 0, 0], [1, 1, 1], []])
def test_one_class_has_no_value(truth):
    truth = np.array(truth, bool)
    assert np.isnan(auroc_auprc(truth, np.arange(len(truth)))).all()
    table = np.stack([truth, truth], axis=1)
    assert np.isnan(ranking(table, np.zeros(table.shape))).all()
    assert np.isnan(ranking(table.astype(float), np.zeros(table.shape))).all()


def test_a_label_of_one_class_is_left_out_of_the_mean():
    truth = np.array([[0, 1], [1, 1], [0, 1]], bool)
    found = ranking(truth, np.array([[1, 2], [3, 4], [2, 1.0]]))
    assert found[:, 0].tolist() == [1, 1] and np.isnan(found[:, 1]).all() and found[:, 2].tolist() == [1, 1]
    assert mean_of_known(np.array([[1, np.nan], [np.nan, np.nan]]))[0] == 1
