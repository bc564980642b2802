"""What people hold in memory, as rows of leads: with the names, rate and units that it states itself.

A DataFrame (of pandas, polars, pyarrow), a dict, an array with names or without, a record of wfdb, a recording of MNE.
Nothing is imported for it: what an object can do tells what it is. Nothing that is held is changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import short, shown
from ..errors import LeadError, SignalError
from ..signal.checks import UNIT_ASSUMED, checked_rate, checked_signal, checked_unit, millivolts_per
from ..signal.columns import LEAD_KEYS, RATE_KEYS, SIGNAL_KEYS, UNIT_KEYS, column_of
from ..signal.leads import LEADS, agreed_leads, canonical_leads, is_lead, listed, names_lead
from ..signal.times import TIME_UNIT_REMEDY, rate_of_times, seconds_of
from ..storage.npy import MAX_BYTES
from .named import columns_of, named_rows
from .objects import Held, is_mne, is_wfdb, of_mne, of_wfdb
from .record import Record

__all__ = ["About", "as_record", "described", "is_one", "is_table_of_leads", "names_file", "names_lead_or_unit"]

_MAX_LEADS = 4096  # rows of a table whose names are looked at
_NEAR = 1e-6  # rates that differ by less, relatively, are one


@dataclass
class About:
    """What is known of a signal, as a Record says it, for an array that keeps its own number type."""

    sampling_rate: float
    leads: tuple[str, ...]
    source: str | None = None
    standardised: bool = False
    start_s: float = 0.0
    notes: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    units: tuple[str | None, ...] = ()


def described(
    values: Any, sampling_rate: float | None = None, leads: str | Sequence[str] | None = None, unit: str | None = None
) -> tuple[NDArray[Any], About]:
    """What somebody holds as rows in millivolts, (leads, samples), and what is known of it.

    Parameters
    ----------
    values : object
        See `ecgfm.prepare`.
    sampling_rate, leads, unit
        What the user says of it. It must not contradict what it says itself.

    Raises
    ------
    SignalError, LeadError
        If it is no recording, contradicts what the user says, or lacks what the user must say.
    """
    held = _held(values, sampling_rate)
    signal, notes = held.signal, list(held.notes)
    if isinstance(values, Mapping) and held.names is not None and len(held.names) == signal.shape[-1] != len(signal):
        signal = signal.T
        notes.append("transposed from (samples, leads)")
    signal = checked_signal(signal, path=held.source)
    if held.left:
        notes.append(f"not read: {listed(held.left)}")
    rate = _agreed_rate(held, sampling_rate)
    if held.names is not None:
        leads = _named_leads(held.names, leads)
    elif leads is None:
        leads = _assumed_leads(signal)
        notes.append("leads assumed in the order I II III aVR aVL aVF V1-V6")
    names = canonical_leads(leads)
    if len(names) != len(signal):
        raise LeadError(f"{len(names)} lead names for {len(signal)} rows of signal", path=held.source, field="leads")
    units = held.units or (None,) * len(signal)
    signal = _in_millivolts(signal, held, names, units, checked_unit(unit))
    if None in units and unit is None:
        if held.needs_unit:
            raise SignalError(
                f"{held.where} doesn't say what its values are in",
                path=held.source,
                field=f"unit of lead {names[units.index(None)]}",
                remedy="Say it: unit='V'; or set the type of its channels to 'ecg', which are in volts",
            )
        notes.append(UNIT_ASSUMED)
    return signal, About(rate, names, held.source, notes=tuple(map(short, notes)), units=units)


def as_record(
    values: Any, sampling_rate: float | None = None, leads: str | Sequence[str] | None = None, unit: str | None = None
) -> Record:
    """What somebody holds as a Record; arguments and errors are those of `described`."""
    signal, about = described(values, sampling_rate, leads, unit)
    units = tuple(stated or unit for stated in about.units)
    with np.errstate(over="ignore"):  # a value beyond float32 becomes inf, which prepare() names
        own = np.array(signal, np.float32, order="C")  # a Record may be changed, what somebody holds may not
    return Record(own, about.sampling_rate, about.leads, about.source, notes=about.notes, units=units)


def is_one(values: Any) -> bool:
    """Whether something is one recording by itself, though it might be iterated over, or be no array."""
    return is_wfdb(values) or is_mne(values) or _signal_key(values) is not None


def is_table_of_leads(values: Any) -> bool:
    """Whether the columns or rows of a table are named as leads."""
    return named_rows(values, names_lead_or_unit)[1] is not None


def names_lead_or_unit(name: str) -> bool:
    """Whether the name of a column, which may hold its unit, is that of a lead."""
    return column_of(name).kind == "lead" or names_lead(name)


def names_file(values: Any) -> bool:
    """Whether something names a file (a path, as text or not) or is one that is open."""
    if isinstance(values, (str, bytes, os.PathLike)):
        return True
    return callable(getattr(values, "read", None)) and not hasattr(values, "__array__")


# ---- what it states itself ------------------------------------------------------------------------------------------


def _held(values: Any, given: float | None) -> Held:
    if is_wfdb(values):
        return of_wfdb(values)
    if is_mne(values):
        return of_mne(values)
    if _signal_key(values) is not None:
        return _of_signal(values)
    _check_not_huge(values)
    rows, names, left = named_rows(values, _which(values))
    if names is None:
        return Held(rows, where="the array")
    columns = [column_of(name) for name in names]
    leads = [column.lead if column.kind == "lead" else name for name, column in zip(names, columns)]
    units = tuple(column.unit if column.kind == "lead" else None for column in columns)
    rate, used = _rate_of_times(values, given)
    left = tuple(name for name in left if name not in used and column_of(name).kind != "index")
    return Held(rows, leads, left, rate, "the times", units)


def _which(values: Any) -> Callable[[str], bool]:
    """What tells a lead's name; of columns none of which is named so, all that are neither times nor row numbers."""
    fields = getattr(getattr(values, "dtype", None), "names", None) or columns_of(values) or ()
    index = getattr(values, "index", ())
    keys = [*fields, *(() if callable(index) or len(index) > _MAX_LEADS else index)]
    texts = [key for key in keys if isinstance(key, str)]
    named = any(map(names_lead_or_unit, texts)) or not any(isinstance(key, str) for key in fields)
    return names_lead_or_unit if named else (lambda name: column_of(name).kind == "other")


