"""Linear resampling, of a whole signal or of a part of it, and standardising."""

import functools

import numpy as np

__all__ = ["BLOCK", "Resampled", "resample", "resampled_length"]

#: Samples that are worked on at a time: 35 minutes at 500 Hz.
BLOCK = 1 << 20

_EPSILON = 1e-8  # added to the standard deviation, as the tutorial does
_CACHED_SAMPLES = 100_000  # resampling weights of longer recordings are not kept


def resampled_length(samples, rate, new_rate):
    """How many samples `resample` gives."""
    return samples if rate == new_rate else int(samples * new_rate / rate)


def resample(signal, rate, new_rate):
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
    samples = signal.shape[-1]
    return _read_at(signal, *_weights(samples, resampled_length(samples, rate, new_rate)))


class Resampled:
    """A lead at the model's rate, standardised over its whole length, of which any part can be had.

    Arithmetic is float64. A lead that is longer than `BLOCK` is gone through in blocks, so that what is held of it is
    little; mean and deviation then differ by rounding from those of all samples at once.

    Parameters
    ----------
    take : callable
        ``take(first, last)`` gives these samples of the lead, (n,) float64, finite.
    samples, length : int
        Before and after resampling; equal if there is nothing to resample.
    standardise : bool
        Subtract the mean and divide by the standard deviation; a constant lead becomes zero.

    Attributes
    ----------
    is_constant, is_finite : bool
        Whether all values are equal; whether mean and deviation are finite.
    """

    def __init__(self, take, samples, length, *, standardise=True):
        self._take, self._samples, self._length, self._standardise = take, samples, length, standardise
        self._whole = self._resampled(0, length) if length <= BLOCK else None
        self._measure()

    def values(self, first, last):
        """Samples from `first` to before `last` at the model's rate, (n,) float64."""
        values = self._resampled(first, last) if self._whole is None else self._whole[first:last]
        if not self._standardise:
            return values
        if self.is_constant:
            return np.zeros_like(values)
        values = values - self._mean
        values /= self._deviation + _EPSILON
        return values

    def _measure(self):
        """Mean and deviation from those of blocks (Chan, Golub, LeVeque: Updating formulae, 1979)."""
        count, mean, square = 0, 0.0, 0.0
        lowest, highest = np.inf, -np.inf
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(0, self._length, BLOCK):
                block = self._whole
                if block is None:
                    block = self._resampled(first, min(first + BLOCK, self._length))
                lowest, highest = min(lowest, block.min()), max(highest, block.max())
                middle = block.mean()
                rest = block - middle
                added, new = len(block), count + len(block)
                square += np.dot(rest, rest) + (middle - mean) ** 2 * (count * added / new)
                mean += (middle - mean) * (added / new)
                count = new
        self.is_constant = bool(lowest == highest)
        self._mean, self._deviation = mean, np.sqrt(square / count)
        self.is_finite = bool(np.isfinite(self._deviation)) or not self._standardise

    def _resampled(self, first, last):
        if self._samples == self._length:
            return self._take(first, last)
        if first == 0 and last == self._length:
            return _read_at(self._take(0, self._samples), *_weights(self._samples, self._length))
        left, fraction = _weights_of(np.arange(first, last), self._samples, self._length)
        begin = left[0]
        return _read_at(self._take(begin, left[-1] + 2), left - begin, fraction)


def _read_at(signal, left, fraction):
    """Values between samples `left` and their right neighbours; behind the last sample it is repeated."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found when it is standardised
        step = np.diff(signal, axis=-1, append=signal[..., -1:])
        out = np.take(step, left, axis=-1)
        out *= fraction
        out += np.take(signal, left, axis=-1)
    return out


def _weights(samples, length):
    """Left neighbour (length,) intp and fraction (length,) float64 of each point that is read."""
    if max(samples, length) <= _CACHED_SAMPLES:
        return _cached_weights(samples, length)
    return _weights_of(np.arange(length), samples, length)


def _weights_of(points, samples, length):
    position = points * ((samples - 1) / max(length - 1, 1))
    left = np.minimum(position.astype(np.intp), samples - 1)
    return left, position - left


@functools.lru_cache(maxsize=16)
def _cached_weights(samples, length):
    left, fraction = _weights_of(np.arange(length), samples, length)
    left.setflags(write=False)
    fraction.setflags(write=False)
    return left, fraction
