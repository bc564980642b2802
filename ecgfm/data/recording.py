"""What happens to one recording on its way to segments: leads in order, resampling, standardising, cutting.

The stages are those of ECG-FM's preprocessing: ``org`` (the leads in order), ``preprocessed`` (resampled linearly, each
lead standardised over the whole recording) and ``segmented`` (blocks without overlap). Their arithmetic is the profile
`PIPELINE` of `ecgfm.signal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..ecg.cutting import factor_of, kept_samples
from ..errors import ConfigError, SignalError
from ..kernels import core
from ..signal import conditioning
from ..signal.leads import LEADS, canonical_lead, empty_leads, find_leads
from ..signal.profile import PIPELINE
from ..specs.inputs import InputSpec
from ..validation import refuse_masked

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Options", "Prepared", "condition", "cut", "describe", "prepare_recording", "reorder_leads"]

_SAY_LEADS = "Say it in their order: --input leads=I,II,..."
STRATEGIES = ("zero", "nan", "constant")
MISSING = ("error", "derive", "zero", "nan")
_FLOAT32_SUMS = 1 << 16  # samples: sums of longer float32 recordings are taken in float64


@dataclass(frozen=True)
class Options:
    """How recordings are prepared.

    Attributes
    ----------
    sample_rate : int or float
        In Hz, of what is written.
    segment_seconds : float
        Length of a segment; with the rate it must give a whole number of samples.
    standardize : bool
    leads : tuple of int
        Numbers of the leads that are kept: 0 is I, 11 is V6.
    constant_lead_strategy : {"zero", "nan", "constant"}
        What becomes of a lead all of whose values are equal: zeros, NaN, or what is left when its mean is taken out.
    missing_leads : {"error", "zero", "nan", "derive"}
        What happens if a lead is missing. III, aVR, aVL and aVF are calculated from I and II; for another lead the
        recording is refused, or it is filled with zeros. ``nan`` calculates nothing and fills all with NaN, as ECG-FM's
        scripts do. ``derive`` is another word for ``error``.
    input : InputSpec, optional
        What a model takes beside that: the unit, how recordings are resampled, what becomes of long and short ones, and
        whether each segment is standardised. `for_model` makes the options of one. Those of ECG-FM say nothing more.
    """

    sample_rate: float = 500
    segment_seconds: float = 5
    standardize: bool = True
    leads: tuple[int, ...] = tuple(range(12))
    constant_lead_strategy: str = "zero"
    missing_leads: str = "error"
    input: InputSpec | None = None

    @classmethod
    def for_model(cls, spec: InputSpec, **others: Any) -> Self:
        """Options for what a model takes; `others` are the options that no model says.

        The arithmetic is the pipeline's, whatever the profile of `spec`.

        Raises
        ------
        ConfigError
            If nobody said which leads the model takes.
        """
        if spec.leads is None:
            raise ConfigError("nothing says which leads the model takes", field="input.leads", remedy=_SAY_LEADS)
        return cls(
            sample_rate=spec.sampling_rate,
            segment_seconds=spec.samples / spec.sampling_rate,
            standardize=spec.normalisation == "recording",
            leads=tuple(map(LEADS.index, spec.leads)),
            input=spec,
            **others,
        )

    def __post_init__(self) -> None:
        if not 50 <= self.sample_rate <= 100_000:
            raise ConfigError(f"{self.sample_rate:g} Hz is not from 50 to 100,000", field="desired_sample_rate")
        whole = int(self.sample_rate) if float(self.sample_rate).is_integer() else self.sample_rate
        object.__setattr__(self, "sample_rate", whole)
        samples = self.segment_seconds * self.sample_rate
        if not samples >= 1 or not np.isclose(samples, round(samples), rtol=1e-9, atol=0):
            raise ConfigError(
                f"{self.segment_seconds:g} s at {self.sample_rate:g} Hz are {samples:g} samples, not a whole number",
                field="segment_seconds",
            )
        leads = tuple(self.leads) if self.input is not None else tuple(sorted(set(self.leads)))
        strange = [number for number in leads if not (isinstance(number, int) and 0 <= number < len(LEADS))]
        if strange or not leads:
            raise ConfigError(
                f"no lead has the number {', '.join(map(str, strange)) or '(none given)'}",
                field="leads",
                remedy="Give numbers from 0 (I) to 11 (V6), such as 0,1,6",
            )
        object.__setattr__(self, "leads", leads)
        for field, value, known in (
            ("constant_lead_strategy", self.constant_lead_strategy, STRATEGIES),
            ("missing_leads", self.missing_leads, MISSING),
        ):
            if value not in known:
                raise ConfigError(f"{value!r} is not known", field=field, remedy=f"Give {', '.join(known)}")

    @property
    def segment_samples(self) -> int:
        """int: samples of a segment."""
        return round(self.segment_seconds * self.sample_rate)

    @property
    def lead_names(self) -> list[str]:
        """list of str: the leads that are kept, in order."""
        return [LEADS[i] for i in self.leads]

    @property
    def factor(self) -> float:
        """float: what values in millivolts are multiplied by."""
        return 1.0 if self.input is None or self.input.standardised else factor_of(self.input)

    def settings(self) -> dict[str, Any]:
        """All of it as JSON can hold it; what is as ever is left out where it was not always there."""
        made = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        del made["input"]
        return made if self.input is None else made | {"input": self.input.to_dict()}

    def segments(self, x: NDArray[np.float64]) -> list[tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]]:
        """The segments of a prepared recording, (samples, leads), views of it where nothing is done to them.

        With each the ``mean`` and ``std`` (leads, 1) that it was standardised by, where it was.
        """
        size = self.segment_samples
        parts = [x[i : i + size] for i in range(0, len(x) - size + 1, size)]
        if self.input is None:
            return [(part, {}) for part in parts]
        if not parts and self.input.short == "pad" and len(x) >= self.sample_rate:  # of a second
            parts = [np.concatenate([x, np.zeros((size - len(x), x.shape[1]))])]
        parts = parts[:1] if self.input.long == "crop" else parts
        if self.input.normalisation != "segment":
            return [(part, {}) for part in parts]
        made = []
        for part in parts:
            own = np.array(part, np.float64, order="C")
            mean, std = conditioning.standardise(own[: min(len(x), size)], PIPELINE, self.constant_lead_strategy)
            made.append((own, {"mean": mean[:, None], "std": std[:, None]}))
        return made


@dataclass
class Prepared:
    """One recording in all stages. Arrays have the sample first: (samples, leads).

    Attributes
    ----------
    org : ndarray
        (n, leads) float32 or float64, the leads in order, at the recording's own rate.
    x : ndarray
        (N, leads) float64, resampled and standardised.
    mean, std : ndarray or None
        (leads,) float64, of the resampled recording; None if it isn't standardised.
    sample_rate : int or float
        Of `org`, in Hz.
    available, derived : list of str
        Leads that the recording has; those of them that were calculated from I and II.
    """

    org: NDArray[Any]
    x: NDArray[np.float64]
    mean: NDArray[np.float64] | None
    std: NDArray[np.float64] | None
    sample_rate: float
    available: list[str]
    derived: list[str]


def reorder_leads(
    feats: ArrayLike,
    names: Sequence[str],
    wanted: Sequence[str] = LEADS,
    *,
    missing: str = "nan",
    calculate: bool = False,
    path: str | None = None,
) -> tuple[NDArray[Any], list[str], list[str]]:
    """The wanted leads of a recording, in the wanted order.

    Parameters
    ----------
    feats : array_like
        (leads, samples).
    names : sequence of str
        One per row, in any usual spelling.
    wanted : sequence of str
    missing : {"error", "zero", "nan", "derive"}
        What happens if a lead is missing: that is an error, or it is filled with zeros or NaN. ``derive``: an error,
        with `calculate`.
    calculate : bool
        Whether III, aVR, aVL and aVF are calculated from I and II before that.

    Returns
    -------
    feats : ndarray
        (len(wanted), samples), float32 or float64. A view of what was given if nothing had to be moved.
    available : list of str
        Those of the wanted that are there.
    derived : list of str
        Those of the available that were calculated.

    Raises
    ------
    LeadError
        If a lead is named twice, or is missing, can't be calculated and is not to be filled.
    """
    names = list(names)
    if names != list(LEADS):
        names = [canonical_lead(name) for name in names]
    refuse_masked(feats, "signal")
    feats = np.asarray(feats)
    if feats.dtype.kind not in "iuf" or feats.ndim != 2 or len(feats) != len(names):
        raise SignalError(
            f"{feats.dtype} of shape {feats.shape} are not numbers of {len(names)} leads", path=path, field="signal"
        )
    feats = feats.astype(np.float32 if feats.dtype == np.float32 else np.float64, copy=False)
    found = find_leads(
        names,
        wanted,
        missing="error" if missing == "derive" else missing,
        empty=() if missing == "nan" else empty_leads(feats, names),
        can_derive=calculate or missing == "derive",
        path=path,
    )
    if list(wanted) == names and not found.derived and not found.filled:
        return feats, found.available, []
    return found.take(feats).T, found.available, list(found.derived)


def describe(feats: ArrayLike, names: Sequence[str] = LEADS) -> dict[str, Any]:
    """What ``meta.csv`` says of a recording's leads.

    Parameters
    ----------
    feats : ndarray
        (leads, samples) float32 or float64.
    names : sequence of str

    Returns
    -------
    dict
        ``nan_any``, ``nan_leads_any``, ``nan_leads`` (no value at all), ``constant_leads_any``, ``constant_leads`` (all
        values equal), ``mean_0`` ..., ``std_0`` ... (population) in the type of the recording.
    """
    x = _rows(feats)
    mean, std, nans, constant = core().moments(x if len(x) <= _FLOAT32_SUMS else x.astype(np.float64))
    nan_leads = [name for name, count in zip(names, nans) if count == len(x)]
    constant_leads = [name for name, same in zip(names, constant) if same]
    moments = {
        f"{name}_{i}": value
        for name, values in (("mean", mean), ("std", std))
        for i, value in enumerate(values.astype(x.dtype, copy=False))
    }
    return {
        "nan_any": bool(nans.any()),
        "nan_leads_any": bool(nan_leads),
        "nan_leads": str(nan_leads),
        "constant_leads_any": bool(constant_leads),
        "constant_leads": str(constant_leads),
        **moments,
    }


def condition(
    feats: ArrayLike,
    rate: float,
    new_rate: float = 500,
    *,
    standardize: bool = True,
    constant_lead_strategy: str = "zero",
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Resample a recording linearly and standardise each lead over all of it.

    Parameters
    ----------
    feats : array_like
        (leads, samples), real numbers.
    rate, new_rate : float
        In Hz. N samples become int(N * (new_rate / rate)), of which the first and the last are those of the recording.
    standardize : bool
        Subtract the mean, divide by the population standard deviation.
    constant_lead_strategy : {"zero", "nan", "constant"}

    Returns
    -------
    feats : ndarray
        (leads, N') float64.
    mean, std : ndarray or None
        (leads,) float64; None if not standardised.

    Raises
    ------
    SignalError
        If no sample would be left.
    """
    x = _rows(feats)
    samples = PIPELINE.length(len(x), rate, new_rate)
    if samples < 1:
        raise SignalError(f"{len(x)} samples at {rate:g} Hz give none at {new_rate:g} Hz", field="signal")
    x, mean, std = conditioning.condition(x, samples, PIPELINE, constant_lead_strategy if standardize else None)
    return x.T, mean, std


