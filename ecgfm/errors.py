"""Named errors: which file, which field, what is wrong, what to do."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, TypeVar

from ._text import printable, short, short_path

if TYPE_CHECKING:
    from ._types import StrPath

E = TypeVar("E", bound="Error")
X = TypeVar("X", bound=BaseException)

__all__ = [
    "Error",
    "CheckpointError",
    "FormatError",
    "SignalError",
    "LeadError",
    "LabelError",
    "ConfigError",
    "MissingExtraError",
    "InputWarning",
]

_MOST_MESSAGE, _MOST_FIELD, _MOST_REMEDY = 800, 200, 400  # characters; with the path below 2,000 in all
_MOST_DEBUG = 8000
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_DEFECTS = (TypeError, NameError, AttributeError, LookupError, AssertionError, NotImplementedError)


class Error(ValueError):
    """Base class of every error that ecgfm raises about its input.

    Parameters
    ----------
    message : str
        What is wrong, in one sentence without a final full stop.
    path : str or path-like, optional
        The file or directory that the error is about.
    field : str, optional
        The field, tensor, column, lead or option that the error is about.
    remedy : str, optional
        What the user can do, in one sentence without a final full stop.

    Attributes
    ----------
    message, path, field, remedy : str or None
        The parameters as given (``path`` as text), but no longer than anyone reads. ``path`` is whole; only the text
        of the error shortens it.
    """

    def __init__(
        self, message: object, *, path: StrPath | None = None, field: object = None, remedy: object = None
    ) -> None:
        self.message: str = short(str(message), _MOST_MESSAGE)
        self.path = None if path is None else str(path)
        self.field = None if field is None else short(str(field), _MOST_FIELD)
        self.remedy = None if remedy is None else short(str(remedy), _MOST_REMEDY)
        super().__init__(self.message)

    def __str__(self) -> str:
        """One line that a terminal can show, whatever the file holds that it speaks of."""
        where = ": ".join(part for part in (self.path and short_path(self.path), self.field) if part)
        text = f"{where}: {self.message}" if where else self.message
        if not self.remedy:
            return printable(text)
        return printable(f"{text}. {self.remedy}{'' if self.remedy.endswith(('?', '!', '...')) else '.'}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.path, self.field, self.remedy)


def _rebuild(cls: type[E], message: object, path: str | None, field: str | None, remedy: str | None) -> E:
    return cls(message, path=path, field=field, remedy=remedy)


class CheckpointError(Error):
    """A checkpoint that is damaged, hostile, or not one of ECG-FM's."""


class FormatError(Error):
    """A recording or table whose file format is damaged or not known."""


class SignalError(Error):
    """A signal that the model can't take: shape, dtype, NaN, length or rate."""


class LeadError(SignalError):
    """Leads that are missing, unknown or named twice."""


class LabelError(Error):
    """Label names or label values that don't fit the model or the data."""


class ConfigError(Error):
    """A configuration key or value that is unknown, missing or out of range."""


class MissingExtraError(Error, ImportError):
    """An optional library is needed for this and is not installed."""

    def __init__(
        self, message: object, *, path: StrPath | None = None, field: object = None, remedy: object = None
    ) -> None:
        super().__init__(message, path=path, field=field, remedy=remedy)


class InputWarning(UserWarning):
    """What was given is evidently not what the model, or the function, was made for; the result may be wrong."""


def kept(error: E) -> E:
    """The error as it may be kept: without its traceback and what else holds the arrays that it arose from.

    If it was made from a mistake of ours (its ``__cause__``, if that is not an `Error`), the end of the traceback is
    kept as text in ``error.debug``: one text for all errors that arose in the same way.
    """
    cause = error.__cause__
    if cause is not None and not isinstance(cause, Error):
        vars(error)["debug"] = sys.intern("".join(traceback.format_exception(cause))[-_MOST_DEBUG:])
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def is_defect(error: BaseException) -> bool:
    """Whether an exception is a mistake of ours: it arose in a line of this package itself, and is of a kind that
    damaged data don't explain.
    """
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, _DEFECTS) and bool(frames) and frames[-1].filename.startswith(_PACKAGE)


def carried(error: X) -> X:
    """The exception as another process can take it: where it arose and its traceback go with it as text."""
    vars(error).update(place=_place(error), debug="".join(traceback.format_exception(error))[-_MOST_DEBUG:])
    return error


def defect(error: BaseException) -> str:
    """What is said of a mistake of ours, in one line: what was raised, and where in the package."""
    place = getattr(error, "place", None) or _place(error)
    text = short(f"{type(error).__name__}{place}: {error}".rstrip(": "), 2 * _MOST_FIELD)
    return printable(f"a defect of ecgfm: {text}. --debug shows the traceback.")


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = next((each for each in reversed(frames) if each.filename.startswith(_PACKAGE)), None)
    return "" if where is None else f" in {os.path.relpath(where.filename, _PACKAGE)}, line {where.lineno}"
