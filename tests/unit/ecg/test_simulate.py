"""The simulator: Einthoven's and Goldberger's laws, rate, noise, seed, and the shape of the waves."""

import numpy as np
import pytest

from ecgfm import LEADS, ConfigError, prepare
from ecgfm.ecg import simulate


def beats(lead, rate):
    """Samples of the R waves: peaks above half of the maximum, 250 ms apart at least."""
    above = np.flatnonzero(lead > 0.5 * lead.max())
    groups = np.split(above, np.flatnonzero(np.diff(above) > 0.25 * rate) + 1)
    return np.array([group[np.argmax(lead[group])] for group in groups])


@pytest.mark.parametrize("seed", range(5))
def test_limb_leads_hold_exactly(seed):
    one, two, three, avr, avl, avf = (
        simulate(8, 400, seed=seed, noise_mv=0.1, wander_mv=0.3, mains_mv=0.1).signal[:6].astype(np.float64)
    )
    assert np.array_equal(three, two - one)
    assert np.array_equal(avr, -(one + two) / 2)
    assert np.array_equal(avl, one - two / 2) and np.array_equal(avl, (one - three) / 2)
    assert np.array_equal(avf, two - one / 2) and np.array_equal(avf, (two + three) / 2)
    assert not (avr + avl + avf).any()


def test_a_record():
    record = simulate(10, 500, seed=3)
    assert record.leads == LEADS and record.signal.shape == (12, 5000) and record.signal.dtype == np.float32
    assert record.source == "simulated (seed 3)" and record.notes == ("simulated, no patient",)
    assert len(prepare(record)) == 2
    assert simulate(0.002, 500).samples == 1


@pytest.mark.parametrize("heart_rate", [30, 60, 75, 120, 180])
@pytest.mark.parametrize("rate", [250, 500])
def test_heart_rate(heart_rate, rate):
    record = simulate(60, rate, heart_rate=heart_rate, noise_mv=0, wander_mv=0)
    found = beats(record.signal[LEADS.index("II")], rate)
    assert 60 * rate * (len(found) - 1) / (found[-1] - found[0]) == pytest.approx(heart_rate, rel=0.03)


def test_variability():
    still, varied = (
        np.diff(beats(simulate(120, 500, variability=v, noise_mv=0, wander_mv=0).signal[1], 500)) / 500
        for v in (0, 0.08)
    )
    assert still.std() <= 0.002
    assert varied.std() / varied.mean() == pytest.approx(0.08, rel=0.25)


def test_shape_of_a_normal_heart():
    signal = dict(zip(LEADS, simulate(20, 500, heart_rate=60, noise_mv=0, wander_mv=0, variability=0).signal))
    r = beats(signal["II"], 500)
    r = r[(r > 300) & (r < 9500)]
    for name in ("I", "II", "V4", "V5", "V6"):
        assert signal[name][r].min() > 0.3, name  # R upright
    assert signal["aVR"][r].max() < -0.3
    assert -signal["V1"].min() > 2 * signal["V1"].max()  # rS in V1
    depth = [signal[f"V{i}"].max() for i in range(1, 5)]
    assert depth == sorted(depth)  # R grows from V1 to V4
    t = signal["II"][r[:, None] + np.arange(100, 200)]
    assert 0.1 < t.max() < 0.6 and 0.22 < (100 + t[0].argmax()) / 500 < 0.36  # T, 220 to 360 ms after R
    p = signal["II"][r[:, None] + np.arange(-120, -50)]
    assert 0.05 < p.max() < 0.3
    assert np.abs(signal["II"][r[:, None] + np.arange(-42, -25)]).max() < 0.06  # PQ lies on the baseline


def test_seed():
    assert np.array_equal(simulate(seed=1).signal, simulate(seed=1).signal)
    assert not np.array_equal(simulate(seed=1).signal, simulate(seed=2).signal)


def test_noise_wander_mains_amplitude_and_axis():
    def clean(**changes):
        return simulate(20, 500, **({"noise_mv": 0, "wander_mv": 0} | changes)).signal.astype(np.float64)

    base = clean()
    assert (clean(noise_mv=0.05) - base)[:2].std() == pytest.approx(0.05, rel=0.05)
    wander = simulate(20, 500, noise_mv=0, wander_mv=0.2).signal - simulate(20, 500, noise_mv=0, wander_mv=0).signal
    assert np.abs(np.fft.rfft(wander, axis=1))[:, 20:].max() < 0.2 * np.abs(np.fft.rfft(wander, axis=1)).max()
    spectrum = np.abs(np.fft.rfft(clean(mains_mv=0.1, mains_hz=60)[0] - base[0]))
    assert spectrum.argmax() == 60 * 20
    np.testing.assert_allclose(clean(amplitude=2), 2 * base, atol=0.003)
    assert clean(axis_deg=90)[0].sum() != pytest.approx(base[0].sum(), rel=0.1)
    assert -clean(axis_deg=90)[0].min() > clean(axis_deg=90)[0].max()  # to the right: I points down


@pytest.mark.parametrize(
    "changes",
    [
        {"duration_s": 0},
        {"duration_s": -1},
        {"duration_s": 1e9},
        {"duration_s": np.nan},
        {"sampling_rate": 10},
        {"sampling_rate": "500"},
        {"heart_rate": 0},
        {"heart_rate": 1000},
        {"variability": 0.5},
        {"noise_mv": -1},
        {"amplitude": np.inf},
        {"mains_hz": -50},
        {"axis_deg": None},
        {"wander_mv": True},
    ],
)
def test_out_of_range(changes):
    with pytest.raises(ConfigError) as caught:
        simulate(**changes)
    assert caught.value.field == next(iter(changes))
