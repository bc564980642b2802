"""From a recording to what the model takes; ECG-FM: 12 leads, 500 Hz, standardised, cut into 5 s segments.

The steps are those of ECG-FM's inference tutorial, in its order: reorder the leads by name, resample, set constant
leads to zero, standardise each lead over the whole recording, cut into segments, which may overlap. What the model
takes (`ecgfm.InputSpec`) says to what and by which arithmetic; by default that is the profile `TUTORIAL` of
`ecgfm.signal`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import SignalError
from ..signal.conditioning import BLOCK, resample
from ..signal.leads import (
    Origins,
    empty_leads,
    find_leads,
)
from ..signal.profile import PROFILES
from ..signal.quality import findings
from ..specs.inputs import ECG_FM, SAMPLES, SAMPLING_RATE, InputSpec
from ..table import AsArray
from .choices import Choices
from .cutting import Windows, conditioned, factor_of, kept_samples
from .held import About, described, names_file
from .identity import checksum
from .record import Record

__all__ = ["SAMPLES", "SAMPLING_RATE", "Segments", "TakesInput", "prepare", "prepare_lazily", "resample", "spec_of"]

_LEAST_S = 1.0  # shorter recordings are not padded either


@dataclass(eq=False)
class Segments(AsArray):
    """Segments of one recording, ready for the model; usable as an array.

    Parameters
    ----------
    x : ndarray
        (B, L, N) float32, leads and samples as `input` says; for ECG-FM (B, 12, 2500), leads in the order of `LEADS`,
        dimensionless.
    start_s : ndarray
        (B,) float64, time of each segment's first sample in the recording, in seconds.
    padding_mask : ndarray or None
        (B, N) bool, True where a segment is padded; None if none is.
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
    input : InputSpec or None
        What they were prepared for; None if it is not known. A model that takes something else refuses them.
    """

    x: NDArray[np.float32]
    start_s: NDArray[np.float64]
    padding_mask: NDArray[np.bool_] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    checksum: str | None = None
    profile: str | None = None
    input: InputSpec | None = None

    @property
    def source(self) -> str | None:
        """str or None: where the recording comes from."""
        return self.provenance.get("source")

    _array = "x"

    def __repr__(self) -> str:
        return f"Segments({len(self)} x {self.x.shape[1:]}, source={self.source!r})"


class TakesInput(Protocol):
    """Something that says what it takes, as models do."""

    @property
    def input(self) -> InputSpec: ...


def spec_of(model: object) -> InputSpec | None:
    """What a model takes, or what is given instead of one; None for anything else."""
    found = model if isinstance(model, InputSpec) else getattr(model, "input", None)
    return found if isinstance(found, InputSpec) else None


def prepare(
    record: Record | ArrayLike | Mapping[str, ArrayLike],
    model: TakesInput | InputSpec | float | None = None,
    leads: str | Sequence[str] | None = None,
    *,
    sampling_rate: float | None = None,
    missing_leads: str = "error",
    short: str | None = None,
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
    model : Model, InputSpec or float, optional
        What to prepare it for; by default, what ECG-FM takes. A number in this place is `sampling_rate`.
    leads : sequence of str, optional
        Names of an array's rows, in any order and usual spelling; more than the 12 are allowed. Without names an array
        must have 12 rows, which are taken to be in the order of `LEADS`; that is noted.
    sampling_rate : float
        In Hz. Needed for what does not state it, such as an array, and not allowed for a Record, which has its own. It
        must not contradict what states its own.
    missing_leads : {"error", "zero"}
        What happens if a lead is missing (or holds nothing but NaN) and can't be calculated. A lead of zeros is what
        the model saw in training where leads were masked.
    short : {"error", "pad"}, optional
        What happens to a recording of less than a segment (5 s); by default what the model says, which for ECG-FM is
        an error. Padded with zeros to one segment, it comes with a
        ``padding_mask``; of less than 1 s it is an error all the same.
    only_leads : sequence of str, optional
        The leads that the model may see, as names or as text with commas. All others are set to zero, and it does not
        matter whether they are there.
    overlap_s : float
        Seconds that each segment shares with the next, from 0 to 0.1 s less than all, rounded to a sample.
    unit : {"mV", "uV", "V"}, optional
        Of an array's values, or of those of a file that states none. By default they are taken to be in millivolts,
        which is noted; what `ecgfm.ecg.quality` says of amplitudes rests on it.

    Returns
    -------
    Segments

    Raises
    ------
    LeadError
        If a lead that the model takes is missing or is named twice.
    SignalError
        If the array is no recording, holds NaN or infinity, gives less than a segment, or is standardised
        already while the model takes a unit.
    ConfigError
        If an option is not known.

    Notes
    -----
    All arithmetic is float64, the result is rounded to float32 once. A record that is marked as standardised is only
    resampled (if its rate is not the model's) and cut; nothing is calculated from its leads.
    """
    spec = spec_of(model)
    if spec is None and model is not None:
        if sampling_rate is not None:
            raise SignalError("it is given twice", field="sampling_rate")
        sampling_rate = cast(float, model)
    if isinstance(record, Record) and (sampling_rate is not None or leads is not None):
        raise SignalError(
            "a Record has its own sampling rate and leads", path=record.source, remedy="Give them for arrays only"
        )
    choices = Choices(sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit, spec or ECG_FM)
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
    spec, samples, notes = choices.input, signal.shape[1], list(about.notes)
    if about.standardised and not spec.standardised:
        raise SignalError(
            f"its leads are standardised, and the model takes {spec.unit}",
            path=about.source,
            field="signal",
            remedy="Give the recording from which it was made",
        )
    every, noted = kept_samples(about.sampling_rate, spec)
    kept, rate = signal[:, ::every], about.sampling_rate / every
    length = PROFILES[spec.profile].length(kept.shape[1], rate, spec.sampling_rate)
    count = (length - spec.samples) // choices.step + 1 if length >= spec.samples else 0
    count = min(count, 1) if spec.long == "crop" else count
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
    _check_finite(signal, found, about, spec)
    made = conditioned(kept, found, length, spec, standardised=about.standardised)
    if not made.finite.all():
        name = found.available[int((~made.finite).argmax())]
        raise SignalError("the values are too large to be a signal", path=about.source, field=f"lead {name}")
    x = Windows(made, found.available, length, count, choices.step, spec)
    used = (count - 1) * choices.step + spec.samples if count else length
    provenance = {
        "source": about.source,
        "sampling_rate": about.sampling_rate,
        "samples": samples,
        "resampled": about.sampling_rate != spec.sampling_rate,
        "derived_leads": [name for name in found.wanted if name in about.derived or name in found.derived],
        "zero_leads": [name for name in spec.leads or () if name not in found.available],
        "constant_leads": x.constant_leads,
        "padded_s": 0.0 if count else (spec.samples - length) / spec.sampling_rate,
        "overlap_s": (spec.samples - choices.step) / spec.sampling_rate,
        "unused_s": (length - used) / spec.sampling_rate,
        "quality": findings(
            signal, about.sampling_rate, about.leads, derived=about.derived, standardised=about.standardised
        ),
        "notes": notes + noted,
    }
    return Segments(
        cast("NDArray[np.float32]", x) if lazily and length > BLOCK else x[:],
        about.start_s + np.arange(max(count, 1)) * choices.step / spec.sampling_rate,
        None if count else np.arange(spec.samples)[None] >= length,
        provenance,
        checksum(signal, about.sampling_rate, about.leads, about.start_s),
        None if about.standardised else spec.profile,
        spec,
    )


