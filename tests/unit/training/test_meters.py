"""Means that a checkpoint brings: only what can be counted with is taken."""

import math

import pytest

from ecgfm.training.meters import Meters
from ecgfm.training.objectives import OBJECTIVES

CLASSIFICATION = OBJECTIVES["binary_cross_entropy_with_logits"]


@pytest.mark.parametrize(
    "entry",
    [
        [10, "a", "AverageMeter", {"sum": "x", "count": 1}],
        [10, "a", "AverageMeter", {"sum": 1 << 5000, "count": 1}],
        [10, "a", "AverageMeter", {"sum": 1, "count": None}],
        [10, ["a"], "AverageMeter", {"sum": 1, "count": 1}],
        [10, "a", ["AverageMeter"], {"sum": 1, "count": 1}],
        [10, "a", "AverageMeter", [1, 2]],
        [10, "a"],
        7,
    ],
)
def test_entries_that_are_left_out(entry):
    meters = Meters()
    meters.load([entry, [10, "b", "AverageMeter", {"val": 1 << 5000, "sum": 6.0, "count": 2, "round": 1 << 70}]])
    assert "a" not in meters and meters.mean("b") == 3.0
    meters.log("b", 5.0, 1)
    assert meters.mean("b") == pytest.approx(11 / 3)


@pytest.mark.parametrize("objective", [CLASSIFICATION.reporting(), OBJECTIVES["wav2vec2_with_cmsc"].reporting()])
def test_nothing_counted(objective):
    """An epoch without an update: NaN, not nothing."""
    assert all(math.isnan(value) for value in objective.shown(Meters()).values())
