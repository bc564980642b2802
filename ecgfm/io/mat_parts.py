"""Which part of a MATLAB file is the recording: an array, alone or within structs, and what stands beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import short
from ..errors import FormatError
from ..signal.leads import LEADS
from ..storage.mat_struct import Node
from .common import LEAD_KEYS, RATE_KEYS, SIGNAL_KEYS, UNIT_KEYS

__all__ = ["Found", "found_in"]

_RATES = (*RATE_KEYS, "srate", "freq", "frequency", "samplingrate", "samplerate")
_LEADS = (*LEAD_KEYS, "lead_name", "leadnames", "channels", "labels", "sig_name")
_SIGNALS = (*SIGNAL_KEYS, "signals", "ekg")
_SCALES = {"gain", "adc_gain", "scale", "resolution", "lsb", "sensitivity"}
_CPSC = {"sex", "age", "data"}  # fields of the struct ECG of CPSC 2018, whose recordings have 500 Hz


@dataclass(frozen=True)
class Found:
    """The recording in a struct.

    Attributes
    ----------
    name : str
        Where it lies, such as ``ECG.data``.
    signal : ndarray
    rate : float or None
    leads : list of str or None
    unit : str or None
    notes : tuple of str
    scale : str or None
        The name of a field that may say what the numbers are worth.
    """

    name: str
    signal: NDArray[Any]
    rate: float | None
    leads: list[str] | None
    unit: str | None
    notes: tuple[str, ...] = ()
    scale: str | None = None


def found_in(structs: Mapping[str, Node], path: str) -> Found | None:
    """The recording in the structs of a file; None if there is none.

    It is an array of two dimensions that is called ``signal``, ``data``, ``ecg`` or so, or else the only one with 12
    rows or columns.

    Raises
    ------
    FormatError
        If several may be it.
    """
    arrays = list(_arrays(structs, "", ()))
    for wanted in ([one for one in arrays if one[0].rpartition(".")[2].lower() in _SIGNALS], arrays):
        likely = [one for one in wanted if len(LEADS) in one[1].shape] or (wanted if wanted is not arrays else [])
        if len(likely) == 1:
            return _described(*likely[0], path)
        if likely:
            names = ", ".join(short(name, 60) for name, _, _ in likely[:10])
            remedy = "Save one of them as the array 'signal'"
            raise FormatError(f"{len(likely)} arrays may be the recording: {names}", path=path, remedy=remedy)
    return None


def _arrays(
    node: Mapping[str, Node], prefix: str, above: tuple[Mapping[str, Node], ...]
) -> Iterator[tuple[str, NDArray[Any], tuple[Mapping[str, Node], ...]]]:
    """Iterate over the arrays of two dimensions in structs: name, array, and the structs that they lie in."""
    around = (node, *above)
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _arrays(value, f"{prefix}{name}.", around)
        elif (
            isinstance(value, np.ndarray)
            and value.ndim == 2
            and min(value.shape) >= 1
            and max(value.shape) > len(LEADS)
        ):
            yield prefix + name, value, around


def _described(name: str, signal: NDArray[Any], around: tuple[Mapping[str, Node], ...], path: str) -> Found:
    rate, said, unit = (_first(around, keys) for keys in (_RATES, _LEADS, UNIT_KEYS))
    if rate is not None and (not isinstance(rate, np.ndarray) or rate.size != 1):
        raise FormatError("the sampling rate is not one number", path=path, field=name)
    said = list(said.split(",")) if isinstance(said, str) else said
    leads = [str(one) for one in said] if isinstance(said, list) and all(isinstance(one, str) for one in said) else None
    found = None if rate is None else float(rate.item())
    notes: tuple[str, ...] = ()
    if found is None and name == "ECG.data" and set(around[0]) == _CPSC:
        found, notes = 500.0, ("sampling rate assumed: 500 Hz, as CPSC 2018 has",)
    scale = next((key for key in around[0] if key.lower() in _SCALES), None)
    return Found(name, signal, found, leads, unit if isinstance(unit, str) and unit else None, notes, scale)


def _first(around: tuple[Mapping[str, Node], ...], keys: tuple[str, ...]) -> Node | None:
    for node in around:
        lower = {name.lower(): value for name, value in node.items()}
        for key in keys:
            if key in lower:
                return lower[key]
    return None
