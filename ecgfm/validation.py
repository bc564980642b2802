"""Limits of arguments and settings: declared once, refused in one grammar.

A function holds a plain argument against a rule: ``epochs = checked(epochs, Whole(1), "epochs")``.
A class of `Settings` declares a rule beside each field: ``mask_length: int = whole(10, at_least=1)``.
What a rule does not allow ends in a `ConfigError` that names the field, the value and what is allowed.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ._text import shown
from .errors import ConfigError, Error, SignalError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

__all__ = [
    "MISSING",
    "REFUSED",
    "Choice",
    "Flag",
    "Number",
    "Numbers",
    "Rule",
    "Seed",
    "Settings",
    "Share",
    "Whole",
    "bool_array",
    "check_known",
    "check_legacy",
    "checked",
    "flag",
    "is_finite",
    "is_one_of",
    "number",
    "numbers",
    "one_of",
    "real_array",
    "refuse_masked",
    "seed",
    "share",
    "whole",
]

REFUSED = object()  # what `Rule.take` gives for a value that is not allowed
_LARGEST = (1 << 62) - 1  # of an integer without another limit, so that sums of two fit 64 bits
_MOST_NUMBERS = 10_000


# ---- rules --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    """What a value may be.

    Parameters
    ----------
    none : bool
        Whether None may be given, too; it stays None.
    """

    none: bool = dataclasses.field(default=False, kw_only=True)

    def check(self, value: object, field: str) -> Any:
        """The value in the type of the rule; `ConfigError` if the rule does not allow it."""
        if value is None and self.none:
            return None
        found = self.take(value)
        if found is REFUSED:
            allowed = self.allowed() + (" or None" if self.none else "")
            raise ConfigError(f"{shown(value)} is not {allowed}", field=field, remedy=self.remedy(value))
        return found

    def allows(self, value: object) -> bool:
        """Whether `check` would take the value: for values of a file."""
        return (value is None and self.none) or self.take(value) is not REFUSED

    def take(self, value: object) -> Any:
        """The value in the type of the rule, or `REFUSED`."""
        raise NotImplementedError

    def allowed(self) -> str:
        """What is allowed, in words that follow "is not"."""
        raise NotImplementedError

    def remedy(self, value: object) -> str | None:
        """What the user can do about this value, where more can be said than what is allowed."""
        return None


@dataclass(frozen=True)
class Number(Rule):
    """A finite real number, also one of NumPy, as float; bools are not numbers."""

    at_least: float | None = None
    above: float | None = dataclasses.field(default=None, kw_only=True)
    at_most: float | None = dataclasses.field(default=None, kw_only=True)
    below: float | None = dataclasses.field(default=None, kw_only=True)

    def take(self, value: object) -> Any:
        return float(value) if _is_real(value) and self._holds(float(value)) else REFUSED  # type: ignore[arg-type]

    def _holds(self, value: float) -> bool:
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def allowed(self) -> str:
        limits = self._limits()
        return f"a number {limits}" if limits else "a finite number"

    def _limits(self) -> str:
        start = f"from {self.at_least:g}" if self.at_least is not None else ""
        start = f"above {self.above:g}" if self.above is not None else start
        if self.at_most is None and self.below is None:
            return start + (" up" if self.at_least is not None and self.above is None else "")
        end = f"below {self.below:g}" if self.below is not None else f"{self.at_most:g}"
        if start.startswith("from"):
            return f"{start} to {end}"
        end = end if self.below is not None else f"at most {end}"
        return f"{start} and {end}" if start else end


@dataclass(frozen=True)
class Share(Number):
    """A number from 0 to 1."""

    at_least: float | None = 0
    at_most: float | None = dataclasses.field(default=1, kw_only=True)


@dataclass(frozen=True)
class Whole(Rule):
    """An integer, also one of NumPy, as int; bools are not integers.

    Parameters
    ----------
    at_least, at_most : int
    floats : bool
        Whether a float without a fraction is taken, too.
    """

    at_least: int = 0
    at_most: int | None = None
    floats: bool = dataclasses.field(default=False, kw_only=True)

    def take(self, value: object) -> Any:
        if self.floats and _is_real(value):
            found = int(value) if value == int(value) else None  # type: ignore[call-overload]
        else:
            found = None if _is_bool(value) else _index(value)
        most = _LARGEST if self.at_most is None else self.at_most
        return found if found is not None and self.at_least <= found <= most else REFUSED

    def allowed(self) -> str:
        return f"an integer from {self.at_least} " + ("up" if self.at_most is None else f"to {self.at_most}")

    def remedy(self, value: object) -> str | None:
        return "It is too large" if self.at_most is None and _is_real(value) and value > _LARGEST else None  # type: ignore[operator]


@dataclass(frozen=True)
class Seed(Whole):
    """An integer that starts a random sequence: below 2 to the power of 32, or of `bits`."""

    bits: int = dataclasses.field(default=32, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "at_most", (1 << self.bits) - 1)


@dataclass(frozen=True)
class Numbers(Rule):
    """A sequence of numbers as a tuple of floats.

    Parameters
    ----------
    count : int, optional
        How many. By default any number of them but none.
    each : Number
        The rule for each.
    """

    count: int | None = None
    each: Number = dataclasses.field(default_factory=Number)

    def take(self, value: object) -> Any:
        if isinstance(value, (str, bytes, Mapping, set, frozenset)):
            return REFUSED
        least, most = (1, _MOST_NUMBERS) if self.count is None else (self.count, self.count)
        try:
            made = tuple(map(self.each.take, islice(value, most + 1)))  # type: ignore[call-overload]
        except TypeError:  # not a sequence, or an array without dimensions
            return REFUSED
        return made if least <= len(made) <= most and REFUSED not in made else REFUSED

    def allowed(self) -> str:
        limits = self.each._limits()
        return f"{'one or more' if self.count is None else self.count} numbers" + (f", each {limits}" if limits else "")


@dataclass(frozen=True)
class Choice(Rule):
    """One of some texts, numbers or flags."""

    choices: tuple[object, ...] = ()

    def take(self, value: object) -> Any:
        if not isinstance(value, (str, int, float, np.bool_, np.integer, np.floating)):
            return REFUSED
        same = (c for c in self.choices if _is_bool(c) == _is_bool(value) and bool(value == c))
        return next(same, REFUSED)

    def allowed(self) -> str:
        return f"one of {', '.join(map(repr, self.choices))}"

    def remedy(self, value: object) -> str | None:
        return _nearest(value, [each for each in self.choices if isinstance(each, str)])


@dataclass(frozen=True)
class Flag(Rule):
    """True or False, also as 1 or 0."""

    def take(self, value: object) -> Any:
        return bool(value) if isinstance(value, (bool, np.bool_, int, np.integer)) and value in (0, 1) else REFUSED

    def allowed(self) -> str:
        return "True or False"


def checked(value: object, rule: Rule, field: str) -> Any:
    """A plain argument in the type of its rule; `ConfigError` under the name `field` if the rule does not allow it."""
    return rule.check(value, field)


def is_finite(value: Any) -> bool:
    """Whether a number is finite as a float, too, which an integer of many digits is not."""
    try:
        return math.isfinite(value)
    except (OverflowError, TypeError, ValueError):
        return False


def is_one_of(value: object, choices: Iterable[str]) -> bool:
    """Whether a value is one of some texts; an array, which is equal to many things at once, is not."""
    return isinstance(value, str) and value in choices


def check_legacy(rng: object) -> None:
    """Refuse what is not a legacy generator of NumPy."""
    if not (hasattr(rng, "rand") and hasattr(rng, "randint")):
        text = f"a {type(rng).__name__} is not a legacy generator"
        raise ConfigError(text, field="rng", remedy="Give a numpy.random.RandomState")


def _is_real(value: object) -> bool:
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return real and is_finite(value)


def _index(value: object) -> int | None:
    """The integer that a value stands for, such as one of NumPy; None if it does not."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def _is_bool(value: object) -> bool:
    return isinstance(value, (bool, np.bool_))


