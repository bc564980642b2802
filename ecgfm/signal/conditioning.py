"""From leads in order to segments: resampling, standardising, cutting. Of whole recordings, or of parts of them.

Arrays have the sample first, (samples, leads), as the kernels want them; `resample` alone takes any shape.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..kernels import core
from .profile import TUTORIAL, Profile

__all__ = ["BLOCK", "Conditioned", "condition", "cut", "resample", "standardise"]

#: Samples that are worked on at a time: 4 minutes at 500 Hz.
BLOCK = 1 << 17


def resample(signal: ArrayLike, rate: float, new_rate: float) -> NDArray[np.float64]:
    """Resample by linear interpolation, as ECG-FM's pipeline does.

    N samples become N' = int(N * new_rate / rate). The N samples are placed evenly on [0, N'-1] and read at 0 ... N'-1,
    so that the first and the last sample are kept exactly; there is no filter against aliasing.

    Parameters
    ----------
    signal : array_like
        (..., N), real numbers of any type.
    rate, new_rate : float
        In Hz.

    Returns
    -------
    ndarray
        (..., N'), float64; not copied if the rates are equal and it is that already.
    """
    signal = np.asarray(signal, dtype=np.float64)
    if rate == new_rate:
        return signal
    shape = (*signal.shape[:-1], TUTORIAL.length(signal.shape[-1], rate, new_rate))
    if 0 in shape or 0 in signal.shape:
        return np.zeros(shape)
    rows = np.ascontiguousarray(signal.reshape(-1, signal.shape[-1]).T)
    return np.ascontiguousarray(_resampled(rows, shape[-1]).T).reshape(shape)


def _resampled(x: NDArray[Any], samples: int) -> NDArray[np.float64]:
    begin, end = core().reach(len(x), samples, 0, samples)
    return np.asarray(core().resample(x[begin:end], len(x), samples, 0, samples))


def standardise(
    x: NDArray[np.float64], profile: Profile, constant: str = "zero"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Subtract each lead's mean and divide by its population standard deviation, in place.

    Parameters
    ----------
    x : ndarray
        (N, leads) float64, dense.
    profile : Profile
    constant : {"zero", "nan", "constant"}
        What becomes of a lead all of whose values are equal: zeros, NaN, or what is left when its mean is taken out.

    Returns
    -------
    mean, std : ndarray
        (leads,) float64, of what was given.
    """
    mean, std = core().standardise(x, profile.epsilon, profile.recentre, constant)
    return mean, std


def condition(
    x: NDArray[Any], samples: int, profile: Profile, constant: str | None = "zero"
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Resample a whole recording and standardise each lead over all of it.

    Parameters
    ----------
    x : ndarray
        (N, leads) float32 or float64, dense.
    samples : int
        How many it becomes.
    profile : Profile
    constant : {"zero", "nan", "constant"} or None
        As of `standardise`; None does not standardise.

    Returns
    -------
    x : ndarray
        (samples, leads) float64, new.
    mean, std : ndarray or None
        (leads,) float64; None if it is not standardised.
    """
    x = _resampled(x.astype(np.float64, copy=False) if profile.float64 else x, samples)
    mean, std = (None, None) if constant is None else standardise(x, profile, constant)
    return x, mean, std


def cut(x: NDArray[np.float64], samples: int, step: int | None = None) -> NDArray[np.float32]:
    """The segments that a recording (N, leads) holds, (n, leads, samples) float32; the rest at its end is left out.

    One begins `step` samples behind the other; by default they do not overlap.
    """
    if step in (None, samples):
        return np.asarray(core().cut(np.ascontiguousarray(x, dtype=np.float64), samples))
    return np.lib.stride_tricks.sliding_window_view(x, samples, axis=0)[::step].astype(np.float32)


class Conditioned:
    """A recording at another rate, standardised over its whole length, of which any part can be had.

    A recording that becomes longer than `BLOCK` is gone through in blocks, so that little of it is held at a time; mean
    and deviation then differ by rounding from those of all samples at once.

    Parameters
    ----------
    take : callable
        ``take(first, last)`` gives these samples of the recording, (n, leads), dense, finite.
    samples, length : int
        Before and after resampling; equal if there is nothing to resample.
    profile : Profile
    standardise : bool
        Subtract the mean and divide by the standard deviation; a constant lead becomes zero.

    Attributes
    ----------
    constant, finite : ndarray of bool
        (leads,) Whether all values are equal; whether mean and deviation are finite.
    """

    def __init__(
        self,
        take: Callable[[int, int], NDArray[Any]],
        samples: int,
        length: int,
        profile: Profile,
        *,
        standardise: bool = True,
    ) -> None:
        self._take, self._samples, self._length = take, samples, length
        self._profile, self._standardise = profile, standardise
        self._measure()

    def values(self, first: int, last: int) -> NDArray[np.float64]:
        """Samples from `first` to before `last` at the new rate, (n, leads) float64."""
        if self._whole is not None:
            return self._whole[first:last]
        x = self._resampled(first, last)
        if self._standardise:
            x -= self._mean
            x /= self._by
            x[:, self.constant] = 0
        return x

    def _measure(self) -> None:
        whole = self._resampled(0, self._length) if self._length <= BLOCK else None
        self._whole = whole
        if whole is None:
            self._mean, std, self.constant = self._moments()
        elif self._standardise:
            _, std = standardise(whole, self._profile)
            self.constant = std == 0
        else:
            _, std, _, self.constant = core().moments(whole)
        self._by = np.where(self.constant, 1, std + self._profile.epsilon)
        self.finite = np.isfinite(std) | (not self._standardise)

    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Mean, deviation and constancy from those of blocks (Chan, Golub, LeVeque: Updating formulae, 1979)."""
        count, mean, square, constant, first = 0, 0.0, 0.0, True, None
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, self._length, BLOCK):
                block = self._resampled(start, min(start + BLOCK, self._length))
                middle, deviation, _, same = core().moments(block)
                first = block[0].copy() if first is None else first
                constant = constant & same & (block[0] == first)
                added, new = len(block), count + len(block)
                square = square + deviation**2 * added + (middle - mean) ** 2 * (count * added / new)
                mean = mean + (middle - mean) * (added / new)
                count = new
            return np.asarray(mean), np.sqrt(square / count), np.asarray(constant)

    def _resampled(self, first: int, last: int) -> NDArray[np.float64]:
        begin, end = core().reach(self._samples, self._length, first, last)
        x = self._take(begin, end)
        x = x.astype(np.float64, copy=False) if self._profile.float64 else x
        return np.asarray(core().resample(x, self._samples, self._length, first, last))
