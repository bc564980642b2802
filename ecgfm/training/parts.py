"""What the loops over epochs train and validate on: arrays, or data sets that are read while the model computes."""

import os

import numpy as np

from ..data.feed.dataset import Dataset
from ..data.feed.loader import Loader
from ..data.feed.order import batches, epoch_order
from ..errors import ConfigError, SignalError

__all__ = ["InMemory", "Some", "Streamed", "is_source", "open_source", "update_steps"]


def is_source(x):
    """Whether this is a data set, or names one: a manifest or a packed split."""
    return isinstance(x, (str, os.PathLike, Dataset))


def open_source(source, *, pairs, training, seed, labels=None, field="x"):
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


class Some:
    """Some of the items of a data set's segments.

    Parameters
    ----------
    segments : SegmentFiles, PackedSegments or SegmentArrays
    chosen : ndarray of bool
        (items,)
    """

    def __init__(self, segments, chosen):
        items = np.flatnonzero(chosen)
        first, behind = segments.starts[:-1][items], segments.starts[1:][items]
        self._segments = segments
        self._numbers = np.concatenate([np.arange(*pair) for pair in zip(first, behind)])
        self.path, self.sizes, self.lines = segments.path, segments.sizes[items], segments.lines[items]
        self.starts = np.concatenate([[0], np.cumsum(behind - first, dtype=np.int64)])
        whole = segments.idx is not None and len(segments.idx) == len(segments)
        self.idx = segments.idx[self._numbers] if whole else None

    def __len__(self):
        return len(self._numbers)

    def name(self, i):
        """str: what to call a segment."""
        return self._segments.name(int(self._numbers[i]))

    def read(self, i):
        """Segment: read."""
        return self._segments.read(int(self._numbers[i]))


class InMemory:
    """Arrays of one length, of which the first is the segments and others may be None; a batch is their rows."""

    def __init__(self, arrays, batch_size, seed):
        self.arrays, self._size, self._seed = arrays, batch_size, seed
        self._plan = batches(np.full(len(arrays[0]), arrays[0].shape[-1]), batch_size=batch_size, seed=seed)

    def __len__(self):
        return len(self._plan)

    def rows(self, rows):
        """Those rows of each array."""
        return tuple(None if values is None else values[rows] for values in self.arrays)

    def epoch(self, epoch):
        """The batches, in the order of an epoch."""
        return map(self.rows, epoch_order(self._plan, seed=self._seed, epoch=epoch))

    def __iter__(self):
        """The batches, in the order of the arrays."""
        return (self.rows(slice(i, i + self._size)) for i in range(0, len(self.arrays[0]), self._size))


class Streamed:
    """A data set; a batch is what `take` makes of a `Batch`."""

    def __init__(self, data, batch_size, take, max_bad_segments=0.0):
        self.data, self._take = data, take
        self._loader = Loader(data, batch_size=batch_size, shuffle=data.training, max_bad_segments=max_bad_segments)

    def __len__(self):
        return len(self._loader)

    def epoch(self, epoch):
        """The batches, in the order of an epoch; None for one whose segments are all damaged."""
        return (self._take(batch) if len(batch) else None for batch in self._loader.epoch(epoch))

    def __iter__(self):
        """The batches of the first epoch, without empty ones."""
        return (part for part in self.epoch(1) if part is not None)

    def check(self):
        """Read some segments, spread over the whole, and give the first batch or None."""
        self.data.check()
        batch = self.data.batch(self._loader.order(1)[0])
        return self._take(batch) if len(batch) else None


def update_steps(trainer, parts, update_freq, shows):
    """Train on the batches of an epoch, `update_freq` of them an update. Returns what each update says.

    Raises
    ------
    SignalError
        If there was nothing to train on.
    """
    steps, waiting = [], 0

    def update():
        steps.append(trainer.update())
        shows.update(steps[-1])

    for count, part in enumerate(parts, 1):
        if part is not None:
            trainer.accumulate(*part)
            waiting += 1
        if waiting and count % update_freq == 0:
            update()
            waiting = 0
    if waiting:
        update()
    if not steps:
        raise SignalError("no segment of the data set could be read", field="x")
    return steps
