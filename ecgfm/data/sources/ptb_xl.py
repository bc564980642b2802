"""PTB-XL: ``ptbxl_database.csv`` and WFDB records in ``records500/`` (500 Hz) or ``records100/`` (100 Hz)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..._text import shown
from ...errors import FormatError, InputWarning
from ...storage.columns import whole_number
from ...storage.rows import read_rows
from .base import Located, Recording, Rows, Source, check_columns
from .wfdb_files import read_wfdb, wfdb_files

__all__ = ["DATABASE", "PtbXl", "find_record"]

#: The table of recordings.
DATABASE = "ptbxl_database.csv"
_NEEDED = ("ecg_id", "filename_lr", "filename_hr")


class PtbXl(Source):
    """PTB-XL: ptbxl_database.csv and records500/, or records100/ where a 500 Hz file is not there."""

    name = "ptb_xl"
    meta_columns = ("units",)

    def records(self, raw_root: Any, processed_root: Any, **own: Any) -> Rows:
        """The rows of ``ptbxl_database.csv``."""
        return read_rows(os.path.join(raw_root, DATABASE), _NEEDED)

    def files(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return wfdb_files(row["path"])

    def locate(self, raw_root: Any, columns: Collection[str], *, reading: bool = True) -> Located:
        check_columns(columns, _NEEDED, raw_root)
        said: set[str] = set()

        def say(what: str) -> None:
            if what not in said:
                said.add(what)
                warnings.warn(what, InputWarning, stacklevel=4)

        def located(row: Mapping[str, Any]) -> dict[str, Any]:
            number = whole_number(row["ecg_id"], os.path.join(raw_root or "", DATABASE), "ecg_id")
            found = {"save_file": f"{self.name}_{number:05d}.mat", "source": self.name, "dataset": self.name}
            try:
                path = find_record(raw_root or "", row, say if reading else None)
            except FormatError as error:
                return {**found, "path": str(number), "error": str(error)}
            return {**found, "path": path}

        return located

    def read(self, row: Mapping[str, Any]) -> Recording:
        return read_wfdb(row["path"])[0]


def find_record(folder: str, row: Mapping[str, str], say: Callable[[str], object] | None = None) -> str:
    """The path of a recording without an ending: its 500 Hz file, or where that is not there, its 100 Hz file.

    Parameters
    ----------
    folder : str
        Of the data set.
    row : mapping
        Its row of ``ptbxl_database.csv``.
    say : callable, optional
        Told that a 100 Hz file is taken.

    Raises
    ------
    FormatError
        If a name leads out of the folder.
    """
    paths = []
    for column in ("filename_hr", "filename_lr"):
        name = row[column].strip()
        if not name or os.path.isabs(name) or ".." in name.split("/") or not name.isprintable():
            raise FormatError(
                f"{shown(name)} is not a path in the data set", path=os.path.join(folder, DATABASE), field=column
            )
        paths.append(os.path.join(folder, name))
    high, low = paths
    if os.path.isfile(f"{high}.hea") or not os.path.isfile(f"{low}.hea"):
        return high
    if say is not None:
        say("recordings without their 500 Hz file (filename_hr) are read from their 100 Hz file (filename_lr)")
    return low
