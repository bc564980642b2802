"""Ranks: processes that compute one thing together, by MPI (extra ``[mpi]``), or this process alone.

``communicator()`` says which. Nothing here imports MPI unless the process was started as one of several ranks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib.util import find_spec
from typing import Any, NoReturn, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ._text import printable
from .errors import ConfigError, Error, MissingExtraError, defect
from .kernels import core, set_num_threads

T = TypeVar("T")

__all__ = ["Alone", "Ranks", "communicator", "launch", "ranks_started"]

# Elements that are summed at a time: MPI takes as much memory again as it is given at once.
PIECE = 1 << 22
_PATIENCE_S = 3  # of the ranks but the first, before they end the others
#: In what gradients are sent to be summed.
SUMS = ("float32", "bfloat16")
# What launchers tell a process: (number of ranks, rank), by variable.
LAUNCHERS = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("PMI_SIZE", "PMI_RANK"),
    ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
)


class Alone:
    """The only rank."""

    rank, size, sums = 0, 1, "float32"

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sum an array over all ranks, in place; all ranks get the same bits."""
        return values

    def gather(self, value: T) -> list[T]:
        """What each rank gives, in the order of ranks, on all of them. Small things: they are pickled."""
        return [value]

    def collect(self, value: T) -> list[T] | None:
        """What each rank gives, in the order of ranks, on rank 0; None on the others."""
        return [value]

    def scatter(self, values: Sequence[T] | None) -> T:
        """Of the list that rank 0 gives, each rank gets its item."""
        assert values is not None  # on rank 0
        return values[0]

    def broadcast(self, value: T) -> T:
        """What rank 0 gives, on all ranks."""
        return value

    def barrier(self) -> None:
        """Wait until all ranks are here."""

    def ending_together(self) -> AbstractContextManager[None]:
        """A context manager: an exception in it ends all ranks, with its message and exit status, and not just this."""
        return nullcontext()

    def end(self, status: int, message: object = None) -> NoReturn:
        """End this process with this exit status and message."""
        if message is not None:
            print(message, file=sys.stderr)
        raise SystemExit(status)

    def __repr__(self) -> str:
        return "Alone()"


class _Communicator(Protocol):
    """What is used of ``mpi4py.MPI.Comm``."""

    def allgather(self, value: T, /) -> list[T]: ...
    def gather(self, value: T, /, *, root: int) -> list[T] | None: ...
    def scatter(self, values: Sequence[T] | None, /, *, root: int) -> T: ...
    def bcast(self, value: T, /, *, root: int) -> T: ...
    def __getattr__(self, name: str) -> Any: ...


