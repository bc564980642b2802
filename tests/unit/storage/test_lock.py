"""Locks: one run at a time, until its process ends, also when its children live on."""

import os
import signal
import time

import pytest

from ecgfm.errors import ConfigError
from ecgfm.storage.lock import lock, locked


def is_free(path):
    try:
        with locked(path, "this folder"):
            return True
    except ConfigError as error:
        assert "another run is using this folder" in str(error) and error.path == str(path.parent)
        return False


def test_one_at_a_time(tmp_path):
    path = tmp_path / "lock"
    with locked(path, "this folder"):
        assert not is_free(path)
    assert is_free(path)


def test_a_lock_ends_with_its_process_and_not_with_the_children(tmp_path):
    """As when a run is killed whose workers are in the middle of a recording."""
    path, ours, theirs = tmp_path / "lock", *os.pipe()
    owner = os.fork()
    if owner == 0:
        try:
            with locked(path, "this folder"):
                worker = os.fork()
                if worker == 0:
                    time.sleep(60)
                os.write(theirs, str(worker).encode())
                time.sleep(60)
        finally:
            os._exit(0)
    worker = int(os.read(ours, 20))
    try:
        deadline = time.monotonic() + 20
        assert not is_free(path)
        os.kill(owner, signal.SIGKILL)
        os.waitpid(owner, 0)
        while not is_free(path) and time.monotonic() < deadline:  # until the worker has got so far as to let it go
            time.sleep(0.01)
        assert is_free(path)
        os.kill(worker, 0)
    finally:
        os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("second", ["works", "taken", "fails"])
def test_a_file_system_without_such_locks(tmp_path, monkeypatch, second):
    import errno
    import fcntl

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    def other(*_):
        if second != "works":
            raise OSError(errno.EAGAIN if second == "taken" else errno.ENOLCK, "no")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(fcntl, "lockf", other)
    with open(tmp_path / "lock", "w+b") as file:
        if second == "taken":
            with pytest.raises(ConfigError, match="another run is using these files") as caught:
                lock(file, "these files", path=tmp_path, field="--out")
            assert caught.value.field == "--out"
        else:
            lock(file, "these files", path=tmp_path)
