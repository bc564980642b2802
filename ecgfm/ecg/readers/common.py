"""What the readers share: the description of a format, size limits, names of fields, units, optional libraries."""

import os
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Callable

import numpy as np

from ..._text import short
from ...errors import Error, FormatError, LeadError, MissingExtraError, SignalError
from ...storage.npy import MAX_BYTES, check_size
from ..record import LEADS, Record, canonical_leads, checked_rate, checked_signal

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

_MOST_NAME = 64  # characters of a lead's name that are passed on

_NOTES, _NOTE = 5, 200  # warnings of a library that a Record keeps, and how much of each
_LOCK = threading.Lock()  # warnings are caught for the whole process

_MILLIVOLTS = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "\u00b5v": 1e-3, "\u03bcv": 1e-3, "nv": 1e-6}


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
    members : callable or None
        For a format that holds several recordings in a file: takes the path, gives the name of each. `read` then takes
        ``member`` too, one of them or None.
    """

    name: str
    suffixes: tuple
    matches: Callable
    read: Callable
    side_files: bool = False
    members: Callable = None


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
    except (Error, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk and not of the file's content
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


def millivolts_per(unit):
    """How many millivolts a unit of voltage is (in any case), or None if it is none."""
    return _MILLIVOLTS.get(str(unit).strip().lower())


def check_file_size(path, most):
    """The size of a file in bytes.

    Raises
    ------
    FormatError
        If it is larger than is read.
    """
    size = os.path.getsize(path)
    if size > most:
        raise FormatError(f"the file has {size:,} bytes, more than the {most:,} that are read", path=path)
    return size


def first_key(keys, present):
    """The first of the keys that is present, or None."""
    return next((key for key in keys if key in present), None)


def make_record(array, path, *, field, rate, given_rate, leads, given_leads, notes=(), **other):
    """A Record from what a file says and what the user gave.

    Parameters
    ----------
    array : ndarray
        (leads, samples), or (samples, leads) if its other side fits the lead names; that is noted.
    rate, leads
        What the file says, or None.
    given_rate, given_leads
        What the user says, or None.
    **other
        Further fields of the Record.
    """
    notes = list(notes)
    array = checked_signal(array, path=path, field=field)
    leads = _agreed_leads(leads, given_leads, path)
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
    rate = _agreed_rate(rate, given_rate, path)
    leads = [short(name, _MOST_NAME) for name in leads]
    return Record(array, rate, leads, source=path, notes=tuple(map(short, notes)), **other)


def _agreed_leads(leads, given, path):
    leads = None if leads is None else canonical_leads(leads, path=path)
    given = None if given is None else canonical_leads(given, path=path)
    if leads is not None and given is not None and leads != given:
        raise LeadError(
            f"the file says {', '.join(leads)}; given was {', '.join(given)}", path=path, field="leads"
        )
    return given if leads is None else leads


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
