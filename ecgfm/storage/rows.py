"""Tables as CSV files of any length: read some rows at a time, written whole or not at all, or added to."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, Any, TextIO

from .._text import shown, table_cell
from .._types import StrPath
from ..errors import Error, FormatError
from .atomic import replacing
from .inputs import MAX_LINE, lines, open_input, open_text, unreadable

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "AppendedRows",
    "RowWriter",
    "csv_blocks",
    "csv_rows",
    "csv_text",
    "plain_csv_text",
    "read_blocks",
    "read_rows",
    "write_rows",
]

csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))  # a row, which may have line ends in it, is held to this

_NAMED = 5  # columns that a message names
_ROWS = 512  # are handed on at a time: few enough that the garbage collector passes them over


def csv_blocks(
    stream: TextIO,
    path: StrPath,
    *,
    delimiter: str = ",",
    most: int = MAX_LINE,
    longest: int | None = None,
    error: type[Error] = FormatError,
    field: str | None = None,
    even: bool = False,
) -> Iterator[list[list[str]]]:
    """Iterate over the rows of CSV text, some at a time; the first one comes alone.

    Parameters
    ----------
    stream : file object
        Text.
    path, field
        Where it comes from, for errors; without a field they name the line.
    delimiter : str
    most : int
        The longest line, and about the longest row, in characters.
    longest : int, optional
        The longest cell.
    error : type
        The `Error` that is raised.
    even : bool
        Whether all rows must have as many fields as the first one; empty ones are left out.

    Raises
    ------
    Error
        If a row or cell is too long, a row has another number of fields, or it is not CSV text in UTF-8, or can't be
        read.
    """
    taken = 0  # characters since the last row

    def refuse(what: str) -> Error:
        return error(what, path=path, field=field or f"line {reader.line_num}")

    def count(text: str, _: int) -> None:
        nonlocal taken
        if taken > most:
            raise refuse(f"more than {most:,} characters in a row")
        taken += len(text)

    reader = csv.reader(lines(stream, path, most=most, error=error, check=count), delimiter=delimiter)
    first: list[str] | None = None
    block: list[list[str]] = []
    problem: Error | None = None  # raised once the rows before it are handed on
    try:
        for row in reader:
            if taken or len(block) == _ROWS:  # no block has more than the text that was read at a time
                taken = 0
                if block:
                    yield block
                    block = []
            if longest is not None and max(map(len, row), default=0) > longest:
                raise refuse(f"more than {longest:,} characters in a cell")
            if first is None:
                first = row
                yield [row]
            elif len(row) == len(first) or not even:
                block.append(row)
            elif row:
                raise refuse(f"{len(row)} fields for {len(first)} columns")
    except Error as reason:
        problem = reason
    except csv.Error as reason:
        problem = refuse(f"not a CSV file: {reason}")
    except UnicodeDecodeError as reason:
        problem = error(f"not a CSV file: {reason}", path=path, field=field)
    except OSError as reason:
        problem = unreadable(path, reason, error=error, field=field)
    if block:
        yield block
    if problem is not None:
        raise problem


def csv_rows(stream: TextIO, path: StrPath, **limits: Any) -> Iterator[list[str]]:
    """Iterate over the rows of CSV text, one at a time; as `csv_blocks`."""
    return chain.from_iterable(csv_blocks(stream, path, **limits))


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV text."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def plain_csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV text in which a spreadsheet finds no formula: each text is a `table_cell`."""
    return csv_text([table_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)


def read_rows(
    path: StrPath, needed: Iterable[str] = (), *, errors: str = "strict"
) -> tuple[list[str], Iterator[dict[str, str]]]:
    """The columns of a CSV file (``.gz``: compressed), and an iterator over its rows as dicts of text.

    Parameters
    ----------
    path : path-like
    needed : sequence of str
        Columns that it must have.
    errors : str
        What becomes of bytes that aren't UTF-8, as for `open`: ``surrogateescape`` for tables that `RowWriter` wrote.

    Raises
    ------
    FormatError
        If there is no such file, it isn't a regular one, a column is missing or named twice, or (while iterating) a row
        has another number of fields or is too long, or compressed data are damaged or inflate endlessly.
    """
    blocks = _blocks(path, needed, errors)
    (columns,) = next(blocks)
    return columns, (dict(zip(columns, row)) for row in chain.from_iterable(blocks))


def read_blocks(
    path: StrPath, needed: Iterable[str], *, errors: str = "strict"
) -> Iterator[dict[str, tuple[str, ...]]]:
    """Iterate over columns of a CSV file, some hundred rows at a time, as dicts of tuples of text.

    This is faster than row by row, and takes no more memory, however long the file is. The arguments and errors are
    those of `read_rows`.
    """
    blocks = _blocks(path, needed, errors)
    places = {name: place for place, name in enumerate(next(blocks)[0]) if name in needed}
    for block in blocks:
        columns = list(zip(*block))
        yield {name: columns[place] for name, place in places.items()}


def _blocks(path: StrPath, needed: Iterable[str], errors: str) -> Iterator[list[list[str]]]:
    """The header, then lists of rows."""
    with open_text(path, errors=errors) as file:
        blocks = csv_blocks(file, path, even=True)
        head: list[list[str]] = next(blocks, [[]])
        _check_header(head[0], needed, path)
        yield head
        yield from blocks


def _check_header(columns: list[str], needed: Iterable[str], path: StrPath) -> None:
    known = Counter(columns)
    for what, names in (
        ("named more than once", [name for name, count in known.items() if count > 1]),
        ("missing", [name for name in needed if name not in known]),
    ):
        if names:
            more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            listed = ", ".join(name if len(name) < 60 else shown(name) for name in names[:_NAMED])
            raise FormatError(f"columns {what}: {listed}{more}", path=path, field="header")


def _kept(error: UnicodeError) -> tuple[bytes, int]:
    """What becomes of half a character (U+D800 to U+DFFF): a byte of a file's name stays it, another is spelt out."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    if all("\udc80" <= character <= "\udcff" for character in found):
        return found.encode("utf-8", "surrogateescape"), error.end
    return found.encode("utf-8", "backslashreplace"), error.end


codecs.register_error("ecgfm.kept", _kept)


class RowWriter:
    """A CSV file that is put in place when the ``with`` block ends well; else the old one stays.

    Parameters
    ----------
    path : path-like
    columns : sequence of str
    """

    def __init__(self, path: StrPath, columns: Iterable[str]) -> None:
        self._path, self._columns = path, list(columns)
        self.count = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(self._path))
            file = stack.enter_context(open(temporary, "w", encoding="utf-8", errors="ecgfm.kept", newline=""))
            self._writer = csv.writer(file, lineterminator="\n")
            self._writer.writerow(self._columns)
            self._stack = stack.pop_all()
        return self

    def write(self, row: Mapping[str, object]) -> None:
        """Write a row, a dict; a column that it lacks, or has None for, stays empty."""
        self._writer.writerow([row.get(name) for name in self._columns])
        self.count += 1

    def write_all(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Write rows."""
        for row in rows:
            self.write(row)

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def write_rows(path: StrPath, columns: Iterable[str], rows: Iterable[Mapping[str, object]]) -> int:
    """Write a CSV file whole or not at all, from dicts. Returns how many rows it has."""
    with RowWriter(path, columns) as writer:
        writer.write_all(rows)
    return writer.count


class AppendedRows:
    """A CSV file that rows are added to, also such with new columns. What a kill left half written is not a row.

    Parameters
    ----------
    path : path-like
        It need not be there.
    most, most_line : int
        The largest file that is read, in bytes, and the longest line, in characters.

    Attributes
    ----------
    columns : list of str
        Empty if there is no file.

    Raises
    ------
    FormatError
        If the file is not a table.
    """

    def __init__(self, path: StrPath, *, most: int = 1 << 30, most_line: int = 1 << 16) -> None:
        self.path, self._most, self._most_line = os.fspath(path), most, most_line
        self.columns = next(self._all(), []) if os.path.lexists(path) else []
        self._is_whole = False  # whether the last line is known to have its end

    def _all(self) -> Iterator[list[str]]:
        with open_text(self.path, most=self._most, encoding="utf-8") as file:
            yield from csv_rows(file, self.path, most=self._most_line)

    def rows(self) -> Iterator[dict[str, str]]:
        """Iterate over the rows that have a field for each column."""
        columns = self.columns
        rows = self._all() if columns else iter(())
        next(rows, None)
        return (dict(zip(columns, row)) for row in rows if len(row) == len(columns))

    def append(self, row: Mapping[str, object]) -> None:
        """Add a row; for a key that is not a column yet, the file is written anew."""
        self._cut_off()
        new = [name for name in row if name not in self.columns]
        if not new:
            with open(self.path, "a", encoding="utf-8", newline="") as file:
                file.write(csv_text([[row.get(name) for name in self.columns]]))
            return
        earlier, self.columns = self.rows(), [*self.columns, *new]
        write_rows(self.path, self.columns, chain(earlier, [row]))

    def keep(self, wanted: Callable[[dict[str, str]], bool]) -> None:
        """Take out the rows that are not wanted."""
        self._cut_off()
        if 1 + sum(map(wanted, self.rows())) < sum(1 for _ in self._all()):
            write_rows(self.path, self.columns, (row for row in self.rows() if wanted(row)))

    def _cut_off(self) -> None:
        """Take away a last line without its end."""
        if self._is_whole or not self.columns:
            return
        self._is_whole = True
        with open_input(self.path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - self._most_line, 0))
            end = file.read()
        if not end.endswith(b"\n") and b"\n" in end:
            os.truncate(self.path, size - len(end) + end.rindex(b"\n") + 1)
