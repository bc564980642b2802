"""From a recording to what the model takes: 12 leads, 500 Hz, standardised, cut into 5 s segments.

The steps are those of ECG-FM's inference tutorial, in its order: reorder the leads by name, resample linearly, set
constant leads to zero, standardise each lead over the whole recording, cut into segments, which may overlap.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import LeadError, SignalError
from .choices import SAMPLES, SAMPLING_RATE, check_choices
from .identity import checksum
from .leads import DERIVED, derive
from .named import named_rows
from .quality import findings
from .record import (
    LEADS,
    UNIT_ASSUMED,
    Record,
    agreed_leads,
    canonical_leads,
    checked_rate,
    checked_signal,
    is_lead,
    listed,
    millivolts_per,
    names_lead,
)
from .resampling import BLOCK, Resampled, resample, resampled_length

__all__ = ["SAMPLES", "SAMPLING_RATE", "Segments", "check_choices", "prepare", "prepare_lazily", "resample"]

_LEAST_S = 1.0  # shorter recordings are not padded either


@dataclass(eq=False)
class Segments:
    """Segments of one recording, ready for the model; usable as an array.

    Parameters
    ----------
    x : ndarray
        (B, 12, 2500) float32, leads in the order of `LEADS`, dimensionless.
    start_s : ndarray
        (B,) float64, time of each segment's first sample in the recording, in seconds.
    padding_mask : ndarray or None
        (B, 2500) bool, True where a segment is padded; None if none is.
    provenance : dict
        What the recording was and what was done to it: ``source``, ``sampling_rate`` (Hz, before resampling),
        ``samples`` (before resampling), ``resampled``, ``derived_leads`` (calculated from I and II), ``zero_leads``
        (missing and filled with zeros, or left out on request), ``constant_leads`` (now zero), ``padded_s`` (seconds of
        padding at the end), ``overlap_s`` (seconds that a segment shares with the next), ``unused_s`` (seconds at the
        end that fill no segment), ``quality`` (see
        `ecgfm.ecg.quality`), ``notes``.
    checksum : str or None
        Of the recording that they were cut from; see `ecgfm.ecg.identity.checksum`.
    """

    x: np.ndarray
    start_s: np.ndarray
    padding_mask: np.ndarray = None
    provenance: dict = field(default_factory=dict)
    checksum: str = None

    @property
    def source(self):
        """str or None: where the recording comes from."""
        return self.provenance.get("source")

    def __len__(self):
        return len(self.x)

    def __array__(self, dtype=None, copy=None):
        if copy is False and dtype is not None and np.dtype(dtype) != self.x.dtype:
            raise ValueError(f"segments are float32; as {np.dtype(dtype)} they must be copied")
        return np.array(self.x, dtype=dtype) if copy else np.asarray(self.x, dtype=dtype)

    def __repr__(self):
        return f"Segments({len(self)} x {self.x.shape[1:]}, source={self.source!r})"


def prepare(
    record,
    sampling_rate=None,
    leads=None,
    *,
    missing_leads="error",
    short="error",
    only_leads=None,
    overlap_s=0.0,
    unit=None,
):
    """Cut a recording into the segments that the model takes.

    III, aVR, aVL and aVF are calculated from I and II where they are missing. That and everything else that is done
    to the recording stands in the result's ``provenance``.

    Parameters
    ----------
    record : Record or array_like
        A recording, or an array (leads, samples) of real numbers of any type, byte order and layout. It is not changed.
        Of what carries names (a DataFrame, a structured or labelled array, a dict) the leads are taken by name, be they
        rows or columns; names that are no lead's are an error unless `leads` says what they are. The unit does not
        matter, since each lead is standardised, as long as the standard deviation of the signal is far above 1e-8 (in
        volts it still is).
    sampling_rate : float
        In Hz. Needed for an array and not allowed for a Record, which has its own.
    leads : sequence of str, optional
        Names of an array's rows, in any order and usual spelling; more than the 12 are allowed. Without names an array
        must have 12 rows, which are taken to be in the order of `LEADS`; that is noted.
    missing_leads : {"error", "zero"}
        What happens if a lead is missing (or holds nothing but NaN) and can't be calculated. A lead of zeros is what
        the model saw in training where leads were masked.
    short : {"error", "pad"}
        What happens to a recording of less than 5 s. Padded with zeros to one segment, it comes with a
        ``padding_mask``; of less than 1 s it is an error all the same.
    only_leads : sequence of str, optional
        The leads that the model may see, as names or as text with commas. All others are set to zero, and it does not
        matter whether they are there.
    overlap_s : float
        Seconds that each segment shares with the next, from 0 to 4.9, rounded to a sample at 500 Hz.
    unit : {"mV", "uV", "V"}, optional
        Of an array's values, or of those of a file that states none. By default they are taken to be in millivolts,
        which is noted; what `ecgfm.ecg.quality` says of amplitudes rests on it.

    Returns
    -------
    Segments

    Raises
    ------
    LeadError
        If one of the 12 leads is missing or is named twice.
    SignalError
        If the array is no recording, holds NaN or infinity, or gives less than 5 s at 500 Hz.
    ConfigError
        If an option is not known.

    Notes
    -----
    All arithmetic is float64, the result is rounded to float32 once. A record that is marked as standardised is only
    resampled (if its rate is not 500 Hz) and cut; nothing is calculated from its leads.
    """
    choices = check_choices(missing_leads, short, only_leads, overlap_s, unit)
    return _prepared(record, sampling_rate, leads, choices, False)


def prepare_lazily(record, sampling_rate=None, leads=None, **choices):
    """As `prepare`, but of a long recording the segments are cut when they are asked for: ``x[rows]``, rows a slice.

    So the recording is in memory once, and its segments are not. `choices` are the options of `prepare`.
    """
    return _prepared(record, sampling_rate, leads, check_choices(**choices), True)


def _prepared(record, sampling_rate, leads, choices, lazily):
    if isinstance(record, Record):
        if sampling_rate is not None or leads is not None:
            raise SignalError(
                "a Record has its own sampling rate and leads", path=record.source, remedy="Give them for arrays only"
            )
        if choices.unit is not None:
            record = replace(record, signal=record.signal.copy() if None in record.units else record.signal)
            record.set_unit(choices.unit)
        return _prepare(record.signal, record, choices, lazily)
    signal, names, left = named_rows(record, names_lead)
    signal = checked_signal(signal)
    if sampling_rate is None:
        raise SignalError(
            "an array has no sampling rate of its own", field="sampling_rate", remedy="Give it in Hz: sampling_rate=500"
        )
    notes = [f"not read: {listed(left)}"] if left else []
    if names is not None:
        leads = _named_leads(names, leads)
    elif leads is None:
        leads = _assumed_leads(signal)
        notes.append("leads assumed in the order I II III aVR aVL aVF V1-V6")
    if choices.unit is None:
        notes.append(UNIT_ASSUMED)
    elif millivolts_per(choices.unit) != 1:
        signal = signal * np.result_type(signal, np.float32).type(millivolts_per(choices.unit))
    about = _About(checked_rate(sampling_rate), canonical_leads(leads), notes=tuple(notes))
    if len(about.leads) != len(signal):
        raise LeadError(f"{len(about.leads)} lead names for {len(signal)} rows of signal", field="leads")
    return _prepare(signal, about, choices, lazily)


def _named_leads(names, given):
    """The leads of what carries names: those, unless they are no lead's; then they must be given."""
    names = canonical_leads(names)
    if given is not None:
        return agreed_leads(names, canonical_leads(given))
    if not any(map(is_lead, names)):
        raise LeadError(
            f"named {listed(names)}: none is a lead",
            field="leads",
            remedy="Say which leads they are, in their order: leads=['I', 'II', ...]",
        )
    return names


