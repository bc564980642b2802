"""Work in several processes, one piece at a time each; a process that dies costs its piece and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any, cast

from .errors import carried

__all__ = ["Crashed", "in_processes", "in_ranks", "serve_work"]


@dataclass(eq=False)
class Crashed:
    """In place of a result: the process that worked on the piece ended.

    Attributes
    ----------
    status : int
        Its exit status; below zero a signal's number.
    """

    status: int

    def __str__(self) -> str:
        how = f"signal {-self.status}" if self.status < 0 else f"exit status {self.status}"
        return f"the process that worked on it ended ({how})"


def in_processes(work: Callable[[Any], Any], pieces: Iterable[Any], count: int) -> Iterator[tuple[Any, Any]]:
    """Iterate over (piece, result), as they come.

    An exception in `work` ends it all. When the iteration ends, however it does, so do the processes; and they end by
    themselves when this process is gone.

    Parameters
    ----------
    work : callable
        Takes a piece, returns its result; both must be picklable.
    pieces : iterable
    count : int
        Processes; 0: the work is done in this one.
    """
    if count < 1:
        for piece in pieces:
            yield piece, work(piece)
        return
    crew = _Crew(work, count)
    try:
        yield from crew.run(iter(pieces))
    finally:
        crew.end()


class _Crew:
    def __init__(self, work: Callable[[Any], Any], count: int) -> None:
        self.context = multiprocessing.get_context("fork")  # what work refers to need not be picklable
        self.work, self.all = work, list[ForkProcess]()
        self.ends: dict[Connection, ForkProcess] = {}
        self.idle = deque(self.start() for _ in range(count))

    def start(self) -> Connection:
        """A new process; returns this side's end of the pipe to it."""
        ours, theirs = self.context.Pipe()
        others = [ours, *self.ends]
        process = self.context.Process(target=_serve, args=(self.work, theirs, others), daemon=True)
        with warnings.catch_warnings():  # Python warns where there are threads; these work alone
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        theirs.close()
        self.ends[ours] = process
        self.all.append(process)
        return ours

    def run(self, pieces: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        busy: dict[Connection, Any] = {}
        while True:
            while self.idle:
                piece = next(pieces, None)
                if piece is None:
                    break
                end = self.idle.popleft()
                busy[end] = piece
                try:
                    end.send(piece)
                except OSError:
                    pass  # it has died: found below
            if not busy:
                return
            for end in cast(list[Connection], wait(list(busy))):
                piece = busy.pop(end)
                try:
                    failed, result = end.recv()
                except (EOFError, OSError):
                    process = self.ends.pop(end)
                    end.close()
                    process.join()
                    self.idle.append(self.start())
                    yield piece, Crashed(process.exitcode or 0)
                    continue
                if failed:
                    raise result
                self.idle.append(end)
                yield piece, result

    def end(self) -> None:
        for end in self.ends:
            end.close()
        for process in self.all:
            if process.is_alive():
                process.kill()  # what it writes is whole or not there
            process.join()


def _serve(work: Callable[[Any], Any], end: Connection, others: list[Connection]) -> None:
    """A process of the crew, until the other side of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the first process answers it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in others:  # else they would stay open when the first process is gone
        other.close()
    while True:
        try:
            piece = end.recv()
        except (EOFError, OSError):
            os._exit(0)
        try:
            answer = False, work(piece)
        except BaseException as error:
            answer = True, carried(error)
        try:
            end.send(answer)
        except OSError:
            os._exit(0)


def in_ranks(work: Callable[[Any], Any], pieces: Iterable[Any], ranks: Any) -> Iterator[tuple[Any, Any]]:
    """As `in_processes`, on the ranks of MPI but the first, which run `serve_work`; a rank that dies ends all.

    Parameters
    ----------
    work : callable
        Picklable; it is sent to each rank once.
    pieces : iterable
    ranks : Ranks
        Of which this is the first, and not the only one.
    """
    ranks.broadcast(work)
    pieces, idle, at_work = iter(pieces), deque(range(1, ranks.size)), {}
    try:
        while True:
            while idle:
                try:
                    piece = next(pieces)
                except StopIteration:
                    break
                rank = idle.popleft()
                at_work[rank] = piece
                ranks.send((piece,), rank)
            if not at_work:
                return
            rank, result = ranks.receive()
            piece = at_work.pop(rank)
            idle.append(rank)
            if isinstance(result, Exception):
                raise result
            yield piece, result
    finally:
        while at_work:
            at_work.pop(ranks.receive()[0])
        for rank in range(1, ranks.size):
            ranks.send(None, rank)


def serve_work(ranks: Any) -> None:
    """On all ranks but the first: do what `in_ranks` sends, until ``ranks.broadcast(None)`` on the first ends it."""
    while (work := ranks.broadcast(None)) is not None:
        while (task := ranks.receive(0)[1]) is not None:
            try:
                result = work(*task)
            except Exception as error:
                result = carried(error)
            ranks.send(result, 0)
