"""When a simulated heart beats: the atria, the ventricles, and what connects them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Beats", "atrial_fibrillation", "fibrillation_waves", "paced", "qt_interval", "sinus_intervals", "sinus"]

MARGIN_S = 2.0  # beats are made from so long before the recording until so long after it
_REFRACTORY_S = 0.24


@dataclass
class Beats:
    """Beats in the order of time, and the P waves among them.

    Attributes
    ----------
    start_s : ndarray
        (b,) beginning of each QRS.
    kind : ndarray of str
        (b,) ``conducted``, ``ventricular`` or ``paced``.
    pr_s : ndarray
        (b,) from the beginning of its P wave; NaN where no P wave led to the beat.
    qt_s : ndarray
        (b,) to the end of its T wave.
    p_s : ndarray
        (p,) beginnings of the P waves.
    spikes_s : ndarray
        (s,) stimuli of a pacemaker.
    """

    start_s: np.ndarray
    kind: np.ndarray
    pr_s: np.ndarray
    qt_s: np.ndarray
    p_s: np.ndarray
    spikes_s: np.ndarray


def qt_interval(rr_s: NDArray[np.float64], qtc_s: float) -> NDArray[np.float64]:
    """QT from the time between beats before it, after Fridericia."""
    return np.asarray(qtc_s * np.cbrt(np.clip(rr_s, 0.3, 2.0)))


def sinus_intervals(
    rng: np.random.Generator, mean_s: float, variability: float, duration_s: float, breath_hz: float = 0.25
) -> NDArray[np.float64]:
    """Times between sinus beats: half of the variance is breathing's, a tenth that of waves of 0.1 Hz, the rest chance.

    Parameters
    ----------
    rng : numpy.random.Generator
    mean_s : float
    variability : float
        Standard deviation as a share of the mean.
    duration_s : float
        How long they must last.
    breath_hz : float

    Returns
    -------
    ndarray
        (beats,) seconds.
    """
    count = int(duration_s / mean_s * 1.6) + 6  # enough although they vary
    at = mean_s * np.arange(count)
    breathing = np.sin(2 * np.pi * (breath_hz * at + rng.random()))
    slow = np.sqrt(0.2) * np.sin(2 * np.pi * (0.1 * at + rng.random()))
    chance = np.sqrt(0.4) * rng.standard_normal(count)
    return np.asarray(mean_s * np.clip(1 + variability * (breathing + slow + chance), 0.5, 1.5))


def _from_start(rng: np.random.Generator, intervals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times of beats that are well under way when the recording begins."""
    return np.asarray(np.cumsum(intervals) - intervals[0] - MARGIN_S - rng.random() * intervals[0])


def sinus(
    rng: np.random.Generator,
    intervals: NDArray[np.float64],
    pr_s: float,
    qtc_s: float,
    duration_s: float,
    early_atrial: int = 0,
    early_ventricular: int = 0,
) -> Beats:
    """Sinus rhythm, with early beats among it.

    Parameters
    ----------
    rng : numpy.random.Generator
    intervals : ndarray
        Between the sinus beats.
    pr_s, qtc_s : float
    duration_s : float
        Of the recording.
    early_atrial : int
        So many beats come early from the atria; the rhythm is reset by them.
    early_ventricular : int
        So many beats come from the ventricles. The next sinus beat finds them refractory: the pause is compensatory.

    Returns
    -------
    Beats
    """
    times = _from_start(rng, intervals)
    atrial = _inside(rng, times, duration_s, early_atrial)
    for i in atrial:  # the interval before it is shorter, and what follows comes earlier
        times[i:] -= rng.uniform(0.25, 0.42) * (times[i] - times[i - 1])
    kind = np.full(len(times), "conducted", dtype="U11")
    p_s = times - pr_s
    extra: list[float] = []
    if early_ventricular:
        chosen = _apart(rng, np.setdiff1d(_inside(rng, times, duration_s), atrial), early_ventricular)
        coupling = rng.uniform(0.52, 0.72)  # nearly the same each time: one focus
        for i in chosen:
            extra.append(times[i - 1] + max((times[i] - times[i - 1]) * (coupling + rng.normal(0, 0.02)), 0.32))
            kind[i] = "blocked"
    return _made(times, kind, pr_s, p_s, extra, qtc_s)


def atrial_fibrillation(
    rng: np.random.Generator,
    mean_s: float,
    irregularity: float,
    qtc_s: float,
    duration_s: float,
    early_ventricular: int = 0,
) -> Beats:
    """Ventricular beats in atrial fibrillation: no P wave, intervals that know nothing of each other.

    Parameters
    ----------
    mean_s : float
        Between beats.
    irregularity : float
        Their standard deviation as a share of the mean; the distribution is a gamma above a refractory time.
    """
    least = max(0.30, 0.45 * mean_s)
    shape = ((mean_s - least) / (irregularity * mean_s)) ** 2
    count = int((duration_s + 2 * MARGIN_S) / mean_s * 1.6) + 8
    times = _from_start(rng, least + rng.gamma(shape, (mean_s - least) / shape, count))
    kind = np.full(count, "conducted", dtype="U11")
    for i in _apart(rng, _inside(rng, times, duration_s), early_ventricular):
        kind[i] = "ventricular"
        times[i] = min(times[i], times[i - 1] + rng.uniform(0.36, 0.50))
    return _made(times, kind, np.nan, np.empty(0), [], qtc_s)


