"""Hostile WFDB, NumPy and CSV files, manifests and lists: refused by name or read, in bounded memory and time."""

import bz2
import lzma
import os
import struct
import zlib

import numpy as np
import pytest
from bounded import attack

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

#: Reads each file of the folder's list; says of each whether it was read or refused, and how.
READ_ALL = """
for line in open("files.list").read().splitlines():
    try:
        record = ecgfm.read(line, 500 if line.endswith((".npy", ".csv")) else None)
        ended[line] = "read"
        assert all(len(name) <= 64 and name.isprintable() for name in record.leads)
    except ecgfm.Error as error:
        assert error.path and len(str(error)) <= 2000 and str(error).isprintable(), error
        ended[line] = str(error)
print(json.dumps(ended))
"""
READ_ALL = "import json\nended = {}\n" + READ_ALL


def ended(folder, names, **limits):
    """What became of each file: "read", or the error's text."""
    import json

    (folder / "files.list").write_text("".join(f"{name}\n" for name in names))
    outcome = attack(READ_ALL, folder)
    outcome.bounded(**limits)
    assert outcome.raised is None, f"{outcome.raised}: {outcome.text}"
    return json.loads(outcome.out.splitlines()[-1])


def wfdb(folder, name, record=None, form="16", gain="200(0)/mV", leads=LEADS, file=None, data=None, tail="", check="0"):
    """A record of one signal file; every part of its header may lie."""
    x = (300 * np.sin(np.arange(1000) / 30 + np.arange(len(leads))[:, None])).astype("<i2")
    file = file or f"{name}.dat"
    if data is not False:
        (folder / f"{name}.dat").write_bytes(x.T.tobytes() if data is None else data)
    lines = [record or f"{name} {len(leads)} 500 1000"]
    forms = [form] * len(leads) if isinstance(form, str) else form
    lines += [f"{file} {one} {gain} 16 0 {x[i, 0]} {check} 0 {lead}" for i, (one, lead) in enumerate(zip(forms, leads))]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n" + tail)
    return f"{name}.hea"


# ---- WFDB -----------------------------------------------------------------------------------------------------------


def test_wfdb_headers(tmp_path):
    pytest.importorskip("wfdb")
    made = {
        wfdb(tmp_path, "skew", form="16:99999999"): "lags by 99,999,999 samples",
        wfdb(tmp_path, "skewlast", form=["16"] * 11 + ["16:1000"]): "lags by 1,000 samples",
        wfdb(tmp_path, "skewfree", "skewfree 12 500", form="16:99999999"): "lags by 99,999,999 samples",
        wfdb(tmp_path, "skewsmall", form=["16:3"] * 6 + ["16"] * 6): "read",
        wfdb(tmp_path, "twoforms", "twoforms 12 500", form=["16"] * 3 + ["80"] * 9): "in two formats",
        wfdb(tmp_path, "twooffsets", form=["16"] * 3 + ["16+2"] * 9): "in two formats",
        wfdb(tmp_path, "frame", "frame 12 500 1", form="16x40000000"): "",
        wfdb(tmp_path, "frames", "frames 12 500 4", form="212x9999999999"): "",
        wfdb(tmp_path, "offset", form="16+999999999"): "truncated",
        wfdb(tmp_path, "offsetfree", "offsetfree 12 500", form="16+999999999"): "",
        wfdb(tmp_path, "length", "length 12 500 1000000000000"): "more than the",
        wfdb(tmp_path, "digits", f"digits 12 500 {'9' * 900}"): "",
        wfdb(tmp_path, "longline", f"longline 12 500 {'9' * 5000}"): "",
        wfdb(tmp_path, "gainhuge", gain="1e999(0)/mV"): "a gain of inf",
        wfdb(tmp_path, "gaintiny", gain="1e-999(0)/mV"): "",
        wfdb(tmp_path, "gainnan", gain="nan(0)/mV"): "",
        wfdb(tmp_path, "baseline", gain=f"200({'9' * 40})/mV"): "a baseline of",
        wfdb(tmp_path, "checksum", check="9" * 900): "",
        wfdb(tmp_path, "spaces", leads=(*LEADS[:11], f"V6{' ' * 900}x")): "",
        wfdb(tmp_path, "manyspaces", leads=(*LEADS[:11], f"x{' ' * 1_000_000}x")): "characters; at most",
        wfdb(tmp_path, "escapes", leads=(*LEADS, "\x1b[2J\u202e")): "",
        wfdb(tmp_path, "comment", tail=f"# {'x' * 1_000_000}\n"): "read",
        wfdb(tmp_path, "comments", tail="#x\n" * 300_000): "read",
        wfdb(tmp_path, "elsewhere", file="../elsewhere.dat"): "",
        wfdb(tmp_path, "lines", tail="x.dat 16 200 16 0 0 0 0 x\n" * 100_000): "more than 512 signals",
        wfdb(tmp_path, "nofile", "nofile 12 500 40000000", form="0", file="~", data=False): "inflate",
        wfdb(tmp_path, "rate", f"rate 12 {'9' * 900}x 1000"): "",
        wfdb(tmp_path, "unit", gain=f"200(0)/{'m' * 900}"): "voltage",
    }
    for form in ("8", "24", "61", "80", "160", "212", "310", "311"):
        made[wfdb(tmp_path, f"form{form}", form=form, data=bytes(1000))] = "truncated"
        made[wfdb(tmp_path, f"free{form}", f"free{form} 12 500", form=form)] = "read"
    found = ended(tmp_path, made)
    for name, words in made.items():
        assert words in found[name], (name, found[name])
    assert "read" not in (found["elsewhere.hea"], found["digits.hea"], found["frame.hea"], found["gainnan.hea"])


