"""Arrays of numbers in MATLAB 5 files (``save -v6`` and ``-v7``): the one place where such files are read and written.

What is written is not compressed, and its bytes after the first 128 are those of ``scipy.io.savemat``. The header says
no time, so that the same recording gives the same file.

Every length is a claim until it was held against the file; no library sees the bytes. Text, cells, structs, sparse and
complex arrays are listed and not read as numbers.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np

from .._types import StrPath
from ..errors import FormatError
from .inputs import check_inflation, open_input, unreadable
from .mat_struct import parsed
from .npy import MAX_BYTES, check_size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from .mat_struct import Node

    _Buffer: TypeAlias = "bytes | memoryview"

__all__ = ["MatFile", "Variable", "mat_bytes", "number", "read_mat"]

_HEADER = b"MATLAB 5.0 MAT-file, written by ecgfm".ljust(116) + bytes(8) + b"\x00\x01IM"
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_WRITTEN = {"<f8": (6, 9), "<f4": (7, 7), "<i2": (10, 3), "<i4": (12, 5), "<i8": (14, 12), "|u1": (9, 2)}  # class, type
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


class _Place(NamedTuple):
    """Where the numbers of a variable lie: it itself from `position` on, its values `start` bytes into it."""

    position: int
    length: int
    compressed: bool
    start: int
    dtype: np.dtype[Any]
    size: int


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
    _place: _Place | None = None  # of numbers
    _span: tuple[int, int, bool] | None = None  # of what else is named: position, length, whether it is compressed


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
            self._whole = self._file.read() if self._size <= _WHOLE_BYTES else None
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
            if name in self._twice or found._place is None:
                wrong = "stands in the file twice" if name in self._twice else f"holds {found.what}, not numbers"
                raise self._wrong(f"the variable {wrong}", field=name)
            total += found._place.size
            if total > MAX_BYTES:
                raise self._wrong(f"arrays of more than {MAX_BYTES:,} bytes", field=name)
            if found._place.compressed:
                packed += found._place.length
                inflated += max(found._place.size, 4 * prod(found.shape))  # as float32
                check_inflation(packed, inflated, path=self._path, field=name, held=True)
            try:
                arrays[name] = self._values(found, found._place)
            except OSError as reason:
                raise unreadable(self._path, reason, field=name) from None
        return arrays

    def parts(self, name: str) -> Node:
        """What a struct, a cell array or a text holds, see `ecgfm.storage.mat_struct`.

        Raises
        ------
        FormatError
            If it is in the file twice, inflates too far, or is damaged.
        """
        span = self.variables[name]._span
        if name in self._twice or span is None:
            raise self._wrong("the variable stands in the file twice, or holds numbers", field=name)
        position, length, compressed = span
        if not compressed:
            return parsed(memoryview(self._bytes(position, length)), self._order, self._path, name)
        self._file.seek(position)
        try:
            head = zlib.decompressobj().decompress(self._bytes(position, min(length, _HEAD_BYTES)), 8)
            _, size = self._words(head)
            check_inflation(length, size, path=self._path, field=name, held=True)
            raw = np.empty(size, np.uint8)
            self._file.seek(position)
            filled = _fill(raw, _inflated(self._file, length, 8))
        except zlib.error as error:
            raise self._wrong(f"damaged compressed data: {error}", field=name) from None
        if filled != size:
            raise self._wrong(f"truncated: {size:,} bytes of values, {filled:,} are there", field=name)
        return parsed(memoryview(raw), self._order, self._path, name)

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
        values, claimed, start = _tag(self._word, self._whole, tag)
        dtype = _LITTLE.get(values)
        if dtype is None or claimed != rows * columns * dtype.itemsize or start + claimed > position + length:
            return None
        text = self._whole[name : name + size].decode("latin-1")
        place = _Place(position, length, False, start - position, dtype, claimed)
        return Variable(text, "numbers", (rows, columns), place)

    def _variable(self, kind: int, length: int, position: int) -> Variable:
        """The variable whose content lies at a position."""
        data, compressed, inside = self._bytes(position, min(length, _HEAD_BYTES)), kind == _COMPRESSED, length
        if compressed:
            try:
                data = zlib.decompressobj().decompress(data, _HEAD_BYTES)
            except zlib.error as error:
                raise self._wrong(f"damaged compressed data: {error}") from None
            kind, inside = self._words(data)
            data = data[8:]
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
            return Variable(name, what, shape, None, (position, length, compressed))
        values, claimed, start = head.tag()
        if values not in _TYPES:
            raise self._wrong(f"values of the unknown type {values}", field=name)
        dtype = np.dtype(self._order + _TYPES[values])
        expected = check_size(shape, dtype.itemsize, path=self._path, field=name)
        check_size(shape, 8, path=self._path, field=name)
        if claimed != expected or start + claimed > inside or (start % 8 and claimed > 4):
            raise self._wrong(f"the shape {shape} takes {expected:,} bytes, the file says {claimed:,}", field=name)
        return Variable(name, what, shape, _Place(position, length, compressed, start, dtype, expected))

    def _values(self, variable: Variable, place: _Place) -> NDArray[Any]:
        if self._whole is not None and not place.compressed:
            count, at = place.size // place.dtype.itemsize, place.position + place.start
            values: NDArray[Any] = np.frombuffer(self._whole, place.dtype, count, at)
            return values.reshape(variable.shape, order="F")
        raw = np.empty(place.size, np.uint8)
        self._file.seek(place.position + (0 if place.compressed else place.start))
        try:
            pieces = _inflated(self._file, place.length, 8 + place.start)
            filled = _fill(raw, pieces) if place.compressed else self._file.readinto(raw.data)
        except zlib.error as error:
            raise self._wrong(f"damaged compressed data: {error}", field=variable.name) from None
        if filled != place.size:
            raise self._wrong(f"truncated: {place.size:,} bytes of values, {filled:,} are there", field=variable.name)
        typed: NDArray[Any] = raw.view(place.dtype).reshape(variable.shape, order="F")
        return typed

    def _bytes(self, position: int, count: int) -> bytes:
        """Bytes of the file; fewer at its end."""
        if self._whole is not None:
            return self._whole[position : position + count]
        self._file.seek(position)
        return self._file.read(count)

    def _words(self, data: bytes) -> tuple[int, int]:
        """The two integers that a tag, or the flags of an array, are."""
        if len(data) < 8:
            raise self._wrong("truncated within a tag")
        return self._word.unpack_from(data)

    def _wrong(self, message: str, **about: Any) -> FormatError:
        return FormatError(message, path=self._path, **about)


def _tag(word: struct.Struct, data: bytes, at: int) -> tuple[int, int, int]:
    """Type of an element's values, its length, and where it starts."""
    kind, length = word.unpack_from(data, at)
    if kind >> 16:  # a small element: length and type in four bytes, the values in the other four
        return kind & 0xFFFF, kind >> 16, at + 4
    return kind, length, at + 8


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
        return _tag(self._word, self._data, self._position)

    def element(self, most: int) -> bytes:
        """The bytes of the next element."""
        _, length, start = self.tag()
        small = start == self._position + 4
        if length > (4 if small else most) or start + length > len(self._data):
            raise self._wrong(f"an element of {length:,} bytes at the head of a variable")
        self._position = start + 4 if small else start + (length + 7) // 8 * 8
        return self._data[start : start + length]


