"""Columns of a CSV table, and what their texts mean."""

import numpy as np

from ..errors import ConfigError, FormatError
from .rows import read_rows

__all__ = ["flags", "is_missing", "read_columns", "split_list", "whole_numbers"]

_MISSING = frozenset(["", "nan", "NaN", "NA", "N/A", "n/a", "<NA>", "None", "NULL", "null", "NaT"])
_FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def read_columns(path, needed):
    """Columns of a CSV file as lists of text, by name.

    Raises
    ------
    FormatError
        If the table can't be read or a column is missing.
    """
    needed = list(dict.fromkeys(needed))
    _, rows = read_rows(path, needed)
    found = {name: [] for name in needed}
    for row in rows:
        for name in needed:
            found[name].append(row[name])
    return found


def is_missing(text):
    """Whether a cell is empty, or says so in words."""
    return text.strip() in _MISSING


def whole_numbers(texts, path, column):
    """A column of whole numbers from 0 up as int64; 12.0 is 12."""
    found = np.empty(len(texts), np.int64)
    for row, text in enumerate(texts):
        try:
            value = int(text) if text.strip().isdecimal() else float(text)
            if value != int(value) or not 0 <= value < 1 << 62:
                raise ValueError
            found[row] = int(value)
        except (ValueError, OverflowError):
            raise FormatError(
                f"line {row + 2}: {text!r} is no whole number from 0 up", path=path, field=column
            ) from None
    return found


def flags(texts, path, column, *, empty=None):
    """A column of true and false (or 1 and 0) as bool; an empty cell is `empty`, or an error if that is None."""
    found = np.empty(len(texts), bool)
    for row, text in enumerate(texts):
        value = empty if is_missing(text) else _FLAGS.get(text.strip().lower())
        if value is None:
            raise FormatError(f"line {row + 2}: {text!r} is neither true nor false", path=path, field=column)
        found[row] = value
    return found


def split_list(text, field):
    """The parts of a text with commas, or of a sequence, stripped."""
    parts = text.split(",") if isinstance(text, str) else list(text)
    parts = [str(part).strip() for part in parts]
    if not parts or "" in parts:
        raise ConfigError(f"{text!r} has an empty part", field=field)
    return parts
