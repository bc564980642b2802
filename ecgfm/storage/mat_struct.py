"""Structs, cells and texts in MATLAB 5 files, as dicts, lists and texts; their numbers as arrays.

Every length is held against what it lies in. A struct is read if it is a single one, not an array of them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError

__all__ = ["Node", "Unread", "parsed"]

Node: TypeAlias = "dict[str, Node] | list[Node] | NDArray[Any] | str | Unread"

_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_ENCODINGS = {1: "latin-1", 2: "latin-1", 16: "utf-8", 17: "utf-16", 18: "utf-32"}  # of texts; 4 is UTF-16, too
_CELL, _STRUCT, _TEXT, _NUMBERS = 1, 2, 4, range(6, 16)
_COMPLEX = 0x0800
_MAX_LEVELS, _MAX_NODES, _MAX_FIELDS, _MAX_NAME, _MAX_DIMENSIONS, _MAX_TEXT = 6, 4096, 512, 64, 8, 1 << 16


@dataclass(frozen=True)
class Unread:
    """What is not read.

    Attributes
    ----------
    what : str
    """

    what: str


def parsed(data: memoryview, order: str, path: str, field: str) -> Node:
    """What the content of a variable holds.

    Parameters
    ----------
    data : memoryview
        From the flags of the array on.
    order : {"<", ">"}
        The byte order of the file.
    path, field : str
        For messages.

    Raises
    ------
    FormatError
        If it is damaged, or deeper or more than a recording needs.
    """
    return _Parser(order, path, field).matrix(data, 0)


class _Parser:
    def __init__(self, order: str, path: str, field: str) -> None:
        self._order, self._path, self._field = order, path, field
        self._words = struct.Struct(f"{order}II")
        self._nodes = 0

    def matrix(self, data: memoryview, level: int) -> Node:
        self._nodes += 1
        if level > _MAX_LEVELS or self._nodes > _MAX_NODES:
            raise self._wrong("deeper, or more parts, than a recording has")
        if not len(data):
            return Unread("nothing")
        _, flags, data = self._element(data)
        kind = self._words.unpack_from(flags)[0] if len(flags) >= 8 else 0
        _, dimensions, data = self._element(data)
        if len(dimensions) > 4 * _MAX_DIMENSIONS or len(dimensions) % 4:
            raise self._wrong("damaged dimensions")
        shape = struct.unpack(f"{self._order}{len(dimensions) // 4}i", dimensions)
        if any(length < 0 for length in shape):
            raise self._wrong(f"{shape} is not a shape")
        _, _, data = self._element(data)  # the name
        what = kind & 0xFF
        if what in _NUMBERS:
            return Unread("complex numbers") if kind & _COMPLEX else self._array(data, shape)
        if what == _TEXT:
            return self._text(data, shape)
        if what == _STRUCT:
            return self._fields(data, level) if prod(shape) == 1 else Unread(f"{prod(shape)} structs")
        if what == _CELL:
            return [self._member(part, level) for part in self._parts(data, prod(shape))]
        return Unread("what is not read")

    def _array(self, data: memoryview, shape: tuple[int, ...]) -> NDArray[Any]:
        kind, values, _ = self._element(data)
        if kind not in _TYPES:
            raise self._wrong(f"values of the unknown type {kind}")
        dtype = np.dtype(self._order + _TYPES[kind])
        if len(values) != prod(shape) * dtype.itemsize:
            raise self._wrong(
                f"the shape {shape} takes {prod(shape) * dtype.itemsize:,} bytes, {len(values):,} are there"
            )
        return np.frombuffer(values, dtype).reshape(shape, order="F")

    def _text(self, data: memoryview, shape: tuple[int, ...]) -> Node:
        kind, values, _ = self._element(data)
        if len(values) > _MAX_TEXT or not values:
            return Unread("a long text") if len(values) else ""
        encoding = _ENCODINGS.get(kind, "utf-16" if kind == 4 else "latin-1")
        if encoding in ("utf-16", "utf-32"):
            encoding += "-le" if self._order == "<" else "-be"
        text = bytes(values).decode(encoding, "replace")
        if len(shape) == 2 and shape[0] > 1 and len(text) == prod(shape):  # a text in each row
            return [text[i :: shape[0]].strip() for i in range(shape[0])]
        return text.strip()

    def _fields(self, data: memoryview, level: int) -> dict[str, Node]:
        _, width, data = self._element(data)
        length = struct.unpack(f"{self._order}i", width[:4])[0] if len(width) >= 4 else 0
        _, names, data = self._element(data)
        if not 0 < length <= _MAX_NAME or len(names) % length or len(names) // length > _MAX_FIELDS:
            raise self._wrong("damaged names of fields")
        texts = [bytes(names[i : i + length]).split(b"\0")[0].decode("latin-1") for i in range(0, len(names), length)]
        return {name: self._member(part, level) for name, part in zip(texts, self._parts(data, len(texts)))}

    def _member(self, part: tuple[int, memoryview], level: int) -> Node:
        kind, data = part
        if kind != _MATRIX:
            raise self._wrong(f"a part of the unknown type {kind}")
        return self.matrix(data, level + 1)

    def _parts(self, data: memoryview, count: int) -> list[tuple[int, memoryview]]:
        if count > _MAX_NODES:
            raise self._wrong(f"{count:,} parts; a recording has fewer")
        found = []
        for _ in range(count):
            kind, part, data = self._element(data)
            found.append((kind, part))
        return found

    def _element(self, data: memoryview) -> tuple[int, memoryview, memoryview]:
        """Type and bytes of the first element, and what comes after it."""
        if len(data) < 8:
            raise self._wrong("truncated within a tag")
        kind, length = self._words.unpack_from(data)
        if kind >> 16:
            kind, length, start, end = kind & 0xFFFF, kind >> 16, 4, 8
        else:
            start, end = 8, 8 + (length + 7) // 8 * 8
        if start + length > len(data) or (start == 4 and length > 4):
            raise self._wrong(f"truncated: a part takes {length:,} bytes, {len(data) - start:,} are there")
        return kind, data[start : start + length], data[end:]

    def _wrong(self, message: str) -> FormatError:
        return FormatError(message, path=self._path, field=self._field)
