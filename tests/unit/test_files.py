"""Files that are either the old one or the whole new one."""

import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from ecgfm.storage.atomic import replacing, write_npy

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
    code = "import sys, numpy; from ecgfm.storage.atomic import write_npy; write_npy(sys.argv[1], numpy.zeros(500))"

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
