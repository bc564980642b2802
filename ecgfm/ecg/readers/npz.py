"""NumPy's ``.npz``: a zip of arrays, one of them the signal. Nothing in a file is unpickled."""

import zipfile

import numpy as np

from ...errors import Error, FormatError
from ...storage.inputs import check_inflation, open_input
from ...storage.npy import read_array
from .common import LEAD_KEYS, RATE_KEYS, SIGNAL_KEYS, Format, first_key, make_record

__all__ = ["FORMAT"]

_MAX_MEMBERS = 1024


def _matches(head):
    return head.startswith(b"PK\x03\x04")


def _read(path, *, sampling_rate, leads):
    try:
        with open_input(path) as file, zipfile.ZipFile(file) as archive:
            key, signal, rate, names = _parts(archive, path)
    except (Error, OSError, MemoryError):
        raise
    except Exception as error:  # zipfile and its decompressors raise many things on a damaged archive
        raise FormatError(f"a damaged zip archive: {error or type(error).__name__}", path=path) from None
    return make_record(
        signal, path, field=key, rate=rate, given_rate=sampling_rate, leads=names, given_leads=leads
    )


def _parts(archive, path):
    """Name of the signal, the signal, its rate or None, its leads' names or None."""
    members = {info.filename[:-4]: info for info in archive.infolist() if info.filename.endswith(".npy")}
    if len(members) > _MAX_MEMBERS:
        raise FormatError(f"{len(members)} arrays; a recording has a few", path=path)
    key = first_key(SIGNAL_KEYS, members) or (next(iter(members)) if len(members) == 1 else None)
    if key is None:
        raise FormatError(
            f"no array is named {' or '.join(SIGNAL_KEYS)}; there are {', '.join(list(members)[:10]) or 'none'}",
            path=path,
            field="signal",
        )
    rate_key, leads_key = first_key(RATE_KEYS, members), first_key(LEAD_KEYS, members)
    rate = None if rate_key is None else _scalar(_array(archive, members[rate_key], path, rate_key), path, rate_key)
    names = None if leads_key is None else _names(_array(archive, members[leads_key], path, leads_key), path, leads_key)
    return key, _array(archive, members[key], path, key), rate, names


def _array(archive, info, path, key):
    check_inflation(info.compress_size, info.file_size, path=path, field=key)
    with archive.open(info) as member:
        return read_array(member, info.file_size, path=path, field=key)


def _scalar(array, path, key):
    if array.size != 1 or array.dtype.kind not in "iuf":
        raise FormatError(f"not one number but {array.dtype} of shape {array.shape}", path=path, field=key)
    return array.item()


def _names(array, path, key):
    if array.dtype.kind == "S":
        array = np.char.decode(array, "latin-1")
    if array.ndim != 1 or array.dtype.kind != "U":
        raise FormatError(f"not a list of names but {array.dtype} of shape {array.shape}", path=path, field=key)
    return array.tolist()


FORMAT = Format("NumPy .npz", (".npz",), _matches, _read)
