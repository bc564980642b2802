"""Filters of segments."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import MissingExtraError

__all__ = ["clean"]

_POWERLINE = 50  # Hz


def clean(x: ArrayLike, sample_rate: float) -> NDArray[np.float32]:
    """Take out slow drift and mains hum: what NeuroKit's ``ecg_clean`` does by default.

    A Butterworth high-pass of order 5 at 0.5 Hz, then a moving average over one period of 50 Hz, each forward and
    backward.

    Parameters
    ----------
    x : ndarray
        (leads, samples).
    sample_rate : float
        In Hz.

    Returns
    -------
    ndarray
        (leads, samples) float32.

    Raises
    ------
    MissingExtraError
        If scipy is not installed.
    """
    try:
        from scipy import signal
    except ImportError:
        raise MissingExtraError(
            "scipy is not installed", field="filter", remedy="Install it with: pip install 'ecgfm[io]'"
        ) from None
    sos = signal.butter(5, 0.5, btype="highpass", output="sos", fs=sample_rate)
    high = signal.sosfiltfilt(sos, np.asarray(x, np.float64), axis=1)
    width = int(sample_rate / _POWERLINE) if sample_rate >= 100 else 2
    return np.asarray(signal.filtfilt(np.ones(width), [width], high, axis=1, method="pad"), np.float32)
