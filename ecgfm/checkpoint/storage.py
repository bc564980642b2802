"""Tensors that stay in the file until they are asked for."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .._types import StrPath
from ..errors import CheckpointError
from ..storage.inputs import open_input

__all__ = ["DTYPES", "Deflated", "File", "Held", "Stored", "Tensor", "held_tensor", "raw_values"]

# Name -> (NumPy type that holds the raw values, bytes). bfloat16 has no NumPy type: its raw values are the upper halves
# of float32 numbers.
DTYPES = {
    "float64": ("f8", 8),
    "float32": ("f4", 4),
    "float16": ("f2", 2),
    "bfloat16": ("u2", 2),
    "int64": ("i8", 8),
    "int32": ("i4", 4),
    "int16": ("i2", 2),
    "int8": ("i1", 1),
    "uint8": ("u1", 1),
    "bool": ("u1", 1),
    "complex64": ("c8", 8),
    "complex128": ("c16", 16),
}
FLOATS = ("float64", "float32", "float16", "bfloat16")
MAX_DIMENSIONS = 16
_PIECE = 1 << 20


class File:
    """An open file, of which bytes are read when they are asked for: it may be cut short meanwhile.

    Parameters
    ----------
    path : path-like
        A regular file that is not empty.

    Raises
    ------
    CheckpointError
        If it can't be opened, is empty, or is not a regular file.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = path
        self._file: BinaryIO | None = open_input(path, error=CheckpointError)
        self.size: int = os.fstat(self._file.fileno()).st_size
        if self.size == 0:
            self.close()
            raise CheckpointError("the file is empty", path=path)

    def read(self, start: int, length: int) -> NDArray[np.uint8]:
        """The bytes of a place in the file, all of them.

        Raises
        ------
        CheckpointError
            If the file was closed, or has become shorter.
        """
        if self._file is None:
            raise CheckpointError("the file has been closed", path=self.path)
        found, filled = np.empty(length, np.uint8), 0
        while filled < length:  # one call reads at most 2 GB
            try:
                held = os.preadv(self._file.fileno(), [found.data[filled:]], start + filled)
            except OSError as error:
                raise CheckpointError(f"can't be read: {error.strerror}", path=self.path) from None
            if not held:
                raise CheckpointError("the file was cut short while it was read", path=self.path)
            filled += held
        return found

    def __getitem__(self, part: slice) -> bytes:
        """A slice of the bytes of the file, as of `bytes`: what lies beyond its end is left out."""
        start, stop, _ = part.indices(self.size)
        return self.read(start, max(stop - start, 0)).tobytes()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


class Stored:
    """Bytes that are in the file as they are."""

    def __init__(self, file: File, start: int | None, length: int) -> None:
        self.file, self.length = file, length
        self.start: int = -1 if start is None else start

    def view(self, first: int = 0, length: int | None = None) -> NDArray[np.uint8]:
        """ndarray: some of the bytes, read anew each time."""
        return self.file.read(self.start + first, self.length - first if length is None else length)

    def pieces(self) -> Iterator[memoryview]:
        """All bytes, some at a time."""
        for at in range(0, self.length, _PIECE):
            yield self.view(at, min(_PIECE, self.length - at)).data

    def release(self, first: int = 0, length: int | None = None) -> None:
        """Nothing is kept."""


