"""What the names of a table's columns say: of which lead and in which unit, or that they are times, or numbers of rows.

Of files (CSV, Parquet) as of what is in memory (DataFrames, dicts).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from .checks import millivolts_per
from .leads import LEADS, canonical_lead

__all__ = ["LEAD_KEYS", "RATE_KEYS", "SIGNAL_KEYS", "UNIT_KEYS", "Column", "column_of", "is_unit", "unit_of"]

#: Names under which files keep the signal, its rate, its leads and its unit; the first that is there is taken.
SIGNAL_KEYS = ("signal", "feats", "x", "data", "ecg")
RATE_KEYS = ("sampling_rate", "curr_sample_rate", "sample_rate", "fs")
LEAD_KEYS = ("leads", "lead_names")
UNIT_KEYS = ("unit", "units")

_MAX_NAME = 64
_SECONDS = {"time": 1.0, "t": 1.0, "seconds": 1.0, "s": 1.0, "time_s": 1.0, "time_ms": 1e-3, "ms": 1e-3}
_SECONDS |= {"elapsed time": 1.0, "elapsed_time": 1.0}
_TIME_UNITS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "min": 60.0}
_TIME_UNITS |= {"seconds": 1.0, "second": 1.0, "msec": 1e-3, "milliseconds": 1e-3, "microseconds": 1e-6, "ns": 1e-9}
_UNITLESS = ("time", "t", "elapsed time", "elapsed_time")  # names of times that say no unit
_KINDS = {
    **dict.fromkeys(_SECONDS, "time"),
    **dict.fromkeys(("timestamp", "datetime", "date_time", "date time"), "clock"),
    **dict.fromkeys(("", "#", "index", "sample", "samples", "n", "unnamed: 0"), "index"),
}
_CLOSING = {")": "(", "]": "["}


@dataclass(frozen=True)
class Column:
    """A column: its name, what it is ("lead", "time", "clock", "index" or "other"), and its unit.

    Attributes
    ----------
    lead : str
        Canonical name.
    unit : str or None
        As the name says.
    """

    name: str
    kind: str
    lead: str
    unit: str | None

    @property
    def seconds(self) -> float | None:
        """float or None: of a column of times, how many seconds 1 is; None if its unit is none of time."""
        if self.unit is not None:
            return _TIME_UNITS.get(self.unit.strip().lower())
        return _SECONDS.get(self.lead.strip().lower(), 1.0)

    @property
    def states_unit(self) -> bool:
        """bool: whether the name of a column of times says their unit."""
        return self.unit is not None or self.lead.strip().lower() not in _UNITLESS


def column_of(name: str) -> Column:
    """The `Column` of a name."""
    return _column_of(name.strip()[:_MAX_NAME])


@lru_cache(4096)
def _column_of(name: str) -> Column:
    bare, unit = unit_of(name)
    kind = _KINDS.get(bare.strip().lower())
    if kind is not None:
        return Column(name, kind, bare, unit)
    lead = canonical_lead(bare)
    if lead in LEADS or lead in ("VX", "VY", "VZ"):
        return Column(name, "lead", lead, unit)
    return Column(name, "other", canonical_lead(name), None)


def unit_of(name: str) -> tuple[str, str | None]:
    """The name without its unit, and the unit or None: ``I [uV]``, ``I (uV)``, ``I/uV``, ``i_uv``, ``I uV``."""
    opening = _CLOSING.get(name[-1:])
    if opening is not None:
        bare, mark, unit = name[:-1].rpartition(opening)
        unit = unit.strip()
        return (bare.strip(), unit) if mark and (opening == "[" or is_unit(unit)) else (name, None)
    for mark in "/_. ":
        bare, found, unit = name.rpartition(mark)
        if found and bare.strip() and is_unit(unit):
            return bare.strip(), unit
    return name, None


def is_unit(text: str) -> bool:
    """Whether a text is a unit of voltage or of time."""
    return millivolts_per(text) is not None or text.strip().lower() in _TIME_UNITS
