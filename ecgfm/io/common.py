"""What the readers share: the description of a format, size limits, names of fields, units, optional libraries."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import short, shown
from .._types import StrPath
from ..ecg.record import Record
from ..errors import Error, FormatError, LeadError, MissingExtraError, SignalError, is_defect
from ..signal.checks import UNIT_ASSUMED, checked_rate, checked_signal, millivolts_per
from ..signal.columns import LEAD_KEYS, RATE_KEYS, SIGNAL_KEYS, UNIT_KEYS
from ..signal.leads import LEADS, agreed_leads, canonical_leads, complete, is_lead, listed
from ..storage.npy import MAX_BYTES, check_size

__all__ = [
    "LEAD_KEYS",
    "MAX_BYTES",
    "RATE_KEYS",
    "SIGNAL_KEYS",
    "UNIT_KEYS",
    "Format",
    "Given",
    "check_size",
    "decoded",
    "first_key",
    "in_millivolts",
    "leads_record",
    "make_record",
    "millivolts_per",
    "misnamed",
    "optional",
    "parsing",
    "short",
    "utf8",
    "warned",
]

_NOTES, _NOTE = 5, 200  # warnings of a library that a Record keeps, and how much of each
_LOCK = threading.Lock()  # warnings are caught for the whole process


@dataclass(frozen=True)
class Given:
    """What the user says of a file; None where nothing is said.

    Attributes
    ----------
    sampling_rate : float
        In Hz.
    leads : str or sequence of str
        Names of the rows or columns.
    member : str
        Which of the recordings in the file.
    unit : str
        Of the values.
    """

    sampling_rate: float | None = None
    leads: str | Sequence[str] | None = None
    member: str | None = None
    unit: str | None = None


def _never(path: str) -> Any:
    """Of no file."""


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
        Takes the path and what is `Given`; returns a Record.
    side_files : bool
        True if many files with these endings are something else, so that in a directory the content decides.
    unlike : str
        What is then said of a file that is something else.
    members : callable or None
        For a format that holds several recordings in a file: takes the path, gives the name of each. `read` may then be
        given a ``member``.
    is_part : callable
        Takes the path of a file in a directory; True if it belongs to a recording of this format beside it.
    instead : callable
        Takes the path of a file that is of no format by its content; gives an error that names the file of this format
        to read instead, or None.
    left_out : callable
        Takes the path of a file in a directory whose first bytes are of this format; why it is no recording, or None.
    is_read : bool
        False of what is only known, and refused by its name.
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes], bool]
    read: Callable[[str, Given], Record]
    side_files: bool = False
    unlike: str = ""
    members: Callable[[str], list[str]] | None = None
    is_part: Callable[[str], bool | None] = _never
    instead: Callable[[str], FormatError | None] = _never
    left_out: Callable[[str], str | None] = _never
    is_read: bool = True


def misnamed(what: str, path: str) -> FormatError:
    """The error that says that a file is not what the ending of its name says; `what` is how such files begin."""
    return FormatError(
        f"not what its name says: {what}",
        path=path,
        remedy="Many devices write formats of their own under this ending: export DICOM, HL7 aECG, SCP-ECG or EDF",
    )


def optional(module: str, path: str, what: str) -> Any:
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
def parsing(path: StrPath, what: str) -> Iterator[None]:
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
def warned() -> Iterator[list[str]]:
    """Gives a list that has, once the block has ended, what libraries warned of in it; nobody else hears of it."""
    notes: list[str] = []
    with _LOCK, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    notes += dict.fromkeys(" ".join(str(each.message).split())[:_NOTE] for each in caught[:_NOTES])


@contextmanager
def utf8(path: StrPath) -> Iterator[None]:
    """Makes an error that names the file of what isn't text."""
    try:
        yield
    except UnicodeDecodeError as error:
        name = error.encoding.upper().removesuffix("-LE").removesuffix("-BE")
        raise FormatError(f"not text in {name}: {error.reason} at byte {error.start}", path=path) from None


