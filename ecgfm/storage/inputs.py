"""The one way in: every input is opened here.

A regular file and nothing else: a FIFO would wait for ever, a device may never end. What is compressed inflates so far
and no further.
"""

from __future__ import annotations

import errno
import gzip
import io
import itertools
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TextIO

from .._types import StrPath
from ..errors import Error, FormatError

__all__ = [
    "FREE_BYTES",
    "LARGE_BYTES",
    "LARGE_RATIO",
    "MAX_LINE",
    "MAX_RATIO",
    "check_inflation",
    "input_size",
    "lines",
    "open_input",
    "open_text",
    "read_head",
    "read_input",
    "unreadable",
]

#: What becomes no larger than this many bytes may do so from anything.
FREE_BYTES = 1 << 24
#: Beyond that, compressed data may become this many times as large, ...
MAX_RATIO = 200
#: ... and what is held in memory beyond this size only this many times: real signals hardly ever shrink so far.
LARGE_BYTES, LARGE_RATIO = 1 << 26, 20
#: The longest line of a text file, in characters.
MAX_LINE = 1 << 22

_BLOCK = 1 << 18  # characters


def open_input(
    path: StrPath,
    *,
    most: int | None = None,
    error: type[Error] = FormatError,
    field: str | None = None,
    sparse: bool = False,
) -> io.BufferedReader:
    """Open a file to be read as bytes.

    Parameters
    ----------
    path : str or path-like
    most : int, optional
        The size in bytes beyond which it is refused.
    error : type, optional
        The `Error` that is raised.
    field : str, optional
        The argument or option that names the file.
    sparse : bool
        Whether nearly all of it may be holes, which take no place on the disk: of what is mapped and not read.

    Returns
    -------
    io.BufferedReader

    Raises
    ------
    Error
        If there is no such file, it can't be opened, isn't a regular file (a directory, FIFO, device or socket), is
        larger than `most`, or has so few bytes on the disk that it inflates as no file may: the rest are holes.
    """
    try:
        path = os.fspath(path)
        _check_kind(os.stat(path).st_mode, path, error, field)  # opening a device may do something by itself
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except Error:
        raise
    except (OSError, ValueError, TypeError) as reason:
        raise unreadable(path, reason, error=error, field=field) from None
    try:
        found = os.fstat(descriptor)  # it may have been exchanged since
        _check_kind(found.st_mode, path, error, field)
        if most is not None and found.st_size > most:
            raise error(
                f"the file has {found.st_size:,} bytes, more than the {most:,} that are read", path=path, field=field
            )
        if not sparse and _too_far(512 * found.st_blocks, found.st_size, held=True):
            _check_written(descriptor, found.st_size, path, error, field)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_input(path: StrPath, *, most: int, error: type[Error] = FormatError, field: str | None = None) -> bytes:
    """The bytes of a whole file, at most `most`. Raises as `open_input` does."""
    with open_input(path, most=most, error=error, field=field) as file:
        try:
            content = file.read(most + 1)
        except OSError as reason:
            raise unreadable(path, reason, error=error, field=field) from None
    if len(content) > most:  # it grew, or its size is not what it says (as in /proc)
        raise error(f"the file has more than the {most:,} bytes that are read", path=path, field=field)
    return content


def read_head(path: StrPath, count: int, *, most: int | None = None) -> bytes:
    """The first `count` bytes of a file, or all. Raises as `open_input` does."""
    with open_input(path, most=most) as file:
        try:
            return file.read(count)
        except OSError as reason:
            raise unreadable(path, reason) from None


def input_size(path: StrPath, most: int | None = None) -> int:
    """The size of a file in bytes. Raises as `open_input` does."""
    with open_input(path, most=most) as file:
        return os.fstat(file.fileno()).st_size


def open_text(
    path: StrPath,
    *,
    most: int | None = None,
    error: type[Error] = FormatError,
    field: str | None = None,
    encoding: str = "utf-8-sig",
    errors: str = "strict",
    newline: str = "",
) -> TextIO:
    """Open a text file, which is inflated if its name ends in ``.gz``. Raises as `open_input` does.

    While it is read, damaged compressed data, and those that inflate further than `check_inflation` allows, raise
    `error`, as well; what isn't text raises UnicodeDecodeError as usual.
    """
    file: Any = open_input(path, most=most, error=error, field=field)
    try:
        if os.fspath(path).lower().endswith(".gz"):
            file = io.BufferedReader(_Inflating(file, path, error, field), 1 << 16)
        return io.TextIOWrapper(file, encoding=encoding, errors=errors, newline=newline)
    except BaseException:
        file.close()
        raise


def lines(
    stream: TextIO,
    path: StrPath,
    *,
    most: int = MAX_LINE,
    error: type[Error] = FormatError,
    check: Callable[[str, int], object] | None = None,
) -> Iterator[str]:
    """Iterate over the lines of a text stream, with their ends; one of more than `most` characters is refused.

    It reads blocks and hands them on line by line without a step of Python for each, so that long tables cost no more
    than from the file itself. What it has not yet given is taken from the stream. `check`, if given, is called with
    each block of whole lines and the number of lines before it.
    """
    return itertools.chain.from_iterable(_blocks(stream, path, most, error, check))


