"""MFER (ISO 22077, ``.mwf``): definitions of a tag, a length and a value each, and waveforms to which they apply.

A waveform is a number of sequences, in each of which every channel has a block of samples. Channels that are no ECG
(pressures, status words) are not read; samples of the value that stands for none are NaN.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ecg.record import Record
from ..errors import FormatError, LeadError
from ..signal.leads import LEADS, listed
from ..storage.inputs import read_input
from .common import Format, Given, check_size, decoded, leads_record, misnamed

__all__ = ["FORMAT"]

_PREAMBLE, _BYTE_ORDER, _BLOCK, _CHANNELS, _SEQUENCES, _KIND = 0x40, 0x01, 0x04, 0x05, 0x06, 0x08  # tags
_LEAD, _TYPE, _INTERVAL, _STEP, _OFFSET, _PACKING, _NULL = 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x12
_WAVE, _CHANNEL, _SET, _END = 0x1E, 0x3F, 0x67, 0x80
_OF_CHANNELS = {_BLOCK, _SEQUENCES, _KIND, _LEAD, _TYPE, _INTERVAL, _STEP, _OFFSET, _NULL}
_TYPES = {0: "i2", 1: "u2", 2: "i4", 3: "u1", 4: "u2", 5: "i1", 6: "u4", 7: "f4", 8: "f8"}
_STATUS, _AHA, _BEAT = 4, 9, 9  # types of samples: words that are no signal, packed ones; waveforms of one mean beat
_CODES = dict(zip((1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), LEADS)) | {
    9: "V7",
    66: "V8",
    67: "V9",
    11: "V3R",
    12: "V4R",
}
_FIRST = _BYTE_ORDER, 0x02, 0x03, _BLOCK, _CHANNELS, _SEQUENCES, _KIND, _INTERVAL  # tags that files begin with
_HERTZ, _SECONDS, _VOLT = 0, 1, 0  # codes of units
_DEFAULT_HZ = 1000.0
_PIECE = 1 << 20  # bytes of padding that are looked at together
_MAX_FILE, _MAX_TAGS, _MAX_CHANNELS, _MAX_DEPTH, _MOST = 1 << 28, 100_000, 512, 4, 256

_Values = dict[int, tuple[bytes, str]]  # tag -> value, byte order


def _read(path: str, given: Given) -> Record:
    content = read_input(path, most=_MAX_FILE)
    if not _matches(content) and not _may_be(content):
        raise misnamed("an MFER file begins with a preamble (MFR), or with definitions", path)
    waves = _Walk(content, path).waves
    rhythms = [wave for wave in waves if wave.number(0, _KIND, 0) != _BEAT] or waves
    if not rhythms:
        raise FormatError("the file holds no waveform", path=path, field="waveform")
    first = rhythms[0]
    joined = [wave for wave in rhythms if wave.channels == first.channels]
    notes = [f"waveforms of another layout, not read: {len(waves) - len(joined)}"] * (len(joined) < len(waves))
    parts = [wave.sequences(notes) for wave in joined]
    chosen, rate = _ecg(first, notes)
    samples = sum(len(part) for part in parts) * first.number(chosen[0], _BLOCK, 1)
    check_size((len(chosen), samples), 4, path=path, field="waveform")
    rows = [
        first.millivolts(channel, np.concatenate([first.raw(channel, part) for part in parts])) for channel in chosen
    ]
    names = [first.name(channel) for channel in chosen]
    return leads_record(rows, names, path, given, rate=rate, units="V", notes=dict.fromkeys(notes))


@dataclass
class _Wave:
    """A waveform, and what was defined of each of its channels when it came.

    Attributes
    ----------
    order : str
        ``"<"`` or ``">"``.
    channels : list of dict
        Tag -> (value, its byte order).
    """

    content: bytes
    order: str
    channels: list[_Values]
    path: str

    def __post_init__(self) -> None:
        everyone = range(len(self.channels))
        sizes = [self.number(channel, _BLOCK, 1) * self.type(channel).itemsize for channel in everyone]
        ends = list(itertools.accumulate(sizes))
        self.places = list(zip([0, *ends], ends))
        self.size = ends[-1]
        stated = {self.number(channel, _SEQUENCES, 0) for channel in everyone}
        if min(sizes) < 1 or len(stated) > 1:
            what = "channels of different numbers of sequences, or without samples, are not read"
            raise FormatError(what, path=self.path, field="waveform")
        self.stated = stated.pop()

    def number(self, channel: int, tag: int, default: int) -> int:
        """A definition that is a whole number without sign."""
        value, order = self.channels[channel].get(tag, (b"", ""))
        if len(value) > 4:
            raise FormatError(f"a number of {len(value):,} bytes", path=self.path, field=f"tag {tag:#04x}")
        return int.from_bytes(value, "big" if order == ">" else "little") if value else default

    def type(self, channel: int) -> np.dtype[Any]:
        """Of the samples of a channel."""
        kind = self.number(channel, _TYPE, 0)
        if kind not in _TYPES:
            what = "packed samples (of the AHA)" if kind == _AHA else f"samples of type {kind}"
            raise FormatError(f"{what} are not read", path=self.path, field=f"channel {channel + 1}")
        return np.dtype(self.order + _TYPES[kind])

    def sequences(self, notes: list[str]) -> NDArray[np.uint8]:
        """The bytes of the waveform, (sequences, bytes of one)."""
        present = len(self.content) // self.size
        count = min(self.stated or present, present)
        if not count:
            what = f"truncated: a sequence takes {self.size:,} bytes, {len(self.content):,} are there"
            raise FormatError(what, path=self.path, field="waveform")
        if self.stated > present or len(self.content) > count * self.size:
            stated = self.stated or len(self.content) / self.size
            notes.append(f"the waveform has {count:,} whole sequences, {stated:,.6g} are stated")
        return np.frombuffer(self.content, np.uint8, count * self.size).reshape(count, self.size)

    def raw(self, channel: int, sequences: NDArray[np.uint8]) -> NDArray[Any]:
        """The samples of a channel, as stored."""
        start, end = self.places[channel]
        return np.ascontiguousarray(sequences[:, start:end]).view(self.type(channel)).ravel()

    def value(self, channel: int, tag: int) -> float | None:
        """A definition that is written as the samples are; None if there is none."""
        raw, order = self.channels[channel].get(tag, (b"", ""))
        kind = np.dtype((order or "<") + self.type(channel).str[1:])
        return float(np.frombuffer(raw, kind, 1)[0]) if len(raw) >= kind.itemsize else None

    def decimal(self, channel: int, tag: int, name: str) -> tuple[int, float] | None:
        """A definition that is a unit and a number with a power of ten; None if there is none."""
        raw, order = self.channels[channel].get(tag, (b"", ""))
        if not raw:
            return None
        if not 3 <= len(raw) <= 10:
            raise FormatError(f"{len(raw)} bytes are no number with a unit", path=self.path, field=name)
        power = int.from_bytes(raw[1:2], "big", signed=True)
        number = int.from_bytes(raw[2:], "big" if order == ">" else "little", signed=True)
        return raw[0], float(f"{number}e{power}")

    def name(self, channel: int) -> str:
        """Of a channel's lead: by its code, else what the file calls it, else its number."""
        raw, order = self.channels[channel].get(_LEAD, (b"", ""))
        code = int.from_bytes(raw[:2], "big" if order == ">" else "little") if raw else 0
        text = decoded(raw[2:66]).strip(" \0")
        return _CODES.get(code) or text or (f"lead of code {code}" if code else f"channel {channel + 1}")

    def rate(self, channel: int) -> float | None:
        """The sampling rate in Hz; None if nothing states it."""
        stated = self.decimal(channel, _INTERVAL, "sampling interval")
        if stated is None:
            return None
        unit, value = stated
        if unit not in (_HERTZ, _SECONDS) or not 0 < value < np.inf:
            what = f"{value:g} in the unit {unit} gives no sampling rate"
            raise FormatError(what, path=self.path, field="sampling interval")
        return value if unit == _HERTZ else 1 / value

    def millivolts(self, channel: int, raw: NDArray[Any]) -> NDArray[np.float32]:
        """(samples,) of a channel; those that stand for none are NaN."""
        _, step = self.decimal(channel, _STEP, "sensitivity") or (0, 0.0)
        null = self.value(channel, _NULL)
        values = raw.astype(np.float64)
        if null is not None:
            values[raw == null] = np.nan
        with np.errstate(over="ignore", invalid="ignore"):
            values += self.value(channel, _OFFSET) or 0.0
            values *= step * 1000
            return values.astype(np.float32)


