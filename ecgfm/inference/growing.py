"""Results that are written as they come, and continued by a later run.

While a run is under way, each of its files has ``.part`` at the end of its name; at the end they take the places of
the files that were there before. A recording's rows are written first, then its line in the status table: what stands
in a file after the rows of the last recording of the status table was cut off in the middle, and is dropped when the
run is continued.
"""

import csv
import fcntl
import json
import os
import re
import shutil
from collections import Counter

import numpy as np

from .._files import write_text
from ..errors import ConfigError, Error, FormatError, SignalError
from ..table import Table
from .result import text_column, without_path

__all__ = ["Growing"]

_HEADER_BYTES = 128  # of a .npy file of ours, whatever the number of rows
_STATUS = ("file", "status", "segments", "error")
_ESCAPE = re.compile(r"\\u(d[c-f][0-9a-f]{2})")


class Growing:
    """The files of one run. A context manager: they are finished when its block ends well.

    Parameters
    ----------
    path : path-like
        The main file. Beside it, with its name without the suffix, stand ``.status.csv`` (``file``, ``status``:
        ``done`` or ``skipped``, ``segments``, ``error``) and ``.run.json``, which holds `settings`.
    outputs : dict of str to {"record", "segment"}
        Path of each file -> whether it gets a row per recording or per segment. ``.npy`` files get arrays, all others
        are CSV.
    settings : dict
        What the results depend on; a run can only be continued with the same.
    resume : bool
        Continue the run that is there, if there is one.

    Attributes
    ----------
    done : Counter
        How often the earlier run has done each file.
    records, segments : int
        How many recordings and segments the files hold.
    skipped : int
        How many recordings were skipped in this run.

    Raises
    ------
    ConfigError
        If another run is writing to these files, or the one to be continued had other settings.
    FormatError
        If the files to be continued are damaged.
    """

    def __init__(self, path, outputs, settings, *, resume=False):
        stem = os.path.splitext(os.fspath(path))[0]
        self._status_path, self._run_path = f"{stem}.status.csv", f"{stem}.run.json"
        self._kinds = dict(outputs)
        settings = json.loads(json.dumps(settings))
        for name in self.paths:
            if _is_device(name):
                raise ConfigError("no ordinary file, so that it can't grow", path=name, field="--out")
        self._lock = _locked(_part(self._run_path))
        self._files, self._status = {}, None
        try:
            there = resume and any(map(os.path.exists, (_part(self._status_path), self._status_path)))
            rows = self._earlier(settings) if there else []
            self.done, self.skipped = Counter(file for file, _ in rows), 0
            self.records, self.segments = len(rows), sum(segments for _, segments in rows)
            counts = {"record": self.records, "segment": self.segments}
            for name, kind in self._kinds.items():
                self._files[name] = _open(name, counts[kind] if there else None)
            self._lock.truncate(0)
            self._lock.write(json.dumps(settings, indent=1).encode("utf-8") + b"\n")
            self._lock.flush()
            write_text(_part(self._status_path), _status_table(rows).to_csv())
            self._status = _open(self._status_path, len(rows))
        except BaseException:
            self._close()
            if not os.path.exists(_part(self._status_path)):
                self._remove()
            raise

    @property
    def paths(self):
        """tuple of str: the files, the status table last."""
        return *self._kinds, self._status_path

    def missing(self, pairs):
        """Those of the (name, input) `pairs` that the earlier run has not done."""
        left = self.done.copy()
        for file, one in pairs:
            if left[file] > 0:
                left[file] -= 1
            else:
                yield file, one

    def add(self, file, segments, rows):
        """Write one recording.

        Parameters
        ----------
        file : str
        segments : int
            How many it has.
        rows : dict of str to Table or ndarray
            For each of the outputs, one row or `segments` rows.
        """
        for name, values in rows.items():
            self._files[name].append(values)
        for each in self._files.values():
            each.flush()
        self._write_status(file, "done", segments, "")
        self.records += 1
        self.segments += segments

    def skip(self, file, error):
        """Write down that one recording was skipped, and why."""
        self._write_status(file, "skipped", 0, without_path(error))
        self.skipped += 1

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        try:
            if kind is None and self.records:
                self._finish()
        finally:
            self._close()
        if not self.records:
            self._remove()

    def _earlier(self, settings):
        """(file, segments) of each recording that the earlier run has done."""
        path = _newest(self._run_path)
        try:
            with open(path, encoding="utf-8") as file:
                old = json.load(file)
        except (OSError, ValueError) as error:
            raise _damaged(path, f"the settings of the earlier run can't be read ({error})") from None
        if old != settings:
            raise _other_settings(path, old, settings)
        path = _newest(self._status_path)
        try:
            with open(path, encoding="utf-8", newline="") as file:
                rows = [row for row in csv.reader(file) if len(row) == len(_STATUS)]  # the last may be cut off
            return [(_unescaped(row[0]), int(row[2])) for row in rows if row[1] == "done"]
        except (OSError, ValueError, csv.Error) as error:
            raise _damaged(path, str(error)) from None

    def _write_status(self, *row):
        self._status.append(_status_table([row]))
        self._status.flush()

    def _finish(self):
        for each in (*self._files.values(), self._status):
            each.finish()
        for name in (*self._kinds, self._run_path, self._status_path):  # the status last: until then it can go on
            os.replace(_part(name), os.path.realpath(name))

    def _close(self):
        for each in (*self._files.values(), self._status, self._lock):
            if each is not None:
                try:
                    each.close()
                except OSError:  # what could not be flushed has been reported
                    pass

    def _remove(self):
        for name in (*self._kinds, self._run_path, self._status_path):
            if os.path.exists(_part(name)):
                os.unlink(_part(name))


