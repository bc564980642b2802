"""The quality summary: each finding where it is made to be, and none where it isn't."""

import itertools

import numpy as np
import pytest

from ecgfm import LEADS, Record, prepare
from ecgfm.ecg import quality, simulate
from ecgfm.ecg.quality import describe
from ecgfm.signal.leads import DERIVED, complete, derive


@pytest.fixture
def record():
    return simulate(10, 500, seed=4)


def lawful(seed=0, noise=0.0):
    """12 random leads, of which the limb leads obey Einthoven's law but for some noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 0.3, (12, 5000))
    for name in DERIVED:
        x[LEADS.index(name)] = derive(name, x[0], x[1])
    return x + rng.normal(0, noise, x.shape) if noise else x


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_found_in_good_ones(seed):
    made = simulate(10, 500, seed=seed)
    assert quality(made) == {} and describe({}) == ""
    assert prepare(made).provenance["quality"] == {}


def test_flat(record):
    record.signal[8] = 0.25
    record.signal[10, 1000:1500] = record.signal[10, 1000]  # 1 s
    record.signal[11, 1000:1499] = record.signal[11, 1000]
    assert quality(record) == {"flat": ["V3", "V5"]}


def test_clipped(record):
    x = record.signal
    x[1] = np.clip(x[1], -1, 0.4 * x[1].max())
    x[6] = np.maximum(x[6], 0.4 * x[6].min())
    found = quality(record)
    assert found == {"clipped": ["II", "V1"]} and describe(found) == "clipped: II V1"


def test_a_baseline_held_for_long_is_not_clipped():
    x = np.zeros((1, 5000))
    x[0, 50::400] = x[0, 51::400] = 1.0
    assert quality(Record(x, 500, ["I"])) == {}


def test_a_plateau_is_not_clipped():
    """A slow wave whose top is a value that comes again and again, one step away in between."""
    x = np.concatenate([np.linspace(-100, 100, 500), np.full(100, 100.0), np.linspace(99, 50, 400)]).round()
    x[507:600:8] -= 1
    assert quality(Record([x / 1000], 100, ["I"])) == {}


def test_not_finite(record):
    record.signal[2, 5:9] = np.nan
    record.signal[7] = np.nan
    record.signal[9, 0] = np.inf
    found = quality(record)
    assert found == {"nan": {"III": 4, "V2": 5000, "V4": 1}}
    assert describe(found) == "not finite: III (4) V2 (5000) V4 (1)"


@pytest.mark.parametrize("factor", [1000, 1e-3])
def test_amplitudes_of_a_wrong_unit(record, factor):
    found = quality(Record(record.signal * np.float32(factor), 500, LEADS))
    assert list(found) == ["amplitude"] and list(found["amplitude"]) == list(LEADS)
    expected = np.ptp(record.signal[1].astype(float)) * factor
    assert found["amplitude"]["II"] == pytest.approx(expected, rel=1e-3)
    assert describe(found).startswith("amplitude: I (")
    assert quality(Record(record.signal * np.float32(factor), 500, LEADS, standardised=True)) == {}


@pytest.mark.parametrize("rate, found", [(99, True), (100, False), (10_000, False), (20_000, True)])
def test_rates(rate, found):
    made = quality(Record(lawful(), rate, LEADS))
    assert made.get("sampling_rate") == (rate if found else None)
    assert ("sampling rate" in describe(made)) == found


@pytest.mark.parametrize("pair", list(itertools.combinations(LEADS[:6], 2)))
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_exchanged_names_of_limb_leads(pair, noise):
    names = [{pair[0]: pair[1], pair[1]: pair[0]}.get(name, name) for name in LEADS]
    assert quality(Record(lawful(noise=noise), 500, LEADS)) == {}
    found = quality(Record(lawful(noise=noise), 500, names))
    assert sorted(found["swapped"]) == sorted(pair) and describe(found) == f"swapped: {' '.join(found['swapped'])}"


def test_what_is_not_certain_is_not_told():
    x = lawful()
    rng = np.random.default_rng(1)
    names = list(LEADS)
    names[0], names[1], names[2] = "II", "III", "I"  # three names in a circle
    assert quality(Record(x, 500, names)) == {}
    assert quality(Record(rng.normal(0, 0.3, x.shape), 500, LEADS)) == {}  # the law holds for no order of names
    names = [{"V1": "V2", "V2": "V1"}.get(name, name) for name in LEADS]
    assert quality(Record(x, 500, names)) == {}  # no law ties the chest leads
    names = ["II", "I", *LEADS[2:]]
    assert quality(Record(x, 500, names, derived=("III",))) == {}
    assert quality(Record(x[1:], 500, names[1:])) == {}
    assert quality(Record(np.zeros((12, 5000)), 500, names)) == {"flat": names}
    x[3, 7] = np.nan
    assert quality(Record(x, 500, names)) == {"nan": {"aVR": 1}}


def test_derived_leads_are_not_looked_at(record):
    record.signal[3] = 0
    record.derived = ("aVR",)
    assert quality(record) == {}


def test_nothing_is_changed(record):
    before = record.signal.copy()
    quality(record)
    prepare(record)
    assert np.array_equal(record.signal, before)


def test_short_and_odd_ones():
    assert quality(Record([[1.0]], 500, ["I"])) == {"flat": ["I"]}
    assert quality(Record([[1.0, 2.0]], 500, ["I"])) == {}
    assert quality(Record([[np.nan]], 500, ["I"])) == {"nan": {"I": 1}}
    huge = Record(np.full((12, 5000), 3e38) * np.sign(np.sin(np.arange(5000))), 500, LEADS)
    assert set(quality(huge)) <= {"amplitude", "clipped", "flat"}


def test_complete():
    x = lawful().astype(np.float32)
    rows = [0, 1, 6, 8]
    signal, names, derived = complete(x[rows], [LEADS[i] for i in rows])
    assert names == ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V3") and derived == tuple(DERIVED)
    np.testing.assert_allclose(signal, x[[0, 1, 2, 3, 4, 5, 6, 8]], atol=1e-7)
    for given, leads in ((x, LEADS), (x[1:2], ["II"]), (x[6:], LEADS[6:])):
        signal, names, derived = complete(given, leads)
        assert signal is given and names == tuple(leads) and derived == ()
    signal, names, derived = complete(x[:3], ["II", "VX", "I"])
    assert names == ("I", "II", "III", "aVR", "aVL", "aVF", "VX")
    assert np.array_equal(signal[0], x[2]) and np.array_equal(signal[6], x[1])