def paced(
    rng: np.random.Generator,
    mean_s: float,
    variability: float,
    qtc_s: float,
    duration_s: float,
    mode: str,
    pr_s: float = 0.16,
    atrial_s: NDArray[np.float64] | None = None,
    early_ventricular: int = 0,
) -> Beats:
    """Rhythm of a pacemaker.

    Parameters
    ----------
    mode : {"ventricular", "dual", "atrial", "tracking"}
        The ventricles alone (P waves, if ``atrial_s`` gives their intervals, come when they come); both chambers; the
        atria alone; or the ventricles after each P wave of the sinus node.
    pr_s : float
        From the P wave, or the atrial stimulus, to the QRS.
    """
    whole_s = duration_s + 2 * MARGIN_S
    if mode == "tracking":
        times = _from_start(rng, sinus_intervals(rng, mean_s, variability, whole_s))
    else:
        times = _from_start(rng, np.full(int(whole_s / mean_s) + 3, mean_s))
    kind = np.full(len(times), "conducted" if mode == "atrial" else "paced", dtype="U11")
    extra: list[float] = []
    for i in _apart(rng, _inside(rng, times, duration_s), early_ventricular):
        extra.append(times[i - 1] + mean_s * rng.uniform(0.55, 0.72))
        times[i:] += extra[-1] - times[i - 1]  # the pacemaker sees it and starts to count again
    p_s, pr = np.empty(0), np.nan
    spikes = [] if mode == "atrial" else [times - rng.uniform(0.004, 0.012)]
    if mode != "ventricular":
        p_s, pr = times - pr_s, pr_s
        if mode != "tracking":
            spikes.append(p_s - 0.012)
    elif atrial_s is not None:
        p_s = _from_start(rng, atrial_s)
    return _made(times, kind, pr, p_s, extra, qtc_s, np.concatenate(spikes))


def _inside(
    rng: np.random.Generator, times: NDArray[np.float64], duration_s: float, count: int | None = None
) -> NDArray[np.int64]:
    """The beats that lie well within the recording, or `count` of them, in order."""
    possible = np.flatnonzero((times[1:] > 0.35) & (times[1:] < duration_s - 0.1)) + 1
    return np.sort(rng.permutation(possible)[:count])


def _apart(rng: np.random.Generator, possible: NDArray[np.int64], count: int) -> list[int]:
    """Up to `count` of them, no two of which follow each other."""
    chosen: list[int] = []
    for i in rng.permutation(possible).tolist():
        if len(chosen) < count and all(abs(i - other) > 1 for other in chosen):
            chosen.append(i)
    return sorted(chosen)


def _made(
    times: NDArray[np.float64],
    kind: NDArray[np.str_],
    pr_s: float,
    p_s: NDArray[np.float64],
    extra: Sequence[float],
    qtc_s: float,
    spikes: NDArray[np.float64] | None = None,
) -> Beats:
    """Puts ventricular beats among the others, and gives each its QT."""
    here = kind != "blocked"
    start = np.concatenate([times[here], extra])
    order = np.argsort(start, kind="stable")
    kind = np.concatenate([kind[here], np.full(len(extra), "ventricular", dtype="U11")])[order]
    pr = np.repeat([pr_s, np.nan], [here.sum(), len(extra)])[order]
    start = start[order]
    before = np.diff(start, prepend=2 * start[0] - start[1])
    # The QT follows the rate within some beats, not from one to the next.
    smooth = 0.5 * before + 0.5 * np.median(before)
    following = np.diff(start, append=start[-1] + before[-1])
    qt = np.minimum(qt_interval(smooth, qtc_s), np.maximum(0.85 * following, _REFRACTORY_S))
    return Beats(start, kind, pr, qt, p_s, np.empty(0) if spikes is None else spikes)


def fibrillation_waves(
    rng: np.random.Generator, time: NDArray[np.float64], rate_hz: float, size_mv: float
) -> NDArray[np.float64]:
    """f waves: a sawtooth of three harmonics, whose rate and size change by chance (after Stridh, Sornmo:
    Spatiotemporal QRST cancellation techniques for analysis of atrial fibrillation, IEEE Trans Biomed Eng 48(1), 2001).

    Parameters
    ----------
    rng : numpy.random.Generator
    time : ndarray
        (n,) seconds.
    rate_hz, size_mv : float

    Returns
    -------
    ndarray
        (2, n) mV of two parts of the atria, which do not go together.
    """
    knots = np.arange(time[0] - 0.2, time[-1] + 0.4, 0.13)  # rate and size are drawn so often
    made = np.empty((2, len(time)))
    for row, share in enumerate((1.0, 0.6)):
        rates = rate_hz * np.clip(1 + 0.17 * rng.standard_normal(len(knots)), 0.55, 1.5)
        turns = np.interp(time, knots, np.concatenate([[rng.random()], np.cumsum(rates[:-1]) * 0.13]))
        sizes = np.interp(time, knots, rng.gamma(4.0, 0.25, len(knots)))
        angle = 2 * np.pi * turns
        made[row] = share * size_mv * sizes * (np.sin(angle) + 0.35 * np.sin(2 * angle) + 0.12 * np.sin(3 * angle))
    return made
