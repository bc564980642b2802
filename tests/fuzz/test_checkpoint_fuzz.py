"""Damaged checkpoints by the thousand: each is read or refused by name, soon, without leaking, and never a crash.

The ordinary tests run some hundreds. As a program it runs on, ``python tests/fuzz/test_checkpoint_fuzz.py SECONDS
[SEED]``, and prints the seed of what fails.
"""

import json
import os
import random
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import checkpoint_files as files
import weights

from ecgfm import Error, checkpoint
from ecgfm.checkpoint.safetensors import write_tensors

KINDS = ("zip", "zip-pickle", "deflated", "legacy", "safetensors", "json")
TINY = weights.SMALL | {
    "encoder_layers": 1,
    "encoder_embed_dim": 8,
    "encoder_ffn_embed_dim": 8,
    "encoder_attention_heads": 2,
    "conv_feature_layers": [(4, 2, 2)] * 2,
    "conv_pos": 4,
    "conv_pos_groups": 2,
    "num_labels": 3,
}
SECONDS = 5  # one file must not take longer
# Bytes that mean something to one of the formats.
WORDS = [
    b"\x00" * 4,
    b"\xff" * 4,
    b"\xff" * 8,
    b"\x80",
    b"\x7f",
    b"(",
    b".",
    b"h\x00",
    b"R",
    b"Q",
    b"b",
    b"t",
    b"]",
    b"}",
]
WORDS += [
    b"\x93",
    b"\x8b\xff\xff\xff\x7f",
    b"X\xff\xff\x00\x00",
    b"cos\nsystem\n",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b'"',
    b"[",
]


def seeds():
    """{kind: bytes of a whole file, or the parts that are put together after the damage}."""
    extra = {"a": np.float32(1.5).item(), "b": [1, 2], "ecgfm": {"labels": ["x", "y", "z"]}}
    value, storages = files.content(TINY, extra_state=extra)
    members = files.zip_members(value, storages.raw)
    with tempfile.TemporaryDirectory() as folder:
        write_tensors(Path(folder) / "a", files.state(TINY))
        tensors = (Path(folder) / "a").read_bytes()
    return {
        "zip": files.zip_bytes(members),
        "zip-pickle": members,
        "deflated": files.zip_bytes(members, zipfile.ZIP_DEFLATED),
        "legacy": files.legacy_bytes(value, storages.raw),
        "safetensors": tensors,
        "json": json.dumps({"format": "ecgfm", "version": 1, "model": files.settings(TINY), "labels": None}).encode(),
    }


def damage(raw, rng):
    """One to eight small changes."""
    out = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not out:
            break
        at = rng.randrange(len(out))
        what = rng.randrange(8)
        if what == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            out[at] = rng.randrange(256)
        elif what == 2:
            del out[at : at + rng.choice((1, 2, 4, 30, 300))]
        elif what == 3:
            out[at:at] = rng.randbytes(rng.choice((1, 4, 16)))
        elif what == 4:
            word = rng.choice(WORDS)
            out[at : at + len(word)] = word
        elif what == 5:
            out[at:at] = rng.choice(WORDS)
        elif what == 6:
            piece = out[at : at + rng.randrange(1, 200)]
            to = rng.randrange(len(out))
            out[to:to] = piece * rng.choice((1, 1, 3))
        else:
            del out[at:]
    return bytes(out)


def make(kind, seed, parts, folder):
    """Write a damaged file; its path."""
    rng = random.Random(f"{kind} {seed}")
    path = folder / "a.pt"
    if kind == "zip-pickle":
        members = list(parts[kind])
        members[0] = (members[0][0], damage(members[0][1], rng))
        path.write_bytes(files.zip_bytes(members))
    elif kind in ("safetensors", "json"):
        path = folder / "model.safetensors"
        raw = parts["safetensors"]
        if kind == "safetensors":  # mostly the header
            length = 8 + int.from_bytes(raw[:8], "little")
            text = damage(raw[8:length], rng)
            raw = damage(raw, rng) if rng.random() < 0.3 else len(text).to_bytes(8, "little") + text + raw[length:]
        path.write_bytes(raw)
        config = damage(parts["json"], rng) if kind == "json" else parts["json"]
        (folder / "config.json").write_bytes(config)
    else:
        path.write_bytes(damage(parts[kind], rng))
    return path


def attempt(path):
    """Read everything in the file; whether it could be read."""
    start = time.process_time()
    try:
        with checkpoint.read(path) as found:
            found.verify()
            for tensor in found.tensors.values():
                assert np.asarray(tensor).shape == tensor.shape
            json.dumps(checkpoint.describe(found), allow_nan=False)
            checkpoint.describe_text(found)
        return True
    except Error as error:
        assert str(error)
        return False
    finally:
        assert time.process_time() - start < SECONDS


@pytest.fixture(scope="module")
def parts():
    return seeds()


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(kind, parts, tmp_path):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    results = [attempt(make(kind, seed, parts, tmp_path)) for seed in range(250)]
    # Both must happen, else the damage is too little or too much to find anything.
    assert 0 < sum(results) < len(results)
    assert not before or len(os.listdir("/proc/self/fd")) <= before + 1
    assert sorted(p.name for p in tmp_path.iterdir()) in (["a.pt"], ["config.json", "model.safetensors"])


@pytest.mark.parametrize("kind", KINDS)
def test_undamaged_files(kind, parts, tmp_path):
    path = make(kind, 0, parts, tmp_path)
    raw = files.zip_bytes(parts[kind]) if kind == "zip-pickle" else parts["safetensors" if kind == "json" else kind]
    path.write_bytes(raw)
    (tmp_path / "config.json").write_bytes(parts["json"])
    assert attempt(path)


def main(seconds, seed=0):
    whole, start, done = seeds(), time.monotonic(), 0
    with tempfile.TemporaryDirectory() as name:
        while time.monotonic() - start < seconds:
            for kind in KINDS:
                try:
                    attempt(make(kind, seed, whole, Path(name)))
                except BaseException:
                    print(f"kind {kind!r}, seed {seed}", file=sys.stderr)
                    raise
                done += 1
            seed += 1
    print(f"{done} files, next seed {seed}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
