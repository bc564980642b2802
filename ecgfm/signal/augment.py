"""Perturbations of standardised segments for training: leads that go missing, and four kinds of noise.

Each function takes one segment (12, N) and gives a new one; the leads are those of `ecgfm.LEADS`. With a legacy
generator each draws what the function of this name in fairseq-signals draws, in the same order. A setting out of range
is a ConfigError, another shape a SignalError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError, SignalError
from ..validation import Choice, Number, Numbers, Share, Whole, check_known, check_legacy, checked, real_array

__all__ = [
    "PERTURBATIONS",
    "augmentation",
    "baseline_shift",
    "baseline_wander",
    "emg_noise",
    "powerline_noise",
    "random_leads_masking",
]

_LIMB = 6  # leads I to aVF come first
_TWO = Numbers(2, Number(0, at_most=6))  # of limb and of chest leads


def random_leads_masking(
    x: ArrayLike,
    p: float = 1.0,
    mask_leads_selection: str = "random",
    mask_leads_prob: float = 0.5,
    mask_leads_condition: tuple[int, int] = (4, 5),
    *,
    keep_one_lead: bool = False,
    rng: np.random.RandomState,
) -> NDArray[np.float32]:
    """Zero some leads.

    Parameters
    ----------
    x : array_like
        (12, N).
    p : float
        Probability that anything is done.
    mask_leads_selection : {"random", "conditional"}
        Each lead by itself, or a fixed number of limb and of chest leads.
    mask_leads_prob : float
        For "random": the probability of each lead.
    mask_leads_condition : (int, int)
        For "conditional": how many of the six limb leads and of the six chest leads are zeroed.
    keep_one_lead : bool
        Never zero all leads: where "random" would, one of them, drawn, stays; a condition of all is refused.
    rng : numpy.random.RandomState

    Returns
    -------
    ndarray
        (12, N) float32.
    """
    segment = _segment(x, p, rng)
    checked(mask_leads_selection, Choice(("random", "conditional")), "mask_leads_selection")
    checked(mask_leads_prob, Share(), "mask_leads_prob")
    limb, chest = map(int, checked(mask_leads_condition, _TWO, "mask_leads_condition"))
    if mask_leads_selection == "conditional" and keep_one_lead and limb + chest == len(segment):
        raise ConfigError("all leads would go, which keep_one_lead forbids", field="mask_leads_condition")
    if not p >= rng.rand():
        return segment
    if mask_leads_selection == "random":
        gone = rng.uniform(0, 1, size=len(segment)) < mask_leads_prob
        if keep_one_lead and gone.all():
            gone[rng.randint(len(segment))] = False
    else:
        gone = np.zeros(len(segment), bool)
        gone[rng.choice(_LIMB, limb, replace=False)] = True
        gone[_LIMB + rng.choice(len(segment) - _LIMB, chest, replace=False)] = True
    segment[gone] = 0
    return segment


def powerline_noise(
    x: ArrayLike,
    p: float = 1.0,
    max_amplitude: float = 0.1,
    min_amplitude: float = 0.0,
    freq: float = 500,
    dependency: bool = True,
    *,
    rng: np.random.RandomState,
) -> NDArray[np.float32]:
    """Add mains hum of 50 or 60 Hz, the same on all leads.

    Parameters
    ----------
    x : array_like
        (12, N).
    p : float
        Probability that anything is done.
    max_amplitude, min_amplitude : float
        The amplitude is drawn between them, in the unit of `x`.
    freq : float
        Sampling rate in Hz.
    dependency : bool
        Calculate III, aVR, aVL and aVF from I and II afterwards.
    rng : numpy.random.RandomState

    Returns
    -------
    ndarray
        (12, N) float32.
    """
    segment = _segment(x, p, rng)
    _check_range(min_amplitude, max_amplitude, "amplitude")
    checked(freq, Number(above=0), "freq")
    if not p > rng.rand():
        return segment
    amplitude = rng.uniform(min_amplitude, max_amplitude)
    mains = 50 if rng.rand() > 0.5 else 60
    phase = rng.uniform(0, 2 * np.pi)
    t = np.arange(segment.shape[1])
    return _rounded(segment + amplitude * np.cos(2 * np.pi * mains * (t / freq) + phase), dependency)


def emg_noise(
    x: ArrayLike,
    p: float = 1.0,
    max_amplitude: float = 0.1,
    min_amplitude: float = 0.0,
    dependency: bool = True,
    *,
    rng: np.random.RandomState,
) -> NDArray[np.float32]:
    """Add white noise, of its own amplitude on each lead; parameters as of `powerline_noise`."""
    segment = _segment(x, p, rng)
    _check_range(min_amplitude, max_amplitude, "amplitude")
    if not p > rng.rand():
        return segment
    amplitude = rng.uniform(min_amplitude, max_amplitude, size=(len(segment), 1))
    return _rounded(segment + rng.normal(0, 1, segment.shape) * amplitude, dependency)


def baseline_shift(
    x: ArrayLike,
    p: float = 1.0,
    max_amplitude: float = 0.1,
    min_amplitude: float = 0.0,
    shift_ratio: float = 0.2,
    num_segment: int = 1,
    freq: float = 500,
    dependency: bool = True,
    *,
    rng: np.random.RandomState,
) -> NDArray[np.float32]:
    """Shift the baseline of a part of the segment.

    A lead moves by its sign (+1 or -1, drawn) minus an amplitude: so in the original.

    Parameters
    ----------
    x : array_like
        (12, N).
    p, max_amplitude, min_amplitude, freq, dependency, rng
        As of `powerline_noise`; the sampling rate is not used.
    shift_ratio : float
        Mean length of a shifted part, as a share of the segment.
    num_segment : int
        Shifted parts; where they meet the shift is not doubled.

    Returns
    -------
    ndarray
        (12, N) float32.
    """
    segment = _segment(x, p, rng)
    _check_range(min_amplitude, max_amplitude, "amplitude")
    checked(shift_ratio, Share(), "shift_ratio")
    num_segment = checked(num_segment, Whole(floats=True), "num_segment")
    leads, samples = segment.shape
    if not p > rng.rand():
        return segment
    mean = samples * shift_ratio
    sign = rng.choice([1, -1], size=(leads, 1))
    amplitude = rng.uniform(min_amplitude, max_amplitude)
    shifted = np.zeros(samples, bool)
    for _ in range(num_segment):
        width = rng.normal(mean, mean * 0.2)
        start = int(rng.uniform(0, samples - width))
        shifted[max(start, 0) : max(int(start + width), 0)] = True
    return _rounded(segment + (sign - amplitude) * shifted, dependency)


def baseline_wander(
    x: ArrayLike,
    p: float = 1.0,
    max_amplitude: float = 0.1,
    min_amplitude: float = 0.0,
    max_freq: float = 0.2,
    min_freq: float = 0.01,
    k: int = 3,
    freq: float = 500,
    dependency: bool = True,
    *,
    rng: np.random.RandomState,
) -> NDArray[np.float32]:
    """Add a slow wave, `k` cosines of drawn amplitude, frequency and phase, of its own size on each lead.

    Parameters
    ----------
    x : array_like
        (12, N).
    p, max_amplitude, min_amplitude, freq, dependency, rng
        As of `powerline_noise`.
    max_freq, min_freq : float
        In Hz.
    k : int
        Cosines.

    Returns
    -------
    ndarray
        (12, N) float32.
    """
    segment = _segment(x, p, rng)
    _check_range(min_amplitude, max_amplitude, "amplitude")
    _check_range(min_freq, max_freq, "freq")
    checked(freq, Number(above=0), "freq")
    k = checked(k, Whole(1, floats=True), "k")
    if not p > rng.rand():
        return segment
    size = rng.normal(1, 0.5, size=(len(segment), 1))
    amplitudes = rng.uniform(min_amplitude, max_amplitude, size=k)
    t, wave = np.arange(segment.shape[1]), np.zeros(segment.shape[1])
    for amplitude in amplitudes:
        frequency, phase = rng.uniform(min_freq, max_freq), rng.uniform(0, 2 * np.pi)
        wave += amplitude * np.cos(2 * np.pi * frequency * (t / freq) + phase)
    return _rounded(segment + (size * wave).astype(np.float32), dependency)


#: Name in ``task.perturbation_mode`` -> (function, its settings).
PERTURBATIONS: dict[str, tuple[Callable[..., NDArray[np.float32]], tuple[str, ...]]] = {
    "random_leads_masking": (
        random_leads_masking,
        ("mask_leads_selection", "mask_leads_prob", "mask_leads_condition", "keep_one_lead"),
    ),
    "powerline_noise": (powerline_noise, ("max_amplitude", "min_amplitude", "freq", "dependency")),
    "emg_noise": (emg_noise, ("max_amplitude", "min_amplitude", "dependency")),
    "baseline_shift": (
        baseline_shift,
        ("max_amplitude", "min_amplitude", "shift_ratio", "num_segment", "freq", "dependency"),
    ),
    "baseline_wander": (
        baseline_wander,
        ("max_amplitude", "min_amplitude", "max_freq", "min_freq", "k", "freq", "dependency"),
    ),
}


def augmentation(
    perturbation_mode: Sequence[str] | None, p: Sequence[float] | float | None = None, **settings: Any
) -> Callable[..., NDArray[np.float32]] | None:
    """One function of several perturbations.

    Parameters
    ----------
    perturbation_mode : sequence of str or None
        Names in `PERTURBATIONS`, in the order in which they act.
    p : sequence of float or float, optional
        The probability of each; a single one stands for all. 1 by default.
    **settings
        Arguments of the functions; each takes those that it knows.

    Returns
    -------
    callable or None
        ``augment(x, rng)`` of a segment (12, N) float32 and a generator gives the new segment. None if there is nothing
        to do.

    Raises
    ------
    ConfigError
        If a name or a setting is not known, or a value is out of range.
    """
    modes = [perturbation_mode] if isinstance(perturbation_mode, str) else list(perturbation_mode or ())
    if not modes:
        return None
    for mode in modes:
        checked(mode, Choice(tuple(PERTURBATIONS)), "perturbation_mode")
    check_known(settings, sorted({name for _, names in PERTURBATIONS.values() for name in names}))
    chances = [1.0] if p is None else list(np.atleast_1d(np.asarray(p, dtype=object)))
    if len(chances) == 1:
        chances *= len(modes)
    if len(chances) != len(modes):
        raise ConfigError(f"{len(chances)} probabilities for {len(modes)} perturbations", field="p")
    steps = [
        partial(function, p=chance, **{name: settings[name] for name in names if name in settings})
        for chance, (function, names) in zip(chances, map(PERTURBATIONS.__getitem__, modes))
    ]

    def augment(x: NDArray[np.float32], rng: np.random.RandomState) -> NDArray[np.float32]:
        for step in steps:
            x = step(x, rng=rng)
        return x

    augment(np.zeros((12, 1), np.float32), np.random.RandomState(0))  # a wrong setting is found now
    return augment


def _segment(x: ArrayLike, p: float, rng: np.random.RandomState) -> NDArray[np.float32]:
    """A float32 copy of a segment, after the checks that all perturbations share."""
    x = real_array(x, "x")
    if x.ndim != 2 or len(x) != 12 or not x.size:
        raise SignalError(f"the shape {x.shape} is not (12, samples)", field="x", remedy="Give one segment of 12 leads")
    checked(p, Share(), "p")
    check_legacy(rng)
    return np.array(x, dtype=np.float32)


def _rounded(x: NDArray[np.floating[Any]], dependency: bool) -> NDArray[np.float32]:
    """Float32, the limb leads made consistent first if so wished."""
    if dependency:
        first, second = x[0], x[1]
        x[2] = second - first
        x[3] = -(first + second) / 2
        x[4] = first - second / 2
        x[5] = second - first / 2
    return x.astype(np.float32)


def _check_range(least: float, most: float, name: str) -> None:
    if checked(least, Number(0), f"min_{name}") > checked(most, Number(0), f"max_{name}"):
        raise ConfigError(f"{least!r} is above {most!r}, the greatest", field=f"min_{name}")