def _check_not_huge(values: Any) -> None:
    shape = getattr(values, "shape", ())
    if not isinstance(shape, tuple) or not all(isinstance(length, int) for length in shape):
        return
    size = 4
    for length in shape:
        size *= length
    if size > MAX_BYTES:
        raise SignalError(
            f"the shape {shown(shape)} takes {size:,} bytes in float32, more than the {MAX_BYTES:,} that are read",
            field="signal",
            remedy="Give it in parts",
        )


def _signal_key(values: Any) -> str | None:
    """The name of the signal in a mapping such as ``{"signal": ..., "fs": 500}``, as scipy and NumPy load files."""
    if not isinstance(values, Mapping) or any(
        isinstance(key, str) and names_lead(key) and key != "x" for key in values
    ):
        return None
    return next((key for key in SIGNAL_KEYS if key in values and np.ndim(values[key]) == 2), None)


def _of_signal(values: Mapping[str, Any]) -> Held:
    key = _signal_key(values)
    rate, unit, leads = (
        next((name for name in keys if name in values), None) for keys in (RATE_KEYS, UNIT_KEYS, LEAD_KEYS)
    )
    signal = np.asarray(values[str(key)])
    names = None if leads is None else _texts(values[leads], leads)
    stated = None if unit is None else _single(values[unit], unit)
    count = len(signal) if names is None else len(names)
    return Held(
        signal,
        names,
        rate=None if rate is None else _single(values[rate], rate),
        where="the mapping",
        units=() if stated is None else (str(stated),) * count,
    )


def _single(value: Any, field: str) -> Any:
    found = np.asarray(value)
    if found.size != 1:
        raise SignalError(f"not one value but an array of shape {found.shape}", field=field)
    return found.reshape(-1)[0]


def _texts(names: Any, field: str) -> list[str]:
    if isinstance(names, str):
        return names.split(",")
    found = [np.asarray(name).reshape(-1) for name in np.asarray(names, dtype=object).reshape(-1)]
    if not all(len(name) == 1 for name in found):
        raise SignalError("not a list of names", field=field)
    return [name[0].decode("latin-1") if isinstance(name[0], bytes) else str(name[0]).strip() for name in found]


# ---- times ----------------------------------------------------------------------------------------------------------


def _rate_of_times(values: Any, given: float | None) -> tuple[float | None, list[str]]:
    """The rate that a table's times give, and the names of the columns that hold them; None if there are none."""
    rates, used = [], []
    for name, times, hint, is_clock in _times(values):
        if is_clock and given is not None and len(times) > 1 and _is_coarse(times):
            continue  # which say nothing of the rate; that they are not read is noted
        rates.append(rate_of_times(times, None, name, error=SignalError, hint=hint, given=given))
        used.append(name)
    if rates and max(rates) > (1 + 1e-3) * min(rates):
        both = " and ".join(f"{name} {rate:g} Hz" for name, rate in zip(used, rates))
        raise SignalError(f"the times contradict each other: {both}", field="sampling_rate", remedy="Leave one out")
    return (rates[0] if rates else None), used


def _is_coarse(times: NDArray[np.float64]) -> bool:
    """Whether times stand still between some samples and never fall, as clocks do that are rounded to seconds."""
    steps = np.diff(times)
    return bool((steps >= 0).all() and (steps == 0).any())


