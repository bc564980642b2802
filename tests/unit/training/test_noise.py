"""The drawn noise of pretraining: keys and counters, batches and threads, distributions, and what is refused.

Tests of distributions have fixed seeds; with others each comparison would fail in one run of 1000 (ALPHA, divided by
their number where they are many).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import stats

import ecgfm
from ecgfm.ecg import augment
from ecgfm.training import compute_mask_indices, noise

ALPHA = 1e-3
ROWS = range(3, 11)
PERTURBATIONS = augment.augmentation(
    ["emg_noise", "baseline_shift", "baseline_wander", "powerline_noise", "random_leads_masking"], 0.8
)
X = np.random.RandomState(9).normal(size=(len(ROWS), 12, 200)).astype(np.float32)
# What is drawn for a batch, row after row along the first axis, apart from numbers of rows.
DRAWN = {
    "steps": lambda s, rows: noise.time_masks(s, rows, 156, count=40),
    "apart": lambda s, rows: noise.time_masks(s, rows, 156, no_mask_overlap=True, mask_prob=0.4, count=40),
    "normal": lambda s, rows: noise.time_masks(s, rows, 156, mask_selection="normal", mask_other=3, count=30),
    "padded": lambda s, rows: noise.time_masks(s, rows, 156, valid=[100 + 5 * r for r in rows], count=20),
    "negatives": lambda s, rows: (
        noise.negatives(s, rows, 20, num_negatives=7) - 20 * np.repeat(np.arange(len(rows)), 20)[:, None]
    ).reshape(len(rows), 20, 7),
    "codebook": lambda s, rows: noise.codebook_negatives(s, rows, 20, 64, 3).reshape(3, len(rows), 20).swapaxes(0, 1),
    "gumbel": lambda s, rows: noise.gumbel(s, rows, 20, 16).reshape(len(rows), 20, 16),
    "perturbed": lambda s, rows: noise.perturb(s, rows, X[[r - ROWS[0] for r in rows]], PERTURBATIONS),
}


def source(update=0, **changes):
    return noise.Source(**({"seed": 11, "update": update} | changes))


def chi_square(counts, alpha=ALPHA):
    """Whether equal shares are believable."""
    assert np.min(np.sum(counts) / np.size(counts)) >= 5  # or the statistic has another distribution
    return stats.chisquare(np.ravel(counts)).pvalue > alpha


# ---- keys -----------------------------------------------------------------------------------------------------------


def philox(counter, key):
    """Philox 4x64 with ten rounds, in plain integers."""
    full, (k0, k1) = (1 << 64) - 1, key
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [b >> 64 ^ counter[1] ^ k0, b & full, a >> 64 ^ counter[3] ^ k1, a & full]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & full, (k1 + 0xBB67AE8584CAA73B) & full
    return counter


@pytest.mark.parametrize("validation", [False, True])
@pytest.mark.parametrize("row", [None, 0, 5, 1 << 40])
def test_numbers_of_a_row(row, validation):
    """Uniform numbers are the upper 53 bits of Philox at the counter (block, row, purpose, domain), counted from 1."""
    seed, update, rank = 4294967295, 1 << 50, 77
    rng = noise.Source(seed, update, rank, validation).generator(noise.Purpose.GUMBEL, row)
    number, purpose = 0 if row is None else 1 + row, noise.Purpose.GUMBEL + (validation << 32)
    words = [w for block in (1, 2) for w in philox([block, number, purpose, 1 << 63], (seed | rank << 32, update))]
    np.testing.assert_array_equal(rng.random_sample(8), [(w >> 11) / 2**53 for w in words])


def test_philox_as_published():
    assert philox([0] * 4, (0, 0)) == [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]


@pytest.mark.parametrize("name", DRAWN)
def test_every_part_of_the_key_matters(name):
    draw = DRAWN[name]
    first = draw(source(), ROWS)
    np.testing.assert_array_equal(draw(source(), ROWS), first)
    for changes in ({"seed": 12}, {"update": 1}, {"rank": 1}, {"validation": True}):
        assert (draw(source(**changes), ROWS) != first).any(axis=tuple(range(1, first.ndim))).all(), changes


def test_purposes_share_no_numbers():
    rows = [source().generator(purpose, row).random_sample(40) for purpose in noise.Purpose for row in (None, 0, 1)]
    assert len(np.unique(rows)) == len(rows) * 40


@pytest.mark.parametrize(
    "field, value", [("seed", -1), ("seed", 1 << 32), ("rank", 1.0), ("update", "0"), ("rank", True)]
)
def test_keys_refused(field, value):
    with pytest.raises(ecgfm.errors.ConfigError) as info:
        source(**{field: value})
    assert info.value.field == field


# ---- batches and threads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("parts", [[8], [4, 4], [1, 7], [1] * 8], ids=str)
def test_same_in_any_batches(name, parts):
    draw, first = DRAWN[name], ROWS[0]
    whole, found = draw(source(), ROWS), []
    for size in parts:
        found.append(draw(source(), range(first, first + size)))
        first += size
    np.testing.assert_array_equal(np.concatenate(found), whole)


@pytest.mark.parametrize("name", DRAWN)
def test_rows_in_any_order(name):
    whole, order = DRAWN[name](source(), ROWS), [5, 2, 7, 0]
    np.testing.assert_array_equal(DRAWN[name](source(), [ROWS[i] for i in order]), whole[order])


def test_same_from_several_threads():
    jobs = [(name, update) for update in range(3) for name in DRAWN]
    alone = [DRAWN[name](source(update), ROWS) for name, update in jobs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda job: DRAWN[job[0]](source(job[1]), ROWS), jobs))
    for one, other in zip(alone, found):
        np.testing.assert_array_equal(one, other)


def test_rows_share_no_more_than_the_number_of_steps():
    """A row has the same places in any company; a company with fewer masked steps keeps a part of them."""
    masks = noise.time_masks(source(), ROWS, 156)
    counts = masks.sum(axis=1)
    assert (counts == counts[0]).all()
    for b, row in enumerate(ROWS):
        alone = noise.time_masks(source(), [row], 156)[0]
        assert (masks[b] <= alone).all()
        np.testing.assert_array_equal(noise.time_masks(source(), [row], 156, count=int(counts[0]))[0], masks[b])


def test_padding_of_other_rows_does_not_matter():
    masks = noise.time_masks(source(), ROWS, 156, valid=[156, 60, 80, 156, 156, 100, 120, 156], count=20)
    plain = noise.time_masks(source(), ROWS, 156, count=20)
    np.testing.assert_array_equal(masks[[0, 3, 4, 7]], plain[[0, 3, 4, 7]])
    for mask, valid in zip(masks, [156, 60, 80, 156, 156, 100, 120, 156]):
        assert not mask[valid:].any()


# ---- distributions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, other, apart",
    [("static", 0, False), ("uniform", 2, False), ("normal", 3, False), ("poisson", 0, False), ("static", 0, True)],
)
def test_masks_are_distributed_as_those_of_the_legacy_function(kind, other, apart):
    """How often each step is masked, and how many steps are, in rows by themselves."""
    n, steps, p = 1500, 60, 0.4
    rng = np.random.RandomState(3)
    legacy = np.concatenate(
        [compute_mask_indices((1, steps), None, p, 7, kind, other, 2, apart, 1, rng=rng) for _ in range(n)]
    )
    how = {"mask_prob": p, "mask_length": 7, "mask_selection": kind, "mask_other": other, "no_mask_overlap": apart}
    drawn = np.concatenate([noise.time_masks(source(update), [5], steps, **how) for update in range(n)])
    share = (legacy.mean(axis=0) + drawn.mean(axis=0)) / 2
    never = share == 0  # the last step, where all spans have the same length: so in the original
    assert never.sum() == (kind == "static") and never[:-1].sum() == 0
    deviation = np.sqrt(2 * share * (1 - share) / n)
    z = (drawn.mean(axis=0) - legacy.mean(axis=0))[~never] / deviation[~never]
    assert np.abs(z).max() < stats.norm.isf(ALPHA / 2 / steps)
    assert stats.ks_2samp(drawn.sum(axis=1), legacy.sum(axis=1)).pvalue > ALPHA


def test_the_number_of_spans_is_rounded_by_chance():
    """13.65 spans of one step: 13 or 14, for all rows of an update, 65 % of them 14."""
    counts = []
    for update in range(1000):
        found = noise.time_masks(source(update), range(3), 39, mask_prob=0.35, mask_length=1).sum(axis=1)
        assert (found == found[0]).all()
        counts.append(int(found[0]))
    assert set(counts) == {13, 14}
    assert stats.binomtest(counts.count(14), 1000, 0.65).pvalue > ALPHA


def test_channels():
    assert noise.channel_masks(source(), ROWS, 64) is None
    found = np.concatenate(
        [noise.channel_masks(source(u), ROWS, 64, mask_channel_prob=0.25, mask_channel_length=1) for u in range(100)]
    )
    assert found.shape == (800, 64) and (found.sum(axis=1) == 16).all()
    counts, expected = found.sum(axis=0), 800 * 16 / 63
    assert counts[63] == 0  # the last one is never masked by spans of one length: so in the original
    statistic = ((counts[:63] - expected) ** 2 / expected).sum() * 62 / 47  # 16 of 63 without replacement
    assert stats.chi2.sf(statistic, 62) > ALPHA
    assert not noise.channel_masks(source(), ROWS, 8, mask_channel_prob=0.01).all()


def test_own_negatives_are_the_other_steps_of_the_row():
    masked, n = 9, 800
    found = noise.negatives(source(), range(4), masked, num_negatives=n)
    assert found.dtype == np.int32 and found.shape == (4 * masked, n) and found.flags.c_contiguous
    for r, drawn in enumerate(found):
        b, t = divmod(r, masked)
        counts = np.bincount(drawn, minlength=4 * masked)
        others = [b * masked + i for i in range(masked) if i != t]
        assert counts[others].sum() == n
        assert chi_square(counts[others], ALPHA / (4 * masked))
    pairs = np.zeros((masked, masked))  # neighbouring draws of a step are independent
    np.add.at(pairs, (found[0][:-1:2], found[0][1::2]), 1)
    assert chi_square(pairs[1:, 1:])


def test_cross_sample_negatives_are_all_other_steps():
    masked, n = 5, 1000
    found = noise.negatives(source(), range(3), masked, num_negatives=0, cross_sample_negatives=n)
    for r, drawn in enumerate(found):
        counts = np.bincount(drawn, minlength=15)
        assert counts[r] == 0 and counts.sum() == n
        assert chi_square(np.delete(counts, r), ALPHA / 15)


def test_both_kinds_of_negatives():
    found = noise.negatives(source(), ROWS, 6, num_negatives=4, cross_sample_negatives=3)
    np.testing.assert_array_equal(found[:, :4], noise.negatives(source(), ROWS, 6, num_negatives=4))
    cross = noise.negatives(source(), ROWS, 6, num_negatives=0, cross_sample_negatives=3)
    np.testing.assert_array_equal(found[:, 4:], cross)


def test_negatives_of_one_masked_step_each():
    """Only from other segments."""
    found = noise.negatives(source(), range(3), 1, num_negatives=0, cross_sample_negatives=50)
    for r in range(3):
        assert set(found[r]) == {0, 1, 2} - {r}


def test_codebook_negatives():
    found = noise.codebook_negatives(source(), ROWS, 50, 16, 8)
    assert found.dtype == np.int32 and found.shape == (8, 8 * 50) and found.flags.c_contiguous
    assert chi_square(np.bincount(found.ravel(), minlength=16))
    assert noise.codebook_negatives(source(), ROWS, 50, 320**2, 8).max() > 100_000


def test_gumbel_noise():
    found = noise.gumbel(source(), ROWS, 67, 64)
    assert found.dtype == np.float32 and found.shape == (8 * 67, 64) and found.flags.c_contiguous
    assert stats.kstest(found.ravel(), stats.gumbel_r.cdf).pvalue > ALPHA
    # the largest of so many has the same shape, moved by the logarithm of their number
    largest = np.array([noise.gumbel(source(u), [0], 20, 50).max() for u in range(400)]) - np.log(1000)
    assert stats.kstest(largest, stats.gumbel_r.cdf).pvalue > ALPHA
    correlation = np.corrcoef(found.reshape(8, -1))[np.triu_indices(8, 1)]  # of rows
    assert np.abs(correlation).max() * np.sqrt(67 * 64) < stats.norm.isf(ALPHA / 2 / 28)


def test_gumbel_noise_is_finite(monkeypatch):
    class Ends:
        def random_sample(self, shape):
            return np.resize([0.0, 1 - 2.0**-53], shape)

    monkeypatch.setattr(noise.Source, "generator", lambda *args: Ends())
    found = noise.gumbel(source(), [0], 1, 2)
    assert np.isfinite(found).all() and found[0, 0] > 35 and found[0, 1] < -3


def test_masked_leads():
    """Each lead by itself: twelve shares, and the number that are gone together."""
    ones, only = np.ones((8, 12, 1), np.float32), augment.augmentation("random_leads_masking")
    gone = np.concatenate([noise.perturb(source(u), ROWS, ones, only)[..., 0] == 0 for u in range(250)])
    for lead in gone.sum(axis=0):
        assert stats.binomtest(int(lead), 2000, 0.5).pvalue > ALPHA / 12
    counts = np.bincount(gone.sum(axis=1), minlength=13)
    expected = 2000 * stats.binom.pmf(range(13), 12, 0.5)
    merged = [np.r_[v[:3].sum(), v[3:10], v[10:].sum()] for v in (counts, expected)]
    assert stats.chisquare(*merged).pvalue > ALPHA
    assert (counts[12] > 0) or expected[12] < 5
    kept = augment.augmentation("random_leads_masking", mask_leads_prob=0.9, keep_one_lead=True)
    assert all(noise.perturb(source(u), ROWS, ones, kept).any(axis=(1, 2)).all() for u in range(50))


def test_perturbing_leaves_the_input():
    before = X.copy()
    found = noise.perturb(source(), ROWS, X, PERTURBATIONS)
    np.testing.assert_array_equal(X, before)
    assert found.dtype == np.float32 and not np.shares_memory(found, X)
    for b, row in enumerate(ROWS):  # as the function does with the row's generator
        rng = source().generator(noise.Purpose.PERTURBATION, row)
        np.testing.assert_array_equal(found[b], PERTURBATIONS(X[b], rng))


def test_padding_is_not_perturbed():
    """A padded row is perturbed as it would be without its padding."""
    valid = [200, 50, 130, 200, 1, 200, 199, 80]
    found = noise.perturb(source(), ROWS, X, PERTURBATIONS, valid)
    for b, n in enumerate(valid):
        np.testing.assert_array_equal(found[b, :, n:], X[b, :, n:])
        alone = noise.perturb(source(), [ROWS[b]], X[b : b + 1, :, :n], PERTURBATIONS)
        np.testing.assert_array_equal(found[b, :, :n], alone[0])


# ---- what is refused ------------------------------------------------------------------------------------------------


def refusal(call, *args, **kwargs):
    with pytest.raises(ecgfm.errors.Error) as info:
        call(*args, **kwargs)
    return type(info.value), info.value.field


SIGNAL, CONFIG = ecgfm.errors.SignalError, ecgfm.errors.ConfigError


def test_everything_or_nothing_masked():
    seen = set()
    for update in range(40):  # two spans of 10 steps in 12: all, if they begin at 0 and 2
        try:
            seen.add(int(noise.time_masks(source(update), [0], 12).sum()))
        except SIGNAL as error:
            seen.add(error.field)
            assert "everything" in str(error)
    assert seen == {11, "mask_indices"}
    assert refusal(noise.time_masks, source(), [0], 12, valid=[0]) == (SIGNAL, "mask_indices")
    assert refusal(noise.time_masks, source(), [0], 12, count=0) == (SIGNAL, "mask_indices")
    assert refusal(noise.time_masks, source(), [0], 1) == (SIGNAL, "mask_indices")


@pytest.mark.parametrize(
    "settings, field",
    [
        ({"mask_prob": 0.0}, "mask_prob"),
        ({"mask_prob": 2}, "mask_prob"),
        ({"mask_length": 0}, "mask_length"),
        ({"mask_selection": "odd"}, "mask_selection"),
        ({"mask_other": -1}, "mask_other"),
        ({"mask_min_space": 0.5}, "mask_min_space"),
        ({"count": 156}, "count"),
        ({"valid": [1, 2]}, "valid"),
        ({"valid": [157]}, "valid"),
        ({"valid": [100.0]}, "valid"),
    ],
)
def test_settings_of_steps_refused(settings, field):
    assert refusal(noise.time_masks, source(), [0], 156, **settings) == (CONFIG, field)


@pytest.mark.parametrize(
    "settings, field",
    [
        ({"mask_channel_prob": -1}, "mask_channel_prob"),
        ({"mask_channel_length": 0}, "mask_channel_length"),
        ({"mask_channel_selection": "odd"}, "mask_channel_selection"),
        ({"mask_channel_min_space": -1}, "mask_channel_min_space"),
    ],
)
def test_settings_of_channels_refused(settings, field):
    assert refusal(noise.channel_masks, source(), [0], 64, **settings) == (CONFIG, field)


def test_given_masks():
    steps = np.zeros((3, 20), bool)
    steps[:, 4:9] = True
    noise.check_steps(steps)
    noise.check_steps(steps, [20, 10, 9])
    worse = {}
    for name in ("nothing", "everything", "unequal"):
        worse[name] = steps.copy()
    worse["nothing"][1] = False
    worse["everything"][:] = True
    worse["unequal"][2, 0] = True
    for name, mask in worse.items():
        assert refusal(noise.check_steps, mask) == (SIGNAL, "mask_indices"), name
    assert refusal(noise.check_steps, steps, [20, 20, 7]) == (SIGNAL, "mask_indices")  # masked padding
    assert refusal(noise.check_steps, steps[:, 4:], [5, 16, 16]) == (SIGNAL, "mask_indices")  # all but padding


def test_rows_too_short_for_a_negative():
    for masked, settings in ((1, {}), (0, {}), (1, {"cross_sample_negatives": 5})):
        assert refusal(noise.negatives, source(), ROWS, masked, **settings) == (SIGNAL, "mask_indices")
    alone = {"num_negatives": 0, "cross_sample_negatives": 5}
    assert refusal(noise.negatives, source(), [0], 1, **alone) == (SIGNAL, "mask_indices")


@pytest.mark.parametrize(
    "settings, field",
    [
        ({"num_negatives": 0}, "num_negatives"),
        ({"num_negatives": -1}, "num_negatives"),
        ({"num_negatives": 1.0}, "num_negatives"),
        ({"cross_sample_negatives": -1}, "cross_sample_negatives"),
    ],
)
def test_numbers_of_negatives_refused(settings, field):
    assert refusal(noise.negatives, source(), ROWS, 20, **settings) == (CONFIG, field)


def test_too_many_combinations():
    assert refusal(noise.codebook_negatives, source(), ROWS, 20, 320**4, 2) == (CONFIG, "codebook_negatives")
