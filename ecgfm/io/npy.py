"""NumPy's ``.npy``: one array. Nothing in a file is unpickled."""

from __future__ import annotations

import os

from ..ecg.record import Record
from ..storage.inputs import open_input
from ..storage.npy import read_array
from .common import Format, Given, make_record

__all__ = ["FORMAT"]


def _read(path: str, given: Given) -> Record:
    with open_input(path) as file:
        array = read_array(file, os.fstat(file.fileno()).st_size, path=path, field="signal")
    return make_record(array, path, given, units=None)


FORMAT = Format("NumPy .npy", (".npy",), lambda head: head.startswith(b"\x93NUMPY"), _read)
