"""Recordings through a model one after the other: read ahead in threads, in batches that run across files."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from ..ecg import Segments
from ..ecg.choices import Choices
from ..ecg.expected import prepared_here, refuse_other_input
from ..errors import ConfigError, Error, SignalError, kept
from ..io import kept_open
from ..io.inputs import segments_of
from ..specs.inputs import ECG_FM, InputSpec
from ..validation import whole

__all__ = ["MOST", "Done", "Reading", "collect", "stream"]

MOST = 1 << 20  # of segments in a batch, of threads, of resamples

Arrays = dict[str, NDArray[Any]]
Forward = Callable[[NDArray[np.float32], NDArray[np.bool_] | None], Arrays]
Pair = tuple[str, Any]  # the name of a recording, and what a user gave for it
Select = Callable[[Iterable[Pair]], Iterable[Pair]]
OnError = Callable[[str, Error], object]
Progress = Callable[[int, str], object]

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
    input : InputSpec
        What its segments were prepared for.
    """

    file: str
    error: Error | None = None
    start_s: NDArray[np.float64] = None  # type: ignore[assignment]  # there unless there is an error
    end_s: NDArray[np.float64] = None  # type: ignore[assignment]
    provenance: dict[str, Any] = field(default_factory=dict)
    outputs: Arrays = field(default_factory=dict)
    checksum: str | None = None
    input: InputSpec = ECG_FM


@dataclass(frozen=True, slots=True)
class Reading(Choices):
    """How recordings are read, prepared and put into batches: the options that predict, embed and others share.

    Attributes
    ----------
    batch_size : int
        Segments at a time.
    readers : int
        Threads that read and prepare the next files while the model computes; 0 reads each file when it is due.
    """

    batch_size: int = whole(8, at_least=1, at_most=MOST)
    readers: int = whole(2, at_most=MOST)


def stream(
    forward: Forward, pairs: Iterable[Pair], reading: Reading = Reading(), select: Select | None = None
) -> Iterator[Done]:
    """Iterate over the `Done` of each recording, in order.

    Only the recordings of the batch at hand and those read ahead are in memory, whatever the number of files.

    Parameters
    ----------
    forward : callable
        Takes x (B, L, N) float32 and padding_mask (B, N) bool or None, returns a dict of arrays (B, ...).
    pairs : iterable of (str, path or Record or Segments or array_like or Error)
        Name and input of each recording, as `ecgfm.io.inputs.expand` gives them.
    reading : Reading
    select : callable, optional
        Takes `pairs` and gives those of them that are to be done.

    Notes
    -----
    What is wrong with a recording becomes its `Done.error`.
    """
    return _stream(forward, pairs if select is None else select(pairs), reading)


