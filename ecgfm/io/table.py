"""CSV: one column per lead, named in the first line; values in millivolt unless a name or a comment says otherwise.

Columns are parted by commas, semicolons, tabs or blanks; where commas don't part them, they may be decimal commas.
"""

import csv
import io
import itertools
import re
from dataclasses import dataclass
from functools import partial

import numpy as np

from .._text import shown
from ..errors import FormatError, LeadError, SignalError
from ..signal.leads import LEADS, canonical_lead, canonical_leads, listed
from ..storage.inputs import lines, open_text
from .common import MAX_BYTES, Format, make_record, millivolts_per
from .times import clock, rate_of_times

__all__ = ["FORMAT"]

_MAX_TEXT = MAX_BYTES // 4  # a number takes more bytes as text than in memory, hardly ever less than a fourth
_MAX_COMMENTS, _MAX_COLUMNS, _MAX_NAME = 100, 4096, 64
_SECONDS = {"time": 1.0, "t": 1.0, "seconds": 1.0, "s": 1.0, "time_s": 1.0, "time_ms": 1e-3, "ms": 1e-3}
_TIME_UNITS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "min": 60.0}
_CLOCKS = ("timestamp", "datetime", "date_time", "date time")  # of a time only if date and time stand there
_RATES, _UNITS = ("sampling_rate", "sample_rate", "fs"), ("unit", "units")
_INDEX_NAMES = ("", "#", "index", "sample", "samples", "n", "unnamed: 0")
_CLOSING = {")": "(", "]": "["}
_ROWS = 1 << 15  # that become numbers at once
_AT_ROW = re.compile(r" at row (\d{1,18})")


def _matches(head):
    """A first line that names at least two of the 12 leads."""
    if b"\0" in head:
        return False
    for line in head.decode("utf-8-sig", errors="replace").splitlines():
        if line.strip() and not line.startswith("#"):
            columns, _ = _header(line)
            return len({column.lead for column in columns if column.kind == "lead"}) >= 2
    return False


def _read(path, *, sampling_rate, leads):
    given = None if leads is None else canonical_leads(leads, path=path)
    try:
        with open_text(path, most=_MAX_TEXT) as file:
            text = lines(file, path, check=partial(_check_quotes, path))
            top, line = _top(text, path)
            columns, delimiter = _header(line)
            if not columns:
                raise FormatError("the first line is no line of a table", path=path)
            if len(columns) > _MAX_COLUMNS and not _is_number(columns[0].name):
                raise FormatError(f"{len(columns):,} columns; at most {_MAX_COLUMNS:,} are read", path=path)
            if all(_is_number(column.name) for column in columns):
                return _without_header(line, text, delimiter, path, top, sampling_rate, given)
            return _with_header(text, columns, delimiter, path, top, sampling_rate, given)
    except UnicodeDecodeError as error:
        raise FormatError(f"not text in UTF-8: {error.reason} at byte {error.start}", path=path) from None


def _check_quotes(path, text, before):
    """Refuse lines in which a quote doesn't end."""
    if '"' not in text:
        return
    for number, line in enumerate(io.StringIO(text, newline=""), before + 1):
        if line.count('"') % 2:
            raise FormatError("a quote that doesn't end in its line", path=path, field=f"line {number}")


# ---- the first lines ------------------------------------------------------------------------------------------------


@dataclass
class _Top:
    """What comments at the top say: sampling rate and unit, as text, or None."""

    rate: str | None = None
    unit: str | None = None


def _top(text, path):
    """What the comments at the top say, and the first line that is no comment."""
    top = _Top()
    for line in itertools.islice(text, _MAX_COMMENTS):
        if line.startswith("#"):
            _note(line, top)
        elif line.strip():
            return top, line
    if next(text, None) is None:
        raise FormatError("the file holds no table", path=path)
    raise FormatError(f"more than {_MAX_COMMENTS} lines of comments and no table", path=path)


def _note(line, top):
    """Take what a comment says into `top`: ``# sampling_rate: 500 Hz``, ``# unit: uV``."""
    marks = [line.find(mark) for mark in ":=," if mark in line]
    if not marks:
        return
    key, value = line[1 : min(marks)].strip().lower(), line[min(marks) + 1 :].strip()
    if key in _RATES and value:
        value = value[:-2].rstrip() if value.lower().endswith("hz") else value
        if len(value.split(None, 1)) == 1:
            top.rate = value
    elif key in _UNITS:
        top.unit = value


@dataclass(frozen=True)
class _Column:
    """A column: its name, what it is ("lead", "time", "clock", "index" or "other"), and its unit.

    Attributes
    ----------
    lead : str
        Canonical name.
    unit : str or None
        As the name says.
    """

    name: str
    kind: str
    lead: str
    unit: str