def _check_finite(signal: NDArray[Any], found: Origins, about: Record | About, spec: InputSpec) -> None:
    """Refuse NaN, infinity, and what is infinite in the model's unit, in the leads that are read."""
    most = np.inf if spec.standardised else np.finfo(np.float32).max / max(factor_of(spec), 1) / 2
    for name, row in found.read.items():
        for first in range(0, signal.shape[1], BLOCK):
            block = signal[row, first : first + BLOCK]
            if not np.isfinite(block).all():
                raise _not_finite(name, signal[row], about)
            if most < np.inf and np.abs(block.astype(np.float64, copy=False)).max() > most:
                raise SignalError("the values are too large to be a signal", path=about.source, field=f"lead {name}")


def _check_short(samples: int, about: Record | About, choices: Choices) -> None:
    duration = samples / about.sampling_rate
    if choices.pads and duration >= _LEAST_S:
        return
    needs = f"at least {_LEAST_S:g} s are padded to" if choices.pads else "the model needs"
    raise SignalError(
        f"{samples} samples at {about.sampling_rate:g} Hz ({duration:.2f} s) are too few: {needs}"
        f" {choices.input.duration_s:g} s",
        path=about.source,
        field="signal",
        remedy=None if choices.pads or duration < _LEAST_S else "To pad it: short='pad' (--short pad)",
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
