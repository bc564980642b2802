"""What segments must look like for a model: what contradicts it is refused, and who gives others is told so."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputWarning, LeadError, SignalError
from ..signal.checks import millivolts_per
from ..signal.leads import canonical_lead, listed, names_lead
from ..specs.inputs import ECG_FM, InputSpec
from .named import row_names
from .prepare import Segments

__all__ = [
    "odd_about",
    "prepared_here",
    "refuse_difference",
    "refuse_other_input",
    "refuse_other_order",
    "unprepared",
    "warn_unprepared",
]

_ROWS = 16  # segments that are looked at; all of them would cost more than the answer is worth
_SAMPLES = 1250  # of each, about: every n-th is taken where there are more
# Between these lies the standard deviation of a lead of a standardised recording: a segment may be quieter or louder
# than the rest. Beyond the mean no lead's mean lies.
_LEAST, _MOST, _MEAN = 0.3, 3.0, 1.0
_LEAST_MV, _MOST_MV = 0.05, 20.0  # between these lies the range of a lead in millivolts
# Nine of ten raw recordings of 123 leave less than this of II - I - III; of 1,630 prepared segments none.
_ONE_UNIT = 0.01
# So near to 1 is the deviation of a lead that was standardised, and so near to 0 its mean: in millivolts, and of 2500
# samples of noise, that is chance. So many segments are looked at for it, whole.
_EXACTLY, _WHOLE_ROWS = 1e-3, 4
_prepared = ContextVar("ecgfm_prepared", default=False)


def refuse_other_order(x: Any, field: str, spec: InputSpec = ECG_FM) -> None:
    """Refuse segments whose rows are named as leads, but not in the model's order.

    An array has no names, so that of tables (DataFrames) in another order each lead would be taken for another.

    Raises
    ------
    LeadError
    """
    for one in x if isinstance(x, (list, tuple)) else (x,):
        names = row_names(one, names_lead)
        if names is not None and spec.leads is not None and tuple(map(canonical_lead, names)) != spec.leads:
            raise LeadError(
                f"the rows are named {listed(names)}, the model takes {listed(spec.leads)}",
                field=field,
                remedy="ecgfm.prepare puts leads into this order by their names",
            )


def refuse_other_input(x: Any, spec: InputSpec, field: str = "x") -> None:
    """Refuse `Segments`, or a list of them, that say themselves that they were prepared for something else.

    Raises
    ------
    SignalError
        If their rate, normalisation, unit or leads are not those that the model takes.
    """
    for one in x if isinstance(x, (list, tuple)) else (x,):
        if isinstance(one, Segments) and one.input is not None:
            refuse_difference(one.input, spec, field, path=one.source)


def refuse_difference(declared: InputSpec, spec: InputSpec, field: str, *, path: str | None = None) -> None:
    """Refuse segments that were prepared as `declared` for a model that takes `spec`.

    Raises
    ------
    SignalError
    """
    wrong = declared.differences(spec)
    if wrong:
        raise SignalError(
            f"the segments were prepared for another model: {'; '.join(wrong)}",
            path=path,
            field=field,
            remedy="Prepare the recording for this one: ecgfm.prepare(record, model)",
        )


@contextmanager
def prepared_here() -> Iterator[None]:
    """Within this block segments come from `ecgfm.prepare`, and nothing is said of the few that are unusual."""
    token = _prepared.set(True)
    try:
        yield
    finally:
        _prepared.reset(token)


def warn_unprepared(
    x: Any, spec: InputSpec = ECG_FM, *, what: str = "the model", said: set[str] | None = None, stacklevel: int = 2
) -> bool:
    """Warn if segments are evidently not what the model was trained on, such as millivolts.

    Parameters
    ----------
    x : Segments or array_like
        (B, L, N). Segments that say what `ecgfm.prepare` made them for are not looked at, but for their length.
    spec : InputSpec, optional
        What the model takes.
    what : str, optional
        Who takes them, for the message.
    said : set of str, optional
        The causes that were warned of before, which are not warned of again; the new ones are added.
    stacklevel : int, optional
        As of `warnings.warn`: 2 is the caller of this function.

    Returns
    -------
    bool
        Whether it warned.
    """
    if _prepared.get():
        return False
    said = set() if said is None else said
    declared = isinstance(x, Segments) and x.input is not None
    odd = _odd_length(x, spec) if declared else odd_about(x, spec)
    new = [text for cause, text in odd.items() if cause not in said]
    if not new:
        return False
    said.update(odd)
    warnings.warn(
        f"{what} expects prepared segments: {_wanted(spec)}; what came has {' and '.join(new)}. The results mean "
        f"little. Prepare each recording first: x = ecgfm.prepare(record{'' if spec == ECG_FM else ', model'})",
        InputWarning,
        stacklevel=stacklevel,
    )
    return True


def unprepared(x: Any, spec: InputSpec = ECG_FM) -> str | None:
    """What about segments is evidently not as expected, in words; None if nothing is."""
    return " and ".join(odd_about(x, spec).values()) or None


def odd_about(x: Any, spec: InputSpec = ECG_FM) -> dict[str, str]:
    """What about segments is evidently not as expected: the cause, and words that follow "what came has".

    The median over a sample of the segments decides, of each the median over its leads, of each lead without its zeros:
    so padded, masked and partly lost segments count by what there is of them, and a few odd ones don't count.
    """
    if not hasattr(x, "shape"):
        x = np.asarray(x)
    if len(x.shape) != 3 or 0 in x.shape or x.dtype.kind not in "iuf":
        return {}
    odd = _odd_length(x, spec)
    scale, mean, rest, span = map(_median, zip(*map(_measures, _sample(x))))
    if not spec.standardised:
        return odd | _odd_in_unit(spec, span, x)
    if scale < _LEAST or scale > _MOST:
        odd["scale"] = f"a standard deviation of {scale:.3g}"
    elif rest < _ONE_UNIT and spec.leads is not None and spec.leads[:3] == ECG_FM.leads[:3]:  # type: ignore[index]
        odd["one unit"] = "limb leads that still share one unit (II = I + III)"
    if mean > _MEAN:
        odd["mean"] = f"a mean of {mean:.3g}"
    return odd


def _odd_length(x: Any, spec: InputSpec) -> dict[str, str]:
    samples = np.shape(x.x if isinstance(x, Segments) else x)[-1]
    return {} if samples == spec.samples else {"length": f"{samples} samples"}


def _odd_in_unit(spec: InputSpec, span: float, x: Any) -> dict[str, str]:
    one = 1 / (millivolts_per(spec.unit) or 1)
    if span > _MOST_MV * one or span < _LEAST_MV * one:
        return {"range": f"leads that range over {span:.3g} {spec.unit}"}
    return {"standardised": "leads that are standardised"} if _is_standardised(x) else {}


def _is_standardised(x: Any) -> bool:
    """Whether each lead of most segments has mean 0 and deviation 1, as no lead in a unit has."""
    away: list[float] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for row in range(min(len(x), _WHOLE_ROWS)):
            segment = np.asarray(x[row], dtype=np.float64)
            segment = segment[segment.any(axis=1)]
            mean = segment.mean(axis=1)
            square = np.einsum("ij,ij->i", segment, segment) / segment.shape[1]
            away += np.maximum(abs(mean), abs(np.sqrt(np.maximum(square - mean * mean, 0)) - 1)).tolist()
    return _median(away) < _EXACTLY


def _wanted(spec: InputSpec) -> str:
    length = f"{spec.samples} samples ({spec.duration_s:g} s at {spec.sampling_rate:g} Hz)"
    if not spec.standardised:
        return f"{length}, in {spec.unit}, not standardised"
    return f"{length}, each lead with mean 0 and standard deviation 1 over its {spec.normalisation}"


def _sample(x: Any) -> Iterator[NDArray[np.float64]]:
    """Some of the segments as float64, evenly taken; of long ones some of the samples."""
    rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), _ROWS)).astype(int))
    step = max(1, x.shape[2] // _SAMPLES)
    return (np.asarray(x[row, :, ::step], dtype=np.float64) for row in rows)


def _median(values: Iterable[float]) -> float:
    """Of a few numbers, for which NumPy's takes long; NaN doesn't count."""
    known = sorted(value for value in values if value == value)
    middle = len(known) // 2
    return np.nan if not known else known[middle] if len(known) % 2 else (known[middle - 1] + known[middle]) / 2


def _measures(segment: NDArray[np.float64]) -> tuple[float, ...]:
    """Of a segment; NaN where nothing can be said.

    Medians over its leads of the standard deviation, of the absolute mean; what is left of II - I - III compared with
    the largest of the three; the median of the range.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        there = segment != 0
        count = np.count_nonzero(there, axis=1)
        used = count > 1
        if not used.any():
            return (np.nan,) * 4
        first = segment[:3] if used[:3].all() and len(segment) >= 3 else None
        if not used.all():
            segment, there, count = segment[used], there[used], count[used]
        mean = segment.sum(axis=1) / count
        span = (segment.max(axis=1) - segment.min(axis=1)).tolist()
        away = (segment - mean[:, None]) * there
        deviation = np.sqrt(np.einsum("ij,ij->i", away, away) / count)
        rest = np.nan
        if first is not None and (most := deviation[:3].max()) > 0:
            rest = (first[1] - first[0] - first[2]).std() / most
        return _median(deviation.tolist()), _median(abs(mean).tolist()), float(rest), _median(span)
