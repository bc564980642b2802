"""What disturbs a recording, at its ten electrodes: noise, muscles, wander, hum, and electrodes that come off.

A lead is a difference of electrodes (I = LA - RA, II = LL - RA, V = V's electrode - the mean of RA, LA, LL), so that a
bad limb electrode shows in all the leads that it really spoils.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEADS_OF_ELECTRODES", "disturb", "faults"]

# (8, 9): leads I, II, V1-V6 from the electrodes RA, LA, LL, V1-V6.
LEADS_OF_ELECTRODES = np.zeros((8, 9))
LEADS_OF_ELECTRODES[0, [0, 1]] = -1, 1
LEADS_OF_ELECTRODES[1, [0, 2]] = -1, 1
LEADS_OF_ELECTRODES[2:, :3] = -1 / 3
LEADS_OF_ELECTRODES[2:, 3:] = np.eye(6)
# An electrode's share of a deviation that is given for a lead, so that each lead has that deviation.
_SHARE = np.sqrt([0.5, 0.5, 0.5, *[5 / 6] * 6])


def disturb(
    rng: np.random.Generator,
    samples: int,
    rate: float,
    *,
    noise_mv: float = 0.0,
    wander_mv: float = 0.0,
    mains_mv: float = 0.0,
    mains_hz: float = 50.0,
    muscle_mv: float = 0.0,
) -> NDArray[np.float64]:
    """Noise of the leads I, II, V1-V6.

    Parameters
    ----------
    rng : numpy.random.Generator
    samples : int
    rate : float
        In Hz.
    noise_mv, wander_mv, muscle_mv : float
        Standard deviation in a lead: of white noise, of the baseline below 0.5 Hz, of muscles (20 Hz up, in bursts).
    mains_mv, mains_hz : float
        Amplitude of hum, of which a lead has a half to all, and its frequency.

    Returns
    -------
    ndarray
        (8, samples) mV.
    """
    made = np.zeros((8, samples))
    time = np.arange(samples) / rate
    if wander_mv:
        frequencies, phases = rng.uniform(0.05, 0.5, 3), rng.random(3)
        waves = np.sin(2 * np.pi * (frequencies[:, None] * time + phases[:, None]))
        shares = LEADS_OF_ELECTRODES @ (_SHARE[:, None] * rng.normal(0.0, np.sqrt(2 / 3), (9, 3)))
        made += wander_mv * shares @ waves
    if mains_mv:
        hum = np.cos(2 * np.pi * (mains_hz * time + rng.random()))
        made += mains_mv * rng.uniform(0.5, 1.0, (8, 1)) * hum
    if noise_mv:
        made += LEADS_OF_ELECTRODES @ (noise_mv * _SHARE[:, None] * rng.standard_normal((9, samples)))
    if muscle_mv:
        muscles = _above(rng.standard_normal((9, samples)), rate, 20.0)
        tension = rng.uniform(0.05, 0.4, 9)[:, None], rng.random((9, 1))
        bursts = 0.6 + 0.8 * np.sin(np.pi * (tension[0] * time + tension[1])) ** 2
        made += LEADS_OF_ELECTRODES @ (muscle_mv * _SHARE[:, None] * muscles * bursts)
    return made


def _above(noise: NDArray[np.float64], rate: float, frequency: float) -> NDArray[np.float64]:
    """White noise without what lies below a frequency, of deviation 1."""
    spectrum = np.fft.rfft(noise, axis=1)
    at = np.arange(spectrum.shape[1]) * rate / noise.shape[1]
    response = at**2 / (at**2 + frequency**2) / np.sqrt(1 + (at / 120.0) ** 2)
    made = np.fft.irfft(spectrum * response, noise.shape[1], axis=1)
    return np.asarray(made / max(made.std(), 1e-12))


def faults(rng: np.random.Generator, eight: NDArray[np.float64], rate: float) -> tuple[str, ...]:
    """Spoils a recording so that it is of poor quality, in place.

    One or two of: strong muscles; a baseline that runs or jumps; one to three chest electrodes that are off (no signal
    but hum, or a flat line); a limb electrode with a bad contact.

    Parameters
    ----------
    rng : numpy.random.Generator
    eight : ndarray
        (8, samples) mV, leads I, II, V1-V6.
    rate : float
        In Hz.

    Returns
    -------
    tuple of str
        What was done.
    """
    possible = ("muscles", "wander", "jumps", "electrodes off", "contact")
    chosen = sorted(rng.permutation(len(possible))[: 1 + (rng.random() < 0.4)])
    samples = eight.shape[1]
    time = np.arange(samples) / rate
    for name in (possible[i] for i in chosen):
        if name == "muscles":
            eight += disturb(rng, samples, rate, muscle_mv=rng.uniform(0.10, 0.30))
        elif name == "wander":
            eight += disturb(rng, samples, rate, wander_mv=rng.uniform(0.45, 1.3), muscle_mv=0.02)
        elif name == "jumps":
            electrodes = np.zeros((9, samples))
            for electrode in rng.permutation(9)[: rng.integers(1, 5)]:
                for start in rng.uniform(0, time[-1], rng.integers(1, 4)):
                    size = rng.choice([-1, 1]) * rng.uniform(0.6, 2.5)
                    since = np.clip(time - start, 0, None)
                    electrodes[electrode] += size * (time >= start) * np.exp(-since / rng.uniform(0.15, 1.2))
            eight += LEADS_OF_ELECTRODES @ electrodes
        elif name == "electrodes off":
            for lead in 2 + rng.permutation(6)[: rng.integers(1, 4)]:
                flat = rng.random() < 0.5
                hum = rng.uniform(0.02, 0.4) * np.sin(2 * np.pi * rng.choice([50.0, 60.0]) * time)
                eight[lead] = 0.0 if flat else hum + rng.normal(0.0, 0.05, samples)
        else:
            bad = LEADS_OF_ELECTRODES[:, rng.integers(3), None]
            crackle = _above(rng.standard_normal((1, samples)), rate, 5.0)
            moved = np.zeros(samples)
            moved[rng.integers(0, samples, 2 + int(2 * time[-1]))] = 1.0
            loose = np.convolve(moved, np.exp(-np.arange(int(0.5 * rate) + 1) / (0.15 * rate)))
            eight += bad * rng.uniform(0.3, 0.8) * crackle * np.minimum(loose[:samples], 1.5)
    return tuple(possible[i] for i in chosen)
