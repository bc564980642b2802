"""Tables as CSV files of any length, a row at a time."""

import codecs
import csv
import sys
from collections import Counter

from .._text import shown
from ..errors import FormatError
from .atomic import replacing
from .inputs import MAX_LINE, lines, open_text, unreadable

__all__ = ["RowWriter", "read_rows", "write_rows"]

csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))  # a row, which may have line ends in it, is held to this

_NAMED = 5  # columns that a message names


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
    rows = _rows(path, tuple(needed), errors)
    return next(rows), rows


def _rows(path, needed, errors):
    try:
        with open_text(path, errors=errors) as file:
            held = [0]  # characters of the row that is being read
            reader = csv.reader(_counted(file, path, held))
            columns = next(reader, [])
            _check_header(columns, needed, path)
            yield columns
            held[0] = 0
            for row in reader:
                held[0] = 0
                if len(row) != len(columns):
                    if not row:
                        continue
                    raise FormatError(
                        f"{len(row)} fields for {len(columns)} columns", path=path, field=f"line {reader.line_num}"
                    )
                yield dict(zip(columns, row))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"not a CSV file: {error}", path=path) from None
    except OSError as error:
        raise unreadable(path, error) from None


def _counted(file, path, held):
    """The lines of a file; those of one row are counted in `held`."""
    for line in lines(file, path):
        held[0] += len(line)
        if held[0] > MAX_LINE:
            raise FormatError(f"more than {MAX_LINE:,} characters in a row", path=path)
        yield line


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
