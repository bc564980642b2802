"""prepare: against the formulas of the tutorial's transforms, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import interp1d

from ecgfm import LEADS, ConfigError, LeadError, Record, Segments, SignalError, prepare
from ecgfm.ecg import resample


def signal(samples=5000, rows=12, seed=0):
    return np.random.default_rng(seed).normal(0.1, 0.5, (rows, samples))


def by_the_book(x, rate):
    """The tutorial's transforms in plain NumPy and scipy, float64."""
    samples = x.shape[1]
    length = samples if rate == 500 else int(samples * 500 / rate)
    if rate != 500:
        x = interp1d(np.linspace(0, length - 1, samples), x)(np.arange(length))
    x = (x - x.mean(axis=1, keepdims=True)) / (x.std(axis=1, keepdims=True) + 1e-8)
    return np.stack(np.split(x[:, : length // 2500 * 2500], length // 2500, axis=1))


@pytest.mark.parametrize("rate", [500, 400, 250, 360, 1000, 257, 128.5])
def test_equals_the_formulas(rate):
    x = signal(int(11 * rate))
    found = prepare(x, sampling_rate=rate)
    expected = by_the_book(x, rate)
    assert found.x.dtype == np.float32 and found.x.shape == expected.shape
    np.testing.assert_allclose(found.x, expected, atol=1e-6, rtol=0)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 400), st.sampled_from([100, 128, 250, 257, 360, 400, 500, 512, 1000]), st.integers(0, 99))
def test_resampling_equals_scipy(samples, rate, seed):
    x = signal(samples, 3, seed)
    found = resample(x, rate, 500)
    length = int(samples * 500 / rate)
    if length < 2:
        assert found.shape == (3, length)
        return
    if rate == 500:
        assert found is x
        return
    expected = interp1d(np.linspace(0, length - 1, samples), x)(np.arange(length))
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert np.array_equal(found[:, 0], x[:, 0])
    np.testing.assert_allclose(found[:, -1], x[:, -1], atol=1e-10)


def test_resampling_small_integers_does_not_wrap():
    found = resample(np.array([[250, 5, 250]], np.uint8), 250, 500)
    np.testing.assert_allclose(found, [[250, 152, 54, 54, 152, 250]], atol=1e-12)


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", ">f4", "<f2", "<i2", ">i2", "<i4", "<u2", "longdouble"])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "reversed", "read-only"])
def test_types_and_layouts_give_the_same_and_stay_unchanged(dtype, layout):
    base = np.round(signal(2600) * 1000 + 5000)  # integers that every one of these types holds, float16 nearly
    x = base.astype(dtype)
    if layout == "F":
        x = np.asfortranarray(x)
    elif layout == "strided":
        x = np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3]
    elif layout == "reversed":
        x = np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
    elif layout == "read-only":
        x.setflags(write=False)
    before = x.copy()
    found = prepare(x, sampling_rate=500)
    assert np.array_equal(x, before)
    np.testing.assert_allclose(found.x, by_the_book(x.astype(np.float64), 500), atol=1e-6)


def test_leads_in_any_order_and_more_than_12():
    x = signal(2500, 15)
    names = ["vx", "V6", "I", "aVF", "AVR", "ii", "III", "V5", "aVL", "V1", "vy", "V4", "V2", "V3", "vz"]
    found = prepare(x, sampling_rate=500, leads=names)
    rows = [2, 5, 6, 4, 8, 3, 9, 12, 13, 11, 7, 1]
    assert np.array_equal(found.x, prepare(x[rows], sampling_rate=500, leads=LEADS).x)
    np.testing.assert_allclose(prepare(Record(x, 500, names)).x, found.x, atol=2e-6)  # a Record rounds to float32


def test_what_was_done_is_told():
    x = signal(4100)
    x[3] = 0.7
    found = prepare(Record(x, 400, LEADS, source="r.mat", start_s=20.0, notes=("a note",)))
    assert np.array_equal(found.start_s, [20.0, 25.0]) and found.padding_mask is None
    assert found.provenance == {
        "source": "r.mat",
        "sampling_rate": 400.0,
        "samples": 4100,
        "resampled": True,
        "derived_leads": [],
        "zero_leads": [],
        "constant_leads": ["aVR"],
        "padded_s": 0.0,
        "overlap_s": 0.0,
        "unused_s": 0.25,
        "quality": {"flat": ["aVR"]},
        "notes": ["a note"],
    }
    assert not found.x[:, 3].any() and found.source == "r.mat"
    notes = prepare(x, sampling_rate=500).provenance["notes"]
    assert notes == ["leads assumed in the order I II III aVR aVL aVF V1-V6", "unit assumed: mV"]
    assert prepare(x, sampling_rate=500, leads=LEADS, unit="mV").provenance["notes"] == []


