"""NumPy's ``.npy``: one array. Nothing in a file is unpickled."""

import os

import numpy as np
from numpy.lib import format as npy_format

from ...errors import FormatError
from .common import Format, check_size, make_record

__all__ = ["FORMAT", "read_array"]

_MAGIC = b"\x93NUMPY"


def _matches(head):
    return head.startswith(_MAGIC)


def _read(path, *, sampling_rate, leads):
    with open(path, "rb") as file:
        array = read_array(file, os.fstat(file.fileno()).st_size, path=path, field="signal")
    return make_record(
        array, path, field="signal", rate=None, given_rate=sampling_rate, leads=None, given_leads=leads
    )


def read_array(file, size, *, path, field):
    """The array in a stream of the ``.npy`` format that is `size` bytes long.

    The shape that its header claims is held against `size` before memory is asked for.

    Raises
    ------
    FormatError
        If the header is damaged, the array holds Python objects or is too large, or the stream is too short.
    """
    try:
        version = npy_format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = npy_format.read_array_header_1_0(file)
        elif version in ((2, 0), (3, 0)):  # 3.0 differs from 2.0 in allowing UTF-8 names of fields alone
            shape, fortran, dtype = npy_format.read_array_header_2_0(file)
        else:
            raise ValueError(f"version {version} is not known")
    except OSError:
        raise
    except Exception as error:  # the header is Python text that NumPy parses: whatever that raises, it is damaged
        raise FormatError(f"a damaged .npy header: {_first_line(error)}", path=path, field=field) from None
    if dtype.hasobject or dtype.kind not in "iufbcUS":
        raise FormatError(
            f"the values are of type {dtype}, which is not read",
            path=path,
            field=field,
            remedy="Save plain numbers (or text, for names)",
        )
    expected = check_size(shape, dtype.itemsize, path=path, field=field)
    if expected > size:
        raise FormatError(
            f"truncated: the shape {shape} takes {expected:,} bytes, the file has {size:,}", path=path, field=field
        )
    data = np.empty(expected, dtype=np.uint8)
    filled = _fill(data, file)
    if filled != expected:
        raise FormatError(
            f"truncated: the shape {shape} takes {expected:,} bytes, {filled:,} are there", path=path, field=field
        )
    try:
        return np.ndarray(shape, dtype, buffer=data, order="F" if fortran else "C")
    except (TypeError, ValueError) as error:
        raise FormatError(f"a damaged .npy header: {_first_line(error)}", path=path, field=field) from None


def _fill(data, file):
    """Read as many bytes as there are and fit; return how many. A zip gives them in pieces."""
    view, filled = memoryview(data), 0
    while filled < len(view):
        count = file.readinto(view[filled:])
        if not count:
            break
        filled += count
    return filled


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


FORMAT = Format("NumPy .npy", (".npy",), _matches, _read)
