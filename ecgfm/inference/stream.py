"""Recordings through a model one after the other: read ahead in threads, in batches that run across files."""

import os
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from .._text import shown
from ..ecg.expected import prepared_here
from ..ecg.prepare import check_choices
from ..errors import ConfigError, Error, SignalError, kept
from ..io.inputs import segments_of
from ..signal.checks import checked_rate
from ..signal.leads import LEADS, canonical_leads
from ..specs.inputs import SAMPLING_RATE
from ..validation import Whole, checked

__all__ = ["MOST", "Done", "collect", "stream"]

MOST = 1 << 20  # of segments in a batch, of threads, of resamples
_AHEAD_BYTES = 1 << 28  # files that together are larger are not read ahead; a single one is


@dataclass(eq=False)
class Done:
    """What became of one recording.

    Attributes
    ----------
    file : str
        Its name.
    error : Error or None
        Why it was skipped; then all others are empty.
    start_s, end_s : ndarray
        (n,) float64, of its segments.
    provenance : dict
        See `ecgfm.ecg.Segments`.
    outputs : dict of str to ndarray
        What `forward` gave for its segments, (n, ...) each.
    checksum : str or None
        Of the recording; see `ecgfm.ecg.Segments`.
    """

    file: str
    error: Error = None
    start_s: np.ndarray = None
    end_s: np.ndarray = None
    provenance: dict = field(default_factory=dict)
    outputs: dict = field(default_factory=dict)
    checksum: str = None


def stream(forward, pairs, *, batch_size=8, readers=2, select=None, sampling_rate=None, leads=None, **reading):
    """Iterate over the `Done` of each recording, in order.

    Only the recordings of the batch at hand and those read ahead are in memory, whatever the number of files.

    Parameters
    ----------
    forward : callable
        Takes x (B, 12, N) float32 and padding_mask (B, N) bool or None, returns a dict of arrays (B, ...).
    pairs : iterable of (str, path or Record or Segments or array_like or Error)
        Name and input of each recording, as `ecgfm.io.inputs.expand` gives them.
    batch_size : int
        Segments at a time.
    readers : int
        Threads that read and prepare the next files while `forward` computes; 0 reads each file when it is due.
    select : callable, optional
        Takes `pairs` and gives those of them that are to be done.
    sampling_rate : float, optional
        In Hz, for what doesn't state it.
    leads : sequence of str, optional
        Names of the rows, for what doesn't state them.
    **reading
        The choices of `ecgfm.prepare`: ``missing_leads``, ``short``, ``only_leads``, ``overlap_s``.

    Raises
    ------
    ConfigError, SignalError, LeadError
        If an argument is out of range. What is wrong with a recording becomes its `Done.error`.
    """
    batch_size = checked(batch_size, Whole(1, MOST), "batch_size")
    readers = checked(readers, Whole(0, MOST), "readers")
    check_choices(**reading)
    reading["sampling_rate"] = None if sampling_rate is None else checked_rate(sampling_rate)
    reading["leads"] = None if leads is None else canonical_leads(leads)
    pairs = pairs if select is None else select(pairs)
    return _stream(forward, pairs, batch_size, readers, reading)


def collect(outcomes, on_error="skip", progress=None):
    """Run through `outcomes`; return two lists, those that were done and those that were skipped.

    Parameters
    ----------
    outcomes : iterable of Done or Outcome
    on_error : {"skip", "raise"} or callable
        See `ecgfm.predict`.
    progress : callable or False, optional
        Called as ``progress(done, file)`` after each.

    Raises
    ------
    Error
        The first recording's, if none could be done.
    ConfigError
        If there are no recordings.
    """
    if on_error not in ("skip", "raise") and not callable(on_error):
        raise ConfigError(f"{on_error!r} is not known", field="on_error", remedy="Give 'skip', 'raise' or a function")
    if progress is False:
        progress = None
    if progress is not None and not callable(progress):
        raise ConfigError(f"{shown(progress)} is not a function", field="progress", remedy="Give a function, or False")
    done, failed = [], []
    for each in outcomes:
        if each.error is None:
            done.append(each)
        elif on_error == "raise":
            raise each.error
        else:
            failed.append(each)
            if callable(on_error):
                on_error(each.file, each.error)
        if progress is not None:
            progress(len(done) + len(failed), each.file)
    if not done:
        raise failed[0].error if failed else ConfigError("no recordings were given", field="files")
    if failed and on_error == "skip":
        warnings.warn(
            f"{len(failed)} of {len(done) + len(failed)} recordings were skipped, see errors; the first: "
            f"{failed[0].error}",
            stacklevel=3,
        )
    return done, failed