def test_standardised_records_are_only_cut():
    x = signal(5200).astype(np.float32)
    x[5] = 0
    found = prepare(Record(x, 500, LEADS, standardised=True))
    assert np.array_equal(found.x[1], x[:, 2500:5000])
    assert found.provenance["constant_leads"] == ["aVF"]


def test_the_scale_does_not_matter():
    x = signal(2500)
    np.testing.assert_allclose(prepare(x * 1e-3, 500).x, prepare(x, 500).x, atol=1e-4)
    np.testing.assert_allclose(prepare(x * 1e6 + 1e7, 500).x, prepare(x, 500).x, atol=1e-6)


@pytest.mark.parametrize("samples, rate, count", [(2500, 500, 1), (4999, 500, 1), (2000, 400, 1), (1800, 360, 1)])
def test_just_long_enough(samples, rate, count):
    assert len(prepare(signal(samples), rate)) == count


@pytest.mark.parametrize("samples, rate", [(2499, 500), (1999, 400), (1, 500), (1, 50)])
def test_too_short(samples, rate):
    with pytest.raises(SignalError, match="are too few: the model needs 5 s"):
        prepare(signal(samples), rate)


def without(*names, samples=2500):
    """A record of random signals that lacks some leads, and its full signal."""
    x = signal(samples)
    rows = [i for i, name in enumerate(LEADS) if name not in names]
    return Record(x[rows], 500, [LEADS[i] for i in rows], source="r.npy")


def test_missing_leads_are_listed():
    with pytest.raises(LeadError, match=r"leads missing: II, aVR, V6 \(the recording has I, III, aVL, .*zero") as e:
        prepare(without("II", "aVR", "V6"))
    assert e.value.path == "r.npy" and e.value.field == "leads"
    with pytest.raises(LeadError, match=r"leads missing: V6 \("):  # aVR follows from I and II
        prepare(without("aVR", "V6"))
    x = signal(2500)
    x[[1, 7]] = np.nan
    with pytest.raises(LeadError, match="leads missing: II, V2 .holding nothing but NaN"):
        prepare(x, 500)
    with pytest.raises(LeadError, match="leads missing: I, II, III, aVR, aVL, aVF"):
        prepare(Record(x[6:], 500, LEADS[6:]))


@pytest.mark.parametrize("names", [("III", "aVR", "aVL", "aVF"), ("aVL",), ("aVR", "III")])
@pytest.mark.parametrize("by_nan", [False, True])
def test_limb_leads_are_derived_from_two_and_that_is_told(names, by_nan):
    x = signal(5100)
    one, two = x[:2]
    for name, lead in (
        ("III", two - one),
        ("aVR", -(one + two) / 2),
        ("aVL", one - two / 2),
        ("aVF", two - one / 2),
    ):
        x[LEADS.index(name)] = lead
    expected = prepare(x, 500)
    rows = [i for i, name in enumerate(LEADS) if by_nan or name not in names]
    given = x.copy()
    given[[LEADS.index(name) for name in names]] = np.nan
    found = prepare(given[rows], 500, [LEADS[i] for i in rows])
    np.testing.assert_allclose(found.x, expected.x, atol=1e-6)
    assert sorted(found.provenance["derived_leads"]) == sorted(names) and found.provenance["zero_leads"] == []
    assert expected.provenance["derived_leads"] == []


def test_what_the_reader_derived_is_told():
    record = Record(signal(2500), 500, LEADS, derived=("III", "aVF"))
    assert prepare(record).provenance["derived_leads"] == ["III", "aVF"]
    assert prepare(record, only_leads="I,III").provenance["derived_leads"] == ["III"]


def test_nothing_is_derived_from_standardised_leads():
    record = without("aVL")
    record.standardised = True
    with pytest.raises(LeadError, match="leads missing: aVL"):
        prepare(record)


def test_zero_filling_by_choice_is_told():
    found = prepare(without("III", "V1", "V6"), missing_leads="zero")
    assert found.provenance["zero_leads"] == ["V1", "V6"] and found.provenance["derived_leads"] == ["III"]
    assert not found.x[:, [6, 11]].any() and found.x[:, [0, 1, 2, 7]].any(axis=2).all()
    assert np.array_equal(found.x[:, :6], prepare(without("III")).x[:, :6])
    with pytest.raises(LeadError, match="leads missing: I, II"):  # of no lead at all there is nothing to fill up
        prepare(Record(signal(2500, 1), 500, ["VX"]), missing_leads="zero")


@pytest.mark.parametrize("only, wanted", [(["ii"], ["II"]), ("V5, lead i", ["I", "V5"])])
def test_a_subset_of_leads_by_choice(only, wanted):
    x = signal(5000)
    expected = prepare(x, 500)
    x[6, 100] = np.nan  # V1 is not looked at
    kept = [LEADS.index(name) for name in wanted]
    for found in (
        prepare(x, 500, only_leads=only),
        prepare(x[kept], 500, wanted, only_leads=only),  # the others need not be there
    ):
        assert found.provenance["zero_leads"] == [name for name in LEADS if name not in wanted]
        assert np.array_equal(found.x[:, kept], expected.x[:, kept])
        assert np.count_nonzero(found.x.any(axis=(0, 2))) == len(kept)
    with pytest.raises(SignalError, match="nan at sample 100"):
        prepare(x, 500, only_leads=LEADS)


