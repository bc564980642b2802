"""What is said of segments that were evidently not prepared, and that nothing is said of others."""

import os
import warnings

import numpy as np
import pytest
import weights

import ecgfm
from ecgfm.ecg.expected import prepared_here, unprepared, warn_unprepared


def raw(seed=0, samples=5000):
    """A simulated recording in millivolts."""
    return ecgfm.ecg.SimulatedPatient(seed).record(samples / 500).signal


def prepared(seed=0, samples=5000):
    return np.asarray(ecgfm.prepare(raw(seed, samples), 500))


@pytest.mark.parametrize("seed", range(8))
def test_raw_recordings_are_noticed(seed):
    assert unprepared(raw(seed)[None, :, :2500])
    assert "5000 samples" in unprepared(raw(seed)[None])


@pytest.mark.parametrize("factor", (1e-3, 1000.0))
def test_other_units_are_noticed(factor):
    said = unprepared(raw()[None, :, :2500] * factor)
    assert "standard deviation" in said


def test_an_offset_is_noticed():
    assert "mean of 5" in unprepared(prepared() + 5)


def test_integers_and_float16_are_looked_at():
    counts = np.round(raw()[None, :, :2500] * 1000).astype(np.int16)
    assert unprepared(counts) and unprepared(raw()[None, :, :2500].astype(np.float16))


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_said_of_prepared_segments(seed):
    x = prepared(seed)
    assert unprepared(x) is None and unprepared(x.astype(np.float64)) is None and unprepared(x[:1]) is None


def test_nothing_is_said_of_padded_masked_or_partly_lost_segments():
    x = prepared()
    padded = np.asarray(ecgfm.prepare(raw(samples=1000), 500, short="pad"))
    masked, lost, empty = x.copy(), x.copy(), x.copy()
    masked[:, 1:] = 0
    lost[:, :, 100:] = 0
    empty[:] = 0
    some = np.concatenate([x, empty, empty])
    for one in (padded, masked, lost, empty, some):
        assert unprepared(one) is None


def test_a_few_odd_segments_among_many_are_passed_over():
    x = np.concatenate([prepared(seed) for seed in range(4)])
    x[0] *= 0.01
    assert unprepared(x) is None


def test_what_can_not_be_judged_is_left_to_others():
    for x in (np.zeros((12, 2500)), np.zeros((0, 12, 2500)), np.full((1, 12, 2500), np.nan), np.array(["a"])):
        assert unprepared(x) is None


def test_it_warns_where_it_is_asked_to():
    with pytest.warns(ecgfm.InputWarning, match="ecgfm.prepare") as seen:
        assert warn_unprepared(raw()[None])
    assert seen[0].filename == __file__


def test_segments_and_what_was_prepared_here_are_trusted():
    segments = ecgfm.prepare(raw(), 500)
    segments.x[:] *= 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not warn_unprepared(segments)
        with prepared_here():
            assert not warn_unprepared(raw()[None])


def test_long_and_many_are_only_sampled():
    """A batch of 4 GB that is a view of one segment: looking at all of it would take seconds, and a copy memory."""
    x = np.broadcast_to(prepared()[:1], (40_000, 12, 2500))
    assert unprepared(x) is None


def test_real_recordings(shared):
    """Nothing is said of any of them once prepared; most are noticed while they are raw."""
    folder, noticed, count = shared / "real" / "ptbxl" / "records100", 0, 0
    for place, _, names in sorted(os.walk(folder)):
        for name in sorted(name for name in names if name.endswith(".hea"))[:20]:
            record = ecgfm.read(os.path.join(place, name))
            assert unprepared(np.asarray(ecgfm.prepare(record))) is None
            noticed += unprepared(np.repeat(record.signal, 5, axis=1)[None, :, :2500]) is not None
            count += 1
    assert count >= 20 and noticed >= 0.9 * count


@pytest.fixture
def model():
    small = ecgfm.Model.from_state_dict(weights.SMALL, weights.weights(weights.parameters(weights.SMALL)))
    return small


def test_a_model_warns_once_of_raw_input(model):
    with pytest.warns(ecgfm.InputWarning, match="5000 samples") as seen:
        model(raw()[None])
    assert len(seen) == 1 and seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(raw()[None])


def test_a_model_says_nothing_of_prepared_input(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(ecgfm.prepare(raw(), 500))
        model(prepared())
        ecgfm.predict(model, [raw()], sampling_rate=500)
        ecgfm.embed(model, [raw()], sampling_rate=500)
        ecgfm.saliency(model, [raw()], sampling_rate=500)
