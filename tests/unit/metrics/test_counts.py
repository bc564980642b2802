"""Counts at a threshold, and the shares that follow from them."""

import math

import numpy as np
import pytest

from ecgfm.metrics.counts import COUNTS, bce_sums, cut_of, f1, loss_and_shares, share, shares


def test_counts_by_hand():
    logits = np.array([[2.0, -1.0], [0.1, 0.2], [-3.0, -0.5]], np.float32)
    y = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    sums = bce_sums(logits, y)
    assert {name: sums[name] for name in COUNTS} == {
        "count": 6, "correct": 4, "rows": 3, "exact": 1, "true_positive": 2, "false_positive": 1, "false_negative": 1,
    }  # fmt: skip
    p = 1 / (1 + np.exp(-logits.astype(float)))
    loss = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert sums["loss"] == pytest.approx(loss.sum())
    weighted = bce_sums(logits, y, np.array([3.0, 1.0]))
    assert weighted["loss"] == pytest.approx((np.where(y == 1, [3, 1], 1) * loss).sum())
    found = loss_and_shares(sums)
    assert found["loss"] == pytest.approx(loss.mean() / math.log(2)) and found["nsignals"] == 3
    assert shares(sums) == {"accuracy": 4 / 6, "em_accuracy": 1 / 3, "precision": 2 / 3, "recall": 2 / 3}
    assert f1(2 / 3, 2 / 3) == pytest.approx(2 / 3)


def test_a_threshold_moves_the_cut():
    logits, y = np.array([[1.0]]), np.ones((1, 1))
    assert bce_sums(logits, y, threshold=0.7)["true_positive"] == 1
    assert bce_sums(logits, y, threshold=0.8)["true_positive"] == 0
    assert 1 / (1 + math.exp(-cut_of(0.3))) == pytest.approx(0.3)


def test_what_is_undefined_is_nan():
    assert math.isnan(share(0, 0)) and math.isnan(f1(0, 0)) and math.isnan(f1(math.nan, 1))
    sums = bce_sums(np.full((2, 2), -9.0), np.zeros((2, 2)))
    assert math.isnan(shares(sums)["precision"]) and shares(sums)["accuracy"] == 1
