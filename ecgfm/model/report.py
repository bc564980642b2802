"""What a report on precisions holds: by how much each changes the probabilities, against float32."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._text import printable, short, shown
from .._types import StrPath
from ..checkpoint import keep_report
from ..errors import CheckpointError
from ..specs.precision import PRECISIONS
from ..validation import is_finite

__all__ = ["Change", "PrecisionChange", "QuantizationReport"]

_WIDEST = 40  # characters of a label that are printed


@dataclass(frozen=True)
class Change:
    """The change of probabilities: of one label, or of all.

    Attributes
    ----------
    largest, mean : float
        Of the absolute difference.
    rank_correlation : float
        Spearman's, of the segments by their probability before and after; of all labels, the mean over the labels. NaN
        where all probabilities are equal.
    auroc : float
        The AUROC's difference from float32's; of all labels, that of the label where it is farthest from 0. NaN where
        no truth was given, or the truth has one class.
    """

    largest: float
    mean: float
    rank_correlation: float
    auroc: float = math.nan


@dataclass(frozen=True)
class PrecisionChange:
    """What a precision changes.

    Attributes
    ----------
    precision : str
    all : Change
        Over all labels.
    labels : dict of str to Change
    ms : float
        Milliseconds that a segment takes.
    """

    precision: str
    all: Change
    labels: Mapping[str, Change]
    ms: float


@dataclass(frozen=True)
class QuantizationReport:
    """By how much each precision changes a model's probabilities, against float32, on the segments of one data set.

    ``str(report)`` is a table. Made by `ecgfm.quantization_report`; kept with a model by `Model.save`, or by `keep` in
    the directory of one.

    Attributes
    ----------
    changes : tuple of PrecisionChange
    segments : int
        How many were measured.
    data : str
        ``"given"`` or ``"simulated"``.
    ms : float
        Milliseconds that a segment takes in float32.
    processor : str
        What the times were measured on.
    threads, batch_size : int
        With which the times were measured.
    """

    changes: tuple[PrecisionChange, ...]
    segments: int
    data: str
    ms: float
    processor: str
    threads: int
    batch_size: int

    def of(self, precision: str) -> PrecisionChange | None:
        """What a precision changes; None if it was not measured."""
        return next((each for each in self.changes if each.precision == precision), None)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it: NaN is None."""
        found: dict[str, Any] = _plain(dataclasses.asdict(self))
        return found

    @classmethod
    def from_dict(cls, said: Mapping[str, Any], path: StrPath | None = None) -> QuantizationReport:
        """The report that `to_dict` gave; `CheckpointError` if it is damaged."""
        try:
            return cls(
                tuple(
                    PrecisionChange(
                        _text(each["precision"], PRECISIONS),
                        _change(each["all"]),
                        {_text(name): _change(change) for name, change in each["labels"].items()},
                        _number(each["ms"]),
                    )
                    for each in said["changes"]
                ),
                int(_number(said["segments"])),
                _text(said["data"]),
                _number(said["ms"]),
                _text(said["processor"]),
                int(_number(said["threads"])),
                int(_number(said["batch_size"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            what = f"the report is damaged: {type(error).__name__}: {short(printable(error), 200)}"
            raise CheckpointError(what, path=path, field="precision.report") from None

    def keep(self, path: StrPath) -> Path:
        """Put the report into a model directory's ``config.json``, from which ``precision="auto"`` takes it.

        Returns the file's path; raises CheckpointError if there is no such directory, or it can't be written.
        """
        return keep_report(path, self.to_dict())

    def __str__(self) -> str:
        lines = [
            f"Change of the probabilities against float32, {self.segments:,} {self.data} segments"
            f" ({printable(self.processor)}, {self.threads} threads)",
            "",
            f"{'precision':<{_WIDEST}} {'largest':>9} {'mean':>9} {'rank corr.':>10} {'AUROC':>9} {'ms':>8}",
            f"{'float32':<{_WIDEST}} {'':>9} {'':>9} {'':>10} {'':>9} {self.ms:>8.2f}",
        ]
        lines += [_line(each.precision, each.all, f"{each.ms:>8.2f}") for each in self.changes]
        for each in self.changes:
            lines += ["", f"{each.precision}, per label"]
            lines += [_line(short(printable(name), _WIDEST), change) for name, change in each.labels.items()]
        return "\n".join(lines)


def _line(name: str, change: Change, end: str = "") -> str:
    auroc = "" if math.isnan(change.auroc) else f"{change.auroc:+.5f}"
    correlation = "" if math.isnan(change.rank_correlation) else f"{change.rank_correlation:.5f}"
    line = f"{name:<{_WIDEST}} {change.largest:>9.5f} {change.mean:>9.5f} {correlation:>10} {auroc:>9} {end}"
    return line.rstrip()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _change(said: Mapping[str, Any]) -> Change:
    undefined = (math.nan if said[key] is None else _number(said[key], least=-1.0) for key in _UNDEFINED)
    return Change(_number(said["largest"]), _number(said["mean"]), *undefined)


_UNDEFINED = ("rank_correlation", "auroc")  # where they are, None


def _number(value: Any, least: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not is_finite(value) or value < least:
        raise ValueError(f"{shown(value)} is not a number from {least:g}")
    return float(value)


def _text(value: Any, known: tuple[str, ...] | None = None) -> str:
    if not isinstance(value, str) or (known is not None and value not in known):
        raise ValueError(f"{shown(value)} is not a name")
    return value
