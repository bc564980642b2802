"""Perturbations of segments: their formulas, what stays, and what is refused.

Tests of distributions have fixed seeds; with others each comparison would fail in one run of 1000 (ALPHA).
"""

import numpy as np
import pytest
from scipy import stats

import ecgfm
from ecgfm.ecg import augment

ALPHA = 1e-3
NOISES = [augment.powerline_noise, augment.emg_noise, augment.baseline_shift, augment.baseline_wander]
ALL = [augment.random_leads_masking, *NOISES]


@pytest.fixture(scope="module")
def x():
    return np.random.RandomState(5).normal(size=(12, 500)).astype(np.float32)


def rng(seed=0):
    return np.random.RandomState(seed)


@pytest.mark.parametrize("function", ALL)
def test_a_new_array_and_the_input_stays(x, function):
    before = x.copy()
    found = function(x, rng=rng())
    assert found.dtype == np.float32 and found.shape == x.shape and not np.shares_memory(found, x)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(function(x.astype(">f8")[:, ::1], rng=rng()), found)
    assert (found != x).any()


@pytest.mark.parametrize("function", ALL)
def test_nothing_done(x, function):
    """A copy, after one draw."""
    state, single = rng(1), rng(1)
    found = function(x, p=0.0, rng=state)
    np.testing.assert_array_equal(found, x)
    assert not np.shares_memory(found, x)
    single.rand()
    assert state.rand() == single.rand()


@pytest.mark.parametrize("function", ALL)
def test_share_of_segments(x, function):
    changed = sum((function(x, p=0.3, rng=rng(seed)) != x).any() for seed in range(400))
    assert stats.binomtest(int(changed), 400, 0.3).pvalue > ALPHA


