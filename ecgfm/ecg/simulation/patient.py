"""A simulated patient: what is wrong, what the heart looks like, and any number of recordings of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...errors import LabelError
from ...signal.checks import MAX_RATE, MIN_RATE
from ...signal.leads import LEADS
from ...specs.label_sets import SIMULATED
from ...validation import Number, Seed, checked
from ..record import Record
from .disturbance import disturb, faults
from .heart import Draw, Heart, Wave
from .rhythm import MARGIN_S, Beats, atrial_fibrillation, fibrillation_waves, paced, sinus, sinus_intervals

__all__ = ["LABELS", "SimulatedPatient", "SimulatedRecord", "checked_labels"]

#: What can be simulated, named and ordered as the outputs of the published model.
LABELS = SIMULATED
POOR, SINUS, EARLY, FAST, FIBRILLATION, SLOW, LONG_PR, RIGHT, LEFT, PACEMAKER = LABELS
FAST_RATE, SLOW_RATE = 100.0, 60.0  # beats a minute
SEED = Seed(bits=63)
_STEP_MV = 2.0**-10  # of the simulated converter; a power of two makes sums and halves of leads exact in float32
_LIMIT_MV = 10.0
_MAX_SAMPLES = 1 << 27
# What contradicts each other in one patient.
_EXCLUDES = (
    (SINUS, FIBRILLATION),
    (SINUS, PACEMAKER),
    (FAST, SLOW),
    (FAST, PACEMAKER),
    (SLOW, PACEMAKER),
    (RIGHT, LEFT),
    (LONG_PR, FIBRILLATION),
    (LONG_PR, PACEMAKER),
    (RIGHT, PACEMAKER),
    (LEFT, PACEMAKER),
)


@dataclass(eq=False)
class SimulatedRecord(Record):
    """A `Record` of which the truth is known.

    Attributes
    ----------
    labels : tuple of str
        Those of `LABELS` that are true of this very recording.
    patient : int
        Seed of the patient.
    heart_rate : float
        Beats a minute of the ventricles, as counted in it.
    beats : Beats
        Those whose QRS begins within the recording.
    """

    labels: tuple[str, ...] = ()
    patient: int | None = None
    heart_rate: float | None = None
    beats: Beats | None = field(default=None, repr=False)


class SimulatedPatient:
    """A patient whose recordings share one morphology.

    Parameters
    ----------
    seed : int
        The same seed and labels give the same patient and recordings.
    labels : sequence of str, optional
        What the patient has, from `LABELS`; by default it is drawn. Sinus rhythm is meant where neither atrial
        fibrillation nor a pacemaker is named.
    spread : float
        How much patients differ, 0 to 1: 0 gives the middle of all distributions.
    axis_deg, amplitude : float
        Turn of the electrical axis in the frontal plane, and factor of all waves, besides what is drawn.

    Attributes
    ----------
    labels : tuple of str
        What the patient has, in the order of `LABELS`. Which of the labels are true of a recording stands in that:
        rate and early beats are counted in it.
    heart : Heart
    pacing : str or None
        ``ventricular``, ``dual``, ``atrial`` or ``tracking``.

    Raises
    ------
    LabelError
        If a label is not known, or two exclude each other.
    """

    def __init__(
        self,
        seed: int,
        labels: Sequence[str] | None = None,
        *,
        spread: float = 1.0,
        axis_deg: float = 0.0,
        amplitude: float = 1.0,
    ) -> None:
        self.seed = checked(seed, SEED, "seed")
        checked(spread, Number(0, at_most=1), "spread")
        checked(axis_deg, Number(-360, at_most=360), "axis_deg")
        checked(amplitude, Number(0, at_most=100), "amplitude")
        rng = np.random.default_rng([self.seed, 0])
        drawn = _drawn_labels(rng)
        self.labels = drawn if labels is None else _completed(checked_labels(labels))
        has = set(self.labels)
        draw = Draw(rng, spread)
        block = "right block" if RIGHT in has else "left block" if LEFT in has else None
        self.heart = Heart(draw, block=block, axis_deg=axis_deg, amplitude=amplitude)
        self.pacing: str | None = None
        if PACEMAKER in has:
            modes = ["ventricular"] if FIBRILLATION in has else ["ventricular", "dual", "atrial", "tracking"]
            self.pacing = modes[rng.choice(len(modes), p=[1.0] if len(modes) == 1 else [0.4, 0.25, 0.15, 0.2])]
        self.heart_rate = _drawn_rate(rng, has)
        self.pr_s = float(draw.normal(0.158, 0.016))
        self.pr_s -= 0.02 * draw.spread * np.clip((self.heart_rate - 75) / 50, -1, 1)
        if LONG_PR in has:
            self.pr_s = rng.uniform(0.225, 0.33 if self.heart_rate < 95 else 0.28)
        elif self.pacing:
            self.pr_s = rng.uniform(0.13, 0.20)
        self.qtc_s = float(draw.normal(0.408, 0.014)) + 0.75 * (self.heart.qrs_s["conducted"] - 0.09)
        self.irregularity = rng.uniform(0.14, 0.28)
        self.f_hz, self.f_mv = rng.uniform(4.2, 8.5), np.exp(rng.normal(np.log(0.045), 0.35))
        self.breath_hz = rng.uniform(0.2, 0.33)
        # Breathing moves the rate of a resting heart, and hardly that of a fast one.
        self.variability = np.exp(rng.normal(np.log(0.03), 0.6)) * np.clip((150 - self.heart_rate) / 80, 0.15, 1)
        self.variability = float(min(self.variability, 0.14))
        self.early_atrial = rng.random() < 0.12

    def __repr__(self) -> str:
        return f"SimulatedPatient({self.seed}, {list(self.labels)})"

    def record(
        self, duration_s: float = 10.0, sampling_rate: float = 500.0, index: int = 0, *, clean: bool = False
    ) -> SimulatedRecord:
        """A recording of this patient.

        Parameters
        ----------
        duration_s : float
        sampling_rate : float
            In Hz.
        index : int
            Which one: recordings with other numbers are of other times.
        clean : bool
            Without any disturbance.

        Returns
        -------
        SimulatedRecord
            As of `simulate`.
        """
        samples = checked_length(duration_s, sampling_rate)
        rng = np.random.default_rng([self.seed, 1, checked(index, SEED, "index")])
        beats = self._beats(rng, samples / sampling_rate)
        eight = self.drawn(beats, samples, sampling_rate, rng)
        if not clean:
            self._disturb(rng, eight, sampling_rate)
        return self.recorded(eight, sampling_rate, beats, f"simulated patient {self.seed}, recording {index}", clean)

    # ---- the rhythm ---------------------------------------------------------------------------------

    def _beats(self, rng: np.random.Generator, duration_s: float) -> Beats:
        mean_s = 60.0 / (self.heart_rate * (1.0 if self.pacing else rng.uniform(0.95, 1.05)))
        early = 1 + rng.poisson(duration_s / 7) if EARLY in self.labels else 0
        if self.pacing:
            p_s = None
            if FIBRILLATION not in self.labels:
                p_s = sinus_intervals(rng, rng.uniform(0.6, 1.1), 0.03, duration_s + 2 * MARGIN_S, self.breath_hz)
            return paced(rng, mean_s, self.variability, self.qtc_s, duration_s, self.pacing, self.pr_s, p_s, early)
        if FIBRILLATION in self.labels:
            return atrial_fibrillation(rng, mean_s, self.irregularity, self.qtc_s, duration_s, early)
        intervals = sinus_intervals(rng, mean_s, self.variability, duration_s + 2 * MARGIN_S, self.breath_hz)
        atrial = int(rng.integers(1, 3)) if self.early_atrial else 0
        return sinus(rng, intervals, self.pr_s, self.qtc_s, duration_s, atrial, early)

    # ---- the signal ---------------------------------------------------------------------------------

    def drawn(self, beats: Beats, samples: int, rate: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """(8, samples) mV: the leads I, II, V1-V6 without disturbance."""
        eight = np.zeros((8, samples))
        breath = rng.random()
        for start in beats.p_s:
            _add(eight, self.heart.p, start, rate)
        for kind, start, qt in zip(beats.kind.tolist(), beats.start_s.tolist(), beats.qt_s.tolist()):
            swing = np.sin(2 * np.pi * (self.breath_hz * start + breath))
            _add(eight, self.heart.ventricles(kind, qt), start, rate, 0.04 * swing)
        for start in beats.spikes_s:
            _add_spike(eight, self.heart.spike, start, rate)
        if FIBRILLATION in self.labels:
            eight += self.heart.f_waves @ fibrillation_waves(rng, np.arange(samples) / rate, self.f_hz, self.f_mv)
        return eight

    def _disturb(self, rng: np.random.Generator, eight: NDArray[np.float64], rate: float) -> None:
        loud = np.exp(rng.normal(0.0, 0.5, 3))
        eight += disturb(
            rng,
            eight.shape[1],
            rate,
            noise_mv=0.007 * min(loud[0], 2.5),
            wander_mv=0.06 * min(loud[1], 2.5),
            mains_mv=0.012 * loud[2] if rng.random() < 0.4 else 0.0,
            mains_hz=(50.0, 60.0)[self.seed % 2],
            muscle_mv=rng.uniform(0.008, 0.035) if rng.random() < 0.3 else 0.0,
        )
        eight += rng.normal(0.0, 0.06, (8, 1))
        if POOR in self.labels:
            faults(rng, eight, rate)

    def recorded(
        self, eight: NDArray[np.float64], rate: float, beats: Beats, source: str, clean: bool = False
    ) -> SimulatedRecord:
        """The record of a signal, with the labels that are true of it."""
        duration_s = eight.shape[1] / rate
        present = set(self.labels) - {EARLY, FAST, SLOW} - ({POOR} if clean else set())
        here = (beats.start_s >= 0) & (beats.start_s < duration_s)
        if (beats.kind[here & (beats.start_s < duration_s - 0.1)] == "ventricular").any():
            present.add(EARLY)
        rate_found = _mean_rate(beats.start_s, duration_s)
        present |= {FAST} if rate_found > FAST_RATE else {SLOW} if rate_found < SLOW_RATE else set()
        p, spikes = ((times >= 0) & (times < duration_s) for times in (beats.p_s, beats.spikes_s))
        return SimulatedRecord(
            twelve_leads(eight),
            rate,
            LEADS,
            source=source,
            notes=("simulated, no patient",),
            labels=tuple(label for label in LABELS if label in present),
            patient=self.seed,
            heart_rate=rate_found,
            beats=Beats(
                beats.start_s[here],
                beats.kind[here],
                beats.pr_s[here],
                beats.qt_s[here],
                beats.p_s[p],
                beats.spikes_s[spikes],
            ),
        )


def _add(eight: NDArray[np.float64], wave: Wave, start: float, rate: float, turn: float = 0.0) -> None:
    """Adds the waves of a beat, in place."""
    first = max(0, int(np.ceil((start + (wave.centres - 4 * wave.widths).min()) * rate)))
    last = min(eight.shape[1], int((start + (wave.centres + 4 * wave.widths).max()) * rate) + 1)
    if first >= last:
        return
    time = np.arange(first, last) / rate - start
    shapes = np.exp(-0.5 * ((time - wave.centres[:, None]) / wave.widths[:, None]) ** 2)
    eight[:, first:last] += (wave.seen + turn * wave.turned) @ shapes


def _add_spike(eight: NDArray[np.float64], seen: NDArray[np.float64], start: float, rate: float) -> None:
    """A stimulus as an amplifier shows it: one or two samples, and a slow way back."""
    centre = start * rate
    at = np.arange(max(0, int(centre) - 3), min(eight.shape[1], int(centre) + 1 + int(0.02 * rate)))
    if len(at):
        since = (at - centre) / rate
        width = max(0.0008, 0.5 / rate)
        shape = np.exp(-0.5 * (since / width) ** 2) - 0.12 * (since > width) * np.exp(-since / 0.005)
        eight[:, at] += seen[:, None] * shape


def _mean_rate(starts: NDArray[np.float64], duration_s: float) -> float:
    """Beats a minute of the recording, from the beats in it and next to it."""
    inside = np.flatnonzero((starts >= 0) & (starts < duration_s))
    if len(inside) == 0:
        return 0.0
    beside = int(len(inside) < 3)
    first, last = max(inside[0] - beside, 0), min(inside[-1] + beside, len(starts) - 1)
    return float(60.0 * (last - first) / (starts[last] - starts[first])) if last > first else 0.0


def twelve_leads(eight: NDArray[np.float64]) -> NDArray[np.float32]:
    """(12, samples) float32 from I, II, V1-V6: III, aVR, aVL and aVF by Einthoven and Goldberger, exactly."""
    rounded = (np.round(np.clip(eight, -_LIMIT_MV, _LIMIT_MV) / _STEP_MV) * _STEP_MV).astype(np.float32)
    one, two = rounded[:2]
    limbs = [one, two, two - one, (one + two) / -2, one - two / 2, two - one / 2]
    return np.concatenate([np.stack(limbs), rounded[2:]])


# ---- labels -----------------------------------------------------------------------------------------


def checked_labels(labels: str | Sequence[str]) -> tuple[str, ...]:
    """Known labels in the order of `LABELS`.

    Raises
    ------
    LabelError
        If one is not known or two exclude each other.
    """
    labels = (labels,) if isinstance(labels, str) else tuple(labels)
    for label in labels:
        if label not in LABELS:
            raise LabelError(f"{label!r} can't be simulated", field="labels", remedy=f"Choose from {', '.join(LABELS)}")
    for one, other in _EXCLUDES:
        if one in labels and other in labels:
            raise LabelError(f"{one} and {other} exclude each other", field="labels")
    return tuple(label for label in LABELS if label in labels)


def _completed(labels: Sequence[str]) -> tuple[str, ...]:
    rhythm = () if FIBRILLATION in labels or PACEMAKER in labels else (SINUS,)
    return tuple(label for label in LABELS if label in labels or label in rhythm)


def _drawn_labels(rng: np.random.Generator) -> tuple[str, ...]:
    """What a patient has, so frequently that each label has examples enough: this is no hospital."""
    chance = rng.random(7)
    has = {
        label for label, at, share in ((POOR, 0, 0.12), (FIBRILLATION, 1, 0.18), (EARLY, 6, 0.18)) if chance[at] < share
    }
    if chance[2] < (0.25 if has & {FIBRILLATION} else 0.14):
        has.add(PACEMAKER)
    else:
        if FIBRILLATION not in has:
            has |= {SINUS} | ({LONG_PR} if chance[3] < 0.22 else set())
        if chance[4] < 0.36:
            has.add(RIGHT if chance[4] < 0.18 else LEFT)
        if chance[5] < 0.42:
            has.add(FAST if chance[5] < 0.21 else SLOW)
    return tuple(label for label in LABELS if label in has)


def _drawn_rate(rng: np.random.Generator, has: Collection[str]) -> float:
    """Beats a minute; few patients lie near a limit."""
    if FAST in has:
        return rng.uniform(106, 125 if LONG_PR in has else 155)
    if SLOW in has:
        return rng.uniform(38, 56)
    if PACEMAKER in has:
        return float(rng.choice([62, 65, 70, 75, 80, 85]))
    return rng.uniform(64, 95)


# ---- arguments --------------------------------------------------------------------------------------


def checked_length(duration_s: float, sampling_rate: float) -> int:
    """Number of samples of a recording."""
    checked(sampling_rate, Number(MIN_RATE, at_most=MAX_RATE), "sampling_rate")
    checked(duration_s, Number(1 / sampling_rate, at_most=_MAX_SAMPLES / sampling_rate), "duration_s")
    return max(1, round(duration_s * sampling_rate))
