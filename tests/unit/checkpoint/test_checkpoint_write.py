"""Writing: the layout of torch.save, bytes that depend on the content alone, files whole or not at all."""

import functools
import hashlib
import json
import os
import pickletools
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import checkpoint_files as files
import numpy as np
import pytest
import weights

from ecgfm import CheckpointError, checkpoint
from ecgfm.checkpoint.conversion import pt_content
from ecgfm.checkpoint.safetensors import write_tensors

#: What torch.load(weights_only=True) rebuilds; nothing else may be named.
GLOBALS = {
    "torch._utils _rebuild_tensor_v2",
    "collections OrderedDict",
    *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Byte", "Bool")),
}
CONTENT = {
    "args": None,
    "cfg": {"model": {"a": 1.5, "b": [1, -2, 2**40, -(2**70)], "c": ("x", True, False, None), "é": {}}},
    "model": {},
    "extra_state": {
        "ecgfm": {
            "labels": ["a"],
            "float64": np.arange(3.0),
            "int64": np.arange(6).reshape(2, 3),
            "int32": np.arange(2, dtype=np.int32),
            "uint8": np.arange(5, dtype=np.uint8),
            "bool": np.array([True, False]),
            "half": np.arange(3, dtype=np.float16),
            "number": np.array(2.5, np.float32),
            "empty": np.zeros((0, 3), np.float32),
            "turned": np.arange(6.0).reshape(2, 3).T,
            "swapped": np.arange(3, dtype=">f4"),
            "scalars": [np.float32(0.5), np.int64(7), np.bool_(True)],
            1: {2: 3},
        }
    },
}


def small(path, kind="classifier"):
    """The content for writing of a small checkpoint."""
    files.write(path, kind=kind)
    return pt_content(checkpoint.read(path))


def globals_of(path):
    with zipfile.ZipFile(path) as archive:
        return {arg for code, arg, _ in pickletools.genops(archive.read("archive/data.pkl")) if code.name == "GLOBAL"}


def opcodes_of(path):
    with zipfile.ZipFile(path) as archive:
        return {code.name for code, _, _ in pickletools.genops(archive.read("archive/data.pkl"))}


def test_content_comes_back(tmp_path):
    model = files.state(weights.SMALL)
    content = CONTENT | {"model": model, "cfg": {"model": files.settings(weights.SMALL) | CONTENT["cfg"]["model"]}}
    checkpoint.write_pt(tmp_path / "a.pt", content)
    with checkpoint.read(tmp_path / "a.pt", labels=[str(i) for i in range(17)]) as found:
        assert found.refused == () and found.settings["b"] == [1, -2, 2**40, -(2**70)]
        assert found.settings["c"] == ("x", True, False, None) and found.settings["é"] == {}
        for name, value in model.items():
            np.testing.assert_array_equal(np.asarray(found.tensors[name]), value)
        for key, value in CONTENT["extra_state"]["ecgfm"].items():
            got = found.extra_state["ecgfm"][key]
            if isinstance(value, np.ndarray):
                assert got.shape == value.shape
                assert got.dtype == value.dtype.newbyteorder("=")
                np.testing.assert_array_equal(np.asarray(got), value)
            else:
                assert got == value and "numpy" not in str(type(got))
        assert [type(v) for v in found.extra_state["ecgfm"]["scalars"]] == [float, int, bool]
    assert globals_of(tmp_path / "a.pt") <= GLOBALS
    assert not {name for name in opcodes_of(tmp_path / "a.pt") if "BYTES" in name or "LONG4" in name}


@pytest.mark.parametrize("kind", ["classifier", "pretraining"])
def test_layout(tmp_path, kind):
    content = small(tmp_path / "a.pt", kind)
    checkpoint.write_pt(tmp_path / "b.pt", content)
    count = len(content["model"])
    raw = (tmp_path / "b.pt").read_bytes()
    with zipfile.ZipFile(tmp_path / "b.pt") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names == [
            "archive/data.pkl",
            "archive/.format_version",
            "archive/.storage_alignment",
            "archive/byteorder",
            *(f"archive/data/{i}" for i in range(count)),
            "archive/version",
            "archive/.data/serialization_id",
        ]
        assert [archive.read(names[i]) for i in (1, 2, 3, -2)] == [b"1", b"64", b"little", b"3\n"]
        identity = archive.read(names[-1]).decode()
        assert len(identity) == 40 and identity.isdigit()
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            n, m = struct.unpack_from("<2H", raw, info.header_offset + 26)
            assert (info.header_offset + 30 + n + m) % 64 == 0
    assert globals_of(tmp_path / "b.pt") == {
        "torch._utils _rebuild_tensor_v2",
        "torch FloatStorage",
        "collections OrderedDict",
    }


