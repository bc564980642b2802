"""MATLAB 5 files: what is read is what scipy reads; what is listed and not read is named."""

import numpy as np
import pytest

from ecgfm import FormatError
from ecgfm.storage.mat import MatFile

io = pytest.importorskip("scipy.io", reason="needs the extra [io]")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("samples", [100, 200_000])  # read in one go, and in pieces
def test_numbers_as_scipy_reads_them(tmp_path, samples, compressed):
    rng = np.random.default_rng(0)
    fields = {
        "feats": rng.normal(size=(12, samples)),
        "single": rng.normal(size=(3, samples)).astype(np.float32),
        "counts": rng.integers(-9, 9, (2, samples)).astype(np.int16),
        "cube": rng.integers(0, 9, (2, 3, 4)).astype(np.uint8),
        "one": 7,
        "yes": np.array([True, False]),
        "none": np.zeros((0, 5)),
        "a_name_of_thirty_one_characters": 2.5,
    }
    path = tmp_path / "a.mat"
    io.savemat(path, fields, do_compression=compressed)
    expected = io.loadmat(path)
    with MatFile(path) as file:
        assert list(file.variables) == list(fields)
        for name, array in file.read().items():
            np.testing.assert_array_equal(array, expected[name])
            assert array.shape == expected[name].shape
        assert list(file.read(["one"])) == ["one"]


def test_what_is_no_number_is_named(tmp_path):
    path = tmp_path / "a.mat"
    values = {"text": "abc", "cell": np.array([1, "a"], object), "struct": {"a": 1}, "complex": np.ones(3) * 1j}
    io.savemat(path, values | {"sparse": __import__("scipy.sparse", fromlist=["eye"]).eye(3).tocsc(), "x": 1})
    with MatFile(path) as file:
        found = {name: variable.what for name, variable in file.variables.items()}
        assert found == {
            "text": "text",
            "cell": "a cell array",
            "struct": "a struct",
            "complex": "complex numbers",
            "sparse": "a sparse array",
            "x": "numbers",
        }
        assert list(file.read()) == ["x"]
        with pytest.raises(FormatError, match="holds a struct, not numbers") as caught:
            file.read(["struct"])
        assert caught.value.field == "struct" and caught.value.path == str(path)


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_damaged_compressed_values(tmp_path, size):
    path = tmp_path / "a.mat"
    io.savemat(path, {"x": np.random.default_rng(0).normal(size=size)}, do_compression=True)
    raw = bytearray(path.read_bytes())
    for at in (len(raw) - 2, len(raw) // 2):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 0x55]) + raw[at + 1 :])
        with MatFile(path) as file, pytest.raises(FormatError, match="damaged compressed data|truncated"):
            file.read()


def test_the_file_is_closed(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"x" * 200)
    import os

    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(FormatError):
            MatFile(tmp_path / "a.mat")
    assert len(os.listdir("/proc/self/fd")) == before
