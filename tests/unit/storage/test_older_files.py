"""Files that an earlier version left in the middle of its work are gone on with, and come out byte for byte the
same."""

import json
import os

import numpy as np
import pytest

from ecgfm.data.stores.packed import PackedWriter, index_path, open_packed
from ecgfm.storage.growing import Growing
from ecgfm.storage.journal import Journal
from ecgfm.table import Table

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)
STATUS = b"file,status,segments,error,fingerprint\na.mat,done,2,,af7ce5eb980e0da1\n'=b.mat,done,1,,320a61a3c7ce464e\n"
LEFT = {
    "p.csv.part": b"file,x\na.mat,0.5\n'=b.mat,1.5\n",
    "p.npy.part": b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3)}".ljust(127)
    + b"\n"
    + ROWS[:3].tobytes(),
    "p.run.json.part": b'{\n "model": "m",\n "n": 1\n}\n',
    "p.status.csv.part": STATUS,
}


def go_on(folder):
    """Let a run of three recordings end; returns how many were there."""
    outputs = {str(folder / "p.npy"): "segment", str(folder / "p.csv"): "record"}
    with Growing(folder / "p.npy", outputs, {"model": "m", "n": 1}, resume=True) as files:
        for file, values in files.missing([("a.mat", ROWS), ("=b.mat", ROWS + 1), ("c.mat", ROWS + 2)]):
            rows = {"a.mat": ROWS[:2], "=b.mat": ROWS[2:3], "c.mat": ROWS[3:]}[file]
            table = Table({"file": [file], "x": [float(values[0, 0]) + 0.5]})
            files.add(file, len(rows), {str(folder / "p.npy"): rows, str(folder / "p.csv"): table})
    return files.resumed


@pytest.mark.parametrize("more", [b"", b"half a row, "])
def test_results_that_were_growing(tmp_path, more):
    for name, raw in LEFT.items():
        (tmp_path / name).write_bytes(raw + (more if "json" not in name else b""))
    assert go_on(tmp_path) == 2
    assert sorted(os.listdir(tmp_path)) == ["p.csv", "p.npy", "p.run.json", "p.status.csv"]
    assert (tmp_path / "p.csv").read_bytes() == LEFT["p.csv.part"] + b"c.mat,2.5\n"
    head = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3)}".ljust(127) + b"\n"
    assert (tmp_path / "p.npy").read_bytes() == head + ROWS.tobytes()
    assert (tmp_path / "p.run.json").read_bytes() == LEFT["p.run.json.part"]
    assert (tmp_path / "p.status.csv").read_bytes().startswith(STATUS + b"c.mat,done,1,,")
    assert go_on(tmp_path) == 3


PACKED = np.arange(2 * 12 * 5, dtype=np.float32).reshape(2, 12, 5)


def finish(folder):
    writer = PackedWriter(str(folder / "all.npy"), (12, 5))
    held = writer.held()
    if 8 not in held:
        writer.append(np.array([[8, 0]]), [PACKED[1:]])
    writer.finish([(7, "a.mat", 1), (8, "b.mat", 1)], 500)
    return held


def test_a_packed_split_that_was_growing(tmp_path):
    """Its head is a hole until the end."""
    (tmp_path / "all.npy.part").write_bytes(bytes(128) + PACKED[:1].tobytes() + b"half a row")
    (tmp_path / "all.rows.part").write_bytes(np.array([[7, 0], [8, 0]]).tobytes() + b"half")
    assert finish(tmp_path) == {7: 1}
    np.save(tmp_path / "numpy.npy", PACKED)
    assert (tmp_path / "all.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()
    index = "idx,save_file,segment_i,sample_rate,sample_size\n7,a.mat,0,500,5\n8,b.mat,0,500,5\n"
    assert (tmp_path / "all.index.csv").read_text() == index
    assert sorted(os.listdir(tmp_path)) == ["all.index.csv", "all.npy", "numpy.npy"]


def test_a_packed_split_that_lacks_its_index_alone(tmp_path):
    np.save(tmp_path / "all.npy", PACKED)
    (tmp_path / "all.rows.part").write_bytes(np.array([[7, 0], [8, 0]]).tobytes())
    assert finish(tmp_path) == {7: 1, 8: 1}
    assert open_packed(tmp_path / "all.npy").idx.tolist() == [7, 8] and os.path.exists(index_path(tmp_path / "all.npy"))
    assert not (tmp_path / "all.rows.part").exists()


def test_a_journal(tmp_path):
    head = {"offset": 0, "source": {"name": "files"}, "stages": ["org"]}
    line = {"i": 1, "meta": {"a": "b"}, "segments": 2, "files": {"org": 5}}
    raw = json.dumps(head, sort_keys=True) + "\n" + json.dumps(line, separators=(",", ":")) + "\n"
    (tmp_path / "preprocess.jsonl").write_text(raw + '{"i":2,"meta"')
    journal = Journal(str(tmp_path / "preprocess.jsonl"), head)
    assert journal[1] == line and 2 not in journal
    journal.close(tidy=True)
    assert (tmp_path / "preprocess.jsonl").read_text() == raw
