"""NumPy's ``.npy``: one array. Nothing in a file is unpickled."""

import os

from ..storage.inputs import open_input
from ..storage.npy import read_array
from .common import Format, make_record

__all__ = ["FORMAT"]

_MAGIC = b"\x93NUMPY"


def _matches(head):
    return head.startswith(_MAGIC)


def _read(path, *, sampling_rate, leads):
    with open_input(path) as file:
        array = read_array(file, os.fstat(file.fileno()).st_size, path=path, field="signal")
    return make_record(
        array, path, field="signal", rate=None, given_rate=sampling_rate, leads=None, given_leads=leads, units=None
    )


FORMAT = Format("NumPy .npy", (".npy",), _matches, _read)
