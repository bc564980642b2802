"""The recordings of a run: each has a number and a name of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from ..._text import short, shown
from ...errors import ConfigError, FormatError
from ...storage.columns import whole_number
from ...storage.rows import read_rows
from .plan import Plan
from .stages import Row

__all__ = ["MANIFEST", "Recordings", "has_room"]

#: The columns of a manifest of recordings.
MANIFEST = ("idx", "source", "source_path", "save_file", "sample_rate", "sample_size")

_MOST_NUMBER = 1 << 40  # of a recording
_GIVEN = ("idx", "save_path", "source_path", "org_path", "preprocessed_path", "segmented_path")


class Recordings:
    """The recordings of a run, in the order of their table: numbered, located, each with a name and a split.

    Iterating gives (number, row); numbers count the table's rows from 0. A row's ``error`` says why it can't be done.

    Parameters
    ----------
    plan : Plan
    offset : int or None
        The ``idx`` of row 0; None: the first one that is free in the manifest.

    Attributes
    ----------
    columns : list of str
        Of the table.
    total : int
        How many recordings there are.
    rows : int
        How many rows the table has.
    offset : int
    renamed : dict
        Number -> name, of those whose own name another recording has.

    Raises
    ------
    ConfigError, FormatError
        If the table has no recording, a column that is made here, or a name that can't be.
    """

    def __init__(self, plan: Plan, offset: int | None) -> None:
        self._plan = plan
        self.columns, _ = read_rows(plan.records, errors="surrogateescape")
        given = [name for name in _GIVEN if name in self.columns]
        if given:
            raise FormatError(
                f"columns that are made here: {', '.join(given)}",
                path=plan.records,
                field="header",
                remedy="Remove them from the table of records",
            )
        self._locate = plan.source.locate(plan.raw_root, self.columns, reading=plan.reads)
        self.total = self.rows = 0
        self.offset = offset or 0
        self._duplicates: dict[int, str] = {}
        self.renamed: dict[int, str] = {}
        names = self._name()
        if offset is None:
            self.offset = _next_number(plan.manifest, plan.source.name, names)

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        number, plan = -1, self._plan
        for number, given in enumerate(read_rows(plan.records, errors="surrogateescape")[1]):
            row: Row = {"idx": self.offset + number, **given, **self._locate(given)}
            if plan.subset is not None and row["dataset"] not in plan.subset:
                continue
            row["_named"] = bool(given.get("save_file"))
            if number in self.renamed:
                row["save_file"] = self.renamed[number]
            if number in self._duplicates:
                row["error"] = self._duplicates[number]
            row["_split"] = plan.splits(row)
            yield number, row
        self.rows = number + 1

    def _name(self) -> Mapping[str, int]:
        """Note rows that have a name of an earlier one, and draw the splits; return the names."""
        first: dict[str, int] = {}
        clashes: dict[int, int] = {}
        plan, group = self._plan, self._plan.splits.group_col
        if group is not None and group not in (*self.columns, *plan.source.located_columns):
            raise ConfigError(f"there is no column {shown(group)}", path=plan.records, field="group_col")
        for number, row in self:
            name = row["save_file"]
            if name != os.path.basename(name) or not name.endswith(".mat") or "\0" in name:
                raise FormatError(f"{shown(name)} is not the name of a .mat file", path=plan.records, field="save_file")
            if first.setdefault(name, number) != number:
                clashes[number] = first[name]
            self.total += 1
        if not self.total:
            of = "" if plan.subset is None else f" of {', '.join(plan.subset)}"
            raise ConfigError(
                f"the table has no recording{of}",
                path=plan.records,
                field="dataset_subset" if of else None,
                remedy=None if of else "Remove it, and the folder is listed anew",
            )
        if clashes:
            self._duplicates, self.renamed = _resolve_names(self, clashes, first)
        if plan.splits.fractions is not None:
            rows = [row for number, row in self if number not in self._duplicates]
            groups = [] if group is None else [row[group] for row in rows]
            plan.splits.draw([row["save_file"] for row in rows], groups, plan.packed)
        return first


def _next_number(manifest: str, source: str, names: Mapping[str, int]) -> int:
    """The number of a run's first row: after all that the manifest holds.

    Raises
    ------
    FormatError
        If a cell is not a number, or a recording of the source is there already.
    """
    largest = -1
    if not os.path.exists(manifest):
        return 0
    for line, row in enumerate(read_rows(manifest, MANIFEST, errors="surrogateescape")[1], 2):
        number = whole_number(row["idx"], manifest, f"idx, line {line}", most=_MOST_NUMBER)
        if row["source"] == source and row["save_file"] in names:
            raise FormatError(
                f"{short(row['save_file'])} is there already, with the number {number}",
                path=manifest,
                field=source,
                remedy="Remove the rows of this source, or continue in the folder of that run",
            )
        largest = max(largest, number)
    return largest + 1


def has_room(manifest: str, records: str, head: Mapping[str, Any] | None) -> bool:
    """Whether the numbers after the last one of a run, whose journal begins with `head`, are free in the manifest."""
    if head is None or not os.path.exists(manifest) or not os.path.exists(records):
        return True
    end = head["offset"] + sum(1 for _ in read_rows(records, errors="surrogateescape")[1])
    rows = read_rows(manifest, MANIFEST, errors="surrogateescape")[1]
    return all(whole_number(row["idx"], manifest, "idx") < end for row in rows)


def _resolve_names(
    rows: Recordings, clashes: dict[int, int], first: dict[str, int]
) -> tuple[dict[int, str], dict[int, str]]:
    """What becomes of rows with one name: the same recording is a duplicate, another one gets a name of its own.

    Parameters
    ----------
    rows : Recordings
    clashes : dict
        Number of a row -> that of the first one with its name.
    first : dict
        Name -> number of the first row that has it; new names are added.

    Returns
    -------
    duplicates : dict
        Number -> why the row is refused.
    renamed : dict
        Number -> name.
    """
    wanted = {*clashes, *clashes.values()}
    paths: dict[tuple[str, str], int] = {}
    duplicates: dict[int, str] = {}
    renamed: dict[int, str] = {}
    for number, row in rows:
        if number not in wanted:
            continue
        name = row["save_file"]
        earlier = paths.setdefault((name, _recording(row["path"])), number)
        if number not in clashes:
            continue
        if row["_named"] or earlier != number:
            of = clashes[number] if row["_named"] else earlier
            duplicates[number] = f"named {name} as row {of} is: the same recording again"
            continue
        others = (f"{name[:-4]}-{again}.mat" for again in count(2))
        renamed[number] = next(other for other in others if other not in first)
        first[renamed[number]] = number
    return duplicates, renamed


def _recording(path: str) -> str:
    """A path without what makes no difference: one of WFDB may name the header, the signal or neither."""
    stem, ending = os.path.splitext(os.path.normpath(path))
    return stem if ending in (".hea", ".dat") else os.path.normpath(path)