def _part(path):
    """The name of a file while it grows; behind a link, beside the file that the link names."""
    return f"{os.path.realpath(path)}.part"


def _is_device(path):
    """Whether a path is no ordinary file, or a name such as /dev/stdout for whatever lies behind it."""
    folder = os.path.dirname(os.path.abspath(path))
    if folder in ("/dev", "/dev/fd") or folder.startswith("/proc"):
        return True
    return os.path.exists(path) and not os.path.isfile(path)


def _newest(path):
    """The file of the run that was broken off; if there is none, that of the finished run."""
    part = _part(path)
    return part if os.path.exists(part) and os.path.getsize(part) else path


def _locked(path):
    """The file, opened and locked against other runs; made if it isn't there."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConfigError("another run is writing there", path=path, field="--out") from None
    except OSError:  # a file system that knows no locks
        pass
    return file


def _status_table(rows):
    """The status table of rows (file, segments) that are done, or (file, status, segments, error)."""
    rows = [row if len(row) == len(_STATUS) else (row[0], "done", row[1], "") for row in rows]
    return Table({name: text_column(row[i] for row in rows) for i, name in enumerate(_STATUS)})


def _unescaped(text):
    """The name of a file as the system gives it, from how `write_text` writes what is no UTF-8."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def _damaged(path, why):
    return FormatError(f"can't be continued: {why}", path=path, remedy="Begin anew, without resume")


def _other_settings(path, old, new):
    old = old if isinstance(old, dict) else {}
    key = next((key for key in new if old.get(key) != new[key]), "settings")
    was, now = (json.dumps(each.get(key))[:200] for each in (old, new))
    return ConfigError(
        f"the run that is to be continued was made with {was}, this one has {now}",
        path=path,
        field=key,
        remedy="Take the same, or begin anew, without resume",
    )


def _open(path, rows):
    """The growing file of a path; with None rows it begins empty, else it is cut after that many."""
    part = _part(path)
    if rows is not None and not os.path.exists(part):
        if not os.path.exists(path):
            raise _damaged(path, "the file is missing")
        shutil.copyfile(path, part)
    kind = _NpyFile if path.lower().endswith(".npy") else _CsvFile
    file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    try:
        if rows is None:
            file.truncate(0)
        return kind(file, part, rows)
    except BaseException:
        file.close()
        raise


class _File:
    """A file that grows: `keep` cuts it, `append` makes it longer."""

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


class _CsvFile(_File):
    """A table with a header; a line end between quotation marks doesn't end a row."""

    _header = None

    def keep(self, rows):
        end = ends = quotes = 0
        for line in self._file:
            end += len(line)
            quotes += line.count(b'"')
            if quotes % 2 == 0 and line.endswith(b"\n"):
                self._header = self._header or line
                ends += 1
                if ends == rows + 1:
                    break
        if ends != rows + 1 and (ends or rows):
            raise _damaged(self.path, f"it has {max(ends - 1, 0)} whole rows, the status table says {rows}")
        self.cut(end if ends else 0)

    def append(self, table):
        buffer = table.to_csv()
        columns = Table({name: [] for name in table.columns}).to_csv()
        header = columns.encode("utf-8", "backslashreplace")
        if self._header is None:
            self._header = header
            self.write(header)
        elif self._header != header:
            raise Error("the columns are not those of the rows that are there", path=self.path)
        self.write(buffer[len(columns) :].encode("utf-8", "backslashreplace"))
        self.rows += len(table)


class _NpyFile(_File):
    """An array; the number of rows is written into its header at the end."""

    _shape = _dtype = None  # of a row

    def keep(self, rows):
        size = os.fstat(self._file.fileno()).st_size
        if not size and not rows:
            return
        try:
            version = np.lib.format.read_magic(self._file)
            if version != (1, 0):
                raise ValueError("another version of .npy")
            shape, fortran, self._dtype = np.lib.format.read_array_header_1_0(self._file)
        except ValueError as error:
            raise _damaged(self.path, str(error)) from None
        self._shape = shape[1:]
        end = _HEADER_BYTES + rows * self._row_bytes
        if fortran or self._dtype.hasobject or self._file.tell() != _HEADER_BYTES or size < end:
            raise _damaged(self.path, f"it doesn't hold the {rows} rows that the status table says")
        self.cut(end)

    @property
    def _row_bytes(self):
        return self._dtype.itemsize * int(np.prod(self._shape, dtype=np.int64))

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

    def _header(self):
        text = repr({"descr": self._dtype.str, "fortran_order": False, "shape": (self.rows, *map(int, self._shape))})
        head = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
        return head + text.encode("ascii").ljust(_HEADER_BYTES - 11) + b"\n"