def _nearest(value: object, known: Iterable[str]) -> str | None:
    found = get_close_matches(value[:100], list(known), 1) if isinstance(value, str) else []
    return f"Did you mean {found[0]}?" if found else None


# ---- fields of settings -------------------------------------------------------------------------------------------


def _field(default: Any, rule: Rule) -> Any:
    if default is None:
        rule = dataclasses.replace(rule, none=True)
    return dataclasses.field(default=default, metadata={"rule": rule})


def number(default: Any = MISSING, **limits: Any) -> Any:
    """A field for a number; `limits` are those of `Number`. Without a default it must be given; None allows None."""
    return _field(default, Number(**limits))


def share(default: Any = MISSING) -> Any:
    """A field for a number from 0 to 1."""
    return _field(default, Share())


def whole(default: Any = MISSING, *, at_least: int = 0, at_most: int | None = None, floats: bool = False) -> Any:
    """A field for an integer; with `floats` also for a float without a fraction."""
    return _field(default, Whole(at_least, at_most, floats=floats))


def seed(default: Any = 1) -> Any:
    """A field for a seed."""
    return _field(default, Seed())


def numbers(count: int | None = None, default: Any = MISSING, **limits: Any) -> Any:
    """A field for `count` numbers, each within the limits of `number`."""
    return _field(default, Numbers(count, Number(**limits)))


