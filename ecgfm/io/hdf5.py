"""CODE-15%'s HDF5 files: ``tracings`` (exams, samples, 12) and ``exam_id`` (exams,). h5py parses.

Such a file holds thousands of recordings; one is named ``exams_part0.hdf5::<exam_id>``.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np

from .._text import shown
from ..errors import FormatError, SignalError
from ..signal.leads import LEADS
from ..storage.inputs import open_input
from .common import Format, check_size, make_record, optional, parsing
from .hdf5_values import Values, contents

__all__ = ["FORMAT", "kept_open", "opened", "without_padding"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_RATE = 400  # of all recordings of CODE-15%; the file doesn't say so
_MAX_EXAMS = 2_000_000


def _matches(head):
    return head.startswith(_SIGNATURE)


def _members(path):
    """The exams of a file, as text. A row of padding at the end has the number 0 and is none."""
    with opened(path) as (tracings, ids):
        tracings.check_written()
        return [str(number) for number in ids.tolist() if number]


def _read(path, *, sampling_rate, leads, member=None):
    with _exams(path) as exams:
        signal = exams.tracings[_row(exams, member, path)].T
    signal, cut = without_padding(signal)
    return make_record(
        signal,
        path if member is None else f"{path}::{member}",
        field="tracings",
        rate=None,
        given_rate=_RATE if sampling_rate is None else sampling_rate,
        leads=LEADS,
        given_leads=leads,
        units=None,
        notes=[f"sampling rate assumed: {_RATE} Hz, as CODE-15% has"] * (sampling_rate is None)
        + [f"{cut} samples of padding cut off"] * bool(cut),
    )


def _row(exams, member, path):
    if member is None:
        rows = np.flatnonzero(exams.numbers)
        if len(rows) == 1:
            return int(rows[0])
        raise SignalError(
            f"the file holds {len(rows):,} recordings",
            path=path,
            field="exam_id",
            remedy=f"Name one, such as {path}::{exams.numbers[rows[0]]}" if len(rows) else None,
        )
    rows = exams.rows(int(member)) if member.isdecimal() and len(member) < 19 else ()
    if len(rows) != 1 or not int(member):
        raise SignalError(f"{len(rows)} recordings are called {shown(member)}", path=path, field="exam_id")
    return int(rows[0])


def without_padding(signal):
    """The signal without the samples at its ends where all leads are zero, and how many these are."""
    with np.errstate(invalid="ignore"):
        used = np.flatnonzero(signal.any(axis=0))
    if not len(used):
        return signal, 0
    kept = signal[:, used[0] : used[-1] + 1]
    return kept, signal.shape[1] - kept.shape[1]


class _Exams:
    """A file that is open, and whose claims were checked: its tracings, and the numbers of its exams, (exams,)."""

    def __init__(self, path):
        library = optional("h5py", path, "HDF5 files")
        size = _size(path)
        self._file = file = library.File(path, "r")
        try:
            if file.get("tracings", getlink=True) is None:
                raise _other(library, file, path)
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
        self._order = self._sorted = None

    def rows(self, number):
        """ndarray: the rows in which a number stands."""
        if self._sorted is None:
            self._order = np.argsort(self.numbers, kind="stable")
            self._sorted = self.numbers[self._order]
        first, last = (np.searchsorted(self._sorted, number, side) for side in ("left", "right"))
        return self._order[first:last]

    def close(self):
        self._file.close()


@contextmanager
def opened(path):
    """The tracings and the exam numbers of a file, whose claims were checked."""
    with parsing(path, "HDF5"), closing(_Exams(path)) as exams:
        yield exams.tracings, exams.numbers


class _Kept:
    """The file that was opened last, for the next of its exams: kept while someone asks for that."""

    def __init__(self):
        self.lock, self.users, self.identity, self.exams = threading.Lock(), 0, None, None

    def get(self, path):
        """The open file, if it still is what stands at the path, else anew. Others may go on with the one before."""
        found = os.stat(path)
        identity = path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
        with self.lock:
            if self.identity != identity:
                self.exams = _Exams(path)
                self.identity = identity
            return self.exams


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
                _kept.identity = _kept.exams = None


@contextmanager
def _exams(path):
    with parsing(path, "HDF5"):
        if _kept.users:
            yield _kept.get(path)  # it is closed when the last who reads from it lets it go
        else:
            with closing(_Exams(path)) as exams:
                yield exams


def _size(path):
    with open_input(path) as file:  # a regular file, before HDF5 opens it
        return os.fstat(file.fileno()).st_size


def _numbers(library, file, count, path):
    if file.get("exam_id", getlink=True) is None:
        return np.arange(1, count + 1)
    found = Values(library, file, "exam_id", path)
    if found.shape != (count,) or found.dtype.kind not in "iu":
        raise FormatError(f"{found.dtype} of shape {found.shape} for {count:,} exams", path=path, field="exam_id")
    return found.all()


def _other(library, file, path):
    """The error that says what a file holds that isn't one of CODE-15%'s."""
    return FormatError(
        f"the file holds no tracings; there are {contents(library, file)}",
        path=path,
        field="tracings",
        remedy="Only HDF5 files as CODE-15% has them are read; of others save the signal, (leads, samples) in"
        " millivolts, with numpy.save('a.npy', h5py.File(path)[name][()]) and read that file with its sampling rate",
    )


FORMAT = Format("CODE-15 HDF5", (".hdf5", ".h5"), _matches, _read, members=_members)