def _ecg(wave: _Wave, notes: list[str]) -> tuple[list[int], float]:
    """The numbers of the channels that are ECG leads, and their rate: of several, the one that most leads have."""
    volts: list[int] = []
    others: list[int] = []
    for channel in range(len(wave.channels)):
        unit = wave.decimal(channel, _STEP, "sensitivity")
        is_signal = wave.number(channel, _TYPE, 0) != _STATUS and unit is not None
        (volts if is_signal and unit is not None and unit[0] == _VOLT else others).append(channel)
    named = [channel for channel in volts if wave.name(channel) in _CODES.values()] or volts
    kinds = Counter((wave.rate(channel), wave.number(channel, _BLOCK, 1)) for channel in named)
    if not kinds:
        unknown = any(wave.decimal(channel, _STEP, "sensitivity") is None for channel in others)
        what = "no channel is a voltage" if not unknown else "nothing states what a sample is worth"
        what += ": there are " + listed(wave.name(channel) for channel in others)
        raise LeadError(what, path=wave.path, field="leads")
    kind = kinds.most_common(1)[0][0]
    chosen = [channel for channel in named if (wave.rate(channel), wave.number(channel, _BLOCK, 1)) == kind]
    unread = [wave.name(channel) for channel in range(len(wave.channels)) if channel not in chosen]
    if unread:
        notes.append(f"channels not read: {listed(unread)}")
    if kind[0] is None:
        notes.append(f"sampling rate assumed: {_DEFAULT_HZ:g} Hz, which MFER has where nothing states it")
    return chosen, kind[0] or _DEFAULT_HZ


