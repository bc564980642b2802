"""Long recordings: windows that overlap, segments that are cut when they are due, and what is held of them."""

import tracemalloc
import weakref
from importlib import import_module

import numpy as np
import pytest
from fakes import FakeModel

from ecgfm import LEADS, ConfigError, Record, SignalError, predict, prepare, read
from ecgfm.ecg import quality
from ecgfm.ecg.choices import Choices
from ecgfm.ecg.prepare import prepare_lazily
from ecgfm.signal import conditioning

prepare_module, quality_module = import_module("ecgfm.ecg.prepare"), import_module("ecgfm.signal.quality")


def set_blocks(monkeypatch, samples):
    """Recordings that are longer count as long ones."""
    for module, name in ((prepare_module, "BLOCK"), (conditioning, "BLOCK"), (quality_module, "_BLOCK")):
        monkeypatch.setattr(module, name, samples)


@pytest.fixture
def small_blocks(monkeypatch):
    set_blocks(monkeypatch, 3001)


def record(seconds=47.3, rate=400.0, leads=LEADS, **options):
    x = np.random.default_rng(5).normal(0.2, 0.4, (len(leads), int(seconds * rate))).cumsum(axis=1).astype(np.float32)
    return Record(x / 30, rate, leads, source="r", **options)


@pytest.mark.parametrize("rate", [500.0, 400.0, 257.0, 1000.0])
@pytest.mark.parametrize("overlap_s", [0.0, 2.5, 1.234, 4.9])
def test_windows_are_parts_of_the_whole(rate, overlap_s):
    given = record(21.7, rate)
    step = 2500 - round(overlap_s * 500)
    flat = np.concatenate(list(prepare(given).x), axis=1)  # (12, all whole segments)
    found = prepare(given, overlap_s=overlap_s)
    count = (int(given.samples * 500 / rate) - 2500) // step + 1
    assert found.x.shape == (count, 12, 2500) and np.array_equal(found.start_s, np.arange(count) * step / 500)
    for i, x in enumerate(found.x):
        part = flat[:, i * step : i * step + 2500]
        assert np.array_equal(x[:, : part.shape[1]], part)
    assert found.provenance["overlap_s"] == pytest.approx(overlap_s, abs=1e-3)
    end = found.start_s[-1] + 5 + found.provenance["unused_s"]
    assert end == pytest.approx(int(given.samples * 500 / rate) / 500)
    assert 0 <= found.provenance["unused_s"] < step / 500


@pytest.mark.parametrize("overlap_s", [-0.1, 4.91, 5, np.nan, "half", None, True])
def test_overlaps_that_are_none(overlap_s):
    with pytest.raises(ConfigError, match="overlap_s"):
        prepare(record(), overlap_s=overlap_s)
    with pytest.raises(ConfigError, match="overlap_s"):
        predict(FakeModel(), [], overlap_s=overlap_s)


def test_overlap_of_a_short_recording_changes_nothing_but_the_note():
    plain, found = (prepare(record(3.0), short="pad", overlap_s=s) for s in (0, 2))
    assert np.array_equal(plain.x, found.x) and np.array_equal(plain.padding_mask, found.padding_mask)
    assert found.provenance["padded_s"] == 2.0 and found.provenance["unused_s"] == 0.0


@pytest.mark.parametrize("rate", [500.0, 400.0, 1000.0])
@pytest.mark.parametrize("leads", [LEADS, ("V6", "V5", "V4", "V3", "V2", "V1", "II", "I")])
def test_cut_when_due_is_the_same(small_blocks, rate, leads):
    given = record(rate=rate, leads=leads)
    given.signal[leads.index("V2")] = 0.25
    expected = by_the_book(given)
    for overlap_s in (0.0, 2.0):
        found = prepare_lazily(given, Choices(overlap_s=overlap_s))
        eager = prepare(given, overlap_s=overlap_s)
        assert not isinstance(found.x, np.ndarray) and isinstance(eager.x, np.ndarray)
        assert found.x.shape == eager.x.shape and len(found) == len(eager)
        assert found.provenance == eager.provenance and found.provenance["constant_leads"] == ["V2"]
        for rows in (slice(0, 1), slice(2, 5), slice(len(found) - 1, len(found) + 3), slice(3, 3)):
            assert np.array_equal(found.x[rows], eager.x[rows])
        assert np.array_equal(np.asarray(found), eager.x)
        step = 2500 - round(overlap_s * 500)
        for i, x in enumerate(eager.x):
            np.testing.assert_allclose(x, expected[:, i * step : i * step + 2500], atol=2e-6)