@pytest.mark.parametrize("function", NOISES)
def test_limb_leads_stay_consistent(x, function):
    found = function(x, rng=rng(3)).astype(np.float64)
    one, two = found[0], found[1]
    expected = [two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    np.testing.assert_allclose(found[2:6], expected, rtol=0, atol=2e-6)
    free = function(x, dependency=False, rng=rng(3))
    np.testing.assert_array_equal(free[:2], found[:2].astype(np.float32))
    np.testing.assert_array_equal(free[6:], found[6:].astype(np.float32))
    assert np.abs(free[2] - found[2]).max() > 0.1


@pytest.mark.parametrize("function", ALL)
def test_a_draw_equal_to_the_probability(x, function):
    """Leads are masked then, noise is not added: so in the original."""

    class Equal(np.random.RandomState):
        def rand(self):
            return 0.25

    changed = (function(x, p=0.25, rng=Equal(0)) != x).any()
    assert changed == (function is augment.random_leads_masking)


def test_whole_numbers_as_floats(x):
    for function, name in ((augment.baseline_shift, "num_segment"), (augment.baseline_wander, "k")):
        found = function(x, rng=rng(), **{name: 2.0})
        np.testing.assert_array_equal(found, function(x, rng=rng(), **{name: 2}))


# ---- lead masking ---------------------------------------------------------------------------------------------------


def gone(x, **settings):
    found = augment.random_leads_masking(x, **settings)
    zero = ~found.any(axis=1)
    np.testing.assert_array_equal(found[~zero], x[~zero])
    return zero


def test_each_lead_by_its_draw(x):
    draws = rng(4)
    draws.rand()
    np.testing.assert_array_equal(gone(x, mask_leads_prob=0.4, rng=rng(4)), draws.uniform(0, 1, size=12) < 0.4)


@pytest.mark.parametrize("condition", [(4, 5), (0, 6), (6, 0), (6, 6), (0, 0)])
def test_conditional(x, condition):
    counts = np.zeros(12)
    for seed in range(300):
        zero = gone(x, mask_leads_selection="conditional", mask_leads_condition=condition, rng=rng(seed))
        assert (zero[:6].sum(), zero[6:].sum()) == condition
        counts += zero
    for part, n in zip((counts[:6], counts[6:]), condition):
        if 0 < n < 6:  # the counts of one segment are dependent: their chi-square is 6/(6-n) as large
            statistic = ((part - 50 * n) ** 2 / (50 * n)).sum() * 5 / (6 - n)
            assert stats.chi2.sf(statistic, 5) > ALPHA


def test_one_lead_stays(x):
    kept = np.zeros(12)
    for seed in range(600):
        zero = gone(x, mask_leads_prob=1.0, keep_one_lead=True, rng=rng(seed))
        assert zero.sum() == 11
        kept += ~zero
    assert stats.chisquare(kept).pvalue > ALPHA
    assert gone(x, mask_leads_prob=1.0, rng=rng()).all()
    for seed in range(50):  # where leads stay anyway, nothing is different
        plain = gone(x, rng=rng(seed))
        np.testing.assert_array_equal(gone(x, keep_one_lead=True, rng=rng(seed)), plain)


# ---- noises ---------------------------------------------------------------------------------------------------------


def test_powerline_is_one_cosine_on_all_leads(x):
    t, seen = np.arange(500) / 250, set()
    for seed in range(12):
        how = {"freq": 250, "min_amplitude": 0.2, "max_amplitude": 0.3, "dependency": False}
        added = augment.powerline_noise(x * 0, **how, rng=rng(seed))
        np.testing.assert_array_equal(added, np.broadcast_to(added[0], added.shape))
        share = {f: 2 * abs(np.mean(added[0] * np.exp(-2j * np.pi * f * t))) for f in (50, 60)}
        mains = max(share, key=share.get)
        assert 0.2 <= share[mains] <= 0.3 and share[110 - mains] < 1e-6
        seen.add(mains)
    assert seen == {50, 60}


def test_emg_is_white_and_normal():
    added = augment.emg_noise(np.zeros((12, 4000)), min_amplitude=0.1, max_amplitude=0.3, dependency=False, rng=rng(2))
    size = added.std(axis=1)
    assert (0.09 < size).all() and (size < 0.33).all() and size.std() > 0.02
    z = added / size[:, None]
    assert min(stats.kstest(lead, "norm").pvalue for lead in z) > ALPHA / 12
    neighbours = np.mean(z[:, 1:] * z[:, :-1])
    assert abs(neighbours) * np.sqrt(12 * 3999) < stats.norm.isf(ALPHA / 2)


def test_shift_moves_a_part(x):
    for seed in range(20):
        added = augment.baseline_shift(x * 0, min_amplitude=0.1, max_amplitude=0.2, dependency=False, rng=rng(seed))
        moved = added[0] != 0
        run = np.flatnonzero(moved)
        assert len(run) and (np.diff(run) == 1).all() and len(run) < 250  # around 100 samples
        np.testing.assert_array_equal(added != 0, np.broadcast_to(moved, added.shape))
        level = added[:, run[0]]
        np.testing.assert_array_equal(added[:, run], np.repeat(level[:, None], len(run), axis=1))
        up, down = level[level > 0], level[level < 0]
        assert ((0.8 <= up) & (up <= 0.9)).all() and ((-1.2 <= down) & (down <= -1.1)).all()


def test_shifts_of_several_parts(x):
    none = augment.baseline_shift(x, num_segment=0, dependency=False, rng=rng())
    np.testing.assert_array_equal(none, x)
    three = augment.baseline_shift(x * 0, num_segment=3, shift_ratio=0.1, dependency=False, rng=rng(1))
    assert len(np.unique(three[0])) == 2  # what meets is not doubled
    assert augment.baseline_shift(x * 0, shift_ratio=1.0, dependency=False, rng=rng(1)).any()


def test_wander_is_slow_and_differs_in_size_only(x):
    how = {"min_amplitude": 0.5, "max_amplitude": 1.0, "dependency": False}
    added = augment.baseline_wander(x * 0, **how, rng=rng(6)).astype(float)
    u, s, _ = np.linalg.svd(added)
    assert s[1] < 1e-5 * s[0]  # one wave times a factor for each lead
    factor = u[:, 0] / u[0, 0]
    assert factor.std() > 0.1
    t = np.arange(500) / 500  # a second: at 0.2 Hz and less a cubic polynomial fits
    fit = np.polynomial.Polynomial.fit(t, added[0], 3)(t)
    assert np.abs(added[0] - fit).max() < 0.02 * np.abs(added[0]).max()


# ---- together -------------------------------------------------------------------------------------------------------


def test_one_after_the_other(x):
    both = augment.augmentation(
        ["emg_noise", "random_leads_masking"], [0.5, 1.0], max_amplitude=0.3, mask_leads_prob=0.2, dependency=False
    )
    for seed in range(5):
        state = rng(seed)
        expected = augment.emg_noise(x, 0.5, max_amplitude=0.3, dependency=False, rng=state)
        expected = augment.random_leads_masking(expected, mask_leads_prob=0.2, rng=state)
        np.testing.assert_array_equal(both(x, rng(seed)), expected)


def test_reached_from_the_package(x):
    np.testing.assert_array_equal(ecgfm.ecg.augment.emg_noise(x, rng=rng(1)), augment.emg_noise(x, rng=rng(1)))


def test_nothing_to_do():
    assert augment.augmentation(None) is None and augment.augmentation([], 0.5) is None


def test_one_name_and_one_probability(x):
    one = augment.augmentation("random_leads_masking", 0.0)
    np.testing.assert_array_equal(one(x, rng()), x)
    two = augment.augmentation(["emg_noise", "baseline_wander"], 0.0)
    np.testing.assert_array_equal(two(x, rng()), x)


@pytest.mark.parametrize(
    "modes, p, settings, field",
    [
        (["hum"], 1.0, {}, "perturbation_mode"),
        ("hum", 1.0, {}, "perturbation_mode"),
        (["emg_noise"], [0.5, 0.5], {}, "p"),
        (["emg_noise"], 1.5, {}, "p"),
        (["emg_noise"], "often", {}, "p"),
        (["emg_noise"], np.nan, {}, "p"),
        (["emg_noise"], 1.0, {"loudness": 3}, "loudness"),
        (["emg_noise"], 0.0, {"max_amplitude": -1}, "max_amplitude"),
        (["emg_noise"], 1.0, {"min_amplitude": 0.2, "max_amplitude": 0.1}, "min_amplitude"),
        (["powerline_noise"], 1.0, {"freq": None}, "freq"),
        (["powerline_noise"], 0.0, {"freq": 0}, "freq"),
        (["baseline_wander"], 1.0, {"freq": np.inf}, "freq"),
        (["baseline_wander"], 1.0, {"k": 0}, "k"),
        (["baseline_wander"], 1.0, {"k": 1.5}, "k"),
        (["baseline_wander"], 1.0, {"min_freq": 0.3}, "min_freq"),
        (["baseline_shift"], 1.0, {"shift_ratio": 1.5}, "shift_ratio"),
        (["baseline_shift"], 1.0, {"num_segment": -1}, "num_segment"),
        (["random_leads_masking"], 1.0, {"mask_leads_selection": "all"}, "mask_leads_selection"),
        (["random_leads_masking"], 1.0, {"mask_leads_prob": 2}, "mask_leads_prob"),
        (["random_leads_masking"], 0.0, {"mask_leads_condition": (7, 1)}, "mask_leads_condition"),
        (["random_leads_masking"], 1.0, {"mask_leads_condition": 3}, "mask_leads_condition"),
        (
            ["random_leads_masking"],
            1.0,
            {"mask_leads_selection": "conditional", "mask_leads_condition": (6, 6), "keep_one_lead": True},
            "mask_leads_condition",
        ),
    ],
)
def test_settings_refused_when_they_are_given(modes, p, settings, field):
    with pytest.raises(ecgfm.errors.ConfigError) as info:
        augment.augmentation(modes, p, **settings)
    assert info.value.field == field


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((8, 100)),
        np.zeros(100),
        np.zeros((2, 12, 100)),
        np.zeros((12, 0)),
        [["a"] * 5] * 12,
        1j * np.ones((12, 9)),
        np.ma.masked_array(np.zeros((12, 9)), mask=np.eye(12, 9, dtype=bool)),
    ],
    ids=["leads", "one dimension", "three dimensions", "empty", "text", "complex", "masked"],
)
def test_segments_refused(function, bad):
    with pytest.raises(ecgfm.errors.SignalError) as info:
        function(bad, rng=rng())
    assert info.value.field == "x"


@pytest.mark.parametrize("function", ALL)
def test_new_generators_refused(x, function):
    with pytest.raises(ecgfm.errors.ConfigError) as info:
        function(x, rng=np.random.default_rng(0))
    assert info.value.field == "rng"