@dataclass
class _About:
    """What `_prepare` reads of a Record, for an array that keeps its own number type."""

    sampling_rate: float
    leads: tuple
    source: str = None
    standardised: bool = False
    start_s: float = 0.0
    notes: tuple = ()
    derived: tuple = ()


def _assumed_leads(signal):
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


def _prepare(signal, about, choices, lazily):
    samples = signal.shape[1]
    length = resampled_length(samples, about.sampling_rate, SAMPLING_RATE)
    count = (length - SAMPLES) // choices.step + 1 if length >= SAMPLES else 0
    if count == 0:
        _check_short(samples, about, choices)
    rows = _Rows(signal, about, choices)
    cut = _Cut(rows, about, samples, length, count, choices.step)
    if lazily and length > BLOCK:
        constant = cut.constant_leads()
        x = cut
    else:
        x, constant = cut.all()
    used = (count - 1) * choices.step + SAMPLES if count else length
    provenance = {
        "source": about.source,
        "sampling_rate": about.sampling_rate,
        "samples": samples,
        "resampled": about.sampling_rate != SAMPLING_RATE,
        "derived_leads": rows.derived,
        "zero_leads": rows.zero,
        "constant_leads": constant,
        "padded_s": 0.0 if count else (SAMPLES - length) / SAMPLING_RATE,
        "overlap_s": (SAMPLES - choices.step) / SAMPLING_RATE,
        "unused_s": (length - used) / SAMPLING_RATE,
        "quality": findings(
            signal, about.sampling_rate, about.leads, derived=about.derived, standardised=about.standardised
        ),
        "notes": list(about.notes),
    }
    start_s = about.start_s + np.arange(max(count, 1)) * choices.step / SAMPLING_RATE
    mask = None if count else np.arange(SAMPLES)[None] >= length
    return Segments(x, start_s, mask, provenance, checksum(signal, about.sampling_rate, about.leads, about.start_s))


