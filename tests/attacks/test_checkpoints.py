"""Checkpoints, model directories and files of labels that lie: refused by name, with little memory and time."""

import json
import os
import struct
import zipfile
import zlib

import checkpoint_files as files
import numpy as np
import pytest
import weights
from bounded import attack
from checkpoint_files import Raw

import ecgfm
from ecgfm import checkpoint

# Runs a line on each file of a folder, and says of each whether it was taken; whatever is no error of ours ends it.
EACH = """
import glob
for path in sorted(glob.glob('*.pt')):
    try:
        {line}
    except ecgfm.Error as error:
        assert len(str(error)) < 2000 and str(error).isprintable(), path
        print(path, 'refused', error)
    else:
        print(path, 'taken')
"""


def outcome(ended):
    """{file: "refused" or "taken"}."""
    return dict(line.split(" ")[:2] for line in ended.out.splitlines())


def save(path, settings=(), compression=zipfile.ZIP_STORED, config=weights.SMALL, model=None, members=(), **more):
    """A small checkpoint with these settings of the model and these further entries."""
    value, storages = files.content(config, model=model)
    value["cfg"] = value["cfg"] | {"model": value["cfg"]["model"] | dict(settings)}
    made = files.zip_members(value | more, storages.raw)
    path.write_bytes(files.zip_bytes([*made, *members], compression))
    return path


def nested(text=1_000_000, wide=1000):
    """Lists of lists of references to one text: a megabyte that stands for a million of them."""
    raw = b"X" + struct.pack("<I", text) + b"a" * text + b"r" + struct.pack("<I", 70_000) + b"0"
    raw += b"](" + (b"j" + struct.pack("<I", 70_000)) * wide + b"er" + struct.pack("<I", 70_001) + b"0"
    return Raw(raw + b"](" + (b"j" + struct.pack("<I", 70_001)) * wide + b"e")


# ---- .pt: what a pickle makes ---------------------------------------------------------------------------------------


def test_settings_that_are_one_text_again_and_again(tmp_path):
    keys = ("encoder_layers", "extractor_mode", "conv_feature_layers", "layer_norm_first", "num_labels", "nobody_needs")
    for key in keys:
        save(tmp_path / f"{key}.pt", {key: nested()})
    save(tmp_path / "key.pt", {"a": Raw(b"}(" + files.opcodes("k" * 9_000_000) + b"Nu")})
    save(tmp_path / "args.pt", cfg=None, args=nested())
    save(tmp_path / "name.pt", model={"a" * 9_000_000: np.zeros(2, np.float32)})
    for line in ("ecgfm.load(path)", "ecgfm.checkpoint.convert(path, path[:-3])"):
        ended = attack(EACH.format(line=line), tmp_path)
        ended.bounded()
        assert ended.raised is None and set(outcome(ended).values()) == {"refused"}, ended.out


def test_pickles_that_make_much_of_little(tmp_path):
    sets = Raw(b"](" + b"\x8f" * 1_000_000 + b"e")
    wide = Raw(files.opcodes("x" * 40_000_000 + "\U0001f600"))
    listing = b"(" + b"N" * 300_000 + b"lr" + struct.pack("<I", 70_000) + b"0"
    copies = Raw(listing + b"](" + (b"cbuiltins\nlist\n(j" + struct.pack("<I", 70_000) + b"tR") * 2000 + b"e")
    save(tmp_path / "sets.pt", compression=zipfile.ZIP_DEFLATED, optimizer_history=sets)
    save(tmp_path / "wide.pt", compression=zipfile.ZIP_DEFLATED, note=wide)
    save(tmp_path / "half.pt", note=Raw(files.opcodes("x" * 40_000_000 + "\U0001f600")))
    save(tmp_path / "copies.pt", note=copies)
    save(tmp_path / "memo.pt", note=Raw(b"N" + b"".join(b"r" + struct.pack("<I", i) for i in range(999_000))))
    idle = b"N0" * 600_000
    head = [0x1950A86A20F9469CFC6C, 1001, {}, {"model": 1}]
    parts = [b"\x80\x02" + idle + files.opcodes(part) + b"." for part in head]
    (tmp_path / "legacy.pt").write_bytes(b"".join(parts) + b"\x80\x02].")
    parts[:2] = map(files.dumps, head[:2])
    (tmp_path / "system.pt").write_bytes(b"".join(parts) + b"\x80\x02].")
    ended = attack(EACH.format(line="ecgfm.load(path)"), tmp_path, cpu_s=120)
    ended.bounded(mb=300 + 64, cpu_s=60)
    assert ended.raised is None and set(outcome(ended).values()) == {"refused"}, ended.out


