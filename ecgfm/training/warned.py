"""Warnings that point at the line of a user, however deep in the package they arise."""

import sys
import warnings
from types import FrameType

from ..errors import InputWarning

__all__ = ["level_of_user", "warn"]


def level_of_user() -> int:
    """The ``stacklevel`` that, where this is called, means the first line outside of this package."""
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "ecgfm":
        frame, level = frame.f_back, level + 1
    return level


def warn(message: str, category: type[Warning] = InputWarning) -> None:
    """Warn, at the first line outside of this package that led here."""
    warnings.warn(message, category, stacklevel=level_of_user())
