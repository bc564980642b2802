"""Names of recordings in a table matched with paths: the longest tail that both have decides."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import takewhile

from .._text import shown
from ..errors import LabelError
from ..io.names import parts_of, without_ending

__all__ = ["Names"]


class Names:
    """Rows by the names of their recordings, with or without folders and endings.

    Parameters
    ----------
    rows : dict of str to int
        Name -> row.
    path : str, optional
        The table, for messages.
    """

    def __init__(self, rows: Mapping[str, int], path: str | None = None) -> None:
        self._path, self._keys, self._row = path, list(rows), list(rows.values())
        self._parts = [parts_of(name) for name in rows]
        self._ending_with: dict[
            tuple[str, ...], list[int]
        ] = {}  # a tail, its last part with or without the ending -> numbers of the keys
        self._split: set[tuple[str, ...]] = set()
        for number, parts in enumerate(self._parts):
            for last in {parts[-1], _stem(parts[-1])} if parts else ():
                self._ending_with.setdefault((last,), []).append(number)

    def row(self, file: str) -> int | None:
        """The row of a recording, or None.

        Raises
        ------
        LabelError
            If several names fit it equally well.
        """
        found = self.find(file)
        return None if found is None else found[0]

    def find(self, file: str) -> tuple[int, int] | None:
        """(row, how many parts of the path agree) of a recording, or None. Raises as `row` does."""
        # Relative names of files that are there count from the working directory.
        wanted = parts_of(os.path.abspath(file) if os.path.exists(file) else file)
        if not wanted:
            return None
        tail: tuple[str, ...] = (_stem(wanted[-1]),)
        numbers = self._ending_with.get(tail)
        if numbers is None:
            return None
        while len(numbers) > 1 and len(tail) < len(wanted):
            self._divide(tail, numbers)
            longer = (wanted[-len(tail) - 1], *tail)
            if longer not in self._ending_with:
                break
            tail, numbers = longer, self._ending_with[longer]
        if len(numbers) > 1:
            exact = [number for number in numbers if self._parts[number][-1] == wanted[-1]]
            numbers = exact or numbers
        if len(numbers) > 1:  # of names that are the same but for what stands before them, the one without anything
            numbers = [n for n in numbers if len(self._parts[n]) == len(tail) and len(tail) == len(wanted)] or numbers
        if len(numbers) > 1:
            first, second = (shown(self._keys[number]) for number in numbers[:2])
            raise LabelError(
                f"{len(numbers)} rows of the labels fit it: {first}, {second}",
                path=file,
                field="y",
                remedy="Name recordings with as much of their path as tells them apart",
            )
        return self._row[numbers[0]], _common(wanted, self._parts[numbers[0]])

    def _divide(self, tail: tuple[str, ...], numbers: Sequence[int]) -> None:
        """Sort the keys of a tail by the part before it, once."""
        if tail in self._split:
            return
        self._split.add(tail)
        for number in numbers:
            parts = self._parts[number]
            if len(parts) > len(tail):
                self._ending_with.setdefault((parts[-len(tail) - 1], *tail), []).append(number)


def _stem(base: str) -> str:
    return without_ending(base)[0]


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """How many parts two paths have in common, from the end; the last is."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first[-2::-1], second[-2::-1]))
    return 1 + sum(1 for _ in same)