def test_entries_are_those_of_the_original(shared, tmp_path):
    structure = json.loads((shared / "golden" / "cli" / "checkpoint_structure.json").read_text())
    source = checkpoint.read(shared / "golden" / "tiny" / "finetuned.pt")
    content = pt_content(source)
    names = list(structure["finetune"])
    names.insert(names.index("cfg") + 1, "model")
    assert list(content) == names
    assert set(content["cfg"]) == set(structure["finetune"]["cfg"])
    assert set(content["cfg"]["model"]) == set(structure["finetune"]["cfg"]["model"])
    assert set(content["extra_state"]) == {*structure["finetune"]["extra_state"], "ecgfm"}
    # The state of training stays behind.
    assert content["last_optimizer_state"]["state"] == {} and content["optimizer_history"][0]["num_updates"] == 0
    assert set(content["optimizer_history"][0]) == set(structure["finetune"]["optimizer_history"][0])
    checkpoint.write_pt(tmp_path / "a.pt", content)
    with checkpoint.read(tmp_path / "a.pt") as found:
        assert found.cfg["task"] == source.cfg["task"] and found.config == source.config


def test_the_same_content_gives_the_same_bytes(tmp_path):
    content = small(tmp_path / "a.pt")
    for name in ("b.pt", "c.pt"):
        checkpoint.write_pt(tmp_path / name, content)
    assert (tmp_path / "b.pt").read_bytes() == (tmp_path / "c.pt").read_bytes()
    content["model"]["proj.bias"] = np.zeros(17, np.float32)
    checkpoint.write_pt(tmp_path / "c.pt", content)
    assert (tmp_path / "b.pt").read_bytes() != (tmp_path / "c.pt").read_bytes()