def decoded(raw: bytes) -> str:
    """Text in UTF-8; what isn't is taken to be in Latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def first_key(keys: Iterable[str], present: Collection[str]) -> str | None:
    """The first of the keys that is present, or None."""
    return next((key for key in keys if key in present), None)


def in_millivolts(array: NDArray[Any], unit: str | None, path: str, field: str) -> NDArray[Any]:
    """An array in the unit that a file states for all of it, in millivolts; as it is if none is stated.

    Raises
    ------
    SignalError
        If the unit is no voltage.
    """
    factor = 1.0 if unit is None else millivolts_per(unit)
    if factor is None:
        raise SignalError(f"the unit {shown(unit)} is no voltage", path=path, field=field)
    if factor == 1 or array.dtype.kind not in "iuf":
        return array
    with np.errstate(over="ignore"):  # what is too large becomes inf, which prepare() names
        scaled: NDArray[Any] = array * np.float64(factor)
        return scaled.astype(np.float32)


def make_record(
    array: NDArray[Any],
    path: str,
    given: Given,
    *,
    field: str = "signal",
    rate: float | str | None = None,
    leads: Sequence[str] | None = None,
    units: Sequence[str | None] | str | None = "",
    notes: Iterable[str] = (),
    derived: tuple[str, ...] = (),
    standardised: bool = False,
) -> Record:
    """A Record from what a file says and what the user gave.

    Parameters
    ----------
    array : ndarray
        (leads, samples), or (samples, leads) if its other side fits the lead names; that is noted. In millivolts,
        unless no unit is stated.
    given : Given
        What the user says. Names that are given replace those of the file that are no lead's.
    rate, leads
        What the file says, or None.
    units : sequence or str or None
        What the file states the values of each lead (or of all) to be in; None where it states none; by default
        they were converted by what only the reader knows.
    derived, standardised
        Of the Record.
    """
    notes = list(notes)
    array = checked_signal(array, path=path, field=field)
    stated = None if leads is None else canonical_leads(leads, path=path)
    wanted = None if given.leads is None else canonical_leads(given.leads, path=path)
    agreed = agreed_leads(stated, wanted, path=path)
    names = LEADS if agreed is None else agreed
    if array.shape[0] != len(names) and array.shape[1] == len(names):
        array = array.T
        notes.append("transposed from (samples, leads)")
    if agreed is None:
        if len(array) != len(names):
            raise LeadError(
                f"the shape is {array.shape} and the leads are not named",
                path=path,
                field="leads",
                remedy="Name them: leads='I,II,...' (--leads)",
            )
        notes.append("leads assumed in the order I II III aVR aVL aVF V1-V6")
    elif leads is not None and stated != agreed:
        notes.append(f"leads as given; the file names them {listed(leads)}")
    if units is None or isinstance(units, str):
        units = (units,) * len(names)
    if None in units and not standardised:
        notes.append(UNIT_ASSUMED)
    return Record(
        array,
        _agreed_rate(rate, given.sampling_rate, path),
        names,
        source=path,
        standardised=standardised,
        notes=tuple(map(short, notes)),
        derived=derived,
        units=tuple(units),
    )


def leads_record(
    rows: Sequence[NDArray[Any]] | NDArray[Any],
    names: Sequence[str],
    path: str,
    given: Given,
    *,
    rate: float | str | None,
    units: str | None = "",
    notes: Iterable[str] = (),
) -> Record:
    """A Record of leads of which each has its own samples, as devices store them.

    III, aVR, aVL and aVF are calculated where I and II are there without them.

    Parameters
    ----------
    rows : sequence of ndarray, or ndarray
        (samples,) of each lead, millivolt.
    names : sequence of str
        As the file has them, in any usual spelling.
    rate, units, notes
        As of `make_record`.

    Raises
    ------
    LeadError
        If there are none, none is one of the 12 or of Frank's, or one of the 12 is there twice.
    FormatError
        If they have not the same length.
    """
    if not len(rows):
        raise LeadError("the file holds no leads", path=path, field="leads")
    names = canonical_leads(names, path=path)
    if not any(map(is_lead, names)) and given.leads is None:
        raise LeadError(
            f"none of the 12 leads is there: {listed(names)}",
            path=path,
            field="leads",
            remedy="If you know what they are, name them: leads='I,II,...' (--leads)",
        )
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        what = f"leads of different times or lengths: {listed(lengths)} samples"
        raise FormatError(what, path=path, field="leads")
    signal, names, derived = complete(rows if isinstance(rows, np.ndarray) else np.stack(rows), names)
    notes = list(notes)
    if missing := [lead for lead in LEADS if lead not in names] if given.leads is None else []:
        notes.append(f"leads that the file lacks: {listed(missing)}")
    return make_record(signal, path, given, rate=rate, leads=names, units=units, notes=notes, derived=derived)


def _agreed_rate(stated: float | str | None, given: float | None, path: str) -> float:
    rates = [checked_rate(rate, path=path) for rate in (stated, given) if rate is not None]
    if not rates:
        raise SignalError(
            "the file doesn't state the sampling rate",
            path=path,
            field="sampling_rate",
            remedy="Give it in Hz: sampling_rate=500 (--sampling-rate 500)",
        )
    if abs(rates[0] - rates[-1]) > 1e-6 * rates[-1]:
        raise SignalError(
            f"the file says {rates[0]:g} Hz; given was {rates[-1]:g} Hz", path=path, field="sampling_rate"
        )
    return rates[0]
