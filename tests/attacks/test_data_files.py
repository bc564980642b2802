"""Tables, packed splits, labels, segments and the state of a preprocessing run that lie: refused by name, at little
cost."""

import gzip
import json
import os
import shutil

import data_sets
import numpy as np
import pytest
from bounded import attack

from ecgfm.data.mat import mat_bytes
from ecgfm.data.stores.packed import write_packed

EACH = """
import glob
from ecgfm.data import *
for path in sorted(glob.glob("*")):
    try:
        {call}
    except ecgfm.Error as error:
        text = str(error)
        assert path in text and text.isprintable() and len(text) < 2000, (path, text[:300])
        continue
    raise SystemExit(f"{{path}} was taken")
"""


def each(call, folder, **limits):
    """Run a call on each file of a folder, which it must refuse by a name that holds the path."""
    assert any(folder.iterdir())
    ended = attack(EACH.format(call=call), folder, address_mb=2048)
    assert ended.raised is None, ended
    ended.bounded(**limits)


# ---- tables


def tables(folder):
    """Tables that lie, each in a file."""
    names = [f"c{i}" for i in range(80_000)]
    (folder / "columns.csv").write_text(",".join(names) + "\n" + ",".join("0" * 80_000) + "\n")
    (folder / "columns_twice.csv").write_text(",".join(["idx", *names, *names]) + "\n")
    (folder / "columns_equal.csv").write_text("idx" + ",A" * 200_000 + "\n")
    (folder / "long_cell.csv").write_text("idx,A\n0," + "9" * 1_000_000 + "\n")
    (folder / "longer_cell.csv").write_text("idx,A\n" + "9" * 9_000_000 + ",1\n")
    (folder / "long_row.csv").write_text('idx,A\n"' + "\n" * 9_000_000)
    (folder / "long_name.csv").write_text(f"idx,{'A' * 1_000_000},{'A' * 1_000_000}\n0,1,1\n")
    (folder / "digits.csv").write_text("idx,A\n" + "9" * 5000 + ",1\n")
    (folder / "infinite.csv").write_text("idx,A\n1e999,1\n")
    (folder / "nan.csv").write_text("idx,A\nNaN,1\n")
    (folder / "below.csv").write_text("idx,A\n-1,1\n")
    (folder / "beyond.csv").write_text("idx,A\n9223372036854775808,1\n")
    (folder / "escape.csv").write_text("idx,A\n0,\x1b[2J\u202e\n")
    (folder / "unequal.csv").write_text("idx,A\n0,1,2\n")
    (folder / "bytes.csv").write_bytes(b"idx,A\n0,\xff\n")
    (folder / "nul.csv").write_bytes(b"idx,A\n\x000,1\n")
    (folder / "empty.csv").write_bytes(b"")
    (folder / "bomb.csv.gz").write_bytes(gzip.compress(b"idx," + b"," * 100_000_000))
    (folder / "rows.csv.gz").write_bytes(gzip.compress(b"idx,A\n" + b"0,1\n" * 25_000_000))
    packed = gzip.compress(os.urandom(50_000))
    (folder / "cut.csv.gz").write_bytes(packed[:-20])
    (folder / "behind.csv.gz").write_bytes(gzip.compress(b"idx,A\n0,1\n") + b"more")
    damaged = bytearray(packed)
    damaged[200:220] = bytes(20)
    (folder / "damaged.csv.gz").write_bytes(damaged)
    os.mkfifo(folder / "fifo.csv")
    os.symlink("/dev/zero", folder / "zero.csv")
    os.symlink("loop.csv", folder / "loop.csv")
    (folder / "folder.csv").mkdir()


def test_tables_of_labels(tmp_path):
    tables(tmp_path)
    each("read_labels(path)", tmp_path, mb=150)


def test_tables_of_splits_and_manifests(tmp_path):
    tables(tmp_path)
    each("prepare_labels(Labels([0], [[1]], ['A']), '../out', path)", tmp_path, mb=150)
    each("make_manifests([path], '../out')", tmp_path, mb=150)
    for path in [*tmp_path.glob("rows.csv.gz"), *tmp_path.glob("bomb.csv.gz")]:
        path.unlink()
    each("make_splits('.', 'random', meta_file=path, filter_cols='A')", tmp_path, mb=150)
    assert not (tmp_path.parent / "out").exists()


