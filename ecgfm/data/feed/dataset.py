"""A data set: the segments of a split with what is done to them on the way to the network, made into batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..._text import shown
from ..._types import StrPath
from ...errors import ConfigError, FormatError, LabelError, LeadError, SignalError
from ...signal.filters import clean
from ...signal.leads import LEADS
from ...storage.npy import map_array
from ...validation import Seed, Whole, checked, refuse_masked
from ..stores.segments import Segment, SegmentArrays, Source, open_segments, some
from .conditioning import lead_numbers, lead_values

__all__ = ["Batch", "Dataset"]

_AUGMENT, _CROP = 0, 1  # streams of random numbers
_DAMAGE = (FormatError, SignalError)


@dataclass(eq=False)
class Batch:
    """Segments for one step.

    Attributes
    ----------
    x : ndarray
        (B, L, N) float32, contiguous.
    padding_mask : ndarray of bool or None
        (B, N), True = padding at the end; None where nothing is padded.
    y : ndarray or None
        (B, Y) float32 labels.
    id : ndarray of int64
        (B,) line of each segment's item in the manifest, from 0; both of a pair have the same.
    idx : ndarray of int64
        (B,) index of each segment's record (-1: not known): for CMSC, segments of one are each other's positives.
    segment : ndarray of int64 or None
        (B,) 0 and 1 in turn for pairs.
    size : int
        Items that the batch was planned with; damaged ones are not in it. 0: a rank's missing step.
    skipped : list of (str, FormatError or SignalError)
        Damaged segments that are left out: name and reason.
    """

    x: np.ndarray
    padding_mask: np.ndarray | None
    y: np.ndarray | None
    id: np.ndarray
    idx: np.ndarray
    segment: np.ndarray | None
    size: int
    skipped: list[tuple[str, FormatError | SignalError]]

    def __len__(self) -> int:
        return len(self.x)


class _Row(NamedTuple):
    """A segment of a batch, as it goes to the network."""

    item: int
    number: int  # of the segment
    x: NDArray[np.float32]
    segment: Segment


class Dataset:
    """Segments, prepared and labelled.

    Parameters
    ----------
    source : path-like, ndarray, SegmentArrays, SegmentFiles or PackedSegments
        A manifest, a packed split, what both have in common (``manifests/train``), or segments in memory
        (n, 12, samples).
    pairs : bool
        Whether items are pairs of segments of one record (CMSC).
    training : bool
        Whether segments are augmented and cropped anew in each epoch, and damaged ones skipped; else they stop
        everything, so that rows match the lines of the manifest.
    labels : path-like, array_like or "file", optional
        ``y.npy``: row `idx` has the labels of record `idx`. For segments in memory: their labels, (n, Y). ``"file"``:
        the labels stand in the files themselves, under ``label``.
    sample_rate : float, optional
        Segments of another rate count as damaged.
    leads_to_load : str or sequence, optional
        Numbers or names of the leads to take, in this order; default all 12.
    leads_bucket : str or sequence, optional
        Leads of which only one, drawn anew each time, is taken: as the last row.
    pad_leads : bool
        Put the leads that are taken into their rows of 12, the others being 0.
    filter : bool
        Take out drift and mains hum: `ecgfm.signal.filters.clean`.
    normalize : bool
        Subtract `mean_path` and divide by `std_path`: text files with a number for each of the 12 leads in a line, or
        arrays.
    augment : callable, optional
        ``augment(x, rng)``: (L, N) float32 and a generator with the methods of ``numpy.random.RandomState`` give
        (L, N). Called in training only, for each segment of an item in turn.
    pad : bool
        Shorter segments are filled with zeros to the longest of a batch; else longer ones are cropped to the shortest.
    max_sample_size, min_sample_size : int, optional
        Longer segments are cropped, at random; items that the manifest says are shorter are left out.
    seed : int
        From 0 to 4294967295. What is drawn for an item depends on the seed, the epoch, and the item, not on batches,
        ranks or threads. Without `training` the epoch does not count.

    Attributes
    ----------
    sizes : ndarray of int64
        (items,) samples that each item counts with when batches are made.
    num_labels : int or None

    Raises
    ------
    FormatError, LabelError, LeadError, ConfigError
        If a file can't be read, or arguments don't fit.
    """

    def __init__(
        self,
        source: StrPath | ArrayLike | Source,
        *,
        pairs: bool = False,
        training: bool = False,
        labels: StrPath | ArrayLike | None = None,
        sample_rate: float | None = None,
        leads_to_load: str | Sequence[int | str] | None = None,
        leads_bucket: str | Sequence[int | str] | None = None,
        pad_leads: bool = False,
        filter: bool = False,
        normalize: bool = False,
        mean_path: StrPath | None = None,
        std_path: StrPath | None = None,
        augment: Callable[..., ArrayLike] | None = None,
        pad: bool = True,
        max_sample_size: int | None = None,
        min_sample_size: int | None = None,
        seed: int = 1,
    ) -> None:
        self.max_sample_size = checked(max_sample_size, Whole(1, floats=True, none=True), "max_sample_size")
        min_sample_size = checked(min_sample_size, Whole(floats=True, none=True), "min_sample_size")
        self.training, self.pad, self.pairs, self.seed = (
            bool(training),
            bool(pad),
            bool(pairs),
            checked(seed, Seed(), "seed"),
        )
        self._rate = float(sample_rate) if sample_rate and sample_rate > 0 else None
        self._leads(leads_to_load, leads_bucket, bool(pad_leads))
        self._filter = bool(filter)
        self._mean = lead_values(mean_path, "mean_path", self._rows) if normalize else None
        self._std = lead_values(std_path, "std_path", self._rows) if normalize else None
        self._augment = augment if training else None
        if isinstance(source, (str, os.PathLike)):
            self.segments: Source = open_segments(source, pairs=pairs, min_sample_size=min_sample_size)
        elif hasattr(source, "read"):
            self.segments = source  # type: ignore[assignment]  # one of the classes of segments
        else:
            self.segments, labels = SegmentArrays(source, labels, pairs=pairs), None if labels is None else "file"  # type: ignore[arg-type]
        self.path, self.num_segments, sizes = self.segments.path, len(self.segments), self.segments.sizes
        self.sizes = sizes if self.max_sample_size is None else np.minimum(sizes, self.max_sample_size)
        self._labels(labels)

    def _leads(
        self, wanted: str | Sequence[int | str] | None, bucket: str | Sequence[int | str] | None, pad: bool
    ) -> None:
        self._pad_leads = pad
        self._wanted = list(range(len(LEADS))) if wanted is None else lead_numbers(wanted)
        self._rows, self._bucket = self._wanted, None if bucket is None else lead_numbers(bucket, "leads_bucket")
        if self._bucket is not None:
            if not set(self._bucket) <= set(self._wanted):
                raise LeadError("a lead is not among leads_to_load", field="leads_bucket")
            if pad:
                raise ConfigError("does not go together with pad_leads", field="leads_bucket")
            self._rows = sorted(set(self._wanted) - set(self._bucket))
        self._plain = self._bucket is None and self._wanted == list(range(len(LEADS)))
        self.num_leads = len(LEADS) if pad else len(self._rows) + (bucket is not None)

    def _labels(self, labels: StrPath | ArrayLike | None) -> None:
        self._y: NDArray[Any] | None = None
        self._y_path: str | None = None
        self.num_labels: int | None = None
        if isinstance(labels, str) and labels == "file":
            self.num_labels = self._labels_of_a_file()
        if self.num_labels is not None or labels is None:
            return
        if isinstance(labels, (str, os.PathLike)):
            self._y_path = os.fsdecode(labels)
            try:
                labels = map_array(self._y_path)
            except FormatError as error:
                raise LabelError(error.message, path=self._y_path, field="labels", remedy=error.remedy) from None
        refuse_masked(labels, "labels", LabelError)
        self._y = y = labels if isinstance(labels, np.ndarray) else np.asarray(labels)  # mapped, it stays so
        if y.ndim != 2 or y.dtype.kind not in "iufb" or 0 in y.shape:
            raise LabelError(
                f"{y.dtype} of shape {shown(y.shape)} is not a (records, labels) array of numbers",
                path=self._y_path,
            )
        self.num_labels = y.shape[1]
        if self.segments.idx is not None and len(self.segments.idx):
            for idx in (self.segments.idx.min(), self.segments.idx.max()):
                self._labels_of(int(idx), self.path)

    def _labels_of_a_file(self) -> int:
        """How many labels stand in the first segment that can be read."""
        damage: Exception | None = None
        for i in some(len(self.segments)):
            try:
                label = self.segments.read(i).label
                count = 0 if label is None else int(np.size(label))
            except _DAMAGE as error:
                damage = damage or error
                continue
            if not count:
                raise LabelError("there are no labels in it", path=self.segments.name(i), field="label")
            return count
        raise damage or LabelError("there are no segments", field="label")

    def _labels_of(self, idx: int | None, name: str | None) -> NDArray[Any]:
        """The labels of a record; `name` is what to call the one who asks."""
        assert self._y is not None
        if idx is None or not 0 <= idx < len(self._y):
            raise LabelError(
                f"{name} is of record {'(no idx)' if idx is None else idx}, the labels are of 0 to {len(self._y) - 1}",
                path=self._y_path,
                field="idx",
                remedy="Check that the labels belong to the same data",
            )
        return np.asarray(self._y[idx])

    def labels(self) -> NDArray[Any] | None:
        """The labels of all segments, (segments, Y), NaN where one is not known; None if they stand in the files."""
        idx = self.segments.idx
        return None if self._y is None or idx is None else np.asarray(self._y[idx])

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def varies(self) -> str | None:
        """str or None: why an item is not the same in each epoch and each batch."""
        sizes = self.segments.sizes
        if self._augment is not None:
            return "segments are augmented"
        if self._bucket is not None and self.training:
            return "a lead is drawn anew"
        if len(sizes) and (sizes != sizes[0]).any():
            return "segments differ in length"
        cropped = self.max_sample_size is not None and len(sizes) and sizes[0] > self.max_sample_size
        return "segments are cropped anew" if cropped and self.training else None

    def name(self, item: int) -> str:
        """str: what to call an item, in messages: its first segment."""
        return self.segments.name(int(self.segments.starts[item]))

    def check(self, count: int = 16) -> None:
        """Read some items, spread over the whole, so that what is wrong with all of them is found before training.

        Raises
        ------
        FormatError, SignalError
            If one is damaged; in training, if all are.
        LabelError
            If a record has no labels.
        """
        found = [self.batch([item]).skipped for item in some(len(self), count)]
        if all(found):
            raise found[0][0][1]

    def batch(self, items: Sequence[int] | NDArray[np.int64], epoch: int = 1) -> Batch:
        """Read items and put them together.

        Parameters
        ----------
        items : sequence of int
        epoch : int
            1, 2, ...

        Returns
        -------
        Batch

        Raises
        ------
        FormatError, SignalError
            If a segment is damaged and this is not for training.
        LabelError
            If a record has no labels.
        """
        skipped: list[tuple[str, FormatError | SignalError]] = []
        rows = [row for item in items for row in self._item(int(item), epoch, skipped)]
        return self._collated(rows, len(items), skipped, epoch)

    def _item(self, item: int, epoch: int, skipped: list[tuple[str, FormatError | SignalError]]) -> list[_Row]:
        """The rows of an item; none of them if one is damaged."""
        rng = cache(partial(self._generator, _AUGMENT, item, epoch))  # made when it is first asked for
        rows: list[_Row] = []
        numbers = range(self.segments.starts[item], self.segments.starts[item + 1])
        for i in numbers:
            try:
                segment = self.segments.read(i)
                if self.pairs:
                    self._check_record(segment, i, rows)
                x = self._prepared(segment, i, rng)
            except _DAMAGE as error:
                if not self.training:
                    raise
                error.__traceback__ = error.__context__ = error.__cause__ = None  # they would hold the segment
                skipped.append((self.segments.name(i), error))
                continue
            rows.append(_Row(item, i, x, segment))
        return rows if len(rows) == len(numbers) else []

    def _check_record(self, segment: Segment, i: int, rows: Sequence[_Row]) -> None:
        """A pair is of one record, and it is known of which."""
        path = self.segments.name(i)
        if segment.idx is None:
            raise FormatError("the file says neither idx nor patient_id", path=path, field="idx")
        if rows and rows[0].segment.idx != segment.idx:
            partner, its = self.segments.name(rows[0].number), rows[0].segment.idx
            raise FormatError(
                f"is of record {segment.idx}, its partner {partner} of {its}",
                path=path,
                field="idx",
            )

    def _prepared(self, segment: Segment, i: int, rng: Callable[[], np.random.RandomState]) -> NDArray[np.float32]:
        x = segment.x
        if self._rate is not None and segment.sample_rate != self._rate:
            given = "no rate" if segment.sample_rate is None else f"{segment.sample_rate:g} Hz"
            raise SignalError(f"{given}, not {self._rate:g} Hz", path=self.segments.name(i), field="curr_sample_rate")
        if len(x) <= max(self._wanted) or (self._plain and len(x) != len(LEADS)):
            raise SignalError(
                f"{len(x)} leads, not {len(LEADS)}",
                path=self.segments.name(i),
                field="feats",
                remedy="Name the rows to take with leads_to_load",
            )
        leads = self._rows
        if self._bucket is not None:
            leads = [*leads, int(rng().choice(self._bucket, size=1)[0])]
        if not self._plain:
            x = x[leads]
        if not np.isfinite(x).all():
            lead, sample = map(int, np.argwhere(~np.isfinite(x))[0])
            raise SignalError(
                f"the value at sample {sample} is {x[lead, sample]}",
                path=self.segments.name(i),
                field=LEADS[leads[lead]],
            )
        if self._filter:
            x = self._cleaned(x, segment, i)
        if self._mean is not None and self._std is not None:
            x = ((x - self._mean[leads]) / self._std[leads]).astype(np.float32)
        if self._pad_leads and not self._plain:
            full = np.zeros((len(LEADS), x.shape[1]), np.float32)
            full[leads] = x
            x = full
        if self._augment is not None:
            try:
                x = np.asarray(self._augment(x, rng()), np.float32)
            except SignalError as error:  # of the settings, not of the segment
                raise ConfigError(str(error), field="augment") from None
        return x

    def _cleaned(self, x: NDArray[np.float32], segment: Segment, i: int) -> NDArray[np.float32]:
        if segment.sample_rate is None:
            raise SignalError("the filter needs its rate", path=self.segments.name(i), field="curr_sample_rate")
        try:
            return clean(x, segment.sample_rate)
        except ValueError as error:  # too short for the filter
            raise SignalError(f"can't be filtered: {error}", path=self.segments.name(i), field="filter") from None

    def _generator(self, stream: int, item: int, epoch: int) -> np.random.RandomState:
        key = np.array([self.seed, epoch if self.training else 0], np.uint64)
        counter = np.array([0, 0, stream, self.segments.lines[item]], np.uint64)
        return np.random.RandomState(np.random.Philox(key=key, counter=counter))

    def _collated(
        self, rows: Sequence[_Row], size: int, skipped: list[tuple[str, FormatError | SignalError]], epoch: int
    ) -> Batch:
        count = len(rows)
        lengths = np.array([row.x.shape[1] for row in rows], np.int64)
        target = 0 if not count else int(lengths.max() if self.pad else lengths.min())
        if self.max_sample_size is not None:
            target = min(target, self.max_sample_size)
        x = np.empty((count, self.num_leads, target), np.float32)
        item = None
        for row, (number, _, values, _) in enumerate(rows):
            length = values.shape[1]
            if length <= target:
                x[row, :, :length] = values
                x[row, :, length:] = 0
                continue
            if number != item:
                item, crop = number, self._generator(_CROP, number, epoch)
            start = int(crop.randint(0, length - target + 1))
            x[row] = values[:, start : start + target]
        mask = np.arange(target) >= lengths[:, None] if (lengths < target).any() else None
        items = np.array([row.item for row in rows], np.int64)
        idx = np.array([-1 if row.segment.idx is None else row.segment.idx for row in rows], np.int64)
        numbers = np.array([row.number for row in rows], np.int64)
        segment = (numbers - self.segments.starts[items]) % 2 if self.pairs else None
        return Batch(x, mask, self._rows_of_y(rows), self.segments.lines[items], idx, segment, size, skipped)

    def _rows_of_y(self, rows: Sequence[_Row]) -> NDArray[np.float32] | None:
        if self.num_labels is None:
            return None
        y = np.empty((len(rows), self.num_labels), np.float32)
        for row, (_, i, _, segment) in enumerate(rows):
            if self._y is not None:
                y[row] = self._labels_of(segment.idx, self.segments.name(i))
                if np.isinf(y[row]).any():
                    what = f"a label of record {segment.idx} is not finite"
                    raise LabelError(what, path=self._y_path, field="labels")
            elif segment.label is None or len(segment.label) != self.num_labels:
                raise LabelError(
                    f"{'no' if segment.label is None else len(segment.label)} labels, others have {self.num_labels}",
                    path=self.segments.name(i),
                    field="label",
                )
            else:
                y[row] = segment.label
        return y