def test_networks_that_take_much_or_are_not_numbers(tmp_path):
    far = weights.SMALL | {"conv_feature_layers": [(8, 2, 4000)] * 6}
    many = weights.SMALL | {"encoder_attention_heads": 32, "conv_feature_layers": [(8, 1, 1)] * 4}
    for name, config in (("far", far), ("many", many)):
        save(tmp_path / f"{name}.pt", config=config)
    for name, value in (("huge", 3e38), ("zero", 0.0), ("minus", -3e38)):
        model = {key: np.full(shape, value, np.float32) for key, shape in weights.parameters(weights.SMALL)}
        save(tmp_path / f"{name}.pt", model=model)
    save(tmp_path / "surrogate.pt", {"extractor_mode": "\ud800"})
    line = "ecgfm.load(path)(np.sin(np.arange(12 * 2500.0)).reshape(1, 12, 2500))"
    ended = attack(EACH.format(line=line), tmp_path)
    ended.bounded()
    assert ended.raised is None and set(outcome(ended).values()) == {"refused"}, ended.out
    for words in ("many.pt: cfg.model: one segment of 2500 samples", "huge.pt: encoder.", "zero.pt: encoder.conv_pos"):
        assert words in ended.out


def test_a_member_that_nobody_needs(tmp_path):
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(pack.compress(bytes(1 << 20)) for _ in range(300)) + pack.flush()
    raw = bytearray(save(tmp_path / "a.pt", members=[("archive/junk", b"")]).read_bytes())
    # The last entry of the directory becomes one of 300 MB, deflated to 0.3.
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        header = archive.getinfo("archive/junk").header_offset
    directory = raw.rindex(b"PK\x01\x02")
    start = header + 30 + len("archive/junk")
    first = raw.index(b"PK\x01\x02")
    end = raw.rindex(b"PK\x05\x06")
    struct.pack_into("<H", raw, header + 8, 8)
    struct.pack_into("<H", raw, directory + 10, 8)
    struct.pack_into("<3L", raw, directory + 16, 0, len(packed), 300 << 20)
    struct.pack_into("<L", raw, end + 16, first + len(packed))
    (tmp_path / "a.pt").write_bytes(raw[:start] + packed + raw[start:])
    attack("command('inspect', 'a.pt')", tmp_path).said_one_line(2)
    ended = attack(EACH.format(line="ecgfm.checkpoint.convert(path, 'out')"), tmp_path)
    ended.bounded()
    assert ended.raised is None and "archive/junk: " in ended.out and "inflate" in ended.out


def test_members_are_checked_piece_by_piece(tmp_path):
    """100 MB that a good archive may hold deflated are not held in memory to be checked."""
    noise = np.random.default_rng(0).integers(0, 256, 1 << 16, np.uint8).tobytes()
    junk = b"".join(noise + bytes(15 << 16) for _ in range(100))
    save(tmp_path / "a.pt", members=[("archive/junk", junk)], compression=zipfile.ZIP_DEFLATED)
    ended = attack("with ecgfm.checkpoint.read('a.pt') as found: assert found.verify()", tmp_path)
    ended.bounded(mb=60)
    assert ended.raised is None, ended


def test_inspect_shows_no_more_than_anyone_reads(tmp_path):
    settings = {"text": "x" * 3_000_000, "list": list(range(100_000)), "deep": [[list(range(90))] * 90] * 90}
    save(tmp_path / "a.pt", settings)
    ended = attack("command('inspect', '--json', 'a.pt')", tmp_path)
    ended.bounded()
    assert ended.status == 0 and len(ended.out) < 300_000 and len(json.loads(ended.out)["settings"]["text"]) <= 500
    with checkpoint.read(tmp_path / "a.pt") as found:
        assert len("\n".join(checkpoint.describe_text(found))) < 100_000


def test_inspect_writes_short_lines(tmp_path):
    """Each character may take ten or twelve on the screen."""
    for name, character in (("tag", "\U000e0001"), ("emoji", "\U0001f600")):
        long = character * 900
        unused = {f"{character * 450}{i}": np.zeros(2, np.float32) for i in range(3)}
        model = files.state(weights.SMALL) | unused
        told = {"info": {long: {"a": [long] * 9}}}
        save(tmp_path / f"{name}.pt", {long: long}, model=model, extra_state={"ecgfm": told}, **{long: 1})
        for more in ("", "'--json', "):
            ended = attack(f"command('inspect', {more}'{name}.pt')", tmp_path)
            ended.bounded()
            assert ended.status == 0 and max(map(len, ended.out.splitlines()[:-1])) <= 2000


