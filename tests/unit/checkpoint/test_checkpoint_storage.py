"""Tensors in files: views without copies, number types, strides, and memory that is given back."""

import struct
import subprocess
import sys
import zipfile

import checkpoint_files as files
import numpy as np
import pytest
import weights

from ecgfm import CheckpointError, checkpoint
from ecgfm.checkpoint.archive import Archive
from ecgfm.checkpoint.storage import File

NAME = "proj.weight"
VALUES = weights.weight(NAME, (17, 32))


def read_with(tmp_path, tensor, storages, byteorder=None):
    """proj.weight as read from a file that holds it as the given rebuild call."""
    value, _ = files.content(weights.SMALL, storages=storages)
    value["model"].items[NAME] = tensor
    members = files.zip_members(value, storages.raw)
    if byteorder is not None:
        members[1] = ("archive/byteorder", byteorder)
    (tmp_path / "a.pt").write_bytes(files.zip_bytes(members))
    return checkpoint.read(tmp_path / "a.pt").tensors[NAME]


def aligned(path):
    """Whether the storages of a file begin at multiples of 4."""
    archive = Archive(File(path))
    return [m.start % 4 == 0 for name, m in archive.members.items() if "/data/" in name]


def test_values_are_read_when_they_are_asked_for(tmp_path):
    files.write(tmp_path / "a.pt")
    with checkpoint.read(tmp_path / "a.pt") as found:
        checkpoint.write_directory(tmp_path / "m", kind=found.kind, config=found.config, tensors=found.tensors)
        checkpoint.write_pt(tmp_path / "b.pt", found.content | {"model": found.tensors})
    for path in (tmp_path / "m", tmp_path / "b.pt"):
        found = checkpoint.read(path)
        array = np.asarray(found.tensors[NAME])
        assert not array.flags.writeable and array.flags.aligned
        copy = np.array(found.tensors[NAME])
        assert copy.flags.writeable and not np.shares_memory(copy, array)
        with pytest.raises(ValueError):
            array[0, 0] = 1
        wider = np.asarray(found.tensors[NAME], np.float64)
        assert wider.dtype == np.float64 and np.array_equal(wider, VALUES)
        assert found.tensors[NAME].__array__(copy=False) is not None
        with pytest.raises(ValueError, match="without a copy"):
            found.tensors[NAME].__array__(np.float64, copy=False)
        found.close()
        np.testing.assert_array_equal(array, VALUES)  # the array outlives the checkpoint
        with pytest.raises(CheckpointError, match="has been closed"):
            np.asarray(found.tensors[NAME])


def test_storages_that_are_not_aligned_are_copied(tmp_path):
    expected = files.write(tmp_path / "a.pt")
    assert not all(aligned(tmp_path / "a.pt"))
    with checkpoint.read(tmp_path / "a.pt") as found:
        for name, value in expected.items():
            array = np.asarray(found.tensors[name])
            assert array.flags.aligned and array.flags.c_contiguous
            np.testing.assert_array_equal(array, value)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_number_types(tmp_path, dtype, container):
    expected = files.write(tmp_path / "a.pt", dtype=dtype, container=container)
    with checkpoint.read(tmp_path / "a.pt") as found:
        assert str(found.tensors[NAME].dtype) == dtype
        for name, value in expected.items():
            if dtype == "float16":
                value = value.astype(np.float16).astype(np.float32)
            elif dtype == "bfloat16":
                value = (value.view(np.uint32) & 0xFFFF0000).view(np.float32)
            got = np.asarray(found.tensors[name])
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, value)


def test_every_half_is_widened_exactly(tmp_path):
    halves = np.arange(1 << 16, dtype=np.uint16)
    bits = (halves.astype(np.uint32) << 16).view(np.float32)
    storages = files.Storages()
    tensor = read_raw(tmp_path, storages.tensor(bits, "bfloat16"), storages)
    np.testing.assert_array_equal(np.asarray(tensor).view(np.uint32), bits.view(np.uint32))
    storages = files.Storages()
    tensor = read_raw(tmp_path, storages.tensor(halves.view(np.float16), "float16"), storages)
    np.testing.assert_array_equal(np.asarray(tensor), halves.view(np.float16).astype(np.float32))


def read_raw(tmp_path, tensor, storages):
    """A tensor outside of the model, from a file of its own."""
    value, _ = files.content(weights.SMALL, storages=storages)
    value["extra_state"] = {"t": tensor}
    (tmp_path / "a.pt").write_bytes(files.zip_bytes(files.zip_members(value, storages.raw)))
    return checkpoint.read(tmp_path / "a.pt").extra_state["t"]


def test_integers_keep_their_type(tmp_path):
    storages = files.Storages()
    tensor = read_raw(tmp_path, storages.tensor(np.array([1, -(2**60)]), "int64"), storages)
    assert np.asarray(tensor).dtype == np.int64 and np.asarray(tensor).tolist() == [1, -(2**60)]