@pytest.mark.parametrize(
    "value, field",
    [
        ({"a": {"b": [1, object()]}}, "a.b.1"),
        ({"a": {1.5: 2}}, "a"),
        ({"a": np.zeros(2, np.uint16)}, "a"),
        ({"a": np.array(["x"])}, "a"),
        ({"a": np.zeros(2, complex)}, "a"),
        ({"a": {1, 2}}, "a"),
        ({"a": b"bytes"}, "a"),
        ({"a": 1 << 5000}, "a"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_not_written(tmp_path, value, field):
    (tmp_path / "a.pt").write_text("old")
    with pytest.raises(CheckpointError) as caught:
        checkpoint.write_pt(tmp_path / "a.pt", value)
    assert caught.value.field == field and caught.value.path == str(tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_no_endless_recursion(tmp_path):
    value = []
    value.append(value)
    with pytest.raises(CheckpointError, match="nested"):
        checkpoint.write_pt(tmp_path / "a.pt", {"a": value})


def test_a_failing_disk_leaves_the_old_file(tmp_path):
    content = small(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_text("old")

    with checkpoint.read(tmp_path / "a.pt") as found:
        content["model"] = dict(found.tensors)
    # The file has been closed: reading the first tensor fails in the middle of writing.
    for write in (
        lambda: checkpoint.write_pt(tmp_path / "b.pt", content),
        lambda: write_tensors(tmp_path / "b.pt", content["model"]),
    ):
        with pytest.raises(CheckpointError, match="has been closed"):
            write()
    assert (tmp_path / "b.pt").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt", "b.pt"]
    with pytest.raises(CheckpointError, match="can.t be written: No such file"):
        checkpoint.write_pt(tmp_path / "absent" / "b.pt", {})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_has_a_name():
    with pytest.raises(CheckpointError, match="/dev/full: can.t be written"):
        checkpoint.write_pt("/dev/full", {"a": np.zeros(100_000, np.float32)})


def test_safetensors_bytes(tmp_path):
    tensors = {"a": np.arange(3, dtype=np.float16), "b": np.arange(6.0).reshape(2, 3), "c": np.float32(4)}
    write_tensors(tmp_path / "x.safetensors", tensors, {"format": "t"})
    raw = (tmp_path / "x.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    assert (8 + length) % 64 == 0 and len(raw) == 8 + length + 6 + 24 + 4
    assert header.pop("__metadata__") == {"format": "t", "sha256": hashlib.sha256(raw[8 + length :]).hexdigest()}
    assert header["b"] == {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    assert header["c"] == {"dtype": "F32", "shape": [], "data_offsets": [24, 28]}
    assert header["a"] == {"dtype": "F16", "shape": [3], "data_offsets": [28, 34]}
    with pytest.raises(CheckpointError, match="int64 are not written"):
        write_tensors(tmp_path / "y.safetensors", {"a": np.arange(3)})


# ---- with torch ---------------------------------------------------------------------------------------------------

PEER = """
import json, sys
import numpy as np, torch
found = torch.load(sys.argv[1], weights_only=True)
np.savez(sys.argv[2], **{k: v.float().numpy() for k, v in found["model"].items()})
ours = found["extra_state"]["ecgfm"]
print(json.dumps({"keys": list(found), "labels": ours.get("labels"), "types": sorted({str(v.dtype) for v in
    found["model"].values()})}))
"""


@functools.cache
def has_torch(python):
    return shutil.which(python) and subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0


def peer_python():
    """An interpreter that has torch: this one, or the one that ECGFM_PEER_PYTHON names."""
    python = os.environ.get("ECGFM_PEER_PYTHON", sys.executable)
    if has_torch(python):
        return python
    pytest.skip("needs torch, in this environment or in that of the interpreter ECGFM_PEER_PYTHON")


@pytest.mark.peer
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_torch_reads_what_we_write(tmp_path, dtype):
    python = peer_python()
    files.write(tmp_path / "a.pt", dtype=dtype)
    names = [f"label {i}" for i in range(17)]
    checkpoint.convert(tmp_path / "a.pt", tmp_path / "m", labels=names)
    checkpoint.convert(tmp_path / "m", tmp_path / "b.pt")
    run = subprocess.run([python, "-c", PEER, tmp_path / "b.pt", tmp_path / "b.npz"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert told["labels"] == names and told["types"] == [f"torch.{dtype}"] and "cfg" in told["keys"]
    with checkpoint.read(tmp_path / "b.pt") as found, np.load(tmp_path / "b.npz") as arrays:
        assert sorted(arrays.files) == sorted(found.tensors)
        for name, tensor in found.tensors.items():
            np.testing.assert_array_equal(np.asarray(tensor), arrays[name])


PEER_SAFETENSORS = """
import sys
import numpy as np
from safetensors.numpy import load_file
np.savez(sys.argv[2], **load_file(sys.argv[1]))
"""


@pytest.mark.peer
def test_safetensors_reads_what_we_write(tmp_path):
    python = peer_python()
    expected = files.state(weights.SMALL) | {"half": np.arange(3, dtype=np.float16)}
    write_tensors(tmp_path / "a.safetensors", expected, {"format": "ecgfm"})
    args = [python, "-c", PEER_SAFETENSORS, tmp_path / "a.safetensors", tmp_path / "a.npz"]
    run = subprocess.run(args, capture_output=True, text=True)
    if "ModuleNotFoundError" in run.stderr:
        pytest.skip("needs the safetensors package")
    assert run.returncode == 0, run.stderr
    with np.load(tmp_path / "a.npz") as arrays:
        assert sorted(arrays.files) == sorted(expected)
        for name, value in expected.items():
            assert arrays[name].dtype == value.dtype
            np.testing.assert_array_equal(arrays[name], value)


PEER_WRITE = """
import sys
import numpy as np, torch
arrays = np.load(sys.argv[1])
settings = eval(sys.argv[3])
model = {k: torch.from_numpy(arrays[k]).to(getattr(torch, sys.argv[4])) for k in arrays.files}
optimizer = {"state": {0: {"exp_avg": torch.ones(3).bfloat16(), "p": torch.nn.Parameter(torch.ones(2))}}}
content = {"args": None, "cfg": {"model": settings}, "model": model, "extra_state": {"score": np.arange(5.0)}}
content["last_optimizer_state"] = optimizer
torch.save(content, sys.argv[2], _use_new_zipfile_serialization=sys.argv[5] == "zip")
"""


@pytest.mark.peer
@pytest.mark.parametrize("container", ["zip", "legacy"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_we_read_what_torch_writes(tmp_path, dtype, container):
    python = peer_python()
    expected = files.state(weights.SMALL)
    np.savez(tmp_path / "a.npz", **expected)
    args = [tmp_path / "a.npz", tmp_path / "a.pt", repr(files.settings(weights.SMALL)), dtype, container]
    run = subprocess.run([python, "-c", PEER_WRITE, *args], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    with checkpoint.read(tmp_path / "a.pt") as found:
        assert found.refused == () and found.format == ("pt" if container == "zip" else "pt-legacy")
        found.verify()
        for name, value in expected.items():
            tensor = found.tensors[name]
            assert str(tensor.dtype) == dtype
            rtol = {"float32": 0, "float16": 1e-3, "bfloat16": 1e-2}[dtype]
            np.testing.assert_allclose(np.asarray(tensor), value, rtol=rtol, atol=rtol * 1e-3)
        np.testing.assert_array_equal(found.extra_state["score"], np.arange(5.0))
        state = found.content["last_optimizer_state"]["state"][0]
        assert np.asarray(state["exp_avg"]).tolist() == [1, 1, 1] and np.asarray(state["p"]).tolist() == [1, 1]
