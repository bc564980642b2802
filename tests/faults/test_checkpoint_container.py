"""Containers that are truncated, lie, or are something else: zip, legacy, safetensors, directories."""

import json
import os
import struct
import zipfile

import checkpoint_files as files
import numpy as np
import pytest
import weights

from ecgfm import CheckpointError, Error, checkpoint
from ecgfm.checkpoint.safetensors import write_tensors

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


@pytest.fixture(autouse=True)
def no_open_files():
    if not os.path.isdir("/proc/self/fd"):
        yield
        return
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    path = tmp_path_factory.mktemp("raw") / "a.pt"
    files.write(path)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.pt"


def fails(path, content=None, message="", field=None):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        with checkpoint.read(path) as found:
            found.verify()
            for tensor in found.tensors.values():
                np.asarray(tensor)
    assert message in str(caught.value), str(caught.value)
    assert caught.value.path is not None and (field is None or field in caught.value.field)
    assert len(str(caught.value)) < 700


def patched(raw, at, code, *values):
    out = bytearray(raw)
    struct.pack_into("<" + code, out, at, *values)
    return bytes(out)


def entry(raw, name, signature=CENTRAL):
    """Where the directory entry, or the header, of a member stands."""
    at = raw.index(signature)
    offset = 46 if signature == CENTRAL else 30
    while True:
        n = struct.unpack_from("<H", raw, at + (28 if signature == CENTRAL else 26))[0]
        if raw[at + offset : at + offset + n] == name.encode():
            return at
        at = raw.index(signature, at + 4)


# ---- zip ----------------------------------------------------------------------------------------------------------


def test_truncated_anywhere(raw, path):
    for n in [*range(64), *range(64, len(raw), 509), *range(len(raw) - 64, len(raw))]:
        fails(path, raw[:n])


def test_something_behind_the_end(raw, path):
    fails(path, raw + b"x", "after the end")


DATA = "archive/data/3"


@pytest.mark.parametrize(
    "name, offset, code, value, message",
    [
        ("archive/data.pkl", 8, "H", 0x1, "encrypted"),
        ("archive/data.pkl", 8, "H", 0x40, "encrypted"),
        (DATA, 8, "H", 0x2000, "encrypted"),
        (DATA, 10, "H", 12, "method 12"),
        (DATA, 10, "H", 8, "contradicts"),
        (DATA, 20, "L", 5, "two sizes"),
        (DATA, 24, "L", 2**31, "two sizes"),
        (DATA, 20, "LL", (2**31, 2**31), "beyond the end"),
        (DATA, 20, "LL", (64, 64), "claims"),
        (DATA, 20, "LL", (2**32 - 1, 2**32 - 1), "64-bit sizes are missing"),
        (DATA, 42, "L", 2**32 - 1, "64-bit sizes are missing"),
        (DATA, 42, "L", 2**31, "not where the directory says"),
        ("archive/data.pkl", 42, "L", 7, "not where the directory says"),
        (DATA, 34, "H", 3, "several parts"),
        (DATA, 28, "H", 2**16 - 1, "damaged"),
        (DATA, 30, "H", 2**16 - 1, "damaged"),
        (DATA, 0, "L", 0, "damaged"),
        (DATA, 16, "L", 1, "the checksum is wrong"),
        ("archive/data.pkl", 16, "L", 1, "the checksum is wrong"),
        ("archive/byteorder", 16, "L", 1, "the checksum is wrong"),
    ],
)
def test_directory_entries_that_lie(raw, path, name, offset, code, value, message):
    values = value if isinstance(value, tuple) else (value,)
    fails(path, patched(raw, entry(raw, name) + offset, code, *values), message)


@pytest.mark.parametrize(
    "offset, code, value, message",
    [
        (8, "H", 5, "several parts"),
        (10, "H", 5, "several parts"),
        (8, "HH", (5, 5), "longer than its entries"),
        (8, "HH", (60000, 60000), "outside of the file"),
        (12, "L", 2**31, "outside of the file"),
        (16, "L", 2**31, "outside of the file"),
        (16, "L", 0, "damaged"),
        (4, "H", 3, "several parts"),
        (20, "H", 9, "after the end"),
    ],
)
def test_an_end_that_lies(raw, path, offset, code, value, message):
    values = value if isinstance(value, tuple) else (value,)
    fails(path, patched(raw, raw.rindex(END) + offset, code, *values), message)