def test_wfdb_segments(tmp_path):
    pytest.importorskip("wfdb")
    wfdb(tmp_path, "a")
    layout = "".join(f"~ 0 200(0)/mV 16 0 0 0 0 {name}\n" for name in LEADS)
    (tmp_path / "m_layout.hea").write_text(f"m_layout 12 500 0\n{layout}")
    made = {
        "gap.hea": ("gap/3 12 500 40001000\nm_layout 0\na 1000\n~ 40000000\n", "inflate to"),
        "again.hea": ("again/1000 12 500 1000000\n" + "a 1000\n" * 1000, "inflate to"),
        "small.hea": ("small/2 12 500 2000\na 1000\n~ 1000\n", ""),
        "self.hea": ("self/1 12 500 1000\nself 1000\n", "a segment that consists of segments"),
        "one.hea": ("one/1 12 500 1000\ntwo 1000\n", "a segment that consists of segments"),
        "two.hea": ("two/1 12 500 1000\none 1000\n", "a segment that consists of segments"),
        "pipe.hea": ("pipe/1 12 500 1000\nfifo 1000\n", "not a regular file"),
        "lies.hea": ("lies/1 12 500 999\na 999\n", "its own header says 1,000"),
        "minus.hea": ("minus/1 12 500 -5\na -5\n", ""),
    }
    for name, (text, _) in made.items():
        (tmp_path / name).write_text(text)
    os.mkfifo(tmp_path / "fifo.hea")
    found = ended(tmp_path, made)
    for name, (_, words) in made.items():
        assert words in found[name] and (words == "" or found[name] != "read"), (name, found[name])