def _header(line):
    """The columns that a first line names, and what parts them: the sign that makes most leads, then most columns."""
    best = None
    for delimiter in (",", ";", "\t", None):
        fields = _fields(line, delimiter)
        columns = [_column(name) for name in fields[:_MAX_COLUMNS]]
        numbers = bool(columns) and all(_is_number(column.name) for column in columns)
        if delimiter is None and len(best[1]) > 1 and not (numbers and not best[0][1]):
            break
        leads = sum(column.kind == "lead" for column in columns)
        if delimiter is None and leads and any(column.kind == "other" for column in columns):
            leads, columns, fields = 0, [_column(line.strip())], fields[:1]  # a sentence
        score = leads, numbers, len(fields)
        if best is None or score > best[0]:
            best = score, columns + [_column(name) for name in fields[_MAX_COLUMNS:][:1]], delimiter
    return best[1], best[2]


def _fields(line, delimiter):
    """The fields of a line."""
    if delimiter is None:
        return line.split()
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _column(name):
    """The `_Column` of a name."""
    name = name.strip()[:_MAX_NAME]
    bare, unit = _unit_of(name)
    key = bare.strip().lower()
    if key in _SECONDS:
        return _Column(name, "time", bare, unit)
    if key in _CLOCKS:
        return _Column(name, "clock", bare, unit)
    if key in _INDEX_NAMES:
        return _Column(name, "index", bare, unit)
    lead = canonical_lead(bare)
    if lead in LEADS or lead in ("VX", "VY", "VZ"):
        return _Column(name, "lead", lead, unit)
    return _Column(name, "other", canonical_lead(name), None)


def _unit_of(name):
    """The name without its unit, and the unit or None: ``I [uV]``, ``I (uV)``, ``I/uV``, ``i_uv``, ``I uV``."""
    opening = _CLOSING.get(name[-1:])
    if opening is not None:
        bare, mark, unit = name[:-1].rpartition(opening)
        unit = unit.strip()
        return (bare.strip(), unit) if mark and (opening == "[" or _is_unit(unit)) else (name, None)
    for mark in "/_. ":
        bare, found, unit = name.rpartition(mark)
        if found and bare.strip() and _is_unit(unit):
            return bare.strip(), unit
    return name, None


def _is_unit(text):
    return millivolts_per(text) is not None or text.strip().lower() in _TIME_UNITS


def _is_number(text):
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


# ---- the values -----------------------------------------------------------------------------------------------------


def _without_header(line, text, delimiter, path, top, given_rate, given):
    columns = len(_fields(line, delimiter))
    if given is None:
        raise LeadError(
            f"the first line names no leads: it holds {columns} numbers",
            path=path,
            field="leads",
            remedy="Add a line I,II,III,..., or name the columns: leads='I,II,...' (--leads)",
        )
    factors = [_factor(top.unit, path, "unit")] * columns
    signal, _ = _values(itertools.chain([line], text), range(columns), columns, delimiter, path, factors)
    return make_record(
        signal,
        path,
        field="signal",
        rate=top.rate,
        given_rate=given_rate,
        leads=None,
        given_leads=given,
        units=top.unit,
    )


def _with_header(text, columns, delimiter, path, top, given_rate, given):
    first = next((line for line in text if line.strip() and not line.startswith("#")), None)
    if first is None:
        raise FormatError("the table has no rows", path=path)
    cells = _fields(first, delimiter)
    chosen = _chosen(columns, cells, given, path)
    units = [columns[i].unit or top.unit for i in chosen]
    factors = [_factor(unit, path, columns[i].name) for i, unit in zip(chosen, units)]
    times = _Times(columns, cells, delimiter, path, top.rate or given_rate)
    used = chosen + times.numeric
    text = times.watch(itertools.chain([first], text))
    signal, seconds = _values(text, used, len(columns), delimiter, path, factors)
    rate = top.rate if top.rate is not None else times.rate(seconds)
    read = {*used, *times.clocks}
    ignored = [column.name for i, column in enumerate(columns) if i not in read and column.kind != "index"]
    return make_record(
        signal,
        path,
        field="signal",
        rate=rate,
        given_rate=given_rate,
        leads=[columns[i].lead for i in chosen],
        given_leads=given,
        units=units,
        notes=(f"columns not read: {listed(ignored)}",) if ignored else (),
    )


def _chosen(columns, cells, given, path):
    """The columns that are the leads: those named so, or as many as there are given names."""
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
            path=path,
            field="leads",
            remedy="Name each of them, or remove those that are no leads",
        )
    if not leads:
        raise LeadError(
            f"the first line names no leads but {listed(column.name for column in columns)}",
            path=path,
            field="leads",
            remedy="Name the columns in their order: leads='I,II,...' (--leads)",
        )
    return leads


def _factor(unit, path, name):
    """To millivolts; 1 where no unit is stated."""
    factor = 1.0 if unit is None else millivolts_per(unit)
    if factor is None:
        raise SignalError(f"the unit {shown(unit)} is no voltage", path=path, field=name)
    return factor


