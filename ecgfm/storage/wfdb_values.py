"""The numbers in the signal files of a WFDB record, read in blocks: formats other than FLAC, one sample a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BufferedReader
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from .inputs import open_input

__all__ = ["BITS", "FORMS", "Blocks", "SignalFile", "physical_blocks"]

_VALUES = 1 << 18  # of a block: so many stay in the processor's cache
_GROUP = 6  # a whole number of groups of each format: blocks of so many samples begin with one


Blocks: TypeAlias = "Iterator[tuple[int, int, NDArray[np.float64]]]"


@dataclass(frozen=True)
class _Form:
    """A storage format: `samples` numbers stand in `bytes` bytes; of fewer at the end, in `tail` bytes."""

    samples: int
    bytes: int
    decode: Callable[[NDArray[np.uint8]], NDArray[Any]]
    missing: int | None = None
    tail: tuple[int, ...] = ()


def _as(dtype: str) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    return lambda raw: raw.view(dtype)


def _signed(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Numbers of so many bits, in two's complement."""
    values[values >= 1 << (bits - 1)] -= 1 << bits
    return values


def _decode_24(raw: NDArray[np.uint8]) -> NDArray[Any]:
    wide = np.zeros((len(raw) // 3, 4), np.uint8)
    wide[:, 1:] = raw.reshape(-1, 3)
    return wide.view("<i4").ravel() >> 8


def _decode_212(raw: NDArray[np.uint8]) -> NDArray[Any]:
    first, both, second = raw.reshape(-1, 3).astype(np.int16).T
    pairs = np.empty((len(raw) // 3, 2), np.int16)
    pairs[:, 0] = first | (both & 0x0F) << 8
    pairs[:, 1] = second | (both & 0xF0) << 4
    return _signed(pairs.ravel(), 12)


def _decode_310(raw: NDArray[np.uint8]) -> NDArray[Any]:
    a, b, c, d = raw.reshape(-1, 4).astype(np.int16).T
    triples = np.stack([a >> 1 | (b & 7) << 7, c >> 1 | (d & 7) << 7, b >> 3 | (d >> 3) << 5], axis=1)
    return _signed(triples.ravel(), 10)


def _decode_311(raw: NDArray[np.uint8]) -> NDArray[Any]:
    words = raw.view("<u4")
    triples = np.stack([words & 0x3FF, words >> 10 & 0x3FF, words >> 20 & 0x3FF], axis=1).astype(np.int16)
    return _signed(triples.ravel(), 10)


#: Storage formats that are read here.
FORMS = {
    "8": _Form(1, 1, _as("i1")),  # differences
    "16": _Form(1, 2, _as("<i2"), -(1 << 15)),
    "24": _Form(1, 3, _decode_24, -(1 << 23)),
    "32": _Form(1, 4, _as("<i4"), -(1 << 31)),
    "61": _Form(1, 2, _as(">i2"), -(1 << 15)),
    "80": _Form(1, 1, lambda raw: raw.astype(np.int16) - 128, -(1 << 7)),
    "160": _Form(1, 2, lambda raw: raw.view("<u2").astype(np.int32) - 32768, -(1 << 15)),
    "212": _Form(2, 3, _decode_212, -(1 << 11), (0, 2)),
    "310": _Form(3, 4, _decode_310, -(1 << 9), (0, 2, 4)),
    "311": _Form(3, 4, _decode_311, -(1 << 9), (0, 2, 3)),
}


#: Bits of a number in each format, compressed ones (FLAC) included.
BITS = {name: 8 * form.bytes / form.samples for name, form in FORMS.items()} | {"508": 8, "516": 16, "524": 24}


@dataclass
class SignalFile:
    """A signal file of a record.

    Attributes
    ----------
    path, form : str
    start : int
        Bytes before the first sample.
    columns, initial : list of int
        The signals in it by their numbers in the record, and what each begins with (format 8).
    bits : float
        Of a sample of all its signals.
    skew : int
        Samples that the latest of its signals lags.
    """

    path: str
    form: str
    start: int
    columns: list[int] = field(default_factory=list)
    initial: list[int] = field(default_factory=list)
    bits: float = 0
    skew: int = 0

    @property
    def packed(self) -> bool:
        return self.form not in FORMS

    def add(self, column: int, initial: int = 0, frame: int = 1, skew: int = 0) -> None:
        """Add a signal, `frame` samples of which stand side by side."""
        self.columns.append(column)
        self.initial.append(initial)
        self.bits += BITS[self.form] * frame
        self.skew = max(self.skew, skew)

    def bytes(self, samples: int) -> int:
        """int: bytes of a file that holds this many samples, if it isn't compressed."""
        return self.start + int(samples * self.bits // 8)

    def blocks(
        self, file: BufferedReader, samples: int, length: int
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any] | None]]:
        """Iterate over the stored numbers of each block, (samples, signals), and which of them are none, or None."""
        form, width, before = FORMS[self.form], len(self.columns), np.array(self.initial, np.int64)
        file.seek(self.start)
        for first in range(0, samples, length):
            count = width * min(length, samples - first)
            groups, rest = divmod(count, form.samples)
            raw = np.zeros((groups + (rest > 0)) * form.bytes, np.uint8)
            held = file.readinto(raw.data)
            if held < groups * form.bytes + (form.tail[rest] if rest else 0):
                raise FormatError("it was cut short while it was read", path=self.path)
            values = form.decode(raw)[:count].reshape(-1, width)
            if self.form == "8":
                values = np.cumsum(values, axis=0, dtype=np.int64) + before
                before = values[-1]
            missing = None if form.missing is None else values == form.missing
            yield values, missing if missing is not None and missing.any() else None


def physical_blocks(
    files: Sequence[SignalFile], samples: int, gains: Sequence[float], baselines: Sequence[float]
) -> Blocks:
    """Iterate over (start, stop, values) of the blocks of a record: (samples, signals) in the signals' units.

    The array of values is the same for all blocks; NaN stands for what is missing.
    """
    width = len(gains)
    length = max(_VALUES // width // _GROUP, 1) * _GROUP
    whole = np.empty((min(length, samples), width))
    with ExitStack() as opened:
        parts = [file.blocks(opened.enter_context(open_input(file.path)), samples, length) for file in files]
        for start in range(0, samples, length):
            values = whole[: min(length, samples - start)]
            for file, part in zip(files, parts):
                stored, missing = next(part)
                some = values if file.columns == list(range(width)) else np.empty(stored.shape)
                np.subtract(stored, [float(baselines[i]) for i in file.columns], out=some)
                np.divide(some, [gains[i] for i in file.columns], out=some)
                if missing is not None:
                    some[missing] = np.nan
                if some is not values:
                    values[:, file.columns] = some
            yield start, start + len(values), values
