"""Where segments come from: ``.mat`` files that a manifest lists, a packed split, arrays in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..._types import StrPath
from ...ecg.expected import refuse_other_order
from ...errors import FormatError, LabelError, SignalError
from ...io.manifest import Manifest, read_manifest
from ...storage.inputs import open_input
from ...storage.mat import read_mat
from ...validation import real_array
from .packed import open_packed

__all__ = ["PackedSegments", "Segment", "SegmentArrays", "SegmentFiles", "Source", "open_segments", "some"]


@dataclass(eq=False)
class Segment:
    """One segment.

    Attributes
    ----------
    x : ndarray
        (leads, samples) float32.
    idx : int or None
        Index of its record.
    sample_rate : float or None
        In Hz.
    label : ndarray or None
        (Y,) labels that stand in the file itself.
    """

    x: NDArray[np.float32]
    idx: int | None
    sample_rate: float | None
    label: NDArray[Any] | None = None


class Source(Protocol):
    """What a data set reads its segments from."""

    @property
    def path(self) -> str | None: ...
    @property
    def idx(self) -> NDArray[np.int64] | None: ...
    @property
    def sizes(self) -> NDArray[np.int64]: ...
    @property
    def starts(self) -> NDArray[np.int64]: ...
    @property
    def lines(self) -> NDArray[np.int64]: ...
    def __len__(self) -> int: ...
    def name(self, i: int) -> str: ...
    def read(self, i: int) -> Segment: ...


class SegmentFiles:
    """The ``.mat`` files that a manifest lists.

    Attributes
    ----------
    path : str
        The manifest.
    sizes, starts, lines : ndarray
        As in `Manifest`.
    idx : None
        It stands in the files.
    """

    idx = None

    def __init__(self, manifest: Manifest) -> None:
        self.path, self.sizes, self.starts, self.lines = manifest.path, manifest.sizes, manifest.starts, manifest.lines
        self._root, self._names = manifest.root, manifest.names
        remedy = "Paths that don't begin with a slash count from the working directory"
        if self._root and not os.path.isdir(self._root):
            raise FormatError(f"its folder {self._root} does not exist", path=self.path, field="line 1", remedy=remedy)
        if not any(os.path.exists(self.name(i)) for i in some(len(self))):
            raise FormatError(f"none of its segments is there, such as {self.name(0)}", path=self.path, remedy=remedy)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, i: int) -> str:
        """str: the file of a segment."""
        return os.path.join(self._root, self._names[i])

    def read(self, i: int) -> Segment:
        """Segment: read from its file.

        Raises
        ------
        FormatError
            If the file can't be read or lacks something.
        """
        path = self.name(i)
        try:
            fields = read_mat(path)
        except OSError as error:
            raise FormatError(f"can't be read: {error.strerror or error}", path=path) from None
        x = fields.get("feats")
        if x is None or x.ndim != 2 or x.dtype.kind not in "iuf" or x.size == 0:
            raise FormatError("the file holds no (leads, samples) array of numbers", path=path, field="feats")
        with np.errstate(over="ignore"):
            x = np.ascontiguousarray(x, dtype=np.float32)
        idx = _number(fields, "idx", path)
        idx = _number(fields, "patient_id", path) if idx is None else idx
        rate = fields.get("curr_sample_rate")
        label = fields.get("label")
        return Segment(
            x,
            None if idx is None else int(idx),
            float(rate.flat[0]) if rate is not None and rate.size == 1 and rate.dtype.kind in "iuf" else None,
            None if label is None or label.dtype.kind not in "iufb" else label.ravel(),
        )


def some(count: int, most: int = 16) -> list[int]:
    """At most so many of 0 to count - 1, evenly spread, as ints."""
    return list(map(int, np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))))


def _number(fields: Mapping[str, NDArray[Any]], name: str, path: str) -> int | None:
    """The whole number of that name, or None."""
    value = fields.get(name)
    if value is None or value.size != 1 or value.dtype.kind not in "iuf" or value.flat[0] % 1 != 0:
        return None
    number = int(value.flat[0])
    if abs(number) >= 1 << 53:
        raise FormatError(f"{number:.3g} is not a record's number", path=path, field=name)
    return number


class PackedSegments:
    """A packed split; see `ecgfm.data.stores.packed`.

    Segments are read into arrays of their own, not through the mapping, so that the process's memory stays flat.

    Attributes
    ----------
    path : str
        The array's file.
    sizes, starts, lines : ndarray
        As in `Manifest`.
    idx : ndarray of int64
        (rows,) index of each row's record.
    """

    def __init__(self, path: StrPath, *, pairs: bool = False, min_sample_size: int | None = None) -> None:
        found = open_packed(path)
        self._file = open_input(path)  # reads say where, so that threads may share it
        self.path, self.idx = found.path, found.idx
        self._rates, self._records, self._numbers = found.sample_rate, found.save_file, found.segment_i
        self._shape, self._offset = found.x.shape[1:], getattr(found.x, "offset", 0)  # an empty one isn't mapped
        self._bytes = 4 * self._shape[0] * self._shape[1]
        samples = self._shape[1]
        order = _pair_order(found.save_file.tolist(), found.segment_i.tolist()) if pairs else np.arange(len(found))
        if min_sample_size is not None and samples < min_sample_size:
            order = order[:0]
        if not len(order):
            raise FormatError("the split has nothing that can be used", path=self.path)
        step = 2 if pairs else 1
        self._order = order
        self.starts = np.arange(0, len(order) + 1, step, dtype=np.int64)
        self.lines = np.arange(len(order) // step, dtype=np.int64)
        self.sizes = np.full(len(self.lines), samples, np.int64)

    def __len__(self) -> int:
        return len(self._order)

    def name(self, i: int) -> str:
        """str: what to call a segment."""
        row = int(self._order[i])
        return f"{self.path}[{row}] (segment {self._numbers[row]} of {self._records[row]})"

    def read(self, i: int) -> Segment:
        """Segment: read from the file.

        Raises
        ------
        FormatError
            If that fails.
        """
        row = int(self._order[i])
        x = np.empty(self._shape, np.float32)
        try:
            held = os.preadv(self._file.fileno(), [x.data], self._offset + row * self._bytes)
        except OSError as error:
            raise FormatError(f"can't be read: {error.strerror}", path=self.name(i)) from None
        if held != self._bytes:
            raise FormatError("the file ends before it", path=self.name(i))
        return Segment(x, int(self.idx[row]), float(self._rates[row]))


def _pair_order(records: Sequence[str], numbers: Sequence[int]) -> NDArray[np.int64]:
    """The rows of the pairs, one after the other: of each record (1st, 2nd), (3rd, 4th) ... by segment number."""
    of: dict[str, list[int]] = {}
    for row, name in enumerate(records):
        of.setdefault(name, []).append(row)
    paired = (sorted(rows, key=numbers.__getitem__)[: len(rows) // 2 * 2] for rows in of.values())
    return np.array([row for rows in paired for row in rows], np.int64)


class SegmentArrays:
    """Segments in memory.

    Parameters
    ----------
    x : array_like
        (n, leads, samples) real numbers; with `pairs`, rows 0 and 1 are a pair, 2 and 3, and so on.
    y : array_like, optional
        (n, Y) labels.
    idx : array_like of int, optional
        (n,) index of each one's record.
    sample_rate : float, optional
        In Hz.
    """

    path = None

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike | None = None,
        *,
        idx: ArrayLike | None = None,
        sample_rate: float | None = None,
        pairs: bool = False,
    ) -> None:
        refuse_other_order(x, "x")
        self._x = real_array(x, "x")
        if self._x.ndim != 3 or 0 in self._x.shape:
            raise SignalError(f"the shape {self._x.shape} is not (segments, leads, samples)", field="x")
        count, step = len(self._x), 2 if pairs else 1
        if count % step:
            raise SignalError(f"{count} segments are no pairs", field="x")
        self._y = None if y is None else real_array(y, "y", LabelError, booleans=True)
        if self._y is not None and (self._y.ndim != 2 or len(self._y) != count):
            raise LabelError(f"the shape {self._y.shape} does not fit {count} segments: (segments, labels)", field="y")
        self.idx = np.arange(count) // step if idx is None else np.asarray(idx).astype(np.int64)
        if self.idx.shape != (count,):
            raise SignalError(f"the shape {self.idx.shape} does not fit {count} segments", field="idx")
        self._rate = sample_rate
        self.starts = np.arange(0, count + 1, step, dtype=np.int64)
        self.lines = np.arange(count // step, dtype=np.int64)
        self.sizes = np.full(len(self.lines), self._x.shape[2], np.int64)

    def __len__(self) -> int:
        return len(self._x)

    def name(self, i: int) -> str:
        """str: what to call a segment."""
        return f"x[{i}]"

    def read(self, i: int) -> Segment:
        """Segment: row `i`, copied."""
        with np.errstate(over="ignore"):
            x = np.array(self._x[i], np.float32, order="C")
        return Segment(x, int(self.idx[i]), self._rate, None if self._y is None else self._y[i])


def open_segments(
    source: StrPath, *, pairs: bool = False, min_sample_size: int | None = None
) -> SegmentFiles | PackedSegments:
    """The segments of a split.

    Parameters
    ----------
    source : path-like
        A manifest (``.tsv``), the array of a packed split (``.npy``), or either without its ending, such as
        ``manifests/train``: then the packed one is taken if it is there.
    pairs : bool
        Whether items are pairs of segments of one record (CMSC).
    min_sample_size : int, optional
        Items with fewer samples are left out.

    Returns
    -------
    SegmentFiles or PackedSegments
    """
    source = os.fsdecode(source)
    stem = source[:-4] if source.endswith((".npy", ".tsv")) else source
    if source.endswith(".npy") or (not source.endswith(".tsv") and os.path.exists(stem + ".npy")):
        return PackedSegments(stem + ".npy", pairs=pairs, min_sample_size=min_sample_size)
    return SegmentFiles(read_manifest(stem + ".tsv", pairs=pairs, min_sample_size=min_sample_size))
