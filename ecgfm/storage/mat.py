"""Arrays of numbers in MATLAB 5 files (``save -v6`` and ``-v7``): the one place where such a file is read.

Every length is a claim until it was held against the file; no library sees the bytes. Text, cells, structs, sparse and
complex arrays are listed and not read.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .._types import StrPath
from ..errors import FormatError
from .inputs import check_inflation, open_input, unreadable
from .npy import MAX_BYTES, check_size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

__all__ = ["MatFile", "Variable"]

_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {1: "a cell array", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse array"}
_CLASSES |= dict.fromkeys(range(6, 16), "numbers")  # double, single, int8 ... uint64
_COMPLEX = 0x0800  # flag of an array
_MAX_VARIABLES, _MAX_DIMENSIONS, _MAX_NAME = 4096, 8, 256
_HEAD_BYTES = 1024  # holds the head of a variable: flags, dimensions, name, and the tag of its values
_PIECE = 1 << 20
_WHOLE_BYTES = 1 << 22  # a file that is not larger, such as a segment, is read in one go
_USUAL = struct.Struct("<10I")
_LITTLE = {number: np.dtype("<" + name) for number, name in _TYPES.items()}
_WORDS = {"<": struct.Struct("<II"), ">": struct.Struct(">II")}


@dataclass(frozen=True)
class Variable:
    """A variable of a file.

    Attributes
    ----------
    name : str
    what : str
        ``"numbers"``, or what it is that is not read.
    shape : tuple of int
        As the file says.
    """

    name: str
    what: str
    shape: tuple[int, ...]
    _values: Any = None  # of numbers: (position and length of the variable, compressed, head, dtype, bytes of values)


class MatFile:
    """A MATLAB 5 file, whose variables were listed and checked. A context manager.

    Parameters
    ----------
    path : str or path-like

    Attributes
    ----------
    variables : dict of str to Variable

    Raises
    ------
    FormatError
        If the file can't be opened, is of another version, or is damaged.
    """

    def __init__(self, path: StrPath) -> None:
        self._path = os.fsdecode(path)
        self._file = open_input(path)
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            self._whole: Any = self._file.read() if self._size <= _WHOLE_BYTES else None
            self._size = self._size if self._whole is None else len(self._whole)
            self.variables, self._twice = self._list()
        except OSError as reason:
            self._file.close()
            raise unreadable(path, reason) from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, names: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
        """Some of the arrays of numbers.

        Parameters
        ----------
        names : iterable of str, optional
            All by default.

        Returns
        -------
        dict of str to ndarray
            In the type in which they are stored, in Fortran's order; they may be read-only.

        Raises
        ------
        FormatError
            If one of them isn't of numbers or is in the file twice, if they inflate too far, or are damaged.
        """
        if names is None:
            names = [name for name, found in self.variables.items() if name and found.what == "numbers"]
        packed = inflated = total = 0
        arrays = {}
        for name in names:
            found = self.variables[name]
            if name in self._twice or found.what != "numbers":
                wrong = "stands in the file twice" if name in self._twice else f"holds {found.what}, not numbers"
                raise FormatError(f"the variable {wrong}", path=self._path, field=name)
            _, length, compressed, _, _, size = found._values
            total += size
            if total > MAX_BYTES:
                raise self._wrong(f"arrays of more than {MAX_BYTES:,} bytes", field=name)
            if compressed:
                packed, inflated = packed + length, inflated + max(size, 4 * prod(found.shape))  # as float32
                check_inflation(packed, inflated, path=self._path, field=name, held=True)
            try:
                arrays[name] = self._values(found)
            except OSError as reason:
                raise unreadable(self._path, reason, field=name) from None
        return arrays

    def _list(self) -> tuple[dict[str, Variable], set[str]]:
        """Name -> `Variable`, and the names that the file has more than once."""
        self._order = self._byte_order(self._bytes(0, 128))
        self._word = _WORDS[self._order]
        variables: dict[str, Variable] = {}
        twice: set[str] = set()
        position = 128
        for _ in range(_MAX_VARIABLES):
            if position == self._size:
                return variables, twice
            kind, length = self._words(self._bytes(position, 8))
            left = self._size - position - 8
            if length > left:
                raise self._wrong(
                    f"truncated: a variable at byte {position} takes {length:,} bytes, {left:,} are there"
                )
            found = self._usual(position + 8, length) if kind == _MATRIX else None
            found = found or self._variable(kind, length, position + 8)
            if found.name in variables:
                twice.add(found.name)
            variables[found.name] = found
            position += 8 + length
        raise self._wrong(f"more than {_MAX_VARIABLES} variables")

    def _byte_order(self, header: bytes) -> str:
        order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(header[124:128])
        if header.startswith(b"MATLAB 7.3"):
            raise self._wrong("MATLAB 7.3 is not read", remedy="Save it as version 7 (save -v7)")
        if order is None:
            raise self._wrong("not a MATLAB 5 file", remedy="Save it as version 7 (save -v7)")
        return order

    def _usual(self, position: int, length: int) -> Variable | None:
        """A matrix as the stages have it, in one look; None if it is anything else."""
        if self._whole is None or self._order != "<" or length < 56:
            return None
        six, eight, about, _, five, two, rows, columns, kind, size = _USUAL.unpack_from(self._whole, position)
        if (six, eight, five, two) != (6, 8, 5, 8) or not 6 <= about <= 15 or kind & 0xFFFF != 1:
            return None
        name, tag = (position + 36, position + 40) if kind >> 16 else (position + 40, position + 40 + -(-size // 8) * 8)
        size = kind >> 16 or size
        if not 0 < size <= 31 or (kind >> 16 and size > 4) or tag + 8 > position + length or rows < 1 or columns < 1:
            return None
        values, claimed, start = self._tag(tag)
        dtype = _LITTLE.get(values)
        if dtype is None or claimed != rows * columns * dtype.itemsize or start + claimed > position + length:
            return None
        name = self._whole[name : name + size].decode("latin-1")
        return Variable(name, "numbers", (rows, columns), (position, length, False, start - position, dtype, claimed))

    def _tag(self, position: int) -> tuple[int, int, int]:
        kind, length = self._word.unpack_from(self._whole, position)
        if kind >> 16:
            return kind & 0xFFFF, kind >> 16, position + 4
        return kind, length, position + 8

    def _variable(self, kind: int, length: int, position: int) -> Variable:
        """The variable whose content lies at a position."""
        data, compressed = self._bytes(position, min(length, _HEAD_BYTES)), kind == _COMPRESSED
        if compressed:
            try:
                data = zlib.decompressobj().decompress(data, _HEAD_BYTES)
            except zlib.error as error:
                raise self._wrong(f"damaged compressed data: {error}") from None
            kind, inside = self._words(data)
            data = data[8:]
        else:
            inside = length
        if kind != _MATRIX:
            raise self._wrong(f"a variable of the unknown type {kind}")
        head = _Head(data, self._order, self._wrong)
        (flags, _) = self._words(head.element(8))
        what = _CLASSES.get(flags & 0xFF)
        if what is None:  # a function or an object of a class: its head is another
            return Variable("", "an object", ())
        dimensions = head.element(4 * _MAX_DIMENSIONS)
        shape = struct.unpack(f"{self._order}{len(dimensions) // 4}i", dimensions[: len(dimensions) // 4 * 4])
        name = head.element(_MAX_NAME).decode("latin-1")
        if flags & _COMPLEX and what == "numbers":
            what = "complex numbers"
        if what != "numbers":
            return Variable(name, what, shape)
        values, claimed, start = head.tag()
        if values not in _TYPES:
            raise self._wrong(f"values of the unknown type {values}", field=name)
        dtype = np.dtype(self._order + _TYPES[values])
        expected = check_size(shape, dtype.itemsize, path=self._path, field=name)
        check_size(shape, 8, path=self._path, field=name)
        if claimed != expected or start + claimed > inside or (start % 8 and claimed > 4):
            raise self._wrong(f"the shape {shape} takes {expected:,} bytes, the file says {claimed:,}", field=name)
        return Variable(name, what, shape, (position, length, compressed, start, dtype, expected))

    def _values(self, variable: Variable) -> NDArray[Any]:
        position, length, compressed, start, dtype, size = variable._values
        if self._whole is not None and not compressed:
            values: NDArray[Any] = np.frombuffer(self._whole, dtype, size // dtype.itemsize, position + start)
            return values.reshape(variable.shape, order="F")
        raw = np.empty(size, np.uint8)
        if compressed:
            self._file.seek(position)
            try:
                filled = _fill(raw, _inflated(self._file, length, 8 + start))
            except zlib.error as error:
                raise self._wrong(f"damaged compressed data: {error}", field=variable.name) from None
        else:
            self._file.seek(position + start)
            filled = self._file.readinto(raw.data)
        if filled != size:
            raise self._wrong(f"truncated: {size:,} bytes of values, {filled:,} are there", field=variable.name)
        typed: NDArray[Any] = raw.view(dtype).reshape(variable.shape, order="F")
        return typed

    def _bytes(self, position: int, count: int) -> bytes:
        """Bytes of the file; fewer at its end."""
        if self._whole is not None:
            piece: bytes = self._whole[position : position + count]
            return piece
        self._file.seek(position)
        return self._file.read(count)

    def _words(self, data: bytes) -> tuple[int, int]:
        """The two integers that a tag, or the flags of an array, are."""
        if len(data) < 8:
            raise self._wrong("truncated within a tag")
        return self._word.unpack_from(data)

    def _wrong(self, message: str, **about: Any) -> FormatError:
        return FormatError(message, path=self._path, **about)


def _inflated(file: BinaryIO, length: int, skip: int) -> Iterator[bytes]:
    """Iterate over the inflated bytes of the next `length` bytes of a file, without the first `skip`."""
    inflate, left, data = zlib.decompressobj(), length, b""
    while not inflate.eof:
        if not data:
            data = file.read(min(left, _PIECE))
            left -= len(data)
            if not data:
                raise zlib.error("the stream ends early")
        piece = inflate.decompress(data, _PIECE)
        data = inflate.unconsumed_tail
        if skip:
            piece, skip = piece[skip:], skip - min(skip, len(piece))
        if piece:
            yield piece


def _fill(raw: NDArray[np.uint8], pieces: Iterable[bytes]) -> int:
    """Copy bytes into an array, up to the end of both; return how many fitted."""
    filled, padding = 0, 8
    for piece in pieces:
        part = piece[: len(raw) - filled]
        raw[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
        filled += len(part)
        padding -= len(piece) - len(part)
        if padding < 0:
            raise zlib.error("more values than the file says")
    return filled


class _Head:
    """Reads the elements at the head of a variable, one after the other."""

    def __init__(self, data: bytes, order: str, wrong: Callable[..., FormatError]) -> None:
        self._data, self._word, self._wrong, self._position = data, _WORDS[order], wrong, 0

    def tag(self) -> tuple[int, int, int]:
        """Type of the next element's values, its length, and where it starts."""
        if self._position + 8 > len(self._data):
            raise self._wrong("truncated within a tag")
        first, second = self._word.unpack_from(self._data, self._position)
        if first >> 16:  # a small element: length and type in four bytes, the values in the other four
            return first & 0xFFFF, first >> 16, self._position + 4
        return first, second, self._position + 8

    def element(self, most: int) -> bytes:
        """The bytes of the next element."""
        _, length, start = self.tag()
        small = start == self._position + 4
        if length > (4 if small else most) or start + length > len(self._data):
            raise self._wrong(f"an element of {length:,} bytes at the head of a variable")
        self._position = start + 4 if small else start + (length + 7) // 8 * 8
        return self._data[start : start + length]
