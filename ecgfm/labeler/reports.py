"""Report texts out of tables: CSV, TSV, Parquet, or lines of text, read some rows at a time."""

import csv
import io
import os
import re
import sys

from ..errors import FormatError, MissingExtraError

__all__ = ["Reports", "FORMATS"]

FORMATS = ("csv", "tsv", "parquet", "lines")
MAX_CELL = 64 << 20  # characters of one cell
GUESSES = ("text", "report", "machine_report", "reports", "report_text", "interpretation", "statement", "statements")
PART = re.compile(r"report_(\d+)$")
BATCH = 4096


class Reports:
    """The reports of a table, read as they are iterated over.

    Parameters
    ----------
    path : path-like
        The file; "-" is standard input.
    column : str or sequence of str, optional
        The column with the text. Several are joined with "; ", empty ones left out. Default: the only column; a
        column named text, report or the like; or report_0, report_1, ... as in ``machine_measurements.csv``.
    keep : sequence of str
        Columns to hand on with each report.
    format : {"csv", "tsv", "parquet", "lines"}, optional
        Default: by the file name; standard input and other names are lines of text.

    Yields
    ------
    kept : tuple
        The values of the columns ``keep``.
    text : str or None

    Raises
    ------
    FormatError
        If the file can't be read as that format or lacks a column; the error names the columns that there are.
    MissingExtraError
        If the file is Parquet and pyarrow is not installed.
    """

    def __init__(self, path, column=None, keep=(), format=None):
        self.path = "-" if str(path) == "-" else os.fspath(path)
        if format is None:
            name = str(self.path).lower().removesuffix(".gz")
            format = next((kind for kind in FORMATS if name.endswith("." + kind)), "lines")
        if format not in FORMATS:
            raise FormatError(f"there is no format {format!r}", path=self.path, field="format",
                              remedy=f"The formats are {', '.join(FORMATS)}")
        self.format = format
        self._columns = [column] if isinstance(column, str) else list(column or ())
        self._keep = list(keep)
        if format == "lines" and (self._columns or self._keep):
            raise FormatError("lines of text have no columns", path=self.path, field="column",
                              remedy="Say what the file is with the input format csv, tsv or parquet")

    def __iter__(self):
        if self.format == "lines":
            with self._open() as stream:
                for line in stream:
                    yield (), line.rstrip("\r\n")
        elif self.format == "parquet":
            yield from self._parquet()
        else:
            yield from self._csv()

    def _open(self):
        """The file as text; what is not UTF-8 is read as replacement characters."""
        if self.path == "-":
            raw = getattr(sys.stdin, "buffer", None)
            if raw is None:  # a stand-in for standard input that holds text
                return io.StringIO(sys.stdin.read(), newline="")
            return io.TextIOWrapper(os.fdopen(os.dup(raw.fileno()), "rb") if _has_descriptor(raw) else raw,
                                    encoding="utf-8-sig", errors="replace", newline="")
        if str(self.path).lower().endswith(".gz"):
            import gzip

            return gzip.open(self.path, "rt", encoding="utf-8-sig", errors="replace", newline="")
        return open(self.path, encoding="utf-8-sig", errors="replace", newline="")

    def _csv(self):
        csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
        try:
            with self._open() as stream:
                rows = csv.reader(stream, delimiter="\t" if self.format == "tsv" else ",")
                header = next(rows, None)
                if header is None:
                    raise FormatError("the file is empty", path=self.path)
                texts, keep = self._places(header)
                for row in rows:
                    if row or len(header) == 1:  # a blank line is an empty report where there is one column
                        get = lambda i: row[i] if i < len(row) else ""  # noqa: E731, B023 - used in this turn only
                        yield tuple(map(get, keep)), join(map(get, texts))
        except (csv.Error, EOFError) as error:
            raise FormatError(f"not a table: {error}", path=self.path) from None
        except OSError as error:
            raise FormatError(f"can't be read: {error.strerror or error}", path=self.path) from None

    def _parquet(self):
        try:
            from pyarrow import ArrowException, parquet
        except ImportError:
            raise MissingExtraError("reading Parquet needs pyarrow", path=self.path,
                                    remedy="Install it with: pip install 'ecgfm[tables]'") from None
        try:
            source = io.BytesIO(sys.stdin.buffer.read()) if self.path == "-" else self.path
            with parquet.ParquetFile(source) as file:
                header = file.schema_arrow.names
                texts, keep = self._places(header)
                wanted = [header[i] for i in dict.fromkeys([*keep, *texts])]
                for batch in file.iter_batches(BATCH, columns=wanted):
                    columns = {name: batch.column(name).to_pylist() for name in wanted}
                    for i in range(batch.num_rows):
                        get = lambda j: columns[header[j]][i]  # noqa: E731, B023
                        yield tuple(map(get, keep)), join(map(get, texts))
        except ArrowException as error:
            raise FormatError(f"not a Parquet file: {str(error).splitlines()[0]}", path=self.path) from None
        except OSError as error:
            raise FormatError(f"can't be read: {error.strerror or error}", path=self.path) from None

    def _places(self, header):
        """The positions of the text columns and of the kept ones."""
        place = {}
        for i, name in enumerate(header):
            place.setdefault(name, i)
        names = self._columns
        if not names:
            parts = sorted((int(found[1]), name) for name in place if (found := PART.match(name)))
            lower = {name.lower(): name for name in reversed(header)}
            if len(header) == 1:
                names = list(header)
            elif guess := next((lower[name] for name in GUESSES if name in lower), None):
                names = [guess]
            else:
                names = [name for _, name in parts]
        missing = [name for name in [*names, *self._keep] if name not in place]
        if missing or not names:
            what = f"there is no column {missing[0]!r}" if missing else "it is not clear which column holds the text"
            shown = ", ".join(map(repr, header[:30])) + (", ..." if len(header) > 30 else "")
            raise FormatError(what, path=self.path, field="column", remedy=f"Name one of {shown}")
        return [place[name] for name in names], [place[name] for name in self._keep]


def join(parts):
    """Texts joined with "; ", empty ones left out; a single one stays as it is."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    return "; ".join(part for part in map(_trimmed, parts) if part)


def _trimmed(part):
    return part.strip() if isinstance(part, str) else "" if part is None or part != part else str(part)


def _has_descriptor(stream):
    try:
        stream.fileno()
    except (OSError, AttributeError):
        return False
    return True
