"""The score of the challenge: by hand, and tables that are refused."""

import math

import numpy as np
import pytest

from ecgfm.errors import ConfigError
from ecgfm.metrics.challenge import ChallengeScore

WEIGHTS = ",111|222,426783006,333\n111|222,1,0.3,0.5\n426783006,0.3,1,0.4\n333,0.5,0.4,1\n"


@pytest.fixture
def challenge(tmp_path):
    (tmp_path / "weights.csv").write_text(WEIGHTS)
    return ChallengeScore(tmp_path / "weights.csv")


def test_the_score_of_the_challenge(challenge):
    truth = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]], bool)
    predicted = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, 0]], bool)
    # By hand: (1 + 0.5) / 2, (1 + 0.4) / 2, 0.5 / 2, 0.
    sums = challenge.sums(predicted, truth)
    assert sums["o_score"] == pytest.approx(0.75 + 0.7 + 0.25)
    assert sums["c_score"] == pytest.approx(1 + (1 + 1 + 0.4 + 0.4) / 2 + 1)
    assert sums["i_score"] == pytest.approx(0.3 / 2 + (1 + 0.4) / 2 + 0.4 / 2)
    assert challenge.score(sums) == pytest.approx((1.7 - 1.05) / (3.4 - 1.05))
    assert challenge.score(challenge.sums(truth, truth)) == 1
    assert math.isnan(challenge.score(dict.fromkeys(challenge.COUNTS, 0.0)))


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "same classes"),
        (",111,333\n111,1,2\n333,2,1\n", "426783006"),
        (",111,426783006\n111,1,x\n426783006,1,1\n", "not a table"),
        (",426783006,111\n111,1,2\n426783006,2,1\n", "same classes"),
        (",111,426783006\n111,1,2\n", "same classes"),
    ],
)
def test_weights_that_are_refused(tmp_path, text, words):
    (tmp_path / "weights.csv").write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        ChallengeScore(tmp_path / "weights.csv")
    assert caught.value.field == "criterion.weights_file"


def test_another_number_of_labels(challenge):
    with pytest.raises(ConfigError, match="3 classes"):
        challenge.sums(np.zeros((1, 4), bool), np.zeros((1, 4), bool))
