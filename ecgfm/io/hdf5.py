"""HDF5 files; here CODE-15%'s: ``tracings`` (exams, samples, 12) and ``exam_id`` (exams,). h5py parses.

Such a file holds thousands of recordings; one is named ``exams_part0.hdf5::<exam_id>``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from ..ecg.record import Record
from ..errors import FormatError, SignalError
from ..signal.leads import LEADS
from ..storage.inputs import input_size
from .common import Format, Given, check_size, make_record, optional, parsing
from .hdf5_named import read_named
from .hdf5_values import Values

__all__ = ["FORMAT", "kept_open", "opened", "without_padding"]

_RATE = 400  # of all recordings of CODE-15%; the file doesn't say so
_MAX_EXAMS = 2_000_000


class _NoTracings(FormatError):
    """It is no file of CODE-15%'s."""


def _members(path: str) -> list[str]:
    """The exams of a file, as text. A row of padding at the end has the number 0 and is none."""
    try:
        with opened(path) as (tracings, ids):
            tracings.check_written()
            return [str(number) for number in ids.tolist() if number]
    except _NoTracings:
        return []


def _read(path: str, given: Given) -> Record:
    try:
        with _exams(path) as exams:
            signal = exams.tracings[_row(exams, given.member, path)].T
    except _NoTracings:
        return read_named(path, given)
    signal, cut = without_padding(signal)
    assumed = [f"sampling rate assumed: {_RATE} Hz, as CODE-15% has"] if given.sampling_rate is None else []
    return make_record(
        signal,
        path if given.member is None else f"{path}::{given.member}",
        Given(_RATE if given.sampling_rate is None else given.sampling_rate, given.leads),
        field="tracings",
        leads=LEADS,
        units=None,
        notes=[*assumed, *[f"{cut} samples of padding cut off"] * bool(cut)],
    )


def _row(exams: _Exams, member: str | None, path: str) -> int:
    if member is None:
        rows: Sequence[int] = np.flatnonzero(exams.numbers).tolist()
        wrong = f"the file holds {len(rows):,} recordings"
        remedy = f"Name one, such as {path}::{exams.numbers[rows[0]]}" if rows else None
    else:
        known = member.isdecimal() and len(member) < 19 and int(member)
        rows, remedy = exams.rows(int(member)).tolist() if known else (), None
        wrong = f"{len(rows)} recordings are called {shown(member)}"
    if len(rows) != 1:
        raise SignalError(wrong, path=path, field="exam_id", remedy=remedy)
    return rows[0]


def without_padding(signal: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """The signal without the samples at its ends where all leads are zero, and how many these are."""
    with np.errstate(invalid="ignore"):
        used = np.flatnonzero(signal.any(axis=0))
    if not len(used):
        return signal, 0
    kept = signal[:, used[0] : used[-1] + 1]
    return kept, signal.shape[1] - kept.shape[1]


class _Exams:
    """A file that is open, and whose claims were checked: its tracings, and the numbers of its exams, (exams,)."""

    def __init__(self, path: str) -> None:
        library = optional("h5py", path, "HDF5 files")
        size = input_size(path)  # of a regular file, before HDF5 opens it
        self._file = file = library.File(path, "r")
        try:
            if file.get("tracings", getlink=True) is None:
                raise _NoTracings("the file holds no tracings", path=path, field="tracings")
            self.tracings = Values(library, file, "tracings", path)
            shape = self.tracings.shape
            if len(shape) != 3 or shape[2] != len(LEADS):
                what = f"{self.tracings.dtype} of shape {shape}, not numbers of shape (exams, samples, 12)"
                raise FormatError(what, path=path, field="tracings")
            check_size(shape[1:], max(self.tracings.dtype.itemsize, 8), path=path, field="tracings")
            if not 1 <= shape[0] <= min(_MAX_EXAMS, size):
                what = f"{shape[0]:,} exams in {size:,} bytes; 1 to {_MAX_EXAMS:,} are read"
                raise FormatError(what, path=path, field="tracings")
            self.numbers = _numbers(library, file, shape[0], path)
        except BaseException:
            file.close()
            raise

    @cached_property
    def _order(self) -> NDArray[np.intp]:
        return np.argsort(self.numbers, kind="stable")

    @cached_property
    def _sorted(self) -> NDArray[Any]:
        return self.numbers[self._order]

    def rows(self, number: int) -> NDArray[np.intp]:
        """ndarray: the rows in which a number stands."""
        first, last = (np.searchsorted(self._sorted, number, side) for side in ("left", "right"))
        return self._order[first:last]

    def close(self) -> None:
        self._file.close()


@contextmanager
def opened(path: str) -> Iterator[tuple[Values, NDArray[Any]]]:
    """The tracings and the exam numbers of a file, whose claims were checked."""
    with parsing(path, "HDF5"), closing(_Exams(path)) as exams:
        yield exams.tracings, exams.numbers


class _Kept:
    """The file that was opened last, for the next of its exams: kept while someone asks for that."""

    def __init__(self) -> None:
        self.lock, self.users = threading.Lock(), 0
        self.last: tuple[object, _Exams] | None = None  # what tells the file from others, and its exams

    def get(self, path: str) -> _Exams:
        """The open file, if it still is what stands at the path, else anew. Others may go on with the one before."""
        found = os.stat(path)
        identity = path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
        with self.lock:
            if self.last is None or self.last[0] != identity:
                self.last = identity, _Exams(path)
            return self.last[1]


_kept = _Kept()


@contextmanager
def kept_open() -> Iterator[None]:
    """While this lasts, the file whose exam was read last stays open, and in memory the chunk that the exam lies in.

    So a file of 100,000 exams is opened, checked and inflated once.
    """
    with _kept.lock:
        _kept.users += 1
    try:
        yield
    finally:
        with _kept.lock:
            _kept.users -= 1
            if not _kept.users:
                _kept.last = None


@contextmanager
def _exams(path: str) -> Iterator[_Exams]:
    with parsing(path, "HDF5"):
        if _kept.users:
            yield _kept.get(path)  # it is closed when the last who reads from it lets it go
        else:
            with closing(_Exams(path)) as exams:
                yield exams


def _numbers(library: Any, file: Any, count: int, path: str) -> NDArray[Any]:
    if file.get("exam_id", getlink=True) is None:
        return np.arange(1, count + 1)
    found = Values(library, file, "exam_id", path)
    if found.shape != (count,) or found.dtype.kind not in "iu":
        raise FormatError(f"{found.dtype} of shape {found.shape} for {count:,} exams", path=path, field="exam_id")
    return found.all()


FORMAT = Format("HDF5", (".hdf5", ".h5"), lambda head: head.startswith(b"\x89HDF\r\n\x1a\n"), _read, members=_members)
