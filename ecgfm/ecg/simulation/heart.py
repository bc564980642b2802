"""The shape of a simulated heart's waves: sums of Gaussians of a dipole, seen by the leads.

Each wave is a few Gaussians in time (McSharry, Clifford, Tarassenko, Smith: A dynamical model for generating synthetic
electrocardiogram signals, IEEE Trans Biomed Eng 50(3), 2003), each with a dipole moment in three dimensions (Sameni,
Clifford, Jutten, Shamsollahi: Multichannel ECG and noise modeling, EURASIP J Adv Signal Process 2007, 43407). A lead is
the dipole's projection on a direction, that of the Dower transform (Dower, Machado, Osborne: On deriving the
electrocardiogram from vectorcardiographic leads, Clin Cardiol 3, 1980), and a small part that no dipole explains.
Times and amplitudes of the waves in bundle branch block, ventricular beats and pacing are ours, after the usual
criteria (Surawicz et al.: AHA/ACCF/HRS recommendations for the standardization and interpretation of the
electrocardiogram, part III, Circulation 119, 2009).

Dipoles are in mV: x to the left arm, y to the feet, z to the back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Draw", "Heart", "Wave"]

# Directions of the leads I, II, V1-V6 in (x, y, z): the Dower transform.
DOWER = np.array(
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

# Rows: centre and width (standard deviation) in ms, dipole in mV. Centres count from anywhere: a wave is moved so that
# it begins at 0, and stretched to the duration that is asked for.
P = np.array([[24, 12, 0.075, 0.10, -0.035], [34, 11, 0.02, 0.04, 0.0], [58, 14, 0.06, 0.055, 0.04]])
QRS = {
    "normal": np.array(
        [
            [-20, 7.0, -0.15, -0.05, -0.20],  # the septum, to the right and to the front
            [-8, 7.5, 0.22, 0.22, -0.10],  # the apex
            [1, 9.0, 0.88, 0.68, 0.24],  # the wall of the left ventricle
            [14, 8.5, 0.22, 0.00, 0.46],  # its back
            [26, 8.0, -0.12, -0.16, 0.26],  # the base
        ]
    ),
    "right block": np.array(
        [
            [-20, 7.5, -0.16, -0.05, -0.22],
            [-8, 8.0, 0.22, 0.22, -0.10],
            [1, 9.5, 0.80, 0.62, 0.16],
            [14, 9.5, 0.20, 0.00, 0.34],
            [42, 13.0, -0.34, -0.03, -0.34],  # the right ventricle, late and slow: to the right and to the front
            [62, 14.0, -0.36, -0.02, -0.40],
        ]
    ),
    "left block": np.array(
        [
            [14, 10.0, 0.12, 0.10, -0.08],  # no septal q
            [40, 14.0, 0.60, 0.36, 0.56],
            [68, 15.0, 0.48, 0.16, 0.86],
            [98, 14.0, 0.74, 0.08, 0.62],  # the second of two peaks in I, V5, V6
            [122, 11.0, 0.20, -0.02, 0.22],
        ]
    ),
    "paced": np.array(  # from the apex of the right ventricle: to the left, up and back
        [
            [22, 15.0, 0.12, -0.22, 0.10],
            [55, 18.0, 0.34, -0.62, 0.48],
            [88, 18.0, 0.24, -0.58, 0.78],
            [122, 15.0, 0.20, -0.24, 0.42],
        ]
    ),
}
DURATION_S = {"normal": (0.089, 0.007), "right block": (0.138, 0.009), "left block": (0.150, 0.011)}
T = np.array([[-42, 52, 0.13, 0.10, -0.11], [0, 33, 0.19, 0.15, -0.16]])  # slow rise, fast fall; centres from the peak
T_TAIL = 2.1  # the T wave ends so many widths of its last part after its peak


@dataclass
class Draw:
    """Random numbers of one patient; all are their middles if the spread is 0.

    Parameters
    ----------
    rng : numpy.random.Generator
    spread : float
        Factor of all deviations.
    """

    rng: np.random.Generator
    spread: float = 1.0

    def normal(self, middle: ArrayLike, deviation: ArrayLike, size: Any = None) -> Any:
        """Normal, cut at 2.2 deviations."""
        return middle + self.spread * np.multiply(deviation, np.clip(self.rng.standard_normal(size), -2.2, 2.2))

    def factor(self, deviation: ArrayLike, size: Any = None) -> Any:
        """Around 1, its logarithm normal."""
        return np.exp(self.normal(0.0, deviation, size))

    def happens(self, share: float) -> bool:
        return bool(self.rng.random() < share * self.spread)


@dataclass
class Wave:
    """Gaussians as the leads I, II, V1-V6 see them.

    Attributes
    ----------
    centres, widths : ndarray
        (g,) seconds.
    seen : ndarray
        (8, g) mV.
    turned : ndarray
        (8, g): the change of `seen` for a turn of the heart by 1 rad, as breathing turns it.
    """

    centres: np.ndarray
    widths: np.ndarray
    seen: np.ndarray
    turned: np.ndarray


class Heart:
    """The waves of one patient.

    Parameters
    ----------
    draw : Draw
    block : {None, "right block", "left block"}
        Of the bundle branches.
    paced : bool
        Whether the ventricles are paced: their waves are those of pacing.
    axis_deg : float
        Turns the electrical axis in the frontal plane; positive to the right.
    amplitude : float
        Factor of all waves.

    Attributes
    ----------
    qrs_s : dict of str to float
        Duration of the QRS of each kind of beat, ``conducted``, ``ventricular`` and ``paced``.
    f_waves : ndarray
        (8, 2) how the leads see the two fibrillation waves.
    spike : ndarray
        (8,) how they see a stimulus.
    p : Wave
        The P wave, from its beginning.
    p_s : float
        Its duration.
    """

    def __init__(self, draw: Draw, *, block: str | None = None, axis_deg: float = 0.0, amplitude: float = 1.0) -> None:
        self.block = block
        self._leads = _lead_field(draw, axis_deg) * amplitude
        self._turn = _generator(*draw.normal(0.0, 1.0, 3))
        self.p_s = float(draw.normal(0.100, 0.010))
        self.p = self._seen(_stretched(_varied(P, draw, 0.18) * [1, 1, *[draw.factor(0.25)] * 3], self.p_s), draw)
        self.qrs_s: dict[str, float] = {}
        self._qrs: dict[str, Wave] = {}
        self._t: dict[str, Wave] = {}
        self._conducted(draw)
        self._ventricular(draw)
        self._paced(draw)
        main = np.array([-0.50, 0.65, -0.45]) + draw.normal(0.0, 0.15, 3)  # largest in V1, II, III, aVF
        self.f_waves = self._leads @ np.stack([main, draw.normal(0.0, 0.35, 3)], axis=1)

    # ---- the three kinds of beats -------------------------------------------------------------------

    def _conducted(self, draw: Draw) -> None:
        kind = self.block or "normal"
        duration = float(draw.normal(*DURATION_S[kind]))
        rows = _varied(QRS[kind], draw, 0.16)
        large = draw.happens(0.22)  # a thick wall: large waves, often with a T against them
        if large:
            rows[:, 2:] *= draw.rng.uniform(1.2, 1.3 if kind == "left block" else 1.8) * np.array([1.0, 0.9, 1.2])
        if kind == "normal" and draw.happens(0.15):  # a small late wave to the right: an incomplete block
            rows = np.vstack([rows, [38, 8, *(draw.rng.uniform(0.5, 0.9) * np.array([-0.16, -0.05, -0.24]))]])
            duration = float(draw.rng.uniform(0.094, 0.108))
        if draw.happens(0.2):  # a notch
            middle_ms = np.average(rows[:, 0], weights=np.abs(rows[:, 2:]).sum(axis=1))
            at = middle_ms + draw.rng.uniform(-12, 22)
            rows = np.vstack([rows, [at, 4.5, *draw.rng.normal(0.0, 0.14, 3)]])
        if draw.happens(0.18):  # the left anterior fascicle: the axis goes up and left, late
            rows[-3:, 3] -= draw.rng.uniform(0.3, 0.6)
        rows[:, 2:] *= 0.76 if kind == "left block" else 1.0
        mean = _area(rows)
        t = _varied(T, draw, 0.12)
        t[:, 2:] *= draw.factor(0.35)
        segment = draw.normal(0.0, 0.02, 3)
        if kind == "right block":
            t[:, 4] += draw.normal(0.10, 0.03)
        elif kind == "left block":
            t[:, 2:] = _against(mean, t, draw, 0.20, 0.40)
            segment -= mean / np.linalg.norm(mean) * draw.normal(0.11, 0.04)
        elif large and draw.happens(0.6):
            t[:, 2:] = _against(mean, t, draw, 0.08, 0.25)
            segment -= mean / np.linalg.norm(mean) * draw.normal(0.05, 0.02)
        elif draw.happens(0.25):  # flat or inverted T waves of no special meaning
            t[:, 2:] = t[:, 2:] * draw.rng.uniform(-0.5, 0.5) + draw.rng.normal(0.0, 0.04, 3)
        self._keep("conducted", rows, duration, t, segment, draw)

    def _ventricular(self, draw: Draw) -> None:
        """A focus anywhere: the excitation leaves it slowly, the T wave points back."""
        away = draw.normal([0.35, 0.35, 0.35], 0.8, 3)
        away /= np.linalg.norm(away)
        side = np.cross(away, draw.rng.standard_normal(3))
        side /= np.linalg.norm(side)
        size = draw.factor(0.22) * 1.25
        rows = np.array(
            [
                [12, 12, *(size * (0.15 * away + 0.15 * side))],
                [45, 17, *(size * (0.75 * away + 0.35 * side))],
                [80, 18, *(size * (0.90 * away - 0.15 * side))],
                [118, 16, *(size * (0.25 * away - 0.45 * side))],
            ]
        )
        self._keep_slow("ventricular", _varied(rows, draw, 0.12), (0.150, 0.012), (0.30, 0.50), (0.10, 0.04), draw)

    def _paced(self, draw: Draw) -> None:
        rows = _varied(QRS["paced"], draw, 0.15)
        if draw.happens(0.35):  # from the septum or the outflow tract: the axis is normal
            rows[:, 3] = np.abs(rows[:, 3]) * draw.rng.uniform(0.2, 1.0)
        rows[:, 2] += draw.normal(0.0, 0.25) * np.abs(rows[:, 3])
        rows[:, 2:] *= draw.factor(0.2)
        self._keep_slow("paced", rows, (0.162, 0.012), (0.25, 0.45), (0.09, 0.03), draw)
        size = draw.rng.uniform(0.15, 0.5) if draw.rng.random() < 0.65 else draw.rng.uniform(0.5, 1.6)
        away = draw.normal([0.5, 0.8, 0.2], 0.5, 3)
        self.spike = self._leads @ (size * away / np.linalg.norm(away))

    def _keep_slow(
        self,
        kind: str,
        rows: NDArray[np.float64],
        duration: tuple[float, float],
        share: tuple[float, float],
        segment: tuple[float, float],
        draw: Draw,
    ) -> None:
        """A beat that no bundle conducts: ST and T point against its QRS. Mean and deviation of duration and ST."""
        mean, t, seconds = _area(rows), T.copy(), float(draw.normal(*duration))
        t[:, 2:] = _against(mean, t, draw, *share)
        self._keep(kind, rows, seconds, t, -mean / np.linalg.norm(mean) * draw.normal(*segment), draw)

    def _keep(
        self,
        kind: str,
        rows: NDArray[np.float64],
        duration: float,
        t: NDArray[np.float64],
        segment: NDArray[np.float64],
        draw: Draw,
    ) -> None:
        self.qrs_s[kind] = duration
        self._qrs[kind] = self._seen(_stretched(rows, duration), draw)
        # The ST segment: a low, broad wave between the QRS and the T wave.
        rows = np.vstack([[[0, 0, *segment]], t])
        rows[:, :2] /= 1000
        self._t[kind] = self._seen(rows, draw)

    def _seen(self, rows: NDArray[np.float64], draw: Draw) -> Wave:
        """A `Wave` of rows in seconds and mV, with the part that no dipole explains."""
        seen = self._leads @ rows[:, 2:].T
        local = 0.07 * np.linalg.norm(rows[:, 2:], axis=1) * draw.normal(0.0, 1.0, seen.shape)
        return Wave(rows[:, 0], rows[:, 1], seen + local, self._leads @ self._turn @ rows[:, 2:].T)

    # ---- waves of a beat ----------------------------------------------------------------------------

    def ventricles(self, kind: str, qt_s: float) -> Wave:
        """QRS and T wave of a beat, from the beginning of the QRS.

        Parameters
        ----------
        kind : {"conducted", "ventricular", "paced"}
        qt_s : float
            From there to the end of the T wave.

        Returns
        -------
        Wave
        """
        qrs, t, duration = self._qrs[kind], self._t[kind], self.qrs_s[kind]
        stretch = (qt_s - duration) / 0.30
        peak = qt_s - T_TAIL * t.widths[-1] * stretch
        centres, widths = peak + t.centres * stretch, t.widths * stretch
        centres[0], widths[0] = 0.5 * (duration + peak), 0.22 * (peak - duration) + 0.012
        return Wave(
            np.concatenate([qrs.centres, centres]),
            np.concatenate([qrs.widths, widths]),
            np.concatenate([qrs.seen, t.seen], axis=1),
            np.concatenate([qrs.turned, t.turned], axis=1),
        )


def _lead_field(draw: Draw, axis_deg: float) -> NDArray[np.float64]:
    """(8, 3): the Dower transform of a heart that lies as it does in this chest."""
    turn = _rotation([*draw.normal(0.0, 0.22, 2), np.deg2rad(axis_deg + draw.normal(0.0, 18.0))])
    chest = DOWER[2:]
    beside = np.vstack([chest[1:], 2 * chest[-1] - chest[-2]])
    chest = chest + draw.normal(0.0, 0.25) * (beside - chest)  # the row of electrodes lies too far to one side
    chest = chest * draw.factor(0.2) * draw.factor(0.14, (6, 1))
    return np.asarray(np.concatenate([DOWER[:2], chest]) @ turn * draw.factor(0.22))


def _generator(x: float, y: float, z: float) -> NDArray[np.float64]:
    """The matrix of the cross product with a vector: what a turn about it by a small angle adds."""
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _rotation(angles: ArrayLike) -> NDArray[np.float64]:
    """Rotation about a vector by its length in radians (Rodrigues)."""
    angle = float(np.linalg.norm(angles))
    if angle == 0:
        return np.eye(3)
    generator = _generator(*(np.asarray(angles) / angle))
    return np.asarray(np.eye(3) + np.sin(angle) * generator + (1 - np.cos(angle)) * generator @ generator)


def _varied(rows: NDArray[np.float64], draw: Draw, deviation: float) -> NDArray[np.float64]:
    """Rows of another heart: times, widths and dipoles around those given."""
    rows = rows.copy()
    rows[:, 0] += draw.normal(0.0, 0.12, len(rows)) * rows[:, 1]
    rows[:, 1] *= draw.factor(0.08, len(rows))
    length = np.linalg.norm(rows[:, 2:], axis=1, keepdims=True)
    rows[:, 2:] = rows[:, 2:] * draw.factor(deviation, (len(rows), 1)) + length * draw.normal(
        0.0, deviation, (len(rows), 3)
    )
    return rows


def _stretched(rows: NDArray[np.float64], duration: float) -> NDArray[np.float64]:
    """Rows in ms as rows in s that begin at 0 and last `duration`, where they exceed 3 % of their maximum."""
    first, last = (rows[:, 0] - 4 * rows[:, 1]).min(), (rows[:, 0] + 4 * rows[:, 1]).max()
    time = np.arange(first, last, 0.5)
    waves = np.exp(-0.5 * ((time - rows[:, :1]) / rows[:, 1:2]) ** 2)
    size = np.linalg.norm(rows[:, 2:].T @ waves, axis=0)
    present = time[size > 0.03 * size.max()]
    scale = duration / (present[-1] - present[0])
    rows = rows.copy()
    rows[:, 0] = (rows[:, 0] - present[0]) * scale
    rows[:, 1] *= scale
    return rows


def _area(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean dipole of the rows, weighted by their widths."""
    return np.asarray((rows[:, 2:] * rows[:, 1:2]).sum(axis=0) / rows[:, 1].mean())


def _against(
    mean: NDArray[np.float64], t: NDArray[np.float64], draw: Draw, low: float, high: float
) -> NDArray[np.float64]:
    """Dipoles of a T wave that points against a QRS; its length is a share of the length of its area."""
    share = draw.normal(0.5 * (low + high), 0.25 * (high - low))
    towards = -mean / np.linalg.norm(mean) + draw.normal(0.0, 0.18, 3)
    size = share * np.linalg.norm(mean) * 0.5
    weights = np.linalg.norm(t[:, 2:], axis=1)
    return np.outer(weights / weights.max(), size * towards)
