"""Folders, manifests, unfinished files and stores that lie: what predict and its like make of them."""

import os
import pickle
import subprocess

import numpy as np
import pytest
from bounded import attack

import ecgfm
from ecgfm import LEADS
from ecgfm.ecg import simulate

MODEL = os.path.join(os.path.dirname(ecgfm.__file__), "assets", "demo")


def good(path, seed=0):
    made = simulate(6.0, 500, seed=seed)
    with open(path, "wb") as file:
        np.savez(file, signal=made.signal, sampling_rate=500, leads=made.leads)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path


def deep(top, levels):
    """Folders in folders, made one by one: their whole path is too long for most."""
    where = os.getcwd()
    try:
        os.chdir(top)
        for _ in range(levels):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(where)


def predict(*words):
    return f"command('predict', {MODEL!r}, {', '.join(map(repr, words))})"


def test_a_folder_of_nan_costs_no_memory(folder):
    bad = np.zeros((12, 150_000), np.float32)  # 7 MB each
    bad[:, ::7] = 1
    bad[4, 77] = np.nan
    np.savez_compressed(folder / "in" / "000.npz", signal=bad, sampling_rate=500, leads=LEADS)
    for i in range(1, 120):
        os.link(folder / "in" / "000.npz", folder / "in" / f"{i:03}.npz")
    good(folder / "in" / "good.npz")
    for out in ((), ("--out", "p.csv")):
        ended = attack(predict("in", *out), folder)
        ended.bounded(mb=250)
        assert ended.status == 1 and ended.err.count("skipped: ") == 120 and "1 recording, 1 segment" in ended.out


def test_names(folder):
    names = [
        "=cmd|'calc'!A0.npz",
        "+1+cmd.npz",
        "-2+3.npz",
        "@SUM(1+9).npz",
        "a\x1b[2Jb.npz",
        "\u202efdp.npz",
        "a\nb.npz",
    ]
    names += ["\udcff\udcfe.npz", 'x,"y.npz', "'=q.npz"]
    for i, name in enumerate(names):
        good(os.path.join(folder, "in", name), i)
    code = "import os; os.chdir('in'); " + predict("--out", "../p.csv", "--", *names)
    ended = attack(f"{code}; command('predict', {MODEL!r}, '--out', '../p.csv', '--resume', '--', *{names!r})", folder)
    ended.bounded()
    assert ended.status == 0 and f"{len(names)} of the recordings had been done before" in ended.out
    import csv

    for path in folder.glob("p*.csv"):
        text = path.read_text(encoding="utf-8")
        assert not {"\x1b", "\u202e"} & set(text)
        for row in csv.reader(text.splitlines(True)):
            assert not [cell for cell in row if cell[:1] in ("=", "+", "-", "@") and not cell[1:2].isdigit()]
    assert not {"\x1b", "\u202e"} & set(ended.out + ended.err)


def test_many_names_and_deep_folders(folder):
    good(folder / "in" / "good.npz")
    for i in range(20_000):
        open(folder / "in" / f"{i}.txt", "wb").close()
    os.symlink("itself", folder / "in" / "itself")
    deep(folder / "in", 1500)
    try:
        ended = attack(predict("in", "--out", "p.csv"), folder)
    finally:
        subprocess.run(
            ["rm", "-rf", folder / "in" / "d"], check=True
        )  # pytest's own removal calls itself for each level
    ended.bounded()
    assert ended.status in (0, 1) and "1 recording, 1 segment" in ended.out


@pytest.mark.parametrize("kind", ["FIFO", "/dev/zero"])
def test_a_manifest_that_is_no_file(folder, kind):
    path = folder / "a.tsv"
    if kind == "FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to(kind)
    attack(predict("a.tsv"), folder).said_one_line()


def test_a_manifest_and_tables_that_lie(folder):
    good(folder / "in" / "a_0.npz")
    good(folder / "in" / "a_1.npz")
    (folder / "a.tsv").write_text(f"\t{folder}/in/\na_0.npz\t2500\na_1.npz\t2500\n")
    os.mkfifo(folder / "segmented.csv")
    (folder / "in" / "segmented.csv").write_bytes(b'path,save_file\n"' + b"a" * (8 << 20))
    (folder / "segmented_split.csv").symlink_to("/dev/zero")
    ended = attack(predict("a.tsv"), folder)
    ended.bounded()
    assert ended.status == 0 and "2 recordings" in ended.out and "Taken as a recording of its own" in ended.out


STATUS = b"file,status,segments,error,fingerprint\n"


