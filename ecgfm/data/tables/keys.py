"""Which column of a table says what record a row is of, and how its values are compared: the same in all commands."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from ..._text import shown
from ..._types import StrPath
from ...errors import FormatError
from ...io.names import parts_of, without_ending
from ...storage.columns import is_missing, whole_number
from ...storage.rows import read_rows

__all__ = ["KEYS", "Names", "Records", "key_columns", "path_column"]

#: Columns that may say which record a row is of.
KEYS: Final = ("idx", "save_file", "path", "file", "record")

# where a recording, or a segment, lies; the last two are PTB-XL's
_PATHS = ("path", "file", "record", "filename", "file_name", "filename_hr", "filename_lr")
_WFDB = frozenset([".hea", ".dat", ".mat"])  # of one recording


def key_columns(header: Collection[str], path: StrPath) -> list[str]:
    """The columns of a table that say which record a row is of, in the order of `KEYS`.

    Raises
    ------
    FormatError
        If there is none.
    """
    found = [name for name in KEYS if name in header]
    if not found:
        raise FormatError(
            "no column says which record a row is of",
            path=path,
            field="header",
            remedy=f"It may be called {', '.join(KEYS[:-1])} or {KEYS[-1]}",
        )
    return found


def path_column(header: Collection[str], path: StrPath) -> str:
    """The column of a table that says where something lies: path, file or record.

    Raises
    ------
    FormatError
        If there is none.
    """
    found = next((name for name in _PATHS if name in header), None)
    if found is None:
        raise FormatError(
            "columns missing: path", path=path, field="header", remedy="It may also be called file or record"
        )
    return found


class Names:
    """Finds what belongs to a record by its name: a path, a part of one from its end on, with or without the ending.

    Of ``/data/p1/ecg.hea`` and ``/data/p2/ecg.hea`` the first is found as ``p1/ecg.hea`` and ``p1/ecg``; ``ecg.hea``
    fits both.
    """

    def __init__(self) -> None:
        self._whole: dict[str, set[int]] = {}
        self._last: dict[str, list[tuple[list[str], str, set[int]]]] = {}

    def add(self, name: str, value: int) -> None:
        """Note what a name belongs to; it may belong to several."""
        values = self._whole.setdefault(name, set())
        if not values:
            parts, ending = _parts(name)
            self._last.setdefault(parts[-1] if parts else "", []).append((parts, ending, values))
        values.add(value)

    def find(self, name: str) -> set[int]:
        """All that the name belongs to, a set; the one with the longest tail in common decides."""
        if name in self._whole:
            return self._whole[name]
        parts, ending = _parts(name)
        fitting = []
        for known, its, values in self._last.get(parts[-1] if parts else "", ()):
            length = min(len(parts), len(known))
            one_recording = ending == its or "" in (ending, its) or _WFDB.issuperset((ending, its))
            if one_recording and parts[-length:] == known[-length:]:
                fitting.append((length, its == ending, values))
        best = max((one[:2] for one in fitting), default=None)
        return {value for *how, values in fitting if tuple(how) == best for value in values}


def _parts(name: str) -> tuple[list[str], str]:
    """The folders and the file of a path, without ending; and the ending."""
    path, mark, member = name.strip().partition("::")
    parts = parts_of(path)
    stem, ending = without_ending(parts[-1]) if parts else ("", "")
    return [*parts[:-1], *([stem] if parts else []), *([member] if mark else [])], ending


class Records:
    """The records of a table with ``idx``, to be found by any of the keys.

    Parameters
    ----------
    path : path-like
        ``meta.csv``, ``meta_split.csv``, ``manifest.csv`` or the like.

    Raises
    ------
    FormatError
        If it can't be read or has no ``idx``.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = path
        header, rows = read_rows(path, ["idx"])
        self.columns = [name for name in (*KEYS[1:], "source_path") if name in header]
        self._numbers: set[int] = set()
        self._names: dict[str, Names] = {}
        for line, row in enumerate(rows, 2):
            number = whole_number(row["idx"], path, f"idx, line {line}")
            self._numbers.add(number)
            for name in self.columns:
                if not is_missing(row[name]):
                    self._names.setdefault(name, Names()).add(row[name], number)

    def __contains__(self, number: object) -> bool:
        return number in self._numbers

    def find(self, row: Mapping[str, str], columns: Iterable[str], path: StrPath, line: int) -> tuple[int | None, bool]:
        """The number of the record that a row of another table is of.

        Parameters
        ----------
        row : dict
        columns : sequence of str
            Its keys; see `key_columns`.
        path, line
            Where it stands, for messages.

        Returns
        -------
        number : int or None
            None if no key is known.
        agreed : bool
            Whether it was found by a name, and not by ``idx`` alone.

        Raises
        ------
        FormatError
            If a name fits several records, or two keys are of different ones.
        """
        columns = list(columns)
        found: tuple[str, int] | None = None
        for name in columns:
            text = row[name]
            if name == "idx" or is_missing(text):
                continue
            numbers = self._of_name(name, text)
            if len(numbers) > 1:
                raise FormatError(
                    f"line {line}: {shown(text)} fits {len(numbers)} records of {self.path}",
                    path=path,
                    field=name,
                    remedy="Give more of the path",
                )
            if numbers:
                number = next(iter(numbers))
                if found is not None and found[1] != number:
                    raise _disagree(path, line, *found, name, number)
                found = name, number
        if "idx" in columns and not is_missing(row["idx"]):
            number = whole_number(row["idx"], path, f"idx, line {line}")
            if found is not None and found[1] != number:
                raise _disagree(path, line, *found, "idx", number)
            return number, found is not None
        return (None, False) if found is None else (found[1], True)

    def _of_name(self, name: str, text: str) -> set[int]:
        """Numbers of the records of a name: by the column that is called the same first."""
        columns = sorted(self._names, key=lambda one: one != name)
        return next(filter(None, (self._names[column].find(text) for column in columns)), set())


def _disagree(path: StrPath, line: int, one: str, number: int, other: str, its_number: int) -> FormatError:
    return FormatError(
        f"line {line}: by {one} it is record {number}, by {other} record {its_number}",
        path=path,
        field=other,
        remedy="Numbers must be those of preprocessing (idx in meta.csv); remove the column idx if they are your own",
    )
