"""Text that comes from a file or a user, made safe to print: bounded, and without what a terminal would obey."""

from __future__ import annotations

import re
import reprlib
from typing import TextIO

__all__ = ["is_terminal", "plain_cell", "printable", "safe", "short", "short_path", "shown", "table_cell"]

# Controls except tab and line feed; bidirectional controls; line separators; halves of characters.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = re.compile(r"'*[=+\-@\t\uff1d\uff0b\uff0d\uff20]")  # also in full width
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def printable(text: object) -> str:
    """The text with escapes for what a terminal would obey or can't show: controls, bidirectional marks, surrogates."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def safe(text: str) -> str:
    """The text as it goes into files that others open.

    Control characters other than tab and line feed, bidirectional controls and what UTF-8 can't hold become escapes.
    All else stays, such as no-break spaces.
    """
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def table_cell(text: str) -> str:
    """The text as a cell of a CSV file that a spreadsheet does not calculate: `safe`, and with an apostrophe in front
    where it begins with ``= + - @`` or a tab and is not a number. `plain_cell` undoes the apostrophe.
    """
    text = safe(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def plain_cell(text: str) -> str:
    """A cell of a CSV file without the apostrophe that `table_cell` puts in front of what looks like a formula."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def short(text: str, most: int = 500) -> str:
    """The text, without its end where it is longer than `most` characters."""
    return text if len(text) <= most else text[: most - 4] + " ..."


def short_path(text: str, most: int = 400) -> str:
    """A path, without its middle where it is longer than `most` characters, so that the file's name can be read."""
    half = (most - 5) // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream, which may be closed or absent, is a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


class _Bounded(reprlib.Repr):
    """`repr` whose time and length don't depend on how large the value is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 2, 60, 60

    def repr_int(self, value: int, level: int) -> str:
        if value.bit_length() > 200:
            return f"<an integer of {value.bit_length():,} bits>"
        return repr(value)

    repr_bool = repr_int

    def repr_str(self, value: str, level: int) -> str:
        return repr(value) if len(value) <= self.maxstring else repr(value[: self.maxstring]) + "..."

    repr_bytes = repr_bytearray = repr_str

    def repr_float(self, value: float, level: int) -> str:
        return repr(value)

    repr_complex = repr_NoneType = repr_float

    def repr_instance(self, value: object, level: int) -> str:
        return f"<{type(value).__name__}>"


def shown(value: object, most: int = 100) -> str:
    """A value of a file as text for a message: at most `most` characters, made without a text of the whole value.

    Parameters
    ----------
    value : object
        Of a file or a user: text, number, list, dict or anything else (of which only the type is named).
    """
    import numpy as np

    if isinstance(value, np.generic):
        value = value.item()
    return short(_Bounded().repr(value), most)
