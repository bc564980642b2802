"""What is doubtful about a recording, found without changing it: a summary for people, not a diagnosis."""

import functools
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .leads import DERIVED, LEADS

__all__ = ["describe", "findings"]

_FLAT_S = 1.0  # a lead that holds one value for this time is off, or padded
_CLIPPED_S, _CLIPPED_RUNS = 0.02, 2  # the extreme value is held for this time, this often
_LEFT = 0.05  # and between two such times the signal goes this far away, as a share of the whole range
_RAIL = 0.25  # and lies this far from the median, as a share of the whole range: a baseline may be held for long
_AMPLITUDES = 0.05, 20.0  # plausible peak-to-peak values of a lead, mV
_BLOCK = 1 << 20  # samples that are looked at together
_RATES = 100.0, 10_000.0  # plausible sampling rates, Hz
_HOLDS, _FAILS = 0.01, 0.05  # shares of the energy that contradict Einthoven's law
_LIMB = LEADS[:6]


def findings(
    signal: NDArray[Any],
    rate: float,
    leads: Sequence[str],
    *,
    derived: Collection[str] = (),
    standardised: bool = False,
) -> dict[str, Any]:
    """What `ecgfm.ecg.quality` finds, of an array (leads, samples) in mV with canonical names."""
    found: dict[str, Any] = {"flat": [], "clipped": [], "nan": {}, "amplitude": {}}
    for name, row in zip(leads, signal):
        if name not in derived:
            _look_at(name, row, rate, found)
    if standardised:
        del found["amplitude"]
    if not _RATES[0] <= rate <= _RATES[1]:
        found["sampling_rate"] = float(rate)
    if not standardised and not found["nan"] and not derived:
        found["swapped"] = _swapped(signal, leads)
    return {key: value for key, value in found.items() if value}


def _look_at(name: str, row: NDArray[Any], rate: float, found: dict[str, Any]) -> None:
    finite = np.isfinite(row)
    if not finite.all():
        found["nan"][name] = int(len(row) - np.count_nonzero(finite))
        row = row[finite]
        if not len(row):
            return
    low, high = float(row.min()), float(row.max())
    shortest = max(3, _CLIPPED_S * rate)
    lengths, values, starts = _runs(row, min(shortest, _FLAT_S * rate, len(row)))
    if len(lengths) and lengths.max() >= min(_FLAT_S * rate, len(row)):
        found["flat"].append(name)
        if low == high:
            return
    held = (lengths >= shortest) & (lengths < _FLAT_S * rate)
    if np.count_nonzero(held) >= _CLIPPED_RUNS:
        middle, values, starts = float(np.median(row)), values[held], starts[held]
        far = [rail for rail in (low, high) if abs(rail - middle) >= _RAIL * (high - low)]
        if any(_times_held(row, rail, starts[values == rail], _LEFT * (high - low)) >= _CLIPPED_RUNS for rail in far):
            found["clipped"].append(name)
    if not _AMPLITUDES[0] <= high - low <= _AMPLITUDES[1]:
        found["amplitude"][name] = round(high - low, 6)


def _times_held(row: NDArray[Any], rail: float, starts: NDArray[Any], far: float) -> int:
    """How often a value is held: runs of it between which the signal doesn't go that far from it are one."""
    if len(starts) < _CLIPPED_RUNS:
        return len(starts)
    between = [row[first:last] for first, last in zip(starts, starts[1:])]
    return 1 + sum(max(rail - float(part.min()), float(part.max()) - rail) >= far for part in between)


def _runs(row: NDArray[Any], shortest: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Lengths, values and starts of the runs of one value that are at least this long."""
    lengths, values, starts, start = [], [], [], 0
    for first in range(0, len(row), _BLOCK):
        last = min(first + _BLOCK, len(row))
        begins = np.flatnonzero(row[first + 1 : last + 1] != row[first:last][: len(row) - first - 1]) + first + 1
        if last == len(row):
            begins = np.append(begins, last)
        begins = np.concatenate([[start], begins])
        found = np.diff(begins)
        kept = found >= shortest
        starts.append(begins[:-1][kept])
        lengths.append(found[kept])
        values.append(row[begins[:-1][kept]])
        start = begins[-1]
    return np.concatenate(lengths), np.concatenate(values), np.concatenate(starts)


@functools.cache
def _exchanges() -> tuple[NDArray[Any], NDArray[np.float64]]:
    """All orders of the six limb leads (720, 6), and for each the four laws (720, 4, 6): what must be zero."""
    laws = np.zeros((len(DERIVED), len(_LIMB)))
    for i, (name, factors) in enumerate(DERIVED.items()):
        laws[i, :2] = factors
        laws[i, _LIMB.index(name)] = -1
    orders = np.array(list(itertools.permutations(range(len(_LIMB)))))
    return orders, np.stack([laws[:, np.argsort(order)] for order in orders])


def _swapped(signal: NDArray[Any], leads: Sequence[str]) -> list[str]:
    """The two limb leads whose names are exchanged, or none."""
    if not set(_LIMB) <= set(leads):
        return []
    rows = [leads.index(name) for name in _LIMB]
    products = np.zeros((len(_LIMB), len(_LIMB)))
    with np.errstate(over="ignore", invalid="ignore"):
        means = np.array([signal[i].mean(dtype=np.float64) for i in rows])
        for first in range(0, signal.shape[1], _BLOCK):
            x = np.stack([signal[i, first : first + _BLOCK] for i in rows]) - means[:, None]
            products += x @ x.T
    energy = np.trace(products)
    if not np.isfinite(energy) or energy == 0:
        return []
    orders, laws = _exchanges()
    if np.einsum("ij,jk,ik->", laws[0], products, laws[0]) <= _FAILS * energy:
        return []
    rest = np.einsum("pij,jk,pik->p", laws, products, laws) / energy
    best = int(rest.argmin())
    moved = [name for name, at in zip(_LIMB, orders[best]) if _LIMB[at] != name]
    certain = rest[best] <= _HOLDS and np.partition(rest, 1)[1] >= _FAILS
    return moved if certain and len(moved) == 2 else []


def describe(found: Mapping[str, Any]) -> str:
    """A `quality` as one line of text, empty if nothing was found."""
    parts = [f"{key}: {' '.join(found[key])}" for key in ("flat", "clipped", "swapped") if key in found]
    if "nan" in found:
        parts.append("not finite: " + " ".join(f"{name} ({count})" for name, count in found["nan"].items()))
    if "amplitude" in found:
        parts.append("amplitude: " + " ".join(f"{name} ({value:g} mV)" for name, value in found["amplitude"].items()))
    if "sampling_rate" in found:
        parts.append(f"sampling rate: {found['sampling_rate']:g} Hz")
    return "; ".join(parts)
