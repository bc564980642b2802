"""Locks that keep two runs from writing to the same files. A lock ends with its process, however that ends."""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from .._types import StrPath
from ..errors import ConfigError
from .atomic import open_own

__all__ = ["lock", "locked"]

_held: weakref.WeakSet[BinaryIO] = weakref.WeakSet()


def lock(file: BinaryIO, what: str, *, path: StrPath, field: str | None = None) -> None:
    """Lock an open file until it is closed.

    Parameters
    ----------
    file : file object
    what : str
        What the run uses, such as "this folder".
    path, field
        Where, for the error.

    Raises
    ------
    ConfigError
        If another run has locked it.
    """
    if not _is_free(file):
        raise ConfigError(f"another run is using {what}", path=path, field=field, remedy="Wait until it has ended")
    _held.add(file)


@contextmanager
def locked(path: StrPath, what: str) -> Iterator[None]:
    """Hold a lock file, which is made if need be. Raises as `lock` does."""
    with open_own(path, make=True) as file:
        lock(file, what, path=os.path.dirname(path))
        yield


def _is_free(file: BinaryIO) -> bool:
    """Lock the file, unless another process has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that does not know such locks; if it knows no others, the run goes on without
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as reason:
            return reason.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def _release_in_child() -> None:
    """A process that was forked must not hold the lock when the run's own process is gone."""
    for file in list(_held):
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_release_in_child)
