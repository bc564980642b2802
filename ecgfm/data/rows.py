"""Tables as CSV files of any length, a row at a time."""

import csv
import gzip
import os

from .._files import replacing
from ..errors import FormatError

__all__ = ["read_rows", "write_rows"]

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


def write_rows(path, columns, rows):
    """Write a CSV file whole or not at all. Returns how many rows it has.

    Parameters
    ----------
    rows : iterable of dict
        A column that a row lacks, or has None for, stays empty.
    """
    count = 0
    with replacing(path) as temporary:
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            for row in rows:
                writer.writerow(["" if row.get(name) is None else row[name] for name in columns])
                count += 1
    return count
