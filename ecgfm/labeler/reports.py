"""Report texts out of tables: CSV, TSV, Parquet, or lines of text, read some rows at a time."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, TextIO

from .._text import shown
from .._types import StrPath
from ..errors import FormatError
from ..storage.inputs import lines, open_input, open_text
from ..storage.rows import csv_rows
from .parquet import parquet_batches

__all__ = ["FORMATS", "Reports"]

FORMATS = ("csv", "tsv", "parquet", "lines")
MAX_CELL = 1 << 18  # characters of one cell, or of one line of text: the longest reports have a few thousand
MAX_STANDARD_INPUT = 256 << 20  # bytes of Parquet, which can't be read as they come
GUESSES = ("text", "report", "machine_report", "reports", "report_text", "interpretation", "statement", "statements")
PART = re.compile(r"report_([0-9]{1,9})")
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

    def __init__(
        self,
        path: StrPath,
        column: str | Sequence[str] | None = None,
        keep: Sequence[str] = (),
        format: str | None = None,
    ) -> None:
        self.path = "-" if str(path) == "-" else os.fspath(path)
        if format is None:
            name = str(self.path).lower().removesuffix(".gz")
            format = next((kind for kind in FORMATS if name.endswith("." + kind)), "lines")
        if format not in FORMATS:
            raise FormatError(
                f"there is no format {shown(format)}",
                path=self.path,
                field="format",
                remedy=f"The formats are {', '.join(FORMATS)}",
            )
        self.format = format
        self._columns = [column] if isinstance(column, str) else list(column or ())
        self._keep = list(keep)
        if format == "lines" and (self._columns or self._keep):
            raise FormatError(
                "lines of text have no columns",
                path=self.path,
                field="column",
                remedy="Say what the file is with the input format csv, tsv or parquet",
            )

    def __iter__(self) -> Iterator[tuple[tuple[Any, ...], Any]]:
        try:
            if self.format == "lines":
                with self._open() as stream:
                    for line in lines(stream, self.path, most=MAX_CELL):
                        yield (), line.rstrip("\r\n")
            elif self.format == "parquet":
                yield from self._parquet()
            else:
                yield from self._csv()
        except OSError as error:
            raise FormatError(f"can't be read: {error.strerror or error}", path=self.path) from None

    def _open(self) -> TextIO:
        """The file as text; what is not UTF-8 is read as replacement characters."""
        if self.path != "-":
            stream: TextIO = open_text(self.path, errors="replace")
            return stream
        raw: BinaryIO | None = getattr(sys.stdin, "buffer", None)
        if raw is None:  # a replacement of standard input that holds text
            return io.StringIO(sys.stdin.read(), newline="")
        return io.TextIOWrapper(
            os.fdopen(os.dup(raw.fileno()), "rb") if _has_descriptor(raw) else raw,
            encoding="utf-8-sig",
            errors="replace",
            newline="",
        )

    def _csv(self) -> Iterator[tuple[tuple[Any, ...], Any]]:
        with self._open() as stream:
            delimiter = "\t" if self.format == "tsv" else ","
            rows = csv_rows(stream, self.path, delimiter=delimiter, longest=MAX_CELL)
            header = next(rows, None)
            if header is None:
                raise FormatError("the file is empty", path=self.path)
            texts, keep = self._places(header)
            for row in rows:
                if row or len(header) == 1:  # a blank line is an empty report where there is one column
                    get = lambda i: row[i] if i < len(row) else ""  # noqa: E731, B023 - used in this turn only
                    yield tuple(map(get, keep)), join(map(get, texts))

    def _parquet(self) -> Iterator[tuple[tuple[Any, ...], Any]]:
        if self.path == "-":
            content = sys.stdin.buffer.read(MAX_STANDARD_INPUT + 1)
            if len(content) > MAX_STANDARD_INPUT:
                raise FormatError(
                    f"more than {MAX_STANDARD_INPUT >> 20} MiB of Parquet on standard input",
                    path=self.path,
                    remedy="Write it to a file and name that",
                )
            file: BinaryIO = io.BytesIO(content)
        else:
            file = open_input(self.path)
        with file:
            for batch in parquet_batches(file, self.path, self._columns_of, MAX_CELL):
                texts, keep = self._places_read
                for row in batch:
                    yield tuple(row[i] for i in keep), join(row[i] for i in texts)

    def _columns_of(self, header: list[str]) -> list[int]:
        """The positions of the wanted columns; the place of each among them is kept."""
        texts, keep = self._places(header)
        wanted = list(dict.fromkeys([*keep, *texts]))
        place = {i: number for number, i in enumerate(wanted)}
        self._places_read = [place[i] for i in texts], [place[i] for i in keep]
        return wanted

    def _places(self, header: list[str]) -> tuple[list[int], list[int]]:
        """The positions of the text columns and of the kept ones."""
        place: dict[str, int] = {}
        for i, name in enumerate(header):
            place.setdefault(name, i)
        names = self._columns
        if not names:
            parts = sorted((int(found[1]), name) for name in place if (found := PART.fullmatch(name)))
            lower = {name.lower(): name for name in reversed(header)}
            if len(header) == 1:
                names = list(header)
            elif guess := next((lower[name] for name in GUESSES if name in lower), None):
                names = [guess]
            else:
                names = [name for _, name in parts]
        missing = [name for name in [*names, *self._keep] if name not in place]
        if missing or not names:
            what = "it is not clear which column holds the text"
            if missing:
                what = f"there is no column {shown(missing[0])}"
            known = ", ".join(map(shown, header[:30])) + (", ..." if len(header) > 30 else "")
            raise FormatError(what, path=self.path, field="column", remedy=f"Name one of {known}")
        return [place[name] for name in names], [place[name] for name in self._keep]


def join(parts: Iterable[Any]) -> Any:
    """Texts joined with "; ", empty ones left out; a single one stays as it is."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    return "; ".join(part for part in map(_trimmed, parts) if part)


def _trimmed(part: Any) -> str:
    return part.strip() if isinstance(part, str) else "" if part is None or part != part else str(part)


def _has_descriptor(stream: Any) -> bool:
    try:
        stream.fileno()
    except (OSError, AttributeError):
        return False
    return True