def one_of(*choices: object, default: Any = MISSING) -> Any:
    """A field for one of some values."""
    return _field(default, Choice(choices))


def flag(default: Any = MISSING) -> Any:
    """A field for True or False."""
    return _field(default, Flag())


@dataclass(frozen=True, slots=True)
class Settings:
    """Base of frozen dataclasses whose fields declare what they may be.

    A subclass repeats ``@dataclass(frozen=True, slots=True)``, and says in `agree` which values don't fit each other.
    """

    def __post_init__(self) -> None:
        for name, rule in self.rules().items():
            object.__setattr__(self, name, rule.check(getattr(self, name), name))
        self.agree()

    def agree(self) -> None:
        """Raise ConfigError if fields that are right one by one don't fit each other."""

    @classmethod
    def rules(cls) -> dict[str, Rule]:
        """Field -> its rule, of the fields that have one."""
        return {one.name: one.metadata["rule"] for one in dataclasses.fields(cls) if "rule" in one.metadata}

    @classmethod
    def of(cls, given: Mapping[str, object], *, prefix: str = "") -> Self:
        """The settings that a mapping gives, and the defaults of the others.

        Parameters
        ----------
        given : mapping
        prefix : str
            What errors put in front of a field's name, such as ``"lr_scheduler."``.

        Raises
        ------
        ConfigError
            If a key is unknown (the nearest one is named) or missing, or a value is not allowed.
        """
        names = [one.name for one in dataclasses.fields(cls) if one.init]
        check_known(given, names, prefix=prefix)
        for one in dataclasses.fields(cls):
            if one.init and one.name not in given and one.default is MISSING and one.default_factory is MISSING:
                raise ConfigError("it must be given", field=prefix + one.name)
        try:
            return cls(**given)
        except ConfigError as error:
            raise ConfigError(error.message, field=f"{prefix}{error.field}", remedy=error.remedy) from None

    def replaced(self, **changes: object) -> Self:
        """The same settings but for some."""
        return self.of({one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.init} | changes)


def check_known(given: object, known: Iterable[str], *, prefix: str = "") -> None:
    """Raise ConfigError if `given` is not a mapping, or has a key that is not known."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{shown(given)} is not a dict", field=prefix.rstrip(".") or None)
    known = list(known)
    for key in given:
        if not isinstance(key, str) or key not in known:
            name = key if isinstance(key, str) else shown(key)
            remedy = _nearest(key, known) or f"Known are {', '.join(known)}"
            raise ConfigError("there is no such setting", field=prefix + name, remedy=remedy)


# ---- arrays -------------------------------------------------------------------------------------------------------


def refuse_masked(values: object, field: str, error: type[Error] = SignalError) -> None:
    """Raise if an array, or one of a sequence of arrays, has values under a mask: no function may use them."""
    if _any_masked(values):
        raise error("the array has masked values", field=field, remedy="Fill or cut them out first")


def _any_masked(values: object, depth: int = 2) -> bool:
    if isinstance(values, np.ma.MaskedArray):
        return bool(np.ma.is_masked(values))
    inner = getattr(values, "x", None)  # of a Segments
    if isinstance(inner, np.ma.MaskedArray):
        return bool(np.ma.is_masked(inner))
    if depth and isinstance(values, (list, tuple)):
        return any(value is np.ma.masked or _any_masked(value, depth - 1) for value in values)
    return False


def real_array(
    values: ArrayLike, field: str, error: type[Error] = SignalError, *, booleans: bool = False
) -> NDArray[Any]:
    """An array of real numbers, not copied if it is one. Masked values are refused.

    With `booleans`, False and True may come, which become 0 and 1.
    """
    array = _array(values, field, error)
    if booleans and array.dtype == bool:
        array = array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise error(f"the values are of type {array.dtype}, not real numbers", field=field)
    return array


def bool_array(values: ArrayLike, field: str, error: type[Error] = SignalError) -> NDArray[np.bool_]:
    """An array of False and True, not copied if it is one. Masked values are refused."""
    array = _array(values, field, error)
    if array.dtype != bool:
        raise error(f"the values are of type {array.dtype}, not bool", field=field)
    return array


def _array(values: ArrayLike, field: str, error: type[Error]) -> NDArray[Any]:
    refuse_masked(values, field, error)
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError, RecursionError) as problem:
        raise error(f"not an array: {problem}", field=field) from None
