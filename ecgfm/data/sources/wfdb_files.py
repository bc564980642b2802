"""What PhysioNet's collections share: a recording is a WFDB header and its signal file, named without an ending."""

from __future__ import annotations

import os

from ...errors import FormatError, SignalError
from ...io.wfdb import read_values
from ...storage.wfdb import WfdbRecord
from .base import Recording

__all__ = ["read_wfdb", "wfdb_files"]


def read_wfdb(path: str) -> tuple[Recording, WfdbRecord]:
    """A record by its path without ``.hea``.

    Returns
    -------
    Recording
        In mV; its meta has ``units`` (those of the file).
    about : WfdbRecord
        What else the header says.
    """
    header = f"{path}.hea"
    if not os.path.isfile(header):
        raise FormatError("no such file", path=header)
    values, about = read_values(header)
    if about.rate is None:
        raise SignalError("the header doesn't state the sampling rate", path=header, field="record line")
    units = sorted({unit.lower() for unit in about.units})
    meta = {"units": units[0] if len(units) == 1 else str(about.units)}
    return Recording(values.T, about.rate, tuple(about.names), meta), about


def wfdb_files(path: str) -> tuple[str, ...]:
    """The files that a record by its path without ``.hea`` usually has; some of them may not be there."""
    return tuple(f"{path}{suffix}" for suffix in (".hea", ".dat", ".mat"))
