"""One simulated 12-lead ECG with everything set by hand, for demonstrations and tests; no patient's.

Where patients are wanted that differ, take `SimulatedPatient` and `simulate_cohort`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ConfigError
from ..signal.checks import MAX_RATE
from ..validation import Number, checked
from .simulation.disturbance import disturb, faults
from .simulation.patient import (
    EARLY,
    FAST,
    FIBRILLATION,
    LONG_PR,
    PACEMAKER,
    POOR,
    SLOW,
    SimulatedPatient,
    SimulatedRecord,
    checked_length,
)
from .simulation.rhythm import MARGIN_S, atrial_fibrillation, paced, sinus, sinus_intervals

__all__ = ["simulate"]


def simulate(
    duration_s: float = 10.0,
    sampling_rate: float = 500.0,
    *,
    labels: Sequence[str] = (),
    heart_rate: float | None = None,
    variability: float = 0.04,
    axis_deg: float = 0.0,
    amplitude: float = 1.0,
    noise_mv: float = 0.01,
    wander_mv: float = 0.05,
    mains_mv: float = 0.0,
    mains_hz: float = 50.0,
    seed: int = 0,
) -> SimulatedRecord:
    """Simulate a 12-lead ECG of a heart in the middle of all.

    Parameters
    ----------
    duration_s : float
        Length in seconds.
    sampling_rate : float
        In Hz.
    labels : sequence of str
        What is wrong, from `ecgfm.ecg.SIMULATED_LABELS`; by default nothing.
    heart_rate : float, optional
        Mean beats a minute, 20 to 250; by default 70, or what the labels ask for.
    variability : float
        Standard deviation of the time between sinus beats, as a share of it (0 to 0.3): half breathing, half chance.
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
    SimulatedRecord
        A `Record` with its true ``labels`` and ``beats``. Leads in the order of `LEADS`, float32 in mV, on a grid of
        2^-10 mV (2^-11 mV for aVR, aVL, aVF), so that III = II - I, aVR = -(I + II)/2, aVL = I - II/2 and
        aVF = II - I/2 hold exactly.

    Raises
    ------
    ConfigError
        If an argument is out of range.
    LabelError
        If a label is not known, or two exclude each other.
    """
    samples = checked_length(duration_s, sampling_rate)
    if heart_rate is not None:
        checked(heart_rate, Number(20, at_most=250), "heart_rate")
    checked(variability, Number(0, at_most=0.3), "variability")
    checked(mains_hz, Number(0, at_most=MAX_RATE), "mains_hz")
    for name, value in (("noise_mv", noise_mv), ("wander_mv", wander_mv), ("mains_mv", mains_mv)):
        checked(value, Number(0, at_most=100), name)
    patient = SimulatedPatient(seed, labels, spread=0.0, axis_deg=axis_deg, amplitude=amplitude)
    has = set(patient.labels)
    if heart_rate is None:
        heart_rate = 125 if FAST in has else 48 if SLOW in has else 70
    if (FAST in has and heart_rate <= 100) or (SLOW in has and heart_rate >= 60):
        raise ConfigError(f"{heart_rate} contradicts the labels", field="heart_rate")
    rng = np.random.default_rng(seed)
    seconds = samples / sampling_rate
    early = 1 + int(seconds / 7) if EARLY in has else 0
    mean_s, pr_s = 60.0 / heart_rate, 0.24 if LONG_PR in has else min(0.155, 0.12 + 0.05 * 60.0 / heart_rate)
    intervals = sinus_intervals(rng, mean_s, variability, seconds + 2 * MARGIN_S)
    if PACEMAKER in has:
        mode = "ventricular" if FIBRILLATION in has else "dual"
        beats = paced(rng, mean_s, 0.0, patient.qtc_s, seconds, mode, early_ventricular=early)
        patient.pacing = mode
    elif FIBRILLATION in has:
        beats = atrial_fibrillation(rng, mean_s, 0.2, patient.qtc_s, seconds, early)
    else:
        beats = sinus(rng, intervals, pr_s, patient.qtc_s, seconds, early_ventricular=early)
    eight = patient.drawn(beats, samples, sampling_rate, rng)
    eight += disturb(
        rng, samples, sampling_rate, noise_mv=noise_mv, wander_mv=wander_mv, mains_mv=mains_mv, mains_hz=mains_hz
    )
    if POOR in has:
        faults(rng, eight, sampling_rate)
    return patient.recorded(eight, sampling_rate, beats, f"simulated (seed {seed})")