@pytest.mark.parametrize(
    "name, content",
    [
        ("p.run.json", b"[" * 1_000_000),
        ("p.status.csv", STATUS + b"a,done," + b"9" * 100_000 + b",,x\n"),
        ("p.csv", b'"' + b"a" * 30_000_000),
    ],
)
def test_files_of_an_earlier_run_that_lie(folder, name, content):
    good(folder / "in" / "a.npz")
    assert attack(predict("in", "--out", "p.csv"), folder).status == 0
    (folder / name).write_bytes(content)
    attack(predict("in", "--out", "p.csv", "--resume"), folder).said_one_line()


def stores():
    shape = {"shape": (4, 3), "dtype": "float32"}
    yield "huge", pickle.dumps(shape | {"shape": (1 << 47, 1 << 47)})
    yield "deep", b"\x80\x04" + b"]" * 20_000 + b"a" * 19_999 + b"."
    yield "wide", pickle.dumps(shape | {"shape": (1,) * 5000})
    yield "text", pickle.dumps(shape | {"dtype": "f" * 60_000})
    yield "nested", pickle.dumps(shape | {"order": [["x" * 50] * 500] * 500})
    yield "key", pickle.dumps(shape | {("a" * 50_000,): 1})
    yield "call", b"cos\nsystem\n(S'touch called'\ntR."


REFUSE = """
import ecgfm.inference as i
for name in names:
    try:
        i.open_store(f"{name}.npy")
    except ecgfm.Error as error:
        assert name in error.path and len(str(error)) < 2000 and str(error).isprintable(), (name, str(error)[:500])
    else:
        raise AssertionError(name)
"""


def test_stores_that_lie(folder):
    names = []
    for name, header in stores():
        (folder / f"{name}.npy").write_bytes(bytes(48))
        (folder / f"{name}_header.pkl").write_bytes(header)
        names.append(name)
    heads = b"[" * 3000, b"-" * 3000, b"'half", b"{'descr': '<f4', 'fortran_order': False, 'shape': (1<<70,)}"
    for i, head in enumerate(heads):
        raw = b"\x93NUMPY\x01\x00" + (len(head) + 1).to_bytes(2, "little") + head + b"\n" + bytes(48)
        (folder / f"numpy{i}.npy").write_bytes(raw)
        names.append(f"numpy{i}")
    for name, bad in (("pipe", "pipe.npy"), ("header", "header_header.pkl")):
        (folder / f"{name}.npy").write_bytes(bytes(48))
        (folder / f"{name}_header.pkl").write_bytes(pickle.dumps({"shape": (4, 3), "dtype": "float32"}))
        os.unlink(folder / bad)
        os.mkfifo(folder / bad)
    (folder / "zero.npy").symlink_to("/dev/zero")
    ended = attack(f"names = {[*names, 'pipe', 'header', 'zero']!r}\n{REFUSE}", folder)
    assert ended.raised is None, ended
    ended.bounded()
    assert not (folder / "called").exists()


def test_a_mistake_of_ours_is_named(folder):
    good(folder / "in" / "a.npz")
    code = "import ecgfm.inference.aggregate as a; import ecgfm.inference.result as r; r.aggregate = None; "
    ended = attack(code + predict("in"), folder)
    ended.said_one_line(status=3)
    assert "a defect of ecgfm: TypeError in inference/result.py, line " in ended.err
    ended = attack(code + predict("in", "--debug"), folder)
    assert ended.status == 3 and "Traceback" in ended.err and "a defect of ecgfm" in ended.err.splitlines()[-1]


def test_a_row_of_many_lines(tmp_path):
    """An unfinished table with a quotation mark and a million empty lines takes no time that grows with their
    square."""
    (tmp_path / "a.csv.part").write_bytes(b'file,"' + b"\n" * 3_000_000)
    ended = attack("from ecgfm.storage.growing_files import open_growing; open_growing('a.csv', 1)", tmp_path)
    ended.refused("a.csv", mb=300, cpu_s=20)


def test_tables_of_very_many_columns(tmp_path):
    """Time grows with the number of columns, not with its square."""
    names = ["file", *map(str, range(300_000)), *ecgfm.load(MODEL).labels]
    (tmp_path / "a.csv").write_text("\n".join([",".join(names), ",".join(["r"] + ["1"] * (len(names) - 1))]) + "\n")
    code = f"""
from ecgfm.ecg.named import named_rows
named_rows({{str(i): [0.0] for i in range(60_000)}}, lambda name: True)
from ecgfm.inference import evaluate_truth
evaluate_truth.read_truth("a.csv", {tuple(ecgfm.load(MODEL).labels)!r})
"""
    ended = attack(code, tmp_path)
    ended.bounded(mb=600, cpu_s=20)
