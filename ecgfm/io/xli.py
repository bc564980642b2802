"""XLI, the packing of samples in Philips XML: differences of differences, packed by LZW in codes of 10 bits.

Each lead is a block: its size, two bytes that nobody needs, a first value, and the codes. What is unpacked holds the
high bytes of all samples and then the low ones.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError

__all__ = ["unpacked"]

_HEAD = struct.Struct("<iHh")
_BITS, _STOP = 10, 1023
_MOST_EXTRA = 1 << 12  # bytes that a block may hold beyond the samples that are stated
_STEP = 64  # what is added to each stored difference


def unpacked(content: bytes, leads: int, samples: int, path: str, field: str) -> list[NDArray[np.int64]]:
    """The first blocks, as (samples,) int64 each. Blocks beyond those that are asked for are not looked at.

    Raises
    ------
    FormatError
        If there are fewer blocks, or one is cut, holds fewer samples or far more, or codes that mean nothing.
    """
    at, found = 0, []
    for lead in range(1, leads + 1):
        where = f"{field}, lead {lead} of {leads}"
        if at + _HEAD.size > len(content):
            raise FormatError(f"truncated: {lead - 1} of {leads} leads are there", path=path, field=field)
        size, _, first = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        if not 0 < size <= len(content) - at:
            what = f"truncated: a block of {size:,} bytes, {len(content) - at:,} are there"
            raise FormatError(what, path=path, field=where)
        raw = _strings(content[at : at + size], 2 * samples + _MOST_EXTRA, path, where)
        at += size
        half = (len(raw) + 1) // 2
        if half < samples:
            raise FormatError(f"truncated: {samples:,} samples are stated, {half:,} are there", path=path, field=where)
        found.append(_summed(raw + b"\0" * (2 * half - len(raw)), half, first)[:samples])
    return found


def _codes(packed: bytes) -> list[int]:
    """The codes of 10 bits, of which 4 lie in 5 bytes, the highest bits first."""
    count = len(packed) * 8 // _BITS
    raw = np.frombuffer(packed + b"\0" * (-len(packed) % 5), np.uint8).reshape(-1, 5).astype(np.uint16).T
    codes = np.stack(
        [
            raw[0] << 2 | raw[1] >> 6,
            (raw[1] & 63) << 4 | raw[2] >> 4,
            (raw[2] & 15) << 6 | raw[3] >> 2,
            (raw[3] & 3) << 8 | raw[4],
        ],
        axis=1,
    )
    found: list[int] = codes.ravel()[:count].tolist()
    return found


def _strings(packed: bytes, most: int, path: str, field: str) -> bytes:
    """What LZW packed, at most so many bytes."""
    table = [bytes([value]) for value in range(256)]
    made, total, previous = [], 0, b""
    for code in _codes(packed):
        if code == _STOP:
            break
        if code < len(table):
            text = table[code]
        elif code == len(table) and previous:
            text = previous + previous[:1]
        else:
            raise FormatError(f"damaged: the code {code} means nothing where it stands", path=path, field=field)
        if previous and len(table) < _STOP:
            table.append(previous + text[:1])
        made.append(text)
        total += len(text)
        if total > most:
            raise FormatError("more samples than are stated", path=path, field=field)
        previous = text
    return b"".join(made)


def _summed(raw: bytes, count: int, first: int) -> NDArray[np.int64]:
    """The samples behind differences of differences."""
    parts = np.frombuffer(raw, np.uint8).reshape(2, count).astype(np.uint16)
    stored: NDArray[np.int64] = (parts[0] << 8 | parts[1]).view(np.int16).astype(np.int64)
    if count < 2:
        return stored
    turns = np.concatenate([[first], stored[2:-1] - _STEP])[: max(count - 2, 0)]
    steps = np.concatenate([stored[1:2] - stored[:1], -turns])
    found: NDArray[np.int64] = stored[0] + np.concatenate([[0], np.cumsum(np.cumsum(steps))])
    return found
