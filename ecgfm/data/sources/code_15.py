"""CODE-15%: ``exams.csv`` and ``exams_part0.hdf5`` ... with ``tracings`` (n, 4096, 12) and ``exam_id`` (n)."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._text import shown
from ...errors import Error, FormatError, SignalError
from ...io import hdf5
from ...io.common import parsing
from ...signal.leads import LEADS
from ...storage.rows import read_rows
from .base import Located, Recording, Rows, Source, check_columns

__all__ = ["Code15"]

_RATE = 400
_SUFFIX = ".hdf5"


class Code15(Source):
    """CODE-15%: exams.csv and the HDF5 files exams_part0.hdf5 and so on."""

    name = "code_15"
    located_columns = (*Source.located_columns, "hdf_ind")

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], Any] = {}  # (process, path) -> the open file's tracings and exam numbers

    def records(self, raw_root: Any, processed_root: Any, **own: Any) -> Rows:
        """The rows of ``exams.csv``."""
        return read_rows(os.path.join(raw_root, "exams.csv"), ("exam_id",))

    def locate(self, raw_root: Any, columns: Collection[str], *, reading: bool = True) -> Located:
        check_columns(columns, ["exam_id"], raw_root)
        parts = _Parts(raw_root) if reading else None

        def located(row: Mapping[str, Any]) -> dict[str, Any]:
            number = row["exam_id"]
            found = {
                "path": number,
                "save_file": f"{self.name}_{number}.mat",
                "source": self.name,
                "dataset": self.name,
            }
            if parts is not None:
                try:
                    found["trace_file"], found["hdf_ind"] = parts.find(number, row.get("trace_file"))
                except Error as error:
                    found["error"] = str(error)
                found["file"] = os.path.join(raw_root, found.get("trace_file") or "")
            return found

        return located

    def read(self, row: Mapping[str, Any]) -> Recording:
        path = row["file"]
        key = os.getpid(), path  # what a fork inherits is opened anew
        if key not in self._open:
            opened = hdf5.opened(path)
            self._open[key] = opened, opened.__enter__()
        tracings, numbers = self._open[key][1]
        at = int(row["hdf_ind"])
        if not 0 <= at < len(numbers) or str(numbers[at]) != row["exam_id"]:
            raise SignalError(f"row {at} is not exam {row['exam_id']}", path=path, field="exam_id")
        with parsing(path, "HDF5"):
            signal = tracings[at].T
        signal, _ = hdf5.without_padding(signal)
        return Recording(signal, _RATE, LEADS)


class _Parts:
    """Where each exam lies."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.numbers: dict[str, NDArray[Any] | Error] = {}

    def find(self, number: str, file: str | None) -> tuple[str, int]:
        """(name of the file, row in it) of an exam."""
        if not (number.isascii() and number.isdecimal() and len(number) < 19 and int(number)):
            raise SignalError(f"{shown(number)} is not an exam number", field="exam_id")
        parts = [file] if file else sorted(name for name in os.listdir(self.folder) if name.endswith(_SUFFIX))
        for name in parts:
            rows = np.flatnonzero(self._numbers(name) == int(number))
            if len(rows) > 1:
                raise SignalError(f"{len(rows)} exams are called {number}", path=self._path(name), field="exam_id")
            if len(rows):
                return name, int(rows[0])
        raise SignalError(f"there is no exam {number}", path=self._path(file or ""), field="exam_id")

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _numbers(self, name: str) -> NDArray[Any]:
        if name not in self.numbers:
            path = self._path(name)
            try:
                if os.path.basename(name) != name or not os.path.isfile(path):
                    raise FormatError("no such file", path=path)
                with hdf5.opened(path) as (_, numbers):
                    self.numbers[name] = np.asarray(numbers)
            except Error as error:
                self.numbers[name] = error
            except OSError as error:
                self.numbers[name] = FormatError(f"can't be read: {error.strerror or error}", path=path)
        found = self.numbers[name]
        if isinstance(found, Error):
            raise found
        return found