def read_mat(path: StrPath) -> dict[str, NDArray[Any]]:
    """The arrays of numbers in a ``.mat`` file.

    Returns
    -------
    dict
        Name -> array of two dimensions or more, in the type in which it is stored.

    Raises
    ------
    FormatError
        If the file is damaged or no such file.
    """
    with MatFile(path) as file:
        return {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in file.read().items()}


def number(fields: Mapping[str, NDArray[Any]], name: str, path: StrPath) -> Any:
    """One number of a file that `read_mat` has read."""
    value = fields.get(name)
    if value is None or value.size != 1:
        raise FormatError("the file holds no such number", path=path, field=name)
    return value.item()


def mat_bytes(fields: Mapping[str, object]) -> list[_Buffer]:
    """A MATLAB 5 file as a list of bytes-like pieces, to be written one after the other.

    Parameters
    ----------
    fields : dict
        Name (at most 31 characters) -> an integer, a float, or an array of up to two dimensions. A number becomes an
        array of shape (1, 1): int64 or float64.
    """
    pieces: list[_Buffer] = [_HEADER]
    for name, value in fields.items():
        array = np.asarray(value)
        if array.dtype == bool or array.dtype.kind not in "fiu" or array.ndim > 2:
            raise TypeError(f"{name}: {array.dtype} of {array.ndim} dimensions can't be written")
        array = array.reshape((1, -1) if array.ndim < 2 else array.shape)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        kind, values = _WRITTEN[array.dtype.str]
        data = array.T.tobytes() if not array.flags.f_contiguous else memoryview(array.T).cast("B")
        flags, shape = struct.pack("<II", kind, 0), struct.pack("<ii", *array.shape)
        head = [*_element(_UINT32, flags), *_element(_INT32, shape), *_element(_INT8, name.encode())]
        matrix = [b"".join(head), *_element(values, data)]
        pieces += [struct.pack("<II", _MATRIX, sum(map(len, matrix))), *matrix]
    return pieces


def _element(kind: int, data: _Buffer) -> list[_Buffer]:
    """The tag of an element, its values, and what fills eight bytes up."""
    size = len(data)
    if 0 < size <= 4:
        return [struct.pack("<HH4s", kind, size, bytes(data))]
    return [struct.pack("<II", kind, size), data, bytes(-size % 8)]
