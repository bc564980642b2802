"""From a recording to what the model takes: 12 leads, 500 Hz, standardised, cut into 5 s segments.

The steps are those of ECG-FM's inference tutorial, in its order: reorder the leads by name, resample linearly, set
constant leads to zero, standardise each lead over the whole recording, cut into segments, which may overlap. Their
arithmetic is the profile `TUTORIAL` of `ecgfm.signal`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..errors import SignalError
from ..signal.conditioning import BLOCK, Conditioned, cut, resample
from ..signal.leads import (
    LEADS,
    Origins,
    empty_leads,
    find_leads,
)
from ..signal.profile import TUTORIAL
from ..signal.quality import findings
from ..specs.inputs import SAMPLES, SAMPLING_RATE
from ..table import AsArray
from .choices import Choices
from .held import About, described, names_file
from .identity import checksum
from .record import Record

__all__ = ["SAMPLES", "SAMPLING_RATE", "Segments", "prepare", "prepare_lazily", "resample"]

_LEAST_S = 1.0  # shorter recordings are not padded either
_AT_ONCE = 1 << 6  # segments that are cut at a time


@dataclass(eq=False)
class Segments(AsArray):
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
    profile : str or None
        The name of the arithmetic that they were standardised with, ``"tutorial"`` or ``"pipeline"``; None if it is not
        known. A model that is trained on them records it.
    """

    x: NDArray[np.float32]
    start_s: NDArray[np.float64]
    padding_mask: NDArray[np.bool_] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    checksum: str | None = None
    profile: str | None = None

    @property
    def source(self) -> str | None:
        """str or None: where the recording comes from."""
        return self.provenance.get("source")

    _array = "x"

    def __repr__(self) -> str:
        return f"Segments({len(self)} x {self.x.shape[1:]}, source={self.source!r})"


def prepare(
    record: Record | ArrayLike | Mapping[str, ArrayLike],
    sampling_rate: float | None = None,
    leads: str | Sequence[str] | None = None,
    *,
    missing_leads: str = "error",
    short: str = "error",
    only_leads: str | Sequence[str] | None = None,
    overlap_s: float = 0.0,
    unit: str | None = None,
) -> Segments:
    """Cut a recording into the segments that the model takes.

    III, aVR, aVL and aVF are calculated from I and II where they are missing. That and everything else that is done
    to the recording stands in the result's ``provenance``.

    Parameters
    ----------
    record : Record, array_like, path, file-like or object
        A recording, or an array (leads, samples) of real numbers of any type, byte order and layout. It is not changed.
        Of what carries names (a DataFrame, a structured or labelled array, a dict) the leads are taken by name, be they
        rows or columns; names that are no lead's are an error unless `leads` says what they are. A name may hold a unit
        (``II [uV]``). A column or an index of times gives the rate: seconds, unless the name says another unit
        (``time_ms``), or dates and times. No step between them may differ from their mean by more than half of it. A
        dict may also hold the array itself as ``signal``, and ``fs``, ``leads`` and ``unit``. A record of wfdb and a
        recording of MNE have names, rate and units of their own; a path or a file-like object is read by `ecgfm.read`.
        The unit does not matter to a model that takes standardised leads, as long as the standard deviation of the
        signal is far above 1e-8 (in volts it still is).
    sampling_rate : float
        In Hz. Needed for what does not state it, such as an array, and not allowed for a Record, which has its own. It
        must not contradict what states its own.
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
    if isinstance(record, Record) and (sampling_rate is not None or leads is not None):
        raise SignalError(
            "a Record has its own sampling rate and leads", path=record.source, remedy="Give them for arrays only"
        )
    choices = Choices(sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit)
    return _prepared(record, choices, lazily=False)


def prepare_lazily(record: Any, choices: Choices = Choices()) -> Segments:
    """As `prepare`, but of a long recording the segments are cut when they are asked for: ``x[rows]``, rows a slice.

    So the recording is in memory once, and its segments are not.
    """
    return _prepared(record, choices, lazily=True)


def _prepared(record: Any, choices: Choices, *, lazily: bool) -> Segments:
    if names_file(record):
        from . import read  # of the floor above

        record = read(record, choices.sampling_rate, choices.leads, choices.unit)
        choices = replace(choices, sampling_rate=None, leads=None, unit=None)
    if not isinstance(record, Record):
        return _cut(*described(record, choices.sampling_rate, choices.leads, choices.unit), choices, lazily)
    if choices.unit is not None:
        record = replace(record, signal=record.signal.copy() if None in record.units else record.signal)
        record.set_unit(choices.unit)
    return _cut(record.signal, record, choices, lazily)


def _cut(signal: NDArray[Any], about: Record | About, choices: Choices, lazily: bool) -> Segments:
    """Leads in order, resampled, standardised, cut; and what was done."""
    samples = signal.shape[1]
    length = TUTORIAL.length(samples, about.sampling_rate, SAMPLING_RATE)
    count = (length - SAMPLES) // choices.step + 1 if length >= SAMPLES else 0
    if count == 0:
        _check_short(samples, about, choices)
    found = find_leads(
        about.leads,
        choices.used,
        missing=choices.missing_leads,
        empty=empty_leads(signal, about.leads),
        can_derive=not about.standardised,
        path=about.source,
    )
    x = _Windows(_conditioned(signal, about, found, length), found.available, length, count, choices.step)
    used = (count - 1) * choices.step + SAMPLES if count else length
    provenance = {
        "source": about.source,
        "sampling_rate": about.sampling_rate,
        "samples": samples,
        "resampled": about.sampling_rate != SAMPLING_RATE,
        "derived_leads": [name for name in found.wanted if name in about.derived or name in found.derived],
        "zero_leads": [name for name in LEADS if name not in found.available],
        "constant_leads": x.constant_leads,
        "padded_s": 0.0 if count else (SAMPLES - length) / SAMPLING_RATE,
        "overlap_s": (SAMPLES - choices.step) / SAMPLING_RATE,
        "unused_s": (length - used) / SAMPLING_RATE,
        "quality": findings(
            signal, about.sampling_rate, about.leads, derived=about.derived, standardised=about.standardised
        ),
        "notes": list(about.notes),
    }
    return Segments(
        cast("NDArray[np.float32]", x) if lazily and length > BLOCK else x[:],
        about.start_s + np.arange(max(count, 1)) * choices.step / SAMPLING_RATE,
        None if count else np.arange(SAMPLES)[None] >= length,
        provenance,
        checksum(signal, about.sampling_rate, about.leads, about.start_s),
        None if about.standardised else TUTORIAL.name,
    )


def _conditioned(signal: NDArray[Any], about: Record | About, found: Origins, length: int) -> Conditioned:
    """The leads that are there at the model's rate, standardised unless they are already."""
    there = replace(found, wanted=tuple(found.available), filled=())
    for name, row in there.read.items():
        for first in range(0, signal.shape[1], BLOCK):
            if not np.isfinite(signal[row, first : first + BLOCK]).all():
                raise _not_finite(name, signal[row], about)

    def take(first: int, last: int) -> NDArray[Any]:
        return there.take(signal, first, last, np.float64)

    with np.errstate(over="ignore", invalid="ignore"):  # what is too large is found once it is standardised
        made = Conditioned(take, signal.shape[1], length, TUTORIAL, standardise=not about.standardised)
    if not made.finite.all():
        name = there.wanted[int((~made.finite).argmax())]
        raise SignalError("the values are too large to be a signal", path=about.source, field=f"lead {name}")
    return made


