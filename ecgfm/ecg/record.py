"""A recording in memory, and the spelling of lead names."""

import math
import re
from dataclasses import dataclass, field

import numpy as np

from ..errors import LeadError, SignalError

__all__ = ["LEADS", "Record", "canonical_lead", "canonical_leads", "checked_rate", "checked_signal"]

#: The 12 leads in the order that the model takes them.
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

#: A recording below or above these rates (Hz) is taken for a damaged header.
MIN_RATE, MAX_RATE = 50.0, 100_000.0

_SPELLINGS = {name.lower(): name for name in LEADS}
_SPELLINGS |= {"d" + name.lower(): name for name in LEADS[:3]}  # DI, DII, DIII
_SPELLINGS |= {"vx": "VX", "vy": "VY", "vz": "VZ", "x": "X", "y": "Y", "z": "Z"}  # Frank's leads
_PREFIX = re.compile(r"^(mdc_ecg_|ecg[ _:]+|ekg[ _:]+)?(lead[ _:]*)?")
_SUFFIX = re.compile(r"\s*\([^()]*\)$")  # "Lead I (Einthoven)"


def canonical_lead(name):
    """The usual spelling of a lead's name.

    Case, surrounding spaces and the usual decorations are dropped: ``"AVR"``, ``"lead i"``, ``"MDC_ECG_LEAD_V1"``,
    ``"Lead I (Einthoven)"``, ``"ECG II"``, ``"DIII"``. A name that is none of the 12 leads comes back stripped and
    otherwise unchanged; in particular ``"-aVR"`` (the inverted lead) and ``"MLII"`` (a modified lead) stay as they are.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
    """
    text = str(name).strip()
    key = _PREFIX.sub("", _SUFFIX.sub("", text.lower()))
    return _SPELLINGS.get(re.sub(r"[ _]", "", key), text)


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
        raise LeadError(f"{names!r} is no list of names", path=path, field="leads") from None
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
    except (TypeError, ValueError):
        rate = math.nan
    if isinstance(value, (bool, np.bool_)) or not MIN_RATE <= rate <= MAX_RATE:
        raise SignalError(
            f"the sampling rate {value!r} is not a number from {MIN_RATE:g} to {MAX_RATE:g} Hz",
            path=path,
            field="sampling_rate",
        )
    return rate


def checked_signal(array, *, path=None, field="signal"):
    """A two-dimensional array of real numbers, (leads, samples), not copied.

    Raises
    ------
    SignalError
        If the array has another number of dimensions, is empty, or holds no real numbers.
    """
    if np.ma.is_masked(array):
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

    Raises
    ------
    SignalError, LeadError
        If the parts contradict each other.
    """

    signal: np.ndarray
    sampling_rate: float
    leads: tuple
    source: str = None
    standardised: bool = False
    start_s: float = 0.0
    notes: tuple = field(default=())
    derived: tuple = field(default=())

    def __post_init__(self):
        self.source = None if self.source is None else str(self.source)
        signal = checked_signal(self.signal, path=self.source)
        with np.errstate(over="ignore"):  # a value beyond float32 becomes inf, which prepare() names
            self.signal = np.asarray(signal, dtype=np.float32, order="C")
        self.sampling_rate = checked_rate(self.sampling_rate, path=self.source)
        self.leads = canonical_leads(self.leads, path=self.source)
        self.notes, self.derived = tuple(self.notes), tuple(self.derived)
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

    def __repr__(self):
        return (
            f"Record({len(self.leads)} leads, {self.samples} samples, {self.sampling_rate:g} Hz,"
            f" {self.duration_s:.2f} s, source={self.source!r})"
        )
