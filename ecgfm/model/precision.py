"""Which precision a model is loaded in, and why."""

from __future__ import annotations

from .._types import StrPath
from ..errors import ConfigError
from ..kernels import core
from ..machine import processor_name
from ..specs.precision import AUTO, FLOAT32, PRECISIONS, Stated
from ..validation import Choice, Number, checked
from .report import QuantizationReport

__all__ = ["check_asked", "choose", "exact", "report_of"]

_ASKED = Choice((*PRECISIONS, AUTO), none=True)
_MAX_CHANGE = Number(above=0, at_most=1)


def choose(
    asked: str | None, stated: Stated, max_change: float = 0.01, source: StrPath | None = None
) -> tuple[str, str | None]:
    """The precision to load a model in, and what there is to be said of that.

    Parameters
    ----------
    asked : str or None
        One of `PRECISIONS`, or ``"auto"``; None takes what the file states.
    stated : Stated
    max_change : float
        Below which the largest change of a probability must be for ``"auto"``.
    source : path-like, optional
        Where the model comes from.

    Raises
    ------
    ConfigError
        If the precision is not known, or this processor lacks the instructions that it needs.
    CheckpointError
        If the report is damaged.
    """
    check_asked(asked, max_change)
    if asked == AUTO:
        return _automatic(stated, max_change, source)
    name = stated.name if asked is None else asked
    if name not in core().precisions():
        raise ConfigError(
            f"this processor lacks the instructions for {name}", field="precision", remedy=f'Give "{_nearest(name)}"'
        )
    return name, _of_rounded(name, stated)


def check_asked(asked: str | None, max_change: float) -> None:
    """Raise ConfigError unless the precision is known; whether the processor has it, `choose` says."""
    checked(asked, _ASKED, "precision")
    checked(max_change, _MAX_CHANGE, "max_change")


def report_of(stated: Stated, path: StrPath | None = None) -> QuantizationReport | None:
    """The report that is kept with a model; CheckpointError if it is damaged."""
    return None if stated.report is None else QuantizationReport.from_dict(stated.report, path)


def exact(stated: Stated) -> bool:
    """Whether the weights are those of training, not rounded to another precision."""
    return stated.numbers == FLOAT32


def _nearest(name: str) -> str:
    """The next more exact precision that this processor has."""
    has = core().precisions()
    return next(each for each in reversed(PRECISIONS[: PRECISIONS.index(name) + 1]) if each in has)


def _of_rounded(name: str, stated: Stated) -> str | None:
    if exact(stated) or name == stated.numbers:
        return None
    return f"The weights were rounded to {stated.numbers} when the model was saved; {name} does not undo that"


def _automatic(stated: Stated, max_change: float, source: StrPath | None) -> tuple[str, str]:
    if not exact(stated):
        name = _nearest(stated.numbers)
        return name, _of_rounded(name, stated) or f"{name} is taken: the file holds its weights so"
    report = report_of(stated, source)
    if report is None:
        return FLOAT32, f"float32 is taken: no report says how exact others are; ecgfm speed {_place(source)} makes one"
    against, times = [], {each.precision: each.ms for each in report.changes}
    if report.processor != processor_name():  # times of another processor say nothing here
        times = {}
    for name in sorted(PRECISIONS[1:], key=lambda name: (times.get(name, 0.0), -PRECISIONS.index(name))):
        change = report.of(name)
        if name not in core().precisions():
            against.append(f"{name}: this processor lacks the instructions")
        elif change is None:
            against.append(f"{name}: the report doesn't have it")
        elif not change.all.largest < max_change:
            against.append(f"{name}: a probability changes by {change.all.largest:.2g}, not below {max_change:g}")
        elif times and change.ms >= report.ms:
            against.append(f"{name}: no faster than float32 on this processor")
        else:
            why = f"by its report a probability changes by at most {change.all.largest:.2g}, below {max_change:g}"
            return name, "; ".join([f"{name} is taken: {why}", *against])
    return FLOAT32, "; ".join(["float32 is taken", *against])


def _place(source: StrPath | None) -> str:
    return f"{'MODEL' if source is None else source} --accuracy --keep"
