"""Files that are either the old one or the whole new one, and how a run's own files are opened."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO

from .._types import StrPath
from ..errors import Error, FormatError

__all__ = [
    "committing",
    "is_device",
    "linked",
    "new_folder",
    "open_own",
    "remove",
    "replacing",
    "sync_folder",
    "unwritable",
    "write_text",
    "writing",
]


def is_device(path: StrPath) -> bool:
    """Whether a path is not an ordinary file, or a name such as /dev/stdout for whatever lies behind it."""
    folder = os.path.dirname(os.path.abspath(path))
    if folder in ("/dev", "/dev/fd") or folder.startswith("/proc"):
        return True
    return os.path.exists(path) and not os.path.isfile(path)


@contextmanager
def replacing(path: StrPath) -> Iterator[str]:
    """Give a temporary file's path beside `path`; when the block ends well, it is synced and takes the place of `path`.

    If the block raises, the temporary file is removed and `path` stays what it was. What is not an ordinary file, such
    as ``/dev/stdout``, is written to directly.
    """
    path = os.path.realpath(os.fspath(path))  # through a link, the file that it names is replaced
    if os.path.exists(path) and not os.path.isfile(path):
        yield path
        return
    temporary = f"{path}.{os.urandom(4).hex()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.close(descriptor)
        yield temporary
        _sync(temporary)
        if os.path.exists(path):
            os.chmod(temporary, os.stat(path).st_mode & 0o7777)
        os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise


@contextmanager
def writing(path: StrPath, *, error: type[Error] | None = None) -> Iterator[BinaryIO]:
    """Open a file, for bytes, that takes the place of `path` once the block has ended well and it is on the disk.

    Parameters
    ----------
    path : path-like
    error : type, optional
        The `Error` that is raised where the file can't be written; without it, OSError is.
    """
    with _named(error, path), replacing(path) as temporary, open(temporary, "wb") as file:
        yield file


def write_text(path: StrPath, text: str) -> None:
    """Write a whole text file in UTF-8, with the line ends as they are in `text`.

    What UTF-8 can't hold (bytes of file names that are not text) is written as backslash escapes.
    """
    with writing(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def linked(source: StrPath, destination: StrPath, *, error: type[Error] | None = None) -> None:
    """Give a file another name, in one step, or where links can't be made, copy it; `destination` is replaced.

    A file that takes the place of one of the two names later does not change the other. `error` is as for `writing`.
    """
    with _named(error, destination):
        temporary = f"{os.fspath(destination)}.part"
        remove(temporary)
        try:
            os.link(source, temporary)
        except OSError:  # a file system without links
            shutil.copyfile(source, temporary)
            _sync(temporary)
        os.replace(temporary, destination)


@contextmanager
def new_folder(path: StrPath) -> Iterator[str]:
    """Give a temporary folder's path beside `path`; when the block ends well, it becomes `path`, with what is in it.

    If the block raises, nothing is left. `path` must not be there; the folders above it are made.
    """
    parent, name = os.path.split(os.path.abspath(path))
    os.makedirs(parent, exist_ok=True)
    temporary = os.path.join(parent, f".{name}.{os.urandom(4).hex()}.tmp")
    os.mkdir(temporary)
    try:
        yield temporary
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def committing(parts: Mapping[str, str], marks: Sequence[str]) -> Iterator[None]:
    """Put files in place of which a mark, which is written last, says that they are whole and belong together.

    Old marks are removed before the first file takes its place, and the block writes the new ones: whenever the process
    ends, there is no mark beside files that don't belong to it. Each step is on the disk before the next.

    Parameters
    ----------
    parts : mapping of str to str
        Finished file -> its name.
    marks : sequence of str
    """
    folders = sorted({os.path.dirname(os.path.abspath(path)) for path in (*parts.values(), *marks)})
    for part in parts:
        _sync(part)
    for mark in marks:
        remove(mark)
    _sync_folders(folders)
    for part, path in parts.items():
        os.replace(part, path)
    _sync_folders(folders)
    yield
    _sync_folders(folders)


def sync_folder(path: StrPath) -> None:
    """Put on the disk which files a folder has."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: StrPath) -> None:
    """Delete a file, if there is one."""
    if os.path.lexists(path):
        os.unlink(path)


def unwritable(path: StrPath, reason: OSError | ValueError, *, error: type[Error] = Error) -> Error:
    """The error that says why a file could not be written."""
    return error(f"can't be written: {getattr(reason, 'strerror', None) or reason}", path=path)


def _not_regular(path: StrPath) -> Error:
    return FormatError("not a regular file", path=path, remedy="Remove it to begin anew")


def open_own(
    path: StrPath,
    *,
    make: bool = False,
    alone: bool = False,
    refusal: Callable[[StrPath], Error] = _not_regular,
) -> BinaryIO:
    """Open a file of a run's own, such as one that is not finished, to be read and written.

    Parameters
    ----------
    path : path-like
    make : bool
        Whether it is made if it isn't there.
    alone : bool
        Whether it must not have a second name, either.
    refusal : callable
        Makes the error, from the path.

    Raises
    ------
    FileNotFoundError
        If there is none and it isn't to be made.
    Error
        If it is anything but an ordinary file: a link would lead elsewhere, a FIFO would wait for ever.
    """
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if make else 0)

    def fits(found: os.stat_result) -> bool:
        return stat.S_ISREG(found.st_mode) and (not alone or found.st_nlink == 1)

    with suppress(FileNotFoundError):
        if not fits(os.lstat(path)):  # opening a device may do something by itself
            raise refusal(path)
    descriptor = os.open(path, flags, 0o666)
    if not fits(os.fstat(descriptor)):  # it was exchanged just now
        os.close(descriptor)
        raise refusal(path)
    return os.fdopen(descriptor, "r+b")


def _sync(path: StrPath) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _sync_folders(paths: Sequence[str]) -> None:
    for path in paths:
        sync_folder(path)


@contextmanager
def _named(error: type[Error] | None, path: StrPath) -> Iterator[None]:
    """Turn what the system, or a name with a NUL in it, raises into `error`."""
    try:
        yield
    except Error:
        raise
    except (OSError, ValueError) as reason:
        if error is None:
            raise
        raise unwritable(path, reason, error=error) from None
