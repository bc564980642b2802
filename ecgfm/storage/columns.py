"""Columns of a CSV table, and what their texts mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._text import short, shown
from .._types import StrPath
from ..errors import ConfigError, Error, FormatError
from .rows import read_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_name", "flag", "flags", "is_missing", "read_columns", "split_list", "whole_number", "whole_numbers"]

_MISSING = frozenset(["", "nan", "NaN", "NA", "N/A", "n/a", "<NA>", "None", "NULL", "null", "NaT"])
_FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_MOST_DIGITS = 400  # of a number in a cell: more than a float has
_MOST_NAME = 150  # bytes of a file's name, apart from its ending


def read_columns(path: StrPath, needed: Iterable[str], *, once: Iterable[str] = ()) -> dict[str, list[str]]:
    """Columns of a CSV file as lists of text, by name; in those of `once` a text may occur only once.

    Raises
    ------
    FormatError
        If the table can't be read, a column is missing, or a text occurs twice.
    """
    found: dict[str, list[str]] = {name: [] for name in needed}
    seen: dict[str, set[str]] = {name: set() for name in once}
    texts: dict[str, str] = {}
    line = 2
    for block in read_blocks(path, found):
        for name, known in seen.items():
            for row, text in enumerate(block[name], line):
                if text in known:
                    raise FormatError(f"line {row}: {short(text, 100)} stands twice", path=path, field=name)
                known.add(text)
        for name, column in block.items():  # short texts repeat
            found[name] += [texts.setdefault(text, text) if len(text) < 16 else text for text in column]
        line += len(column)
    return found


def is_missing(text: str) -> bool:
    """Whether a cell is empty, or says so in words."""
    return text in _MISSING or (len(text) < 100 and text.strip() in _MISSING)


def whole_number(text: str, path: StrPath, column: str, *, most: int = 1 << 53) -> int:
    """A cell as a whole number from 0 up and below `most`; 12.0 is 12.

    `column` says where the cell is: it becomes the error's field.
    """
    what = "not a number"
    try:
        if len(text) > _MOST_DIGITS:
            raise ValueError
        value = int(text) if text.strip().isdecimal() else float(text)
        what = "not a whole number from 0 up" if value < most else "too large a number"
        if value != int(value) or not 0 <= value < most:
            raise ValueError
        return int(value)
    except (ValueError, OverflowError):
        raise FormatError(f"{shown(text)} is {what}", path=path, field=column) from None


def whole_numbers(texts: Sequence[str], path: StrPath, column: str, *, line: int = 2) -> NDArray[np.int64]:
    """A column of whole numbers from 0 up as int64; 12.0 is 12. The first text is in `line`."""
    try:
        if max(map(len, texts), default=0) <= _MOST_DIGITS:
            plain = list(map(int, texts))
            if 0 <= min(plain, default=0) and max(plain, default=0) < 1 << 53:
                return np.array(plain, np.int64)
    except ValueError:
        pass
    found = np.empty(len(texts), np.int64)  # one that is not written plainly: which?
    for row, text in enumerate(texts):
        try:
            found[row] = whole_number(text, path, column)
        except FormatError as error:
            error.message = f"line {line + row}: {error.message}"
            raise
    return found


def flag(text: str, path: StrPath, column: str, line: int, *, empty: bool | None = None) -> bool:
    """A cell that says true or false (or 1 or 0); an empty one is `empty`, or an error if that is None."""
    value = _FLAGS.get(text)
    if value is not None:
        return value
    value = empty if is_missing(text) else _FLAGS.get(text.strip().lower()) if len(text) < 100 else None
    if value is None:
        raise FormatError(f"line {line}: {shown(text)} is neither true nor false", path=path, field=column)
    return value


def flags(texts: Iterable[str], path: StrPath, column: str, *, empty: bool | None = None) -> NDArray[np.bool_]:
    """A column of true and false (or 1 and 0) as bool; an empty cell is `empty`, or an error if that is None."""
    return np.array([flag(text, path, column, line, empty=empty) for line, text in enumerate(texts, 2)], bool)


def check_name(
    name: str,
    what: str,
    *,
    path: StrPath | None = None,
    field: str | None = None,
    error: type[Error] = FormatError,
) -> None:
    """Refuse what can't be part of a file's name.

    Parameters
    ----------
    name : str
    what : str
        What it would be the name of, such as "a split".
    """
    fits = name.strip() and name.isprintable() and not name.startswith(".") and "/" not in name and "\\" not in name
    if not fits or len(name.encode("utf-8", "replace")) > _MOST_NAME:
        raise error(
            f"no name of {what}: {shown(name)}",
            path=path,
            field=field,
            remedy=f"Give at most {_MOST_NAME} letters, without / and not beginning with a dot",
        )


def split_list(text: str | Iterable[object], field: str) -> list[str]:
    """The parts of a text with commas, or of a sequence, stripped."""
    parts = text.split(",") if isinstance(text, str) else list(text)
    parts = [str(part).strip() for part in parts]
    if not parts or "" in parts:
        raise ConfigError(f"{shown(text)} has an empty part", field=field)
    return parts
