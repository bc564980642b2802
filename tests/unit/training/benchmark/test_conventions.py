"""The conventions of published PTB-XL benchmarks: against resampling by hand with scikit-learn."""

import numpy as np
import pytest

from ecgfm.training.benchmark.conventions import CONVENTIONS, Score, macro_auroc

metrics = pytest.importorskip("sklearn.metrics", reason="needs the extra [train]")


@pytest.fixture(scope="module")
def study():
    """(scores, truth, patients): the last class has two positives."""
    rng = np.random.default_rng(5)
    truth = rng.random((60, 3)) < 0.4
    truth[:, 2] = np.isin(np.arange(60), (3, 40))
    return (rng.random((60, 3)) + 0.4 * truth).round(2), truth, np.arange(60) // 2


def by_hand(scores, truth, draws, empty):
    """Macro AUROCs of the draws that count."""
    found = []
    for draw in draws:
        rows = np.repeat(np.arange(len(truth)), draw)
        t, s = truth[rows], scores[rows]
        empties = ~(t.any(axis=0) & ~t.all(axis=0))
        if empty == "reject" and empties.any():
            continue
        each = [
            0.5 if none and empty == "half" else np.nan if none else metrics.roc_auc_score(t[:, i], s[:, i])
            for i, none in enumerate(empties)
        ]
        found.append(np.nanmean(each))
    return found


@pytest.mark.parametrize("name, tail", [("ecgfm", 2.5), ("helme", 5), ("ai4health", 2.5)])
def test_against_resampling_by_hand(study, name, tail):
    scores, truth, patients = study
    convention = CONVENTIONS[name]
    convention = type(convention)(**vars(convention) | {"resamples": 64})
    found = macro_auroc(scores, truth, patients, convention, seed=3)
    assert found.auroc == pytest.approx(metrics.roc_auc_score(truth, scores, average="macro"))
    rng, values = np.random.default_rng(3), []
    total = 30 if convention.patients else 60
    while len(values) < 64:
        draws = rng.multinomial(total, np.full(total, 1 / total), 64)
        values += by_hand(scores, truth, draws[:, patients] if convention.patients else draws, convention.empty)
    low, high = np.percentile(values[:64], [tail, 100 - tail])
    np.testing.assert_allclose([found.low, found.high], [low, high], atol=1e-12)
    assert found.resamples == 64 and found.undefined == ()


def test_conventions_differ(study):
    """A class with two positives: rejecting, nothing and 0.5 in its place give other intervals."""
    ends = {name: macro_auroc(*study, one, seed=1).low for name, one in CONVENTIONS.items()}
    assert len({round(low, 6) for low in ends.values()}) == 3
    assert ends["ai4health"] < ends["helme"]


def test_classes_without_positives(study):
    scores, truth, patients = study
    truth = truth.copy()
    truth[:, 2] = False
    two = metrics.roc_auc_score(truth[:, :2], scores[:, :2], average="macro")
    for name, wanted in (("ecgfm", two), ("helme", two), ("ai4health", (2 * two + 0.5) / 3)):
        found = macro_auroc(scores, truth, patients, CONVENTIONS[name])
        assert found.auroc == pytest.approx(wanted) and found.undefined == (2,) and found.low < found.auroc
    nothing = macro_auroc(scores, truth & False, patients, CONVENTIONS["helme"])
    assert np.isnan([nothing.auroc, nothing.low, nothing.high]).all() and nothing.printed() == "-"


def test_rejecting_ends():
    """Where resamples are nearly all to be drawn again there are fewer of them, or none, in bounded time."""
    truth = np.zeros((40, 2), bool)
    truth[0, 0] = truth[1, 1] = True
    scores = np.random.default_rng(0).random((40, 2))
    found = macro_auroc(scores, truth, np.arange(40), CONVENTIONS["helme"])
    assert found.resamples == 100 and found.low <= found.high
    each = np.eye(12, dtype=bool)  # all twelve must be drawn: one in 18,000
    few = macro_auroc(scores[:12, :1] + each, each, np.arange(12), CONVENTIONS["helme"])
    assert few.resamples < 5 and few.auroc > 0.9


def test_over_another_score(study):
    """The difference on the same resamples, by hand; rejected ones are the same for both."""
    scores, truth, patients = study
    other = np.random.default_rng(8).random(scores.shape)
    for convention in CONVENTIONS.values():
        a, b = (macro_auroc(each, truth, patients, convention, seed=2) for each in (scores, other))
        difference, low, high, p = a.over(b, convention)
        tail = 50 * (1 - convention.confidence)
        assert difference == a.auroc - b.auroc
        np.testing.assert_allclose((low, high), np.percentile(a.values - b.values, [tail, 100 - tail]))
        count = len(a.values)
        assert p == pytest.approx(
            2 * (1 + min((a.values <= b.values).sum(), (a.values >= b.values).sum())) / (count + 1)
        )
        assert a.over(a, convention) == (0, 0, 0, 1)


def test_as_printed():
    each = values = np.zeros(1)
    assert Score(0.9254, 0.9185, 0.9315, each, (), values).printed() == ".925(07)"
    assert Score(1.0, np.nan, np.nan, each, (), values).printed() == "1.000"
