"""Stores: the old pair of files, written so that what is readable is whole, and read without running code."""

import os
import pickle
import resource
import signal

import numpy as np
import pytest

import ecgfm
from ecgfm.inference import open_store
from ecgfm.inference.stores import Stores

A = np.arange(12, dtype=np.float32).reshape(4, 3)
B = np.arange(8).reshape(4, 2) % 2 == 0


def write(folder, a=A, b=B, drop=()):
    with Stores(folder, "test", {"a": (a.shape, "float32"), "b": (b.shape, "bool")}) as stores:
        for rows in (slice(0, 1), slice(1, 4)):
            stores.write("a", a[rows])
            stores.write("b", b[rows])
        for name in drop:
            stores.drop(name)
    return stores


def readable(folder):
    """What can be read of the two stores."""
    found = {}
    for name in "ab":
        try:
            found[name] = np.array(open_store(folder / f"{name}_test.npy"))
        except ecgfm.FormatError:
            pass
    return found


def test_the_files(tmp_path):
    stores = write(tmp_path)
    assert stores.paths == [str(tmp_path / "a_test.npy"), str(tmp_path / "b_test.npy")]
    names = ["a_test.npy", "a_test_header.pkl", "b_test.npy", "b_test_header.pkl"]
    assert sorted(os.listdir(tmp_path)) == names
    assert (tmp_path / "a_test.npy").read_bytes() == A.astype("<f4").tobytes()
    header = (tmp_path / "a_test_header.pkl").read_bytes()
    assert header[:2] == b"\x80\x04" and pickle.loads(header) == {"shape": (4, 3), "dtype": "float32"}
    got = open_store(tmp_path / "a_test.npy")
    np.testing.assert_array_equal(got, A)
    assert got.dtype == np.float32 and not got.flags.writeable
    np.testing.assert_array_equal(open_store(tmp_path / "b_test.npy"), B)


def test_a_store_that_is_dropped_takes_the_earlier_one_away(tmp_path):
    write(tmp_path)
    stores = write(tmp_path, a=A + 1, drop=["b"])
    assert stores.paths == [str(tmp_path / "a_test.npy")]
    assert sorted(os.listdir(tmp_path)) == ["a_test.npy", "a_test_header.pkl"]
    np.testing.assert_array_equal(open_store(tmp_path / "a_test.npy"), A + 1)


def test_files_of_numpy_are_read_too(tmp_path):
    np.save(tmp_path / "x.npy", A)
    np.testing.assert_array_equal(open_store(tmp_path / "x.npy"), A)
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ecgfm.FormatError, match="values are of type object"):
        open_store(tmp_path / "o.npy")


@pytest.mark.parametrize("order", ["C", "F"])
def test_offset_order_and_types_of_a_header(tmp_path, order):
    a = A.astype("<f2")
    (tmp_path / "x.npy").write_bytes(b"12345678" + a.tobytes(order))
    header = {"shape": a.shape, "dtype": "float16", "offset": 8, "order": order}
    (tmp_path / "h.pkl").write_bytes(pickle.dumps(header, protocol=2))
    np.testing.assert_array_equal(open_store(tmp_path / "x.npy", tmp_path / "h.pkl"), a)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize(
    "header, match",
    [
        (b"", "ends in the middle"),
        (pickle.dumps({"shape": (4, 3), "dtype": "float32"})[:-4], "the file is truncated"),
        (pickle.dumps([4, 3]), "not a dictionary"),
        (pickle.dumps({"shape": (4, -3), "dtype": "float32"}), "not a shape"),
        (pickle.dumps({"shape": (4, 1 << 60), "dtype": "float32"}), "not a shape"),
        (pickle.dumps({"shape": (4, 4), "dtype": "float32"}), "48 bytes, its header asks for 64"),
        (pickle.dumps({"shape": (1 << 40, 1 << 40), "dtype": "float32"}), "48 bytes"),
        (pickle.dumps({"shape": (4, 3), "dtype": "object"}), "not a number type"),
        (pickle.dumps({"shape": (4, 3), "dtype": ["float32"]}), "not a number type"),
        (pickle.dumps({"shape": (4, 3), "dtype": "float32", "offset": -1}), "not an offset"),
        (pickle.dumps({"shape": (4, 3), "dtype": "float32", "order": "X"}), "neither C nor F"),
        (pickle.dumps({"shape": (4, 3), "dtype": "float32", "mode": "w+"}), "no such key"),
        (pickle.dumps({"shape": (4, 3), "dtype": Hostile()}), "not a number type"),
        (pickle.dumps(Hostile()), "not a dictionary"),
        (b"\x80\x04" + b"N0" * 40000 + b"N.", "more than the 65,536 that are read"),
    ],
)
def test_headers_that_lie(tmp_path, monkeypatch, header, match):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.npy").write_bytes(A.tobytes())
    (tmp_path / "x_header.pkl").write_bytes(header)
    with pytest.raises(ecgfm.FormatError, match=match) as caught:
        open_store(tmp_path / "x.npy")
    assert str(tmp_path) in caught.value.path
    assert not (tmp_path / "made-by-a-pickle").exists()


