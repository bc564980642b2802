"""What is done of a long run: a file that grows by a line per recording, and outlives the process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .._text import short_path, shown
from ..errors import ConfigError, FormatError
from .atomic import open_own, writing
from .json import write_json

__all__ = ["Journal", "head_of"]

_SYNC_S = 2.0
_MOST_LINE = 1 << 26  # bytes: a recording's line also has the rows that it adds to further tables
_MOST_NUMBER = 1 << 48  # of a recording, or a segment


class Journal:
    """The lines of a run, by the number of the recording.

    Parameters
    ----------
    path : str
    head : dict
        What makes it this run: its first line. Another run's journal is refused.
    changing : sequence of str
        Keys of the head that may differ; then the old lines are forgotten.
    grown : sequence of str
        Values of ``records`` that are allowed in the head, too: the earlier tables that the present one has grown from.
    """

    def __init__(
        self, path: str, head: dict[str, Any], changing: Collection[str] = (), grown: Collection[str] = ()
    ) -> None:
        self.path, self.head = path, head
        self.at: dict[int, int] = {}  # number of the recording -> where its last line begins
        self._synced = time.monotonic()
        old = head_of(path)
        if old is not None:
            if old.get("records") in grown:
                old["records"] = head["records"]
            differs = [key for key in {**old, **head} if old.get(key) != head.get(key)]
            grave = sorted(key for key in differs if key not in changing)
            if grave == ["records"]:
                raise ConfigError(
                    "records.csv is not the one that this run began with",
                    path=os.path.dirname(path),
                    remedy="Put the old one back, or take another folder",
                )
            if grave:
                raise ConfigError(
                    "the folder holds a run with "
                    + ", ".join(f"{key} {_said(old.get(key))}" for key in grave)
                    + "; now it is "
                    + ", ".join(_said(head.get(key)) for key in grave),
                    path=os.path.dirname(path),
                    remedy="Use another folder, or remove this one's contents",
                )
            if differs:
                old = None
        if old is None:
            write_json(path, head, indent=None, sort_keys=True)
        self._file = open_own(path)
        self._load()

    def _load(self) -> None:
        at = len(self._file.readline(_MOST_LINE))
        while True:
            line = self._file.readline(_MOST_LINE)
            if not line.endswith(b"\n"):  # cut off in the middle of a line
                if len(line) == _MOST_LINE:
                    raise self._damaged("an endless line")
                break
            try:
                self.at[_checked(json.loads(line))["i"]] = at
            except (ValueError, RecursionError):
                raise self._damaged("a damaged line") from None
            at += len(line)
        self._file.truncate(at)
        self._end = at

    def _damaged(self, what: str) -> FormatError:
        return FormatError(what, path=self.path, remedy="Remove it to begin anew")

    def __contains__(self, number: int) -> bool:
        return number in self.at

    def __getitem__(self, number: int) -> dict[str, Any]:
        self._file.seek(self.at[number])
        line: dict[str, Any] = json.loads(self._file.readline())
        return line

    def add(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Append lines, dicts with the number under ``i``."""
        texts = [json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines]
        self._file.seek(self._end)
        self._file.write(b"".join(texts))
        self._file.flush()
        for line, text in zip(lines, texts):
            self.at[line["i"]] = self._end
            self._end += len(text)
        if time.monotonic() - self._synced > _SYNC_S:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def forget(self, numbers: Iterable[int]) -> None:
        """Drop recordings, in memory: a later line says what became of them."""
        for number in numbers:
            self.at.pop(number, None)

    def close(self, tidy: bool = False) -> None:
        """Close the file; with `tidy`, with one line per recording, in order."""
        if tidy:
            with writing(self.path) as file:
                file.write(json.dumps(self.head, sort_keys=True).encode() + b"\n")
                for number in sorted(self.at):
                    self._file.seek(self.at[number])
                    file.write(self._file.readline())
        self._file.close()


def _said(value: object) -> str:
    """A value of a head for a message: of a path both ends."""
    return repr(short_path(value, 250)) if isinstance(value, str) else shown(value, 250)


def _checked(line: Any) -> dict[str, Any]:
    """A line of the journal, if it is one: what it says is used without a further look."""

    def all_of(found: Any, kind: type) -> bool:
        return isinstance(found, dict) and all(isinstance(value, kind) for value in found.values())

    fits = isinstance(line, dict) and _is_number(line.get("i"))
    if fits and "error" in line:
        fits = isinstance(line["error"], str) and isinstance(line.get("stage", ""), str)
    elif fits:
        files, meta, tables = line.get("files"), line.get("meta"), line.get("tables", {})
        fits = _is_number(line.get("segments")) and all_of(files, int) and (meta is None or all_of(meta, str))
        fits = fits and isinstance(line.get("raw", []), list) and all_of(tables, list)
        fits = fits and all(isinstance(row, dict) for rows in tables.values() for row in rows)
    if not fits:
        raise ValueError
    checked: dict[str, Any] = line
    return checked


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_NUMBER


def head_of(path: str) -> dict[str, Any] | None:
    """The head of the journal in a file, or None if there is none."""
    try:
        with open_own(path) as file:
            line = file.readline(_MOST_LINE)
    except FileNotFoundError:
        return None
    if not line.endswith(b"\n") and len(line) < _MOST_LINE:  # cut off before anything was done
        return None
    try:
        head: dict[str, Any] = json.loads(line)
        if _is_number(head["offset"]):
            return head
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise FormatError("a damaged first line", path=path, remedy="Remove it to begin anew")
