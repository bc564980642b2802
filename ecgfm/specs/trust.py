"""How logits become probabilities that can be trusted, and above which of them a label counts as there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from ..errors import CheckpointError

__all__ = ["CALIBRATIONS", "MOST_KNOTS", "Calibration", "Curve", "Thresholds"]

#: temperature: one factor; Platt: a factor and a shift; isotonic: any rising curve.
CALIBRATIONS: Final = ("temperature", "platt", "isotonic")
MOST_KNOTS: Final = 1000
_LONGEST = 100  # characters of a rule
_LARGEST = 1e30


@dataclass(frozen=True)
class Curve:
    """What becomes of the logits of a label: the logistic function of ``slope * z + intercept``, or straight lines.

    Attributes
    ----------
    slope, intercept : float
        The slope is above 0.
    x, y : tuple of float
        Knots, where there are any: rising logits and their probabilities, which don't fall. Outside of them the first
        and the last one hold.
    """

    slope: float = 1.0
    intercept: float = 0.0
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def probabilities(self, z: NDArray[Any]) -> NDArray[np.float64]:
        """Of logits."""
        z = np.asarray(z, dtype=np.float64)
        if self.x:
            between: NDArray[np.float64] = np.interp(z, self.x, self.y)
            return between
        with np.errstate(over="ignore"):
            found: NDArray[np.float64] = 1 / (1 + np.exp(-(self.slope * z + self.intercept)))
        return found

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a file."""
        if self.x:
            return {"x": list(self.x), "y": list(self.y)}
        return {"slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True)
class Calibration:
    """What was learned of a model's probabilities from recordings with known labels.

    Attributes
    ----------
    method : str
        One of `CALIBRATIONS`.
    curves : tuple of Curve or None
        (Y,); None of a label that is left as it is.
    recordings : int
        That it was fitted on.
    """

    method: str
    curves: tuple[Curve | None, ...]
    recordings: int = 0

    def probabilities(self, logits: NDArray[Any]) -> NDArray[np.float32]:
        """(n, Y) of logits (n, Y)."""
        plain = Curve()
        columns = [(plain if curve is None else curve).probabilities(z) for curve, z in zip(self.curves, logits.T)]
        return np.stack(columns, axis=1).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a file."""
        curves = [None if curve is None else curve.to_dict() for curve in self.curves]
        return {"method": self.method, "curves": curves, "recordings": self.recordings}

    @classmethod
    def read(cls, said: object, count: int, path: Any = None) -> Calibration | None:
        """What stands under ``calibration`` in a file, None if nothing does; `CheckpointError` if it is damaged."""
        if said is None:
            return None

        def error(what: str, name: str) -> CheckpointError:
            return CheckpointError(what, path=path, field="calibration" + (f".{name}" if name else ""))

        if not isinstance(said, Mapping) or not {"method", "curves"} <= said.keys():
            raise error(f"{shown(said)} is no calibration", "")
        method, curves, recordings = said["method"], said["curves"], said.get("recordings", 0)
        if not isinstance(method, str) or method not in CALIBRATIONS:
            raise error(f"{shown(method)} is none of {', '.join(CALIBRATIONS)}", "method")
        if not isinstance(curves, (list, tuple)) or len(curves) != count:
            raise error(f"{shown(curves)} is not a list of {count} curves", "curves")
        if type(recordings) is not int or not 0 <= recordings < 1 << 62:
            raise error(f"{shown(recordings)} is no number of recordings", "recordings")
        return cls(method, tuple(_curve(curve, f"curves.{i}", error) for i, curve in enumerate(curves)), recordings)


@dataclass(frozen=True)
class Thresholds:
    """Above which probability each label counts as there.

    Attributes
    ----------
    rule : str
        How they were chosen: ``"youden"``, ``"sensitivity=0.9"``, ...
    values : tuple of float or None
        (Y,) from 0 to 1; None of a label without one.
    calibrated : bool
        Whether the probabilities are calibrated ones.
    """

    rule: str
    values: tuple[float | None, ...]
    calibrated: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a file."""
        return {"rule": self.rule, "values": list(self.values), "calibrated": self.calibrated}

    @classmethod
    def read(cls, said: object, count: int, path: Any = None) -> Thresholds | None:
        """What stands under ``thresholds`` in a file, None if nothing does; `CheckpointError` if it is damaged."""
        if said is None:
            return None

        def error(what: str, name: str) -> CheckpointError:
            return CheckpointError(what, path=path, field="thresholds" + (f".{name}" if name else ""))

        if not isinstance(said, Mapping) or not {"rule", "values", "calibrated"} <= said.keys():
            raise error(f"{shown(said)} are no thresholds", "")
        rule, values = said["rule"], said["values"]
        if not isinstance(rule, str) or len(rule) > _LONGEST or not rule.isprintable():
            raise error(f"{shown(rule)} is no rule", "rule")
        if not isinstance(said["calibrated"], bool):
            raise error(f"{shown(said['calibrated'])} is neither true nor false", "calibrated")
        if not isinstance(values, (list, tuple)) or len(values) != count:
            raise error(f"{shown(values)} is not a list of {count} numbers", "values")
        for i, value in enumerate(values):
            if value is not None and not (_is_number(value) and 0 <= value <= 1):
                raise error(f"{shown(value)} is no probability", f"values.{i}")
        found = tuple(None if value is None else float(value) for value in values)
        return cls(rule, found, said["calibrated"])


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST


def _curve(given: Any, name: str, error: Any) -> Curve | None:
    if given is None:
        return None
    if isinstance(given, Mapping) and given.keys() == {"slope", "intercept"}:
        slope, intercept = given["slope"], given["intercept"]
        if _is_number(slope) and _is_number(intercept) and slope > 0:
            return Curve(float(slope), float(intercept))
    elif isinstance(given, Mapping) and given.keys() == {"x", "y"}:
        x, y = _rising(given["x"]), _rising(given["y"])
        if x and y and len(x) == len(y) and len(set(x)) == len(x) and 0 <= y[0] and y[-1] <= 1:
            return Curve(x=x, y=y)
    raise error(f"{shown(given)} is no curve", name)


def _rising(given: Any) -> tuple[float, ...]:
    """Numbers that don't fall; empty if they are none."""
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)) or not 1 <= len(given) <= MOST_KNOTS:
        return ()
    if not all(_is_number(value) for value in given):
        return ()
    found = tuple(float(value) for value in given)
    return found if all(a <= b for a, b in zip(found, found[1:])) else ()
