"""The index of chunks of an HDF5 data set (B-tree of version 1), held against what it must be.

HDF5 goes down from node to node and calls itself for each: a node that is its own descendant ends the process. So the
levels must fall by one from each node to those below it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import TypeAlias

from ..errors import FormatError

__all__ = ["check_tree"]

_LAYOUT, _CONTINUATION = 8, 16  # messages of an object's header
_CHUNKED, _NOTHING = 2, 0xFFFFFFFFFFFFFFFF  # an address that stands for nothing written
_At: TypeAlias = "Callable[[int, int], bytes]"  # takes a position and a number of bytes
_MAX_BLOCKS, _MAX_NODES, _MAX_BLOCK = 64, 1_000_000, 1 << 20


def check_tree(file: BufferedReader, address: int, path: str, field: str) -> None:
    """Refuse a data set whose index of chunks goes round in a circle.

    Parameters
    ----------
    file : io.BufferedReader
    address : int
        Of the data set's header in the file.

    Raises
    ------
    FormatError
        If it does, or the file's addresses are not of 8 bytes.
    """

    def at(position: int, count: int) -> bytes:
        file.seek(position)
        return file.read(count)

    try:
        head = at(0, 16)
        if head[9 if head[8] >= 2 else 13] != 8:
            raise FormatError("addresses that are not of 8 bytes are not read", path=path, field=field)
        _walk(at, *_root(at, address), path, field)
    except (struct.error, IndexError, OverflowError, ValueError):
        raise FormatError("a damaged index of chunks", path=path, field=field) from None


def _root(at: _At, address: int) -> tuple[int, int]:
    """The address of the index's first node (`_NOTHING` if it is another index), and the bytes between its children."""
    for data in _layouts(at, address):
        if data[0] == 3 and data[1] == _CHUNKED:
            return struct.unpack_from("<Q", data, 3)[0], 16 + 8 * data[2]
        if data[0] in (1, 2) and data[2] == _CHUNKED:
            return struct.unpack_from("<Q", data, 8)[0], 16 + 8 * data[1]
    return _NOTHING, 0


def _layouts(at: _At, address: int) -> Iterator[bytes]:
    """Iterate over the layouts (one in a whole file) in the messages of an object's header."""
    head = at(address, 48)
    if head[:4] == b"OHDR":
        flags = head[5]
        start = 6 + 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
        width = 1 << (flags & 3)
        size = int.from_bytes(head[start : start + width], "little")
        form, blocks = struct.Struct("<BHB" + "H" * bool(flags & 4)), [(address + start + width, size)]
    else:
        form, flags, blocks = struct.Struct("<HHBxxx"), None, [(address + 16, struct.unpack_from("<I", head, 8)[0])]
    for place, size in (blocks[i] for i in range(_MAX_BLOCKS) if i < len(blocks)):
        data, here = at(place, min(size, _MAX_BLOCK)), 0
        while here + form.size <= len(data):
            kind, length = form.unpack_from(data, here)[:2]
            content = data[here + form.size : here + form.size + length]
            here += form.size + length
            if kind == _CONTINUATION:
                more, extent = struct.unpack_from("<QQ", content)
                blocks.append((more, extent) if flags is None else (more + 4, max(extent - 8, 0)))
            elif kind == _LAYOUT:
                yield content


def _walk(at: _At, root: int, width: int, path: str, field: str) -> None:
    waiting, seen, expected = [root] * (root != _NOTHING), 0, None
    while waiting:
        below: list[int] = []
        seen += len(waiting)
        for node in waiting:
            sign, _, level, used = struct.unpack_from("<4sBBH", at(node, 24))
            if sign != b"TREE" or expected not in (None, level) or seen > _MAX_NODES:
                raise FormatError("damaged: the index of chunks is no tree", path=path, field=field)
            if level:
                data = at(node + 24, used * width)
                below += [struct.unpack_from("<Q", data, i * width + width - 8)[0] for i in range(used)]
        waiting, expected = below, level - 1
