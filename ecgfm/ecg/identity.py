"""What tells one recording from another."""

import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["checksum", "segment_checksums"]

_WHOLE = 1 << 22  # values of a recording up to which all of them count
_BLOCKS, _BLOCK = 64, 4096  # of a longer one: blocks of a lead, and samples of a block


def checksum(signal: NDArray[Any], sampling_rate: float, leads: Iterable[str], start_s: float = 0.0) -> str:
    """A checksum of a recording: its values in float32, its length, rate, leads and start.

    Of a recording of more than 4 million values, blocks that are spread evenly count.

    Parameters
    ----------
    signal : ndarray
        (leads, samples) of real numbers.
    sampling_rate : float
        In Hz.
    leads : sequence of str
    start_s : float
        Time of the first sample, in seconds.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    import hashlib

    digest = hashlib.blake2b(digest_size=8)
    digest.update(repr((tuple(signal.shape), float(sampling_rate), tuple(leads), float(start_s))).encode())
    samples = signal.shape[-1]
    starts, length = (0,), samples
    if signal.size > _WHOLE:
        starts = np.linspace(0, max(samples - _BLOCK, 0), _BLOCKS).astype(int).tolist()
        length = _BLOCK
    for row in signal:
        for start in starts:
            with np.errstate(over="ignore"):  # as in a Record
                digest.update(np.ascontiguousarray(row[start : start + length], dtype="<f4").data)
    return digest.hexdigest()


def segment_checksums(x: NDArray[Any]) -> NDArray[np.uint32]:
    """CRC-32 of the float32 values of each of the segments (n, L, N), (n,) uint32."""
    return np.array([zlib.crc32(np.ascontiguousarray(one, dtype="<f4").data) for one in x], np.uint32)
