"""Numbers and names of recordings: no two have one."""

import os

from ..._text import short
from ...errors import FormatError
from ...storage.columns import whole_number
from ...storage.rows import read_rows
from .outputs import MANIFEST

__all__ = ["has_room", "next_number", "resolve_names"]

_MOST_NUMBER = 1 << 40  # of a recording


def next_number(manifest, source, names):
    """The number of a run's first row: after all that the manifest holds.

    Raises
    ------
    FormatError
        If a number is none, or a recording of the source stands there already.
    """
    largest = -1
    if not os.path.exists(manifest):
        return 0
    for line, row in enumerate(read_rows(manifest, MANIFEST, errors="surrogateescape")[1], 2):
        number = whole_number(row["idx"], manifest, f"idx, line {line}", most=_MOST_NUMBER)
        if row["source"] == source and row["save_file"] in names:
            raise FormatError(
                f"{short(row['save_file'])} stands there already, with the number {number}",
                path=manifest,
                field=source,
                remedy="Remove the rows of this source, or continue in the folder of that run",
            )
        largest = max(largest, number)
    return largest + 1


def has_room(manifest, records, head):
    """Whether the numbers after the last one of a run, whose journal begins with `head`, are free in the manifest."""
    if head is None or not os.path.exists(manifest) or not os.path.exists(records):
        return True
    end = head["offset"] + sum(1 for _ in read_rows(records, errors="surrogateescape")[1])
    rows = read_rows(manifest, MANIFEST, errors="surrogateescape")[1]
    return all(whole_number(row["idx"], manifest, "idx") < end for row in rows)


def resolve_names(rows, clashes, first):
    """What becomes of rows with one name: the same recording is a duplicate, another one gets a name of its own.

    Parameters
    ----------
    rows : callable
        Iterates over (number, row) of all.
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
    wanted, paths, duplicates, renamed = {*clashes, *clashes.values()}, {}, {}, {}
    for number, row in rows():
        if number not in wanted:
            continue
        name = row["save_file"]
        earlier = paths.setdefault((name, _recording(row["path"])), number)
        if number not in clashes:
            continue
        if row["_named"] or earlier != number:
            of = clashes[number] if row["_named"] else earlier
            duplicates[number] = f"named {name} as row {of} is: a recording that stands there twice"
            continue
        again = 2
        while f"{name[:-4]}-{again}.mat" in first:
            again += 1
        renamed[number] = f"{name[:-4]}-{again}.mat"
        first[renamed[number]] = number
    return duplicates, renamed


def _recording(path):
    """A path without what makes no difference: one of WFDB may name the header, the signal or neither."""
    stem, ending = os.path.splitext(os.path.normpath(path))
    return stem if ending in (".hea", ".dat") else os.path.normpath(path)
