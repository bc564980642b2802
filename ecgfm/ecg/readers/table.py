"""CSV: one column per lead, named in the first line; values in millivolt unless the name says otherwise."""

import csv
import itertools
import os
import re

import numpy as np

from ...errors import FormatError, LeadError, SignalError
from ..record import LEADS, canonical_lead
from .common import MAX_BYTES, Format, make_record

__all__ = ["FORMAT"]

_MAX_TEXT = MAX_BYTES // 4  # a number takes more bytes as text than in memory, hardly ever less than a fourth
_MAX_LINE, _MAX_COMMENTS = 1 << 16, 100
_UNIT = re.compile(r"\s*[\[(]\s*([A-Za-z\u00b5\u03bc]+)\s*[\])]\s*$")
_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "\u00b5v": 1e-3, "\u03bcv": 1e-3, "v": 1e3, "nv": 1e-6}
_SECONDS = {"time": 1.0, "t": 1.0, "seconds": 1.0, "s": 1.0, "time_s": 1.0, "time_ms": 1e-3, "ms": 1e-3}
_RATE = re.compile(r"#\s*(?:sampling_rate|sample_rate|fs)\s*[:=,]\s*(\S+?)\s*(?:hz)?\s*$", re.IGNORECASE)
_INDEX_NAMES = ("", "#", "index", "sample", "samples", "n", "unnamed: 0")
_RATE_DIGITS, _NEAR_INTEGER = 6, 2e-4  # times are rounded, and so is the rate that is taken from them


def _matches(head):
    """A first line that names at least two of the 12 leads."""
    if b"\0" in head:
        return False
    for line in head.decode("utf-8-sig", errors="replace").splitlines():
        if line.strip() and not line.startswith("#"):
            return _count_leads(_fields(line)[0]) >= 2
    return False


def _read(path, *, sampling_rate, leads):
    size = os.path.getsize(path)
    if size > _MAX_TEXT:
        raise FormatError(f"the file has {size:,} bytes, more than the {_MAX_TEXT:,} that are read", path=path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            rate, line = _first_line(file, path)
            fields, delimiter = _fields(line)
            if _count_leads(fields):
                return _with_header(file, fields, delimiter, path, rate, sampling_rate, leads)
            if leads is None:
                raise LeadError(
                    "the first line names no leads",
                    path=path,
                    field="leads",
                    remedy="Add a line I,II,III,..., or name the columns: leads='I,II,...' (--leads)",
                )
            values = _values(itertools.chain([line], file), range(len(fields)), delimiter, path)
            return make_record(
                values.T,
                path,
                field="signal",
                rate=rate,
                given_rate=sampling_rate,
                leads=None,
                given_leads=leads,
            )
    except UnicodeDecodeError as error:
        raise FormatError(f"not text in UTF-8: {error.reason} at byte {error.start}", path=path) from None


def _with_header(file, fields, delimiter, path, rate, given_rate, given_leads):
    columns = [_column(name) for name in fields]
    chosen = [i for i, (kind, _, _) in enumerate(columns) if kind in ("lead", "time")]
    values = _values(file, chosen, delimiter, path).T
    for i in chosen:
        _check_unit(fields[i], columns[i][0], path)
    is_lead = np.array([columns[i][0] == "lead" for i in chosen])
    factors = np.array([columns[i][2] for i in chosen])
    if rate is None and not is_lead.all():
        first = int(np.flatnonzero(~is_lead)[0])
        rate = _rate_of_times(values[first] * factors[first], fields[chosen[first]], path)
    ignored = [name for name, (kind, _, _) in zip(fields, columns) if kind == "other"]
    return make_record(
        values[is_lead] * factors[is_lead, None],
        path,
        field="signal",
        rate=rate,
        given_rate=given_rate,
        leads=[columns[i][1] for i in chosen if columns[i][0] == "lead"],
        given_leads=given_leads,
        notes=(f"columns not read: {', '.join(ignored)}",) if ignored else (),
    )


def _first_line(file, path):
    """The sampling rate from the comments at the top, or None; and the first line that is no comment."""
    rate = None
    for _ in range(_MAX_COMMENTS):
        line = file.readline(_MAX_LINE)
        if len(line) == _MAX_LINE:
            raise FormatError("a first line without an end", path=path)
        if not line:
            raise FormatError("the file holds no table", path=path)
        if line.startswith("#"):
            found = _RATE.match(line)
            rate = found[1] if found else rate
        elif line.strip():
            return rate, line
    raise FormatError(f"more than {_MAX_COMMENTS} lines of comments and no table", path=path)


def _fields(line):
    """The fields of a line, and what parts them."""
    delimiter = max(",;\t", key=line.count)
    try:
        fields = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        fields = []
    return [field.strip() for field in fields], delimiter


def _count_leads(fields):
    return sum(_column(name)[0] == "lead" for name in fields)


def _column(name):
    """What a column is ("lead", "time", "index" or "other"), its name, and the factor to mV or seconds."""
    unit = _UNIT.search(name)
    bare, unit = (name[: unit.start()], unit[1].lower()) if unit else (name, None)
    key = bare.strip().lower()
    if key in _SECONDS:
        return "time", bare, {"ms": 1e-3}.get(unit, _SECONDS[key])
    if key in _INDEX_NAMES:
        return "index", bare, 1.0
    lead = canonical_lead(bare)
    if lead in LEADS or lead in ("VX", "VY", "VZ"):
        return "lead", lead, _MILLIVOLTS.get(unit, 1.0)
    return "other", name, 1.0


def _check_unit(name, kind, path):
    """A unit in square brackets must be one; in round ones stand other things too, as in "Lead I (Einthoven)"."""
    unit = _UNIT.search(name)
    if kind == "lead" and unit and unit[0].lstrip()[0] == "[" and unit[1].lower() not in _MILLIVOLTS:
        raise SignalError(f"the unit {unit[1]!r} is no voltage", path=path, field=name)


def _values(lines, columns, delimiter, path):
    """The columns of all further lines, (rows, columns) float64."""
    first = next((line for line in lines if line.strip() and not line.startswith("#")), None)
    if first is None:
        raise FormatError("the table has no rows", path=path)
    try:
        return np.loadtxt(
            itertools.chain([first], lines), delimiter=delimiter, usecols=columns, ndmin=2, quotechar='"'
        )
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        text = str(error).split(";")[0].splitlines()[0][:200]
        raise FormatError(f"not a table of numbers: {text}", path=path, field="signal") from None


def _rate_of_times(times, name, path):
    steps = np.diff(times)
    if not len(steps):
        raise FormatError("one row gives no sampling rate", path=path, field=name)
    step = (times[-1] - times[0]) / len(steps)
    if not (np.isfinite(step) and step > 0 and np.abs(steps - step).max() <= step / 2):
        raise FormatError(
            "the times don't rise evenly, so that they give no sampling rate",
            path=path,
            field=name,
            remedy="Resample the recording evenly, or state the rate in a line '# sampling_rate: 500'",
        )
    rate = 1 / step
    nearest = round(rate)
    return float(nearest) if abs(rate - nearest) <= _NEAR_INTEGER * rate else float(f"{rate:.{_RATE_DIGITS}g}")


FORMAT = Format("CSV", (".csv", ".tsv"), _matches, _read, side_files=True)
