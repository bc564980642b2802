"""Tables as CSV files of any length, a row at a time."""

import csv
import gzip
import os
import sys

from .._files import replacing
from ..errors import FormatError

__all__ = ["RowWriter", "read_rows", "write_rows"]

csv.field_size_limit(1 << 24)


def read_rows(path, needed=()):
    """The columns of a CSV file (``.gz``: compressed), and an iterator over its rows as dicts of text.

    Raises
    ------
    FormatError
        If there is no such file, a column is missing or named twice, or (while iterating) a row has another number of
        fields.
    """
    rows = _rows(os.fspath(path), tuple(needed))
    return next(rows), rows


def _rows(path, needed):
    try:
        with gzip.open(path, "rt", **_TEXT) if path.endswith(".gz") else open(path, **_TEXT) as file:
            reader = csv.reader(file)
            columns = next(reader, [])
            twice = sorted({name for name in columns if columns.count(name) > 1})
            missing = [name for name in needed if name not in columns]
            if twice or missing:
                what = f"named more than once: {', '.join(twice)}" if twice else f"missing: {', '.join(missing)}"
                raise FormatError(f"columns {what}", path=path, field="header")
            yield columns
            for row in reader:
                if len(row) != len(columns):
                    if not row:
                        continue
                    raise FormatError(
                        f"{len(row)} fields for {len(columns)} columns", path=path, field=f"line {reader.line_num}"
                    )
                yield dict(zip(columns, row))
    except FileNotFoundError:
        raise FormatError("no such file", path=path) from None
    except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError) as error:
        raise FormatError(f"not a CSV file: {error}", path=path) from None
    except OSError as error:
        raise FormatError(f"can't be read: {error.strerror or error}", path=path) from None


_TEXT = {"encoding": "utf-8-sig", "newline": ""}


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
            self._file = open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="")
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
