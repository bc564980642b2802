"""The ``.mat`` stages of ECG-FM's preprocessing: plain MATLAB 5, written with nothing compressed.

The bytes after the first 128 are those of ``scipy.io.savemat``. The header says no time, so that the same recording
gives the same file.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import StrPath
from ..errors import FormatError
from ..storage.mat import MatFile

__all__ = ["mat_bytes", "read_mat"]

_HEADER = b"MATLAB 5.0 MAT-file, written by ecgfm".ljust(116) + bytes(8) + b"\x00\x01IM"
_MATRIX, _INT8, _INT32, _UINT32 = 14, 1, 5, 6
# dtype -> (class of array, type of its values)
_CODES = {"<f8": (6, 9), "<f4": (7, 7), "<i2": (10, 3), "<i4": (12, 5), "<i8": (14, 12), "|u1": (9, 2)}


def mat_bytes(fields):
    """A MATLAB 5 file as a list of bytes-like pieces, to be written one after the other.

    Parameters
    ----------
    fields : dict
        Name (at most 31 characters) -> an integer, a float, or an array of up to two dimensions. A number becomes an
        array of shape (1, 1): int64 or float64.
    """
    pieces = [_HEADER]
    for name, value in fields.items():
        array = np.asarray(value)
        if array.dtype == bool or array.dtype.kind not in "fiu" or array.ndim > 2:
            raise TypeError(f"{name}: {array.dtype} of {array.ndim} dimensions can't be written")
        array = array.reshape((1, -1) if array.ndim < 2 else array.shape)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        kind, values = _CODES[array.dtype.str]
        data = array.T.tobytes() if not array.flags.f_contiguous else memoryview(array.T).cast("B")
        pieces += _matrix(name.encode(), array.shape, kind, values, data)
    return pieces


def _matrix(name, shape, kind, values, data):
    size = len(data)
    head = struct.pack("<IIII", _UINT32, 8, kind, 0) + struct.pack("<IIii", _INT32, 8, *shape)
    if len(name) <= 4:
        head += struct.pack("<HH4s", _INT8, len(name), name)
    else:
        head += struct.pack("<II", _INT8, len(name)) + name + bytes(-len(name) % 8)
    if 0 < size <= 4:
        head += struct.pack("<HH", values, size) + bytes(data) + bytes(4 - size)
        return [struct.pack("<II", _MATRIX, len(head)) + head]
    padding = bytes(-size % 8)
    head += struct.pack("<II", values, size)
    return [struct.pack("<II", _MATRIX, len(head) + size + len(padding)) + head, data, padding]


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


def number(fields, name, path: StrPath):
    """One number of a file that `read_mat` has read."""
    value = fields.get(name)
    if value is None or value.size != 1:
        raise FormatError("the file holds no such number", path=path, field=name)
    return value.item()
