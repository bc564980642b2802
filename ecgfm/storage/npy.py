"""Arrays in NumPy's ``.npy`` format. Nothing in a file is unpickled, and its header is held against its size."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy_format

from .._text import shown
from .._types import StrPath
from ..errors import Error, FormatError
from .atomic import writing
from .inputs import open_input, unreadable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["MAX_BYTES", "check_size", "map_array", "npy_header", "read_array", "read_header", "write_npy"]

#: The largest array that is read into memory, in bytes: a day of 12 leads at 500 Hz in float32 fits.
MAX_BYTES = 1 << 32

_MAX_DIMENSIONS = 32
_ROW_DIGITS = 21  # NumPy leaves room for a number of rows with as many
_MAX_HEADER = 10_000


def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any], *, last_comma: bool = True) -> bytes:
    """The head of a ``.npy`` file, byte for byte as NumPy writes it.

    It has the same length for any number of rows, so that it can be written anew when there are more.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    last_comma : bool
        Whether there is a comma behind the last entry. Arrays that grow have none.
    """
    text = repr({"descr": dtype.str, "fortran_order": False, "shape": shape})
    text = f"{text[:-1]}, }}" if last_comma else text
    room = _ROW_DIGITS - len(repr(shape[0])) if shape else 0
    size = (len(text) + room + 11) // 64 * 64 + 64
    return b"\x93NUMPY\x01\x00" + (size - 10).to_bytes(2, "little") + text.encode().ljust(size - 11) + b"\n"


def write_npy(path: StrPath, array: ArrayLike) -> None:
    """Write a whole ``.npy`` file.

    Not by ``np.save``, which on a full disk may leave the end of an array away without an error.
    """
    array = np.ascontiguousarray(array)
    with writing(path) as file:
        file.write(npy_header(array.shape, array.dtype))
        file.write(array.reshape(-1).view(np.uint8).data)


def check_size(
    shape: Sequence[int], itemsize: int, *, path: StrPath, field: str | None, most: int | None = MAX_BYTES
) -> int:
    """The bytes that an array takes, from a shape and an item size that a file claims.

    Parameters
    ----------
    most : int or None
        A larger one is refused; None: no limit (of what is mapped and not read).

    Raises
    ------
    FormatError
        If it is not a shape, or the array would be larger than is read.
    """
    size = int(itemsize)
    if len(shape) > _MAX_DIMENSIONS:
        raise FormatError(f"an array of {len(shape)} dimensions", path=path, field=field)
    for length in shape:
        if not isinstance(length, int) or isinstance(length, bool) or length < 0:
            raise FormatError(f"{shown(tuple(shape))} is not a shape", path=path, field=field)
        size *= length
    if most is not None and size > most:
        raise FormatError(
            f"an array of shape {shown(tuple(shape))} takes {size:,} bytes, more than the {most:,} that are read",
            path=path,
            field=field,
            remedy="Cut the recording into parts",
        )
    return size


#: NumPy parses headers with `ast`, of which CPython 3.11 counts the depth for all threads together: when two parse at
#: once, a good header may fail ("AST constructor recursion depth mismatch").
_parsing = threading.RLock()


def _renew_lock() -> None:
    """In a child of fork() the lock may be held by a thread that is not there."""
    global _parsing
    _parsing = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


def read_header(file: IO[bytes], *, path: StrPath, field: str | None) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and dtype, from the start of a stream of the ``.npy`` format.

    Raises
    ------
    FormatError
        If the header is damaged or the array holds anything but numbers and text.
    """
    try:
        version = npy_format.read_magic(file)
        with _parsing:
            if version == (1, 0):
                found = npy_format.read_array_header_1_0(file, max_header_size=_MAX_HEADER)
            elif version in ((2, 0), (3, 0)):  # 3.0 differs from 2.0 in allowing UTF-8 names of fields alone
                found = npy_format.read_array_header_2_0(_Cautious(file), max_header_size=_MAX_HEADER)
            else:
                raise ValueError(f"version {version} is not known")
    except OSError:
        raise
    except Exception as error:  # the header is Python text that NumPy parses: whatever that raises, it is damaged
        raise FormatError(f"a damaged .npy header: {_first_line(error)}", path=path, field=field) from None
    dtype = found[2]
    if dtype.hasobject or dtype.kind not in "iufbcUS":
        raise FormatError(
            f"the values are of type {str(dtype)[:100]}, which is not read",
            path=path,
            field=field,
            remedy="Save plain numbers (or text, for names)",
        )
    return found


def read_array(file: IO[bytes], size: int, *, path: StrPath, field: str | None, most: int = MAX_BYTES) -> NDArray[Any]:
    """The array in a stream of the ``.npy`` format that is `size` bytes long.

    The shape that its header claims is held against `size` before memory is asked for.

    Raises
    ------
    FormatError
        If the header is damaged, the array holds Python objects or is too large, or the stream is too short.
    """
    shape, fortran, dtype = read_header(file, path=path, field=field)
    expected = check_size(shape, dtype.itemsize, path=path, field=field, most=most)
    if expected > size:
        raise _truncated(shape, expected, size, path, field)
    data = np.empty(expected, dtype=np.uint8)
    filled = _fill(data, file)
    if filled != expected:
        raise _truncated(shape, expected, filled, path, field)
    try:
        return np.ndarray(shape, dtype, buffer=data, order="F" if fortran else "C")
    except (TypeError, ValueError) as error:
        raise FormatError(f"a damaged .npy header: {_first_line(error)}", path=path, field=field) from None


def map_array(path: StrPath, *, field: str | None = None, error: type[Error] = FormatError) -> NDArray[Any]:
    """The array of a ``.npy`` file of any size, mapped from the disk and read-only.

    Raises
    ------
    Error
        If the file can't be opened or isn't a regular one.
    FormatError
        If its header is damaged or its size isn't what the header says.
    """
    with open_input(path, error=error, field=field, sparse=True) as file:
        try:
            shape, fortran, dtype = read_header(file, path=path, field=field)
            start, size = file.tell(), os.fstat(file.fileno()).st_size
            expected = check_size(shape, dtype.itemsize, path=path, field=field, most=None)
            if expected > size - start:
                raise _truncated(shape, expected, size - start, path, field)
            if expected == 0:
                return np.zeros(shape, dtype)
            return np.memmap(file, dtype, "r", start, shape, "F" if fortran else "C")
        except FormatError:
            raise
        except OSError as reason:
            raise unreadable(path, reason, error=error, field=field) from None
        except (TypeError, ValueError, OverflowError) as reason:
            raise FormatError(f"a damaged .npy header: {_first_line(reason)}", path=path, field=field) from None


@dataclass(eq=False)
class _Cautious:
    """A stream that refuses to give more than a header may have, since NumPy asks for as much as the file says."""

    file: IO[bytes]

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise ValueError(f"a header of {size:,} bytes")
        return self.file.read(size)


def _truncated(shape: Sequence[int], expected: int, there: int, path: StrPath, field: str | None) -> FormatError:
    return FormatError(
        f"truncated: the shape {shown(tuple(shape))} takes {expected:,} bytes, the file has {there:,}",
        path=path,
        field=field,
    )


def _fill(data: NDArray[np.uint8], file: Any) -> int:
    """Read as many bytes as there are and fit; return how many. A zip gives them in pieces."""
    view, filled = data.data, 0
    while filled < len(view):
        count = file.readinto(view[filled:])
        if not count:
            break
        filled += count
    return filled


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