def collect(
    outcomes: Iterable[Any],
    on_error: str | OnError = "skip",
    progress: Progress | Literal[False] | None = None,
    *,
    stacklevel: int = 3,
) -> tuple[list[Any], list[Any]]:
    """Run through `outcomes`; return two lists, those that were done and those that were skipped.

    Parameters
    ----------
    outcomes : iterable of Done or Outcome
    on_error : {"skip", "raise"} or callable
        See `ecgfm.predict`.
    progress : callable or False, optional
        Called as ``progress(done, file)`` after each.
    stacklevel : int
        Whose line a warning names: 3 is that of who called the caller.

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
            stacklevel=stacklevel,
        )
    return done, failed


def _stream(forward: Forward, pairs: Iterable[Pair], reading: Reading) -> Iterator[Done]:
    waiting: deque[_Waiting] = deque()
    ready = 0  # recordings in order, the first of them not done; segments that wait for a batch
    batch_size = reading.batch_size
    with kept_open(), closing(_prepared(pairs, reading)) as prepared:
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


def _prepared(pairs: Iterable[Pair], reading: Reading) -> Generator[_Waiting, None, None]:
    """Iterate over the recordings as `_Waiting`; files are read ahead, what is in memory is prepared when it is due."""
    readers = reading.readers
    if not readers:
        for file, one in pairs:
            yield _Waiting(file, one, reading)
        return
    pool = ThreadPoolExecutor(readers, thread_name_prefix="ecgfm-reader")
    ahead: deque[Any] = deque()  # (future, bytes of its file)
    size = 0
    try:
        for file, one in pairs:
            in_file = isinstance(one, str)
            length = _size_of(one) if in_file else 0
            while ahead and (not in_file or len(ahead) >= 2 * readers or size + length > _AHEAD_BYTES):
                size -= ahead[0][1]
                yield ahead.popleft()[0].result()
            if not in_file:
                yield _Waiting(file, one, reading)
                continue
            ahead.append((pool.submit(_Waiting, file, one, reading), length))
            size += length
        while ahead:
            yield ahead.popleft()[0].result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):  # reading it will say what is wrong
        return 0


class _Waiting:
    """A recording on its way through the model."""

    def __init__(self, file: str, one: Any, reading: Reading) -> None:
        self.file, self.next, self._spec = file, 0, reading.input
        self.error: Error | None = None
        self.segments: Any = None  # Segments, unless there is an error
        self.outputs: list[Arrays] = []
        try:
            self.segments = segments_of(one, reading)
            refuse_other_input(self.segments, reading.input)
            self._spec = self.segments.input or reading.input
            if isinstance(one, Segments):
                self.segments = _noted_length(one, reading.input)
            _check_not_flat(self.segments, one, self._spec)
        except Error as error:
            self.error, self.segments = kept(error), None
        self._x: Any = getattr(self.segments, "x", None)
        self._first = 0

    @property
    def left(self) -> int:
        """int: segments that have not been through the model."""
        return 0 if self.segments is None else len(self.segments.start_s) - self.next

    @property
    def shape(self) -> tuple[int, ...]:
        """tuple: of one segment."""
        return tuple(self._x.shape[1:])

    def take(self, rows: slice) -> NDArray[np.float32]:
        """The segments of a slice."""
        return np.asarray(self._x[rows.start - self._first : rows.stop - self._first])

    def let_go(self) -> None:
        """Of a long recording, whose segments are cut when they are due, keep those that are left, not the whole."""
        if self.error is None and not isinstance(self._x, np.ndarray):
            self._x, self._first = self._x[self.next - self._first :], self.next
            self.segments = replace(self.segments, x=None)

    def done(self) -> Done:
        if self.error is not None:
            return Done(self.file, self.error)
        start_s = np.asarray(self.segments.start_s, dtype=np.float64)
        samples, mask = self.shape[-1], self.segments.padding_mask
        if mask is not None:
            samples = samples - np.count_nonzero(mask, axis=1)
        return Done(
            self.file,
            start_s=start_s,
            end_s=start_s + samples / self._spec.sampling_rate,
            provenance=self.segments.provenance,
            outputs={name: _joined([part[name] for part in self.outputs]) for name in self.outputs[0]},
            checksum=self.segments.checksum,
            input=self._spec,
        )


def _noted_length(segments: Segments, spec: InputSpec) -> Segments:
    """The same segments; that they have another length than the model takes is noted."""
    if segments.x.shape[2] == spec.samples:
        return segments
    note = f"segments of {segments.x.shape[2]} samples; the model takes {spec.samples}"
    notes = [*segments.provenance.get("notes", ()), note]
    return replace(segments, provenance=segments.provenance | {"notes": notes})


def _check_not_flat(segments: Segments, one: Any, spec: InputSpec) -> None:
    """Refuse a recording whose leads all hold one value each: it says nothing, and the model would say something."""
    flat, zero = (segments.provenance.get(name, ()) for name in ("constant_leads", "zero_leads"))
    if {*flat, *zero} >= set(spec.leads or ()):
        raise SignalError(
            "each lead holds one value throughout, as with all electrodes off",
            path=one if isinstance(one, str) else segments.source,
            field="signal",
        )


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _finished(waiting: deque[_Waiting]) -> Iterator[Done]:
    while waiting and not waiting[0].left:
        yield waiting.popleft().done()


def _run_batch(forward: Forward, waiting: deque[_Waiting], batch_size: int) -> int:
    """Send the next segments through the model, at most `batch_size` and all of one length; return how many."""
    taken: list[tuple[_Waiting, slice]] = []
    room = batch_size
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
        outputs = forward(x, _padding_mask(taken, x.shape[2]))
    start = 0
    for each, rows in taken:
        end = start + rows.stop - rows.start
        # A copy, so that a few rows of a batch don't keep the whole of it in memory.
        each.outputs.append({name: np.array(values[start:end]) for name, values in outputs.items()})
        each.next, start = rows.stop, end
    return len(x)


def _padding_mask(taken: list[tuple[_Waiting, slice]], samples: int) -> NDArray[np.bool_] | None:
    masks = [(each.segments.padding_mask, rows) for each, rows in taken]
    if all(mask is None for mask, _ in masks):
        return None
    return np.concatenate(
        [np.zeros((rows.stop - rows.start, samples), bool) if mask is None else mask[rows] for mask, rows in masks]
    )
