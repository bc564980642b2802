"""Segments of a split in one file: ``<split>.npy``, float32 (n, leads, samples), and ``<split>.index.csv``, a row each.

The array is memory-mapped, so that a segment costs one copy. Both files are put in place whole, the index last: an
array without an index is one that isn't finished.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ..._text import shown
from ..._types import StrPath
from ...errors import FormatError
from ...storage.atomic import committing, open_own, remove, sync_folder, writing
from ...storage.columns import whole_number, whole_numbers
from ...storage.npy import map_array, npy_header
from ...storage.rows import read_blocks, write_rows
from ...validation import refuse_masked

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["INDEX", "Packed", "PackedWriter", "index_path", "open_packed", "write_packed"]

#: The columns of the index.
INDEX = ("idx", "save_file", "segment_i", "sample_rate", "sample_size")

_NO_RANGES = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF)


def index_path(path: StrPath) -> str:
    """The index of a packed file: ``train.npy`` has ``train.index.csv``."""
    return f"{os.path.splitext(os.fspath(path))[0]}.index.csv"


def _header(shape: tuple[int, ...]) -> bytes:
    return npy_header(shape, np.dtype("<f4"))


_HEADER = len(_header((0, 1, 1)))  # bytes before the values


@dataclass(eq=False)
class Packed:
    """A packed split, opened for reading.

    Attributes
    ----------
    path : str
    x : ndarray
        (n, leads, samples) float32, mapped and read-only.
    idx, segment_i : ndarray
        (n,) int64, the number of each row's recording and of the segment in it.
    save_file : ndarray
        (n,) of str, the recording's name.
    sample_rate : ndarray
        (n,) float64, in Hz.
    """

    path: str
    x: NDArray[np.float32]
    idx: NDArray[np.int64]
    save_file: NDArray[np.object_]
    segment_i: NDArray[np.int64]
    sample_rate: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.x)


def open_packed(path: StrPath) -> Packed:
    """Open a packed split.

    Parameters
    ----------
    path : path-like
        The ``.npy`` file.

    Returns
    -------
    Packed

    Raises
    ------
    FormatError
        If a file is missing or damaged, or the two don't belong together.
    """
    path = os.fspath(path)
    index = index_path(path)
    if os.path.exists(path) and not os.path.exists(index):
        raise FormatError(
            "the file has no index beside it: it isn't finished", path=path, field=os.path.basename(index)
        )
    try:
        x = map_array(path)
    except FormatError as error:
        if error.message.startswith(("a damaged .npy", "truncated")):
            error.message = f"not a packed file: {error.message}"
        raise
    if x.dtype != np.float32 or x.ndim != 3 or not x.flags.c_contiguous:
        raise FormatError(f"{x.dtype} of shape {shown(x.shape)}, not float32 (n, leads, samples)", path=path)
    return Packed(path, x, *_read_index(index, len(x), x.shape[2]))


def _read_index(
    path: str, count: int, samples: int
) -> tuple[NDArray[np.int64], NDArray[np.object_], NDArray[np.int64], NDArray[np.float64]]:
    """The columns of an index: idx, save_file, segment_i, sample_rate."""
    idx, part, rate = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.float64)
    names = np.empty(count, object)
    known: dict[str, str] = {}
    rates: dict[str, float] = {}
    done = 0
    for block in read_blocks(path, INDEX, errors="surrogateescape"):
        rows, line = slice(done, done + len(block["idx"])), done + 2
        if rows.stop <= count:
            idx[rows] = whole_numbers(block["idx"], path, "idx", line=line)
            part[rows] = whole_numbers(block["segment_i"], path, "segment_i", line=line)
            names[rows] = [known.setdefault(name, name) for name in block["save_file"]]
            for text in set(block["sample_rate"]) - rates.keys():
                rates[text] = _rate(text, path, line + block["sample_rate"].index(text))
            rate[rows] = [rates[text] for text in block["sample_rate"]]
            for text in set(block["sample_size"]) - {str(samples)}:
                at = line + block["sample_size"].index(text)
                if whole_number(text, path, f"sample_size, line {at}") != samples:
                    what = f"line {at}: {shown(text)} samples, the array has {samples}"
                    raise FormatError(what, path=path, field="sample_size")
        done = rows.stop
    if done != count:
        raise FormatError(f"{done:,} rows for {count:,} segments", path=path)
    order = np.lexsort((part, idx))
    twice = np.flatnonzero((np.diff(idx[order]) == 0) & (np.diff(part[order]) == 0))
    if len(twice):
        at = order[twice[0]]
        raise FormatError(f"segment {part[at]} of record {idx[at]} stands twice", path=path, field="idx")
    return idx, names, part, rate


def _rate(text: str, path: str, line: int) -> float:
    with contextlib.suppress(ValueError):
        value = float(text[:100])
        if 0 < value < 1e9:
            return value
    raise FormatError(f"line {line}: {shown(text)} is not a rate in Hz", path=path, field="sample_rate")


def write_packed(path: StrPath, items: Iterable[tuple[Mapping[str, Any], NDArray[Any]]], shape: Sequence[int]) -> int:
    """Write a packed split whole or not at all.

    Parameters
    ----------
    path : path-like
        The ``.npy`` file.
    items : iterable
        (about, segment): a dict with ``idx``, ``save_file``, ``segment_i`` and ``sample_rate``, and an array (leads,
        samples) of real numbers.
    shape : tuple
        (leads, samples) of each segment.

    Returns
    -------
    int
        How many segments there are.

    Raises
    ------
    FormatError
        If a segment has another shape.
    """
    path, rows = os.fspath(path), []
    with writing(path) as file:
        file.write(_header((0, *shape)))
        for about, segment in items:
            if segment.shape != tuple(shape):
                raise FormatError(f"shape {segment.shape}, not {tuple(shape)}", path=about["save_file"])
            refuse_masked(segment, "segment")
            file.write(np.ascontiguousarray(segment, dtype=np.float32).data)
            rows.append((about["idx"], about["save_file"], about["segment_i"], about["sample_rate"], shape[-1]))
        file.seek(0)
        file.write(_header((len(rows), *shape)))
        remove(index_path(path))
    write_rows(index_path(path), INDEX, (dict(zip(INDEX, row)) for row in rows))
    sync_folder(os.path.dirname(os.path.abspath(path)))
    return len(rows)


class PackedWriter:
    """A packed split that grows, and can be continued by another process.

    While it grows, the array's name ends in ``.part``, and ``<split>.rows.part`` says what its rows are.

    Parameters
    ----------
    path : str
        The ``.npy`` file to be.
    shape : tuple
        (leads, samples) of a segment.
    """

    def __init__(self, path: str, shape: Sequence[int]) -> None:
        self.path, self.shape = path, tuple(shape)
        self.part, self.rows_part = f"{path}.part", f"{os.path.splitext(path)[0]}.rows.part"
        self.row_bytes = 4 * int(np.prod(self.shape))
        self._data: Any = None  # open files, while it grows
        self._rows: Any = None
        self._recover()

    def _recover(self) -> None:
        """Find what is there: a finished pair of files, or what an earlier process left."""
        self._finished = os.path.exists(index_path(self.path))  # put in place last
        if self._finished:
            found = open_packed(self.path)
            if found.x.shape[1:] != self.shape:
                raise FormatError(f"segments of shape {found.x.shape[1:]}, not {self.shape}", path=self.path)
            rows = np.stack([found.idx, found.segment_i], axis=1)
            for path in (self.part, self.rows_part):
                remove(path)
        else:
            if os.path.exists(self.rows_part) and not os.path.exists(self.part) and os.path.exists(self.path):
                os.rename(self.path, self.part)  # it had its final name, and not yet its index
            rows = self._partial_rows()
        self.rows = [rows]  # blocks of (idx, segment_i)
        self.count = len(rows)

    def _partial_rows(self) -> NDArray[np.int64]:
        try:
            with open_own(self.rows_part) as rows, open_own(self.part) as data:
                held = max(os.fstat(data.fileno()).st_size - _HEADER, 0) // self.row_bytes
                held = min(held, os.fstat(rows.fileno()).st_size // 16)
                return np.fromfile(rows, dtype=np.int64, count=2 * held).reshape(-1, 2)
        except FileNotFoundError:
            return np.empty((0, 2), dtype=np.int64)

    def all_rows(self) -> NDArray[np.int64]:
        """(n, 2) int64: number of the recording and of the segment, of each row that is there."""
        if len(self.rows) > 1:
            self.rows = [np.concatenate(self.rows)]
        return self.rows[0]

    def keep(self, wanted: Mapping[int, int]) -> None:
        """Forget rows at the end that belong to no recording in `wanted`, a dict of its number -> its segments."""
        rows = self.all_rows()
        last = len(rows)
        while last and not (rows[last - 1, 0] in wanted and rows[last - 1, 1] == wanted[rows[last - 1, 0]] - 1):
            last -= 1
        self.rows, self.count = [rows[:last]], last

    def held(self) -> dict[int, int]:
        """Number of each recording that is there -> how many of its segments are."""
        numbers, starts = self._starts()
        return dict(zip(numbers, np.diff([*starts, self.count]).tolist()))  # the last place counts

    def _starts(self) -> tuple[list[int], list[int]]:
        """Number of the recording of each row that begins one, and where the row is."""
        rows = self.all_rows()
        starts = np.flatnonzero(rows[:, 1] == 0)
        return rows[starts, 0].tolist(), starts.tolist()

    def _begin(self) -> None:
        """Open for appending."""
        if self._finished:
            self._write_rows(self.all_rows())
            remove(index_path(self.path))
            os.rename(self.path, self.part)
            self._finished = False
        self._data, self._rows = open_own(self.part, make=True), open_own(self.rows_part, make=True)
        self._data.truncate(_HEADER + self.count * self.row_bytes)
        self._rows.truncate(16 * self.count)
        self._rows.seek(0, os.SEEK_END)

    def _write_rows(self, rows: NDArray[np.int64]) -> None:
        with open_own(self.rows_part, make=True) as file:
            file.truncate(0)
            file.write(rows.tobytes())

    def append(self, rows: NDArray[np.int64], source: BinaryIO | list[NDArray[np.float32]], first: int = 0) -> None:
        """Append segments of an open file of float32, or such that lie in memory.

        Parameters
        ----------
        rows : ndarray
            (n, 2) int64, as of `all_rows`.
        source : file object or list of ndarray
            The file, or arrays (some, leads, samples) float32, n in all.
        first : int
            Of a file, the first of the segments.
        """
        if self._data is None:
            self._begin()
        end = _HEADER + self.count * self.row_bytes
        if isinstance(source, list):
            self._data.seek(end)
            self._data.writelines(one.data for one in source)
            self._data.flush()
        else:
            _copy(source, first * self.row_bytes, self._data, end, len(rows) * self.row_bytes)
        self._rows.write(rows.astype(np.int64).tobytes())
        self._rows.flush()
        self.rows.append(rows)
        self.count += len(rows)

    def close(self) -> None:
        """Leave what is there for another process to continue."""
        if self._data is not None:
            self._data.close()
            self._rows.close()
            self._data = self._rows = None

    def finish(self, records: Iterable[tuple[int, str, int]], sample_rate: float) -> None:
        """Put both files in place, rows in the order of the recordings. Nothing is touched if they are that already.

        Parameters
        ----------
        records : iterable
            (number, save_file, segments) of each recording of this split, in order.
        sample_rate : int or float
        """
        records = [record for record in records if record[2]]
        counts = np.array([count for _, _, count in records], dtype=np.int64)
        first, places = self._firsts(records), np.cumsum(counts) - counts
        in_order = counts.sum() == self.count and np.array_equal(places, first)
        if self._finished and in_order:
            return
        if self._data is None:
            self._begin()
        if not in_order:
            self._reorder(first, counts)
        self._data.seek(0)
        self._data.write(_header((self.count, *self.shape)))
        self.close()
        about = {"sample_rate": sample_rate, "sample_size": self.shape[-1]}
        rows = ({"idx": idx, "save_file": name, "segment_i": i, **about} for idx, name, n in records for i in range(n))
        with committing({self.part: self.path}, [index_path(self.path)]):
            write_rows(index_path(self.path), INDEX, rows)
            remove(self.rows_part)
        self._finished = True

    def _firsts(self, records: Iterable[tuple[int, str, int]]) -> NDArray[np.int64]:
        """Where each recording's rows begin."""
        at = dict(zip(*self._starts()))
        missing = [idx for idx, _, _ in records if idx not in at]
        if missing:
            raise FormatError(f"the segments of recording {missing[0]} are not there", path=self.part)
        return np.array([at[idx] for idx, _, _ in records], dtype=np.int64)

    def _reorder(self, first: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Write the recordings' rows anew, in order, and go on with that file."""
        temporary, at = f"{self.part}.tmp", _HEADER
        runs = _runs(first.tolist(), counts.tolist())
        with open_own(temporary, make=True) as target:
            target.truncate(0)
            for start, count in runs:
                _copy(self._data, _HEADER + start * self.row_bytes, target, at, count * self.row_bytes)
                at += count * self.row_bytes
        rows = np.concatenate([self.all_rows()[:0], *(self.all_rows()[start : start + n] for start, n in runs)])
        self.close()
        remove(self.rows_part)  # from here on until the new one is there, nothing counts as done
        os.rename(temporary, self.part)
        self._write_rows(rows)
        self.rows, self.count = [rows], len(rows)
        self._begin()


def _runs(first: Iterable[int], counts: Iterable[int]) -> list[list[int]]:
    """[start, count] of runs of rows that follow each other."""
    runs: list[list[int]] = []
    for start, count in zip(first, counts):
        if runs and start == sum(runs[-1]):
            runs[-1][1] += count
        else:
            runs.append([start, count])
    return runs


def _copy(source: BinaryIO, at: int, target: BinaryIO, to: int, count: int) -> None:
    """Copy bytes between open files; the kernel does it where it can."""
    source.flush()
    target.flush()
    while count:
        try:
            done = os.copy_file_range(source.fileno(), target.fileno(), count, at, to)
        except OSError as error:
            if error.errno not in _NO_RANGES:
                raise
            block = os.pread(source.fileno(), min(count, 1 << 22), at)
            done = os.pwrite(target.fileno(), block, to) if block else 0
        if not done:
            raise FormatError(f"ends {count:,} bytes too early", path=source.name)
        at, to, count = at + done, to + done, count - done
