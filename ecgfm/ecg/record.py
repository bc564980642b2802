"""A recording in memory, and the spelling of lead names."""

import math
import re
from dataclasses import dataclass, field

import numpy as np

from .._text import printable, short, shown
from ..errors import LeadError, SignalError
from .named import named_rows

__all__ = [
    "LEADS",
    "UNIT_ASSUMED",
    "Record",
    "agreed_leads",
    "canonical_lead",
    "canonical_leads",
    "checked_rate",
    "checked_signal",
    "checked_unit",
    "is_lead",
    "is_masked",
    "listed",
    "millivolts_per",
    "names_lead",
]

#: The 12 leads in the order that the model takes them.
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

#: A recording below or above these rates (Hz) is taken for a damaged header.
MIN_RATE, MAX_RATE = 50.0, 100_000.0

#: The note of what states no unit.
UNIT_ASSUMED = "unit assumed: mV"

_MILLIVOLTS = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "\u00b5v": 1e-3, "\u03bcv": 1e-3, "nv": 1e-6}
_MOST_NAME, _MOST_NAMES = 64, 1 << 16  # characters of a lead's name, and how many leads a recording may have
_LISTED = 20  # names that a message holds

_SPELLINGS = {name.lower(): name for name in LEADS}
_SPELLINGS |= {"d" + name.lower(): name for name in LEADS[:3]}  # DI, DII, DIII
_SPELLINGS |= {"vx": "VX", "vy": "VY", "vz": "VZ", "x": "X", "y": "Y", "z": "Z"}  # Frank's leads
_KNOWN = frozenset(_SPELLINGS.values())
_PREFIX = re.compile(r"^(mdc_ecg_|ecg[ _:]+|ekg[ _:]+)?(lead[ _:]*)?")
_SUFFIX = re.compile(r"\s*\([^()]*\)$")  # "Lead I (Einthoven)"; names are cut before they come here


def millivolts_per(unit):
    """How many millivolts a unit of voltage is (in any case), or None if it is none."""
    return _MILLIVOLTS.get(str(unit)[:_MOST_NAME].strip().lower())


def checked_unit(unit):
    """A unit as the user gives it, for all leads: "mV", "uV" or "V" (in any case), or None.

    Raises
    ------
    SignalError
        If it is no unit of voltage.
    """
    if unit is not None and (not isinstance(unit, str) or millivolts_per(unit) is None):
        raise SignalError(f"the unit {shown(unit)} is not known", field="unit", remedy="Give 'mV', 'uV' or 'V'")
    return unit


def listed(names):
    """Names for a message: with commas, and not more of them than anyone reads."""
    names = list(names)
    more = f" ... ({len(names)} in all)" if len(names) > _LISTED else ""
    return ", ".join(str(name) for name in names[:_LISTED]) + more


def canonical_lead(name):
    """The usual spelling of a lead's name.

    Case, surrounding spaces and the usual decorations are dropped: ``"AVR"``, ``"lead i"``, ``"MDC_ECG_LEAD_V1"``,
    ``"Lead I (Einthoven)"``, ``"ECG II"``, ``"DIII"``. A name that is none of the 12 leads comes back stripped and
    otherwise unchanged; in particular ``"-aVR"`` (the inverted lead) and ``"MLII"`` (a modified lead) stay as they are.
    Of longer names the first 64 characters count, and what can't be printed becomes an escape.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
    """
    text = short(printable(str(name).strip()[:_MOST_NAME]), _MOST_NAME)
    key = _PREFIX.sub("", _SUFFIX.sub("", text.lower()))
    return _SPELLINGS.get(re.sub(r"[ _]", "", key), text)


def is_lead(name):
    """Whether a canonical name is that of a lead: one of the 12, or of Frank's."""
    return name in _KNOWN


def names_lead(name):
    """Whether a name, in any spelling, is that of a lead: one of the 12, or of Frank's."""
    return canonical_lead(name) in _KNOWN


def agreed_leads(stated, given, *, path=None):
    """The names of the rows: those that are given, which must not contradict the lead names that are stated.

    Parameters
    ----------
    stated, given : tuple of str or None
        Canonical names. What is stated and is no lead's name (``lead_1``) gives way.

    Raises
    ------
    LeadError
        If they contradict each other, or are not as many.
    """
    if stated is None or given is None:
        return given if stated is None else stated
    if len(stated) == len(given) and all(one == other or not is_lead(one) for one, other in zip(stated, given)):
        return given
    raise LeadError(f"the file says {listed(stated)}; given was {listed(given)}", path=path, field="leads")


def canonical_leads(names, *, path=None):
    """The usual spellings of several leads, given as a sequence or as text with commas.

    Raises
    ------
    LeadError
        If they are no names, or one of the 12 leads is named twice.
    """
    if isinstance(names, str):
        names = names.split(",")
    try:
        leads = tuple(canonical_lead(name) for name in names)
    except TypeError:
        raise LeadError(f"{shown(names)} is no list of names", path=path, field="leads") from None
    if len(leads) > _MOST_NAMES:
        raise LeadError(f"{len(leads):,} names of leads; at most {_MOST_NAMES:,} are read", path=path, field="leads")
    twice = [name for name in LEADS if leads.count(name) > 1]
    if twice:
        raise LeadError(
            f"named more than once: {', '.join(twice)}", path=path, field="leads", remedy="Give each lead one name"
        )
    return leads