def test_what_waits_for_ever(tmp_path):
    """FIFOs and devices in every place where these readers open a file."""
    wfdb(tmp_path, "a", data=False)
    os.mkfifo(tmp_path / "a.dat")
    wfdb(tmp_path, "zero", data=False)
    os.symlink("/dev/zero", tmp_path / "zero.dat")
    wfdb(tmp_path, "other", form="212", data=False)
    os.mkfifo(tmp_path / "other.dat")
    (tmp_path / "x.bin").write_bytes(bytes(range(256)) * 8)
    os.mkfifo(tmp_path / "x.hea")
    for name in ("pipe.hea", "pipe.npy", "pipe.npz", "pipe.csv", "pipe.txt", "pipe.tsv", "RECORDS"):
        os.mkfifo(tmp_path / name)
    for name in ("null.tsv", "null.csv"):
        os.symlink("/dev/zero", tmp_path / name)
    names = ["a.hea", "zero.hea", "other.hea", "x.bin", "pipe.hea", "pipe.npy", "pipe.npz", "pipe.csv", "pipe.txt"]
    found = ended(tmp_path, names)
    assert "read" not in found.values()
    assert "a.dat: not a regular file" in found["a.hea"] and "not a regular file" in found["pipe.csv"]
    code = """
from ecgfm.io.manifest import read_manifest
from ecgfm.io.inputs import expand
for name in ("pipe.tsv", "null.tsv", "null.csv", "pipe.txt", "RECORDS"):
    [(path, one)] = expand(name)
    if name.endswith(".tsv"):
        try:
            read_manifest(name)
        except ecgfm.FormatError as error:
            assert "not a regular file" in str(error), error
        else:
            raise AssertionError(name)
"""
    outcome = attack(code, tmp_path)
    outcome.bounded()
    assert outcome.raised is None, outcome.text


def test_predict_goes_on_after_each(tmp_path):
    """A folder with files that lie and a good one: what can be read is done."""
    wfdb(tmp_path, "bad", leads=(*LEADS, f"x{' ' * 1_000_000}x"))
    wfdb(tmp_path, "good")
    (tmp_path / "times.csv").write_text("time,I,II\n0,1,2\n1e-320,1,2\n2e-320,1,2\n")
    code = """
from ecgfm.ecg.choices import Choices
from ecgfm.io.inputs import expand, segments_of
for name, one in expand("."):
    try:
        segments_of(one, Choices(short="pad"))
        print("done", name)
    except ecgfm.Error as error:
        print("refused", name, error)
"""
    outcome = attack(code, tmp_path)
    outcome.bounded()
    assert outcome.raised is None, outcome.text
    lines = outcome.out.splitlines()
    assert len(lines) == 3 and sum(line.startswith("refused") for line in lines) == 2 and "done ./good.hea" in lines


# ---- NumPy ----------------------------------------------------------------------------------------------------------


def npy(shape, data=b"", descr="<f4", header=None):
    header = (header or f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}").encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def zipped(path, *members):
    """A zip of (name, method, packed bytes, size before, flags)."""
    local, central = b"", b""
    for name, method, packed, size, flags in members:
        check = zlib.crc32(packed) if method == 0 else 0
        fields = struct.pack("<HHHHHIII", 20, flags, method, 0, 0, check, len(packed), size)
        name = name.encode()
        central += b"PK\x01\x02\x14\x00" + fields + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, len(local)) + name
        local += b"PK\x03\x04" + fields + struct.pack("<HH", len(name), 0) + name + packed
    count = len(members)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(central), len(local), 0)
    path.write_bytes(local + central + end)
    return path.name