def test_wrong_choices():
    x = signal(2500)
    for options, error, words in (
        ({"missing_leads": "derive"}, ConfigError, "missing_leads: 'derive' is not one of 'error', 'zero'"),
        ({"short": True}, ConfigError, "short: True is not one of"),
        ({"only_leads": ["VX"]}, LeadError, "only_leads: none of the 12 leads: VX"),
        ({"only_leads": []}, LeadError, "only_leads: none of the 12 leads: no name"),
        ({"only_leads": "I,I"}, LeadError, "more than once: I"),
    ):
        with pytest.raises(error, match=words):
            prepare(x, 500, **options)


@pytest.mark.parametrize(
    "samples, rate, valid", [(2499, 500, 2499), (500, 500, 500), (1000, 400, 1250), (999, 250, 1998)]
)
def test_short_ones_are_padded_by_choice(samples, rate, valid):
    x = signal(samples)
    found = prepare(x, rate, short="pad")
    assert found.x.shape == (1, 12, 2500) and found.padding_mask.shape == (1, 2500)
    assert np.array_equal(found.padding_mask[0], np.arange(2500) >= valid)
    assert not found.x[..., valid:].any()
    np.testing.assert_allclose(found.x[..., :valid].mean(axis=2), 0, atol=1e-6)
    np.testing.assert_allclose(found.x[..., :valid].std(axis=2), 1, atol=1e-4)
    assert found.provenance["padded_s"] == (2500 - valid) / 500 and found.provenance["unused_s"] == 0


def test_what_is_too_short_to_be_padded():
    with pytest.raises(SignalError, match="at least 1 s are padded to 5 s"):
        prepare(signal(499), 500, short="pad")
    with pytest.raises(SignalError, match="the model needs 5 s. To pad it: .*--short pad"):
        prepare(signal(2400), 500)
    found = prepare(signal(2501), 500, short="pad")  # long enough: cut as ever
    assert found.padding_mask is None and found.provenance["padded_s"] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_names_lead_and_sample(value):
    x = signal(2500)
    x[4, 1250], x[4, 1300] = value, value
    with pytest.raises(SignalError, match=r"sample 1250 \(2.500 s\); 2 of 2500") as caught:
        prepare(Record(x, 500, LEADS, source="r"))
    assert caught.value.field == "lead aVL" and caught.value.path == "r"


def test_values_too_large():
    with pytest.raises(SignalError, match="too large") as caught:
        prepare(signal(2500) * 1e300, 500)
    assert caught.value.field == "lead I"
    with pytest.raises(SignalError, match="inf at sample"):
        prepare(Record(signal(2500) * 1e300, 500, LEADS))


@pytest.mark.parametrize(
    "kwargs, error, words",
    [
        ({}, SignalError, "no sampling rate"),
        ({"sampling_rate": "x"}, SignalError, "sampling rate 'x'"),
        ({"sampling_rate": 500, "leads": LEADS[:11]}, LeadError, "11 lead names for 12 rows"),
        ({"sampling_rate": 500, "leads": [*LEADS[:11], "V5"]}, LeadError, "more than once: V5"),
        ({"sampling_rate": 500, "leads": [*LEADS[:11], "V7"]}, LeadError, "missing: V6"),
    ],
)
def test_wrong_arguments(kwargs, error, words):
    with pytest.raises(error, match=words):
        prepare(signal(2500), **kwargs)


def test_arrays_of_another_shape():
    with pytest.raises(SignalError, match="looks like .samples, leads.. Transpose"):
        prepare(signal(2500).T, 500)
    with pytest.raises(LeadError, match="8 rows and no lead names"):
        prepare(signal(2500, 8), 500)
    with pytest.raises(SignalError, match="a Record has its own"):
        prepare(Record(signal(2500), 500, LEADS), 500)


def test_segments_are_an_array():
    found = prepare(signal(5000), 500)
    assert isinstance(found, Segments) and len(found) == 2 and "2 x (12, 2500)" in repr(found)
    assert np.asarray(found) is found.x
    assert np.array(found).flags.owndata and np.asarray(found, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="must be copied"):
        found.__array__(np.float64, copy=False)


@pytest.mark.filterwarnings("error")
def test_values_that_overflow_in_resampling_are_an_error_and_no_warning():
    signal = np.where(np.arange(2500) % 2, 1.7e308, -1.7e308) * np.ones((12, 1))
    with pytest.raises(SignalError, match="too large"):
        prepare(signal, 400)
