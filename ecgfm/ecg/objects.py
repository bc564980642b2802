"""Recordings as objects of other libraries: a record of wfdb, what its ``rdsamp`` returns, a recording of MNE.

They are known by what they have. Neither library is imported, and nothing is changed in place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from ..errors import SignalError
from ..signal.checks import millivolts_per
from ..signal.leads import LEADS, canonical_lead, names_lead
from ..storage.npy import check_size
from ..storage.wfdb_values import BITS, FORMS

__all__ = ["Held", "of_mne", "of_wfdb"]

_VOLTS = 107  # MNE's number of the unit
_VOLTAGES = frozenset(("eeg", "ecg", "eog", "emg", "bio", "seeg", "ecog", "dbs"))  # types of channels that are in volts


@dataclass(frozen=True)
class Held:
    """What somebody holds, as far as it says it itself.

    Attributes
    ----------
    signal : object
        (leads, samples); anything, if it carries no names.
    names : list of str or None
        Of its rows.
    left : tuple of str
        What was not taken.
    rate : float or None
        In Hz.
    where : str
        What the rate comes from, for messages.
    units : tuple of (str or None)
        Of each row, None where nothing is said; none at all: nothing is said of any.
    source : str or None
        A name.
    notes : tuple of str
    single : bool
        Whether a Record of it holds the values in float32 before anything is done with them, as one from a file does.
    needs_unit : bool
        Whether nothing may be assumed of the unit of a row that states none.
    """

    signal: Any
    names: list[str] | None = None
    left: tuple[str, ...] = ()
    rate: float | None = None
    where: str = "the recording"
    units: tuple[str | None, ...] = ()
    source: str | None = None
    notes: tuple[str, ...] = ()
    single: bool = False
    needs_unit: bool = False


# ---- wfdb -----------------------------------------------------------------------------------------------------------


def is_wfdb(values: Any) -> bool:
    """Whether something is a record of wfdb, of one segment or of several, or what ``wfdb.rdsamp`` returns."""
    if isinstance(values, tuple):
        return len(values) == 2 and isinstance(values[1], Mapping) and {"sig_name", "fs"} <= values[1].keys()
    has_signals = any(hasattr(values, name) for name in ("p_signal", "d_signal", "e_p_signal", "segments"))
    return has_signals and hasattr(values, "fs") and any(hasattr(values, name) for name in ("sig_name", "seg_name"))


def of_wfdb(values: Any) -> Held:
    """What a record of wfdb holds: its signals that are voltages."""
    if isinstance(values, tuple):
        signals, fields = values
        return _of_signals(np.asarray(signals).T, fields["sig_name"], fields.get("units"), fields["fs"], None)
    source = getattr(values, "record_name", None)
    source = source if isinstance(source, str) else None
    signal = getattr(values, "p_signal", None)
    names, units = getattr(values, "sig_name", None), getattr(values, "units", None)
    if signal is not None:
        return _of_signals(np.asarray(signal).T, names, units, values.fs, source)
    signal = getattr(values, "d_signal", None)
    if signal is not None:
        return _of_signals(_physical(values, np.asarray(signal).T, source), names, units, values.fs, source)
    signal = getattr(values, "e_p_signal", None)
    if signal is not None:
        return _of_frames(values, signal, source)
    several = hasattr(values, "segments")
    raise SignalError(
        "a wfdb.MultiRecord, whose segments are apart" if several else "a wfdb.Record without signals",
        path=source,
        remedy="Read it with wfdb.rdrecord(name), which joins them" if several else "Read it with wfdb.rdrecord(name)",
    )


def _of_signals(signal: NDArray[Any], names: Any, units: Any, rate: Any, source: str | None) -> Held:
    names = [f"signal {i}" if name is None else str(name) for i, name in enumerate(names or ())]
    units = [None] * len(names) if units is None else list(units)
    if signal.ndim != 2 or not len(signal) == len(names) == len(units):
        raise SignalError(
            f"{len(names)} names and {len(units)} units for signals of shape {signal.T.shape}",
            path=source,
            field="signal",
        )
    chosen = [i for i, unit in enumerate(units) if unit is None or millivolts_per(unit) is not None]
    for i, (name, unit) in enumerate(zip(names, units)):
        if i not in chosen and canonical_lead(name) in LEADS:
            raise SignalError(f"the unit {shown(unit)} is no voltage", path=source, field=f"lead {name}")
    if not chosen:
        raise SignalError("none of the signals is a voltage", path=source, field="units")
    return Held(
        signal if len(chosen) == len(names) else signal[chosen],
        [names[i] for i in chosen],
        tuple(f"{names[i]} ({units[i]})" for i in range(len(names)) if i not in chosen),
        rate,
        "the wfdb record",
        tuple(units[i] for i in chosen),
        source,
        single=True,
    )


def _physical(record: Any, stored: NDArray[Any], source: str | None) -> NDArray[np.float64]:
    """The values of a record that holds the numbers of its file, in its units; what is missing is NaN."""
    gains, baselines = getattr(record, "adc_gain", None), getattr(record, "baseline", None)
    forms = getattr(record, "fmt", None) or [None] * len(stored)
    if gains is None or baselines is None or not len(gains) == len(baselines) == len(forms) == len(stored):
        raise SignalError(
            "the numbers of the file without the gain and baseline of each signal",
            path=source,
            field="d_signal",
            remedy="Read it with wfdb.rdrecord(name, physical=True)",
        )
    check_size(stored.shape, 8, path=source or "the wfdb record", field="d_signal")
    signal = stored.astype(np.float64)
    for row, numbers, gain, baseline, form in zip(signal, stored, gains, baselines, forms):
        if not _is_real(gain) or not gain or not _is_real(baseline):
            what = f"a gain of {shown(gain)} and a baseline of {shown(baseline)}"
            raise SignalError(what, path=source, field="d_signal")
        lowest = FORMS[form].missing if form in FORMS else -(1 << int(BITS.get(form, 64)) - 1)
        row -= baseline
        row /= gain
        if lowest is not None:
            row[numbers == lowest] = np.nan
    return signal


def _is_real(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and bool(np.isfinite(value))


def _of_frames(record: Any, signals: Sequence[Any], source: str | None) -> Held:
    """A record whose signals were not averaged over frames: they may have different rates."""
    names, frames = list(record.sig_name or ()), list(record.samps_per_frame or ())
    leads = [i for i, name in enumerate(names) if names_lead(name)] or list(range(len(names)))
    counts = {frames[i] for i in leads if i < len(frames)}
    if len(counts) != 1 or not len(names) == len(frames) == len(signals):
        raise SignalError(
            f"signals of {len(counts)} rates",
            path=source,
            field="e_p_signal",
            remedy="Read it with wfdb.rdrecord(name), which brings them to one rate",
        )
    units = list(record.units or [None] * len(names))
    rate = None if record.fs is None else record.fs * counts.pop()
    rows = [np.asarray(signals[i]) for i in leads]
    if len({row.shape for row in rows}) != 1:
        raise SignalError("signals of one rate have different lengths", path=source, field="e_p_signal")
    signal = np.stack(rows)
    return _of_signals(signal, [names[i] for i in leads], [units[i] for i in leads], rate, source)


# ---- MNE ------------------------------------------------------------------------------------------------------------


def is_mne(values: Any) -> bool:
    """Whether something is a recording of MNE."""
    return callable(getattr(values, "get_data", None)) and "sfreq" in _info(values)


def of_mne(values: Any) -> Held:
    """What a recording of MNE holds: channels in volts, those that are named as leads or else all."""
    info = _info(values)
    names = [str(name) for name in (getattr(values, "ch_names", None) or info.get("ch_names") or ())]
    kinds = _kinds(values, info, names)
    leads = [i for i, name in enumerate(names) if names_lead(name)]
    chosen = leads or [i for i in range(len(names)) if kinds[i] in _VOLTAGES]
    source = _source(values)
    if not chosen:
        raise SignalError("none of the channels is a voltage", path=source, field="ch_names")
    signal = _data(values, chosen, len(names), source)
    return Held(
        signal,
        [names[i] for i in chosen],
        tuple(names[i] for i in range(len(names)) if i not in chosen),
        info["sfreq"],
        "the MNE recording",
        tuple("V" if kinds[i] in _VOLTAGES else None for i in chosen),
        source,
        single=True,
        needs_unit=True,
    )


def _info(values: Any) -> Mapping[str, Any]:
    info = getattr(values, "info", None)
    return info if isinstance(info, Mapping) else {}


def _kinds(values: Any, info: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The type of each channel, "ecg" where nothing says another or its unit is volt."""
    kinds = values.get_channel_types() if callable(getattr(values, "get_channel_types", None)) else ()
    kinds = [str(kind) for kind in kinds] if len(kinds) == len(names) else ["ecg"] * len(names)
    channels = info.get("chs") or ()
    if len(channels) != len(names):
        return kinds
    volts = [isinstance(one, Mapping) and one.get("unit") == _VOLTS for one in channels]
    return ["ecg" if isin and kind == "misc" else kind for kind, isin in zip(kinds, volts)]


def _source(values: Any) -> str | None:
    files = getattr(values, "filenames", None)
    first = files[0] if isinstance(files, (list, tuple)) and files else None
    return None if first is None else str(first)


def _data(values: Any, chosen: list[int], count: int, source: str | None) -> NDArray[Any]:
    samples = getattr(values, "n_times", None)
    if isinstance(samples, int):
        check_size((len(chosen), samples), 8, path=source or "the MNE recording", field="signal")
    get: Callable[..., Any] = values.get_data
    picks = len(chosen) < count and "picks" in inspect.signature(get).parameters
    signal = np.asarray(get(picks=chosen) if picks else get())
    if signal.ndim != 2:
        raise SignalError(
            f"MNE's {type(values).__name__} of {signal.ndim} dimensions: no recording without a break",
            path=source,
            field="signal",
            remedy="Give the mne.io.Raw, or one epoch of it: ecgfm.prepare(epochs[0].get_data()[0], rate, leads)",
        )
    return signal if picks or len(chosen) == count else signal[chosen]