def test_npz(tmp_path):
    head, zeros = npy((12, 333_333)), bytes(1 << 24)
    packer = bz2.BZ2Compressor(9)
    raw = packer.compress(head) + b"".join(packer.compress(zeros) for _ in range(5)) + packer.flush()
    made = {zipped(tmp_path / "bzip2.npz", ("signal.npy", 12, raw, 1 << 24, 0)): "method 12 is not read"}
    packer = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "preset": 1}])
    raw = b"\x09\x04\x05\0\x5d" + struct.pack("<I", 1 << 20) + packer.compress(head) + packer.flush()
    made[zipped(tmp_path / "lzma.npz", ("signal.npy", 14, raw, 1 << 24, 0))] = "method 14 is not read"
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = packer.compress(npy((12, 2_000_000))) + b"".join(packer.compress(zeros) for _ in range(6)) + packer.flush()
    made[zipped(tmp_path / "bomb.npz", ("signal.npy", 8, raw, 96_000_100, 0))] = "inflate to"
    made[zipped(tmp_path / "less.npz", ("signal.npy", 8, raw, 1 << 20, 0))] = ""
    whole = bytearray((tmp_path / "bomb.npz").read_bytes())
    at = whole.index(b"PK\x01\x02")
    whole[at + 20 : at + 24] = struct.pack("<I", 1 << 31)  # said to be large before, too
    (tmp_path / "packed.npz").write_bytes(whole)
    made["packed.npz"] = "inflate to"
    plain = npy((12, 1000), bytes(48_000))
    stored = ("signal.npy", 0, plain, len(plain), 0)
    fs = npy((), struct.pack("<f", 500))
    rate = ("fs.npy", 0, fs, len(fs), 0)
    made[zipped(tmp_path / "size.npz", ("signal.npy", 0, plain, 1 << 31, 0))] = ""
    made[zipped(tmp_path / "twice.npz", stored, stored)] = "two arrays of one name"
    made[zipped(tmp_path / "secret.npz", ("signal.npy", 0, plain, len(plain), 1))] = "encrypted"
    made[zipped(tmp_path / "many.npz", *[(f"{i}.npy", 0, b"", 0, 0) for i in range(5000)])] = "5000 arrays"
    for name, points, words in (("point", 0x7FFFFFFF, "character of the number 2147483647"), ("half", 0xD800, "55296")):
        leads = npy((12,), np.tile(np.array([73, points], "<u4"), 12).tobytes(), "<U2")
        made[zipped(tmp_path / f"{name}.npz", stored, ("leads.npy", 0, leads, len(leads), 0))] = words
    for name, text in (("spaces", f"x{' ' * 100_000}x"), ("brackets", "(" * 100_000), ("escape", "\x1b]0;x\x07\u202e")):
        leads = npy((12,), np.array([*LEADS[:11], text]).tobytes(), f"<U{max(len(text), 3)}")
        made[zipped(tmp_path / f"{name}.npz", stored, rate, ("leads.npy", 0, leads, len(leads), 0))] = "read"
    made |= {"shape.npy": "", "minus.npy": "", "short.npy": "truncated", "object.npy": "type object"}
    (tmp_path / "shape.npy").write_bytes(npy((12, 2**70)))
    (tmp_path / "minus.npy").write_bytes(npy(None, header="-" * 9000 + "1"))
    (tmp_path / "short.npy").write_bytes(npy((12, 80_000_000), bytes(100)))
    (tmp_path / "object.npy").write_bytes(npy((12, 1), b"cos\nsystem\n(S'touch ran'\ntR.", "|O"))
    found = ended(tmp_path, made)
    for name, words in made.items():
        assert words in found[name], (name, found[name])
    assert not (tmp_path / "ran").exists()


# ---- CSV ------------------------------------------------------------------------------------------------------------


