"""The first lines of a table of text: lines of keys and values, the names of the columns, their units.

Such lines differ from device to device. What is understood: the sampling rate, a unit, how many counts make a
millivolt, and the one lead of a watch; by the key in a few languages, or by the unit of the value. All others are
passed over.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from .._text import short
from ..errors import FormatError, LeadError, SignalError
from ..signal.checks import millivolts_per
from ..signal.columns import Column, column_of, is_unit
from ..signal.leads import LEADS, canonical_lead
from ..signal.times import clock
from ..storage.inputs import MAX_LINE

__all__ = ["MAX_COLUMNS", "Top", "fields_of", "is_header", "is_number", "read_top", "says"]

MAX_COLUMNS = 4096
_MAX_COMMENTS, _MAX_LINES, _MAX_KEY = 100, 100, 400  # lines of comments, of others; characters of a line with a key

_KEY = re.compile(r"\s*#?\s*([^:;=,\t]{0,80})\s*[:;=,\t]\s*(.*?)[\s;,]*$", re.DOTALL)
_BARE_NUMBER = re.compile(r"\s*([+-]?\d{1,9}(?:[.,]\d{1,9})?)\s*$")
_HERTZ = "|".join(
    (
        "hz",
        "hertz",
        "hercios?",
        "herc\u00f3w",
        "\u0433\u0446",
        "\u0433\u0435\u0440\u0446",
        "\u8d6b\u5179",
        "\u8d6b\u8332",
        "\u30d8\u30eb\u30c4",
        "\ud5e4\ub974\uce20",
    )
)
_WITH_HERTZ = re.compile(rf"\s*(\d{{1,9}}(?:[.,]\d{{1,9}})?)\s*(?:{_HERTZ})\s*\.?\s*$", re.IGNORECASE)
_RATE_EXACT = {"sampling_rate", "sample_rate", "fs", "hz", "sps", "frequency", "messrate", "abtastrate", "srate"}
_RATE_WORDS = ("sampl", "abtast", "mess", "chantillon", "muestr", "amostra", "campion")  # with one of the next
_RATE_KINDS = ("rate", "freq", "fr\u00e9q", "frec", "tasa", "taxa", "taux", "hz")
_OTHER_HERTZ = ("filt", "pass", "notch", "cut", "band", "main", "power", "line", "heart", "ac ", "netz", "brum")
_UNIT_KEYS = {
    "unit",
    "units",
    "einheit",
    "einheiten",
    "unidad",
    "unidade",
    "unit\u00e9",
    "unit\u00e0",
    "eenheid",
    "enhed",
}
_LEAD_KEYS = {
    "lead",
    "ableitung",
    "derivaci\u00f3n",
    "deriva\u00e7\u00e3o",
    "d\u00e9rivation",
    "derivazione",
    "afleiding",
}
_COUNTS = r"(?:digits?|counts?|lsbs?|bits?|adcs?|adus?|units?|steps?|du)"
_VOLTS = r"(?P<volts>mv|millivolts?|uv|\u00b5v|\u03bcv|microvolts?|nv|v|volts?)"
_PER_VOLTS = re.compile(
    rf"(?:{_COUNTS}|(?<![\w.,])(?P<number>\d{{1,9}}(?:[.,]\d{{1,9}})?))\s*(?:/|per)\s*{_VOLTS}\b", re.IGNORECASE
)
_VOLTS_PER = re.compile(rf"\b{_VOLTS}\s*(?:/|per)\s*{_COUNTS}\b", re.IGNORECASE)
_ANY_NUMBER = re.compile(r"(?<![\w.])\d{1,9}(?:[.,]\d{1,9})?(?![\w.])")
_WORDS = {"millivolt": "mv", "microvolt": "uv", "volt": "v"}
_GAIN_KEYS = ("gain", "resolution", "verst\u00e4rkung", "aufl\u00f6sung", "adc scale")
_SIZE = re.compile(r"\s*rhythm signal\s*:\s*(\d{1,9})\s*x\s*(\d{1,4})\s*$", re.IGNORECASE)  # of GE MUSE's text exports
_CLOCKS = re.compile(r"[\[(]?(hh:)?mm?:ss([.,]m+)?[\])]?|sample interval|n/?a|-+|", re.IGNORECASE)


@dataclass
class Top:
    """What the first lines of a table say.

    Attributes
    ----------
    columns : list of Column
        None if no line names them.
    delimiter : str or None
        None: blanks.
    first : list of str
        Lines that were read and belong to the values.
    rate, unit : str or None
    counts : float or None
        How many make a millivolt.
    lead : str or None
        The only one.
    size : tuple of int or None
        Rows and columns, as GE MUSE's text exports state them.
    doubts : list of str
        Lines that may say how large a number is, and were not understood.
    """

    columns: list[Column] = field(default_factory=list)
    delimiter: str | None = ","
    first: list[str] = field(default_factory=list)
    rate: str | None = None
    unit: str | None = None
    counts: float | None = None
    lead: str | None = None
    size: tuple[int, int] | None = None
    doubts: list[str] = field(default_factory=list)


def read_top(text: Iterator[str], path: str) -> Top:
    """What the first lines of a file say; `text` then goes on with the lines after them.

    Raises
    ------
    FormatError
        If there is no table, or a line of it has more than 4,096 columns.
    SignalError, LeadError
        If they contradict each other.
    """
    said: list[str] = []
    others: list[str] = []  # lines of comments, and empty ones
    size = 0
    for line in itertools.islice(text, _MAX_COMMENTS + _MAX_LINES):
        if not says(line):
            others.append(line)
            if len(others) > _MAX_COMMENTS and not said:
                raise FormatError(f"more than {_MAX_COMMENTS} lines of comments and no table", path=path)
            continue
        said.append(line)
        size += len(line)
        if _ends(said) or size > MAX_LINE:
            break
    if not said:
        raise FormatError("the file holds no table", path=path)
    top, before = _parted(said)
    if not top.columns and not top.first:
        raise FormatError("the first line is no line of a table", path=path)
    if len(top.columns) > MAX_COLUMNS:
        raise FormatError(f"{len(top.columns):,} columns; at most {MAX_COLUMNS:,} are read", path=path)
    _Keys(top, path).read([*others, *before])
    if top.lead is not None and not top.columns:
        top.delimiter = None  # one value a line: a comma in it is a decimal comma
    return top


def says(line: str) -> bool:
    """Whether a line is neither empty nor a comment."""
    return bool(line.strip()) and not line.startswith("#")


def is_number(text: str) -> bool:
    """Whether a text is a number, with a decimal point or comma."""
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def is_header(text: str) -> bool:
    """Whether the beginning of a file is that of a table of leads: names of at least two before numbers, the one lead
    of a watch with its rate, or what GE MUSE writes."""
    said: list[str] = []
    others: list[str] = []
    for line in itertools.islice(text.splitlines(), _MAX_LINES):
        (said if says(line) else others).append(line)
        if said and said[-1] is line and _ends(said):
            break
    if not said:
        return False
    top, before = _parted(said)
    if len({column.lead for column in top.columns if column.kind == "lead"}) >= 2:
        return len(before) == 0 or bool(top.first)
    try:
        _Keys(top, "").read([*others, *before])
    except (FormatError, SignalError, LeadError):
        return False
    return bool(top.first) and not top.columns and ((top.lead is not None and top.rate is not None) or bool(top.size))


# ---- where the values begin -----------------------------------------------------------------------------------------


def _ends(said: Sequence[str]) -> bool:
    """Whether the last of the lines is the first of the values, or whatever follows the names of the columns."""
    line = said[-1]
    if len(said) > 1 and _SIZE.match(line):
        return False
    if _is_numbers(line):
        return True
    before = said[-2] if len(said) > 1 else ""
    columns, delimiter = _header(before)
    if _leads(columns) and not _is_units(line, delimiter, len(columns)):
        cells = fields_of(line, delimiter)
        of_leads = [cells[i] for i, column in enumerate(columns) if column.kind == "lead" and i < len(cells)]
        if 2 * sum(map(is_number, of_leads)) > _leads(columns):
            return True
        return len(said) == 2 and _leads(columns) > max(1, _leads(_header(line)[0]))
    return len(said) > 2 and _is_units(before, None, 0) and _leads(_header(said[-3])[0]) > 0


def _parted(said: list[str]) -> tuple[Top, list[str]]:
    """The lines as a Top that knows its columns and first values, and those that come before the names."""
    last = said[-1]
    if len(said) > 1 or _is_numbers(last):
        *top, first = said
        if _is_numbers(first) or (top and _ends(said)):
            return _with_names(top, first)
    columns, delimiter = _header(said[0])  # no values: reading them will say what is wrong
    return Top(columns, delimiter, said[1:]), []


def _with_names(top: list[str], first: str) -> tuple[Top, list[str]]:
    """A table whose values begin with the line `first`; of the lines `top` the last may name the columns."""
    units: list[str] = []
    if len(top) > 1:
        columns, delimiter = _header(top[-2])
        if _is_units(top[-1], delimiter, len(columns)):
            *top, line = top
            units = fields_of(line, delimiter)
    columns, delimiter = _header(top[-1]) if top and not _is_understood(top[-1]) else ([], None)
    cells = fields_of(first, delimiter)
    if _leads(columns) == 1:
        at = next(i for i, column in enumerate(columns) if column.kind == "lead")
        fits = at < len(cells) and not _is_text(cells[at])
    else:
        fits = _leads(columns) > 1 or len(columns) == len(cells) or len(columns) > len(top) == 1
    if columns and fits:
        columns = [_with_unit(column, unit) for column, unit in itertools.zip_longest(columns, units[: len(columns)])]
        return Top(columns, delimiter, [first]), top[:-1]
    return Top([], _header(first)[1], [first]), top


def _is_understood(line: str) -> bool:
    """Whether a line is one of a key and a value, or says what else is not the names of columns."""
    if _leads(_header(line)[0]) > 1:
        return False
    top = Top()
    _Keys(top, "").read([line])
    return top != Top()


def _with_unit(column: Column, unit: str | None) -> Column:
    bare = (unit or "").strip("[]() ")
    return replace(column, unit=bare) if column.unit is None and is_unit(bare) else column


def _header(line: str) -> tuple[list[Column], str | None]:
    """The columns that a line names, and what parts them: the sign that makes most leads, then most columns."""
    best: tuple[tuple[int, bool, int], list[Column], str | None] = (-1, False, 0), [], None
    for delimiter in (",", ";", "\t", None):
        columns = [column_of(name) for name in fields_of(line, delimiter)[: MAX_COLUMNS + 1]]
        numbers = bool(columns) and all(is_number(column.name) for column in columns)
        if delimiter is None and len(best[1]) > 1 and not (numbers and not best[0][1]):
            break
        leads = _leads(columns)
        if delimiter is None and leads and any(column.kind == "other" for column in columns):
            leads, columns = 0, [column_of(line)]  # a sentence
        score = leads, numbers, len(columns)
        if score > best[0]:
            best = score, columns, delimiter
    return best[1], best[2]


def _leads(columns: Sequence[Column]) -> int:
    return sum(column.kind == "lead" for column in columns)


def fields_of(line: str, delimiter: str | None) -> list[str]:
    """The fields of a line, parted by a delimiter or (None) by blanks."""
    if delimiter is None:
        return line.split()
    try:
        return [field.strip().strip("'").strip() for field in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _is_text(cell: str) -> bool:
    return bool(cell) and not is_number(cell)


def _is_numbers(line: str) -> bool:
    """Whether a line holds nothing but numbers, one at least, and times."""
    columns, delimiter = _header(line)
    if columns and all(is_number(column.name) for column in columns):
        return True
    for mark in (",", ";", "\t") if delimiter is None else (delimiter,):
        cells = [cell for cell in fields_of(line, mark) if cell]
        if len(cells) > 1 and any(map(is_number, cells)):
            return all(is_number(cell) or clock(cell) is not None for cell in cells)
    return False


def _is_units(line: str, delimiter: str | None, count: int) -> bool:
    """Whether a line states the unit of each column."""
    for mark in (delimiter,) if count else (",", ";", "\t", None):
        cells = [cell.strip().strip("[]()") for cell in fields_of(line, mark)]
        known = all(is_unit(cell) or _CLOCKS.fullmatch(cell) for cell in cells)
        if known and any(millivolts_per(cell) is not None for cell in cells) and count in (0, len(cells)):
            return True
    return False


# ---- keys and values ------------------------------------------------------------------------------------------------


class _Keys:
    """Lines of keys and values, which become part of a Top."""

    def __init__(self, top: Top, path: str) -> None:
        self._top, self._path = top, path
        self._likely: list[tuple[str, str]] = []  # keys that are not known, with values in hertz

    @staticmethod
    def of(line: str) -> tuple[str, ...]:
        """The key and the value of a line, or nothing."""
        found = _KEY.match(line[:_MAX_KEY])
        return () if found is None else (found[1].strip().strip("\"'"), found[2].strip().strip("\"'"))

    def read(self, lines: Sequence[str]) -> None:
        """Take what the lines say.

        Raises
        ------
        SignalError, LeadError
            If they say a thing twice and differently.
        """
        for line in lines:
            size = _SIZE.match(line[:_MAX_KEY])
            if size:
                self._set("size", (int(size[1]), int(size[2])))
            elif pair := self.of(line):
                self._take(*pair)
        top = self._top
        if top.rate is None and len({rate for _, rate in self._likely}) == 1:
            top.rate = self._likely[0][1]

    def _take(self, key: str, value: str) -> None:
        low = key.lower()
        if self._take_counts(low, value):
            return
        rate = _WITH_HERTZ.match(value) or _BARE_NUMBER.match(value)
        if _is_rate(low) and value and (rate or len(value.split(None, 1)) == 1):
            self._set("rate", rate[1].replace(",", ".") if rate else value)
        elif (found := _WITH_HERTZ.match(value)) and not any(word in low for word in _OTHER_HERTZ):
            self._likely.append((key, found[1].replace(",", ".")))
        elif low.split(" (")[0] in _UNIT_KEYS and value:
            self._set("unit", value)
        elif low in _LEAD_KEYS or (value.lower().startswith(f"{low} ") and low):
            name = canonical_lead(value.split()[-1]) if value else ""
            if name in LEADS:
                self._set("lead", name)

    def _take_counts(self, key: str, value: str) -> bool:
        """Take how many counts make a millivolt; whether the line is about that."""
        line = f"{key} : {value}"
        per, inverse = _PER_VOLTS.search(line), _VOLTS_PER.search(line)
        found = per or inverse
        if found is None:
            if any(word in key for word in _GAIN_KEYS) and _BARE_NUMBER.match(value):
                self._top.doubts.append(short(line, 80))
            return False
        attached = [number for number in (found.groupdict().get("number"),) if number]
        numbers = attached or _ANY_NUMBER.findall(f"{line[: found.start()]} {line[found.end() :]}")
        name = found["volts"].lower().rstrip("s")
        unit = millivolts_per(_WORDS.get(name, name))
        number = float(numbers[0].replace(",", ".")) if len(numbers) == 1 else 0.0
        if not number or unit is None:
            self._top.doubts.append(short(line, 80))
            return True
        self._set("counts", number / unit if per else 1 / (number * unit))
        return True

    def _set(self, name: str, value: object) -> None:
        before = getattr(self._top, name)
        if before is not None and before != value:
            error = LeadError if name == "lead" else SignalError
            raise error(f"the lines above the table say {before} and {value}", path=self._path, field=name)
        setattr(self._top, name, value)


def _is_rate(key: str) -> bool:
    bare = re.sub(r"\s*[\[(].*?[\])]\s*", "", key).strip().replace(" ", "_")
    if bare in _RATE_EXACT:
        return True
    return any(word in key for word in _RATE_WORDS) and any(word in key for word in _RATE_KINDS)