def test_offsets_and_strides(tmp_path):
    storages = files.Storages()
    big = np.zeros((34, 40), np.float32)
    big[1:18, 3:35] = VALUES
    storage = storages.storage(big)
    tensor = read_with(tmp_path, files.rebuild(storage, 43, (17, 32), (40, 1)), storages)
    np.testing.assert_array_equal(np.asarray(tensor), VALUES)
    storages = files.Storages()
    turned = files.rebuild(storages.storage(VALUES.T), 0, (17, 32), (1, 17))
    np.testing.assert_array_equal(np.asarray(read_with(tmp_path, turned, storages)), VALUES)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_parts_of_one_storage(tmp_path, compression):
    """A state dict whose tensors are parts of one flat storage."""
    model = files.state(weights.SMALL)
    storages = files.Storages()
    whole = storages.storage(np.concatenate([value.ravel() for value in model.values()]))
    value, _ = files.content(weights.SMALL, storages=storages, model={})
    at = 0
    for name, array in model.items():
        steps = [int(s) // 4 for s in array.strides]
        value["model"].items[name] = files.rebuild(whole, at, array.shape, steps)
        at += array.size
    (tmp_path / "a.pt").write_bytes(files.zip_bytes(files.zip_members(value, storages.raw), compression))
    with checkpoint.read(tmp_path / "a.pt") as found:
        for name, array in model.items():
            np.testing.assert_array_equal(np.asarray(found.tensors[name]), array)
            found.tensors[name].release()


def test_big_endian(tmp_path):
    storages = files.Storages()
    value, _ = files.content(weights.SMALL, storages=storages)
    swapped = [np.frombuffer(raw, "<f4").astype(">f4").tobytes() for raw in storages.raw]
    members = files.zip_members(value, swapped)
    members[1] = ("archive/byteorder", b"big")
    (tmp_path / "a.pt").write_bytes(files.zip_bytes(members))
    with checkpoint.read(tmp_path / "a.pt") as found:
        array = np.asarray(found.tensors[NAME])
        assert array.dtype.isnative
        np.testing.assert_array_equal(array, VALUES)


def test_parts_of_storages_in_the_legacy_container(tmp_path):
    """Very old files describe a storage that is a part of another one."""
    storages = files.Storages(view_metadata=True)
    others = {name: value for name, value in files.state(weights.SMALL).items() if name != NAME}
    value, _ = files.content(weights.SMALL, storages=storages, model=others)
    whole = storages.storage(np.concatenate([np.zeros(7, np.float32), VALUES.ravel()]))
    part = files.Persistent(*whole.key[:5], ("part", 5, VALUES.size + 2))
    value["model"].items[NAME] = files.rebuild(part, 2, (17, 32), (32, 1))
    (tmp_path / "a.pt").write_bytes(files.legacy_bytes(value, storages.raw))
    with checkpoint.read(tmp_path / "a.pt") as found:
        np.testing.assert_array_equal(np.asarray(found.tensors[NAME]), VALUES)


def test_64_bit_archives(tmp_path):
    """What zip writes when it can't know that sizes are small: 64-bit fields everywhere."""
    value, storages = files.content(weights.SMALL)
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in files.zip_members(value, storages.raw):
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(raw)
    raw = path.read_bytes()
    end = raw.rindex(b"PK\x05\x06")
    count, size, start = struct.unpack_from("<HLL", raw, end + 10)
    directory = bytearray(raw[start : start + size])
    at, wide = 0, b""
    while at < len(directory):  # the same directory with every size and place in a 64-bit field
        packed, length, n, m, k = struct.unpack_from("<LLHHH", directory, at + 20)
        (place,) = struct.unpack_from("<L", directory, at + 42)
        entry = bytearray(directory[at : at + 46 + n])
        struct.pack_into("<LLHHH", entry, 20, 2**32 - 1, 2**32 - 1, n, 28, 0)
        struct.pack_into("<L", entry, 42, 2**32 - 1)
        wide += bytes(entry) + struct.pack("<HHQQQ", 1, 24, length, packed, place)
        at += 46 + n + m + k
    tail = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(wide), start)
    tail += struct.pack("<4sLQL", b"PK\x06\x07", 0, start + len(wide), 1)
    tail += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)
    path.write_bytes(raw[:start] + wide + tail)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    with checkpoint.read(path) as found:
        found.verify()
        np.testing.assert_array_equal(np.asarray(found.tensors[NAME]), VALUES)


MEASURE = """
import sys, numpy as np
from ecgfm import checkpoint

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

with checkpoint.read(sys.argv[1]) as found:
    before = most = resident()
    for tensor in found.tensors.values():
        np.asarray(tensor).sum()
        most = max(most, resident())
print(most - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_one_tensor_at_a_time_is_in_memory(tmp_path):
    config = weights.SMALL | {"encoder_layers": 24, "encoder_embed_dim": 256, "encoder_ffn_embed_dim": 2048}
    shapes = weights.parameters(config)
    tensors = {name: np.ones(shape, np.float32) for name, shape in shapes}
    checkpoint.write_directory(tmp_path, kind="classifier", config=config, tensors=tensors)
    total, largest = (f(int(np.prod(shape)) * 4 for _, shape in shapes) for f in (sum, max))
    run = [sys.executable, "-c", MEASURE, str(tmp_path)]
    grown = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert grown < largest + 8e6 < 0.3 * total