def test_text_of_numpy_that_can_not_be(tmp_path):
    """A code point beyond all, of which NumPy makes a SystemError."""
    dtype = b"cnumpy\ndtype\n(X\x02\0\0\0U1K\0K\1tR"
    scalar = Raw(b"cnumpy.core.multiarray\nscalar\n(" + dtype + b"B\x04\0\0\0\xff\xff\xff\x7ftR")
    save(tmp_path / "setting.pt", {"extractor_mode": scalar})
    save(tmp_path / "beside.pt", beside=scalar)
    ended = attack(EACH.format(line="ecgfm.load(path)"), tmp_path)
    assert ended.raised is None and set(outcome(ended).values()) == {"refused"}, ended


def test_a_stored_member_is_checked_piece_by_piece(tmp_path):
    save(tmp_path / "a.pt", members=[("archive/junk", bytes(200 << 20))])
    ended = attack("with ecgfm.checkpoint.read('a.pt') as found: assert found.verify()", tmp_path)
    ended.bounded(mb=60)
    assert ended.raised is None, ended


def test_settings_nested_deeply(tmp_path):
    model(tmp_path / "m")
    said = (tmp_path / "m" / "config.json").read_text().rstrip().removesuffix("}")
    (tmp_path / "m" / "config.json").write_text(f'{said}, "x": {"[" * 900}{"]" * 900}}}')
    save(tmp_path / "a.pt")
    line = """
deep = 'encoder_layers=' + '[' * 9000
for words in (('inspect', 'm'), ('convert', 'm', 'x.pt'), ('convert', 'a.pt', 'y', '--set', deep)):
    command(*words)
    assert found['status'] == 2, words
"""
    ended = attack(line, tmp_path)
    assert ended.raised is None, ended.text


# ---- directories, labels, paths -------------------------------------------------------------------------------------


def model(folder, config=None, weights_=None):
    """A small model directory whose config.json or weights are exchanged for other bytes, or a FIFO, or whose settings
    are changed."""
    tensors = files.state(weights.SMALL)
    checkpoint.write_directory(folder, kind="classifier", config=weights.SMALL, tensors=tensors)
    for name, content in (("config.json", config), ("model.safetensors", weights_)):
        if content is FIFO:
            (folder / name).unlink()
            os.mkfifo(folder / name)
        elif isinstance(content, dict):
            said = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps(said | {"model": said["model"] | content}))
        elif content is not None:
            (folder / name).write_bytes(content)


def with_labels(folder, content):
    """A checkpoint with a label_def.csv beside it."""
    folder.mkdir()
    save(folder / "checkpoint_last.pt")
    if content is FIFO:
        os.mkfifo(folder / "label_def.csv")
    else:
        (folder / "label_def.csv").write_text(content)


def header(text):
    """A .safetensors file that is a header."""
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


FIFO = object()
DIRECTORIES = """
import glob
for path in sorted(glob.glob('*/')):
    try:
        ecgfm.load(path)
    except ecgfm.Error as error:
        assert len(str(error)) < 2000 and str(error).isprintable(), path
        print(path, error)
    else:
        print(path, 'taken')
for path in ('l.csv', 'z.csv'):
    try:
        ecgfm.load('cells', labels=path)
    except ecgfm.LabelError as error:
        print(path, error)
"""