def checked_rate(value, *, path=None):
    """A sampling rate in Hz as a float.

    Raises
    ------
    SignalError
        If it is not a number from 50 to 100,000 Hz.
    """
    try:
        rate = float(value)
    except (TypeError, ValueError, OverflowError):
        rate = math.nan
    if isinstance(value, (bool, np.bool_)) or not MIN_RATE <= rate <= MAX_RATE:
        raise SignalError(
            f"the sampling rate {shown(value)} is not a number from {MIN_RATE:g} to {MAX_RATE:g} Hz",
            path=path,
            field="sampling_rate",
        )
    return rate


def is_masked(array):
    """Whether an array, or one of those in a list, has values under a mask, which are not to be used."""
    if isinstance(array, (list, tuple)):
        return any(map(is_masked, array))
    return np.ma.is_masked(array)


def checked_signal(array, *, path=None, field="signal"):
    """A two-dimensional array of real numbers, (leads, samples), not copied.

    Raises
    ------
    SignalError
        If the array has another number of dimensions, is empty, or holds no real numbers.
    """
    if is_masked(array):
        raise SignalError("the array has masked values", path=path, field=field, remedy="Fill or cut them out first")
    try:
        array = np.asarray(array)
    except (TypeError, ValueError) as error:
        raise SignalError(f"not an array: {error}", path=path, field=field) from None
    if array.dtype.kind not in "iuf":
        raise SignalError(f"the values are of type {array.dtype}, not real numbers", path=path, field=field)
    if array.ndim != 2:
        raise SignalError(
            f"the array has {array.ndim} dimensions, a recording has 2: (leads, samples)", path=path, field=field
        )
    if array.size == 0:
        raise SignalError(f"the array is empty: shape {array.shape}", path=path, field=field)
    return array


@dataclass(eq=False)
class Record:
    """One recording.

    Parameters
    ----------
    signal : array_like
        (leads, samples), millivolt. Kept as C-contiguous float32; not copied if it is that already. NaN stays NaN.
    sampling_rate : float
        In Hz.
    leads : sequence of str
        One name per row of ``signal``, in any usual spelling (see `canonical_lead`).
    source : str, optional
        Where the recording comes from, usually a file's path.
    standardised : bool
        True if each lead was standardised over the whole recording already, so that `prepare` must not do it again.
    start_s : float
        Time of the first sample in the recording that this one was cut from.
    notes : tuple of str
        What a reader assumed or did, in words. Travels into every result.
    derived : tuple of str
        Leads that were not recorded but calculated from I and II.
    units : tuple of (str or None)
        What the file states the values of each lead to be in, before they became millivolts; None where it states
        nothing and millivolts are assumed; an empty text where only the reader knows it. None at all: millivolts.

    Raises
    ------
    SignalError, LeadError
        If the parts contradict each other. A signal that names its leads (a DataFrame) must name these.
    """

    signal: np.ndarray
    sampling_rate: float
    leads: tuple
    source: str = None
    standardised: bool = False
    start_s: float = 0.0
    notes: tuple = field(default=())
    derived: tuple = field(default=())
    units: tuple = field(default=())

    def __post_init__(self):
        self.source = None if self.source is None else str(self.source)
        signal, leads = _rows_of(self.signal, self.leads, self.source)
        signal = checked_signal(signal, path=self.source)
        with np.errstate(over="ignore"):  # a value beyond float32 becomes inf, which prepare() names
            self.signal = np.asarray(signal, dtype=np.float32, order="C")
        self.sampling_rate = checked_rate(self.sampling_rate, path=self.source)
        self.leads = canonical_leads(leads, path=self.source)
        self.notes, self.derived, self.units = tuple(self.notes), tuple(self.derived), tuple(self.units)
        if len(self.leads) != len(self.signal):
            raise LeadError(
                f"{len(self.leads)} lead names for {len(self.signal)} rows of signal", path=self.source, field="leads"
            )

    @property
    def samples(self):
        """int: samples per lead."""
        return self.signal.shape[1]

    @property
    def duration_s(self):
        """float: samples divided by the sampling rate."""
        return self.samples / self.sampling_rate

    def set_unit(self, unit):
        """Take the values of leads whose unit the file doesn't state to be in this one; None changes nothing.

        Parameters
        ----------
        unit : {"mV", "uV", "V"} or None

        Raises
        ------
        SignalError
            If the file states another, or the recording isn't from a file and so in millivolts.
        """
        if checked_unit(unit) is None or self.standardised:
            return
        for name, stated in zip(self.leads, self.units or ("mV",) * len(self.leads)):
            if stated is not None and millivolts_per(stated) != millivolts_per(unit):
                says = f"the file says {short(printable(stated), 20)}" if stated else "the file states its unit"
                raise SignalError(
                    f"{says}; given was {unit}" if self.units else f"a Record is in mV, not in {unit}",
                    path=self.source,
                    field=f"unit of lead {name}",
                    remedy="Leave out the unit",
                )
        factor = np.float32(millivolts_per(unit))
        for i, stated in enumerate(self.units):
            if stated is None:
                self.signal[i] *= factor
        self.units = tuple(stated or unit for stated in self.units)
        self.notes = tuple(note for note in self.notes if note != UNIT_ASSUMED)

    def __repr__(self):
        return (
            f"Record({len(self.leads)} leads, {self.samples} samples, {self.sampling_rate:g} Hz,"
            f" {self.duration_s:.2f} s, source={self.source!r})"
        )


def _rows_of(signal, leads, source):
    """The signal as rows and its names, where it carries some, held against those that are given."""
    signal, names, _ = named_rows(signal, names_lead)
    if names is None:
        return signal, leads
    names, given = canonical_leads(names, path=source), canonical_leads(leads, path=source)
    return signal, agreed_leads(names, given, path=source)