def by_the_book(given):
    """All leads at 500 Hz, standardised at once, in float64."""
    rows = dict(zip(given.leads, given.signal.astype(np.float64)))
    one, two = rows["I"], rows["II"]
    rows = {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2} | rows
    x = conditioning.resample(np.stack([rows[name] for name in LEADS]), given.sampling_rate, 500)
    x = x - x.mean(axis=1, keepdims=True)
    return x / (x.std(axis=1, keepdims=True) + 1e-8)


def test_predictions_do_not_depend_on_how_it_is_cut(monkeypatch):
    expected = predict(FakeModel(), record(), overlap_s=1.0)
    set_blocks(monkeypatch, 3001)
    found = predict(FakeModel(), [record(), record(12.0)], overlap_s=1.0, batch_size=3)
    np.testing.assert_allclose(found.logits[: len(expected.logits)], expected.logits, atol=1e-4)
    assert found.segments.start_s[: len(expected.logits)].tolist() == expected.segments.start_s.tolist()
    assert found.records["overlap_s"].tolist() == [1.0, 1.0]


def test_what_is_wrong_is_found_in_any_block(small_blocks):
    given = record()
    given.signal[7, 17001] = np.nan
    with pytest.raises(SignalError, match=r"lead V2.*nan at sample 17001 \(42\.502 s\); 1 of 18920"):
        prepare_lazily(given)


@pytest.mark.parametrize("seed", range(20))
def test_runs_across_blocks(small_blocks, seed, monkeypatch):
    rng = np.random.default_rng(seed)
    row = np.repeat(rng.integers(0, 3, 500), rng.integers(1, 30, 500)).astype(np.float32)
    monkeypatch.setattr(quality_module, "_BLOCK", int(rng.integers(1, 40)))
    ends = np.flatnonzero(np.append(row[1:] != row[:-1], True))
    lengths = np.diff(ends, prepend=-1)
    found = quality_module._runs(row, 5)
    assert np.array_equal(found[0], lengths[lengths >= 5]) and np.array_equal(found[1], row[ends[lengths >= 5]])


def test_quality_of_a_long_recording(monkeypatch):
    given = record(30.0)
    given.signal[1, 4000:6000] = 0.5
    given.signal[8] = np.clip(2 * np.sin(np.arange(given.samples) / 20), -1.9, 1.9)
    expected = quality(given)
    assert "II" in expected["flat"] and expected["clipped"] == ["V3"]
    monkeypatch.setattr(quality_module, "_BLOCK", 501)
    assert quality(given) == expected


def test_a_long_recording_is_held_once(monkeypatch, tmp_path):
    """Two hours of 12 leads at 500 Hz: reading, preparing and predicting take little more than the signal itself."""
    set_blocks(monkeypatch, 1 << 16)
    samples = 2 * 3600 * 250
    path = tmp_path / "holter.npy"
    x = np.lib.format.open_memmap(path, "w+", np.float32, (12, samples))
    x[:] = np.sin(np.arange(samples) / 40)
    x[:, ::977] += np.arange(12)[:, None]
    x.flush()
    del x
    tracemalloc.start()
    try:
        found = predict(Forgetful(), path, sampling_rate=250, overlap_s=2.5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.segments) == 2 * 2 * 720 - 1
    assert peak < 1.25 * 12 * samples * 4, f"{peak / 1e6:.0f} MB"


class Forgetful(FakeModel):
    """Doesn't keep the shapes of batches, and takes little time."""

    def __call__(self, x, padding_mask=None):
        return super().__call__(np.asarray(x)[:, :, ::50], padding_mask)


def test_reading_gives_what_was_written(tmp_path):
    given = record(12.0)
    np.savez(tmp_path / "a.npz", signal=given.signal, sampling_rate=400, leads=given.leads)
    found = read(tmp_path / "a.npz")
    assert np.array_equal(prepare(found, overlap_s=2).x, prepare(given, overlap_s=2).x)


def test_one_long_recording_is_let_go_before_the_next_is_read(small_blocks, monkeypatch, tmp_path):
    """The last segments of the first wait for a batch together with the first of the second."""
    from ecgfm.io import segment_files

    for i in range(4):
        np.savez(tmp_path / f"{i}.npz", signal=record().signal, sampling_rate=400, leads=LEADS)
    signals = []

    def read_and_remember(*args, **options):
        assert not any(ref() is not None for ref in signals)
        found = read(*args, **options)
        signals.append(weakref.ref(found.signal))
        return found

    monkeypatch.setattr(segment_files, "read", read_and_remember)
    found = predict(FakeModel(), tmp_path, batch_size=5, readers=0)
    assert len(signals) == 4 and found.records["segments"].tolist() == [9] * 4
    np.testing.assert_allclose(found.logits[9:18], found.logits[:9], atol=1e-5)