def test_directories_and_labels_that_lie(tmp_path):
    model(tmp_path / "good")
    model(tmp_path / "fifo", config=FIFO)
    model(tmp_path / "pipe", weights_=FIFO)
    model(tmp_path / "objects", config=b'{"a": [' + b"{}," * 1_300_000 + b"{}]}")
    model(tmp_path / "text", config=b'{"a": "' + b"x" * 5_000_000 + b'"}')
    model(tmp_path / "half", config={"extractor_mode": "\ud800"})
    model(tmp_path / "nested", config={"extractor_mode": [[["x" * 20_000] * 10] * 10]})
    model(tmp_path / "wide", weights_=header(b'{"a": [' + b"{}," * 5_000_000 + b"{}]}"))
    model(tmp_path / "deep", weights_=header(b"[" * 1_000_000))
    model(tmp_path / "long", weights_=header(b'{"a": "' + b"x" * 31_000_000 + b'"}'))
    with_labels(tmp_path / "labels", FIFO)
    with_labels(tmp_path / "cells", ",".join(["name", *(f"c{i}" for i in range(50_000))]) + "\n" + "a\n" * 60_000)
    with_labels(tmp_path / "rows", "name\n" + "a\n" * 2_000_000)
    os.mkfifo(tmp_path / "l.csv")
    os.symlink("/dev/zero", tmp_path / "z.csv")
    ended = attack(DIRECTORIES, tmp_path)
    ended.bounded()
    assert ended.raised is None, ended
    said = dict(line.split(" ", 1) for line in ended.out.splitlines())
    expected = {
        "good/": "taken", "fifo/": "not a regular file", "pipe/": "not a regular file", "objects/": "values",
        "text/": "bytes", "half/": "extractor_mode", "nested/": "extractor_mode", "wide/": "values", "deep/": "neither",
        "long/": "the entry has other keys", "labels/": "not a regular file", "cells/": "60000 label names",
        "rows/": "rows", "l.csv": "not a regular file", "z.csv": "not a regular file",
    }  # fmt: skip
    assert set(said) == set(expected)
    for name, words in expected.items():
        assert words in said[name], (name, said[name])


def test_settings_that_are_odd_text_can_be_converted(tmp_path):
    save(tmp_path / "a.pt", {"note": "\ud800\x1b[2J\u202e"})
    checkpoint.convert(tmp_path / "a.pt", tmp_path / "m")
    checkpoint.convert(tmp_path / "m", tmp_path / "b.pt")
    with checkpoint.read(tmp_path / "b.pt") as found:
        assert found.settings["note"] == "\ud800\x1b[2J\u202e"


def test_settings_that_would_make_a_directory_that_can_not_be_read(tmp_path):
    save(tmp_path / "a.pt", {"note": "\x01" * 3_000_000})
    with pytest.raises(ecgfm.CheckpointError, match="more than the"):
        checkpoint.convert(tmp_path / "a.pt", tmp_path / "m")
    assert not any((tmp_path / "m").iterdir())


LONG = ("a" * 5000, "d/" * 3000 + "a", "f" * 300 + ".pt", "\0", "a\0b.pt", "file/x.pt", "\udc80" * 100 + "\0")


@pytest.mark.parametrize("path", [*LONG, None, 5, b"a.pt"], ids=lambda path: repr(path)[:12])
def test_paths_that_can_not_be(tmp_path, path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    model = ecgfm.Model.from_state_dict(weights.SMALL, files.state(weights.SMALL))
    save(tmp_path / "good.pt")
    for function in (
        lambda: ecgfm.load(path),
        lambda: checkpoint.read(path),
        lambda: model.save(path),
        lambda: model.save(path, force=True),
        lambda: checkpoint.convert("good.pt", path),
        lambda: checkpoint.convert(path, "out"),
    ):
        with pytest.raises(ecgfm.Error) as caught:
            function()
        assert len(str(caught.value)) < 2000 and str(caught.value).isprintable()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "good.pt"]


def test_paths_that_may_not_be_looked_at(tmp_path):
    """The user who runs it may not read the package either: what it imports late is imported before."""
    (tmp_path / "shut").mkdir()
    save(tmp_path / "shut" / "a.pt")
    save(tmp_path / "good.pt")
    code = """
import os
model = ecgfm.load('good.pt')
runs = (ecgfm.load, model.save, lambda path: ecgfm.checkpoint.convert('good.pt', path))
for number, run in enumerate(runs):
    run(f'warm{number}.pt' if number else 'good.pt')
    try:
        run('good.pt/under')
    except ecgfm.Error:
        pass
command('inspect', 'good.pt')
command('inspect', 'no.pt')
if os.getuid() == 0:
    os.seteuid(65534)
failed = []
for run in runs:
    for path in ('shut/a.pt', 'shut/b', 'shut'):
        try:
            run(path)
        except ecgfm.Error as error:
            assert path == 'shut' or 'ermission' in str(error), error
            continue
        failed.append(path)
print('SHUT', file=__import__('sys').stderr)
command('inspect', 'shut/a.pt')
os.seteuid(os.getuid())
assert not failed, failed
"""
    os.chmod(tmp_path, 0o755)
    os.chmod(tmp_path / "shut", 0)
    try:
        ended = attack(code, tmp_path)
    finally:
        os.chmod(tmp_path / "shut", 0o755)
    ended.err = ended.err.partition("SHUT\n")[2]
    ended.said_one_line(2)
