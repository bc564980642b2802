"""NumPy's ``.npz``: a zip of arrays, one of them the signal. Nothing in a file is unpickled."""

from __future__ import annotations

import os
import zipfile
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import short, shown
from ..ecg.record import Record
from ..errors import FormatError
from ..signal.leads import listed
from ..storage.inputs import FREE_BYTES, check_inflation, open_input
from ..storage.npy import read_array, read_header
from .common import (
    LEAD_KEYS,
    RATE_KEYS,
    SIGNAL_KEYS,
    UNIT_KEYS,
    Format,
    Given,
    first_key,
    in_millivolts,
    make_record,
    parsing,
)

__all__ = ["FORMAT"]

_MAX_MEMBERS, _MAX_NAMES, _NAME, _LISTED = 1024, 4096, 64, 5
_AS_CSV = "Save the table as CSV"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # as NumPy writes; others inflate without bounds in one step


def _read(path: str, given: Given) -> Record:
    with open_input(path) as file:
        with parsing(path, "zip"):
            archive = zipfile.ZipFile(file)
        with archive:
            key, signal, rate, names, unit = _parts(archive, os.fstat(file.fileno()).st_size, path)
    signal = in_millivolts(signal, unit, path, "unit")
    return make_record(signal, path, given, field=key, rate=rate, leads=names, units=unit)


def _parts(
    archive: zipfile.ZipFile, size: int, path: str
) -> tuple[str, NDArray[Any], float | None, list[str] | None, str | None]:
    """Name of the signal, the signal, its rate or None, its leads' names or None, its unit or None."""
    found = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    if len(found) > _MAX_MEMBERS:
        raise FormatError(f"{len(found)} arrays; a recording has a few", path=path)
    if not found:
        raise _no_arrays([info.filename for info in archive.infolist()[:_LISTED]], path)
    members = {info.filename[:-4]: info for info in found}
    if len(members) < len(found):
        raise FormatError("two arrays of one name", path=path)
    key = first_key(SIGNAL_KEYS, members) or (next(iter(members)) if len(members) == 1 else None)
    if key is None:
        raise FormatError(
            f"no array is named {' or '.join(SIGNAL_KEYS)}; there are {listed(list(members)[:10]) or 'none'}",
            path=path,
            field="signal",
        )
    rate_key, leads_key = first_key(RATE_KEYS, members), first_key(LEAD_KEYS, members)
    unit_key = first_key(UNIT_KEYS, members)
    wanted = [name for name in (rate_key, leads_key, unit_key, key) if name is not None]
    arrays = {name: _array(archive, members[name], size, path, name) for name in wanted}
    rate = None if rate_key is None else _scalar(arrays[rate_key], path, rate_key)
    leads = None if leads_key is None else _names(arrays[leads_key], path, leads_key)
    unit = None if unit_key is None else _names(arrays[unit_key].reshape(-1), path, unit_key)
    if unit is not None and len(unit) != 1:
        raise FormatError(f"{len(unit)} units; one for all leads is read", path=path, field=unit_key)
    return key, arrays[key], rate, leads, None if unit is None else unit[0]


def _no_arrays(names: list[str], path: str) -> FormatError:
    """The error on another kind of zip archive, by the names of what is in it."""
    if "[Content_Types].xml" in names:
        return FormatError("a spreadsheet or another office document and no NumPy .npz", path=path, remedy=_AS_CSV)
    there = listed(short(name, 60) for name in names) or "nothing"
    return FormatError(f"a zip archive and no NumPy .npz: it holds {there}", path=path, remedy="Unpack it first")


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int, path: str, key: str) -> NDArray[Any]:
    if info.compress_type not in _METHODS:
        raise FormatError(
            f"the compression method {info.compress_type} is not read",
            path=path,
            field=key,
            remedy="Write it with numpy.savez or savez_compressed",
        )
    if info.flag_bits & 1:
        raise FormatError("the archive is encrypted", path=path, field=key)
    packed = min(info.compress_size, size)
    check_inflation(packed, info.file_size, path=path, field=key, held=True)
    if info.compress_type != zipfile.ZIP_STORED and info.file_size > FREE_BYTES // 4:
        with parsing(path, "zip"), archive.open(info) as member:
            shape, _, _ = read_header(member, path=path, field=key)
        check_inflation(packed, 4 * prod(shape), path=path, field=key, held=True)  # it becomes float32
    with parsing(path, "zip"), archive.open(info) as member:
        return read_array(member, info.file_size, path=path, field=key)


def _scalar(array: NDArray[Any], path: str, key: str) -> Any:
    if array.size != 1 or array.dtype.kind not in "iuf":
        raise FormatError(f"not one number but {array.dtype} of shape {array.shape}", path=path, field=key)
    return array.item()


def _names(array: NDArray[Any], path: str, key: str) -> list[str]:
    """The names of the leads; of long ones the beginning."""
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise FormatError(f"not a list of names but {array.dtype} of shape {array.shape}", path=path, field=key)
    if len(array) > _MAX_NAMES:
        raise FormatError(f"{len(array):,} names of leads; at most {_MAX_NAMES:,} are read", path=path, field=key)
    if array.dtype.kind == "S":
        return [name[:_NAME].decode("latin-1") for name in array.tolist()]
    width = array.dtype.itemsize // 4
    points = np.ascontiguousarray(array).view(np.uint8).view(array.dtype.byteorder.replace("|", "=") + "u4")
    points = points.reshape(len(array), width)[:, :_NAME]
    impossible = (points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))
    if impossible.any():
        raise FormatError(f"a character of the number {shown(points[impossible][0])}", path=path, field=key)
    return ["".join(map(chr, row)).rstrip("\0") for row in points.tolist()]


FORMAT = Format("NumPy .npz", (".npz",), lambda head: head.startswith(b"PK\x03\x04"), _read)