@pytest.mark.parametrize(
    "offset, code, value, message",
    [
        (0, "L", 0, "not where the directory says"),
        (6, "H", 1, "contradicts"),
        (8, "H", 8, "contradicts"),
        (26, "H", 5, "another name"),
        (30, "B", 33, "another name"),
        (28, "H", 5, None),
        (28, "H", 60000, None),
    ],
)
def test_headers_that_lie(raw, path, offset, code, value, message):
    fails(path, patched(raw, entry(raw, DATA, LOCAL) + offset, code, value), message or "")


def test_members_at_the_same_place(raw, path):
    (place,) = struct.unpack_from("<L", raw, entry(raw, "archive/data/0") + 42)
    fails(path, patched(raw, entry(raw, DATA) + 42, "L", place), "overlaps")


def test_names(path):
    value, storages = files.content(weights.SMALL)
    members = files.zip_members(value, storages.raw)
    for name in ("/etc/passwd", "../x", "archive/../x", "a\\b", "a\x07b", "x" * 2000):
        fails(path, files.zip_bytes([*members, (name, b"x")]), "impossible name")
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = files.zip_bytes([*members, members[2]])
    fails(path, twice, "two members have this name")


def test_what_is_no_checkpoint(path):
    value, storages = files.content(weights.SMALL)
    members = files.zip_members(value, storages.raw)
    fails(path, files.zip_bytes(members[1:]), "has no data.pkl")
    fails(path, files.zip_bytes([]), "")
    fails(path, files.zip_bytes([*members, ("other/data.pkl", b"N.")]), "more than one data.pkl")
    fails(path, files.zip_bytes([*members, ("archive/constants.pkl", b"N.")]), "TorchScript")
    members[1] = ("archive/byteorder", b"middle")
    fails(path, files.zip_bytes(members), "neither little nor big")
    members[1] = ("archive/byteorder", b"x" * 5000)
    fails(path, files.zip_bytes(members), "at most")
    fails(path, files.zip_bytes([members[0]]), "lacks this member")
    fails(path, files.zip_bytes([("archive/data.pkl", b"")]), "truncated")
    fails(path, files.zip_bytes([("archive/data.pkl", b"N.")]), "no model in the file, only NoneType")
    fails(path, files.zip_bytes([("archive/data.pkl", files.dumps({"a": 1, 2: 3}))]), "only a, 2")


def test_deflated_members_that_lie(path):
    value, storages = files.content(weights.SMALL)
    raw = files.zip_bytes(files.zip_members(value, storages.raw), zipfile.ZIP_DEFLATED)
    place = entry(raw, DATA)
    fails(path, patched(raw, place + 16, "L", 1), "the checksum is wrong")
    pickle = entry(raw, "archive/data.pkl")
    fails(path, patched(raw, pickle + 24, "L", 300 << 20), "inflate to 314,572,800")
    fails(path, patched(raw, pickle + 24, "L", 100), "does not inflate to the 100 bytes")
    fails(path, patched(raw, pickle + 24, "L", 1 << 20), "does not inflate to the")
    fails(path, patched(raw, place + 24, "L", 1000), "claims")
    fails(path, patched(raw, place + 24, "L", 2**31), "inflate to")
    for name in (DATA, "archive/data/0", "archive/data/1"):
        raw = patched(raw, entry(raw, name) + 24, "L", 2**31)
    fails(path, raw, "would inflate to")


def test_a_deflate_bomb(path):
    """A megabyte that would inflate to a gigabyte of pickle."""
    bomb = b"\x80\x02" + b"X" + struct.pack("<I", (300 << 20)) + b"a" * (300 << 20) + b"."
    fails(path, files.zip_bytes([("archive/data.pkl", bomb)], zipfile.ZIP_DEFLATED), "inflate to")
    assert path.stat().st_size < 1 << 20


def test_damaged_deflate_stream(path):
    value, storages = files.content(weights.SMALL)
    raw = files.zip_bytes(files.zip_members(value, storages.raw), zipfile.ZIP_DEFLATED)
    at = entry(raw, DATA, LOCAL) + 30 + len(DATA)
    fails(path, raw[:at] + b"\xff" * 20 + raw[at + 20 :], "damaged")


def test_too_many_members(path):
    members = [("archive/data.pkl", b"N."), *((f"a/{i}", b"") for i in range(200_001))]
    fails(path, files.zip_bytes(members), "at most 200000")


# ---- the container before zip -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def legacy():
    value, storages = files.content(weights.SMALL)
    return files.legacy_bytes(value, storages.raw)


def test_legacy_truncated_anywhere(legacy, path):
    for n in [*range(300), *range(300, len(legacy) - 300, 1009), *range(len(legacy) - 300, len(legacy))]:
        fails(path, legacy[:n])


