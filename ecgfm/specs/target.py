"""What the outputs of a regression model stand for: numbers with a mean, a deviation and a unit each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._text import shown
from ..errors import CheckpointError, ConfigError

__all__ = ["Target"]

_LONGEST = 40  # characters of a unit


@dataclass(frozen=True)
class Target:
    """The numbers that a regression model learned, of which its outputs are ``(value - mean) / std``.

    Attributes
    ----------
    mean, std : tuple of float
        (Y,) of the known values of each output in training, in its unit; deviations are above 0.
    units : tuple of str or None
        (Y,) such as ``"years"``; an empty text where it is not known.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    units: tuple[str, ...] | None = None

    @classmethod
    def of(cls, given: object, count: int, field: str = "target") -> Target:
        """What a user gives: a `Target`, or ``{"mean": [...], "std": [...], "units": [...]}``.

        Raises
        ------
        ConfigError
            If it is neither, or doesn't fit `count` outputs.
        """
        if isinstance(given, Target):
            given = given.to_dict()
        return _made(given, count, lambda what, name: ConfigError(what, field=_joined(field, name)))

    @classmethod
    def read(cls, said: object, count: int, path: Any = None) -> Target | None:
        """What stands under ``target`` in a file, None if nothing does; `CheckpointError` if it is damaged."""
        if said is None:
            return None
        return _made(said, count, lambda what, name: CheckpointError(what, path=path, field=_joined("target", name)))

    @classmethod
    def known(cls, y: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and deviation (Y,) of numbers (n, Y), without those that are NaN; NaN where none is left.

        Of numbers that are all the same the deviation is 1.
        """
        y = np.asarray(y, dtype=np.float64)
        there = ~np.isnan(y)
        count = there.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(there, y, 0).sum(axis=0) / count
            std = np.sqrt((np.where(there, y - mean, 0) ** 2).sum(axis=0) / count)
        return mean, np.where(std <= 1e-12 * np.abs(mean), 1.0, std)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a file."""
        return {"mean": list(self.mean), "std": list(self.std), "units": None if self.units is None else [*self.units]}

    def values(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """Outputs (n, Y) in the unit of the target."""
        return np.asarray(outputs, dtype=np.float64) * self.std + self.mean

    def standardised(self, y: ArrayLike) -> NDArray[np.float64]:
        """Numbers (n, Y) as the outputs are to be."""
        found: NDArray[np.float64] = (np.asarray(y, dtype=np.float64) - self.mean) / self.std
        return found

    def unit(self, i: int) -> str:
        """The unit of an output; empty if it is not known."""
        return self.units[i] if self.units else ""


def _joined(field: str, name: str) -> str:
    return ".".join(part for part in (field, name) if part)


def _made(given: object, count: int, error: Any) -> Target:
    if not isinstance(given, Mapping) or not {"mean", "std"} <= given.keys() <= {"mean", "std", "units"}:
        raise error(f"{shown(given)} is not {{'mean': [...], 'std': [...], 'units': [...]}}", "")
    found = [_numbers(given[name], count, name, error) for name in ("mean", "std")]
    if min(found[1]) <= 0:
        raise error("a deviation is not above 0", "std")
    return Target(found[0], found[1], _units(given.get("units"), count, error))


def _numbers(given: Any, count: int, name: str, error: Any) -> tuple[float, ...]:
    given = given.tolist() if isinstance(given, (np.ndarray, np.generic)) else given
    given = [given] if isinstance(given, (int, float)) and count == 1 else given
    if isinstance(given, (list, tuple)) and len(given) == count:
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given):
            try:
                found = tuple(float(value) for value in given)
            except OverflowError:
                found = (np.inf,)
            if np.isfinite(found).all() and np.abs(found).max() < 1e300:
                return found
    raise error(f"{shown(given)} is not a list of {count} finite numbers", name)


def _units(given: Any, count: int, error: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    given = [given] if isinstance(given, str) and count == 1 else given
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)) or len(given) != count:
        raise error(f"{shown(given)} is not a list of {count} texts", "units")
    for unit in given:
        if not isinstance(unit, str) or len(unit) > _LONGEST or not (unit.isprintable() or unit == ""):
            raise error(f"{shown(unit)} is not a text of at most {_LONGEST} printable characters", "units")
    return tuple(str(unit) for unit in given)