class Held:
    """Bytes in memory."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._bytes = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self.length = self._bytes.size

    def view(self, first: int = 0, length: int | None = None) -> NDArray[np.uint8]:
        """ndarray: some of the bytes."""
        return self._bytes[first : None if length is None else first + length]

    def release(self, first: int = 0, length: int | None = None) -> None:
        """They stay."""


class Deflated:
    """Bytes that a zip archive holds deflated; inflated when they are first asked for, to at most `length` bytes."""

    def __init__(self, file: File, start: int, packed: int, length: int, crc: int, name: str) -> None:
        self.file, self.start, self.packed, self.length, self.crc, self.name = file, start, packed, length, crc, name
        self._bytes: bytearray | None = None

    def view(self, first: int = 0, length: int | None = None) -> NDArray[np.uint8]:
        """ndarray: some of the bytes."""
        if self._bytes is None:
            self._bytes = self._inflate()
        return np.frombuffer(self._bytes, np.uint8)[first : None if length is None else first + length]

    def _inflate(self) -> bytearray:
        made, at = bytearray(self.length), 0
        for piece in self.pieces():
            made[at : at + len(piece)] = piece
            at += len(piece)
        if self.crc and zlib.crc32(made) != self.crc:
            raise CheckpointError("the checksum is wrong: the file is damaged", path=self.file.path, field=self.name)
        return made

    def pieces(self) -> Iterator[bytes]:
        """The inflated bytes in pieces; at the end an error unless there were as many as the archive states."""
        inflater, made, at, stop, pending = zlib.decompressobj(-15), 0, self.start, self.start + self.packed, b""
        try:
            while not inflater.eof and made <= self.length and (pending or at < stop):
                if not pending:
                    pending = self.file[at : min(at + _PIECE, stop)]
                    at += len(pending)
                piece = inflater.decompress(pending, _PIECE)
                pending, made = inflater.unconsumed_tail, made + len(piece)
                yield piece
            rest = inflater.flush() if made <= self.length and not pending else b""  # what it held back, a few bytes
            yield rest
        except zlib.error as error:
            raise CheckpointError(
                f"the compressed data is damaged: {error}", path=self.file.path, field=self.name
            ) from None
        if made + len(rest) != self.length or not inflater.eof or inflater.unused_data or pending or at != stop:
            raise CheckpointError(
                f"the compressed data does not inflate to the {self.length} bytes that the archive states",
                path=self.file.path,
                field=self.name,
            )

    def release(self, first: int = 0, length: int | None = None) -> None:
        # Where many tensors are parts of one storage, it would be inflated again for each.
        if length in (None, self.length):
            self._bytes = None


class Tensor:
    """One tensor of a file. ``np.asarray(tensor)`` gives its values as float32.

    The values are read, or inflated, when they are asked for. float16 and bfloat16 are widened exactly; float64 is
    rounded.

    Attributes
    ----------
    name : str
        The name in the file, or a substitute.
    shape : tuple of int
    kind : str
        Name of the type of the values in the file.
    dtype : numpy.dtype or str
        The same as a NumPy type; the text ``"bfloat16"`` for that type, which NumPy lacks.
    scales : (Tensor, Tensor) or None
        Of int8 numbers (rows, columns) that stand for real ones, float32: each is multiplied by that of its row, then
        by that of its column.
    """

    scales: tuple[Tensor, Tensor] | None = None

    def __init__(
        self,
        source: Stored | Deflated | Held,
        kind: str,
        shape: Sequence[int],
        *,
        offset: int = 0,
        strides: Sequence[int] | None = None,
        count: int | None = None,
        big_endian: bool = False,
        path: StrPath | None = None,
        name: str = "tensor",
    ) -> None:
        """`offset`, `strides` and `count` (the storage's length) are in elements; they are checked here."""
        self.source, self.kind, self.path, self.name = source, kind, path, name
        code, self._itemsize = DTYPES[kind]
        self._raw = np.dtype((">" if big_endian else "<") + code)
        if max(len(shape), 0 if strides is None else len(strides)) > MAX_DIMENSIONS:
            raise self._error(f"it claims more than {MAX_DIMENSIONS} dimensions")
        self.shape = tuple(shape)
        self._offset = offset
        self._strides = _contiguous(self.shape) if strides is None else tuple(strides)
        self._check(source.length // self._itemsize if count is None else count)

    def _check(self, count: int) -> None:
        numbers = (*self.shape, *self._strides, self._offset)
        if any(type(n) is not int or n < 0 for n in numbers):
            raise self._error("a size, stride or offset is not a whole number of at least 0")
        if len(self.shape) != len(self._strides):
            raise self._error(f"{len(self.shape)} sizes and {len(self._strides)} strides are not those of a tensor")
        self.size = math.prod(self.shape)
        if count * self._itemsize > self.source.length:
            raise self._error(f"the storage claims {count} elements and holds {self.source.length} bytes")
        if self.size == 0:
            return
        last = self._offset + sum((n - 1) * step for n, step in zip(self.shape, self._strides))
        if last >= count:
            raise self._error(f"shape {_text(self.shape)} reaches beyond the {count} elements of the storage")
        if self.size > count:
            raise self._error(f"shape {_text(self.shape)} repeats the {count} elements of the storage")

    def _error(self, message: str) -> CheckpointError:
        return CheckpointError(message, path=self.path, field=self.name)

    @property
    def dtype(self) -> np.dtype[Any] | str:
        return self.kind if self.kind == "bfloat16" else np.dtype(self.kind)

    @property
    def is_float(self) -> bool:
        return self.kind in FLOATS or self.scales is not None

    def scaled(self, scales: tuple[Tensor, Tensor] | None) -> Tensor:
        """The same numbers with other scales, or without."""
        made = copy(self)
        made.scales = scales
        return made

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """int: bytes of the values in the file's type."""
        return self.size * self._itemsize

    def _extent(self) -> tuple[int, int]:
        """First byte in the storage, and how many bytes the tensor spans."""
        span = 0 if self.size == 0 else 1 + sum((n - 1) * step for n, step in zip(self.shape, self._strides))
        return self._offset * self._itemsize, span * self._itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a tensor without dimensions has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, shape={self.shape}, dtype={self.kind})"

    def raw(self) -> NDArray[Any]:
        """The values as they are in the file, read-only; bfloat16 as uint16."""
        if self.size == 0:
            return np.empty(self.shape, self._raw)
        flat = self.source.view(*self._extent()).view(self._raw)
        strides = tuple(step * self._itemsize for step in self._strides)
        return np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        raw = self.raw()
        if self.scales is not None:
            of_row, of_column = map(np.asarray, self.scales)
            with np.errstate(all="ignore"):  # they may be NaN or infinite
                values = raw * of_row[:, None] * of_column
        elif self.kind == "bfloat16":
            wide = raw.astype(np.uint32)
            wide <<= 16
            values = wide.view(np.float32)
        elif self.kind == "float32" and raw.dtype.isnative and raw.flags.aligned and raw.flags.c_contiguous:
            values = raw
        else:
            with np.errstate(over="ignore"):
                values = np.array(raw, np.float32) if self.is_float else np.array(raw, np.dtype(self.kind))
        if dtype is not None:
            values = values.astype(dtype, copy=False)
        if copy is False and values is not raw:
            raise ValueError(f"tensor {self.name} can't be had as {values.dtype} without a copy")
        return values.copy() if copy and values is raw else values

    def release(self) -> None:
        """Give back the memory of what was inflated; asking for the values again inflates it again."""
        self.source.release(*self._extent())


def held_tensor(name: str, numbers: NDArray[Any], *scales: NDArray[np.float32] | None) -> Tensor:
    """A Tensor in memory: float32, uint16 that hold bfloat16, or int8 with the scales of rows and columns."""
    kind = "bfloat16" if numbers.dtype == np.uint16 else numbers.dtype.name
    made = Tensor(Held(numbers), kind, numbers.shape, name=name)
    there = [held_tensor(name, each) for each in scales if each is not None]
    return made.scaled((there[0], there[1])) if there else made


def raw_values(tensor: Any, lazy: bool = False) -> tuple[str, Any]:
    """(type's name, contiguous little-endian values) of a Tensor, an array or a number; bfloat16 values as uint16.

    Numbers with scales come as the float32 that they stand for. With `lazy` the values are left out.
    """
    if isinstance(tensor, Tensor) and tensor.scales is not None:
        return "float32", None if lazy else np.asarray(tensor)
    if isinstance(tensor, Tensor):
        if lazy:
            return tensor.kind, None
        kind, values = tensor.kind, tensor.raw()
    else:
        values = np.asarray(tensor)
        kind = values.dtype.name
    # ascontiguousarray would give a number without dimensions one dimension.
    return kind, np.asarray(values, values.dtype.newbyteorder("<"), order="C")


def _contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def _text(shape: Sequence[int]) -> str:
    return "(" + ", ".join(str(n)[:30] for n in shape) + ")"
