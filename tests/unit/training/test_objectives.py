"""What a run reports: counts at a threshold, rankings, the challenge's score, means of pretraining."""

import math

import numpy as np
import pytest
from golden import arrays, load_json

from ecgfm.metrics.challenge import ChallengeScore
from ecgfm.training.meters import Meters
from ecgfm.training.objectives import OBJECTIVES

CLASSIFICATION = OBJECTIVES["binary_cross_entropy_with_logits"]

pytest.importorskip("sklearn", reason="needs the extra [train]")


def stats_of(objective, logits, y, pos_weight=None, batch=32):
    meters = Meters()
    for start in range(0, len(y), batch):
        rows = slice(start, start + batch)
        for entry in objective.entries(objective.sums(logits[rows], y[rows], pos_weight)):
            meters.log(*entry)
    return objective.ranking(objective.shown(meters), logits, y, None)


@pytest.mark.parametrize("case", ["metrics_plain", "metrics_pos_weight", "metrics_threshold0.3"])
def test_metrics_of_the_original(shared, case):
    recorded = load_json(shared / "golden/masks.json")
    found = arrays(shared / "golden/masks.npz", "metrics/")
    cfg, expected = recorded[case]["cfg"], recorded[case]["train_loop_validation"]
    weights = np.array(cfg["pos_weight"], np.float32) if "pos_weight" in cfg else None
    stats, rows = stats_of(
        CLASSIFICATION.reporting(threshold=cfg.get("threshold", 0.5)), found["logits"], found["labels"], weights
    )
    for name, value in expected.items():
        assert stats[name] == pytest.approx(value, abs=1e-6 if name != "f1" else 1e-4), name
    each = recorded["metrics_sklearn_per_class"]
    for i, name in ((2, "auroc"), (3, "auprc")):
        values = [math.nan if auroc is None else value for value, auroc in zip(each[name], each["auroc"])]
        np.testing.assert_allclose([row[i] for row in rows], values, atol=1e-7)


def test_one_class_is_left_out_of_means():
    rng = np.random.default_rng(0)
    logits, y = rng.standard_normal((40, 3)), (rng.random((40, 3)) < 0.5).astype(np.float32)
    y[:, 1] = 0
    stats, rows = stats_of(CLASSIFICATION.reporting(), logits, y)
    assert math.isnan(rows[1][2]) and math.isnan(rows[1][3])  # of a label: ours
    assert stats["auroc_macro"] == pytest.approx((rows[0][2] + rows[2][2]) / 2)
    assert stats["auprc_macro"] == pytest.approx((rows[0][3] + rows[2][3]) / 2)


def test_one_class_alone_is_as_in_the_original():
    logits = np.random.default_rng(0).standard_normal((40, 1))
    for value in (0, 1):
        stats, rows = stats_of(CLASSIFICATION.reporting(), logits, np.full((40, 1), value, np.float32))
        assert math.isnan(stats["auroc"]) and stats["auprc"] == value  # the original's columns
        assert math.isnan(stats["auroc_macro"]) and math.isnan(stats["auprc_macro"]) and math.isnan(rows[0][3])


def test_the_score_of_the_challenge(tmp_path):
    (tmp_path / "weights.csv").write_text(",111,426783006,333\n111,1,0.3,0.5\n426783006,0.3,1,0.4\n333,0.5,0.4,1\n")
    truth = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]], bool)
    predicted = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, 0]], bool)
    challenge = ChallengeScore(tmp_path / "weights.csv")
    objective = CLASSIFICATION.reporting(challenge=challenge)
    logits = np.where(predicted, 3.0, -3.0)
    stats, _ = stats_of(objective, logits, truth.astype(np.float32), batch=3)
    assert stats["cinc_score"] == pytest.approx((1.7 - 1.05) / (3.4 - 1.05), abs=1e-5)
    perfect, _ = stats_of(objective, np.where(truth, 3.0, -3.0), truth.astype(np.float32))
    assert perfect["cinc_score"] == 1 and "cinc_score" in objective.valid_columns


def test_means_of_pretraining():
    objective, meters = OBJECTIVES["wav2vec2_with_cmsc"].reporting(), Meters()
    for size, value in ((10, 1.0), (30, 3.0)):
        result = dict.fromkeys(("loss", "loss_0", "loss_1", "loss_2", "loss_3"), value)
        result |= {"sample_size": size, "nsignals": size / 5, "accuracy": value / 10}
        for entry in objective.entries(result | dict.fromkeys(("prob_perplexity", "code_perplexity", "temp"), value)):
            meters.log(*entry)
    shown = objective.shown(meters)
    assert shown["loss"] == 2.5 and shown["accuracy"] == 0.25 and shown["temp"] == 2 and shown["nsignals"] == 4
    assert OBJECTIVES["cmsc"].reporting().train_columns == ("loss", "nsignals")


def test_meters_take_only_what_they_gave():
    meters = Meters()
    meters.log("a", 2.0, 3, 1)
    meters.log("b", 1)
    again = Meters()
    again.load(meters.state())
    assert again.state() == meters.state() and again.mean("a") == 2.0 and "c" not in again
    again.load(
        [[10, "a", "TimeMeter", {"sum": 1, "count": 1}], [10, "b"], "x", [10, "c", "AverageMeter", {"sum": "x"}]]
    )
    assert again.state() == []
    again.load(None)
    assert again.state() == []
