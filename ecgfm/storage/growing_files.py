"""Tables and arrays that grow at their end, in files with ``.part`` at the end of their names."""

from __future__ import annotations

import io
import math
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np

from .._types import StrPath
from ..errors import ConfigError, Error, FormatError, SignalError
from .atomic import open_own, remove
from .inputs import MAX_LINE
from .npy import check_size, npy_header, read_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GrowingFile", "check_growing", "damaged", "open_growing", "open_part", "part"]

_BLOCK = 1 << 22  # bytes that are copied at a time


class CsvTable(Protocol):
    """What a table is written from."""

    def __len__(self) -> int: ...

    def to_csv(self) -> str: ...


def part(path: StrPath) -> str:
    """The name of a file while it grows; behind a link, beside the file that the link names."""
    return f"{os.path.realpath(path)}.part"


def damaged(path: StrPath, why: str) -> FormatError:
    """The error that says why a run can't be continued."""
    return FormatError(f"can't be continued: {why}", path=path, remedy="Begin anew, without resume (--overwrite)")


def open_part(path: StrPath) -> BinaryIO:
    """Open a file that isn't finished, made if need be: regular, not a link, of one name."""
    return open_own(path, make=True, alone=True, refusal=_foreign)


def check_growing(path: StrPath) -> None:
    """Refuse what is in the place of a growing file and isn't one: a link, a folder, a file with other names."""
    with suppress(FileNotFoundError):
        open_own(part(path), alone=True, refusal=_foreign).close()


def _foreign(path: StrPath) -> ConfigError:
    return ConfigError(
        "not a file that an earlier run has left, but a link or not a regular file",
        path=path,
        field="--out",
        remedy="Remove it, or name another file",
    )


def open_growing(path: StrPath, rows: int | None) -> GrowingFile:
    """Open the growing file of a path; with None rows it begins empty, else it is cut after that many."""
    name = part(path)
    if rows is not None and not os.path.lexists(name):
        if not os.path.exists(path):
            raise damaged(path, "the file is missing")
        shutil.copyfile(path, name)
    kind = GrowingArray if os.fspath(path).lower().endswith(".npy") else GrowingTable
    file = open_part(name)
    try:
        if rows is None:
            file.truncate(0)
        return kind(file, name, rows)
    except BaseException:
        file.close()
        raise


class GrowingFile(ABC):
    """A file that grows: `keep` cuts it, `append` makes it longer, `leave_out` takes rows away."""

    def __init__(self, file: BinaryIO, path: str, rows: int | None) -> None:
        self._file, self.path, self.rows = file, path, 0
        if rows is not None:
            self.keep(rows)
            self.rows = rows

    @abstractmethod
    def keep(self, rows: int) -> None:
        """Go on after this number of rows."""

    @abstractmethod
    def append(self, values: Any) -> None:
        """Write rows behind those that are there."""

    @abstractmethod
    def _copy(self, old: BinaryIO, keep: Sequence[bool], counts: Sequence[int]) -> None:
        """Write the rows of an old file, of its first recordings those that stay."""

    def write(self, raw: bytes | memoryview) -> None:
        try:
            self._file.write(raw)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from None

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from None

    def finish(self) -> None:
        self.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def cut(self, end: int) -> None:
        self._file.truncate(end)
        self._file.seek(end)

    def leave_out(self, keep: Sequence[bool], counts: Sequence[int]) -> None:
        """Write the file anew without the rows of some of its first recordings.

        Parameters
        ----------
        keep : sequence of bool
            Of each of them, whether its rows stay.
        counts : sequence of int
            How many rows it has.
        """
        old, name = self._file, f"{self.path}.new"
        old.flush()
        old.seek(0)
        remove(name)
        self._file = open_part(name)
        try:
            self._copy(old, keep, counts)
            self.flush()
            os.replace(name, self.path)
        finally:
            old.close()

    def _copy_bytes(self, old: BinaryIO, count: int | None = None) -> None:
        while count is None or count > 0:
            block = old.read(_BLOCK if count is None else min(_BLOCK, count))
            if not block:
                return
            self.write(block)
            count = None if count is None else count - len(block)