@pytest.mark.parametrize("path", ["a\0.csv", "l" * 5000, "x/" * 3000, "\ud800.csv"])
def test_names_that_are_no_tables(path):
    import ecgfm

    with pytest.raises(ecgfm.FormatError) as caught:
        ecgfm.data.read_labels(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 2000


COMMANDS = [
    ["labels", "csv", "--labels", "f.csv", "--output_dir", "out"],
    ["splits", "--strategy", "random", "--processed_root", ".", "--meta_file", "f.csv"],
    ["manifests", "--split_file_paths", "f.csv", "--save_dir", "out"],
    ["pack", "f.tsv"],
    ["subset", "--manifest_dir", "m", "--percent", "0.5"],
]


def test_commands_on_fifos(tmp_path):
    (tmp_path / "m").mkdir()
    for path in ("f.csv", "f.tsv", "m/train.tsv"):
        os.mkfifo(tmp_path / path)
    ended = attack(f"for words in {COMMANDS!r}:\n    command(*words)\n    assert found['status'] == 2", tmp_path)
    assert ended.raised is None and ended.err.count("\n") == len(COMMANDS) and len(ended.err) < 2000, ended
    ended.bounded()
    assert not (tmp_path / "out").exists()


def test_splits_that_cannot_be_made(tmp_path):
    """A record that stands a million times is refused at the second; names of tables are no paths."""
    (tmp_path / "meta.csv").write_text("idx,save_file\n" + "0,a\n" * 3_000_000)
    ended = attack("command('splits', '--strategy', 'random', '--processed_root', '.')", tmp_path)
    ended.said_one_line(2)
    ended.bounded(mb=50, cpu_s=2)
    (tmp_path / "meta.csv").write_text("idx,save_file\n0,a\n")
    for suffix in ("\0", "/../../x", "x" * 300):
        code = f"ecgfm.data.make_splits('.', 'random', save_files_suffix={suffix!r})"
        attack(code, tmp_path).refused("no name of a table")


def test_manifests_of_empty_lines(tmp_path):
    """Thirty million, in as many bytes."""
    (tmp_path / "train.tsv").write_bytes(b"\t/x\n" + b"\n" * 30_000_000)
    for line in (
        "command('manifests', '.', '--dest', 'out')",
        "command('subset', '--manifest_dir', '.', '--percent', '0.5', '--save_dir', 'out')",
    ):
        ended = attack(line, tmp_path)
        ended.said_one_line(2)
        ended.bounded(mb=50, cpu_s=2)


def test_a_last_index_far_away(tmp_path):
    (tmp_path / "l.csv").write_text("idx," + ",".join(f"L{i}" for i in range(300)) + "\n99999999" + ",1" * 300 + "\n")
    attack("command('labels', 'csv', '--labels', 'l.csv', '--output_dir', 'out')", tmp_path).said_one_line(2)
    (tmp_path / "l.csv").write_text("idx,A\n0,1\n")
    (tmp_path / "s.csv").write_text("idx,split\n0,train\n9007199254740990,train\n")
    attack("ecgfm.data.prepare_labels('l.csv', 'out', 's.csv')", tmp_path).refused("9,007,199,254,740,990")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../x", "a\0b", "l" * 300, "/tmp/x", ".hidden", "..", "\x1b[31m", "a\nb"])
def test_splits_that_no_file_can_be_called(tmp_path, name):
    import ecgfm
    from ecgfm.data import make_manifests, pack_splits, prepare_labels, preprocess

    data_sets.write_table(
        tmp_path / "t.csv", [{"idx": 0, "save_file": "r.mat", "split": name, "path": "/a/r_0.mat", "sample_size": 10}]
    )
    write_packed(
        tmp_path / "all.npy",
        [({"idx": 0, "save_file": "r.mat", "segment_i": 0, "sample_rate": 500}, np.zeros((12, 10)))],
        (12, 10),
    )
    (tmp_path / "l.csv").write_text("idx,A\n0,1\n")
    (tmp_path / "raw").mkdir()
    out = tmp_path / "out"
    for call in (
        lambda: make_manifests([tmp_path / "t.csv"], out),
        lambda: pack_splits(tmp_path / "all.npy", tmp_path / "t.csv", tmp_path),
        lambda: preprocess("files", out, tmp_path / "raw", packed_splits=tmp_path / "t.csv"),
        lambda: prepare_labels(tmp_path / "l.csv", out, tmp_path / "t.csv"),
    ):
        with pytest.raises(ecgfm.FormatError) as caught:
            call()
        assert "split" in str(caught.value) and len(str(caught.value)) < 700
    assert not out.exists()


# ---- packed splits, labels


def headers(folder):
    """Arrays that lie, each in a file."""

    def npy(text, length=None):
        text = text if isinstance(text, bytes) else text.encode()
        return b"\x93NUMPY\x01\x00" + (len(text) if length is None else length).to_bytes(2, "little") + text

    head = "{{'descr': {}, 'fortran_order': False, 'shape': {}, }}\n"
    contents = {
        "brackets": npy("(" * 5000),
        "minus": npy("-" * 9000),
        "string": npy("'"),
        "deep": npy("[" * 9000 + "]" * 9000),
        "huge": npy(head.format("'<f4'", f"({1 << 70}, 12, 10)")),
        "below": npy(head.format("'<f4'", "(-1, 12, 10)")),
        "object": npy(head.format("'|O'", "(1, 12, 10)")),
        "short": npy(head.format("'<f4'", "(9, 12, 10)")) + bytes(40),
        "zip": b"PK\x03\x04" + bytes(500),
        "empty": b"",
        "magic": b"\x93NUM",
        "cut": npy("{", 60_000),
        "product": npy(head.format("'<f4'", f"({1 << 40}, {1 << 40}, {1 << 40})")),
        "bytes": npy(b"\xff\xfe\x00"),
        "call": npy("__import__('os').system('touch ran')"),
        "text": b"0,1\n",
        "float": npy(head.format("'<f4'", "(1.5,)")),
        "dimensions": npy(head.format("'<f4'", "(1,) * 2")),
        "void": npy(head.format("'|V8'", "(1, 1)")),
        "version": b"\x93NUMPY\x09\x00" + bytes(200),
    }
    for name, content in contents.items():
        (folder / f"{name}.npy").write_bytes(content)
    os.mkfifo(folder / "fifo.npy")
    os.symlink("/dev/zero", folder / "zero.npy")
    (folder / "folder.npy").mkdir()


def test_packed_splits_and_labels(tmp_path):
    headers(tmp_path)
    (tmp_path.parent / "good").mkdir()
    for path in tmp_path.iterdir():
        (tmp_path.parent / "good" / f"{path.stem}.index.csv").write_text(
            "idx,save_file,segment_i,sample_rate,sample_size\n"
        )
    each(
        "Dataset(np.zeros((2, 12, 100), 'f4')); Dataset(SegmentArrays(np.zeros((2, 12, 100), 'f4')), labels=path)".replace(  # noqa: E501
            "SegmentArrays", "__import__('ecgfm.data.stores.segments', fromlist=['x']).SegmentArrays"
        ),
        tmp_path,
    )
    for path in (tmp_path.parent / "good").iterdir():
        shutil.copy(path, tmp_path / path.name)
    code = EACH.format(call="open_packed(path)").replace('glob.glob("*")', 'glob.glob("*.npy")')
    ended = attack(code, tmp_path)
    assert ended.raised is None, ended
    ended.bounded()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "column, value",
    [
        ("idx", "-1"),
        ("idx", "1e300"),
        ("idx", "nan"),
        ("idx", ""),
        ("idx", "9" * 5000),
        ("segment_i", "-1"),
        ("segment_i", "x"),
        ("sample_rate", "nan"),
        ("sample_rate", "-500"),
        ("sample_rate", "inf"),
        ("sample_size", "11"),
        ("sample_size", "1e9"),
        ("idx", "1"),
    ],
)
def test_an_index_that_lies(tmp_path, column, value):
    import ecgfm
    from ecgfm.data import Dataset, open_packed

    about = {"save_file": "r.mat", "sample_rate": 500, "segment_i": 0}
    write_packed(tmp_path / "a.npy", [({"idx": i, **about}, np.zeros((12, 10))) for i in range(2)], (12, 10))
    rows = data_sets.read_table(tmp_path / "a.index.csv")
    rows[0][column] = value
    data_sets.write_table(tmp_path / "a.index.csv", rows)
    for call in (open_packed, Dataset):
        with pytest.raises(ecgfm.FormatError) as caught:
            call(tmp_path / "a.npy")
        assert "a.index.csv" in str(caught.value) and len(str(caught.value)) < 500


def test_a_name_in_an_index_is_as_long_as_it_is(tmp_path):
    """Names of an array of a fixed width would be as long as the longest, each."""
    rows = 20_000
    np.save(tmp_path / "a.npy", np.zeros((rows, 1, 1), np.float32))
    lines = [f"{i},{'n' * 1_000_000 if i == 7 else 'r.mat'},0,500,1" for i in range(rows)]
    (tmp_path / "a.index.csv").write_text("\n".join(["idx,save_file,segment_i,sample_rate,sample_size", *lines]) + "\n")
    ended = attack("found = ecgfm.data.open_packed('a.npy'); assert len(found.save_file[7]) == 1_000_000", tmp_path)
    assert ended.raised is None
    ended.bounded(mb=100)


@pytest.mark.parametrize(
    "y",
    [
        np.zeros(3),
        np.zeros((3, 2, 2)),
        np.zeros((3, 2), complex),
        np.array([["a", "b"]]),
        np.zeros((3, 0)),
        np.zeros((0, 2)),
        np.zeros((3, 2), "M8[s]"),
        np.zeros((1, 2)),
    ],
)
def test_labels_of_another_kind_or_shape(tmp_path, y):
    import ecgfm
    from ecgfm.data import Dataset
    from ecgfm.data.stores.segments import SegmentArrays

    np.save(tmp_path / "y.npy", y)
    with pytest.raises(ecgfm.LabelError, match="y.npy"):
        Dataset(SegmentArrays(np.zeros((2, 12, 100), np.float32)), labels=tmp_path / "y.npy")


def test_labels_that_are_not_finite(tmp_path):
    import ecgfm
    from ecgfm.data import Dataset
    from ecgfm.data.stores.segments import SegmentArrays

    np.save(tmp_path / "y.npy", np.array([[0, 1], [np.inf, 0]]))
    data = Dataset(SegmentArrays(np.zeros((2, 12, 100), np.float32)), labels=tmp_path / "y.npy")
    with pytest.raises(ecgfm.LabelError, match="record 1 is not finite"):
        data.batch([0, 1])


# ---- segments


def segment(path, **fields):
    fields = {"feats": np.ones((12, 100), np.float32), "curr_sample_rate": 500, "idx": 0, "segment_i": 0, **fields}
    path.write_bytes(b"".join(map(bytes, mat_bytes({k: v for k, v in fields.items() if v is not None}))))


def test_segments_that_lie(tmp_path):
    here = tmp_path / "s"
    here.mkdir()
    for name, fields in {
        "idx": {"idx": 1e300},
        "idx_inf": {"idx": np.inf},
        "idx_below": {"idx": -3},
        "idx_none": {"idx": None},
        "idx_beyond": {"idx": 1 << 62},
        "feats": {"feats": None},
    }.items():
        segment(here / f"{name}_0.mat", **fields)
    os.mkfifo(here / "fifo_0.mat")
    os.symlink("/dev/zero", here / "zero_0.mat")
    (here / "folder_0.mat").mkdir()
    np.save(tmp_path / "y.npy", np.zeros((2, 1)))
    for path in here.iterdir():
        (tmp_path / f"{path.stem}.tsv").write_text(f"\t{here}\n{path.name}\t100\n")
    ended = attack(
        """
import glob
from ecgfm.data import *
for path in sorted(glob.glob("*.tsv")):
    try:
        Dataset(path, labels="y.npy").batch([0])
    except ecgfm.Error as error:
        assert path[:-4] in str(error), (path, str(error))
        continue
    raise SystemExit(path)
""",
        tmp_path,
    )
    assert ended.raised is None, ended
    ended.bounded()


@pytest.mark.parametrize("field", ["segment_i", "idx", "curr_sample_rate"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1, 1e300, None, np.zeros((2, 2))])
def test_packing_segments_that_lie(tmp_path, field, value):
    import ecgfm
    from ecgfm.data import pack_manifest

    if value is None and field == "segment_i":
        pytest.skip("files without it are one segment each")
    segment(tmp_path / "a_0.mat", **{field: value})
    (tmp_path / "t.tsv").write_text(f"\t{tmp_path}\na_0.mat\t100\n")
    with pytest.raises(ecgfm.FormatError) as caught:
        pack_manifest(tmp_path / "t.tsv")
    assert caught.value.field == field and caught.value.path == str(tmp_path / "a_0.mat")
    assert not (tmp_path / "t.npy").exists()


# ---- the state of a run


OPTIONS = {"packed": True, "stages": ["org", "segmented"], "workers": 1}


@pytest.fixture
def done(tmp_path, monkeypatch):
    """A folder with a run that is done in ``out``, with packed segments and files; the working directory."""
    from ecgfm.data import preprocess

    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    (tmp_path / "victim").write_text("mine")
    for i in range(2):
        np.savez(
            tmp_path / f"raw/r{i}.npz", signal=data_sets.signal(6, seed=i), sampling_rate=500, leads=data_sets.LEADS
        )
    preprocess("files", "out", "raw", **OPTIONS)
    shutil.copytree("out", "fresh")
    return tmp_path


STATE = [
    ".ecgfm/lock",
    ".ecgfm/preprocess.jsonl",
    ".ecgfm/listed.csv",
    ".ecgfm/grown.json",
    "records.csv",
    "meta.csv",
    "manifest.csv",
    "errors.csv",
    "status.csv",
    "segmented.csv",
    "packed/all.npy",
    "packed/all.index.csv",
    "packed/all.npy.part",
    "packed/all.rows.part",
]
AGAIN = """
from ecgfm.data import preprocess
from ecgfm.errors import Error
import shutil, os, sys
for name in {names!r}:
    shutil.rmtree("out", ignore_errors=True)
    shutil.copytree("fresh", "out")
    for part in {without!r}:
        if os.path.exists(f"out/{{part}}"):
            os.unlink(f"out/{{part}}")
    path = f"out/{{name}}"
    if os.path.lexists(path):
        os.unlink(path)
    {make}
    {more}
    try:
        preprocess("files", "out", "raw", packed=True, stages=["org", "segmented"], workers=1)
    except Error as error:
        text = str(error)
        assert len(text) < 2000 and text.isprintable(), name
    assert open("victim").read() == "mine", name
"""


@pytest.mark.parametrize(
    "make",
    [
        "os.mkfifo(path)",
        "os.symlink('/dev/zero', path)",
        "os.symlink('/dev/null', path)",
        "os.symlink(path, path)",
        "os.symlink(os.path.abspath('victim'), path)",
        "os.mkdir(path)",
    ],
    ids=["fifo", "zero", "null", "loop", "victim", "folder"],
)
def test_files_of_a_run_that_are_none(done, make):
    """Nothing waits, nothing outside is written to, whatever stands where the run keeps its state."""
    more = "np.savez('raw/new.npz', signal=np.ones((12, 3000)), sampling_rate=500, leads=ecgfm.LEADS)"
    parts = [name for name in STATE if name.endswith(".part")]
    names = [name for name in STATE if name not in parts]
    code = AGAIN.format(names=names, without=[], make=make, more=more)
    code += AGAIN.format(names=parts, without=["packed/all.index.csv"], make=make, more=more)
    ended = attack(code, done)
    assert ended.raised is None, ended
    ended.bounded()


LINES = [
    "[]",
    "{}",
    "null",
    '{"i": "0"}',
    '{"i": -1, "error": "x"}',
    '{"i": 1e400}',
    '{"i": 0}',
    '{"i": true, "error": "x"}',
    '{"i": 0, "error": 5}',
    '{"i": 0, "meta": [], "segments": 1, "files": {}}',
    '{"i": 0, "meta": {"a": 1}, "segments": 1, "files": {}}',
    '{"i": 0, "meta": null, "segments": -1, "files": {}}',
    '{"i": 0, "meta": null, "segments": 1, "files": {"org": "x"}}',
    '{"i": 0, "meta": null, "segments": 1, "files": {}, "tables": {"a": [1]}}',
    "[" * 100_000,
    '{"i": ' + "9" * 5000 + "}",
    '{"i": 0, "meta": null, "segments": 1, "files": {}, "raw": 7}',
    '"\\ud800"',
    "\\xff",
]


def test_journals_that_lie(done):
    head, *_ = (done / "out/.ecgfm/preprocess.jsonl").read_text().splitlines()
    heads = [
        *LINES,
        json.dumps({"offset": -1}),
        json.dumps({"offset": 1 << 70}),
        json.dumps({"offset": "x" * 100_000}),
        json.dumps({**json.loads(head), "offset": 0, "stages": "x" * 100_000, "source": {"name": "y" * 100_000}}),
    ]
    (done / "contents.json").write_text(json.dumps([*(f"{head}\n{line}" for line in LINES), *heads]))
    code = "import json\ncontents = json.load(open('contents.json'))\n" + AGAIN.format(
        names=[".ecgfm/preprocess.jsonl"] * (len(LINES) + len(heads)),
        without=[],
        more="",
        make="open(path, 'w', encoding='utf-8', errors='surrogatepass').write(contents.pop(0) + '\\n')",
    )
    ended = attack(code, done)
    assert ended.raised is None, ended
    ended.bounded()


@pytest.mark.parametrize("name", ["../../victim", "../x", "meta", "a\0b", "t" * 300])
def test_a_journal_with_tables_of_other_names(done, name):
    import ecgfm
    from ecgfm.data import preprocess

    path = done / "out/.ecgfm/preprocess.jsonl"
    head, *lines = path.read_text().splitlines()
    found = [json.loads(line) | {"tables": {name: [{"a": "1"}]}} for line in lines]
    path.write_text("\n".join([head, *map(json.dumps, found)]) + "\n")
    before = sorted(str(one) for one in done.parent.glob("*"))
    with pytest.raises(ecgfm.FormatError) as caught:
        preprocess("files", "out", "raw", **OPTIONS)
    assert caught.value.field == "tables" and sorted(str(one) for one in done.parent.glob("*")) == before
    assert (done / "victim").read_text() == "mine" and not (done / "x.csv").exists()


def test_a_journal_of_many_segments(done):
    """A count that no file bears out costs nothing."""
    path = done / "out/.ecgfm/preprocess.jsonl"
    head, *lines = path.read_text().splitlines()
    found = [json.loads(line) | {"segments": 10**12} for line in lines]
    path.write_text("\n".join([head, *map(json.dumps, found)]) + "\n")
    ended = attack(f"ecgfm.data.preprocess('files', 'out', 'raw', **{OPTIONS})", done)
    assert ended.raised is None, ended
    ended.bounded()
    assert len(data_sets.read_table(done / "out/segmented.csv")) == 2
    assert path.read_text().count('"segments":1,') == 2


def test_rows_of_a_part_that_lie(done):
    from ecgfm.data import open_packed, preprocess

    for content in (b"x" * 15, np.array([[5, 0], [-7, 3], [1 << 62, 1 << 62]], np.int64).tobytes(), os.urandom(4096)):
        shutil.rmtree("out")
        shutil.copytree("fresh", "out")
        os.unlink("out/packed/all.index.csv")
        os.rename("out/packed/all.npy", "out/packed/all.npy.part")
        (done / "out/packed/all.rows.part").write_bytes(content)
        assert preprocess("files", "out", "raw", **OPTIONS).records == 2
        assert open_packed("out/packed/all.npy").idx.tolist() == [0, 1]


@pytest.mark.parametrize("idx", ["9" * 5000, "-5", "x", "1e300", "9007199254740990"])
def test_a_manifest_of_several_sources_that_lies(done, tmp_path, idx):
    import ecgfm
    from ecgfm.data import preprocess

    data_sets.write_table(
        tmp_path / "m.csv",
        [
            {
                "idx": idx,
                "source": "other",
                "source_path": "a",
                "save_file": "a.mat",
                "sample_rate": 500,
                "sample_size": 1,
            }
        ],
    )
    with pytest.raises(ecgfm.FormatError) as caught:
        preprocess("files", tmp_path / "other", done / "raw", manifest_file=tmp_path / "m.csv", workers=1)
    assert "m.csv" in str(caught.value) and "idx" in str(caught.value) and len(str(caught.value)) < 500


def test_a_folder_of_many_tiny_files(done):
    for i in range(20_000):
        os.close(os.open(f"raw/f{i}.{i % 50}", os.O_CREAT | os.O_WRONLY))
    for name in ("fifo", "fifo.npz", "fifo.hea", "fifo.xml", "fifo.gz"):
        os.mkfifo(f"raw/{name}")
    os.symlink("/dev/zero", "raw/zero.npy")
    os.symlink("/dev/zero", "raw/zero")
    ended = attack(
        "command('preprocess', 'files', '--raw_root', 'raw', '--processed_root', 'other', '--no_parallel')", done
    )
    assert ended.status == 1 and ended.err.count("\n") < 12 and len(ended.err) < 3000, ended
    assert "20,0" in ended.err and "others)" in ended.err
    ended.bounded(mb=100)
    assert len(data_sets.read_table("other/meta.csv")) == 2 and len(data_sets.read_table("other/status.csv")) > 20_000


# ---- what is printed and written


def test_texts_of_recordings_in_tables(tmp_path):
    """Formulas and controls that a recording brings along do nothing where its tables are shown."""
    from ecgfm.data import Files, Recording, preprocess

    def reader(row):
        meta = {"name": "=cmd|' /C calc'!A0", "at": "@SUM(1)", "sign": "-0.5", "text": "-x", "half": "a\ud800b"}
        return Recording(data_sets.signal(6), 500, data_sets.LEADS, meta, {"beats": [{"n": "+1+1", "t": 5}]})

    (tmp_path / "raw").mkdir()
    np.save(tmp_path / "raw/a.npy", np.zeros(3))
    for workers in (1, 1):
        preprocess(Files(reader=reader), tmp_path / "out", tmp_path / "raw", workers=workers)
    (row,) = data_sets.read_table(tmp_path / "out/meta.csv")
    assert [row[name] for name in ("name", "at", "sign", "text")] == ["'=cmd|' /C calc'!A0", "'@SUM(1)", "-0.5", "'-x"]
    assert row["half"] == "a\\ud800b"
    assert data_sets.read_table(tmp_path / "out/beats.csv")[0]["n"] == "'+1+1"


def test_errors_of_recordings_are_short_and_printable(tmp_path, capsys):
    from ecgfm.cli.main import main

    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/\x1b[2Jx.npz").write_bytes(b"nothing")
    np.save(tmp_path / "raw/a.npy", np.zeros((12, 10)))
    (tmp_path / "r.py").write_text("def read(row):\n    raise RuntimeError('\\x1b[31m' + 'x' * 10_000_000)\n")
    status = main(
        [
            "preprocess",
            "files",
            "--raw_root",
            str(tmp_path / "raw"),
            "--processed_root",
            str(tmp_path / "out"),
            "--reader",
            f"{tmp_path / 'r.py'}:read",
            "--no_parallel",
        ]
    )
    said = capsys.readouterr().err
    assert status == 2 and all(line.isprintable() and len(line) < 2200 for line in said.splitlines())
    assert os.path.getsize(tmp_path / "out/errors.csv") < 20_000
