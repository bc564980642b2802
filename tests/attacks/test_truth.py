"""Labels that lie: of evaluate and of finetune, as files and as what stands beside them."""

import io
import os
import zipfile

import numpy as np
from bounded import attack

READ = "from ecgfm.inference.evaluate_truth import read_truth; read_truth('{}', ('a', 'b'))"


def header(text, data=b""):
    """An ``.npy`` file whose header is this text."""
    raw = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + data


def zipped():
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        file.writestr("arr_0.npy", header("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }", bytes(48)))
    return held.getvalue()


def shape(text, descr="<f8", data=b""):
    return header(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {text}, }}", data)


ARRAYS = {
    "zip": zipped(),
    "empty": b"",
    "short": shape("(3, 2)", data=bytes(40)),
    "huge": shape(f"({2**70}, 2)"),
    "negative": shape("(-3, 2)", data=bytes(48)),
    "objects": shape("(3, 2)", "|O", b"cos\nsystem\n(S'touch ran'\ntR."),
    "text": shape("(3, 2)", "<U1", bytes(24)),
    "brackets": header("(" * 5000),
    "minus": header("-" * 9000 + "1"),
    "half a string": header("{'descr': '<f4"),
    "records": header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 2), }", bytes(24)),
    "csv": b"file,a,b\nx,0,1\n",
    "pickle": b"\x80\x04cos\nsystem\n(S'touch ran'\ntR.",
}


def test_arrays_that_lie(tmp_path):
    """Each is refused by name, by both readers, in one process."""
    for name, raw in ARRAYS.items():
        (tmp_path / f"{name}.npy").write_bytes(raw)
    (tmp_path / "folder.npy").mkdir()
    code = f"""
from ecgfm.inference.evaluate_truth import read_truth
from ecgfm.training.labelling import read_labels
said = []
for name in {[*ARRAYS, "folder", "absent"]}:
    for read in (lambda path: read_truth(path, ("a", "b")), lambda path: read_labels(path, indexed=True)):
        try:
            read(name + ".npy")
        except ecgfm.LabelError as error:
            assert name in str(error) and len(str(error)) < 2000 and str(error).isprintable(), str(error)
            said.append(name)
found["status"] = len(said)
"""
    ended = attack(code, tmp_path)
    ended.bounded()
    assert ended.raised is None and ended.status == 2 * (len(ARRAYS) + 2), ended
    assert not (tmp_path / "ran").exists()


def test_fifos_and_devices(tmp_path):
    """None is waited for, also not as the file of names beside an array."""
    for name in ("y.csv", "y.npy", "y.csv.gz"):
        os.mkfifo(tmp_path / name)
    for name in ("link.csv", "link.npy"):
        (tmp_path / name).symlink_to("/dev/zero")
    (tmp_path / "names").mkdir()
    np.save(tmp_path / "names" / "y.npy", np.zeros((3, 2)))
    os.mkfifo(tmp_path / "names" / "label_def.csv")
    code = """
from ecgfm.inference.evaluate_truth import read_truth
from ecgfm.training.labelling import read_labels
count = 0
for name in ("y.csv", "y.npy", "y.csv.gz", "link.csv", "link.npy", "names/y.npy"):
    for read in (lambda path: read_truth(path, ("a", "b")), lambda path: read_labels(path, indexed=True)):
        try:
            read(name)
        except ecgfm.LabelError as error:
            assert "not a regular file" in str(error), str(error)
            count += 1
found["status"] = count
"""
    ended = attack(code, tmp_path)
    ended.bounded()
    assert ended.raised is None and ended.status == 12, ended


def write(path, *parts):
    with open(path, "wb") as file:
        for part in parts:
            file.write(part)


TABLES = {
    "one line": (b"file,a,b\n", b"x" * 40_000_000),
    "one header": (b"file," + b"a" * 20_000_000 + b"\n",),
    "open quote": (b'file,a,b\n"', b"x,0,1\n" * 1_000_000),
    "wide header": (",".join(["file", *(f"c{i}" for i in range(100_000))]).encode() + b"\nx\n",),
    "no text": (b"file,a,b\n", bytes(range(256)) * 1000),
    "twice": (b"file,a,a\nx,0,1\n",),
    "numbers": (b"file,a,b\nx,1e308,1\n",),
    "digits": (b"file,a,b\nx," + b"9" * 5000 + b",1\n",),
    "escapes": (b"file,a\x1b[31m,b\nx,0,\x1b]0;owned\x07\n",),
    "surrogate": (b"file,a,b\n\xed\xa0\x80,0,1\n",),
    "nul": (b"file,a,b\n\0,0,2\n",),
}


def test_tables_that_lie(tmp_path):
    for name, parts in TABLES.items():
        write(tmp_path / f"{name}.csv", *parts)
    code = f"""
from ecgfm.inference.evaluate_truth import read_truth
said = []
for name in {[*TABLES]}:
    try:
        read_truth(name + ".csv", ("a", "b"))
    except ecgfm.LabelError as error:
        assert len(str(error)) < 2000 and str(error).isprintable(), str(error)
        said.append(name)
found["status"] = len(said)
print(said)
"""
    ended = attack(code, tmp_path)
    ended.bounded()
    assert ended.raised is None and ended.status == len(TABLES), (ended.out, ended)


def test_a_table_of_many_columns_is_read(tmp_path):
    """100,000 columns that are no labels cost a walk over them, are counted in the warning, and fill no memory."""
    names = ",".join(f"c{i}\x1b" for i in range(100_000))
    cells = ",".join(["1"] * 100_000)
    (tmp_path / "y.csv").write_text(f"file,a,{names}\n" + "".join(f"r{i},1,{cells}\n" for i in range(100)))
    code = """
import warnings
from ecgfm.inference.evaluate_truth import read_truth
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    truth = read_truth("y.csv", ("a", "b"))
assert len(truth.unused) == 100_000 and truth.values[:, 0].tolist() == [1] * 100
text = str(caught[0].message)
assert len(text) < 2000 and text.isprintable() and "more" in text, text
"""
    ended = attack(code, tmp_path)
    ended.bounded(mb=100)
    assert ended.raised is None, ended


def test_a_compressed_table_that_inflates(tmp_path):
    import gzip

    with gzip.open(tmp_path / "y.csv.gz", "wb") as file:
        for _ in range(400):
            file.write(b"\n" * 1_000_000)
    attack(READ.format("y.csv.gz"), tmp_path).refused("y.csv.gz", "inflate")


def test_many_recordings_of_one_name_take_no_square_of_their_number(tmp_path):
    code = """
from ecgfm.inference.evaluate_truth import read_truth
names = [f"p{i // 1000}/s{i % 1000}/ecg.hea" for i in range(30_000)]
truth = read_truth({"file": names, "a": [0] * 30_000}, ("a",))
assert [truth.row_of(i, name, name) for i, name in enumerate(names)] == list(range(30_000))
"""
    ended = attack(code, tmp_path)
    ended.bounded()
    assert ended.raised is None, ended


def test_numbers_of_records_that_lie(tmp_path):
    code = """
from ecgfm.training.labelling import read_labels
for idx in (["-1"], ["1e300"], ["nan"], ["inf"], ["9" * 5000], ["0.5"], [""], ["999999999999"], [2**64], [None]):
    try:
        read_labels({"idx": idx, "a": [0]}, indexed=True)
    except ecgfm.LabelError as error:
        assert error.field == "idx" and len(str(error)) < 2000
    else:
        raise AssertionError(idx)
"""
    ended = attack(code, tmp_path)
    ended.bounded()
    assert ended.raised is None, ended
