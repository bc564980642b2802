"""Parquet: a table with a column per lead, as a DataFrame is saved. pyarrow parses.

What the columns mean is what they mean in a DataFrame: names of leads, units in the names, a column of times.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ecg.held import as_record, names_lead_or_unit
from ..ecg.record import Record
from ..errors import Error, FormatError, MissingExtraError
from ..signal.columns import column_of
from ..signal.leads import listed
from ..storage.inputs import check_inflation, open_input
from .common import Format, Given, check_size, optional, parsing

__all__ = ["FORMAT"]

_MAX_COLUMNS, _MAX_GROUPS, _ROWS = 4096, 65_536, 1 << 16
_INDEX = "__index_level_"  # pandas' name of an index without one


def _read(path: str, given: Given) -> Record:
    with _opened(path) as file:
        names, wanted = _columns(file, path), _wanted(file, path, given)
        columns = _values(file, wanted, path)
    for name in [name for name in columns if name.startswith(_INDEX)]:
        columns["time"] = columns.pop(name)
    left = [name for name in names if name not in wanted and column_of(name).kind != "index"]
    try:
        record = as_record(columns, given.sampling_rate, given.leads, given.unit)
    except Error as error:
        error.path = error.path or path
        raise
    record.source = path
    record.notes += (f"columns not read: {listed(left)}",) if left else ()
    return record


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """A Parquet file that is open."""
    try:
        library = optional("pyarrow.parquet", path, "Parquet files")
    except MissingExtraError as error:
        error.remedy = "Install it with: pip install 'ecgfm[tables]'"
        raise
    with open_input(path) as stream:
        with parsing(path, "Parquet"):
            file = library.ParquetFile(stream)
        try:
            yield file
        finally:
            file.close()


def _columns(file: Any, path: str) -> list[str]:
    names = list(file.schema_arrow.names)
    if len(names) > _MAX_COLUMNS:
        raise FormatError(f"{len(names):,} columns; at most {_MAX_COLUMNS:,} are read", path=path)
    return names


def _wanted(file: Any, path: str, given: Given) -> list[str]:
    """The columns of leads and times; of leads that are not named so, all that hold numbers."""
    from pyarrow import types

    names, schema = _columns(file, path), file.schema_arrow
    kinds = {name: schema.field(i).type for i, name in enumerate(names)}
    leads = [name for name in names if names_lead_or_unit(name)]
    if not leads:
        leads = [
            name
            for name in names
            if column_of(name).kind == "other" and (types.is_integer(kinds[name]) or types.is_floating(kinds[name]))
        ]
        if given.leads is None:
            raise FormatError(
                f"its columns are named {listed(leads or names) or 'nothing'}: none is a lead",
                path=path,
                field="leads",
                remedy="Name the columns that hold numbers, in their order: leads='I,II,...' (--leads)",
            )
    times = [name for name in names if name not in leads and _is_time(types, name, kinds[name])]
    twice = [name for name, count in Counter(names).items() if count > 1 and name in {*leads, *times}]
    if twice:
        raise FormatError("the column occurs twice", path=path, field=twice[0])
    for name in leads:
        if not (types.is_integer(kinds[name]) or types.is_floating(kinds[name])):
            raise FormatError(f"the values are of type {str(kinds[name])[:60]}, not numbers", path=path, field=name)
    return [*leads, *times]


def _is_time(types: Any, name: str, kind: Any) -> bool:
    dated = types.is_timestamp(kind) or types.is_duration(kind)
    if name.startswith(_INDEX):
        return bool(dated)
    plain = types.is_integer(kind) or types.is_floating(kind) or types.is_string(kind) or types.is_large_string(kind)
    return column_of(name).kind in ("time", "clock") and bool(dated or plain)


def _values(file: Any, wanted: Sequence[str], path: str) -> dict[str, Any]:
    """The columns as arrays, some rows at a time, so that each number is in memory once."""
    about = file.metadata
    if about.num_row_groups > _MAX_GROUPS:
        raise FormatError(f"{about.num_row_groups:,} groups of rows; at most {_MAX_GROUPS:,} are read", path=path)
    rows, size = about.num_rows, os.path.getsize(path)
    check_size((len(wanted), rows), 8, path=path, field="rows")
    check_inflation(size, 4 * len(wanted) * rows, path=path, field="rows", held=True)
    made = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
    check_inflation(size, made, path=path, field="groups of rows")  # asked of each column, pyarrow may end the process
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in wanted}
    read = 0
    with parsing(path, "Parquet"):
        for batch in file.iter_batches(_ROWS, columns=list(wanted)):
            read += batch.num_rows
            if read > rows:
                raise FormatError(f"more than the {rows:,} rows that are announced", path=path)
            for name in wanted:
                parts[name].append(_numbers(batch.column(name)))
    if not rows or read != rows:
        raise FormatError(f"{rows:,} rows are announced, {read:,} are there", path=path)
    return {name: np.concatenate(parts.pop(name)) for name in wanted}


def _numbers(column: Any) -> NDArray[Any]:
    values: NDArray[Any] = np.asarray(column.to_numpy(zero_copy_only=False))
    return values


def _left_out(path: str) -> str | None:
    """Why a file in a folder is no recording: its columns are no leads; None if it is one, or can't be read."""
    try:
        with _opened(path) as file:
            names = _columns(file, path)
    except MissingExtraError as error:
        return f"{error.message}: pip install 'ecgfm[tables]'"
    except FormatError:  # reading it will say what is wrong
        return None
    return None if sum(map(names_lead_or_unit, names)) >= 2 else "its columns are no leads"


FORMAT = Format(
    "Parquet",
    (".parquet", ".pq"),
    lambda head: head.startswith(b"PAR1"),
    _read,
    side_files=True,
    unlike="its content is not Parquet",
    left_out=_left_out,
)