class _Windows:
    """The segments of a recording, (n, 12, 2500) float32, cut when a slice of them is asked for.

    Attributes
    ----------
    shape : tuple
    constant_leads : list of str
        The leads that hold one value.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, lead: Conditioned, names: list[str], length: int, count: int, step: int) -> None:
        self._leads, self._length, self._step = lead, length, step
        self._rows = [LEADS.index(name) for name in names]
        self._padded = count == 0
        self.shape = (max(count, 1), len(LEADS), SAMPLES)
        self.constant_leads = [name for name in LEADS if name in names and lead.constant[names.index(name)]]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        first, last, step = rows.indices(len(self))
        count = max(last - first, 0) if step == 1 else 0
        if self._rows == list(range(len(LEADS))) and not self._padded and 0 < count <= _AT_ONCE:
            return self._cut(first, count)
        x = np.zeros((count, *self.shape[1:]), dtype=np.float32)
        if self._padded and count:
            x[0, self._rows, : self._length] = self._leads.values(0, self._length).T
            return x
        for start in range(0, count, _AT_ONCE):
            part = x[start : start + _AT_ONCE]
            part[:, self._rows] = self._cut(first + start, len(part))
        return x

    def _cut(self, first: int, count: int) -> NDArray[np.float32]:
        """So many segments of the leads that are there, (count, leads, 2500)."""
        start = first * self._step
        return cut(self._leads.values(start, start + (count - 1) * self._step + SAMPLES), SAMPLES, self._step)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)


def _check_short(samples: int, about: Record | About, choices: Choices) -> None:
    duration = samples / about.sampling_rate
    if choices.short == "pad" and duration >= _LEAST_S:
        return
    needs = f"at least {_LEAST_S:g} s are padded to" if choices.short == "pad" else "the model needs"
    raise SignalError(
        f"{samples} samples at {about.sampling_rate:g} Hz ({duration:.2f} s) are too few: {needs} 5 s",
        path=about.source,
        field="signal",
        remedy=None if choices.short == "pad" or duration < _LEAST_S else "To pad it: short='pad' (--short pad)",
    )


def _not_finite(name: str, lead: NDArray[Any], about: Record | About) -> SignalError:
    bad = np.flatnonzero(~np.isfinite(lead))
    first = int(bad[0])
    return SignalError(
        f"{lead[first]} at sample {first} ({first / about.sampling_rate:.3f} s); {len(bad)} of {len(lead)} samples are"
        " not finite",
        path=about.source,
        field=f"lead {name}",
        remedy="Cut or fill these samples before",
    )