class Ranks:
    """The ranks of MPI's world, or of a communicator of mpi4py.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        By default ``MPI.COMM_WORLD``.
    sums : {"float32", "bfloat16"}
        In what `sum` sends arrays of float32. In bfloat16 it sends half as much: what each rank gives is rounded, the
        sum is made in float32 in the order of ranks, and rounded. All ranks get the same bits in both.

    Raises
    ------
    MissingExtraError
        Without mpi4py.
    ConfigError
        If `sums` is not known.
    """

    def __init__(self, comm: Any = None, *, sums: str = "float32") -> None:
        if sums not in SUMS:
            raise ConfigError(f"{sums!r} is neither of {', '.join(SUMS)}", field="sums")
        mpi = _mpi()
        self.sums = sums
        self._mpi = mpi
        self._comm: _Communicator = mpi.COMM_WORLD if comm is None else comm
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        flat = values.reshape(-1)
        if not np.shares_memory(flat, values):
            raise ConfigError("it is not contiguous", field="values")
        rounded = self.sums != "float32" and values.dtype == np.float32
        for start in range(0, flat.size, PIECE):
            piece = flat[start : start + PIECE]
            if rounded:
                self._sum_rounded(piece)
            else:
                self._comm.Allreduce(self._mpi.IN_PLACE, piece, op=self._mpi.SUM)
        return values

    def _sum_rounded(self, values: NDArray[np.float32]) -> None:
        """Each rank sums a part of the array in float32, of what it gets from all in bfloat16, and gives it to all."""
        share = -(-values.size // self.size)
        sent = np.zeros(share * self.size, np.uint16)
        received, part, total = np.empty_like(sent), np.empty(share, np.uint16), np.empty(share, np.float32)
        core().narrow(values, sent[: values.size])
        self._comm.Alltoall(sent, received)
        core().sum_narrow(received.reshape(self.size, share), total)
        core().narrow(total, part)
        self._comm.Allgather(part, sent)
        core().widen(sent[: values.size], values)

    def gather(self, value: T) -> list[T]:
        return self._comm.allgather(value)

    def collect(self, value: T) -> list[T] | None:
        return self._comm.gather(value, root=0)

    def scatter(self, values: Sequence[T] | None) -> T:
        return self._comm.scatter(values, root=0)

    def broadcast(self, value: T) -> T:
        return self._comm.bcast(value, root=0)

    def send(self, value: object, rank: int) -> None:
        """Send something small, or large, to one rank, which must `receive` it."""
        self._comm.send(value, dest=rank)

    def receive(self, rank: int | None = None) -> tuple[int, Any]:
        """What a rank, by default any, has sent: (rank, value)."""
        status = self._mpi.Status()
        value = self._comm.recv(source=self._mpi.ANY_SOURCE if rank is None else rank, status=status)
        return status.Get_source(), value

    def barrier(self) -> None:
        self._comm.Barrier()

    @contextmanager
    def ending_together(self) -> Iterator[None]:
        try:
            yield
        except SystemExit as end:
            if end.code in (None, 0):
                raise
            self.end(*((end.code, None) if isinstance(end.code, int) else (1, end.code)))
        except KeyboardInterrupt:
            self.end(130, "interrupted")
        except (Error, OSError, MemoryError) as error:
            self.end(2, f"ecgfm: error: {printable(error) or 'not enough memory'}")
        except Exception as error:
            if "--debug" in sys.argv:
                traceback.print_exc()
            self.end(3, f"ecgfm: error: {defect(error)}")
        except BaseException:
            self.end(1, traceback.format_exc())

    def end(self, status: int, message: object = None) -> NoReturn:
        """End all ranks now, with this exit status and message. Does not return."""
        if self.rank > 0:
            time.sleep(_PATIENCE_S)  # what went wrong on all ranks is said by the first
        if message is not None:
            print(f"{message} (rank {self.rank} of {self.size})", file=sys.stderr)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        time.sleep(0.2)  # for the launcher to pass the message on: it ends everything at once
        self._comm.Abort(status)
        os._exit(status)

    def local(self) -> tuple[int, int]:
        """Ranks on this machine and the processors that one of them should use, so that each is used once."""
        shared = self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        try:
            sets = shared.allgather(frozenset(os.sched_getaffinity(0)))
        finally:
            shared.Free()
        return len(sets), _share(sets, os.sched_getaffinity(0))

    def __repr__(self) -> str:
        return f"Ranks({self.rank} of {self.size})"


def _share(sets: Sequence[frozenset[int]], own: set[int]) -> int:
    """Processors for one rank, of those that each rank of the machine may use: its own if nobody else has them."""
    users = sum(bool(own & other) for other in sets)
    return max(1, len(own) // users)


def _mpi() -> Any:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py without an MPI library
        raise MissingExtraError(
            f"several ranks need MPI: {str(error).splitlines()[0]}",
            field="mpi4py",
            remedy="pip install 'ecgfm[mpi]', which brings an MPI too",
        ) from None
    return MPI


def ranks_started(environ: Mapping[str, str] = os.environ) -> int:
    """How many ranks a launcher (mpiexec, srun) says there are, 1 if there was none."""
    for size, rank in LAUNCHERS:
        if rank in environ and environ.get(size, "").isdigit():
            return int(environ[size])
    if {"SLURM_PROCID", "SLURM_STEP_ID", "PMIX_RANK"} <= set(environ):  # srun --mpi=pmix
        return int(environ.get("SLURM_STEP_NUM_TASKS") or environ.get("SLURM_NTASKS") or 1)
    return 1


@cache
def communicator() -> Alone | Ranks:
    """The ranks that this process was started among: `Ranks` if a launcher started several, else `Alone`.

    Unless ``ECGFM_NUM_THREADS`` says how many threads a rank uses, the first call divides the processors of the machine
    among its ranks.
    """
    if ranks_started() < 2:
        return Alone()
    ranks = Ranks()
    if not os.environ.get("ECGFM_NUM_THREADS"):
        set_num_threads(ranks.local()[1])
    return ranks


def launch(module: str, arguments: Sequence[str], size: int, *, replace: bool = True) -> int:
    """Run a module with these arguments on ``size`` ranks.

    Parameters
    ----------
    module : str
    arguments : sequence of str
    size : int
    replace : bool
        They take the place of this process, so that signals reach them, and nothing is returned. Else their exit status
        is.

    The module's work belongs into `Alone.ending_together`, so that a rank that raises ends all.

    Raises
    ------
    MissingExtraError
        Without mpi4py or ``mpiexec``.
    """
    if find_spec("mpi4py") is None:  # it is not imported: that would start MPI in a process that is not a rank
        raise MissingExtraError(
            "several ranks need mpi4py", field="mpi4py", remedy="pip install 'ecgfm[mpi]', which brings an MPI too"
        )
    beside = os.path.join(os.path.dirname(sys.executable), "mpiexec")
    mpiexec = beside if os.access(beside, os.X_OK) else shutil.which("mpiexec")
    if mpiexec is None:
        raise MissingExtraError(
            "several ranks need mpiexec", field="mpiexec", remedy="pip install 'ecgfm[mpi]', or load your cluster's MPI"
        )
    sys.stdout.flush()
    sys.stderr.flush()
    command = [mpiexec, "-n", str(size), sys.executable, "-m", module, *arguments]
    if not replace:
        return subprocess.call(command)
    os.execv(mpiexec, command)