class _Cut:
    """The segments of a recording, (n, 12, 2500) float32, cut when a slice of them is asked for.

    Attributes
    ----------
    shape : tuple
    """

    dtype = np.dtype(np.float32)

    def __init__(self, rows, about, samples, length, count, step):
        self._rows, self._about, self._samples = rows, about, samples
        self._length, self._step = length, step
        self._leads = {}  # name -> Resampled, once its mean and deviation are known
        self.shape = (max(count, 1), len(LEADS), SAMPLES)
        self._padded = count == 0

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        first, last, step = rows.indices(len(self))
        x = np.zeros((max(last - first, 0), *self.shape[1:]), dtype=np.float32)
        if step != 1 or not len(x):
            return x[:0]
        for i, name in enumerate(LEADS):
            if name not in self._rows.zero:
                self._fill(x[:, i], self._lead(name), first)
        return x

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype=dtype)

    def all(self):
        """All segments, and the names of the constant leads; a lead at a time, so that one alone is held twice."""
        x, constant = np.zeros(self.shape, dtype=np.float32), []
        for i, name in enumerate(LEADS):
            if name in self._rows.zero:
                continue
            lead = self._made(name)
            if lead.is_constant:
                constant.append(name)
            self._fill(x[:, i], lead, 0)
        return x, constant

    def constant_leads(self):
        """The names of the leads that hold one value."""
        return [name for name in LEADS if name not in self._rows.zero and self._lead(name).is_constant]

    def _fill(self, out, lead, first):
        """Write the segments of a lead from number `first` into `out` (n, 2500)."""
        if self._padded:
            out[0, : self._length] = lead.values(0, self._length)
            return
        start = first * self._step
        values = lead.values(start, start + (len(out) - 1) * self._step + SAMPLES)
        out[:] = np.lib.stride_tricks.sliding_window_view(values, SAMPLES)[:: self._step]

    def _lead(self, name):
        if name not in self._leads:
            self._leads[name] = self._made(name)
        return self._leads[name]

    def _made(self, name):
        rows, about = self._rows, self._about

        def take(first, last):
            return rows.lead(name, first, last)

        for first in range(0, self._samples, BLOCK):
            if not np.isfinite(take(first, first + BLOCK)).all():
                raise _not_finite(take(0, self._samples), name, about)
        lead = Resampled(take, self._samples, self._length, standardise=not about.standardised)
        if not lead.is_finite:
            raise SignalError("the values are too large to be a signal", path=about.source, field=f"lead {name}")
        return lead


def _check_short(samples, about, choices):
    duration = samples / about.sampling_rate
    if choices.pad and duration >= _LEAST_S:
        return
    needs = f"at least {_LEAST_S:g} s are padded to" if choices.pad else "the model needs"
    raise SignalError(
        f"{samples} samples at {about.sampling_rate:g} Hz ({duration:.2f} s) are too few: {needs} 5 s",
        path=about.source,
        field="signal",
        remedy=None if choices.pad or duration < _LEAST_S else "Pad it by choice: short='pad' (--short pad)",
    )


class _Rows:
    """Where each of the 12 leads comes from.

    Attributes
    ----------
    derived, zero : list of str
        The leads that are calculated from I and II, by the reader or here; and those that are filled with zeros.
    """

    def __init__(self, signal, about, choices):
        self.signal = signal
        self.at = {name: i for i, name in enumerate(about.leads) if name in LEADS}
        empty = [name for name, i in self.at.items() if np.isnan(signal[i, 0]) and np.isnan(signal[i]).all()]
        for name in empty:
            del self.at[name]
        can_derive = "I" in self.at and "II" in self.at and not about.standardised
        wanted = [name for name in LEADS if name in choices.used]
        derived = [name for name in wanted if name not in self.at and name in DERIVED and can_derive]
        missing = [name for name in wanted if name not in self.at and name not in derived]
        if missing and (not choices.zero_missing or len(missing) == len(wanted)):
            raise _missing(missing, empty, about)
        self.derived = [name for name in wanted if name in about.derived or name in derived]
        self.zero = [name for name in LEADS if name in missing or name not in wanted]

    def lead(self, name, first, last):
        """Samples from `first` to before `last`, float64; it may be the signal's own memory."""
        if name in self.at:
            return np.asarray(self.signal[self.at[name], first:last], dtype=np.float64)
        return derive(name, *(self.signal[self.at[one], first:last] for one in ("I", "II")))


def _missing(names, empty, about):
    why = f"the recording has {listed(about.leads)}"
    nothing = [name for name in names if name in empty]
    if nothing:
        why = f"holding nothing but NaN: {', '.join(nothing)}" if nothing != names else "holding nothing but NaN"
    return LeadError(
        f"leads missing: {', '.join(names)} ({why})",
        path=about.source,
        field="leads",
        remedy="The model needs all 12 leads; fill them with zeros by choice: missing_leads='zero'"
        " (--missing-leads zero)",
    )


def _not_finite(lead, name, about):
    bad = np.flatnonzero(~np.isfinite(lead))
    first = int(bad[0])
    return SignalError(
        f"{lead[first]} at sample {first} ({first / about.sampling_rate:.3f} s); {len(bad)} of {len(lead)} samples are"
        " not finite",
        path=about.source,
        field=f"lead {name}",
        remedy="Cut or fill these samples before",
    )