def test_legacy_that_lies(path):
    value, storages = files.content(weights.SMALL)

    def parts(magic=0x1950A86A20F9469CFC6C, version=1001, value=value, keys=None, raws=storages.raw, counts=None):
        keys = [str(i) for i in range(len(raws))] if keys is None else keys
        head = b"".join(files.dumps(part) for part in (magic, version, {}, value, keys))
        counts = [len(raw) // 4 for raw in raws] if counts is None else counts
        return head + b"".join(struct.pack("<q", count) + raw for count, raw in zip(counts, raws))

    path.write_bytes(parts())
    checkpoint.read(path).close()
    n = len(storages.raw)
    names = [str(i) for i in range(n)]
    fails(path, parts(magic=5), "the magic number")
    fails(path, parts(version=1000), "the version")
    fails(path, parts(keys=7), "the list of storages")
    fails(path, parts(keys=[1] * n), "the list of storages")
    fails(path, parts(keys=["0"] * n), "the list of storages")
    fails(path, parts(keys=names[:-1]), "lacks this storage")
    fails(path, parts(keys=[*names, "zz"], raws=[*storages.raw, b""]), "no tensor refers")
    for count in (-1, 0, 2**62, 2**63 - 1):
        fails(path, parts(counts=[count] * n), "its tensors claim")
    fails(path, parts()[:-1], "truncated")
    two, more = files.content(weights.SMALL)
    two["model"].items["proj.bias"].args = (
        files.Persistent("storage", files.Global("torch", "DoubleStorage"), "0", "cpu", 17),
        *two["model"].items["proj.bias"].args[1:],
    )
    fails(path, parts(value=two, raws=more.raw), "described in two ways")
    for view in (("v", -1, 5), ("v", 0, 99), ("v", 17, 1), ("v", 0), "v", ("v", "0", 1)):
        storages_ = files.Storages()
        odd, _ = files.content(weights.SMALL, storages=storages_)
        tensor = odd["model"].items["proj.bias"]
        tensor.args = (files.Persistent(*tensor.args[0].key, view), *tensor.args[1:])
        fails(path, parts(value=odd, raws=storages_.raw), "lies outside of it")


# ---- safetensors --------------------------------------------------------------------------------------------------


def description(**changes):
    labels = [f"label {i}" for i in range(17)]
    found = {"format": "ecgfm", "version": 1, "model": files.settings(weights.SMALL), "labels": labels}
    return found | {"sampling_rate": 500, "samples": 2500, "leads": None} | changes


@pytest.fixture
def model(tmp_path):
    write_tensors(tmp_path / "model.safetensors", files.state(weights.SMALL))
    (tmp_path / "config.json").write_text(json.dumps(description()))
    return tmp_path


def split(folder):
    raw = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def joined(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_safetensors_truncated_anywhere(model):
    checkpoint.read(model).close()
    raw = (model / "model.safetensors").read_bytes()
    path = model / "model.safetensors"
    for n in [*range(1, 100), *range(100, len(raw), 1009), len(raw) - 1]:
        fails(path, raw[:n])
    fails(path, raw + b"x", "belong to no tensor")


NAME = "proj.weight"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dtype": "F8"}, "values of type 'F8'"),
        ({"dtype": 5}, "values of type 5"),
        ({"dtype": "F16"}, "does not fill"),
        ({"shape": [17, 33]}, "does not fill"),
        ({"shape": [-17, -32]}, "whole numbers"),
        ({"shape": [2**70, 2**70]}, "whole numbers"),
        ({"shape": [2**62, 2**62]}, "does not fill"),
        ({"shape": [17.0, 32]}, "whole numbers"),
        ({"shape": [True, 544]}, "whole numbers"),
        ({"shape": "17"}, "whole numbers"),
        ({"shape": [1] * 65}, "whole numbers"),
        ({"shape": [17, 32] + [1] * 20}, "dimensions"),
        ({"data_offsets": [0, 2176]}, "overlap"),
        ({"data_offsets": [2**40, 2**40 + 2176]}, "hole"),
        ({"data_offsets": [5]}, "whole numbers"),
        ({"data_offsets": [2176, 0]}, "does not fill"),
        ({"data_offsets": None}, "whole numbers"),
        ({"extra": 1}, "other keys"),
    ],
)
def test_safetensors_entries_that_lie(model, change, message):
    header, body = split(model)
    header[NAME] |= change
    (model / "model.safetensors").write_bytes(joined(header, body))
    fails(model, None, message)


