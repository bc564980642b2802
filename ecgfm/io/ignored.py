"""What was left out of a folder: counted, named, and said in one line."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from .._text import short, short_path
from ..errors import InputWarning

__all__ = ["Ignored", "nothing_said"]

# Files that stand beside recordings and look like none; all others count.
_BESIDE = re.compile(
    r"(readme|licen[cs]e|copying|records|annotators|changelog|notes?|[a-z0-9]*sums?)([._-].*)?"
    r"|.*\.(md|rst|pdf|html?|png|jpe?g|gif|svg|py|ipynb|r|sh|ya?ml|toml|ini|log|part|tmp|sha\d+|md5|pt|safetensors|tsv)",
    re.IGNORECASE,
)
_KINDS, _NAMED = 4, 3  # endings that are counted in the line, and files that are named


def nothing_said(path: str, reason: str) -> None:
    """To be given as `ignored` where another run through the same folders says it."""


class Ignored:
    """Takes each file that was left out, and its reason.

    Parameters
    ----------
    each : callable, optional
        Called as ``each(path, reason)`` for those that count.
    """

    def __init__(self, each: Callable[[str, str], object] | None = None) -> None:
        self._each = each
        self._first: list[Any] = []
        self._endings: Counter[str] = Counter()

    def __call__(self, path: str, reason: str) -> None:
        name = os.path.basename(path)
        if _BESIDE.fullmatch(name):
            return
        self._endings[os.path.splitext(name)[1].lower() or "without an ending"] += 1
        if len(self._first) < _NAMED:
            self._first.append(f"{short_path(path)} ({short(reason, 100)})")
        if self._each is not None:
            self._each(path, reason)

    def line(self) -> Any:
        """One line on all of them; empty if there are none."""
        count = sum(self._endings.values())
        if not count:
            return ""
        kinds = self._endings.most_common()
        text = [f"{number:,} {short(ending, 20)}" for ending, number in kinds[:_KINDS]]
        text += [f"{sum(number for _, number in kinds[_KINDS:]):,} others"] * (len(kinds) > _KINDS)
        more = f" and {count - len(self._first):,} more" if count > len(self._first) else ""
        files = "1 file was" if count == 1 else f"{count:,} files were"
        return f"{files} left out, not read as recordings ({', '.join(text)}): {', '.join(self._first)}{more}"

    def warn(self, stacklevel: int = 2) -> None:
        """Say the line as an `InputWarning`, if there is one."""
        line = self.line()
        if line:
            warnings.warn(line, InputWarning, stacklevel=stacklevel + 1)
