"""CSV: one column per lead, named in the first line; values in millivolt unless a name or a comment says otherwise.

Columns are parted by commas, semicolons, tabs or blanks; where commas don't part them, they may be decimal commas.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from ..ecg.record import Record
from ..errors import FormatError, LeadError, SignalError
from ..signal.columns import Column, column_of
from ..signal.leads import canonical_leads, listed
from ..signal.times import clock, rate_of_times
from ..storage.inputs import lines, open_text
from .common import MAX_BYTES, Format, Given, make_record, millivolts_per, utf8

__all__ = ["FORMAT", "fields_of"]

_MAX_TEXT = MAX_BYTES // 4  # a number takes more bytes as text than in memory, hardly ever less than a fourth
_MAX_COMMENTS, _MAX_COLUMNS = 100, 4096
_SAID = {"sampling_rate": "rate", "sample_rate": "rate", "fs": "rate", "unit": "unit", "units": "unit"}
_COMMENT = re.compile(r"#([^:=,]*)[:=,](.*)", re.DOTALL)
_ROWS = 1 << 15  # that become numbers at once
_AT_ROW = re.compile(r" at row (\d{1,18})")


def _matches(head: bytes) -> bool:
    """A first line that names at least two of the 12 leads."""
    text = [] if b"\0" in head else head.decode("utf-8-sig", errors="replace").splitlines()
    columns, _ = _header(next(filter(_says, text), ""))
    return len({column.lead for column in columns if column.kind == "lead"}) >= 2


def _read(path: str, given: Given) -> Record:
    names = None if given.leads is None else canonical_leads(given.leads, path=path)
    with utf8(path), open_text(path, most=_MAX_TEXT) as file:
        text = lines(file, path, check=partial(_check_quotes, path))
        said, line = _top(text, path)
        columns, delimiter = _header(line)
        if not columns:
            raise FormatError("the first line is no line of a table", path=path)
        if len(columns) > _MAX_COLUMNS and not _is_number(columns[0].name):
            raise FormatError(f"{len(columns):,} columns; at most {_MAX_COLUMNS:,} are read", path=path)
        given = Given(given.sampling_rate, names)
        table = _Table(path, delimiter, columns, said.get("rate"), said.get("unit"), given)
        has_header = not all(_is_number(column.name) for column in columns)
        return table.with_header(text) if has_header else table.without_header(line, text)


def _says(line: str) -> bool:
    """Whether a line is neither empty nor a comment."""
    return bool(line.strip()) and not line.startswith("#")


def _check_quotes(path: str, text: str, before: int) -> None:
    """Refuse lines in which a quote doesn't end."""
    if '"' not in text:
        return
    for number, line in enumerate(io.StringIO(text, newline=""), before + 1):
        if line.count('"') % 2:
            raise FormatError("a quote that doesn't end in its line", path=path, field=f"line {number}")


# ---- the first lines ------------------------------------------------------------------------------------------------


def _top(text: Iterator[str], path: str) -> tuple[dict[str, str], str]:
    """What the comments at the top say of ``rate`` and ``unit``, and the first line that is no comment."""
    said: dict[str, str] = {}
    for line in itertools.islice(text, _MAX_COMMENTS):
        if _says(line):
            return said, line
        said |= _said(line)
    if next(text, None) is None:
        raise FormatError("the file holds no table", path=path)
    raise FormatError(f"more than {_MAX_COMMENTS} lines of comments and no table", path=path)


def _said(line: str) -> dict[str, str]:
    """What a comment says: ``# sampling_rate: 500 Hz``, ``# unit: uV``."""
    comment = _COMMENT.match(line)
    key = _SAID.get(comment[1].strip().lower()) if comment else None
    if comment is None or key is None:
        return {}
    value = comment[2].strip()
    if key == "rate" and value.lower().endswith("hz"):
        value = value[:-2].rstrip()
    return {key: value} if key == "unit" or len(value.split(None, 1)) == 1 else {}