def _times(values: Any) -> Iterator[tuple[str, NDArray[np.float64], str, bool]]:
    """Iterate over the times in a table: their name, seconds, the remedy if their unit isn't known, whether clocks."""
    fields = getattr(getattr(values, "dtype", None), "names", None)
    for key in fields or columns_of(values) or ():
        if isinstance(key, str) and column_of(key).kind in ("time", "clock"):
            yield from _time(key, values[key])
    for name in ("index", "columns"):
        axis: Any = getattr(values, name, None)
        kind = getattr(getattr(axis, "dtype", None), "kind", None)
        label = getattr(axis, "name", None)
        if kind in ("m", "M") and len(axis):
            yield from _time(name if label is None else str(label), axis)
        elif kind is not None and isinstance(label, str) and column_of(label).kind in ("time", "clock"):
            yield from _time(label, axis)
    dims: Any = getattr(values, "dims", None)
    coords: Any = getattr(values, "coords", None)
    for dim in dims if coords is not None and isinstance(dims, tuple) else ():
        if isinstance(dim, str) and dim in coords and column_of(dim).kind in ("time", "clock"):
            yield from _time(dim, coords[dim])


def _time(name: str, column: Any) -> Iterator[tuple[str, NDArray[np.float64], str, bool]]:
    clocks = seconds_of(column)
    if clocks is not None:
        yield name, clocks, "", True
        return
    about, values = column_of(name), np.asarray(column)
    if about.kind != "time" or values.dtype.kind not in "fiu" or values.ndim != 1:
        return
    if about.seconds is None:
        raise SignalError(f"the unit {shown(about.unit)} is no unit of time", field=name, remedy=TIME_UNIT_REMEDY)
    yield name, values.astype(np.float64) * about.seconds, "" if about.states_unit else TIME_UNIT_REMEDY, False


# ---- what it says and what the user says ----------------------------------------------------------------------------


def _agreed_rate(held: Held, given: float | None) -> float:
    rates = [checked_rate(rate, path=held.source) for rate in (held.rate, given) if rate is not None]
    if not rates:
        what = f"{held.where} has no sampling rate of its own".replace("the array", "an array")
        if held.where == "the times":
            what = "the table has neither a column nor an index of times"
            odd = [name for name in held.left if column_of(name).kind in ("time", "clock")]
            what += f"; {odd[0]} holds neither numbers nor dates and times" if odd else ""
        raise SignalError(what, path=held.source, field="sampling_rate", remedy="Give it in Hz: sampling_rate=500")
    if abs(rates[0] - rates[-1]) > _NEAR * rates[-1]:
        raise SignalError(
            f"{held.where} say{'' if held.where.endswith('s') else 's'} {rates[0]:g} Hz; given was {rates[-1]:g} Hz",
            path=held.source,
            field="sampling_rate",
            remedy="Leave out sampling_rate",
        )
    return rates[0]


def _named_leads(names: Sequence[str], given: str | Sequence[str] | None) -> tuple[str, ...]:
    """The leads of what carries names: those, unless they are not leads' names; then they must be given."""
    found = canonical_leads(names)
    if given is not None:
        return agreed_leads(found, canonical_leads(given)) or found
    if not any(map(is_lead, found)):
        raise LeadError(
            f"named {listed(found)}: none is a lead",
            field="leads",
            remedy="Say which leads they are, in their order: leads=['I', 'II', ...]",
        )
    return found


def _assumed_leads(signal: NDArray[Any]) -> tuple[str, ...]:
    rows, columns = signal.shape
    if rows == len(LEADS):
        return LEADS
    if columns == len(LEADS):
        raise SignalError(
            f"the shape {signal.shape} looks like (samples, leads)", field="signal", remedy="Transpose the array"
        )
    raise LeadError(
        f"the array has {rows} rows and no lead names", field="leads", remedy="Name the rows: leads=['I', 'II', ...]"
    )


def _in_millivolts(
    signal: NDArray[Any], held: Held, names: Sequence[str], units: Sequence[str | None], given: str | None
) -> NDArray[Any]:
    factors = []
    for name, stated in zip(names, units):
        factor = millivolts_per(stated or given or "mV")
        if factor is None:
            raise SignalError(f"the unit {shown(stated)} is no voltage", path=held.source, field=f"lead {name}")
        if stated is not None and given is not None and factor != millivolts_per(given):
            raise SignalError(
                f"{held.where.replace('the times', 'the column')} states {shown(stated)}; given was {given}",
                path=held.source,
                field=f"unit of lead {name}",
                remedy="Leave out the unit",
            )
        factors.append(factor)
    if any(factor != 1 for factor in factors):
        with np.errstate(over="ignore"):
            signal = signal * np.array(factors, np.result_type(signal, np.float32))[:, None]
    return signal.astype(np.float32) if held.single else signal
