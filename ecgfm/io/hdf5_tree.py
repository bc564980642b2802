"""The index of chunks of an HDF5 data set (B-tree of version 1), held against what it must be.

HDF5 goes down from node to node and calls itself for each: a node that is its own descendant ends the process. So the
levels must fall by one from each node to those below it.
"""

import struct

from ..errors import FormatError

__all__ = ["check_tree"]

_LAYOUT, _CONTINUATION = 8, 16  # messages of an object's header
_CHUNKED = 2
_MAX_BLOCKS, _MAX_NODES, _MAX_BLOCK = 64, 1_000_000, 1 << 20


def check_tree(file, address, path, field):
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

    def at(position, count):
        file.seek(position)
        return file.read(count)

    try:
        head = at(0, 16)
        if head[9 if head[8] >= 2 else 13] != 8:
            raise FormatError("addresses that are not of 8 bytes are not read", path=path, field=field)
        root, width = _root(at, address)
        if root is not None:
            _walk(at, root, width, path, field)
    except (struct.error, IndexError, OverflowError, ValueError):
        raise FormatError("a damaged index of chunks", path=path, field=field) from None


def _root(at, address):
    """The address of the index's first node, and the bytes from one child to the next; None if it is another index."""
    for kind, data in _messages(at, address):
        if kind != _LAYOUT:
            continue
        if data[0] == 3 and data[1] == _CHUNKED:
            return struct.unpack_from("<Q", data, 3)[0], 16 + 8 * data[2]
        if data[0] in (1, 2) and data[2] == _CHUNKED:
            return struct.unpack_from("<Q", data, 8)[0], 16 + 8 * data[1]
    return None, 0


def _messages(at, address):
    """Iterate over (kind, bytes) of the messages of an object's header."""
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
                yield kind, content


def _walk(at, root, width, path, field):
    if root == 0xFFFFFFFFFFFFFFFF:  # nothing was written
        return
    waiting, seen, expected = [root], 0, None
    while waiting:
        below = []
        for node in waiting:
            head, seen = at(node, 24), seen + 1
            sign, _, level, used = struct.unpack_from("<4sBBH", head)
            if sign != b"TREE" or expected not in (None, level) or seen > _MAX_NODES:
                raise FormatError("damaged: the index of chunks is no tree", path=path, field=field)
            if level:
                data = at(node + 24, used * width)
                below += [struct.unpack_from("<Q", data, i * width + width - 8)[0] for i in range(used)]
        expected = level - 1
        waiting = below if level else []
        if len(waiting) > _MAX_NODES:
            raise FormatError("damaged: the index of chunks is no tree", path=path, field=field)