class _Walk:
    """Goes through the definitions of a file once."""

    def __init__(self, content: bytes, path: str) -> None:
        self._content, self._path, self._tags = content, path, 0
        self._order, self._count = ">", 1
        self._all: _Values = {}
        self._own: dict[int, _Values] = {}
        self.waves: list[_Wave] = []
        self._definitions(0, len(content), None, 0)

    def _refuse(self, what: str, at: int) -> FormatError:
        return FormatError(what, path=self._path, field=f"byte {at:,}")

    def _definitions(self, at: int, end: int, channel: int | None, depth: int) -> int:
        """Take in what stands from a position on; returns where it ends."""
        while at < end:
            start, tag = at, self._content[at]
            at += 1
            self._tags += 1
            if tag == 0:  # alone it is nothing, two end what has no length of its own
                if channel is not None and at < end and self._content[at] == 0:
                    return at + 1
                at = self._after_zeros(at, end)
                continue
            if tag == _END:
                return end
            if self._tags > _MAX_TAGS or depth > _MAX_DEPTH:
                raise self._refuse(f"more than {_MAX_TAGS:,} definitions, or {_MAX_DEPTH} levels of them", start)
            number = channel
            if tag == _CHANNEL:
                number, at = self._number(at, end)
            length, at = self._length(at, end, start)
            if length is not None and at + length > end:
                raise self._refuse(f"truncated: a value of {length:,} bytes, {end - at:,} are there", start)
            if tag in (_CHANNEL, _SET):
                stop = end if length is None else at + length
                ended = self._definitions(at, stop, number if number is not None else -1, depth + 1)
                at = ended if length is None else stop
                continue
            if length is None:
                raise self._refuse("a value without a length", start)
            self._define(tag, at, length, channel, start)
            at += length
        return at

    def _after_zeros(self, at: int, end: int) -> int:
        while at < end:
            piece = self._content[at : min(at + _PIECE, end)]
            rest = piece.lstrip(b"\0")
            at += len(piece) - len(rest)
            if rest:
                break
        return at

    def _number(self, at: int, end: int) -> tuple[int, int]:
        """The number of a channel, 7 bits a byte, and where it ends."""
        number = 0
        for place in range(at, min(end, at + 4)):
            number = number << 7 | self._content[place] & 0x7F
            if not self._content[place] & 0x80:
                return number, place + 1
        raise self._refuse("the number of a channel has no end", at)

    def _length(self, at: int, end: int, start: int) -> tuple[int | None, int]:
        """The length of a value, None where a mark ends it, and where the value begins."""
        first = self._content[at] if at < end else 0xFF
        if first < 0x80:
            return first, at + 1
        count = first & 0x7F
        if count > 4 or at + 1 + count > end:
            raise self._refuse("truncated, or no MFER: a definition without a length", start)
        raw = self._content[at + 1 : at + 1 + count]
        return int.from_bytes(raw, "big") if count else None, at + 1 + count

    def _define(self, tag: int, at: int, length: int, channel: int | None, start: int) -> None:
        """Take in a definition of all channels, or of one."""
        if tag == _WAVE:
            if (len(self.waves) + 1) * self._count > _MAX_TAGS:
                raise self._refuse(f"more than {_MAX_TAGS:,} waveforms times channels", start)
            others = {key: value for key, value in self._all.items() if key != _LEAD}
            channels = [(others if number else self._all) | self._own.get(number, {}) for number in range(self._count)]
            self.waves.append(_Wave(self._content[at : at + length], self._order, channels, self._path))
            return
        value = self._content[at : at + min(length, 2 if tag == _KIND else _MOST)]
        if tag == _BYTE_ORDER:
            self._order = "<" if value[:1] == b"\1" else ">"
        elif tag == _CHANNELS and (channel is None or channel < 0):
            self._count = int.from_bytes(value[:4], "big" if self._order == ">" else "little") if value else 1
            if not 1 <= self._count <= _MAX_CHANNELS:
                raise self._refuse(f"{self._count:,} channels", start)
            self._own = {}
        elif tag == _PACKING and any(value[:2]):
            raise self._refuse("packed waveforms are not read", start)
        elif tag in _OF_CHANNELS:
            if channel is None or channel < 0:
                target = self._all
            else:
                target = self._own.setdefault(channel, {}) if channel < self._count else {}
            if value:
                target[tag] = value, self._order
            else:
                target.pop(tag, None)


def _may_be(content: bytes) -> bool:
    """Whether a file without the preamble may be MFER: it begins with a short definition of a tag that there is."""
    return len(content) > 2 and content[0] in _FIRST and 0 < content[1] <= 8


def _matches(head: bytes) -> bool:
    return head[:1] == bytes([_PREAMBLE]) and head[2:6] == b"MFR "


FORMAT = Format("MFER", (".mwf", ".mfer", ".mfr"), _matches, _read)
