"""Files that are either the old one or the whole new one."""

import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from ecgfm.errors import CheckpointError, FormatError
from ecgfm.storage.atomic import committing, linked, open_own, replacing, writing
from ecgfm.storage.npy import write_npy

ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.zeros((0, 4), np.float32),
    np.array([[1, 2], [3, 4]]).T,
    np.array([True, False]),
    np.arange(3, dtype=">i2"),
    np.zeros((2, 0, 3)),
]


@pytest.mark.parametrize("array", ARRAYS)
def test_npy(tmp_path, array):
    np.save(tmp_path / "theirs.npy", np.ascontiguousarray(array))
    write_npy(tmp_path / "ours.npy", array)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["ours.npy", "theirs.npy"]


def test_a_full_disk_is_noticed(tmp_path):
    """np.save does not, where what is missing at the end is less than a buffer."""
    (tmp_path / "y.npy").write_bytes(b"old")
    code = "import sys, numpy; from ecgfm.storage.npy import write_npy; write_npy(sys.argv[1], numpy.zeros(500))"

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    command = [sys.executable, "-c", code, tmp_path / "y.npy"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=full)
    assert done.returncode == 1 and "OSError" in done.stderr
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("y.npy", b"old")]


def test_nothing_is_left_behind_if_a_file_can_not_be_closed(tmp_path, monkeypatch):
    real = os.close

    def fails(descriptor):
        real(descriptor)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "close", fails)
    with pytest.raises(OSError, match="Input/output"):
        with replacing(tmp_path / "a.txt"):
            pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [None, CheckpointError])
def test_what_can_not_be_written(tmp_path, error):
    for path in (tmp_path / "absent" / "a", f"{tmp_path}/a\0b"):
        with pytest.raises(error or (OSError, ValueError)) as caught:
            with writing(path, error=error) as file:
                file.write(b"new")
        assert error is None or "can't be written" in str(caught.value)
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(FormatError, match="of another file"):
        with writing(tmp_path / "a", error=error) as file:
            file.write(b"new")
            raise FormatError("of another file")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("links", [True, False])
def test_a_second_name(tmp_path, monkeypatch, links):
    """As of checkpoints: what takes the place of one name later does not change the other."""

    def no_links(*_):
        raise OSError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"old")
    (tmp_path / "b.part").write_bytes(b"left by a kill")
    linked(tmp_path / "a", tmp_path / "b")
    with writing(tmp_path / "a") as file:
        file.write(b"2")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"2", "b": b"1"}
    with pytest.raises(CheckpointError, match="absent: can't be written"):
        linked(tmp_path / "a", tmp_path / "absent" / "absent", error=CheckpointError)


def test_no_mark_beside_files_that_it_does_not_belong_to(tmp_path):
    names = ("a", "b", "mark")

    def state():
        return {name: (tmp_path / name).read_bytes() for name in names if (tmp_path / name).exists()}

    for text in (b"1", b"2"):
        for name in ("a", "b"):
            (tmp_path / f"{name}.part").write_bytes(text)
        before = state()
        with committing({str(tmp_path / f"{n}.part"): str(tmp_path / n) for n in "ab"}, [str(tmp_path / "mark")]):
            assert state() == {"a": text, "b": text} != before
            with writing(tmp_path / "mark") as file:
                file.write(text)
        assert state() == dict.fromkeys(names, text)
    assert len(list(tmp_path.iterdir())) == 3
    (tmp_path / "a.part").write_bytes(b"3")
    with pytest.raises(FileNotFoundError):
        with committing({str(tmp_path / f"{n}.part"): str(tmp_path / n) for n in "ab"}, [str(tmp_path / "mark")]):
            pass
    assert state() == dict.fromkeys(names, b"2")  # one was not there: nothing has changed


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "FIFO", "folder", "absent"])
@pytest.mark.parametrize("make", [False, True])
def test_what_is_not_a_file_of_ones_own(tmp_path, kind, make):
    victim, path = tmp_path / "victim", tmp_path / "own"
    victim.write_bytes(b"precious")
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "hard link":
        os.link(victim, path)
    elif kind != "absent":
        path.symlink_to(victim if kind == "link" else tmp_path / "nothing")
    if kind == "absent":
        if make:
            open_own(path, make=True).close()
        else:
            with pytest.raises(FileNotFoundError):
                open_own(path)
        return
    with pytest.raises(FormatError, match="not a regular file"):
        open_own(path, make=make, alone=True)
    if kind == "hard link":
        open_own(path, make=make).close()
    assert victim.read_bytes() == b"precious" and not (tmp_path / "nothing").exists()