class GrowingTable(GrowingFile):
    """A CSV table with a header; a line end between quotation marks doesn't end a row."""

    _header: bytes | None = None

    def keep(self, rows: int) -> None:
        end = ends = 0
        for row in _csv_rows(self._file, self.path):
            end += len(row)
            self._header = self._header or row
            ends += 1
            if ends == rows + 1:
                break
        if ends != rows + 1 and (ends or rows):
            raise damaged(self.path, f"it has {max(ends - 1, 0)} whole rows, the status table says {rows}")
        self.cut(end if ends else 0)

    def append(self, values: CsvTable) -> None:
        """Write a table behind that which is there."""
        raw = values.to_csv().encode()
        header = next(_csv_rows(io.BytesIO(raw), self.path))
        if self._header is None:
            self._header = header
            self.write(header)
        elif self._header != header:
            raise Error("the columns are not those of the rows that are there", path=self.path)
        self.write(memoryview(raw)[len(header) :])
        self.rows += len(values)

    def _copy(self, old: BinaryIO, keep: Sequence[bool], counts: Sequence[int]) -> None:
        rows = _csv_rows(old, self.path)
        self.write(next(rows))
        for kept, count in zip(keep, counts):
            for _ in range(count):
                row = next(rows)
                if kept:
                    self.write(row)
                else:
                    self.rows -= 1
        for row in rows:
            self.write(row)


def _csv_rows(file: BinaryIO, path: str) -> Iterator[bytes]:
    """Iterate over the whole rows of a CSV file, as bytes."""
    row: list[bytes] = []
    length = quotes = 0
    while line := file.readline(MAX_LINE + 1):
        row.append(line)
        length += len(line)
        if length > MAX_LINE:
            raise damaged(path, f"it has a row of more than {MAX_LINE:,} bytes")
        quotes += line.count(b'"')
        if quotes % 2 == 0 and line.endswith(b"\n"):
            yield b"".join(row)
            row, length, quotes = [], 0, 0


class GrowingArray(GrowingFile):
    """A ``.npy`` array; the number of rows is written into its header at the end."""

    _shape: tuple[int, ...] | None = None  # of a row
    _dtype: np.dtype[Any]

    def keep(self, rows: int) -> None:
        size = os.fstat(self._file.fileno()).st_size
        if not size and not rows:
            return
        try:
            shape, fortran, self._dtype = read_header(self._file, path=self.path, field=None)
            check_size(shape, self._dtype.itemsize, path=self.path, field=None, most=None)
        except FormatError as error:
            raise damaged(self.path, error.message) from None
        self._shape = shape[1:]
        head = len(self._head())
        end = head + rows * self._row_bytes()
        if fortran or not shape or self._file.tell() != head or size < end:
            raise damaged(self.path, f"it doesn't hold the {rows} rows that the status table says")
        self.cut(end)

    def append(self, values: NDArray[Any]) -> None:
        """Write rows behind those that are there."""
        if self._shape is None:
            self._shape, self._dtype = values.shape[1:], values.dtype
            self.write(self._head())
        elif (values.shape[1:], values.dtype) != (self._shape, self._dtype):
            raise SignalError(
                f"rows of shape {values.shape[1:]} don't go with those of shape {self._shape} that are there",
                path=self.path,
                remedy="Give segments of one length at a time",
            )
        self.write(np.ascontiguousarray(values).data)
        self.rows += len(values)

    def finish(self) -> None:
        if self._shape is not None:
            self._file.seek(0)
            self.write(self._head())
        super().finish()

    def _copy(self, old: BinaryIO, keep: Sequence[bool], counts: Sequence[int]) -> None:
        self._copy_bytes(old, len(self._head()))
        row_bytes = self._row_bytes()
        for kept, count in zip(keep, counts):
            if kept:
                self._copy_bytes(old, count * row_bytes)
            else:
                old.seek(count * row_bytes, os.SEEK_CUR)
                self.rows -= count
        self._copy_bytes(old)

    def _row_bytes(self) -> int:
        return math.prod(self._shape or ()) * self._dtype.itemsize

    def _head(self) -> bytes:
        return npy_header((self.rows, *map(int, self._shape or ())), self._dtype, last_comma=False)
