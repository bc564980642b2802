"""The ``.mat`` stages of ECG-FM's preprocessing, written and read without scipy: plain MATLAB 5, nothing compressed.

The bytes after the first 128 are those of ``scipy.io.savemat``. The header says no time, so that the same recording
gives the same file.
"""

import os
import struct

import numpy as np

from ..errors import FormatError

__all__ = ["mat_bytes", "read_mat"]

_HEADER = b"MATLAB 5.0 MAT-file, written by ecgfm".ljust(116) + bytes(8) + b"\x00\x01IM"
_MATRIX, _INT8, _INT32, _UINT32 = 14, 1, 5, 6
# dtype -> (class of array, type of its values)
_CODES = {"<f8": (6, 9), "<f4": (7, 7), "<i2": (10, 3), "<i4": (12, 5), "<i8": (14, 12), "|u1": (9, 2)}
_DTYPES = {codes: np.dtype(name) for name, codes in _CODES.items()}


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


def read_mat(path):
    """The arrays of a ``.mat`` file.

    Files as the stages of the preprocessing have them are read here, with every length checked; for others (compressed
    ones, other types) scipy is asked.

    Returns
    -------
    dict
        Name -> array of two dimensions; it may be read-only.

    Raises
    ------
    FormatError
        If the file is damaged or no such file.
    MissingExtraError
        If scipy would be needed and is not installed.
    """
    path = os.fsdecode(path)
    with open(path, "rb") as file:
        data = file.read()
    found = _plain(data)
    return _by_scipy(path) if found is None else found


def _plain(data):
    """The arrays of a file of which nothing is unusual, or None."""
    if len(data) < 136 or data[124:128] != b"\x00\x01IM":
        return None
    found, at = {}, 128
    while at < len(data):
        if at + 48 > len(data):
            return None
        kind, length, flags, eight, about, _, ints, size, rows, columns = struct.unpack_from("<10I", data, at)
        end = at + 8 + length
        if (kind, flags, eight, ints, size) != (_MATRIX, _UINT32, 8, _INT32, 8) or about > 0xFF or end > len(data):
            return None
        name, start = _text(data, at + 40)
        values, held, start = _tag(data, start)
        dtype = _DTYPES.get((about, values))
        if dtype is None or rows >> 31 or columns >> 31:
            return None
        if held != rows * columns * dtype.itemsize or start + held > end:
            return None
        array = np.frombuffer(data, dtype, rows * columns, start).reshape((columns, rows)).T
        found[name] = array.astype(dtype.newbyteorder("="), copy=False)
        at = end
    return found


def _tag(data, at):
    """(type, bytes, where the values start) of the element at a position."""
    kind, length = struct.unpack_from("<II", data, at)
    if kind >> 16:
        return kind & 0xFFFF, kind >> 16, at + 4
    return kind, length, at + 8


def _text(data, at):
    kind, length, start = _tag(data, at)
    after = at + 8 if start == at + 4 else start + (length + 7) // 8 * 8
    if kind != _INT8 or length > 63 or after + 8 > len(data):
        return "", len(data) - 8
    return data[start : start + length].decode("latin-1"), after


def _by_scipy(path):
    from ..ecg.readers.common import optional, parsing
    from ..ecg.readers.mat import check_variables

    library = optional("scipy.io", path, ".mat files")
    names = list(check_variables(path))
    with parsing(path, ".mat"):
        found = library.loadmat(path, variable_names=names)
        return {name: found[name] for name in names}


def number(fields, name, path):
    """One number of a file that `read_mat` has read."""
    value = fields.get(name)
    if value is None or value.size != 1:
        raise FormatError("the file holds no such number", path=path, field=name)
    return value.item()
