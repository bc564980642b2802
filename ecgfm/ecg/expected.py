"""What segments must look like for the model, and a word to who gives others."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputWarning, LeadError
from ..signal.leads import LEADS, canonical_lead, listed, names_lead
from .named import row_names
from .prepare import SAMPLES, Segments

__all__ = ["Expected", "prepared_here", "refuse_other_order", "unprepared", "warn_unprepared"]

_ROWS = 16  # segments that are looked at; all of them would cost more than the answer is worth
# Nine of ten raw recordings of 123 leave less than this of II - I - III; of 1,630 prepared segments none.
_ONE_UNIT = 0.01
_prepared = ContextVar("ecgfm_prepared", default=False)


@dataclass(frozen=True)
class Expected:
    """What prepared segments are like.

    Attributes
    ----------
    samples : int
        Of a segment.
    least, most : float
        Between these lies the standard deviation of a lead of prepared recordings, whose own is 1: a segment may be
        quieter or louder than the rest of its recording.
    mean : float
        Beyond this no lead's mean lies.
    """

    samples: int = SAMPLES
    least: float = 0.3
    most: float = 3.0
    mean: float = 1.0

    def __str__(self) -> str:
        return (
            f"{self.samples} samples (5 s at 500 Hz), each lead with mean 0 and standard deviation 1 over its recording"
        )


ECG_FM = Expected()


def refuse_other_order(x: Any, field: str) -> None:
    """Refuse segments whose rows are named as leads, but not in the model's order.

    An array has no names, so that of tables (DataFrames) in another order each lead would be taken for another.

    Raises
    ------
    LeadError
    """
    for one in x if isinstance(x, (list, tuple)) else (x,):
        names = row_names(one, names_lead)
        if names is not None and tuple(map(canonical_lead, names)) != LEADS:
            raise LeadError(
                f"the rows are named {listed(names)}, the model takes {listed(LEADS)}",
                field=field,
                remedy="ecgfm.prepare puts leads into this order by their names",
            )


@contextmanager
def prepared_here() -> Iterator[None]:
    """Within this block segments come from `ecgfm.prepare`, and nothing is said of the few that are unusual."""
    token = _prepared.set(True)
    try:
        yield
    finally:
        _prepared.reset(token)


def warn_unprepared(x: Any, *, expected: Expected = ECG_FM, what: str = "the model", stacklevel: int = 2) -> bool:
    """Warn if segments are evidently not what the model was trained on, such as millivolts.

    Parameters
    ----------
    x : Segments or array_like
        (B, L, N). Segments are what `ecgfm.prepare` made and are not looked at.
    expected : Expected, optional
    what : str, optional
        Who takes them, for the message.
    stacklevel : int, optional
        As of `warnings.warn`: 2 is the caller of this function.

    Returns
    -------
    bool
        Whether it warned.
    """
    if isinstance(x, Segments) or _prepared.get():
        return False
    came = unprepared(x, expected)
    if came is None:
        return False
    warnings.warn(
        f"{what} expects prepared segments: {expected}; what came has {came}. The results mean little. Prepare each "
        "recording first: x = ecgfm.prepare(signal, sampling_rate)",
        InputWarning,
        stacklevel=stacklevel,
    )
    return True


def unprepared(x: Any, expected: Expected = ECG_FM) -> str | None:
    """What about segments is evidently not as expected, in words; None if nothing is.

    The median over a sample of the segments decides, of each the median over its leads, of each lead without its zeros:
    so padded, masked and partly lost segments count by what there is of them, and a few odd ones don't count.
    """
    if not hasattr(x, "shape"):
        x = np.asarray(x)
    if len(x.shape) != 3 or 0 in x.shape or x.dtype.kind not in "iuf":
        return None
    said = [] if x.shape[2] == expected.samples else [f"{x.shape[2]} samples"]
    scale, mean, rest = (_median(values) for values in zip(*map(_measures, _sample(x))))
    if scale < expected.least or scale > expected.most:
        said.append(f"a standard deviation of {scale:.3g}")
    elif rest < _ONE_UNIT:
        said.append("limb leads that still share one unit (II = I + III)")
    if mean > expected.mean:
        said.append(f"a mean of {mean:.3g}")
    return " and ".join(said) or None


def _sample(x: Any) -> Iterator[NDArray[np.float64]]:
    """Some of the segments as float64, evenly taken; of long ones some of the samples."""
    rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), _ROWS)).astype(int))
    step = max(1, x.shape[2] // 5000)
    return (np.asarray(x[row, :, ::step], dtype=np.float64) for row in rows)


def _median(values: Iterable[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.median(known)) if known else np.nan


def _measures(segment: NDArray[np.float64]) -> tuple[float, float, float]:
    """Of a segment: medians over its leads of the standard deviation and of the absolute mean, and what is left of
    II - I - III compared with the largest of the three; NaN where nothing can be said."""
    with np.errstate(over="ignore", invalid="ignore"):
        leads = [values for lead in segment if len(values := lead[lead != 0]) > 1]
        scale, mean = _median([lead.std() for lead in leads]), _median([abs(lead.mean()) for lead in leads])
        first = segment[:3]
        if len(segment) < 3 or not (first != 0).any(axis=1).all():
            return scale, mean, np.nan
        most = first.std(axis=1).max()
        return scale, mean, (first[1] - first[0] - first[2]).std() / most if most > 0 else np.nan
