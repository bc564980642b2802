"""What the readers share: the description of a format, size limits, names of fields, units, optional libraries."""

import os
import threading
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from .._text import short
from ..ecg.record import Record
from ..errors import Error, FormatError, LeadError, MissingExtraError, SignalError, is_defect
from ..signal.checks import UNIT_ASSUMED, checked_rate, checked_signal, millivolts_per
from ..signal.leads import LEADS, agreed_leads, canonical_leads, listed
from ..storage.inputs import open_input
from ..storage.npy import MAX_BYTES, check_size

__all__ = [
    "LEAD_KEYS",
    "MAX_BYTES",
    "RATE_KEYS",
    "SIGNAL_KEYS",
    "Format",
    "check_file_size",
    "check_size",
    "first_key",
    "make_record",
    "millivolts_per",
    "optional",
    "parsing",
    "short",
    "warned",
]

#: Names under which files keep the signal, its rate and its leads; the first that is there is taken.
SIGNAL_KEYS = ("signal", "feats", "x", "data", "ecg")
RATE_KEYS = ("sampling_rate", "curr_sample_rate", "sample_rate", "fs")
LEAD_KEYS = ("leads", "lead_names")

_NOTES, _NOTE = 5, 200  # warnings of a library that a Record keeps, and how much of each
_LOCK = threading.Lock()  # warnings are caught for the whole process


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes
    ----------
    name : str
        As people call it.
    suffixes : tuple of str
        Endings of file names, lower case, with the dot.
    matches : callable
        Takes the first bytes of a file; True if they can only be this format.
    read : callable
        Takes the path, and ``sampling_rate`` and ``leads`` as the user gave them; returns a Record.
    side_files : bool
        True if many files with these endings are something else, so that in a directory the content decides.
    unlike : str
        What is then said of a file that is something else.
    members : callable or None
        For a format that holds several recordings in a file: takes the path, gives the name of each. `read` then takes
        ``member`` too, one of them or None.
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable[..., bool]
    read: Callable[..., Any]
    side_files: bool = False
    unlike: str = ""
    members: Callable[..., Any] | None = None


def optional(module, path, what):
    """A module of a library that not every installation has.

    Raises
    ------
    MissingExtraError
        If it isn't installed.
    """
    try:
        return import_module(module)
    except ImportError:
        library = module.partition(".")[0]
        raise MissingExtraError(
            f"{library} is not installed, which reads {what}",
            path=path,
            field=library,
            remedy="Install it with: pip install 'ecgfm[io]'",
        ) from None


@contextmanager
def parsing(path, what):
    """Turns what a library raises on a damaged file, which may be anything, into a FormatError."""
    try:
        yield
    except (Error, MemoryError, Warning):
        raise
    except Exception as error:
        if is_defect(error) or (isinstance(error, OSError) and error.errno is not None):  # of the disk, not the content
            raise
        text = (str(error).splitlines() or [""])[0][:200]
        raise FormatError(f"a damaged {what} file: {text or type(error).__name__}", path=path) from None


@contextmanager
def warned():
    """Gives a list that has, once the block has ended, what libraries warned of in it; nobody else hears of it."""
    notes = []
    with _LOCK, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield notes
    notes += dict.fromkeys(" ".join(str(each.message).split())[:_NOTE] for each in told[:_NOTES])


def check_file_size(path, most):
    """The size of a regular file in bytes.

    Raises
    ------
    FormatError
        If it is larger than is read, or no regular file.
    """
    with open_input(path, most=most) as file:
        return os.fstat(file.fileno()).st_size


def first_key(keys, present):
    """The first of the keys that is present, or None."""
    return next((key for key in keys if key in present), None)


def make_record(array, path, *, field, rate, given_rate, leads, given_leads, units=(), notes=(), **other):
    """A Record from what a file says and what the user gave.

    Parameters
    ----------
    array : ndarray
        (leads, samples), or (samples, leads) if its other side fits the lead names; that is noted. In millivolts,
        unless no unit is stated.
    rate, leads
        What the file says, or None.
    given_rate, given_leads
        What the user says, or None. Names that are given replace those of the file that are no lead's.
    units : sequence or str or None
        What the file states the values of each lead (or of all) to be in; None where it states none. By default it
        states it, and they were converted.
    **other
        Further fields of the Record.
    """
    notes = list(notes)
    array = checked_signal(array, path=path, field=field)
    leads, names = _agreed_leads(leads, given_leads, path), leads
    count = len(LEADS) if leads is None else len(leads)
    if array.shape[0] != count and array.shape[1] == count:
        array = array.T
        notes.append("transposed from (samples, leads)")
    if leads is None:
        if len(array) != count:
            raise LeadError(
                f"the shape is {array.shape} and the leads are not named",
                path=path,
                field="leads",
                remedy="Name them: leads='I,II,...' (--leads)",
            )
        leads = LEADS
        notes.append("leads assumed in the order I II III aVR aVL aVF V1-V6")
    elif names is not None and given_leads is not None and leads != canonical_leads(names):
        notes.append(f"leads as given; the file names them {listed(names)}")
    rate = _agreed_rate(rate, given_rate, path)
    if units is None or isinstance(units, str):
        units = (units,) * len(leads)
    elif len(units) == 0:
        units = ("",) * len(leads)
    if None in units and not other.get("standardised"):
        notes.append(UNIT_ASSUMED)
    return Record(array, rate, leads, source=path, units=units, notes=tuple(map(short, notes)), **other)


def _agreed_leads(leads, given, path):
    leads = None if leads is None else canonical_leads(leads, path=path)
    given = None if given is None else canonical_leads(given, path=path)
    return agreed_leads(leads, given, path=path)


def _agreed_rate(rate, given, path):
    rate = None if rate is None else checked_rate(rate, path=path)
    given = None if given is None else checked_rate(given, path=path)
    if rate is None and given is None:
        raise SignalError(
            "the file doesn't state the sampling rate",
            path=path,
            field="sampling_rate",
            remedy="Give it in Hz: sampling_rate=500 (--sampling-rate 500)",
        )
    if rate is not None and given is not None and not np.isclose(rate, given, rtol=1e-6, atol=0):
        raise SignalError(f"the file says {rate:g} Hz; given was {given:g} Hz", path=path, field="sampling_rate")
    return given if rate is None else rate
