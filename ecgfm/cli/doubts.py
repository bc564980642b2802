"""What a summary says of recordings that are doubtful or of which something was assumed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

from .._text import printable, short
from ..signal.quality import describe

__all__ = ["Doubts"]

_NAMED, _NOTES = 3, 5  # recordings that are named, and different assumptions that are said
_ASSUMPTIONS = ("assumed", "taken as")  # words of notes that say so


class Doubts:
    """Counts the recordings with doubtful signals and with assumptions, and keeps the names of the first."""

    def __init__(self) -> None:
        self.seen = self.doubtful = 0
        self._first: list[str] = []  # texts on doubtful recordings
        self._assumed: dict[str, list[str]] = {}  # note -> names of the first recordings
        self._counts: Counter[str] = Counter()  # note -> number of recordings
        self._others = 0

    def add(self, file: object, provenance: Mapping[str, Any]) -> None:
        """Take a recording, by its name and what is known of it (see `ecgfm.ecg.Segments`)."""
        self.seen += 1
        found = describe(provenance.get("quality", {}))
        if found:
            self.doubtful += 1
            if self.doubtful <= _NAMED:
                self._first.append(f"{_name(file)} ({short(printable(found), 120)})")
        for note in provenance.get("notes", ()):
            if any(word in note for word in _ASSUMPTIONS):
                self._assume(printable(note), file)

    def _assume(self, note: str, file: object) -> None:
        if note not in self._assumed and len(self._assumed) >= _NOTES:
            self._others += 1
            return
        names = self._assumed.setdefault(note, [])
        self._counts[note] += 1
        if len(names) < _NAMED:
            names.append(_name(file))

    def lines(self) -> list[str]:
        """The lines of the summary; none if there is nothing to say."""
        lines = []
        if self.doubtful:
            where = self._listed(self.doubtful, self._first)
            lines.append(f"Doubtful signals in {where} (column quality).")
        for note, names in self._assumed.items():
            where = self._listed(self._counts[note], names)
            lines.append(f"{note[:1].upper()}{note[1:]}; in {where} (column notes).")
        if self._others:
            lines.append(f"{self._others:,} other assumptions are in the column notes.")
        return lines

    def _listed(self, count: int, names: list[str]) -> str:
        more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
        return f"{count:,} of {self.seen:,}: {', '.join(names)}{more}"


def _name(file: object) -> str:
    return short(printable(os.path.basename(str(file))), 60)