class _Times:
    """The columns of times, in seconds or as date and time.

    Attributes
    ----------
    numeric, clocks : list of int
        The column that holds seconds, or that holds dates and times; at most one in both.
    """

    def __init__(self, columns, cells, delimiter, path, known):
        self.columns, self.delimiter, self.path, self.known = columns, delimiter, path, known is not None
        self.numeric, self.clocks, self.seen = [], [], []
        for i, column in enumerate(columns[: len(cells)]):
            if self.numeric or self.clocks:
                break
            if column.kind == "time" and _is_number(cells[i]):
                self.numeric = [i]
            elif column.kind in ("time", "clock") and clock(cells[i]) is not None:
                self.clocks = [i]
            elif column.kind == "time" and not self.known:
                raise SignalError(
                    f"{shown(cells[i])} is neither a number nor a date and time",
                    path=path,
                    field=column.name,
                    remedy="Give the rate: sampling_rate=500 (--sampling-rate 500)",
                )

    def _factor(self, column):
        factor = _TIME_UNITS.get(column.unit.lower())
        if factor is None:
            raise FormatError(f"the unit {shown(column.unit)} is no unit of time", path=self.path, field=column.name)
        return factor

    def watch(self, text):
        """The lines as they are; what stands in the column of clocks is kept."""
        if not self.clocks:
            return text
        return map(self._look, text)

    def _look(self, line):
        if line.strip() and not line.startswith("#"):
            cells = _fields(line, self.delimiter)
            found = clock(cells[self.clocks[0]]) if self.clocks[0] < len(cells) else None
            self.seen.append(np.nan if found is None else found)
        return line

    def rate(self, values):
        """The rate in Hz, or None if there are no times; `values` are (columns, samples) of the numeric ones."""
        if self.numeric:
            column = self.columns[self.numeric[0]]
            factor = _SECONDS[column.lead.strip().lower()] if column.unit is None else self._factor(column)
            return rate_of_times(values[0] * factor, self.path, column.name)
        if self.clocks:
            try:
                return rate_of_times(np.array(self.seen), self.path, self.columns[self.clocks[0]].name)
            except FormatError:
                if not self.known:
                    raise
                self.clocks = []  # too coarse to tell the rate, which is known
        return None


def _values(text, used, count, delimiter, path, factors):
    """The columns `used` of all further lines; there are `count` columns in all.

    Returns
    -------
    tuple of ndarray
        As many of them as there are factors, which they are multiplied by, (columns, rows) float32, and the other ones
        in float64.
    """
    if delimiter != ",":
        text = _with_points(text, None if len(used) == count else used, delimiter, path)
    width, signal, others = len(factors), [], []
    for block in _blocks(text, used, delimiter, path):
        with np.errstate(over="ignore"):  # a value beyond float32 becomes inf, which prepare() names
            signal.append((block[:, :width] * factors).astype(np.float32))
        others.append(block[:, width:].copy())
    if not signal:
        raise FormatError("the table has no rows", path=path)
    found, at = np.empty((width, sum(map(len, signal))), np.float32), 0
    for i, block in enumerate(signal):
        found[:, at : at + len(block)] = block.T
        at += len(block)
        signal[i] = None
    return found, np.concatenate(others).T


def _blocks(text, used, delimiter, path):
    """Iterate over the numbers of some lines at a time, (rows, columns) float64."""
    before = 0
    while (first := next((line for line in text if line.strip() and not line.startswith("#")), None)) is not None:
        lines = itertools.chain([first], text)
        try:
            block = np.loadtxt(lines, delimiter=delimiter, usecols=used, ndmin=2, quotechar='"', max_rows=_ROWS)
        except UnicodeDecodeError:
            raise
        except ValueError as error:
            if isinstance(error, FormatError):
                raise
            reason = str(error)[:400].split(";")[0].splitlines()[0][:200]
            if row := _AT_ROW.search(reason):
                reason = f"{reason[: row.start(1)]}{int(row[1]) + before}{reason[row.end(1) :]}"
            raise FormatError(f"not a table of numbers: {reason}", path=path, field="signal") from None
        yield block
        before += len(block)


def _with_points(text, used, delimiter, path):
    """The lines with decimal points in place of decimal commas.

    Where both stand in a file's numbers (those of the columns `used`, or all), the one or the other parts thousands.
    """
    comma = point = False
    for line in text:
        if "," in line or "." in line:
            looked = line
            if used is not None:
                cells = _fields(line, delimiter)
                looked = " ".join(cells[i] for i in used if i < len(cells))
            comma, point = comma or "," in looked, point or "." in looked
            if comma and point:
                raise FormatError(
                    "numbers with points and numbers with commas", path=path, field="signal", remedy="Write points only"
                )
            line = line.replace(",", ".")
        yield line


FORMAT = Format(
    "CSV", (".csv", ".tsv", ".txt"), _matches, _read, side_files=True, unlike="its first line names no leads"
)
