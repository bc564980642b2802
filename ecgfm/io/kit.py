"""What the formats share that ecgdatakit parses: from its leads to a Record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ecg.record import Record
from ..errors import FormatError, LeadError, SignalError
from ..signal.leads import LEADS, canonical_leads, complete
from .common import Given, make_record, millivolts_per, optional, parsing, warned

__all__ = ["read_with"]


def read_with(
    parser: str, path: str, what: str, rate_of: Callable[[Any], float | None], given: Given, instead: str | None = None
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
    """
    module, name = parser.split(".")
    library = optional(f"ecgdatakit.parsing.parsers.{module}", path, f"{what} files")
    with parsing(path, what), warned() as notes:
        found = getattr(library, name)().parse(instead or path)
        rate = rate_of(found)
    if not found.leads:
        raise LeadError("the file holds no leads", path=path, field="leads")
    names = canonical_leads([lead.label for lead in found.leads], path=path)
    if not set(names) & set(LEADS):
        raise LeadError(f"none of the 12 leads is there: {', '.join(names)}", path=path, field="leads")
    lengths = {len(lead.samples) for lead in found.leads}
    starts = {lead.annotations.get("start_sample", "1") for lead in found.leads}
    if len(lengths) > 1 or len(starts) > 1:
        raise FormatError(f"leads of different times: {sorted(lengths)} samples", path=path, field="leads")
    signal = np.stack([_millivolts(lead, path) for lead in found.leads])
    signal, names, derived = complete(signal, names)
    units = {_unit(lead) for lead in found.leads}
    unit = units.pop() if len(units) == 1 else ""
    return make_record(signal, path, given, rate=rate, leads=names, units=unit, notes=notes, derived=derived)


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
