"""ISHNE Holter recordings (version 1.0): a header, then samples of 16 bits, those of one time together."""

from __future__ import annotations

import binascii
import os
import struct
from io import BufferedReader

import numpy as np
from numpy.typing import NDArray

from ..ecg.record import Record
from ..errors import FormatError, SignalError
from ..signal.leads import LEADS
from ..storage.inputs import open_input
from .common import MAX_BYTES, Format, Given, check_size, leads_record, misnamed

__all__ = ["FORMAT"]

_MAGIC = b"ISHNE1.0"
_START, _HEADER = 10, 522  # after the magic and the checksum; without the part of a length of its own
_MAX_HEADER, _MAX_LEADS = 1 << 20, 12
_NAMES = dict(enumerate(("X", "Y", "Z", *LEADS, "ES", "AS", "AI"), start=2))
_BLOCK = 1 << 22  # bytes that are read at once


def _read(path: str, given: Given) -> Record:
    with open_input(path, most=MAX_BYTES) as file:
        head = file.read(_HEADER)
        if not head.startswith(_MAGIC):
            raise misnamed("an ISHNE file begins with ISHNE1.0", path)
        if len(head) < _HEADER:
            raise FormatError("truncated: there is no whole header", path=path, field="header")
        extra, stated, _, start = struct.unpack_from("<4i", head, _START)
        count = struct.unpack_from("<h", head, 156)[0]
        if not 1 <= count <= _MAX_LEADS or not _HEADER <= start <= _MAX_HEADER or not 0 <= extra <= _MAX_HEADER:
            what = f"{count} leads, whose samples begin at byte {start:,}"
            raise FormatError(what, path=path, field="header")
        codes, steps = struct.unpack_from(f"<{count}h", head, 158), struct.unpack_from(f"<{count}h", head, 206)
        if min(steps) <= 0:
            what = f"a step of {min(steps)} nV is no voltage"
            raise SignalError(what, path=path, field="amplitude resolution")
        whole = head + file.read(extra)
        notes = (
            [] if _checksum(whole) == struct.unpack_from("<H", head, 8)[0] else ["the header's checksum does not fit"]
        )
        samples = _length(stated, count, os.fstat(file.fileno()).st_size - start, notes, path)
        file.seek(start)
        rows = _millivolts(file, samples, np.array(steps) * 1e-6, path)
    names = [_NAMES.get(code, f"lead {number}") for number, code in enumerate(codes, start=1)]
    rate = struct.unpack_from("<h", head, 272)[0]
    return leads_record(rows, names, path, given, rate=rate, units="nV", notes=notes)


def _checksum(head: bytes) -> int:
    """CRC-CCITT of what follows the checksum."""
    return binascii.crc_hqx(head[_START:], 0xFFFF)


def _length(stated: int, leads: int, present: int, notes: list[str], path: str) -> int:
    """How many samples each lead has: what the header says, if the file holds them."""
    found = max(present, 0) // (2 * leads)
    if stated == found * leads and leads > 1:  # some writers count the samples of all leads
        stated = found
    if stated < 1 or stated > found:
        size = 2 * leads * stated
        what = f"truncated: {stated:,} samples of {leads} leads take {size:,} bytes, {present:,} are there"
        raise FormatError(what, path=path, field="samples")
    if stated < found:
        notes.append(f"the header says {stated:,} samples a lead, the file has {found:,}: the first are read")
    check_size((leads, stated), 4, path=path, field="samples")
    return stated


def _millivolts(file: BufferedReader, samples: int, steps: NDArray[np.float64], path: str) -> NDArray[np.float32]:
    """(leads, samples) float32, read in blocks."""
    leads = len(steps)
    found = np.empty((leads, samples), np.float32)
    size = max(1, _BLOCK // (2 * leads))
    for at in range(0, samples, size):
        count = min(size, samples - at)
        raw = file.read(2 * leads * count)
        if len(raw) < 2 * leads * count:
            raise FormatError("it was cut short while it was read", path=path, field="samples")
        found[:, at : at + count] = np.frombuffer(raw, "<i2").reshape(count, leads).T * steps[:, None]
    return found


FORMAT = Format("ISHNE", (".ecg", ".ishne"), lambda head: head.startswith(_MAGIC), _read)
