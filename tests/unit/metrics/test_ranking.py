"""AUROC and average precision: against scikit-learn, and what is undefined."""

from pathlib import Path

import numpy as np
import pytest

import ecgfm
from ecgfm.metrics.intervals import ranking_table
from ecgfm.metrics.ranking import METRICS, auroc_auprc, mean_of_known, ranking
from ecgfm.training.objectives import OBJECTIVES

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


@pytest.mark.parametrize("value", [0, 1])
def test_the_rule_for_one_class_is_said(value):
    truth, scores = np.full(4, bool(value)), np.arange(4.0)
    auroc, auprc = auroc_auprc(truth, scores, one_class="share")
    assert np.isnan(auroc) and auprc == value
    found = ranking(truth[:, None], scores[:, None], one_class="share")
    assert np.isnan(found[:, :2]).all() and found[1, 2] == value


def test_scores_are_ranked_as_given():
    logits, truth = np.array([20.0, 30.0, -1.0]), np.array([False, True, False])
    with np.errstate(over="ignore"):
        sigmoids = 1 / (1 + np.exp(-logits.astype(np.float32)))  # the first two are 1
    assert auroc_auprc(truth, logits)[0] == 1 and auroc_auprc(truth, sigmoids)[0] == 0.75


def test_one_name_is_one_number():
    """Finetuning, evaluation and the commands agree, also about a label with one class."""
    rng = np.random.default_rng(3)
    logits, y = rng.standard_normal((60, 4)).astype(np.float32), (rng.random((60, 4)) < 0.3).astype(np.float32)
    y[:, 2] = 0
    scores = 1 / (1 + np.exp(-logits))
    table = ranking_table(scores, y, np.arange(60), "abcd", bootstrap=0)
    stats, rows = (
        OBJECTIVES["binary_cross_entropy_with_logits"]
        .reporting()
        .ranking({"precision": 0.5, "recall": 0.5}, logits, y, None)
    )
    found = ranking(y == 1, scores)
    for i, metric in enumerate(METRICS):
        np.testing.assert_array_equal(table[metric], found[i])
        np.testing.assert_array_equal([row[2 + i] for row in rows], found[i, :4])
        assert (stats[f"{metric}_macro"], stats[metric]) == tuple(found[i, 4:])


def test_only_metrics_ranks():
    package = Path(ecgfm.__file__).parent
    outside = [path for path in package.rglob("*.py") if path.parent.name != "metrics"]
    assert not [path for path in outside if "roc_auc_score" in path.read_text(encoding="utf-8")]
