"""From the leads of a recording to segments as a model takes them: what is kept, how it is scaled and cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..signal.checks import millivolts_per
from ..signal.conditioning import Conditioned, cut, standardise
from ..signal.leads import Origins
from ..signal.profile import PROFILES
from ..specs.inputs import InputSpec

__all__ = ["Windows", "conditioned", "factor_of", "kept_samples"]

_AT_ONCE = 1 << 6  # segments that are cut at a time
_NEAR = 1e-9  # of a ratio of rates to the next whole number


def kept_samples(rate: float, spec: InputSpec) -> tuple[int, list[str]]:
    """Every how-manieth sample of a recording is kept before it is resampled, and what is to be noted of that."""
    if spec.resampling != "decimate" or rate == spec.sampling_rate:
        return 1, []
    ratio = rate / spec.sampling_rate
    if round(ratio) >= 1 and abs(ratio - round(ratio)) <= _NEAR * ratio:
        return round(ratio), []
    return 1, [f"{rate:g} Hz is no multiple of the model's {spec.sampling_rate:g} Hz: resampled linearly"]


def factor_of(spec: InputSpec) -> float:
    """What values in millivolts are multiplied by."""
    return 1 / (millivolts_per(spec.unit) or 1)


def conditioned(
    signal: NDArray[Any], found: Origins, length: int, spec: InputSpec, *, standardised: bool
) -> Conditioned:
    """The leads that are there at the model's rate, in its unit or standardised over the whole recording.

    Parameters
    ----------
    signal : ndarray
        (leads, samples) in millivolts, finite where it is read.
    found : Origins
        Of the model's leads.
    length : int
        Samples after resampling.
    spec : InputSpec
    standardised : bool
        Whether the recording is standardised already.
    """
    profile, factor = PROFILES[spec.profile], 1.0 if spec.standardised else factor_of(spec)
    there = replace(found, wanted=tuple(found.available), filled=())
    own = np.float32 if signal.dtype == np.float32 else np.float64
    dtype: DTypeLike = np.float64 if profile.float64 else own

    def take(first: int, last: int) -> NDArray[Any]:
        values = there.take(signal, first, last, dtype)
        return values if factor == 1 or standardised else values * factor

    over_all = spec.normalisation == "recording" and not standardised
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large is found once it is standardised
        return Conditioned(take, signal.shape[1], length, profile, standardise=over_all)


class Windows:
    """The segments of a recording, (n, leads, samples) float32, cut when a slice of them is asked for.

    Parameters
    ----------
    leads : Conditioned
        The leads that are there.
    names : list of str
        Theirs.
    length, count, step : int
        Samples of the recording; segments that they give, 0 if it is to be padded to one; from one to the next.
    spec : InputSpec

    Attributes
    ----------
    shape : tuple
    constant_leads : list of str
        The leads that hold one value.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self, leads: Conditioned, names: list[str], length: int, count: int, step: int, spec: InputSpec
    ) -> None:
        self._leads, self._length, self._step = leads, length, step
        order = spec.leads or ()
        self._rows = [order.index(name) for name in names]
        self._padded, self._samples = count == 0, spec.samples
        self._each = PROFILES[spec.profile] if spec.normalisation == "segment" else None
        self.shape = (max(count, 1), len(order), spec.samples)
        self.constant_leads = [name for name in order if name in names and leads.constant[names.index(name)]]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        first, last, step = rows.indices(len(self))
        count = max(last - first, 0) if step == 1 else 0
        if self._rows == list(range(self.shape[1])) and not self._padded and 0 < count <= _AT_ONCE:
            return self._cut(first, count)
        x = np.zeros((count, *self.shape[1:]), dtype=np.float32)
        if self._padded and count:
            x[0, self._rows, : self._length] = self._scaled(self._leads.values(0, self._length)).T
            return x
        for start in range(0, count, _AT_ONCE):
            part = x[start : start + _AT_ONCE]
            part[:, self._rows] = self._cut(first + start, len(part))
        return x

    def _cut(self, first: int, count: int) -> NDArray[np.float32]:
        """So many segments of the leads that are there, (count, leads, samples)."""
        start = first * self._step
        values = self._leads.values(start, start + (count - 1) * self._step + self._samples)
        if self._each is None:
            return cut(values, self._samples, self._step)
        starts = range(0, count * self._step, self._step)
        return np.concatenate([cut(self._scaled(values[i : i + self._samples]), self._samples) for i in starts])

    def _scaled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values of one segment, (samples, leads), standardised over it where that is wanted."""
        if self._each is None:
            return values
        values = np.array(values, np.float64, order="C")
        standardise(values, self._each)
        return values

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)
