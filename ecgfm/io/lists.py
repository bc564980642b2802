"""Lists of files: a text with a path in each line, or a table with a column of them."""

from __future__ import annotations

import os

from ..errors import FormatError
from ..storage.inputs import check_inflation, lines, open_text, read_head
from . import table, with_ending
from .common import utf8
from .table_top import fields_of

__all__ = ["PATH_COLUMNS", "listed_files"]

#: Names of a table's column of paths; the first that is there counts.
PATH_COLUMNS = ("path", "file", "record", "filename", "file_name", "save_file", "filename_hr", "filename_lr")

_ENDINGS = (".txt", ".csv", ".tsv", ".lst", ".list")
_MAX_SIZE, _MAX_LINE, _MAX_PATH, _HEAD_BYTES = 1 << 28, 1 << 16, 4096, 1 << 16


def listed_files(path: str) -> list[str] | None:
    """The files that a list names, or None if the file is none.

    A list is a text (``.txt``, ``.csv``, ``.tsv``, or PhysioNet's ``RECORDS``) with a path in each line, the first of
    which is there, or a table with a column of `PATH_COLUMNS`. A relative path is looked for from the working
    directory, then from the list's.

    Raises
    ------
    FormatError
        If it is a list and can't be read to its end.
    """
    name = os.path.basename(path)
    if not name.lower().endswith(_ENDINGS) and not name.startswith("RECORDS"):
        return None
    head = _head_lines(path)
    if not head or table.FORMAT.matches(head[0].encode()):
        return None
    delimiter = max(",;\t", key=head[0].count)
    fields = fields_of(head[0], delimiter)
    columns = [i for column in PATH_COLUMNS for i, field in enumerate(fields) if field.lower() == column]
    folder = os.path.dirname(path)
    if columns and len(head) > 1:
        cells = fields_of(head[1], delimiter)
        there = [i for i in columns if i < len(cells) and _is_there(cells[i], folder)]
        return _column(path, (there or columns)[0], delimiter, folder)
    return _column(path, 0, None, folder) if len(fields) == 1 and _is_there(fields[0], folder) else None


def _head_lines(path: str) -> list[str]:
    """The first two lines that say something, if the file begins with text."""
    try:
        head = read_head(path, _HEAD_BYTES, most=_MAX_SIZE)
    except FormatError:  # reading it as a recording will say what is wrong
        return []
    text = [] if b"\0" in head else head.decode("utf-8-sig", errors="replace").splitlines()
    return [line for line in text if line.strip() and not line.startswith("#")][:2]


def _is_there(name: str, folder: str) -> bool:
    return 0 < len(name) <= _MAX_PATH and os.path.exists(with_ending(_located(name, folder)))


def _located(name: str, folder: str) -> str:
    """The path of a listed file."""
    beside = os.path.join(folder, name)
    return name if os.path.exists(with_ending(name)) or not os.path.exists(with_ending(beside)) else beside


def _column(path: str, column: int, delimiter: str | None, folder: str) -> list[str]:
    """The paths in a table's column, below its first line; without a delimiter those of a list."""
    found: list[str] = []
    made = read = 0
    header = delimiter is not None
    with utf8(path), open_text(path, most=_MAX_SIZE) as file:
        for number, line in enumerate(lines(file, path, most=_MAX_LINE)):
            read += len(line)
            if not line.strip() or line.startswith("#"):
                continue
            if header:
                header = False
                continue
            bare = line.rstrip("\r\n")
            cells = [bare.strip().strip('"')] if delimiter is None else fields_of(bare, delimiter)
            name = cells[column] if len(cells) > column else ""
            if not name or len(name) > _MAX_PATH:
                raise FormatError("there is no path", path=path, field=f"line {number + 1}")
            made += len(name) + len(folder)
            check_inflation(read, made, path=path)
            found.append(_located(name, folder))
    if not found:
        raise FormatError("the list names no files", path=path)
    return found