def test_csv(tmp_path):
    rows = "".join(f"{i},{i}\n" for i in range(1000))
    made = {
        "rate": (f"# fs: a{' ' * 60_000}b\n" * 4 + "I,II\n" + rows, ""),
        "ratespaces": ("# fs" + " " * 3_000_000 + ":" + " " * 1_000_000 + "\nI,II\n" + rows, ""),
        "times": ("time,I,II\n0,1,2\n1e-320,1,2\n2e-320,1,2\n", ""),
        "back": ("time,I,II\n0,1,2\n0.004,1,2\n0.002,1,2\n", "don't rise evenly"),
        "still": ("time,I,II\n" + "0,1,2\n" * 9, "don't rise evenly"),
        "inftime": ("time,I,II\n0,1,2\ninf,1,2\n", "don't rise evenly"),
        "wide": ("I,II\n1,2\n" + "," * 30_000_000 + "\n", "characters in a line"),
        "line": ("I,II" + "x" * 30_000_000, "characters in a line"),
        "columns": ("I,II," + ",".join(map(str, range(400_000))) + "\n" + rows, "4,097 columns"),
        "names": (",".join(["I"] * 1_000_000) + "\n" + rows, "columns"),
        "quote": ('I,II\n1,"2\n' + rows, "a quote that doesn't end"),
        "quotes": ('"I,II\n' + rows, "a quote that doesn't end"),
        "nul": ("I,II\n1,2\n\0\0,3\n", ""),
        "utf16": ("I,II\n1,2\n".encode("utf-16"), "read"),
        "odd": ("I,II\n1,2\n".encode("utf-16")[:-1], "not text in UTF-16"),
        "surrogate": ("I,II\n1,2\n".encode("utf-16") + b"\x00\xd8,\0", "not text in UTF-16"),
        "latin": ("I [\u00b5V],II\n1,2\n".encode("latin-1"), "read"),
        "later": (f"I,II\n{'1,2' * 9}\n".encode() * 999 + b"\xff,1\n", "not text in UTF-8"),
        "huge": ("I,II\n1e400,-1e400\n" + rows, "read"),
        "inf": ("I,II\ninf,nan\n" + rows, "read"),
        "digits": (f"I,II\n{'9' * 1_000_000},1\n" + rows, "read"),
        "cell": (f"I,II\n{'x' * 4_000_000},1\n" + rows, "not a table of numbers"),
        "unit": (f"I [{'x' * 500_000}],II\n" + rows, ""),
        "spaces": (f"I{' ' * 1_000_000}x,II\n" + rows, ""),
        "brackets": (f"I{'(' * 1_000_000},II\n" + rows, ""),
        "escape": ("I,\x1b]0;x\x07,II\n" + "1,2,3\n" * 9, "read"),
        "comments": ("#\n" * 200_000 + "I,II\n1,2\n", "lines of comments"),
        "clock": ("timestamp,I,II\n" + f"2020-01-01 10:00:00{'0' * 1_000_000},1,2\n" * 3, ""),
        "mixed": ("I;II\n1,5;2.5\n", "points and numbers with commas"),
    }
    for name, (text, _) in made.items():
        (tmp_path / f"{name}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    found = ended(tmp_path, [f"{name}.csv" for name in made])
    for name, (_, words) in made.items():
        assert words in found[f"{name}.csv"], (name, found[f"{name}.csv"][:300])


def test_paths(tmp_path):
    code = """
for path in (None, 5, 3.5, ("a",), b"x" * 5000, "x" * 5000, "a\\0b", "", "\\ud800", object(), np.ones((2, 9)), {}):
    for call in (ecgfm.read, lambda path: list(ecgfm.io.members(path))):
        try:
            call(path)
        except ecgfm.Error as error:
            assert len(str(error)) <= 2000 and str(error).isprintable()
        else:
            assert isinstance(path, (str, bytes)) and call is not ecgfm.read, path
"""
    outcome = attack(code, tmp_path)
    outcome.bounded()
    assert outcome.raised is None, outcome


# ---- manifests and lists --------------------------------------------------------------------------------------------


def test_manifests(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((12, 5000), "f4"))
    numbers = ",".join(map(str, range(200_000)))
    bad = {
        "stems.tsv": f"/d\nmat\n{'s' * 4000}\t2500\t0\t{numbers}\n",
        "digits.tsv": f"/d\nmat\ns\t{'9' * 5000}\t0\t0,1\n",
        "line.tsv": f"/d\nmat\n{'x' * 30_000_000}",
        "long.tsv": f"/d\nmat\n{'s' * 9000}\t2500\t0\t0,1\n",
        "escape.tsv": "/d\nmat\n\x1b[2J\u202e\n",
        "bytes.tsv": b"/d\nmat\n\xff\xfe\x00\n",
    }
    for name, text in bad.items():
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "paths.txt").write_text("a.npy\n" + "x" * 60_000 + "\n")
    (tmp_path / "wide.txt").write_text("a.npy\n" + "x" * 30_000_000 + "\n")
    (tmp_path / "latin.txt").write_bytes(b"a.npy\n\xff\n")
    code = f"""
from ecgfm.io.manifest import read_manifest
from ecgfm.io.lists import listed_files
for function, names in ((lambda path: read_manifest(path, pairs=True), {list(bad)}),
                        (listed_files, ["paths.txt", "wide.txt", "latin.txt"])):
    for name in names:
        try:
            function(name)
        except ecgfm.Error as error:
            assert error.path == name and len(str(error)) <= 2000 and str(error).isprintable(), error
        else:
            raise AssertionError(name)
"""
    outcome = attack(code, tmp_path)
    outcome.bounded()
    assert outcome.raised is None, outcome
