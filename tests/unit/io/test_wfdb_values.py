"""Signal files of each WFDB format, read as the library reads them."""

import math

import numpy as np
import pytest

import ecgfm
from ecgfm import FormatError
from ecgfm.storage import wfdb_values
from ecgfm.storage.wfdb_values import SignalFile, physical_blocks

wfdb = pytest.importorskip("wfdb")

BYTES = {"8": 1, "16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 3 / 2, "310": 4 / 3, "311": 4 / 3}


def record(folder, form, samples, *, stated=True, signals=5, seed=0):
    """Random bytes; in format 311 the two bits that nothing stands in are 0."""
    raw = np.random.default_rng(seed).integers(0, 256, math.ceil(signals * samples * BYTES[form]) + 4, np.uint8)
    if form == "311":
        raw[3::4] &= 0x3F
    raw[: len(raw) // 3] = np.tile(raw[:12], len(raw))[: len(raw) // 3]  # some numbers that are often there
    if stated is False:
        raw = raw[: math.ceil(signals * samples * BYTES[form])]
    (folder / "a.dat").write_bytes(raw)
    lines = [f"a.dat {form} {200 + i}({i}) 12 0 {7 * i} 0 0 {name}" for i, name in enumerate(ecgfm.LEADS[:signals])]
    (folder / "a.hea").write_text("\n".join([f"a {signals} 500/100 {samples if stated else ''}".rstrip(), *lines]))
    return folder / "a.hea"


def by_the_library(path):
    found = wfdb.rdrecord(str(path)[:-4])
    return found.p_signal.T.astype(np.float32)


@pytest.mark.parametrize("form", BYTES)
@pytest.mark.parametrize("samples, signals", [(1000, 5), (1001, 5), (1000, 7), (997, 1), (2, 4), (500, 12)])
def test_as_the_library(tmp_path, monkeypatch, form, samples, signals):
    path = record(tmp_path, form, samples, signals=signals)
    expected = by_the_library(path)
    assert np.array_equal(ecgfm.read(path).signal, expected, equal_nan=True)
    if form != "8":  # which the library adds up anew in each part that it reads
        monkeypatch.setattr(wfdb_values, "_VALUES", 300)
    assert np.array_equal(ecgfm.read(path).signal, expected, equal_nan=True)


@pytest.mark.parametrize("form", sorted(set(BYTES) - {"212", "310", "311"}))
def test_without_a_length(tmp_path, form):
    path = record(tmp_path, form, 1001, stated=False)
    assert np.array_equal(ecgfm.read(path).signal, by_the_library(path), equal_nan=True)


def test_differences_go_on_from_block_to_block(tmp_path, monkeypatch):
    path = record(tmp_path, "8", 3000)
    expected = by_the_library(path)
    monkeypatch.setattr(wfdb_values, "_VALUES", 300)
    assert np.array_equal(ecgfm.read(path).signal, expected)


def test_several_files_and_offsets(tmp_path):
    rng = np.random.default_rng(1)
    (tmp_path / "a.dat").write_bytes(rng.bytes(10 + 2 * 2 * 900))
    (tmp_path / "b.dat").write_bytes(rng.bytes(3 * 900 // 2))
    lines = ["a.dat 16+10 100 12 0 0 0 0 I", "a.dat 16+10 200(-5) 12 0 0 0 0 II", "b.dat 212 50 12 3 0 0 0 V1"]
    (tmp_path / "a.hea").write_text("\n".join(["a 3 500/100 900", *lines]))
    found = ecgfm.read(tmp_path / "a.hea")
    assert np.array_equal(found.signal, by_the_library(tmp_path / "a.hea"), equal_nan=True)


def test_a_file_that_was_cut(tmp_path):
    record(tmp_path, "16", 100)
    file = SignalFile(str(tmp_path / "a.dat"), "16", 0, list(range(5)), [0] * 5)
    with pytest.raises(FormatError, match="cut short"):
        list(physical_blocks([file], 200, [1.0] * 5, [0.0] * 5))
