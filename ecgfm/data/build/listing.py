"""The table of recordings, ``records.csv``: made from the source, and added to when the source has more.

``.ecgfm/listed.csv`` holds what the source gave, so that rows which were taken out of the table by hand stay out. A
table that was there before the first run is the user's own and stays what it is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

from ..._text import shown
from ...errors import ConfigError, FormatError
from ...storage.atomic import open_own, replacing
from ...storage.fingerprints import file_digest
from ...storage.json import parse_json, write_json
from ...storage.rows import RowWriter, read_rows, write_rows
from ..sources.base import Source
from ..tables.keys import path_column
from .stages import Row

__all__ = ["earlier_records", "list_records"]

_MOST_CHAIN = 1 << 24  # bytes


def list_records(
    source: Source, raw_root: str | None, folder: str, state: str, own: dict[str, Any], grows: bool
) -> int:
    """Make or complete the table of recordings.

    Parameters
    ----------
    source : Source
    raw_root, folder, state : str
        Where recordings lie; what is written to; the state of runs in it.
    own : dict
        Options of the source.
    grows : bool
        Whether recordings may be added. If not they are noted in ``source.ignored``.

    Returns
    -------
    int
        How many were added to a table that was there.

    Raises
    ------
    ConfigError
        If there is no recording, or rows of a table have changed.
    """
    records, listed = os.path.join(folder, "records.csv"), os.path.join(state, "listed.csv")
    if not os.path.exists(records):
        columns, rows = source.records(raw_root, folder, **own)
        made = listed if source.relists else records
        if not write_rows(made, columns, rows):
            os.unlink(made)  # else it would stand in the way when there are some
            raise ConfigError(
                "the table has no recording: there is none in the folder",
                path=raw_root,
                field="raw_root",
                remedy="The documentation lists the formats that are read",
            )
        if source.relists:
            with replacing(records) as temporary:
                shutil.copyfile(listed, temporary)
        return 0
    if raw_root is None or not source.relists or not os.path.exists(listed):
        return 0
    columns, rows = source.records(raw_root, folder, **own)
    return _complete(source, records, listed, os.path.join(state, "grown.json"), columns, rows, grows)


def _complete(
    source: Source,
    records: str,
    listed: str,
    grown: str,
    columns: Sequence[str],
    rows: Iterable[Row],
    grows: bool,
) -> int:
    """Add the rows that are new."""
    old_columns, old = read_rows(listed, errors="surrogateescape")
    where = path_column(columns, records)
    if where not in old_columns:
        raise FormatError(f"columns missing: {where}", path=listed, remedy="Take another folder")
    tabled = bool(set(columns) - {"path", "dataset"})

    def of(row: Row) -> int | None:
        return hash(tuple(row.get(name) for name in columns)) if tabled else None

    known: dict[str, int | None] = {row[where]: of(row) for row in old}
    here, its = read_rows(records, errors="surrogateescape")
    present = {row.get(where) for row in its}
    fresh = []
    for row in rows:
        path = row[where]
        if path not in known:
            known[path] = None
            fresh.append(row)
        elif known[path] not in (None, of(row)):
            raise ConfigError(
                f"the row of {shown(path)} is not the one that this run began with",
                path=records,
                field="table",
                remedy="Take another folder for the other table",
            )
    new = [row for row in fresh if row[where] not in present]
    if new and not grows:
        why = "new, and the numbers after this run's are taken in the manifest"
        source.ignored.extend((row[where], why) for row in new)
        return 0
    if new:
        _append(records, here, new, grown)
    if fresh:
        _append(listed, old_columns, fresh)
    return len(new)


def _append(path: str, columns: Sequence[str], new: Sequence[Row], grown: str | None = None) -> None:
    before = None if grown is None else file_digest(path)
    with replacing(path) as temporary:
        with RowWriter(temporary, columns) as writer:
            writer.write_all(read_rows(path, errors="surrogateescape")[1])
            writer.write_all(new)
        if grown is not None:
            chain = _chain(grown)
            earlier = chain["earlier"] if chain["now"] == before else []
            write_json(grown, {"now": file_digest(temporary), "earlier": [*earlier, before]}, indent=None)


def earlier_records(records: str, state: str) -> list[str]:
    """The digests of the tables that this one has grown from, by rows at its end."""
    chain = _chain(os.path.join(state, "grown.json"))
    return chain["earlier"] if chain["earlier"] and chain["now"] == file_digest(records) else []


def _chain(path: str) -> dict[str, Any]:
    try:
        with open_own(path) as file:
            found: dict[str, Any] = parse_json(file.read(_MOST_CHAIN), path=path)
    except FileNotFoundError:
        return {"now": None, "earlier": []}
    except FormatError as error:
        error.remedy = "Remove it; the run then begins anew"
        raise
    earlier = found.get("earlier") if isinstance(found, dict) and isinstance(found.get("now"), str) else None
    if not isinstance(earlier, list) or not all(isinstance(one, str) for one in earlier):
        raise FormatError("damaged", path=path, remedy="Remove it; the run then begins anew")
    return found