def _blocks(
    stream: TextIO, path: StrPath, most: int, error: type[Error], check: Callable[[str, int], object] | None
) -> Iterator[TextIO]:
    """Iterate over streams of whole lines."""
    size, number, rest = min(most, _BLOCK), 0, ""
    while block := stream.read(size):
        text = rest + block
        first = _first_end(text)
        if (len(text) if first < 0 else first) > most:
            raise error(f"more than {most:,} characters in a line", path=path, field=f"line {number + 1}")
        # A carriage return at the end may be the first half of a line's end.
        end = max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1
        whole, rest = text[:end], text[end:]
        if whole:
            if check is not None:
                check(whole, number)
            yield io.StringIO(whole, newline="")
            number += whole.count("\n") or whole.count("\r")
    if rest:
        if check is not None:
            check(rest, number)
        yield io.StringIO(rest, newline="")


def _first_end(text: str) -> int:
    """Where the first line ends, or -1."""
    end = text.find("\n")
    other = text.find("\r", 0, end if end >= 0 else len(text))
    return end if other < 0 else other


def check_inflation(
    packed: int,
    size: int,
    *,
    path: StrPath,
    field: str | None = None,
    error: type[Error] = FormatError,
    held: bool = False,
) -> None:
    """Refuse compressed data that are said to become, or have become, far more than they are.

    Parameters
    ----------
    packed, size : int
        Bytes before and after.
    held : bool
        Whether all of it is held in memory at once, and not handed on piece by piece.

    Raises
    ------
    Error
        If `size` is above `FREE_BYTES` and above `MAX_RATIO` times `packed`; of what is held also if it is above
        `LARGE_BYTES` and `LARGE_RATIO` times `packed` together.
    """
    if _too_far(packed, size, held):
        raise error(
            f"{packed:,} bytes inflate to {size:,} or more",
            path=path,
            field=field,
            remedy="If the file is right, inflate it yourself first",
        )


def _too_far(packed: int, size: int, held: bool) -> bool:
    most = min(MAX_RATIO * packed, LARGE_BYTES + LARGE_RATIO * packed) if held else MAX_RATIO * packed
    return size > max(FREE_BYTES, most)


def _check_written(descriptor: int, size: int, path: StrPath, error: type[Error], field: str | None) -> None:
    """Refuse a file of which nearly all is holes. The file system is asked where: some count blocks late, or not."""
    at = written = 0
    try:
        while at < size and _too_far(written, size, held=True):
            start = os.lseek(descriptor, at, os.SEEK_DATA)
            at = os.lseek(descriptor, start, os.SEEK_HOLE)
            written += at - start
    except OSError as reason:
        if reason.errno != errno.ENXIO:  # which says that there is nothing but a hole up to the end
            written = size
    os.lseek(descriptor, 0, os.SEEK_SET)
    if _too_far(written, size, held=True):
        raise error(
            f"only {written:,} of its {size:,} bytes were ever written, the others are holes",
            path=path,
            field=field,
            remedy="If the file is right, fill them: cp --sparse=never",
        )


def unreadable(path: object, reason: Exception, *, error: type[Error] = FormatError, field: str | None = None) -> Error:
    """The error that says why a file could not be opened or read: made of an OSError, or a ValueError of its name."""
    if isinstance(reason, (FileNotFoundError, NotADirectoryError)):
        return error("no such file", path=_text(path), field=field)
    if isinstance(reason, OSError):
        return error(f"can't be read: {reason.strerror or reason}", path=_text(path), field=field)
    what = "not a path" if isinstance(reason, TypeError) else f"not a file name: {reason}"
    return error(what, path=_text(path), field=field, remedy="Give the name of a file")


def _text(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, (str, bytes)) else f"<{type(path).__name__}>"


def _check_kind(mode: int, path: object, error: type[Error], field: str | None) -> None:
    if not stat.S_ISREG(mode):
        what = "a directory, not a file" if stat.S_ISDIR(mode) else "not a regular file"
        raise error(what, path=_text(path), field=field)


class _Inflating(io.RawIOBase):
    """A gzip file inflated piece by piece, held to the rule of `check_inflation` at each."""

    def __init__(self, file: BinaryIO, path: StrPath, error: type[Error], field: str | None) -> None:
        self._file, self._made = file, 0
        self._path, self._error, self._field = path, error, field
        self._gzip = gzip.GzipFile(fileobj=file, mode="rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        path, error, field = self._path, self._error, self._field
        try:
            count = self._gzip.readinto(buffer)
        except (EOFError, gzip.BadGzipFile, zlib.error) as reason:
            raise error(f"damaged compressed data: {reason}", path=path, field=field) from None
        self._made += count
        check_inflation(self._file.tell(), self._made, path=path, error=error, field=field)
        return count

    def close(self) -> None:
        self._gzip.close()
        self._file.close()
        super().close()
