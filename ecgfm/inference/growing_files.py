"""Tables and arrays that grow at their end, in files with ``.part`` at the end of their names."""

import errno
import fcntl
import os
import shutil
import stat

import numpy as np

from ..errors import ConfigError, Error, FormatError, SignalError
from ..storage.inputs import MAX_LINE
from ..storage.npy import check_size, read_header
from ..table import Table

__all__ = ["check_growing", "damaged", "lock", "open_growing", "open_part", "part"]

_HEADER_BYTES = 128  # of a .npy file of ours, whatever the number of rows
_BLOCK = 1 << 22  # bytes that are copied at a time


def part(path):
    """The name of a file while it grows; behind a link, beside the file that the link names."""
    return f"{os.path.realpath(path)}.part"


def damaged(path, why):
    """The error that says why a run can't be continued."""
    return FormatError(f"can't be continued: {why}", path=path, remedy="Begin anew, without resume (--overwrite)")


def lock(path):
    """The growing file of a path, opened and locked against other runs; made if it isn't there."""
    path = part(path)
    file = open_part(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConfigError("another run is writing there", path=path, field="--out") from None
    except OSError:  # a file system that knows no locks
        pass
    return file


def check_growing(path):
    """Refuse what stands in the place of a growing file and isn't one: a link, a file with other names, no file."""
    path = part(path)
    if os.path.lexists(path) and not _is_own(os.lstat(path)):
        raise _foreign(path)


def open_growing(path, rows):
    """The growing file of a path; with None rows it begins empty, else it is cut after that many."""
    name = part(path)
    if rows is not None and not os.path.lexists(name):
        if not os.path.exists(path):
            raise damaged(path, "the file is missing")
        shutil.copyfile(path, name)
    kind = NpyFile if path.lower().endswith(".npy") else CsvFile
    file = open_part(name)
    try:
        if rows is None:
            file.truncate(0)
        return kind(file, name, rows)
    except BaseException:
        file.close()
        raise


def open_part(path):
    """A file of ours that isn't finished, made or opened to be read and written: regular, no link, of one name."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _foreign(path) from None
        raise
    if not _is_own(os.fstat(descriptor)):
        os.close(descriptor)
        raise _foreign(path)
    return os.fdopen(descriptor, "r+b")


def _is_own(found):
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _foreign(path):
    return ConfigError(
        "not a file that an earlier run has left, but a link or no regular file",
        path=path,
        field="--out",
        remedy="Remove it, or name another file",
    )


class _File:
    """A file that grows: `keep` cuts it, `append` makes it longer, `leave_out` takes rows away."""

    def __init__(self, file, path, rows):
        self._file, self.path, self.rows = file, path, 0
        if rows is not None:
            self.keep(rows)
            self.rows = rows

    def write(self, raw):
        try:
            self._file.write(raw)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from None

    def flush(self):
        try:
            self._file.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from None

    def finish(self):
        self.flush()
        os.fsync(self._file.fileno())

    def close(self):
        self._file.close()

    def cut(self, end):
        self._file.truncate(end)
        self._file.seek(end)

    def leave_out(self, keep, counts):
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
        if os.path.lexists(name):
            os.unlink(name)
        self._file = open_part(name)
        try:
            self._copy(old, keep, counts)
            self.flush()
            os.replace(name, self.path)
        finally:
            old.close()

    def _copy_bytes(self, old, count=None):
        while count is None or count > 0:
            block = old.read(_BLOCK if count is None else min(_BLOCK, count))
            if not block:
                return
            self.write(block)
            count = None if count is None else count - len(block)


class CsvFile(_File):
    """A table with a header; a line end between quotation marks doesn't end a row."""

    _header = None

    def keep(self, rows):
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

    def append(self, table):
        buffer = table.to_csv()
        columns = Table({name: [] for name in table.columns}).to_csv()
        header = columns.encode()
        if self._header is None:
            self._header = header
            self.write(header)
        elif self._header != header:
            raise Error("the columns are not those of the rows that are there", path=self.path)
        self.write(buffer[len(columns) :].encode())
        self.rows += len(table)

    def _copy(self, old, keep, counts):
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


def _csv_rows(file, path):
    """Iterate over the whole rows of a CSV file, as bytes."""
    row, length, quotes = [], 0, 0
    while line := file.readline(MAX_LINE + 1):
        row.append(line)
        length += len(line)
        if length > MAX_LINE:
            raise damaged(path, f"it has a row of more than {MAX_LINE:,} bytes")
        quotes += line.count(b'"')
        if quotes % 2 == 0 and line.endswith(b"\n"):
            yield b"".join(row)
            row, length, quotes = [], 0, 0


class NpyFile(_File):
    """An array; the number of rows is written into its header at the end."""

    _shape = _dtype = None  # of a row

    def keep(self, rows):
        size = os.fstat(self._file.fileno()).st_size
        if not size and not rows:
            return
        try:
            shape, fortran, self._dtype = read_header(self._file, path=self.path, field=None)
            check_size(shape, self._dtype.itemsize, path=self.path, field=None, most=None)
        except FormatError as error:
            raise damaged(self.path, error.message) from None
        self._shape = shape[1:]
        end = _HEADER_BYTES + rows * self._row_bytes
        if fortran or not shape or self._file.tell() != _HEADER_BYTES or size < end:
            raise damaged(self.path, f"it doesn't hold the {rows} rows that the status table says")
        self.cut(end)

    @property
    def _row_bytes(self):
        return check_size(self._shape, self._dtype.itemsize, path=self.path, field=None, most=None)

    def append(self, values):
        if self._shape is None:
            self._shape, self._dtype = values.shape[1:], values.dtype
            self.write(self._header())
        elif (values.shape[1:], values.dtype) != (self._shape, self._dtype):
            raise SignalError(
                f"rows of shape {values.shape[1:]} don't go with those of shape {self._shape} that are there",
                path=self.path,
                remedy="Give segments of one length at a time",
            )
        self.write(np.ascontiguousarray(values).data)
        self.rows += len(values)

    def finish(self):
        if self._shape is not None:
            self._file.seek(0)
            self.write(self._header())
        super().finish()

    def _copy(self, old, keep, counts):
        self._copy_bytes(old, _HEADER_BYTES)
        for kept, count in zip(keep, counts):
            if kept:
                self._copy_bytes(old, count * self._row_bytes)
            else:
                old.seek(count * self._row_bytes, os.SEEK_CUR)
                self.rows -= count
        self._copy_bytes(old)

    def _header(self):
        text = repr({"descr": self._dtype.str, "fortran_order": False, "shape": (self.rows, *map(int, self._shape))})
        head = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
        return head + text.encode("ascii").ljust(_HEADER_BYTES - 11) + b"\n"
