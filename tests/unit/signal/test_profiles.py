"""The two profiles: what differs between them, that nothing else does, and that the page on data says it."""

from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

from ecgfm import LEADS, Record, prepare
from ecgfm.data import Options, prepare_recording
from ecgfm.signal import conditioning
from ecgfm.signal.conditioning import Conditioned, condition, cut, resample
from ecgfm.signal.profile import PIPELINE, PROFILES, TUTORIAL, Profile

PAGE = Path(__file__).resolve().parents[3] / "docs" / "data.md"


def recording(samples=4000, offset=0.3, dtype=np.float64, seed=1):
    """(samples, 12)."""
    x = np.random.default_rng(seed).normal(offset, 0.4, (samples, 12)).astype(dtype)
    x[:, 5] = 0.25
    return x


def test_there_are_two_and_they_differ_in_each_field():
    assert PROFILES == {"tutorial": TUTORIAL, "pipeline": PIPELINE}
    one, other = asdict(TUTORIAL), asdict(PIPELINE)
    assert all(one[name] != other[name] for name in one)
    assert (TUTORIAL.epsilon, PIPELINE.epsilon) == (1e-8, 0.0)


def test_the_page_states_each_difference():
    text = PAGE.read_text("utf-8")
    for field in fields(Profile):
        for profile in PROFILES.values():
            value = getattr(profile, field.name)
            assert f"`{field.name}`" in text and (field.name == "name" or f"`{value}`" in text)
        assert f"`{profile.name}`" in text


def test_epsilon_is_the_whole_difference_of_float64_values():
    x = recording()
    found, _, std = condition(x, 5000, TUTORIAL)
    expected, _, same = condition(x, 5000, PIPELINE)
    np.testing.assert_allclose(std, same, rtol=1e-14)
    np.testing.assert_allclose(found * (std + 1e-8), expected * std, rtol=0, atol=1e-14)
    assert np.abs(found - expected).max() > 1e-8
    assert not found[:, 5].any() and not expected[:, 5].any()


def test_float32_values_are_subtracted_in_their_own_type_by_the_pipeline():
    x = recording(dtype=np.float32)
    wide = condition(x.astype(np.float64), 5000, TUTORIAL, None)[0]
    assert np.array_equal(condition(x, 5000, TUTORIAL, None)[0], wide)
    narrow = condition(x, 5000, PIPELINE, None)[0]
    assert 0 < np.abs(narrow - wide).max() < 1e-6


def test_recentring_is_a_rounding_error():
    x = recording(offset=1e6)
    far, near = (condition(x, len(x), replace(TUTORIAL, recentre=value))[2] for value in (False, True))
    assert (far != near).any()
    np.testing.assert_allclose(far, near, rtol=1e-9)


@pytest.mark.parametrize("rate", [250, 257, 360, 400, 500, 512, 1000])
def test_both_give_as_many_samples(rate):
    assert all(TUTORIAL.length(n, rate, 500) == PIPELINE.length(n, rate, 500) for n in range(1, 20_000))


def test_but_at_rates_that_few_devices_have():
    assert (TUTORIAL.length(333, 333, 500), PIPELINE.length(333, 333, 500)) == (500, 499)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_serving_and_training_data_differ_by_the_profile_alone(dtype):
    """`prepare` and the stages of preprocessing, the same recording with two leads missing."""
    x = recording(6000, dtype=dtype).T
    names = [name for name in LEADS if name not in ("III", "aVL")]
    rows = x[[LEADS.index(name) for name in names]]
    served = prepare(Record(rows, 400, names)) if dtype == np.float32 else prepare(rows, 400, names)
    made = prepare_recording(rows, 400, names, Options())
    trained = cut(made.x, 2500)
    assert served.x.shape == trained.shape == (3, 12, 2500)
    assert served.provenance["derived_leads"] == made.derived == ["III", "aVL"]
    np.testing.assert_allclose(served.x, trained, rtol=0, atol=1e-6)
    assert served.profile == "tutorial"
    expected = condition(made.org.astype(np.float64), 7500, TUTORIAL)[0]
    np.testing.assert_allclose(served.x, cut(expected, 2500), rtol=0, atol=1e-6 if dtype == np.float32 else 6e-8)


# ---- in parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("length", [2000, 1601, 4000, 5000, 7321])
def test_parts_of_a_recording_are_those_of_the_whole(profile, length, monkeypatch):
    x = recording(dtype=np.float32)
    taken = []

    def take(first, last):
        taken.append(last - first)
        return x[first:last]

    profile = replace(profile, recentre=False)  # which takes the whole recording
    whole = condition(x, length, profile)[0]
    at_once = Conditioned(take, len(x), length, profile)
    assert np.array_equal(at_once.values(0, length), whole) and at_once.constant.nonzero()[0].tolist() == [5]
    monkeypatch.setattr(conditioning, "BLOCK", 700)
    taken.clear()
    in_parts = Conditioned(take, len(x), length, profile)
    assert max(taken) <= 700 * len(x) / length + 3
    assert in_parts.constant.tolist() == at_once.constant.tolist() and in_parts.finite.all()
    for first, last in ((0, 1), (0, 500), (499, 1301), (length - 1, length), (0, length)):
        np.testing.assert_allclose(in_parts.values(first, last), whole[first:last], rtol=0, atol=1e-12)


def test_resampling_in_parts_gives_the_same_bits():
    x = recording()
    for length in (1, 2, 1999, 4000, 4001, 9000):
        whole = Conditioned(lambda a, b: x[a:b], len(x), length, PIPELINE, standardise=False)
        assert np.array_equal(whole.values(0, length).T, resample(x.T, 4000, length))


@pytest.mark.parametrize("shape", [(7,), (2, 9), (2, 3, 5), (0, 9)])
def test_resampling_of_any_shape(shape):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    found = resample(x, 100, 200)
    assert found.shape == (*shape[:-1], 2 * shape[-1]) and found.dtype == np.float64
    for row, expected in zip(found.reshape(-1, found.shape[-1]), x.reshape(-1, shape[-1])):
        np.testing.assert_allclose(row, np.linspace(expected[0], expected[-1], len(row)), atol=1e-12)
