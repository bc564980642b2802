"""The one way in: what is opened, what is refused, how far compressed data inflate."""

import gzip
import os
import socket

import numpy as np
import pytest

from ecgfm import CheckpointError, Error, FormatError
from ecgfm._text import printable, short, short_path, shown
from ecgfm.storage.inputs import MAX_LINE, check_inflation, lines, open_input, open_text, read_input
from ecgfm.storage.npy import map_array


def _fifo(path):
    os.mkfifo(path)


def _socket(path):
    os.chdir(path.parent)  # the name of a socket has a limit
    socket.socket(socket.AF_UNIX).bind(path.name)


def _link_to_device(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_fifo, _socket, _link_to_device, os.mkdir])
@pytest.mark.parametrize("use", [open_input, open_text, lambda path: read_input(path, most=10), map_array])
def test_what_is_no_file_is_refused_without_waiting(tmp_path, monkeypatch, make, use):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.npy"
    make(path)
    with pytest.raises(FormatError, match="not a") as caught:
        use(path)
    assert caught.value.path == str(path)


@pytest.mark.parametrize("path", ["none.npy", "a" * 300, "a" * 10_000, "a\0b", None, 1.5, b"none", ["a"]])
def test_what_is_no_path_is_named(path):
    with pytest.raises(CheckpointError) as caught:
        open_input(path, error=CheckpointError, field="labels")
    assert caught.value.field == "labels" and len(str(caught.value)) < 2000


def test_path_below_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(FormatError, match="no such file"):
        open_input(tmp_path / "a" / "b")


def test_limits_on_size(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 11)
    with pytest.raises(FormatError, match="11 bytes, more than the 10"):
        open_input(path, most=10)
    assert read_input(path, most=11) == b"x" * 11
    assert open_input(path).read() == b"x" * 11
    with pytest.raises(FormatError, match="more than the 5 bytes"):
        read_input("/proc/self/status", most=5)  # its size is said to be 0


def test_nothing_stays_open(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"x\n"))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(Error):
            open_input(tmp_path / "a.csv.gz", most=1)
        with open_text(tmp_path / "a.csv.gz") as file:
            assert file.read() == "x\n"
    assert len(os.listdir("/proc/self/fd")) == before


def test_bomb_of_gzip_ends_early(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"," * (100 << 20)))
    read = 0
    with open_text(path) as file, pytest.raises(FormatError, match="inflate"):
        while piece := file.read(1 << 16):
            read += len(piece)
    assert read < 50 << 20


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:-4],
        lambda raw: raw[:100] + b"\xff" * 50 + raw[150:],
        lambda raw: raw[:10] + b"\xff" * 10 + raw[20:],
        lambda raw: raw + b"something else",
        lambda raw: b"PK" + raw[2:],
    ],
)
def test_damaged_gzip(tmp_path, damage):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(damage(gzip.compress(np.random.default_rng(1).bytes(5000).hex().encode())))
    with open_text(path) as file, pytest.raises(FormatError, match="damaged compressed data"):
        file.read()


def test_lines_are_bounded(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("one\ntwo\n" + "x" * (MAX_LINE + 1) + "\n")
    with open_text(path) as file:
        found = lines(file, path)
        assert [next(found), next(found)] == ["one\n", "two\n"]
        with pytest.raises(FormatError, match="characters in a line") as caught:
            next(found)
    assert caught.value.field == "line 3"


@pytest.mark.parametrize(
    "packed, most, held",
    [(1, 1 << 24, False), (1 << 20, 200 << 20, False), (1, 1 << 24, True), (100_000, 20_000_000, True)]
    + [(1 << 21, 104 << 20, True), (100 << 20, 2064 << 20, True)],
)
def test_rule_of_inflation(packed, most, held):
    check_inflation(packed, most, path="a", held=held)
    with pytest.raises(FormatError, match="inflate"):
        check_inflation(packed, most + 1, path="a", held=held)


def test_holes_count_as_inflation(tmp_path):
    path = tmp_path / "a"
    for written, size in ((b"x" * 5000, 1 << 24), (b"x" * (1 << 20), 80 << 20), (b"", 100)):
        with open(path, "wb") as file:
            file.write(written)
            file.truncate(size)
        with open_input(path) as file:
            assert file.read(5000) == (written + bytes(100))[: min(size, 5000)]
    for written, size in ((b"x" * 5000, (1 << 24) + 1), (b"x" * (1 << 20), 90 << 20), (b"", 1 << 40)):
        with open(path, "wb") as file:
            file.seek(size - len(written))  # at the end, or the beginning
            file.write(written)
            file.truncate(size)
        with pytest.raises(FormatError, match="the others are holes"):
            open_input(path)
        open_input(path, sparse=True).close()


def test_mapped_arrays(tmp_path):
    path = tmp_path / "a.npy"
    for array in (
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
        np.zeros((0, 3)),
    ):
        np.save(path, array)
        found = map_array(path)
        assert found.dtype == array.dtype and np.array_equal(found, array)
    np.save(path, np.arange(100.0))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match="truncated"):
        map_array(path)
    np.save(path, np.array([None]), allow_pickle=True)
    with pytest.raises(FormatError, match="not read"):
        map_array(path)


def test_text_of_values_is_bounded():
    nested = "x" * 10**6
    for _ in range(20):
        nested = [nested] * 1000
    for value in (
        nested,
        10**5000,
        -(10**5000),
        {"a" * 10**6: nested},
        b"x" * 10**6,
        object(),
        {(): {1, 2}},
        True,
        None,
    ):
        assert len(shown(value)) <= 100
    assert shown(3) == "3" and shown("a") == "'a'" and shown(np.float32(0.5)) == "0.5" and shown([1, "b"]) == "[1, 'b']"
    assert short("abcdefghij", 8) == "abcd ..." and short("abc", 8) == "abc"
    assert short_path("/a" * 500 + "/end.npy").endswith("/end.npy") and len(short_path("/a" * 500)) <= 400
    assert printable("\u05d0\u0627 \u202e\ud800\x00") == "\u05d0\u0627 \\u202e\\ud800\\x00"