def test_what_is_not_there(tmp_path):
    with pytest.raises(ecgfm.FormatError, match="no such file"):
        open_store(tmp_path / "x.npy")
    with pytest.raises(ecgfm.FormatError, match="ends in .npy"):
        open_store(tmp_path / "x.raw")
    (tmp_path / "x.npy").write_bytes(A.tobytes())
    with pytest.raises(ecgfm.FormatError, match="not complete"):
        open_store(tmp_path / "x.npy")


def test_rows_that_do_not_fit(tmp_path):
    write(tmp_path)
    before = readable(tmp_path)
    bad = ((A[:2], "2 rows were written"), (np.vstack([A, A]), "does not fit"), (A[:, :2], "does not fit"))
    for rows, match in bad:
        with pytest.raises(ecgfm.FormatError, match=match):
            with Stores(tmp_path, "test", {"a": (A.shape, "float32")}) as stores:
                stores.write("a", rows)
    assert {name: array.tolist() for name, array in readable(tmp_path).items()} == {
        name: array.tolist() for name, array in before.items()
    }
    assert not list(tmp_path.glob("*.part"))


def test_a_full_disk_leaves_the_earlier_stores(tmp_path):
    write(tmp_path)
    large = np.zeros((4, 1 << 20), np.float32)
    old, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, limits[1]))
        with pytest.raises(ecgfm.Error, match="can't be written"):
            write(tmp_path, a=large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    np.testing.assert_array_equal(readable(tmp_path)["a"], A)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("earlier", [False, True])
def test_killed_at_any_point_nothing_half_is_readable(tmp_path, earlier):
    points = 0
    for k in range(100):
        folder = tmp_path / str(k)
        folder.mkdir()
        if earlier:
            write(folder)
        child = os.fork()
        if child == 0:
            try:
                die_at(k)
                write(folder, A + 100, ~B)
            finally:
                os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        found = readable(folder)
        is_new = {name: bool((array == {"a": A + 100, "b": ~B}[name]).all()) for name, array in found.items()}
        is_old = {name: bool((array == {"a": A, "b": B}[name]).all()) for name, array in found.items()}
        assert all(is_new.values()) or (earlier and all(is_old.values())), (k, found)
        write(folder, A + 7)  # the next run is not hindered
        np.testing.assert_array_equal(readable(folder)["a"], A + 7)
        if not killed:
            assert len(found) == 2 and all(is_new.values())
            break
        points += 1
    assert points >= 10


def die_at(k):
    """Let this process be killed at the k-th change of a file."""
    count = iter(range(1 << 30))

    def dying(function):
        def call(*args, **options):
            if next(count) == k:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        return call

    for name in ("replace", "unlink", "fsync", "open", "close"):
        setattr(os, name, dying(getattr(os, name)))