def _stream(forward, pairs, batch_size, readers, reading):
    waiting, ready = deque(), 0  # recordings in order, the first of them not done; segments that wait for a batch
    prepared = _prepared(pairs, reading, readers)
    try:
        for each in prepared:
            waiting.append(each)
            ready += each.left
            while ready >= batch_size:
                ready -= _run_batch(forward, waiting, batch_size)
            each.let_go()
            del each
            yield from _finished(waiting)
        while waiting:
            _run_batch(forward, waiting, batch_size)
            yield from _finished(waiting)
    finally:
        prepared.close()


def _prepared(pairs, reading, readers):
    """Iterate over the recordings as `_Waiting`; files are read ahead, what is in memory is prepared when it is due."""
    if not readers:
        for file, one in pairs:
            yield _Waiting(file, one, reading)
        return
    pool = ThreadPoolExecutor(readers, thread_name_prefix="ecgfm-reader")
    ahead, size = deque(), 0  # (future, bytes of its file)
    try:
        for file, one in pairs:
            if not isinstance(one, str):
                while ahead:
                    yield ahead.popleft()[0].result()
                size = 0
                yield _Waiting(file, one, reading)
                continue
            length = _size_of(one)
            while ahead and (len(ahead) >= 2 * readers or size + length > _AHEAD_BYTES):
                size -= ahead[0][1]
                yield ahead.popleft()[0].result()
            ahead.append((pool.submit(_Waiting, file, one, reading), length))
            size += length
        while ahead:
            yield ahead.popleft()[0].result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _size_of(path):
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):  # reading it will say what is wrong
        return 0


class _Waiting:
    """A recording on its way through the model."""

    def __init__(self, file, one, reading):
        self.file, self.error, self.segments = file, None, None
        self.next, self.outputs = 0, []
        try:
            self.segments = segments_of(one, **reading)
            _check_not_flat(self.segments, one)
        except Error as error:
            self.error, self.segments = kept(error), None
        self._x, self._first = None if self.segments is None else self.segments.x, 0

    @property
    def left(self):
        """int: segments that have not been through the model."""
        return 0 if self.segments is None else len(self.segments.start_s) - self.next

    @property
    def shape(self):
        """tuple: of one segment."""
        return self._x.shape[1:]

    def take(self, rows):
        """The segments of a slice."""
        return self._x[rows.start - self._first : rows.stop - self._first]

    def let_go(self):
        """Of a long recording, whose segments are cut when they are due, keep those that are left, not the whole."""
        if self.error is None and not isinstance(self._x, np.ndarray):
            self._x, self._first = self._x[self.next - self._first :], self.next
            self.segments = replace(self.segments, x=None)

    def done(self):
        if self.error is not None:
            return Done(self.file, self.error)
        start_s = np.asarray(self.segments.start_s, dtype=np.float64)
        samples, mask = self.shape[-1], self.segments.padding_mask
        if mask is not None:
            samples = samples - np.count_nonzero(mask, axis=1)
        return Done(
            self.file,
            start_s=start_s,
            end_s=start_s + samples / SAMPLING_RATE,
            provenance=self.segments.provenance,
            outputs={name: _joined([part[name] for part in self.outputs]) for name in self.outputs[0]},
            checksum=self.segments.checksum,
        )


def _check_not_flat(segments, one):
    """Refuse a recording whose leads all hold one value each: it says nothing, and the model would say something."""
    flat, zero = (segments.provenance.get(name, ()) for name in ("constant_leads", "zero_leads"))
    if {*flat, *zero} >= set(LEADS):
        raise SignalError(
            "each lead holds one value throughout, as with all electrodes off",
            path=one if isinstance(one, str) else segments.source,
            field="signal",
        )


def _joined(parts):
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _finished(waiting):
    while waiting and not waiting[0].left:
        yield waiting.popleft().done()


def _run_batch(forward, waiting, batch_size):
    """Send the next segments through the model, at most `batch_size` and all of one length; return how many."""
    taken, room = [], batch_size
    for each in waiting:
        if not each.left:
            continue
        if not room or (taken and each.shape != taken[0][0].shape):
            break
        count = min(each.left, room)
        taken.append((each, slice(each.next, each.next + count)))
        room -= count
    if not taken:
        return 0
    x = _joined([each.take(rows) for each, rows in taken])
    with prepared_here():
        outputs = forward(x, _padding_mask(taken, x.shape))
    start = 0
    for each, rows in taken:
        end = start + rows.stop - rows.start
        # A copy, so that a few rows of a batch don't keep the whole of it in memory.
        each.outputs.append({name: np.array(values[start:end]) for name, values in outputs.items()})
        each.next = rows.stop
        start = end
    return len(x)


def _padding_mask(taken, shape):
    if all(each.segments.padding_mask is None for each, _ in taken):
        return None
    mask = np.zeros((shape[0], shape[2]), dtype=bool)
    start = 0
    for each, rows in taken:
        end = start + rows.stop - rows.start
        if each.segments.padding_mask is not None:
            mask[start:end] = each.segments.padding_mask[rows]
        start = end
    return mask
