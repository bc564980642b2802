"""Recordings from file-like objects: their bytes become a file, which any reader can open, for as long as it reads."""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .._text import short
from ..ecg.held import names_file
from ..errors import Error, FormatError

__all__ = ["as_file", "is_stream", "stream_name"]

_MOST = 1 << 30  # bytes of a stream
_PIECE, _HEAD_BYTES = 1 << 20, 1 << 14
_UNNAMED = "<stream>"


def is_stream(values: Any) -> bool:
    """Whether something is a file-like object: it has `read`, and is neither an array nor a path."""
    return names_file(values) and not isinstance(values, (str, bytes, os.PathLike))


def stream_name(stream: Any) -> str:
    """The name of a stream, such as that of the file that it reads, or ``<stream>``."""
    name = getattr(stream, "name", None)
    return name if isinstance(name, str) and name else _UNNAMED


@contextmanager
def as_file(stream: Any, check: Callable[[str], object]) -> Iterator[str]:
    """The path of a file with what a stream has from where it stands to its end; it is deleted afterwards.

    Parameters
    ----------
    stream : file-like
        Of bytes. It need not be seekable.
    check : callable
        Called with the path once the beginning is there, to refuse what is no recording before all of it is read.

    Raises
    ------
    FormatError
        If the stream gives text, nothing, or more than 1 GB, or can't be read. An Error that names the file names the
        stream instead.
    """
    name = stream_name(stream)
    with tempfile.TemporaryDirectory(prefix="ecgfm-") as folder:
        ending = os.path.splitext(name)[1]
        path = os.path.join(folder, f"stream{ending if ending[1:].isalnum() and len(ending) < 16 else ''}")
        try:
            _copy(stream, path, name, check)
            yield path
        except Error as error:
            if error.path is not None and os.path.dirname(error.path) == folder:
                error.path = name
            if error.remedy is not None and folder in error.remedy:
                error.remedy = "Give the path of the file"
            raise


def _copy(stream: Any, path: str, name: str, check: Callable[[str], object]) -> None:
    size, checked = 0, False
    with open(path, "wb") as file:
        while piece := _piece(stream, name):
            if size + len(piece) > _MOST:
                raise FormatError(
                    f"more than {_MOST:,} bytes from a stream", path=name, remedy="Save it as a file and give its path"
                )
            file.write(piece)
            size += len(piece)
            if not checked and size >= _HEAD_BYTES:
                file.flush()
                check(path)
                checked = True
    if not size:
        at_end = _position(stream)
        what = f"the stream is at its end, at byte {at_end:,}" if at_end else "the stream is empty"
        raise FormatError(what, path=name, remedy="Go back to its beginning: stream.seek(0)" if at_end else None)


def _piece(stream: Any, name: str) -> bytes:
    try:
        piece = stream.read(_PIECE)
    except (OSError, ValueError, TypeError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile) as reason:
        raise FormatError(f"the stream can't be read: {short(str(reason), 200)}", path=name) from None
    if isinstance(piece, str):
        raise FormatError("a stream of text", path=name, remedy="Open it for bytes: open(path, 'rb')")
    if not isinstance(piece, (bytes, bytearray, memoryview)):
        raise FormatError(f"the stream gives {type(piece).__name__}, not bytes", path=name)
    return bytes(piece)


def _position(stream: Any) -> int:
    try:
        position = stream.tell()
    except (AttributeError, OSError, ValueError):
        return 0
    return position if isinstance(position, int) else 0
