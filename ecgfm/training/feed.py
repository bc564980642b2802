"""What a training is fed: arrays, or data sets that are read while the model computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..data.feed.dataset import Dataset
from ..data.feed.loader import Loader
from ..data.feed.order import batches, epoch_order
from ..data.stores.segments import SegmentArrays
from ..ecg import Segments
from ..ecg.expected import refuse_difference
from ..errors import ConfigError, Error
from ..signal.profile import PIPELINE
from ..specs.inputs import InputSpec

__all__ = [
    "Batch",
    "Feed",
    "InMemory",
    "Some",
    "Streamed",
    "input_of",
    "is_source",
    "open_source",
    "profile_of",
    "rate_of",
    "streamed",
]

#: What `Trainer.accumulate` takes: segments, labels or ids, padding mask.
Batch = tuple[Any, ...]

_LOOKED_AT = 8  # segments of a data set


class Feed(Protocol):
    """Batches of the epochs of a training."""

    def __len__(self) -> int:
        """Batches of an epoch."""

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch | None]:
        """The batches of an epoch from `start` on, in its order; None for one whose segments are all damaged."""


def is_source(x: object) -> bool:
    """Whether this is a data set, or names one: a manifest or a packed split."""
    return isinstance(x, (str, os.PathLike, Dataset))


def open_source(
    source: Any, *, pairs: bool, training: bool, seed: int, labels: Any = None, field: str = "x"
) -> Dataset:
    """The data set that is given, or is named by a path.

    Raises
    ------
    ConfigError
        If it does not fit: pairs, or for training, or labels twice.
    FormatError, LabelError
        If a file can't be read.
    """
    if not isinstance(source, Dataset):
        return Dataset(source, pairs=pairs, training=training, labels=labels, seed=seed)
    if labels is not None:
        raise ConfigError("labels come with the data set", field="valid" if field == "valid" else "y")
    if source.pairs != pairs or (source.training and not training):
        what = "for training" if source.pairs == pairs else f"{'' if source.pairs else 'not '}one of pairs"
        raise ConfigError(f"the data set is {what}", path=source.path, field=field)
    return source


def profile_of(x: object) -> str | None:
    """The name of the profile that the recordings behind training data were prepared with; None if it is not known.

    `Segments` know theirs. Manifests and packed splits come from preprocessing.
    """
    if is_source(x):
        in_memory = isinstance(x, Dataset) and isinstance(x.segments, SegmentArrays)
        return None if in_memory else PIPELINE.name
    parts = [x] if isinstance(x, Segments) else x
    known = {getattr(part, "profile", None) for part in parts} if isinstance(parts, (list, tuple)) else {None}
    return known.pop() if len(known) == 1 else None


def input_of(*parts: object) -> InputSpec | None:
    """What all Segments among training data say they were prepared for; None where they say nothing.

    Raises
    ------
    SignalError
        If they differ.
    """
    found: InputSpec | None = None
    for part in parts:
        several: Any = part if isinstance(part, (list, tuple)) else [part]
        for one in several:
            if not isinstance(one, Segments) or one.input is None:
                continue
            if found is not None:
                refuse_difference(one.input, found, "x", path=one.source)
            found = found or one.input
    return found


def rate_of(feed: object) -> tuple[float, str] | None:
    """The rate that the first readable segment of a data set says it has, and its name; None if it says none."""
    data = feed.loader.dataset if isinstance(feed, Streamed) else feed
    if not isinstance(data, Dataset):
        return None
    segments = data.segments
    for i in range(min(len(segments), _LOOKED_AT)):
        try:
            rate = segments.read(i).sample_rate
        except Error:  # damaged: the training says so
            continue
        return None if rate is None or rate != rate else (float(rate), segments.name(i))
    return None


class Some:
    """Some of the items of a data set's segments.

    Parameters
    ----------
    segments : SegmentFiles, PackedSegments or SegmentArrays
    chosen : ndarray of bool
        (items,)
    """

    def __init__(self, segments: Any, chosen: NDArray[np.bool_]) -> None:
        items = np.flatnonzero(chosen)
        first, behind = segments.starts[:-1][items], segments.starts[1:][items]
        self._segments = segments
        self._numbers = np.concatenate([np.arange(*pair) for pair in zip(first, behind)])
        self.path, self.sizes, self.lines = segments.path, segments.sizes[items], segments.lines[items]
        self.starts = np.concatenate([[0], np.cumsum(behind - first, dtype=np.int64)])
        whole = segments.idx is not None and len(segments.idx) == len(segments)
        self.idx = segments.idx[self._numbers] if whole else None

    def __len__(self) -> int:
        return len(self._numbers)

    def name(self, i: int) -> str:
        """str: what to call a segment."""
        return str(self._segments.name(int(self._numbers[i])))

    def read(self, i: int) -> Any:
        """Segment: read."""
        return self._segments.read(int(self._numbers[i]))


class InMemory:
    """Arrays of one length, of which the first is the segments and others may be None; a batch is their rows."""

    varies: str | None = None  # why a segment is not the same in each epoch

    def __init__(self, arrays: tuple[NDArray[Any] | None, ...], batch_size: int, seed: int) -> None:
        self.arrays, self._size, self._seed = arrays, batch_size, seed
        x = arrays[0]
        assert x is not None
        self.count, self.samples = len(x), int(x.shape[-1])
        self._plan = batches(np.full(self.count, x.shape[-1]), batch_size=batch_size, seed=seed)

    def __len__(self) -> int:
        return len(self._plan)

    def rows(self, rows: Any) -> Batch:
        """Those rows of each array."""
        return tuple(None if values is None else values[rows] for values in self.arrays)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        return map(self.rows, epoch_order(self._plan, seed=self._seed, epoch=number)[start:])

    def order(self, number: int) -> list[int]:
        """The places of the batches of an epoch among those that `made` gives."""
        return _places(epoch_order(self._plan, seed=self._seed, epoch=number), self._plan)

    def made(self) -> Iterator[Batch]:
        """The batches, of which each epoch has its own order."""
        return map(self.rows, self._plan)

    def in_order(self, size: int | None = None) -> Iterator[Batch]:
        """All rows in the order of the arrays, `size` of them at a time, by default as many as a batch has."""
        size = self._size if size is None else size
        return (self.rows(slice(i, i + size)) for i in range(0, self.count, size))

    def sample(self, size: int) -> Iterator[Batch]:
        """What to check before the first update: everything, `size` rows at a time."""
        return self.in_order(size)


@dataclass(eq=False)
class Streamed:
    """The batches of a loader; what a trainer takes is what `take` makes of each."""

    loader: Loader
    take: Callable[[Any], Batch]

    @property
    def count(self) -> int:
        """int: segments, also damaged ones."""
        return sum(map(len, self.loader.batches))

    @property
    def samples(self) -> int:
        """int: of a segment."""
        sizes = self.loader.dataset.sizes
        return int(sizes[0]) if len(sizes) else 0

    @property
    def varies(self) -> str | None:
        """str or None: why a segment is not the same in each epoch."""
        return self.loader.dataset.varies

    def order(self, number: int) -> list[int]:
        """The places of the batches of an epoch among those that `made` gives."""
        return _places(self.loader.order(number), self.loader.batches)

    def made(self) -> Iterator[Batch | None]:
        """The batches, of which each epoch has its own order."""
        return (self.take(batch) if len(batch) else None for batch in self.loader.made())

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch | None]:
        return (self.take(batch) if len(batch) else None for batch in self.loader.epoch(number, start=start))

    def in_order(self) -> Iterator[Batch]:
        """The batches of the first epoch, without empty ones."""
        return (batch for batch in self.epoch(1) if batch is not None)

    def sample(self, size: int) -> Iterator[Batch]:
        """What to check before the first update: the first batch; of some segments, whether they can be read."""
        data = self.loader.dataset
        data.check()
        batch = data.batch(self.loader.order(1)[0])
        return iter([self.take(batch)] if len(batch) else [])


def _places(found: Sequence[Any], batches: Sequence[Any]) -> list[int]:
    places = {id(batch): place for place, batch in enumerate(batches)}
    return [places[id(batch)] for batch in found]


def streamed(data: Dataset, batch_size: int, take: Callable[[Any], Batch], max_bad_segments: float = 0.0) -> Streamed:
    """The batches of a data set, shuffled if it is for training."""
    loader = Loader(data, batch_size=batch_size, shuffle=data.training, max_bad_segments=max_bad_segments)
    return Streamed(loader, take)
