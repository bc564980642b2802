"""What the formats share that ecgdatakit parses: from its leads to a Record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ecg.record import Record
from ..errors import FormatError, SignalError
from .common import Given, leads_record, millivolts_per, optional, parsing, warned

__all__ = ["read_with"]

_ROUNDED = "is not an integer; rounded to"  # what the library says of its own field for the rate, which is not used


def read_with(
    parser: str,
    path: str,
    what: str,
    rate_of: Callable[[Any], float | None],
    given: Given,
    instead: str | None = None,
    said: Sequence[str] = (),
) -> Record:
    """A Record by one of ecgdatakit's parsers.

    Parameters
    ----------
    parser : str
        ``module.Class`` below ``ecgdatakit.parsing.parsers``.
    what : str
        Name of the format.
    rate_of : callable
        Takes the library's record; returns the sampling rate in Hz as the file states it, unrounded.
    instead : str, optional
        The path under which to read it, if it isn't `path`.
    said : sequence of str
        What is to be noted before what the library says.
    """
    module, name = parser.split(".")
    library = optional(f"ecgdatakit.parsing.parsers.{module}", path, f"{what} files")
    with parsing(path, what), warned() as notes:
        found = getattr(library, name)().parse(instead or path)
        rate = rate_of(found)
    starts = {lead.annotations.get("start_sample", "1") for lead in found.leads}
    if len(starts) > 1:
        lengths = sorted({len(lead.samples) for lead in found.leads})
        raise FormatError(f"leads of different times or lengths: {lengths} samples", path=path, field="leads")
    units = {_unit(lead) for lead in found.leads}
    return leads_record(
        [_millivolts(lead, path) for lead in found.leads],
        [lead.label for lead in found.leads],
        path,
        given,
        rate=rate,
        units=units.pop() if len(units) == 1 else "",
        notes=[*said, *(note for note in notes if _ROUNDED not in note)],
    )


def _unit(lead: Any) -> Any:
    return lead.resolution_unit if lead.is_raw else lead.units


def _millivolts(lead: Any, path: str) -> NDArray[np.float64]:
    factor = millivolts_per(_unit(lead))
    scale = (lead.resolution, lead.offset) if lead.is_raw else (1.0, 0.0)
    stated = lead.adc_resolution  # 0 where the file states none that is finite: the library then takes 1
    if factor is None or not np.isfinite([*scale, stated]).all() or not scale[0] * stated:
        raise SignalError(
            f"a step of {stated:g} in the unit {_unit(lead) or lead.adc_resolution_unit or 'none'!r} is no voltage",
            path=path,
            field=f"lead {lead.label}",
        )
    return np.asarray(lead.samples, dtype=np.float64) * (scale[0] * factor) + scale[1] * factor
