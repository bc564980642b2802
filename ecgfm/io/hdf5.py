"""CODE-15%'s HDF5 files: ``tracings`` (exams, samples, 12) and ``exam_id`` (exams,). h5py parses.

Such a file holds thousands of recordings; one is named ``exams_part0.hdf5::<exam_id>``.
"""

import os
from contextlib import contextmanager

import numpy as np

from .._text import shown
from ..errors import FormatError, SignalError
from ..signal.leads import LEADS
from ..storage.inputs import open_input
from .common import Format, check_size, make_record, optional, parsing
from .hdf5_values import Values, contents

__all__ = ["FORMAT", "opened", "without_padding"]

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
    with opened(path) as (tracings, ids):
        row = _row(ids, member, path)
        signal = tracings[row].T
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


def _row(ids, member, path):
    if member is None:
        rows = np.flatnonzero(ids)
        if len(rows) == 1:
            return int(rows[0])
        raise SignalError(
            f"the file holds {len(rows):,} recordings",
            path=path,
            field="exam_id",
            remedy=f"Name one, such as {path}::{ids[rows[0]]}" if len(rows) else None,
        )
    rows = np.flatnonzero(ids == int(member)) if member.isdecimal() and len(member) < 19 else ()
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


@contextmanager
def opened(path):
    """The tracings and the exam numbers of a file, whose claims were checked."""
    library = optional("h5py", path, "HDF5 files")
    size = _size(path)
    with parsing(path, "HDF5"), library.File(path, "r") as file:
        if file.get("tracings", getlink=True) is None:
            raise _other(library, file, path)
        tracings = Values(library, file, "tracings", path)
        shape = tracings.shape
        if len(shape) != 3 or shape[2] != len(LEADS):
            raise FormatError(
                f"{tracings.dtype} of shape {shape}, not numbers of shape (exams, samples, 12)",
                path=path,
                field="tracings",
            )
        check_size(shape[1:], max(tracings.dtype.itemsize, 8), path=path, field="tracings")
        if not 1 <= shape[0] <= min(_MAX_EXAMS, size):
            raise FormatError(
                f"{shape[0]:,} exams in {size:,} bytes; 1 to {_MAX_EXAMS:,} are read", path=path, field="tracings"
            )
        yield tracings, _numbers(library, file, shape[0], path)


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
