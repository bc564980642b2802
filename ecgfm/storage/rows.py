"""Tables as CSV files of any length, a row at a time."""

import codecs
import csv
import sys
from collections import Counter
from itertools import chain

from .._text import shown
from ..errors import FormatError
from .atomic import replacing
from .inputs import MAX_LINE, lines, open_text, unreadable

__all__ = ["RowWriter", "read_blocks", "read_rows", "write_rows"]

csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))  # a row, which may have line ends in it, is held to this

_NAMED = 5  # columns that a message names
_ROWS = 512  # are handed on at a time: few enough that the garbage collector passes them over


def read_rows(path, needed=(), *, errors="strict"):
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
    columns = next(blocks)
    return columns, (dict(zip(columns, row)) for row in chain.from_iterable(blocks))


def read_blocks(path, needed, *, errors="strict"):
    """Iterate over columns of a CSV file, some thousand rows at a time, as dicts of tuples of text.

    This is faster than row by row, and takes no more memory, however long the file is. The arguments and errors are
    those of `read_rows`.
    """
    blocks = _blocks(path, needed, errors)
    places = {name: place for place, name in enumerate(next(blocks)) if name in needed}
    for block in blocks:
        columns = list(zip(*block))
        yield {name: columns[place] for name, place in places.items()}


def _blocks(path, needed, errors):
    """The header, then lists of rows: those of some thousand lines at a time."""
    taken = 0  # characters since the last row

    def count(text, _):
        nonlocal taken
        taken += len(text)
        if taken > MAX_LINE + len(text):
            raise FormatError(f"more than {MAX_LINE:,} characters in a row", path=path)

    try:
        with open_text(path, errors=errors) as file:
            reader = csv.reader(lines(file, path, check=count))
            columns, block = next(reader, []), []
            _check_header(columns, tuple(needed), path)
            yield columns
            for row in reader:
                if taken or len(block) == _ROWS:
                    taken = 0
                    if block:
                        yield block
                        block = []
                if len(row) == len(columns):
                    block.append(row)
                elif row:
                    raise FormatError(
                        f"{len(row)} fields for {len(columns)} columns", path=path, field=f"line {reader.line_num}"
                    )
            if block:
                yield block
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"not a CSV file: {error}", path=path) from None
    except OSError as error:
        raise unreadable(path, error) from None


def _check_header(columns, needed, path):
    known = Counter(columns)
    for what, names in (
        ("named more than once", [name for name, count in known.items() if count > 1]),
        ("missing", [name for name in needed if name not in known]),
    ):
        if names:
            more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            listed = ", ".join(name if len(name) < 60 else shown(name) for name in names[:_NAMED])
            raise FormatError(f"columns {what}: {listed}{more}", path=path, field="header")


def _kept(error):
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

    def __init__(self, path, columns):
        self._columns, self._replacing = list(columns), replacing(path)
        self.count = 0

    def __enter__(self):
        temporary = self._replacing.__enter__()
        try:
            self._file = open(temporary, "w", encoding="utf-8", errors="ecgfm.kept", newline="")
            self._writer = csv.writer(self._file, lineterminator="\n")
            self._writer.writerow(self._columns)
        except BaseException:
            self._replacing.__exit__(*sys.exc_info())
            raise
        return self

    def write(self, row):
        """Write a row, a dict; a column that it lacks, or has None for, stays empty."""
        self._writer.writerow([row.get(name) for name in self._columns])
        self.count += 1

    def __exit__(self, *error):
        try:
            self._file.close()
        except OSError:
            self._replacing.__exit__(*sys.exc_info())
            raise
        return self._replacing.__exit__(*error)


def write_rows(path, columns, rows):
    """Write a CSV file whole or not at all, from dicts. Returns how many rows it has."""
    with RowWriter(path, columns) as writer:
        for row in rows:
            writer.write(row)
    return writer.count
