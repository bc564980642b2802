"""AliveCor's ATC files (Kardia): blocks of a name, a size, data and a checksum; one lead, or the six limb leads."""

from __future__ import annotations

import struct

import numpy as np

from .._text import printable, shown
from ..ecg.record import Record
from ..errors import FormatError, SignalError
from ..signal.leads import LEADS, listed
from ..storage.inputs import read_input
from .common import Format, Given, check_size, leads_record, misnamed

__all__ = ["FORMAT"]

_MAGIC, _START = b"ALIVE\0\0\0", 12
_MAX_FILE, _MAX_BLOCKS = 1 << 26, 256
_FORMAT = b"fmt "
_SIGNALS = dict(zip((b"ecg ", *(b"ecg%d" % number for number in range(2, 7))), LEADS[:6]))
_HEAD = struct.Struct("<4sI")


def _read(path: str, given: Given) -> Record:
    content = read_input(path, most=_MAX_FILE)
    if not content.startswith(_MAGIC):
        raise misnamed("an ATC file of AliveCor begins with ALIVE", path)
    blocks, notes = _blocks(content, path)
    form = blocks.get(_FORMAT, b"")
    if len(form) < 5:
        raise FormatError("truncated: nothing says how the samples are stored", path=path, field="block fmt")
    kind, rate, step = struct.unpack_from("<BHH", form)
    if kind != 1:
        raise FormatError(f"samples of kind {kind} are not read, only those of 16 bits", path=path, field="block fmt")
    if not step:
        raise SignalError("a step of 0 nV is no voltage", path=path, field="block fmt")
    signals = {name: blocks[key] for key, name in _SIGNALS.items() if key in blocks}
    if not signals:
        raise FormatError("the file holds no ECG", path=path, field="block ecg")
    for name, raw in signals.items():
        if not raw or len(raw) % 2:
            raise FormatError(f"{len(raw):,} bytes are no samples of 16 bits", path=path, field=f"lead {name}")
    check_size((len(signals), max(map(len, signals.values()))), 4, path=path, field="block ecg")
    rows = [np.frombuffer(raw, "<i2") * (step * 1e-6) for raw in signals.values()]
    return leads_record(rows, list(signals), path, given, rate=rate, units="nV", notes=notes)


def _blocks(content: bytes, path: str) -> tuple[dict[bytes, bytes], list[str]]:
    """Name -> data of each block, and what is wrong with their checksums."""
    found: dict[bytes, bytes] = {}
    wrong: dict[str, None] = {}
    at, count = _START, 0
    while at < len(content):
        if at + _HEAD.size > len(content):
            raise FormatError(f"truncated in the head of block {count + 1}", path=path, field="blocks")
        name, size = _HEAD.unpack_from(content, at)
        field = f"block {shown(name.decode('latin-1').strip())}"
        data, end = content[at + 8 : at + 8 + size], at + 8 + size
        if end + 4 > len(content):
            what = f"truncated: it has {size:,} bytes and a checksum, {len(content) - at - 8:,} are there"
            raise FormatError(what, path=path, field=field)
        count += 1
        if count > _MAX_BLOCKS:
            raise FormatError(f"more than {_MAX_BLOCKS} blocks", path=path, field="blocks")
        if name in found and (name in _SIGNALS or name == _FORMAT):
            raise FormatError("it is there twice", path=path, field=field)
        if _sum(content[at:end]) != struct.unpack_from("<I", content, end)[0]:
            wrong[printable(name.decode("latin-1").strip())] = None
        found[name] = data
        at = end + 4
    return found, [f"blocks whose checksums do not fit: {listed(wrong)}"] if wrong else []


def _sum(raw: bytes) -> int:
    """The bytes of a block, added up."""
    return int(np.frombuffer(raw, np.uint8).sum(dtype=np.uint64)) & 0xFFFFFFFF


FORMAT = Format("AliveCor ATC", (".atc",), lambda head: head.startswith(_MAGIC), _read)