def cut(feats: ArrayLike, samples: int) -> NDArray[np.float32]:
    """The blocks of this length that a recording holds; the rest at its end is left out.

    Parameters
    ----------
    feats : array_like
        (leads, N).
    samples : int

    Returns
    -------
    ndarray
        (N // samples, leads, samples) float32.
    """
    refuse_masked(feats, "signal")
    return conditioning.cut(np.asarray(feats).T, samples)


def prepare_recording(
    feats: ArrayLike,
    rate: float,
    names: Sequence[str],
    options: Options = Options(),
    *,
    path: str | None = None,
    standardised: bool = False,
) -> Prepared:
    """All that is done to a recording before it is cut.

    Parameters
    ----------
    feats : array_like
        (leads, samples).
    rate : float
        In Hz.
    names : sequence of str
        Of the rows.
    options : Options
    path : str, optional
        For messages.
    standardised : bool
        Whether each lead is standardised already: then none can be calculated from others.

    Returns
    -------
    Prepared

    Raises
    ------
    LeadError, SignalError
        If leads are missing or the recording is empty.
    """
    missing = "error" if options.missing_leads == "derive" else options.missing_leads
    org, available, derived = reorder_leads(
        feats,
        names,
        options.lead_names,
        missing=missing,
        calculate=missing != "nan" and not standardised,
        path=path,
    )
    if org.shape[1] == 0:
        raise SignalError("the recording has no samples", path=path, field="signal")
    if standardised and options.input is not None and not options.input.standardised:
        raise SignalError(f"its leads are standardised, and the model takes {options.input.unit}", path=path)
    org = _rows(org)
    every = 1 if options.input is None else kept_samples(rate, options.input)[0]
    x, mean, std = condition(
        org[::every].T,
        rate / every,
        options.sample_rate,
        standardize=options.standardize,
        constant_lead_strategy=options.constant_lead_strategy,
    )
    x = x if options.factor == 1 else x * options.factor
    return Prepared(org, x.T, mean, std, rate, available, derived)


def _rows(feats: ArrayLike) -> NDArray[Any]:
    """(samples, leads), dense, float32 or float64."""
    refuse_masked(feats, "signal")
    feats = np.asarray(feats)
    dtype = np.float32 if feats.dtype == np.float32 else np.float64
    return np.ascontiguousarray(feats.T, dtype=dtype)
