"""CODE-15%'s HDF5 files: ``tracings`` (exams, samples, 12) and ``exam_id`` (exams,). h5py parses.

Such a file holds thousands of recordings; one is named ``exams_part0.hdf5::<exam_id>``.
"""

from contextlib import contextmanager

import numpy as np

from ...errors import FormatError, SignalError
from ..record import LEADS
from .common import Format, check_size, make_record, optional, parsing

__all__ = ["FORMAT", "opened", "without_padding"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_RATE = 400  # of all recordings of CODE-15%; the file doesn't say so
_MAX_CHUNK = 1 << 28  # HDF5 reads whole chunks
_MAX_EXAMS = 10_000_000


def _matches(head):
    return head.startswith(_SIGNATURE)


def _members(path):
    """The exams of a file, as text. A row of padding at the end has the number 0 and is none."""
    with opened(path) as (_, ids):
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
        raise SignalError(f"{len(rows)} recordings are called {member!r}", path=path, field="exam_id")
    return int(rows[0])


def without_padding(signal):
    """The signal without the samples at its ends where all leads are zero, and how many these are."""
    used = np.flatnonzero(signal.any(axis=0))
    if not len(used):
        return signal, 0
    kept = signal[:, used[0] : used[-1] + 1]
    return kept, signal.shape[1] - kept.shape[1]


@contextmanager
def opened(path):
    """The tracings and the exam numbers of a file, whose claims were checked."""
    library = optional("h5py", path, "HDF5 files")
    with parsing(path, "HDF5"), library.File(path, "r") as file:
        tracings = _dataset(library, file, "tracings", path)
        if tracings.ndim != 3 or tracings.shape[2] != len(LEADS) or tracings.dtype.kind not in "iuf":
            raise FormatError(
                f"{tracings.dtype} of shape {tracings.shape}, not numbers of shape (exams, samples, 12)",
                path=path,
                field="tracings",
            )
        count = tracings.shape[0]
        check_size(tracings.shape[1:], max(tracings.dtype.itemsize, 8), path=path, field="tracings")
        if not 1 <= count <= _MAX_EXAMS:
            raise FormatError(f"{count:,} exams; 1 to {_MAX_EXAMS:,} are read", path=path, field="tracings")
        if "exam_id" not in file:
            yield tracings, np.arange(1, count + 1)
            return
        numbers = _dataset(library, file, "exam_id", path)
        if numbers.shape != (count,) or numbers.dtype.kind not in "iu":
            raise FormatError(
                f"{numbers.dtype} of shape {numbers.shape} for {count:,} exams", path=path, field="exam_id"
            )
        yield tracings, numbers[()]


def _dataset(library, file, name, path):
    """A data set that lies in the file itself: HDF5 can refer to any other file."""
    link = file.get(name, getlink=True)
    if link is None:
        raise FormatError(
            f"the file holds no {name}; there are {', '.join(list(file)[:10]) or 'none'}", path=path, field=name
        )
    if not isinstance(link, library.HardLink) or not isinstance(file[name], library.Dataset):
        raise FormatError("not a data set of this file", path=path, field=name)
    found = file[name]
    if found.is_virtual or found.external:
        raise FormatError("the data lie in another file", path=path, field=name)
    if found.chunks:
        most = int(np.prod(found.chunks, dtype=object)) * found.dtype.itemsize
        if most > _MAX_CHUNK:
            raise FormatError(
                f"a chunk takes {most:,} bytes, more than the {_MAX_CHUNK:,} that are read", path=path, field=name
            )
    return found


FORMAT = Format("CODE-15 HDF5", (".hdf5", ".h5"), _matches, _read, members=_members)
