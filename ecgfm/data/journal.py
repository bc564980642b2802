"""What is done of a long run: a file that grows by a line per recording, and outlives the process."""

import fcntl
import json
import os
import time
from contextlib import contextmanager

from .._files import replacing
from ..errors import ConfigError, Error, FormatError

__all__ = ["Journal", "locked"]

_SYNC_S = 2.0


@contextmanager
def locked(path, what):
    """Hold a lock file; refuse if another process holds it. The lock ends with the process, however it ends."""
    with open(path, "a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Error(
                f"another run is using {what}", path=os.path.dirname(path), remedy="Wait until it has ended"
            ) from None
        yield


class Journal:
    """The lines of a run, by the number of the recording.

    Parameters
    ----------
    path : str
    head : dict
        What makes it this run: its first line. Another run's journal is refused.
    changing : sequence of str
        Keys of the head that may differ; then the old lines are forgotten.
    """

    def __init__(self, path, head, changing=()):
        self.path, self.head = path, head
        self.at = {}  # number of the recording -> where its last line begins
        self._synced = time.monotonic()
        old = _head(path)
        if old is not None:
            differs = [key for key in {**old, **head} if old.get(key) != head.get(key)]
            grave = sorted(key for key in differs if key not in changing)
            if grave == ["records"]:
                raise ConfigError(
                    "records.csv is not the one that this run began with",
                    path=os.path.dirname(path),
                    remedy="Put the old one back, or take another folder",
                )
            if grave:
                raise ConfigError(
                    "the folder holds a run with " + ", ".join(f"{key} {old.get(key)!r}" for key in grave)
                    + "; now it is " + ", ".join(f"{head.get(key)!r}" for key in grave),
                    path=os.path.dirname(path),
                    remedy="Use another folder, or remove this one's contents",
                )
            if differs:
                old = None
        if old is None:
            with replacing(path) as temporary:
                with open(temporary, "w", encoding="utf-8") as file:
                    file.write(json.dumps(head, sort_keys=True) + "\n")
        self._file = open(path, "r+b")
        self._load()

    @staticmethod
    def head_of(path):
        """The head of the journal in a file, or None if there is none."""
        return _head(path)

    def _load(self):
        at = len(self._file.readline())
        while True:
            line = self._file.readline()
            if not line.endswith(b"\n"):  # cut off in the middle of a line
                break
            try:
                self.at[json.loads(line)["i"]] = at
            except (ValueError, KeyError, TypeError):
                raise FormatError("a damaged line", path=self.path, remedy="Remove it to begin anew") from None
            at += len(line)
        self._file.truncate(at)
        self._end = at

    def __contains__(self, number):
        return number in self.at

    def __getitem__(self, number):
        self._file.seek(self.at[number])
        return json.loads(self._file.readline())

    def add(self, lines):
        """Append lines, dicts with the number under ``i``."""
        texts = [json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines]
        self._file.seek(self._end)
        self._file.write(b"".join(texts))
        self._file.flush()
        for line, text in zip(lines, texts):
            self.at[line["i"]] = self._end
            self._end += len(text)
        if time.monotonic() - self._synced > _SYNC_S:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def forget(self, numbers):
        """Drop recordings, in memory: a later line says what became of them."""
        for number in numbers:
            self.at.pop(number, None)

    def close(self, tidy=False):
        """Close the file; with `tidy`, with one line per recording, in order."""
        if tidy:
            with replacing(self.path) as temporary:
                with open(temporary, "wb") as file:
                    file.write(json.dumps(self.head, sort_keys=True).encode() + b"\n")
                    for number in sorted(self.at):
                        self._file.seek(self.at[number])
                        file.write(self._file.readline())
        self._file.close()


def _head(path):
    try:
        with open(path, "rb") as file:
            line = file.readline()
        return json.loads(line) if line.endswith(b"\n") else None
    except FileNotFoundError:
        return None
    except ValueError:
        raise FormatError("a damaged first line", path=path, remedy="Remove it to begin anew") from None
