"""Results that are written as they come, and continued by a later run.

While a run is under way, each of its files has ``.part`` at the end of its name; at the end they take the places of
the files that were there before. A recording's rows are written first, then its line in the status table: what a file
holds after the rows of the last recording of the status table was cut off in the middle, and is dropped when the run is
continued. Rows of recordings that have changed since, or are no longer among the inputs, are left out in the end.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from .._text import plain_cell, safe
from .._types import StrPath
from ..errors import ConfigError, FormatError
from .atomic import is_device, remove, sync_folder, write_text
from .fingerprints import fingerprint
from .growing_files import GrowingFile, check_growing, damaged, open_growing, open_part, part
from .inputs import open_text, read_input
from .json import parse_json
from .lock import lock
from .rows import csv_rows, plain_csv_text

if TYPE_CHECKING:
    from typing_extensions import Self

Earlier = tuple[str, int, str]  # of a recording that is done: file, segments, fingerprint

__all__ = ["Growing"]

_STATUS = ("file", "status", "segments", "error", "fingerprint")
_MAX_SETTINGS, _MAX_STATUS = 1 << 20, 1 << 34  # bytes
_MAX_SEGMENTS = 1 << 40


class Growing:
    """The files of one run. A context manager: they are finished when its block ends well.

    Parameters
    ----------
    path : path-like
        The main file. Two more have its name without the suffix: ``.status.csv`` (``file``, ``status``: ``done``,
        ``skipped`` or ``ignored``, ``segments``, ``error``, ``fingerprint``) and ``.run.json``, which holds `settings`.
    outputs : dict of str to {"record", "segment"}
        Path of each file -> whether it gets a row per recording or per segment. ``.npy`` files get arrays, all others
        are CSV.
    settings : dict
        What the results depend on; a run can only be continued with the same.
    resume : bool
        Continue the run that is there, if there is one.
    overwrite : bool
        Begin anew though a run is there that was broken off.

    Attributes
    ----------
    records, segments : int
        How many recordings and segments the files hold that are among the inputs seen so far.
    resumed : int
        How many of the recordings an earlier run has done.
    dropped : int
        How many recordings of the earlier run were left out in the end: changed since, or not among the inputs.
    skipped : int
        How many recordings were skipped in this run.

    Raises
    ------
    ConfigError
        If another run is writing to these files, there is a run that was broken off and neither `resume` nor
        `overwrite` is given, or the one to be continued had other settings.
    FormatError
        If the files to be continued are damaged.
    """

    def __init__(
        self,
        path: StrPath,
        outputs: Mapping[str, str],
        settings: Mapping[str, Any],
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        stem = os.path.splitext(os.fspath(path))[0]
        self._status_path, self._run_path = f"{stem}.status.csv", f"{stem}.run.json"
        self._kinds = dict(outputs)
        settings = json.loads(json.dumps(settings))
        self._check(resume, overwrite)
        self._lock = _locked(part(self._run_path))
        self._files: dict[str, GrowingFile] = {}
        self._status: Any = None  # a GrowingFile, once it is open
        self._broken_off, self._added = os.path.exists(part(self._status_path)), 0
        try:
            there = resume and any(map(os.path.exists, (part(self._status_path), self._status_path)))
            if not resume and not overwrite:
                self._refuse_to_discard()
            self._earlier = self._read_earlier(settings) if there else []
            self._open(settings, there)
        except BaseException:
            self._close()
            if not self._broken_off:
                self._remove()
            raise
        # (file, fingerprint) -> places among the earlier recordings
        self._unseen: dict[tuple[str, str], deque[int]] = defaultdict(deque)
        for place, (file, _, mark) in enumerate(self._earlier):
            self._unseen[file, mark].append(place)
        self._seen: set[int] = set()
        self._marks: deque[str] = deque()
        self.records = self.segments = self.resumed = self.dropped = self.skipped = 0

    def _check(self, resume: bool, overwrite: bool) -> None:
        if resume and overwrite:
            raise ConfigError("either go on or begin anew", field="overwrite", remedy="Leave out resume or overwrite")
        for name in (*self.paths, self._run_path):
            if is_device(name):
                raise ConfigError("not an ordinary file, so that it can't grow", path=name, field="--out")
            check_growing(name)

    def _open(self, settings: Any, there: bool) -> None:
        rows = {"record": len(self._earlier), "segment": sum(segments for _, segments, _ in self._earlier)}
        for name, kind in self._kinds.items():
            self._files[name] = open_growing(name, rows[kind] if there else None)
        self._lock.truncate(0)
        self._lock.write(json.dumps(settings, indent=1).encode("utf-8") + b"\n")
        self._lock.flush()
        kept = [(file, "done", segments, "", mark) for file, segments, mark in self._earlier]
        write_text(part(self._status_path), plain_csv_text([_STATUS, *kept]))
        self._status = open_growing(self._status_path, len(kept))

    @property
    def paths(self) -> tuple[str, ...]:
        """tuple of str: the files, the status table last."""
        return *self._kinds, self._status_path

    def missing(self, pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Those of the (name, input) `pairs` that the earlier run has not done, or that have changed since."""
        for file, one in pairs:
            mark = fingerprint(one)
            places = self._unseen.get((safe(file), mark))
            if mark and places:
                place = places.popleft()
                self._seen.add(place)
                self.records += 1
                self.resumed += 1
                self.segments += self._earlier[place][1]
            else:
                self._marks.append(mark)
                yield file, one

    def add(self, file: str, segments: int, rows: Mapping[str, Any]) -> None:
        """Write one recording, the next of those that `missing` gave.

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
        self._added += 1
        self.records += 1
        self.segments += segments

    def skip(self, file: str, reason: str) -> None:
        """Write down that one recording, the next of those that `missing` gave, was skipped, and why."""
        self._write_status(file, "skipped", 0, reason)
        self.skipped += 1

    def ignore(self, path: str, reason: str) -> None:
        """Write down that a file of a folder is not a recording, and why."""
        self._status.write(plain_csv_text([(path, "ignored", 0, reason, "")]).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        finished = kind is None and self.records > 0
        try:
            if finished:
                self._finish()
        finally:
            self._close()
        if not finished and not self._broken_off and not self._added:
            self._remove()

    def _refuse_to_discard(self) -> None:
        """Raise if there is a run that was broken off after it had done something."""
        if not os.path.exists(part(self._status_path)):
            return
        try:
            count = len(self._read_status(part(self._status_path)))
        except FormatError:
            count = -1
        if count:
            done = "" if count < 0 else f"; it has done {count:,} recording{'s' * (count > 1)}"
            raise ConfigError(
                f"a run that was broken off is there{done}",
                path=part(self._status_path),
                field="--out",
                remedy="Say --resume to go on with it (resume=True), or --overwrite to begin anew (overwrite=True)",
            )

    def _read_earlier(self, settings: Any) -> list[Earlier]:
        """The recordings that the earlier run has done."""
        path = _newest(self._run_path)
        try:
            old = parse_json(read_input(path, most=_MAX_SETTINGS), path=path)
        except FormatError as error:
            raise damaged(path, f"the settings of the earlier run can't be read ({error.message})") from None
        if old != settings:
            raise _other_settings(path, old, settings)
        return self._read_status(_newest(self._status_path))

    def _read_status(self, path: str) -> list[Earlier]:
        """The recordings that are done; of an unfinished line nothing is taken."""
        try:
            with open_text(path, most=_MAX_STATUS) as file:
                header, *rows = list(csv_rows(file, path)) or [list(_STATUS)]
            done = [row for row in rows if len(row) == len(_STATUS) and row[1] == "done"]
            if rows and header != list(_STATUS):
                raise damaged(path, f"its columns are not {', '.join(_STATUS)}")
            found = [(plain_cell(row[0]), int(row[2]), row[4]) for row in done]
        except FormatError as error:
            raise damaged(path, error.message) from None
        except ValueError as error:
            raise damaged(path, str(error)) from None
        if not all(0 < segments < _MAX_SEGMENTS for _, segments, _ in found):
            raise damaged(path, "a number of segments is out of range")
        return found

    def _write_status(self, *row: object) -> None:
        self._status.write(plain_csv_text([(*row, self._marks.popleft() if self._marks else "")]).encode())
        self._status.flush()

    def _finish(self) -> None:
        self._drop_unseen()
        for each in (*self._files.values(), self._status):
            each.finish()
        for name in (*self._kinds, self._run_path, self._status_path):  # the status last: until then it can go on
            os.replace(part(name), os.path.realpath(name))
        for folder in {os.path.dirname(os.path.realpath(name)) for name in (*self.paths, self._run_path)}:
            sync_folder(folder)

    def _drop_unseen(self) -> None:
        """Take out the rows of recordings that have changed since, or are no longer among the inputs."""
        keep = [place in self._seen for place in range(len(self._earlier))]
        self.dropped = len(keep) - sum(keep)
        if not self.dropped:
            return
        for name, kind in self._kinds.items():
            counts = [segments if kind == "segment" else 1 for _, segments, _ in self._earlier]
            self._files[name].leave_out(keep, counts)
        self._status.leave_out(keep, [1] * len(keep))

    def _close(self) -> None:
        for each in (*self._files.values(), self._status, self._lock):
            if each is not None:
                try:
                    each.close()
                except OSError:  # what could not be flushed has been reported
                    pass

    def _remove(self) -> None:
        for name in (*self._kinds, self._run_path, self._status_path):
            remove(part(name))


def _newest(path: str) -> str:
    """The file of the run that was broken off; if there is none, that of the finished run."""
    name = part(path)
    return name if os.path.exists(name) and os.path.getsize(name) else path


def _locked(path: str) -> BinaryIO:
    """The file of settings while it grows, locked against other runs."""
    file = open_part(path)
    try:
        lock(file, "these files", path=path, field="--out")
    except BaseException:
        file.close()
        raise
    return file


def _other_settings(path: str, old: Any, new: dict[str, Any]) -> ConfigError:
    old = old if isinstance(old, dict) else {}
    key = next((key for key in new if old.get(key) != new[key]), "settings")
    was, now = (json.dumps(each.get(key))[:200] for each in (old, new))
    return ConfigError(
        f"the run that is to be continued was made with {was}, this one has {now}",
        path=path,
        field=key,
        remedy="Take the same, or begin anew, without resume (--overwrite)",
    )
