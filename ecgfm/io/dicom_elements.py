"""The elements of a DICOM file, as far as waveforms need them.

A length is a claim: what lies beyond the file gets what is there. Elements, items and levels are counted, so that time
and memory are bounded; sequences of a known length that nobody asked for are passed over.
"""

from __future__ import annotations

import re
import struct

from .._text import shown
from ..errors import FormatError
from .common import decoded

__all__ = ["Elements", "parse"]

_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}  # 32-bit lengths
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SYNTAX, _PIXELS = 0x00020010, 0x7FE00000
_IMPLICIT, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
_START = 132  # after the preamble and "DICM"
_MAX_ELEMENTS, _MAX_DEPTH = 100_000, 16
_MAX_TEXT, _MAX_NUMBER = 1024, 64  # bytes of a text that are looked at, characters of a number
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def parse(content: bytes, sequences: set[int], path: str) -> Elements:
    """The top level of a DICOM file.

    Parameters
    ----------
    content : bytes
    sequences : set of int
        Tags of the sequences that are wanted.
    path : str
        For messages.

    Returns
    -------
    Elements

    Raises
    ------
    FormatError
        If it is deflated, or has more elements or levels than are read.
    """
    meta = _Walk(content, sequences, path, "<", implicit=False)
    top, at = meta.elements(_START, len(content), 0, meta=True)
    syntax = top.text(_SYNTAX) or ""
    if syntax in _DEFLATED:
        raise FormatError("a deflated data set is not read", path=path, remedy="Store it without compression")
    order = ">" if syntax == _BIG else "<"
    implicit = order == "<" and not _is_vr(content[at + 4 : at + 6])  # what is there counts, whatever the syntax says
    walk = _Walk(content, sequences, path, order, implicit)
    walk.count = meta.count
    return walk.elements(at, len(content), 0)[0]


def _is_vr(two: bytes) -> bool:
    return len(two) == 2 and two.isalpha() and two.isupper()


class Elements:
    """The elements of a data set or an item: tag -> value.

    Parameters
    ----------
    content : bytes
        Of the file.
    order : str
        ``"<"`` or ``">"``.
    path : str
    """

    def __init__(self, content: bytes, order: str, path: str) -> None:
        self.order, self._content, self._path = order, content, path
        self._places: dict[int, tuple[int, int]] = {}
        self._items: dict[int, list[Elements]] = {}

    def items(self, tag: int) -> list[Elements]:
        """The items of a sequence, a list of Elements."""
        return self._items.get(tag, [])

    def place(self, tag: int) -> tuple[int, int]:
        """(start, length) of a value in the file; (0, 0) if there is none."""
        return self._places.get(tag, (0, 0))

    def first_bytes(self, tag: int, count: int) -> bytes:
        """The first bytes of a value, at most so many."""
        start, length = self.place(tag)
        return self._content[start : start + min(length, count)]

    def text(self, tag: int) -> str | None:
        """A value as text, without what pads it; None if there is none."""
        return decoded(self.first_bytes(tag, _MAX_TEXT)).strip(" \0") if tag in self._places else None

    def number(self, tag: int, name: str) -> float | None:
        """A value that is one decimal number, as float; None if there is none.

        Raises
        ------
        FormatError
            If it is several, or none.
        """
        text = self.text(tag)
        if not text:
            return None
        if len(text) > _MAX_NUMBER or not _NUMBER.fullmatch(text.strip()):
            raise FormatError(f"{shown(text)} is not one number", path=self._path, field=name)
        return float(text)

    def integer(self, tag: int, name: str) -> int:
        """A value that is one binary integer without sign, as int, which must be above 0.

        Raises
        ------
        FormatError
            If it is anything else.
        """
        start, length = self.place(tag)
        form = {2: "H", 4: "I"}.get(length)
        value: int | None = struct.unpack_from(self.order + form, self._content, start)[0] if form else None
        if not value:
            what = f"{value} is" if form else f"a value of {length:,} bytes is" if length else "nothing is"
            raise FormatError(f"{what} no number", path=self._path, field=name)
        return value


class _Walk:
    """Goes through the elements of a file once."""

    def __init__(self, content: bytes, sequences: set[int], path: str, order: str, implicit: bool) -> None:
        self._content, self._sequences, self._path, self._order = content, sequences, path, order
        self._implicit, self.count = implicit, 0
        self._tag, self._word = struct.Struct(order + "HH"), struct.Struct(order + "I")
        self._short = struct.Struct(order + "H")

    def elements(self, at: int, end: int, depth: int, meta: bool = False) -> tuple[Elements, int]:
        """The `Elements` from a position on, and where they end: at `end`, at the end of an item, or of group 2."""
        if depth > _MAX_DEPTH:
            raise FormatError(f"sequences nested more than {_MAX_DEPTH} deep", path=self._path)
        found = Elements(self._content, self._order, self._path)
        while at + 8 <= end:
            self._step()
            group, element = self._tag.unpack_from(self._content, at)
            tag = group << 16 | element
            if (meta and group != 2) or (depth == 0 and tag >= _PIXELS and group != 0xFFFE):
                break
            if tag in (_ITEM_END, _SEQUENCE_END):
                return found, at + 8
            kind, length, start = self._head(at)
            if length == _UNDEFINED:
                items, at = self._parts(start, end, depth, tag, kind)
                if tag in self._sequences:
                    found._items[tag] = items
                continue
            at = start + length
            if tag in self._sequences:
                found._items[tag] = self._parts(start, min(at, end), depth, tag, b"SQ")[0]
            elif tag not in found._places:
                found._places[tag] = start, max(min(at, end) - start, 0)
        return found, at

    def _head(self, at: int) -> tuple[bytes, int, int]:
        """VR, length, and start of the value of the element at a position."""
        if not self._implicit:
            kind = self._content[at + 4 : at + 6]
            if kind in _LONG:
                there = at + 12 <= len(self._content)
                return kind, self._word.unpack_from(self._content, at + 8)[0] if there else 0, at + 12
            if _is_vr(kind):
                return kind, self._short.unpack_from(self._content, at + 6)[0], at + 8
        return b"", self._word.unpack_from(self._content, at + 4)[0], at + 8

    def _parts(self, at: int, end: int, depth: int, tag: int, kind: bytes) -> tuple[list[Elements], int]:
        """The items of a sequence, or the fragments of an encapsulated value, and where they end."""
        items: list[Elements] = []
        implicit, wanted = self._implicit, tag in self._sequences
        self._implicit = implicit or kind == b"UN"  # what is unknown is written as implicit
        while at + 8 <= end:
            self._step()
            group, element = self._tag.unpack_from(self._content, at)
            length = self._word.unpack_from(self._content, at + 4)[0]
            at += 8
            if group << 16 | element != _ITEM:
                break
            stop = at + length
            if wanted or length == _UNDEFINED:
                item, ended = self.elements(at, end if length == _UNDEFINED else min(stop, end), depth + 1)
                stop = ended if length == _UNDEFINED else stop
                items += [item] * wanted
            at = stop
        self._implicit = implicit
        return items, min(at, end)

    def _step(self) -> None:
        self.count += 1
        if self.count > _MAX_ELEMENTS:
            raise FormatError(f"more than {_MAX_ELEMENTS:,} elements and items", path=self._path)