@pytest.mark.parametrize(
    "header, message",
    [
        (b"{", "damaged"),
        (b"[1]", "neither"),
        (b"{} x", "damaged"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": 1}', "other keys"),
        (b'{"a": {}, "a": {}}', "stands twice"),
        (b"{" + b"".join(b'"%d": 0, ' % i for i in range(200_000)) + b'"199999": 0}', "stands twice"),  # no minutes
        (b'{"__metadata__": 5}', "metadata"),
        (b'{"__metadata__": {"a": 5}}', "metadata"),
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
        (b'{"a":' + b"9" * 10_000 + b"}", ""),
        (b'{"\xff": 1}', "damaged"),
        (b"{}", ""),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_safetensors_headers_that_lie(model, header, message):
    (model / "model.safetensors").write_bytes(joined(header, b""))
    fails(model, None, message)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 10**9, 33 << 20])
def test_safetensors_header_lengths(model, length):
    raw = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(length.to_bytes(8, "little") + raw[8:])
    fails(model, None, "header claims")


@pytest.mark.parametrize(
    "text, message, field",
    [
        ("", "damaged", None),
        ("[]", "not the description", "format"),
        ("{}", "not the description", "format"),
        (json.dumps(description(format="other")), "not the description", "format"),
        (json.dumps(description(version=3)), "version 3 is not known", "version"),
        (json.dumps(description(version=True)), "version True is not known", "version"),
        (json.dumps(description(model=None)), "settings of the model", "model"),
        (json.dumps(description(labels="label_def.csv")), "list of names", "labels"),
        (json.dumps(description(sampling_rate=10**9)), "is not a number from 50 to 100000", "sampling_rate"),
        (json.dumps(description(input={"normalisation": "min-max"})), "min-max (each segment scaled", "normalisation"),
        (json.dumps(description(input={"filter": True})), "Install a newer ecgfm", "input.filter"),
        (json.dumps(description(input={"samples": 3})), "3 samples give no token", "input.samples"),
        (json.dumps(description(input={"samples": 10**6})), "one segment of 1000000 samples would take", "cfg.model"),
        (json.dumps(description(input=[500])), "[500] is no specification", "input"),
        (json.dumps(description(leads=["II"])), "leads", "leads"),
        ('{"format": "ecgfm", "format": "ecgfm"}', "stands twice", None),
        (json.dumps(description(model=files.settings(weights.LARGE))), "the configuration gives it", None),
        ("[" * 100_000, "nested too deeply", None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_descriptions_that_lie(model, text, message, field):
    (model / "config.json").write_text(text)
    fails(model, None, message, field)


def test_wrong_labels_in_a_description_are_named(model):
    (model / "config.json").write_text(json.dumps(description(labels=["a"])))
    with pytest.raises(Error, match="1 label names for 17 outputs"):
        checkpoint.read(model)


def test_weights_without_a_description(model):
    (model / "config.json").unlink()
    fails(model / "model.safetensors", None, "config.json: there is no such file")


# ---- what is no file at all ---------------------------------------------------------------------------------------


def test_directories(tmp_path):
    fails(tmp_path, None, "has none of model.safetensors, checkpoint_best.pt, checkpoint_last.pt")
    for name, count in (("checkpoint_last.pt", 3), ("checkpoint_best.pt", 4)):
        files.write(tmp_path / name, weights.SMALL | {"num_labels": count})
        with checkpoint.read(tmp_path) as found:
            assert found.path == tmp_path / name and found.config["num_labels"] == count
    with checkpoint.read(tmp_path / "checkpoint_last.pt") as found:
        arguments = {"kind": found.kind, "config": found.config, "tensors": found.tensors}
        checkpoint.write_directory(tmp_path, **arguments)
    with checkpoint.read(tmp_path) as found:
        assert found.format == "safetensors" and found.config["num_labels"] == 3


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "the file is empty"),
        (b"x", "neither a .pt file"),
        (b"\x00" * 100, "begins with zeros"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"PK", "truncated"),
        (b"\x80\x02", "truncated"),
        (b"\x80\x02N.", "truncated"),
        (b"\x93NUMPY\x01\x00", "neither a .pt file"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_other_files(path, content, message):
    fails(path, content, message)


def test_no_regular_files(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    fails(tmp_path / "fifo", None, "not a regular file")
    fails("/dev/zero", None, "not a regular file")
    fails(tmp_path / "absent", None, "no such file")
    fails("a\0b", None, "")
    fails(5, None, "not a path")
    fails(None, None, "not a path")
    os.symlink("loop", tmp_path / "loop")
    fails(tmp_path / "loop", None, "can't be read")


def test_a_file_that_may_not_be_read(path):
    files.write(path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    fails(path, None, "Permission denied")
