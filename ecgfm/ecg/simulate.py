"""Simulated 12-lead ECGs, for demonstrations and tests: plausible, seeded, and not a patient's.

The heart is a dipole whose three components are sums of Gaussians of the phase within a beat, one or two for each of
the waves P, Q, R, S and T (McSharry, Clifford, Tarassenko, Smith: A dynamical model for generating synthetic
electrocardiogram signals, IEEE Trans Biomed Eng 50(3), 2003). Each lead is the dipole's projection on a direction,
that of the Dower transform for I, II and V1-V6. Noise is added to these eight; III, aVR, aVL and aVF follow from I
and II by the laws of Einthoven and Goldberger.
"""

import numpy as np

from ..errors import ConfigError
from .record import LEADS, MAX_RATE, MIN_RATE, Record

__all__ = ["simulate"]

# Each row: phase of the centre in degrees (R wave at 0), width in degrees, and amplitude in mV along x (to the left
# arm), y (to the feet) and z (to the back), at 60 beats a minute.
_WAVES = np.array(
    [
        [-68.0, 8.0, 0.07, 0.10, -0.02],  # P, right atrium
        [-60.0, 8.0, 0.06, 0.06, 0.04],  # P, left atrium
        [-6.5, 3.0, -0.14, -0.06, -0.14],  # Q: septum, to the right and to the front
        [0.0, 3.6, 1.10, 0.85, 0.30],  # R: the wall of the left ventricle
        [6.0, 3.6, -0.10, -0.22, 0.60],  # S: the base, to the back
        [92.0, 22.0, 0.14, 0.10, -0.12],  # T, its slow rise
        [108.0, 13.0, 0.20, 0.15, -0.16],  # T, its faster fall
    ]
)
_MOVES_WITH_RATE = np.array([1, 1, 0, 0, 0, 1, 1], dtype=bool)  # P and T; the QRS keeps its duration

# Directions of the leads I, II, V1-V6 in (x, y, z): the Dower transform.
_DIRECTIONS = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
_STEP_MV = 2.0**-10  # of the simulated converter; a power of two makes sums and halves of leads exact in float32
_MAX_SAMPLES = 1 << 27


def simulate(
    duration_s=10.0,
    sampling_rate=500.0,
    *,
    heart_rate=70.0,
    variability=0.04,
    axis_deg=0.0,
    amplitude=1.0,
    noise_mv=0.01,
    wander_mv=0.05,
    mains_mv=0.0,
    mains_hz=50.0,
    seed=0,
):
    """Simulate a 12-lead ECG in sinus rhythm.

    Parameters
    ----------
    duration_s : float
        Length in seconds.
    sampling_rate : float
        In Hz.
    heart_rate : float
        Mean beats a minute, 20 to 250.
    variability : float
        Standard deviation of the time between beats, as a share of it (0 to 0.3): half breathing, half chance.
    axis_deg : float
        Turns the heart's electrical axis in the frontal plane; positive to the right, in degrees.
    amplitude : float
        Factor of all waves.
    noise_mv : float
        Standard deviation of white noise of each of the leads I, II, V1-V6.
    wander_mv : float
        Standard deviation of the baseline's wander, below 0.5 Hz.
    mains_mv, mains_hz : float
        Amplitude and frequency of hum.
    seed : int
        The same arguments and seed give the same recording.

    Returns
    -------
    Record
        Leads in the order of `LEADS`, float32 in mV, on a grid of 2^-10 mV (2^-11 mV for aVR, aVL, aVF), so that
        III = II - I, aVR = -(I + II)/2, aVL = I - II/2 and aVF = II - I/2 hold exactly.

    Raises
    ------
    ConfigError
        If an argument is out of range.
    """
    _check("sampling_rate", sampling_rate, MIN_RATE, MAX_RATE)
    _check("duration_s", duration_s, 1 / sampling_rate, _MAX_SAMPLES / sampling_rate)
    _check("heart_rate", heart_rate, 20, 250)
    _check("variability", variability, 0, 0.3)
    _check("axis_deg", axis_deg, -360, 360)
    _check("mains_hz", mains_hz, 0, MAX_RATE)
    _check("amplitude", amplitude, 0, 100)
    _check("noise_mv", noise_mv, 0, 100)
    _check("wander_mv", wander_mv, 0, 100)
    _check("mains_mv", mains_mv, 0, 100)
    rng = np.random.default_rng(seed)
    time = np.arange(max(1, round(duration_s * sampling_rate))) / sampling_rate
    phase = _phase(time, heart_rate, variability, rng)
    eight = _turned(_DIRECTIONS, axis_deg) @ (amplitude * _dipole(phase, heart_rate))
    eight += _wander(time, wander_mv, rng)
    if mains_mv:
        hum = np.cos(2 * np.pi * (mains_hz * time + rng.random()))
        eight += mains_mv * rng.uniform(0.5, 1.0, (8, 1)) * hum
    if noise_mv:
        eight += rng.normal(0.0, noise_mv, eight.shape)
    return Record(
        _twelve_leads(eight), sampling_rate, LEADS, source=f"simulated (seed {seed})", notes=("simulated, no patient",)
    )


def _check(name, value, low, high):
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ConfigError(f"{value!r} is not a number", field=name)
    if not low <= value <= high:
        raise ConfigError(f"{value!r} is not from {low:g} to {high:g}", field=name)


def _phase(time, heart_rate, variability, rng):
    """Phase within the beat at each time, in degrees from -180 to 180; R waves at 0."""
    mean = 60.0 / heart_rate
    count = int(time[-1] / mean * 2) + 8  # enough although beats vary
    chance = rng.standard_normal(count) * np.sqrt(0.5)
    breathing = np.sin(2 * np.pi * (0.25 * mean * np.arange(count) + rng.random()))
    intervals = mean * np.clip(1 + variability * (chance + breathing), 0.5, 1.5)
    beats = np.cumsum(intervals) - intervals[0] - rng.random() * mean
    turns = np.interp(time, beats, np.arange(count))
    return 360.0 * (turns - np.round(turns))


def _dipole(phase, heart_rate):
    """(3, samples) in mV. Beats shorten less than the time between them, as in McSharry's model."""
    shortening = np.sqrt(heart_rate / 60.0)
    scale = np.where(_MOVES_WITH_RATE, shortening, heart_rate / 60.0)  # in degrees a fixed duration grows with the rate
    moments = np.zeros((3, len(phase)))
    for (centre, width, *amplitudes), factor in zip(_WAVES, scale):
        distance = phase - centre * factor
        distance -= 360.0 * np.round(distance / 360.0)
        wave = np.exp(-0.5 * (distance / (width * factor)) ** 2)
        moments += np.array(amplitudes)[:, None] * wave
    return moments


def _turned(directions, degrees):
    """The directions as a heart sees them that is turned in the frontal (x, y) plane."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return directions @ turn


def _wander(time, deviation, rng):
    """Three slow waves, shared by the leads in different shares."""
    frequencies, phases = rng.uniform(0.05, 0.5, 3), rng.random(3)
    waves = np.sin(2 * np.pi * (frequencies[:, None] * time + phases[:, None]))
    return deviation * rng.normal(0.0, np.sqrt(2 / 3), (8, 3)) @ waves


def _twelve_leads(eight):
    eight = (np.round(eight / _STEP_MV) * _STEP_MV).astype(np.float32)
    one, two = eight[0], eight[1]
    limbs = [one, two, two - one, (one + two) / -2, one - two / 2, two - one / 2]
    return np.concatenate([np.stack(limbs), eight[2:]])