def _header(line: str) -> tuple[list[Column], str | None]:
    """The columns that a first line names, and what parts them: the sign that makes most leads, then most columns."""
    best: tuple[tuple[int, bool, int], list[Column], str | None] = (-1, False, 0), [], None
    for delimiter in (",", ";", "\t", None):
        columns = [column_of(name) for name in fields_of(line, delimiter)[: _MAX_COLUMNS + 1]]
        numbers = bool(columns) and all(_is_number(column.name) for column in columns)
        if delimiter is None and len(best[1]) > 1 and not (numbers and not best[0][1]):
            break
        leads = sum(column.kind == "lead" for column in columns)
        if delimiter is None and leads and any(column.kind == "other" for column in columns):
            leads, columns = 0, [column_of(line)]  # a sentence
        score = leads, numbers, len(columns)
        if score > best[0]:
            best = score, columns, delimiter
    return best[1], best[2]


def fields_of(line: str, delimiter: str | None) -> list[str]:
    """The fields of a line, parted by a delimiter or (None) by blanks."""
    if delimiter is None:
        return line.split()
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


# ---- the values -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """What the first lines of a table say: its columns, and rate and unit as the comments have them, or None."""

    path: str
    delimiter: str | None
    columns: Sequence[Column]
    stated: str | None
    unit: str | None
    given: Given

    def without_header(self, line: str, text: Iterator[str]) -> Record:
        """The recording, if the first line holds numbers."""
        count = len(fields_of(line, self.delimiter))
        if self.given.leads is None:
            raise LeadError(
                f"the first line names no leads: it holds {count} numbers",
                path=self.path,
                field="leads",
                remedy="Add a line I,II,III,..., or name the columns: leads='I,II,...' (--leads)",
            )
        factors = [self.factor(self.unit, "unit")] * count
        signal, _ = self.values(itertools.chain([line], text), range(count), count, factors)
        return make_record(signal, self.path, self.given, rate=self.stated, units=self.unit)

    def with_header(self, text: Iterator[str]) -> Record:
        """The recording, if the first line names the columns."""
        columns, path = self.columns, self.path
        first = next(filter(_says, text), None)
        if first is None:
            raise FormatError("the table has no rows", path=path)
        cells = fields_of(first, self.delimiter)
        chosen = self.chosen(cells)
        units = [columns[i].unit or self.unit for i in chosen]
        factors = [self.factor(unit, columns[i].name) for i, unit in zip(chosen, units)]
        rows: Iterable[str] = itertools.chain([first], text)
        time, used = self.time_column(cells), chosen
        clocks: list[float] = []
        if time is not None and _is_number(cells[time]):
            used = [*chosen, time]
        elif time is not None:
            rows = self.watched(rows, time, clocks)
        signal, seconds = self.values(rows, used, len(columns), factors)
        rate: float | str | None = self.stated
        read = {*used} if time is None else {*used, time}
        if time is not None and rate is None:
            rate = self.rate(columns[time], seconds[0] if len(seconds) else np.array(clocks), not len(seconds))
            read -= {time} if rate is None else set()
        ignored = [column.name for i, column in enumerate(columns) if i not in read and column.kind != "index"]
        return make_record(
            signal,
            path,
            self.given,
            rate=rate,
            leads=[columns[i].lead for i in chosen],
            units=units,
            notes=(f"columns not read: {listed(ignored)}",) if ignored else (),
        )

    def chosen(self, cells: Sequence[str]) -> list[int]:
        """The columns that are the leads: those named so, or as many as there are given names."""
        columns, given = self.columns, self.given.leads
        leads = [i for i, column in enumerate(columns) if column.kind == "lead"]
        others = [
            i
            for i, column in enumerate(columns)
            if column.kind == "lead" or (column.kind == "other" and i < len(cells) and _is_number(cells[i]))
        ]
        if given is not None and len(given) != len(leads):
            if len(given) == len(others):
                return others
            raise LeadError(
                f"{len(given)} names for {len(others)} columns: {listed(columns[i].name for i in others)}",
                path=self.path,
                field="leads",
                remedy="Name each of them, or remove those that are no leads",
            )
        if not leads:
            raise LeadError(
                f"the first line names no leads but {listed(column.name for column in columns)}",
                path=self.path,
                field="leads",
                remedy="Name the columns in their order: leads='I,II,...' (--leads)",
            )
        return leads

    def factor(self, unit: str | None, name: str) -> float:
        """To millivolts; 1 where no unit is stated."""
        factor = 1.0 if unit is None else millivolts_per(unit)
        if factor is None:
            raise SignalError(f"the unit {shown(unit)} is no voltage", path=self.path, field=name)
        return factor

    @property
    def _is_rate_known(self) -> bool:
        return (self.stated or self.given.sampling_rate) is not None

    def time_column(self, cells: Sequence[str]) -> int | None:
        """The first column of times, in seconds or as date and time."""
        for i, (column, cell) in enumerate(zip(self.columns, cells)):
            if column.kind == "time" and _is_number(cell):
                return i
            if column.kind in ("time", "clock") and clock(cell) is not None:
                return i
            if column.kind == "time" and not self._is_rate_known:
                raise SignalError(
                    f"{shown(cell)} is neither a number nor a date and time",
                    path=self.path,
                    field=column.name,
                    remedy="Give the rate: sampling_rate=500 (--sampling-rate 500)",
                )
        return None

    def watched(self, text: Iterable[str], column: int, seen: list[float]) -> Iterator[str]:
        """The lines as they are; what stands in the column of dates and times is added to `seen`, in seconds."""
        for line in text:
            if _says(line):
                cells = fields_of(line, self.delimiter)
                found = clock(cells[column]) if column < len(cells) else None
                seen.append(np.nan if found is None else found)
            yield line

    def rate(self, column: Column, times: NDArray[np.float64], clocked: bool) -> float | None:
        """The rate in Hz that a column gives; None if its clocks are too coarse to tell the rate, which is known."""
        factor = 1.0 if clocked else column.seconds
        if factor is None:
            what = f"the unit {shown(column.unit)} is no unit of time"
            raise FormatError(what, path=self.path, field=column.name)
        try:
            return rate_of_times(times * factor, self.path, column.name)
        except FormatError:
            if clocked and self._is_rate_known:
                return None
            raise

    def values(
        self, text: Iterable[str], used: Sequence[int], count: int, factors: Sequence[float]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """The columns `used` of all further lines; there are `count` columns in all.

        Returns
        -------
        tuple of ndarray
            As many of them as there are factors, which they are multiplied by, (columns, rows) float32, and the other
            ones in float64.
        """
        if self.delimiter != ",":
            text = self.with_points(text, None if len(used) == count else used)
        width = len(factors)
        signal: list[Any] = []
        others = []
        for block in self.blocks(iter(text), used):
            with np.errstate(over="ignore"):  # a value beyond float32 becomes inf, which prepare() names
                signal.append((block[:, :width] * factors).astype(np.float32))
            others.append(block[:, width:].copy())
        if not signal:
            raise FormatError("the table has no rows", path=self.path)
        found, at = np.empty((width, sum(map(len, signal))), np.float32), 0
        for i, block in enumerate(signal):
            found[:, at : at + len(block)] = block.T
            at += len(block)
            signal[i] = None
        return found, np.concatenate(others).T

    def blocks(self, text: Iterator[str], used: Sequence[int]) -> Iterator[NDArray[np.float64]]:
        """Iterate over the numbers of some lines at a time, (rows, columns)."""
        before = 0
        while (first := next(filter(_says, text), None)) is not None:
            rows = itertools.chain([first], text)
            try:
                block = np.loadtxt(rows, delimiter=self.delimiter, usecols=used, ndmin=2, quotechar='"', max_rows=_ROWS)
            except (UnicodeDecodeError, FormatError):
                raise
            except ValueError as error:
                reason = str(error)[:400].split(";")[0].splitlines()[0][:200]
                if row := _AT_ROW.search(reason):
                    reason = f"{reason[: row.start(1)]}{int(row[1]) + before}{reason[row.end(1) :]}"
                raise FormatError(f"not a table of numbers: {reason}", path=self.path, field="signal") from None
            yield block
            before += len(block)

    def with_points(self, text: Iterable[str], used: Sequence[int] | None) -> Iterator[str]:
        """The lines with decimal points in place of decimal commas.

        Where both stand in a file's numbers (those of the columns `used`, or all), the one or the other parts
        thousands.
        """
        comma = point = False
        for line in text:
            if "," in line or "." in line:
                cells = fields_of(line, self.delimiter) if used else []
                looked = line if used is None else " ".join(cells[i] for i in used if i < len(cells))
                comma, point = comma or "," in looked, point or "." in looked
                if comma and point:
                    wrong = "numbers with points and numbers with commas"
                    raise FormatError(wrong, path=self.path, field="signal", remedy="Write points only")
                line = line.replace(",", ".")
            yield line


FORMAT = Format(
    "CSV", (".csv", ".tsv", ".txt"), _matches, _read, side_files=True, unlike="its first line names no leads"
)
