"""What a summary says of recordings that are doubtful or of which something was assumed."""

import os

from .._text import printable, short
from ..ecg.quality import describe

__all__ = ["Doubts"]

_NAMED, _NOTES = 3, 5  # recordings that are named, and different assumptions that are said
_ASSUMPTIONS = ("assumed", "taken as")  # words of notes that say so


class Doubts:
    """Counts the recordings with doubtful signals and with assumptions, and keeps the names of the first."""

    def __init__(self):
        self.seen = self.doubtful = 0
        self._first = []  # texts on doubtful recordings
        self._assumed = {}  # note -> [number of recordings, names of the first]
        self._others = 0

    def add(self, file, provenance):
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

    def _assume(self, note, file):
        if note not in self._assumed and len(self._assumed) >= _NOTES:
            self._others += 1
            return
        known = self._assumed.setdefault(note, [0, []])
        known[0] += 1
        if known[0] <= _NAMED:
            known[1].append(_name(file))

    def lines(self):
        """The lines of the summary; none if there is nothing to say."""
        lines = []
        if self.doubtful:
            more = f" and {self.doubtful - _NAMED:,} more" if self.doubtful > _NAMED else ""
            lines.append(
                f"Doubtful signals in {self.doubtful:,} of {self.seen:,}: {', '.join(self._first)}{more} (column quality)."
            )
        for note, (count, names) in self._assumed.items():
            more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
            note = note[:1].upper() + note[1:]
            lines.append(f"{note}; in {count:,} of {self.seen:,}: {', '.join(names)}{more} (column notes).")
        if self._others:
            lines.append(f"{self._others:,} other assumptions stand in the column notes.")
        return lines


def _name(file):
    return short(printable(os.path.basename(str(file))), 60)
