"""Which saliency belongs to what is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ecg import Segments
from ..ecg.identity import checksum, segment_checksums
from ..errors import SignalError
from ..specs.inputs import ECG_FM

__all__ = ["Known", "values_by_time"]


@dataclass(eq=False)
class Known:
    """Saliency of one recording, and what tells the recording from others.

    Attributes
    ----------
    start_s : ndarray
        (n,) seconds, of the segments.
    samples : ndarray
        (n, N)
    checksums : ndarray
        (n,) of the segments' values.
    recording : str or None
        Checksum of the recording that the segments were cut from.
    sampling_rate : float
        Of `samples`, in Hz.
    """

    start_s: NDArray[np.float64]
    samples: NDArray[Any]
    checksums: NDArray[Any]
    recording: str | None = None
    sampling_rate: float = ECG_FM.sampling_rate

    def is_of(self, segments: Segments | None, recording: str | None) -> bool:
        """Whether it is of what is drawn: `Segments`, or a recording with this checksum."""
        if segments is None:
            return self.recording is not None and self.recording == recording
        own = dict(zip(self.start_s.tolist(), self.checksums.tolist()))
        others = dict(zip(np.asarray(segments.start_s).tolist(), segment_checksums(segments.x).tolist()))
        common = own.keys() & others.keys()
        return bool(common) and all(own[start] == others[start] for start in common)


def values_by_time(saliency: Any, shown: Any) -> tuple[NDArray[Any], NDArray[Any], float]:
    """Starts (n,), values (n, N) and their sampling rate, of what was given as saliency of what is drawn.

    Parameters
    ----------
    saliency : Saliency, Known or array_like
    shown : object
        With ``record``, ``source``, ``start_s``, ``end_s`` and ``rate`` of what is drawn.

    Raises
    ------
    SignalError
        If the saliency is of another recording, or is none.
    """
    if isinstance(saliency, Known) or hasattr(saliency, "checksums"):
        known = [saliency] if isinstance(saliency, Known) else list(_each(saliency))
        segments = shown.record if isinstance(shown.record, Segments) else None
        of = shown.record
        recording = checksum(of.signal, of.sampling_rate, of.leads, of.start_s) if segments is None else None
        found = next((each for each in known if each.is_of(segments, recording)), None)
        if found is None:
            raise SignalError(
                "the saliency is of other recordings: neither values, length, rate nor start are those of this one",
                path=shown.source,
                field="saliency",
                remedy="Give ecgfm.saliency(model, record) of the recording, or of the segments, that is drawn",
            )
        return np.asarray(found.start_s, np.float64), found.samples, found.sampling_rate
    samples = np.atleast_2d(np.asarray(saliency))
    if samples.ndim != 2 or samples.dtype.kind not in "iuf" or samples.shape[1] < 2:
        raise SignalError(f"the shape {samples.shape} is not (segments, samples)", path=shown.source, field="saliency")
    start_s = shown.start_s + np.arange(len(samples)) * samples.shape[1] / shown.rate
    if len(samples) and start_s[-1] > shown.end_s:
        raise SignalError(
            f"{len(samples)} segments are more than what is drawn has", path=shown.source, field="saliency"
        )
    return start_s, samples, shown.rate


def _each(saliency: Any) -> Iterator[Known]:
    """The `Known` of each recording of a `Saliency`."""
    last = 0
    for count, recording in zip(saliency.records["segments"], saliency.recordings):
        rows = slice(last, last := last + int(count))
        start_s = saliency.segments["start_s"][rows]
        yield Known(start_s, saliency.samples[rows], saliency.checksums[rows], recording, saliency.sampling_rate)
