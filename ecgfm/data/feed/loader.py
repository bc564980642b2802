"""Batches in the order of fairseq-signals, read ahead in threads."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ...errors import FormatError, SignalError
from ...validation import Number, Share, Whole, checked
from .dataset import Batch, Dataset
from .order import batches, epoch_order

__all__ = ["Loader"]


class Loader:
    """Cuts a data set into batches and reads them ahead.

    Parameters
    ----------
    dataset : Dataset
    batch_size : int, optional
        Items of a batch (of pairs: twice as many segments).
    max_tokens : int, optional
        Most samples of a batch, padding included.
    required_batch_size_multiple : int
        A larger batch has a multiple of it.
    shuffle : bool
        Whether items of equal length come in random order and longer ones first, else as in the manifest. The seed is
        the data set's.
    curriculum : int
        So many epochs take the batches as they were made; later ones shuffle them. Without ``dataset.training`` they
        are never shuffled.
    rank, ranks : int
        This loader takes batches rank, rank + ranks, ...
    threads : int
        That read; 0: none, batches are read when they are asked for.
    ahead : int, optional
        Batches that are held ready at most; default twice the threads.
    max_bad_segments : float
        Share of the data set's segments that may be damaged; more are an error. They are named once each.
    report : callable, optional
        Called with the name of a damaged segment and the error, once for each; default: a warning.

    Attributes
    ----------
    batches : list of ndarray of int64
        The items of each batch, in the order that they were made in: the same for all epochs and ranks.
    bad : dict
        Name of each damaged segment met so far -> the error.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        required_batch_size_multiple: int = 1,
        shuffle: bool = True,
        curriculum: int = 0,
        rank: int = 0,
        ranks: int = 1,
        threads: int = 1,
        ahead: int | None = None,
        max_bad_segments: float = 0.01,
        report: Callable[[str, FormatError | SignalError], object] | None = None,
    ) -> None:
        self.ranks: int = checked(ranks, Whole(1), "ranks")
        self.rank = checked(rank, Whole(0, self.ranks - 1), "rank")
        self.dataset, self.curriculum = dataset, checked(curriculum, Number(), "curriculum")
        self._threads = checked(threads, Whole(), "threads")
        ahead = checked(ahead, Whole(none=True), "ahead")
        self._ahead = max(1, 2 * self._threads if ahead is None else ahead)
        self._share, self._report = checked(max_bad_segments, Share(), "max_bad_segments"), report or _warn
        self.batches = batches(
            dataset.sizes,
            batch_size=batch_size,
            max_tokens=max_tokens,
            required_batch_size_multiple=required_batch_size_multiple,
            seed=dataset.seed,
            shuffle=shuffle,
            path=dataset.path,
        )
        self.bad: dict[str, FormatError | SignalError] = {}

    def __len__(self) -> int:
        """Steps of an epoch: the same on all ranks."""
        return math.ceil(len(self.batches) / self.ranks)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(1)

    def order(self, epoch: int = 1) -> list[NDArray[np.int64]]:
        """The items of each of this rank's batches in an epoch; a list of arrays, empty where a step is missing."""
        shuffled = self.dataset.training and epoch > self.curriculum
        found = epoch_order(self.batches, seed=self.dataset.seed, epoch=epoch, shuffle=shuffled)
        found = found[self.rank :: self.ranks]
        return found + [found[0][:0] if found else self.batches[0][:0]] * (len(self) - len(found))

    def epoch(self, epoch: int = 1, *, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch.

        Parameters
        ----------
        epoch : int
            1, 2, ...
        start : int
            So many steps are left out: those done before a run was resumed.

        Returns
        -------
        iterator of Batch
            `len(self) - start` of them. One is empty (``len(batch) == 0``) where this rank has no batch for the step,
            or all its segments are damaged.

        Raises
        ------
        FormatError, SignalError
            If a segment is damaged and the data set is not for training, or too many are.
        LabelError
            If a record has no labels.
        """
        return self._counted(self.order(epoch)[start:], epoch)

    def made(self) -> Iterator[Batch]:
        """All `batches`, in the order that they were made in, as of epoch 1."""
        return self._counted(self.batches, 1)

    def _counted(self, plan: Sequence[NDArray[np.int64]], epoch: int) -> Iterator[Batch]:
        for batch in self._read(plan, epoch):
            for name, error in batch.skipped:
                self._count(name, error)
            yield batch

    def _read(self, plan: Sequence[NDArray[np.int64]], epoch: int) -> Iterator[Batch]:
        if not self._threads:
            yield from (self.dataset.batch(items, epoch) for items in plan)
            return
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="ecgfm-read")
        try:
            begun = (pool.submit(self.dataset.batch, items, epoch) for items in plan)
            waiting = deque(islice(begun, self._ahead))
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(islice(begun, 1))
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _count(self, name: str, error: FormatError | SignalError) -> None:
        if name in self.bad:
            return
        self.bad[name] = error
        self._report(name, error)
        total = self.dataset.num_segments
        if len(self.bad) > self._share * total:
            raise FormatError(
                f"{len(self.bad)} of {total} segments are damaged, more than the share {self._share:g}; the last one: "
                f"{error}",
                path=self.dataset.path,
                field="max_bad_segments",
                remedy="Repair or remove them, or raise max_bad_segments",
            )


def _warn(name: str, error: FormatError | SignalError) -> None:
    text = str(error)
    warnings.warn(f"damaged segment skipped: {text if name in text else f'{name}: {text}'}", stacklevel=4)
