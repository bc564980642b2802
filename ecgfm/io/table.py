"""CSV: one column per lead, named in the first line; values in millivolt unless a name or a comment says otherwise.

Columns are parted by commas, semicolons, tabs or blanks; where commas don't part them, they may be decimal commas.
"""

from __future__ import annotations

import codecs
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
from ..signal.columns import Column
from ..signal.leads import LEADS, canonical_leads, listed
from ..signal.times import TIME_UNIT_REMEDY, clock, rate_of_times
from ..storage.inputs import lines, open_text, read_head
from .common import MAX_BYTES, Format, Given, make_record, millivolts_per, utf8
from .table_top import Top, fields_of, is_header, is_number, read_top, says

__all__ = ["FORMAT"]

_MAX_TEXT = MAX_BYTES // 4  # a number takes more bytes as text than in memory, hardly ever less than a fourth
_HEAD_BYTES = 1 << 14
_ROWS = 1 << 15  # that become numbers at once
_AT_ROW = re.compile(r" at row (\d{1,18})")


def _matches(head: bytes) -> bool:
    """First lines that name at least two of the 12 leads, or what watches and GE MUSE write."""
    encoding = _encoding(head)
    if encoding is None:
        return False
    return is_header(head.decode(encoding, errors="replace"))


def _encoding(head: bytes) -> str | None:
    """How the text is written that begins so: in UTF-8, UTF-16 or Latin-1; None if it is no text."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head:
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


def _read(path: str, given: Given) -> Record:
    names = None if given.leads is None else canonical_leads(given.leads, path=path)
    given = Given(given.sampling_rate, names, unit=given.unit)
    encoding = _encoding(read_head(path, _HEAD_BYTES)) or "utf-8-sig"
    with utf8(path), open_text(path, most=_MAX_TEXT, encoding=encoding) as file:
        text = lines(file, path, check=partial(_check_quotes, path))
        top = read_top(text, path)
        text = itertools.chain(top.first, text)
        table = _Table(path, top, given, ["text taken as Latin-1"] if encoding == "latin-1" else [])
        return table.with_header(text) if top.columns else table.without_header(text)


def _check_quotes(path: str, text: str, before: int) -> None:
    """Refuse lines in which a quote doesn't end."""
    if '"' not in text:
        return
    for number, line in enumerate(io.StringIO(text, newline=""), before + 1):
        if line.count('"') % 2:
            raise FormatError("a quote that doesn't end in its line", path=path, field=f"line {number}")


# ---- the values -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """A table whose first lines were read, and what the user says of it."""

    path: str
    top: Top
    given: Given
    notes: Sequence[str] = ()

    @property
    def delimiter(self) -> str | None:
        return self.top.delimiter

    @property
    def columns(self) -> Sequence[Column]:
        return self.top.columns

    @property
    def stated(self) -> str | None:
        """str or None: the rate."""
        return self.top.rate

    def without_header(self, text: Iterator[str]) -> Record:
        """The recording, if no line names the columns."""
        first = next(filter(says, text))
        count, names, notes = len(fields_of(first, self.delimiter)), self.given.leads, [*self.notes]
        if self.top.lead is not None and count == 1:
            names = (self.top.lead,)
        elif names is None and self.top.size is not None and count == len(LEADS):
            names = LEADS
            notes.append("leads assumed in the order I II III aVR aVL aVF V1-V6, as GE MUSE writes them")
        if names is None:
            raise LeadError(
                f"the first line names no leads: it holds {count} numbers",
                path=self.path,
                field="leads",
                remedy="Add a line I,II,III,..., or name the columns: leads='I,II,...' (--leads)",
            )
        unit, factor = self.unit_of(None, "unit")
        text = itertools.chain([first], text)
        if self.top.size is not None:
            text = self.as_many_as_stated(text, count, *self.top.size)
            if self.top.unit is None and self.top.counts is None and self.given.unit is None:
                factor, unit = 1e-3, "uV"
                notes.append("unit assumed: uV, as GE MUSE writes it")
        signal, _ = self.values(text, range(count), count, [factor] * count)
        return make_record(signal, self.path, self.given, rate=self.stated, leads=names, units=unit, notes=notes)

    def as_many_as_stated(self, text: Iterator[str], count: int, rows: int, columns: int) -> Iterator[str]:
        """Iterate over the lines of the values, held against how many there are said to be."""
        there = 0
        for line in itertools.islice(filter(says, text), rows):
            there += 1
            yield line
        if there != rows or count != columns:
            what = f"{rows:,} rows of {columns} numbers are announced; there are {there:,} of {count}"
            raise FormatError(what, path=self.path, field="Rhythm signal")

    def with_header(self, text: Iterator[str]) -> Record:
        """The recording, if the first line names the columns."""
        columns, path = self.columns, self.path
        first = next(filter(says, text), None)
        if first is None:
            raise FormatError("the table has no rows", path=path)
        cells = fields_of(first, self.delimiter)
        chosen = self.chosen(cells)
        units, factors = zip(*(self.unit_of(columns[i].unit, columns[i].name) for i in chosen))
        rows: Iterable[str] = itertools.chain([first], text)
        time, used = self.time_column(cells), chosen
        clocks: list[float] = []
        if time is not None and is_number(cells[time]):
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
            notes=[*self.notes, *[f"columns not read: {listed(ignored)}"] * bool(ignored)],
        )

    def chosen(self, cells: Sequence[str]) -> list[int]:
        """The columns that are the leads: those named so, or as many as there are given names."""
        columns, given = self.columns, self.given.leads
        leads = [i for i, column in enumerate(columns) if column.kind == "lead"]
        others = [
            i
            for i, column in enumerate(columns)
            if column.kind == "lead" or (column.kind == "other" and i < len(cells) and is_number(cells[i]))
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

    def unit_of(self, stated: str | None, name: str) -> tuple[str | None, float]:
        """The unit of a column, as its name or the first lines state it, or None; and the factor to millivolts."""
        unit = stated or self.top.unit
        if unit is None and self.top.counts is not None:
            return "mV", 1 / self.top.counts
        if unit is None and self.top.doubts and self.given.unit is None:
            raise SignalError(
                f"a scale that doesn't say of what: {shown(self.top.doubts[0])}",
                path=self.path,
                field=name,
                remedy="Say what the numbers are in: unit='mV' (--unit mV)",
            )
        factor = 1.0 if unit is None else millivolts_per(unit)
        if factor is None:
            raise SignalError(f"the unit {shown(unit)} is no voltage", path=self.path, field=name)
        return unit, factor

    @property
    def _is_rate_known(self) -> bool:
        return (self.stated or self.given.sampling_rate) is not None

    def time_column(self, cells: Sequence[str]) -> int | None:
        """The first column of times, in seconds or as date and time."""
        for i, (column, cell) in enumerate(zip(self.columns, cells)):
            if column.kind == "time" and is_number(cell):
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
            if says(line):
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
        hint = "" if clocked or column.states_unit else TIME_UNIT_REMEDY
        known = self.given.sampling_rate
        try:
            return rate_of_times(times * factor, self.path, column.name, hint=hint, given=known)
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
        while (first := next(filter(says, text), None)) is not None:
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
