"""A .npy header said to have 4 GB, an HDF5 index of chunks that goes round in a circle, exams that were never
written."""

import struct

import numpy as np
import pytest
from bounded import attack

REFUSED = """
for name in {names!r}:
    try:
        {code}
    except ecgfm.Error as error:
        assert error.path and len(str(error)) <= 2000, error
    else:
        raise AssertionError(name)
"""


def refused(folder, names, code):
    ended = attack(REFUSED.format(names=names, code=code), folder)
    ended.bounded()
    assert ended.raised is None, ended


def test_a_header_of_4_gb(tmp_path):
    for version in (2, 3):
        content = b"\x93NUMPY" + bytes([version, 0]) + b"\xff\xff\xff\xff" + b"x" * 100
        (tmp_path / f"{version}.npy").write_bytes(content)
    refused(tmp_path, ["2.npy", "3.npy"], "ecgfm.read(name, 500)")


@pytest.mark.parametrize("libver", ["earliest", "v108"])
def test_an_index_of_chunks_in_a_circle(tmp_path, libver):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w", libver=(libver, "v108")) as file:
        file.create_dataset("tracings", data=np.ones((1, 4000, 12), "f4"), chunks=(1, 8, 12))
    raw = bytearray((tmp_path / "a.h5").read_bytes())
    at, width = -1, 16 + 8 * 4
    while (at := raw.find(b"TREE", at + 1)) >= 0:
        if raw[at + 4] == 1:
            raw[at + 5] = max(raw[at + 5], 1)
            for i in range(struct.unpack_from("<H", raw, at + 6)[0]):
                struct.pack_into("<Q", raw, at + 24 + i * width + width - 8, at)
    (tmp_path / "a.h5").write_bytes(raw)
    refused(tmp_path, ["a.h5"], "ecgfm.read(name)")


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
def test_a_right_index_is_read(tmp_path, libver):
    h5py = pytest.importorskip("h5py")
    import ecgfm

    signal = np.random.default_rng(0).normal(size=(1, 4000, 12)).astype("f4")
    with h5py.File(tmp_path / "a.h5", "w", libver=libver) as file:
        file.create_dataset("tracings", data=signal, chunks=(1, 8, 12), compression="gzip")
        file["tracings"].attrs["long"] = "x" * 30_000
    assert np.array_equal(ecgfm.read(tmp_path / "a.h5").signal, signal[0].T)


def test_millions_of_exams_never_written(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("tracings", (1_000_000, 100, 12), "f4", chunks=(1, 100, 12))
    with open(tmp_path / "a.h5", "ab") as file:
        file.truncate(3 << 20)
    refused(tmp_path, ["a.h5"], "list(ecgfm.io.members(name))")
