"""What lies below all that is trained, computed once: its rows stand in the place of segments."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .. import machine
from ..data.feed.loader import Loader
from ..errors import ConfigError, FormatError
from ..storage.atomic import unwritable, writing
from ..storage.inputs import read_input
from ..storage.json import parse_json, write_json
from ..storage.npy import map_array, npy_header
from ..validation import REFUSED, Rule
from .feed import Batch, InMemory, Streamed
from .warned import warn

__all__ = ["AUTO", "MEMORY", "OFF", "TYPES", "Below", "Cache", "CachePlace", "KeptFeed", "KeptLoader"]

AUTO, MEMORY, OFF = "auto", "memory", "off"
TYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(np.uint16)}
SHARE = 0.5  # of the memory that is free, which "auto" takes at most
_LARGEST_NOTE = 1 << 16
_KIND = 1  # of rows: another one where the kernels come to round otherwise


@dataclass(frozen=True, eq=False)
class Below:
    """What `Trainer.below` gives, and takes in the place of segments and their padding mask.

    Attributes
    ----------
    rows : ndarray
        (B, T, C) float32, or uint16, the upper half of a float32, of bfloat16. (B, 1, C): means over time.
    samples : int
        Of the segments that the rows stand for.
    valid : ndarray or None
        (B,) samples of each segment that are not padding.
    made : object
        Of which weights they are.
    """

    rows: NDArray[Any]
    samples: int
    valid: NDArray[np.int64] | None
    made: object

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class CachePlace(Rule):
    """``"auto"``, ``"memory"``, ``"off"``, or the path of a folder."""

    def take(self, value: object) -> Any:
        if isinstance(value, str) and value in (AUTO, MEMORY, OFF):
            return value
        path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else ""
        return path if isinstance(path, str) and 0 < len(path) < 4096 and "\0" not in path else REFUSED

    def allowed(self) -> str:
        return f"'{AUTO}', '{MEMORY}', '{OFF}' or the path of a folder"


class KeptFeed:
    """The batches of a feed with rows in the place of segments.

    Parameters
    ----------
    feed : InMemory or Streamed
    batches : list of tuple or None
        As `feed` numbers them.
    """

    def __init__(self, feed: InMemory | Streamed, batches: list[Batch | None]) -> None:
        self._feed, self._batches = feed, batches

    def __len__(self) -> int:
        return len(self._feed)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch | None]:
        """As of `Feed`."""
        return (self._batches[place] for place in self._feed.order(number)[start:])

    def in_order(self) -> Iterator[Batch]:
        """All batches that are not empty."""
        return (batch for batch in self._batches if batch is not None)


@dataclass(frozen=True, eq=False)
class KeptBatch:
    """A batch of a `KeptLoader`, as of `ecgfm.data.Batch`; an empty one has no x."""

    x: Any
    y: Any
    padding_mask: None = None

    def __len__(self) -> int:
        return len(self.x)


class KeptLoader:
    """The batches of a loader, in one order, with rows in the place of segments."""

    def __init__(self, loader: Loader, batches: list[Batch | None]) -> None:
        self.dataset, self._batches = loader.dataset, batches

    def epoch(self, number: int = 1) -> Iterator[KeptBatch]:
        """As of `ecgfm.data.Loader`."""
        return (KeptBatch((), None) if batch is None else KeptBatch(*batch) for batch in self._batches)


class _Uneven(Exception):
    """Segments turn out to be of different lengths."""


class Cache:
    """Computes what lies below once, and keeps it.

    Parameters
    ----------
    trainer : Trainer
    place : str
        As of `CachePlace`.
    dtype : {"float32", "bfloat16"}
    say : callable
        Gets a line on what is kept and where, before it is computed, and one where nothing can be kept.
    refuse : callable, optional
        Gets the line that there is not enough memory; by default it is a warning.
    """

    def __init__(
        self,
        trainer: Any,
        place: str,
        dtype: str,
        say: Callable[[str], object],
        refuse: Callable[[str], object] = warn,
    ) -> None:
        self._refuse = refuse
        self.trainer, self.place, self.dtype, self._say = trainer, place, dtype, say
        self._asked = place not in (AUTO, OFF)

    def keep(self, feed: InMemory | Streamed, what: str, *, training: bool) -> Any:
        """The feed with rows in the place of segments, or the feed where they can't be kept, which is said.

        Parameters
        ----------
        feed : InMemory or Streamed
        what : str
            What to call its segments: ``"training"``.
        training : bool
            Whether it is trained on, in an order of each epoch, or all of it is run through in one order.
        """
        kept = self._kept_of(feed, what, training=training)
        return feed if kept is None else KeptFeed(feed, kept)

    def keep_loader(self, loader: Loader, take: Callable[[Any], Batch], what: str) -> Any:
        """The same of a loader with one order of its batches; `take` makes of each what a trainer takes."""
        kept = self._kept_of(Streamed(loader, take), what, training=False)
        return loader if kept is None else KeptLoader(loader, kept)

    def _kept_of(self, feed: InMemory | Streamed, what: str, *, training: bool) -> list[Batch | None] | None:
        if self.place == OFF:
            return None
        why = self._hindrance(feed)
        if why is not None:
            if self._asked or not self.trainer.trains_all:
                self._say(f"{what}: the frozen part is computed anew in each epoch, since {why}")
            return None
        batches = feed.made if training else feed.in_order
        shape = self.trainer.below_shape(feed.samples, feed.count)
        try:
            return self._kept(batches, what, shape) if self._fits(shape, what) else None
        except _Uneven:
            self._say(f"{what}: the frozen part is computed anew in each epoch, since segments differ in length")
            return None

    def _hindrance(self, feed: InMemory | Streamed) -> str | None:
        if self.trainer.trains_all:
            return "nothing is frozen below what is trained"
        if self.trainer.communicator.size > 1:
            return "ranks share the data anew in each epoch"
        return feed.varies

    def _fits(self, shape: tuple[int, ...], what: str) -> bool:
        """Whether there is room; says how much is needed."""
        size = int(np.prod(shape, dtype=object)) * TYPES[self.dtype].itemsize
        where = "in memory" if self.place in (AUTO, MEMORY) else f"in {self.place}"
        text = f"{what}: what is frozen is computed once and kept, {size / 1e6:,.1f} MB ({self.dtype}) {where}"
        if self.place in (AUTO, MEMORY):
            free = _free_mb() * 1e6
            if size > free * (SHARE if self.place == AUTO else 1):
                needs = f"the rows that enter what is trained take {size / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free"
                remedy = "Give cache=FOLDER to keep them in a file, or cache_dtype='bfloat16' for half of it"
                if self.place == MEMORY:
                    raise ConfigError(needs, field="cache", remedy=remedy)
                self._refuse(f"{what}: the frozen part is computed anew in each epoch: {needs}. {remedy}")
                return False
        else:
            try:
                os.makedirs(self.place, exist_ok=True)
                free = shutil.disk_usage(self.place).free
            except OSError as error:
                raise unwritable(self.place, error, error=ConfigError) from None
            if size > free:
                raise ConfigError(f"{size:,} bytes are needed, {free:,} are free", path=self.place, field="cache")
        self._say(text)
        return True

    # ---- rows ---------------------------------------------------------------------------------------

    def _kept(
        self, batches: Callable[[], Iterator[Batch | None]], what: str, shape: tuple[int, ...]
    ) -> list[Batch | None]:
        if self.place in (AUTO, MEMORY):
            rows = np.empty(shape, TYPES[self.dtype])
            places: list[Batch | None] = []
            at = 0
            for below, rest in self._computed(batches(), shape):
                if below is None:
                    places.append(None)
                    continue
                rows[at : at + len(below)] = below.rows
                places.append((Below(rows[at : at + len(below)], below.samples, below.valid, below.made), *rest))
                at += len(below)
            return places
        return self._in_file(batches, what, shape)

    def _computed(
        self, batches: Iterable[Batch | None], shape: tuple[int, ...]
    ) -> Iterator[tuple[Below | None, Batch]]:
        for batch in batches:
            if batch is None:
                yield None, ()
                continue
            x, y, mask, *weight = batch
            below = self.trainer.below(x, mask, dtype=self.dtype)
            if below.rows.shape[1:] != shape[1:]:
                raise _Uneven
            yield below, (y, None, *weight) if weight else (y,)

    def _in_file(
        self, batches: Callable[[], Iterator[Batch | None]], what: str, shape: tuple[int, ...]
    ) -> list[Batch | None]:
        """The same in a file of the folder, under a name that follows from all that decides the rows."""
        key, parts = self._key(batches(), shape)
        path = Path(self.place) / f"below-{key}.npy"
        count = sum(len(x) for x, *_ in filter(None, parts))
        if not _is_whole(path, (count, *shape[1:]), TYPES[self.dtype]):
            with writing(path, error=FormatError) as file:
                file.write(npy_header((count, *shape[1:]), TYPES[self.dtype]))
                crc = _write(file, (below.rows for below, _ in self._computed(batches(), shape) if below is not None))
            write_json(path.with_suffix(".json"), {"crc32": crc})
        else:
            self._say(f"{what}: {path} has them already")
        rows, at = map_array(path), 0
        places: list[Batch | None] = []
        for part in parts:
            if part is None:
                places.append(None)
                continue
            samples, valid, rest = part[1:]
            here = np.asarray(rows[at : at + len(part[0])])
            places.append((Below(here, samples, valid, self.trainer.below_token), *rest))
            at += len(here)
        return places

    def _key(
        self, batches: Iterator[Batch | None], shape: tuple[int, ...]
    ) -> tuple[str, list[tuple[range, int, Any, Batch] | None]]:
        """The name, and of each batch its rows, their samples, which are valid, and what else a trainer takes."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(
            json.dumps([_KIND, machine.processor_name(), self.dtype, shape[1:], self.trainer.below_identity()]).encode()
        )
        parts: list[tuple[range, int, Any, Batch] | None] = []
        for batch in batches:
            if batch is None:
                parts.append(None)
                continue
            x, y, mask, *weight = batch
            rows = self.trainer.objective.rows(x, y, mask)
            for values in (rows.x, rows.valid):
                digest.update(repr(None if values is None else values.shape).encode())
                if values is not None:
                    digest.update(np.ascontiguousarray(values).view(np.uint8).data)
            samples, valid = self.trainer.below_samples(rows.x.shape[2], rows.valid)
            parts.append((range(len(rows.x)), samples, valid, (y, None, *weight) if weight else (y,)))
        return digest.hexdigest(), parts


def _write(file: BinaryIO, arrays: Iterable[NDArray[Any]]) -> int:
    crc = 0
    for values in arrays:
        data = values.reshape(-1).view(np.uint8).data
        crc = zlib.crc32(data, crc)
        file.write(data)
    return crc


def _is_whole(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether a file has the rows, unchanged since they were written."""
    note = path.with_suffix(".json")
    if not (path.is_file() and note.is_file()):
        return False
    try:
        found = parse_json(read_input(note, most=_LARGEST_NOTE), path=note)
        rows = map_array(path)
    except FormatError:
        return False
    if rows.shape != shape or rows.dtype != dtype or not isinstance(found, dict):
        return False
    crc = 0
    for row in rows:
        crc = zlib.crc32(np.ascontiguousarray(row).view(np.uint8).data, crc)
    return bool(found.get("crc32") == crc)


def _free_mb() -> float:
    """Memory that this process could still get."""
    free = machine.memory()["available_mb"]
    group = machine.cgroup_limits()
    rest = None if group["memory_mb"] is None else group["memory_mb"] - group["memory_used_mb"]
    return min(each for each in (free, rest, float(1 << 40)) if each is not None)
