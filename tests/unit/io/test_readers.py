"""Readers: what they read, how a format is recognised, and files that lie."""

import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io
from bounded import PATIENCE_S

import ecgfm
from ecgfm import LEADS, Error, FormatError, LeadError, SignalError, read
from ecgfm import io as readers
from ecgfm.io import common, is_recording

X = np.random.default_rng(5).normal(0, 0.4, (12, 2600)).astype(np.float32)


def save_mat(path, **values):
    scipy.io.savemat(path, values)
    return path


def save_csv(path, x=X, names=LEADS, rate=500, top="", delimiter=","):
    columns = delimiter.join(["time", *names])
    rows = np.column_stack([np.arange(x.shape[1]) / rate, x.T])
    text = io.StringIO()
    np.savetxt(text, rows, delimiter=delimiter, fmt="%.9g")
    path.write_text(f"{top}{columns}\n{text.getvalue()}")
    return path


# ---- .npy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2", "<f2"])
@pytest.mark.parametrize("order", "CF")
def test_npy(tmp_path, version, dtype, order):
    x = np.array(np.round(X * 100), dtype=dtype, order=order)
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, x, version=version)
    record = read(tmp_path / "a.npy", sampling_rate=400)
    assert record.signal.dtype == np.float32 and np.array_equal(record.signal, x)
    assert record.signal.flags.writeable and record.signal.flags.c_contiguous
    assert record.sampling_rate == 400 and record.leads == LEADS and record.source == str(tmp_path / "a.npy")
    assert record.notes == ("leads assumed in the order I II III aVR aVL aVF V1-V6", "unit assumed: mV")


def test_npy_by_columns_and_with_names(tmp_path):
    np.save(tmp_path / "a.npy", X.T)
    record = read(str(tmp_path / "a.npy"), 500)
    assert np.array_equal(record.signal, X) and record.notes[0] == "transposed from (samples, leads)"
    np.save(tmp_path / "b.npy", X[:8].T)
    names = ["I", "II", "v1", "v2", "v3", "v4", "v5", "v6"]
    record = read(tmp_path / "b.npy", 500, ",".join(names))
    assert np.array_equal(record.signal, X[:8]) and record.leads == ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
    np.save(tmp_path / "c.npy", X[:, :12])
    assert np.array_equal(read(tmp_path / "c.npy", 500).signal, X[:, :12])  # a square one is (leads, samples)


def test_npy_without_rate_or_names(tmp_path):
    np.save(tmp_path / "a.npy", X[:8])
    with pytest.raises(LeadError, match="the leads are not named"):
        read(tmp_path / "a.npy", 500)
    with pytest.raises(LeadError, match="7 lead names|the leads|lead names for 8 rows"):
        read(tmp_path / "a.npy", 500, LEADS[:7])
    np.save(tmp_path / "a.npy", X)
    with pytest.raises(SignalError, match="doesn't state the sampling rate"):
        read(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", X[None])
    with pytest.raises(SignalError, match="3 dimensions"):
        read(tmp_path / "a.npy", 500)


def npy_bytes(shape, data=b"", descr="<f4", header=None):
    header = header or f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}"
    header = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize(
    "content, words",
    [
        (npy_bytes((12, 10**12)), "more than the"),
        (npy_bytes((10**30, 10**30)), "more than the"),
        (npy_bytes((12, 2500)), "truncated: the shape"),
        (npy_bytes((12, 2500), b"\0" * 119_999), "truncated"),
        (npy_bytes((12, -2500), b"\0" * 8), "not a shape"),
        (npy_bytes((True, 2500), b"\0" * 10_000), "not a shape"),
        (npy_bytes((0, 10**18)), "damaged|empty"),
        (npy_bytes((12, 2500), b"\0" * 8, descr="|O"), "type object"),
        (npy_bytes((12, 2500), b"\0" * 8, descr=[("a", "<f4")]), "not read"),
        (npy_bytes((1,), b"\0" * 8, descr="|V8"), "not read"),
        (npy_bytes((), b"\0" * 8), "0 dimensions"),
        (npy_bytes((2, 4), b"\0" * 64, descr="<c8"), "complex"),
        (npy_bytes((12, 2500), header="{'descr': '<f4'}"), "damaged .npy header"),
        (npy_bytes((12, 2500), header="__import__('os').system('false')"), "damaged .npy header"),
        (npy_bytes((12, 2500), header="(" * 5000), "damaged .npy header"),
        (npy_bytes((12, 2500), header="{" + " " * 20_000 + "}"), "damaged .npy header"),
        (b"\x93NUMPY", "damaged .npy header"),
        (b"\x93NUMPY\x09\x00" + b"\0" * 100, "damaged .npy header"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "damaged .npy header"),
    ],
)
def test_npy_that_lies(tmp_path, content, words):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(Error, match=words) as caught:
        read(path, 500)
    assert caught.value.path == str(path) and caught.value.field == "signal"


def test_npy_is_not_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    for name, save in (("a.npy", np.save), ("a.npz", np.savez)):
        save(tmp_path / name, np.array([Evil()], dtype=object))
        with pytest.raises(FormatError, match="type object"):
            read(tmp_path / name, 500)
    assert not (tmp_path / "pwned").exists()


# ---- .npz -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("signal_key", ["signal", "feats", "x", "data", "ecg"])
@pytest.mark.parametrize("rate_key", ["sampling_rate", "curr_sample_rate", "sample_rate", "fs"])
def test_npz(tmp_path, save, signal_key, rate_key):
    save(tmp_path / "a.npz", **{signal_key: X, rate_key: np.array([[400]]), "leads": LEADS, "other": np.zeros(3)})
    record = read(tmp_path / "a.npz")
    assert np.array_equal(record.signal, X) and record.sampling_rate == 400 and record.leads == LEADS
    assert record.notes == ("unit assumed: mV",) and record.signal.flags.writeable


def test_npz_of_one_array_and_names_in_bytes(tmp_path):
    np.savez(tmp_path / "a.npz", X)
    assert np.array_equal(read(tmp_path / "a.npz", 500).signal, X)
    np.savez(tmp_path / "b.npz", signal=X[:2], fs=500.0, lead_names=np.array([b"v1", b"avr"]))
    assert read(tmp_path / "b.npz").leads == ("V1", "aVR")


def test_what_is_given_must_not_contradict(tmp_path):
    np.savez(tmp_path / "a.npz", signal=X, fs=400, leads=LEADS)
    assert read(tmp_path / "a.npz", 400, [name.lower() for name in LEADS]).sampling_rate == 400
    with pytest.raises(SignalError, match="the file says 400 Hz; given was 500 Hz"):
        read(tmp_path / "a.npz", 500)
    with pytest.raises(LeadError, match="the file says I, II"):
        read(tmp_path / "a.npz", leads=LEADS[::-1])


@pytest.mark.parametrize(
    "values, error, field, words",
    [
        ({"a": X, "b": X}, FormatError, "signal", "no array is named signal or"),
        ({"signal": X, "fs": np.zeros(2)}, FormatError, "fs", "not one number"),
        ({"signal": X, "fs": "fast"}, FormatError, "fs", "not one number"),
        ({"signal": X, "fs": -1}, SignalError, "sampling_rate", "sampling rate -1"),
        ({"signal": X, "fs": np.nan}, SignalError, "sampling_rate", "nan"),
        ({"signal": X, "fs": 500, "leads": np.arange(12)}, FormatError, "leads", "not a list of names"),
        ({"signal": X, "fs": 500, "leads": LEADS[:11]}, LeadError, "leads", "11 lead names"),
        ({"signal": X[0], "fs": 500}, SignalError, "signal", "1 dimensions"),
        ({"signal": X[:0], "fs": 500}, SignalError, "signal", "empty"),
        ({"signal": X.astype("U4"), "fs": 500}, SignalError, "signal", "not real numbers"),
        ({}, FormatError, "signal", "it holds nothing"),
    ],
)
def test_wrong_npz(tmp_path, values, error, field, words):
    np.savez(tmp_path / "a.npz", **values)
    with pytest.raises(error, match=words) as caught:
        read(tmp_path / "a.npz")
    assert caught.value.path == str(tmp_path / "a.npz")
    assert caught.value.field in (field, None)


def test_zip_bomb(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("signal.npy", "w") as member:
        member.write(npy_bytes((12, 10**7)))
        for _ in range(48):
            member.write(bytes(10**7))
    assert path.stat().st_size < 10**6
    with pytest.raises(FormatError, match="inflate to 480,"):
        read(path, 500)


def test_zip_that_lies_of_its_size(tmp_path):
    """The array claims more than its member has, or the member more than the archive has."""
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("signal.npy", npy_bytes((12, 10**9 // 12), b"\0" * 100))
    with pytest.raises(FormatError, match="truncated: the shape"):
        read(path, 500)
    content = npy_bytes((12, 2500), bytes(1000))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("signal.npy", content)
    raw = path.read_bytes().replace(struct.pack("<I", len(content)), struct.pack("<I", 200_000))
    path.write_bytes(raw)
    with pytest.raises(FormatError):
        read(path, 500)


def test_other_zips(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    with pytest.raises(FormatError, match="it holds word/document.xml"):
        read(path, 500)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(1100):
            archive.writestr(f"{i}.npy", b"")
    with pytest.raises(FormatError, match="1100 arrays"):
        read(path, 500)


# ---- CSV ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv(tmp_path, delimiter):
    record = read(save_csv(tmp_path / "a.csv", delimiter=delimiter))
    np.testing.assert_allclose(record.signal, X, rtol=1e-6)
    assert record.sampling_rate == 500 and record.leads == LEADS and record.notes == ("unit assumed: mV",)


def test_csv_with_everything(tmp_path):
    path = tmp_path / "a.txt"  # no usual ending: the first line tells
    lines = ["\ufeff# patient: none", "# sampling_rate: 250 Hz", "", 'index,"Lead I (uV)",ii [mV],V1 (V),HR,aVR']
    lines += [f'{i},"{1000 * i}",{i},0.00{i},80,{-i}' for i in range(3)]
    path.write_bytes("\r\n".join(lines).encode())
    record = read(path)
    assert record.leads == ("I", "II", "V1", "aVR") and record.sampling_rate == 250
    np.testing.assert_allclose(record.signal, [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, -1, -2]])
    assert record.notes == ("columns not read: HR", "unit assumed: mV")


@pytest.mark.parametrize(
    "name, scale", [("time", 1), ("t", 1), ("Time (s)", 1), ("time [ms]", 1000), ("time_ms", 1000)]
)
@pytest.mark.parametrize("rate", [500, 257, 128.25, 1000])
def test_csv_rate_from_times(tmp_path, name, scale, rate):
    times = "\n".join(f"{i / rate * scale:.7f},1,2" for i in range(1000))
    (tmp_path / "a.csv").write_text(f"{name},I,II\n{times}\n")
    assert read(tmp_path / "a.csv").sampling_rate == pytest.approx(rate, rel=1e-5)


def test_csv_without_names(tmp_path):
    path = tmp_path / "a.csv"
    np.savetxt(path, X.T, delimiter=",")
    with pytest.raises(LeadError, match="names no leads"):
        read(path, 500)
    np.testing.assert_allclose(read(path, 500, LEADS).signal, X, rtol=1e-6)


def test_csv_with_nan_is_read_and_named_later(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("I,II\n1,nan\n1,2\n")
    assert np.isnan(read(path, 500).signal[1, 0])


@pytest.mark.parametrize(
    "text, words",
    [
        ("I,II\n", "no rows"),
        ("I,II\n\n# end\n", "no rows"),
        ("# only\n# comments\n", "no table"),
        ("#\n" * 200, "comments"),
        ("I,II\n1,2\n3\n", "not a table of numbers"),
        ("I,II\n1,2\n3,x\n", "not a table of numbers"),
        ("I,II\n1,2\n3,\n", "not a table of numbers"),
        ("I,II\n1;2\n", "not a table of numbers"),
        ("time,I,II\n0,1,2\n", "one row gives no sampling rate"),
        ("time,I,II\n0,1,2\n0,1,2\n", "don't rise evenly"),
        ("time,I,II\n0,1,2\n1,1,2\n9,1,2\n", "don't rise evenly"),
        ("time,I,II\n0,1,2\nnan,1,2\n", "don't rise evenly"),
        ("time,I,II\n0,1,2\n1,1,2\n", "no unit is stated, and in seconds the times give 1 Hz"),
        ("I,II,i\n1,2,3\n", "more than once: I"),
        ("I,II" + "," * 70_000, "4,097 columns; at most 4,096"),
        ("a,b\n1,2\n", "names no leads"),
    ],
)
def test_wrong_csv(tmp_path, text, words):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(Error, match=words) as caught:
        read(path)
    assert caught.value.path == str(path)


def test_csv_that_is_no_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"I,II\n" + b"1,2\n" * 9999 + b"\xff\xfe,3\n")
    with pytest.raises(FormatError, match="not text in UTF-8"):
        read(path, 500)
    path.write_bytes(bytes(range(256)) * 300)
    with pytest.raises(Error):
        read(path, 500)


# ---- .mat -----------------------------------------------------------------------------------------------------------


def stage(x, rate=500, **more):
    return {"feats": x, "org_sample_rate": 400, "curr_sample_rate": rate, "idx": 3} | more


def test_mat_stages(tmp_path):
    record = read(save_mat(tmp_path / "org.mat", **stage(X, 400)))
    assert np.array_equal(record.signal, X) and record.sampling_rate == 400 and record.leads == LEADS
    assert not record.standardised and record.start_s == 0 and record.notes == ("unit assumed: mV",)
    statistics = {"mean": X.mean(1, keepdims=True), "std": X.std(1, keepdims=True)}
    record = read(save_mat(tmp_path / "preprocessed.mat", **stage(X.astype(np.float64), **statistics)))
    assert np.array_equal(record.signal, X) and record.standardised and record.notes == ("standardised in the file",)
    record = read(save_mat(tmp_path / "segmented.mat", **stage(X[:, :2500], segment_i=3, **statistics)))
    assert record.start_s == 15.0 and ecgfm.prepare(record).start_s.tolist() == [15.0]


@pytest.mark.parametrize("compressed", [False, True])
def test_mat_compressed_and_with_other_variables(tmp_path, compressed):
    values = stage(X) | {"text": "hello", "cell": np.array([1, "a"], object), "struct": {"a": 1}, "z": X[:1] * 1j}
    scipy.io.savemat(tmp_path / "a.mat", values, do_compression=compressed)
    assert np.array_equal(read(tmp_path / "a.mat").signal, X)


def test_mat_with_leads_named(tmp_path):
    path = save_mat(tmp_path / "a.mat", **stage(X[:3]))
    assert read(path, leads="II,V1,V5").leads == ("II", "V1", "V5")
    with pytest.raises(LeadError, match="not named"):
        read(path)


@pytest.mark.parametrize(
    "values, field, words",
    [
        ({"a": X}, "signal", "no array is named"),
        ({"feats": "text", "curr_sample_rate": 500}, "signal", "no array is named"),
        ({"feats": X * 1j, "curr_sample_rate": 500}, "signal", "no array is named"),
        ({"feats": X, "curr_sample_rate": [1, 2]}, "curr_sample_rate", "not one number"),
        ({"feats": X}, "sampling_rate", "doesn't state"),
        ({"feats": X, "fs": 500, "segment_i": -1}, "segment_i", "no segment number"),
        ({"feats": X[:, :0], "fs": 500}, "feats", "empty"),
        ({"feats": np.zeros((2, 3, 4)), "fs": 500}, "feats", "3 dimensions"),
    ],
)
def test_wrong_mat(tmp_path, values, field, words):
    path = save_mat(tmp_path / "a.mat", **values)
    with pytest.raises(Error, match=words) as caught:
        read(path)
    assert caught.value.field == field and caught.value.path == str(path)


def mat_element(kind, data, claimed=None, order="<"):
    length = len(data) if claimed is None else claimed
    return struct.pack(order + "II", kind, length) + data + bytes(-len(data) % 8)


def mat_matrix(name=b"feats", shape=(12, 2500), data=bytes(120_000), claimed=None, item=7, flags=7, order="<"):
    content = mat_element(6, struct.pack(order + "II", flags, 0), order=order)
    content += mat_element(5, struct.pack(f"{order}{len(shape)}i", *shape), order=order)
    content += mat_element(1, name, order=order)
    return content + mat_element(item, data, claimed, order)


def mat_file(content, compress=False, claimed=None, kind=14, order="<"):
    data = mat_element(kind, content, claimed, order)
    if compress:
        data = zlib.compress(data)
        data = struct.pack(order + "II", 15, len(data)) + data
    return b"MATLAB 5.0 MAT-file".ljust(124) + (b"\x00\x01IM" if order == "<" else b"\x01\x00MI") + data


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compress", [False, True])
def test_mat_made_by_hand_is_read(tmp_path, order, compress):
    data = X[:, :2500].T.astype(order + "f4").tobytes()
    (tmp_path / "a.mat").write_bytes(mat_file(mat_matrix(data=data, order=order), compress, order=order))
    assert np.array_equal(read(tmp_path / "a.mat", 500).signal, X[:, :2500])


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    "content, words",
    [
        ({"shape": (12, 10**9), "data": b""}, "more than the"),
        ({"shape": (2**31 - 1,) * 8, "data": b""}, "more than the"),
        ({"shape": (12, -5)}, "not a shape"),
        ({"shape": (1,) * 9}, "an element of 36 bytes"),
        ({"shape": (12, 2501)}, "the file says 120,000"),
        ({"claimed": 2**32 - 1}, "the file says 4,294,967,295"),
        ({"item": 99}, "unknown type 99"),
        ({"name": b"n" * 300}, "an element of 300 bytes"),
        ({"data": b""}, "the file says 0"),
    ],
)
def test_mat_that_lies(tmp_path, content, words, compress):
    path = tmp_path / "a.mat"
    path.write_bytes(mat_file(mat_matrix(**content), compress))
    with pytest.raises(FormatError, match=words) as caught:
        read(path, 500)
    assert caught.value.path == str(path)


@pytest.mark.parametrize(
    "content, words",
    [
        (mat_file(mat_matrix(), claimed=2**32 - 1), "truncated"),
        (mat_file(mat_matrix())[:-1], "truncated"),
        (mat_file(mat_matrix())[:140], "truncated"),
        (mat_file(mat_matrix())[:133], "truncated"),
        (mat_file(mat_matrix(), True)[:-100], "truncated"),
        (mat_file(b"\xff" * 64, kind=15), "damaged compressed data"),
        (mat_file(mat_matrix(), kind=3), "unknown type 3"),
        (mat_file(b""), "truncated"),
        (mat_file(b"")[:128], "no array is named"),
        (mat_file(b"")[:100], "not a MATLAB 5 file"),
        (b"MATLAB 7.3 MAT-file".ljust(128) + b"\x89HDF", "7.3 is not read"),
        (b"\0\0\0\0" * 50, "not a MATLAB 5 file"),
    ],
)
def test_mat_that_is_cut_or_something_else(tmp_path, content, words):
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=words):
        read(path, 500)


def test_mat_bomb_inflates_to_little(tmp_path):
    """4 GB of zeros behind a head that claims 12 x 2500: neither inflated nor believed."""
    packer = zlib.compressobj()
    data = packer.compress(mat_element(14, mat_matrix(data=b"", claimed=2**32 - 8), 2**32 - 1))
    data += b"".join(packer.compress(bytes(10**7)) for _ in range(40)) + packer.flush()
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(data)) + data)
    with pytest.raises(FormatError, match="the file says 4,294,967,288"):
        read(path, 500)


def test_mat_needs_no_scipy(tmp_path, monkeypatch):
    path = save_mat(tmp_path / "a.mat", **stage(X))
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert np.array_equal(read(path).signal, X)


# ---- all ------------------------------------------------------------------------------------------------------------


def test_content_counts_and_not_the_name(tmp_path):
    np.save(tmp_path / "a.npy", X)
    for name in ("a.csv", "a.mat", "a.npz", "a"):
        os.replace(next(tmp_path.iterdir()), tmp_path / name)
        assert np.array_equal(read(tmp_path / name, 500).signal, X)


def test_files_that_are_none(tmp_path):
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "a.xyz").write_bytes(b"something else")
    os.mkfifo(tmp_path / "pipe.npy")
    for name, words in (
        ("empty.npy", "the file is empty"),
        ("a.xyz", "not a recording.*Known are NumPy .npy, NumPy .npz, MATLAB 5 .mat, DICOM, .*, WFDB, CSV"),
        ("pipe.npy", "not a regular file"),
        ("absent.npy", "no such file"),
        (".", "a directory"),
        ("a.xyz/b.npy", "no such file"),
        ("n" * 300, "name too long"),
        ("nul\0.npy", "not a file name"),
    ):
        with pytest.raises(FormatError, match=words) as caught:
            read(tmp_path / name)
        assert caught.value.path


def test_oversized_text(tmp_path, monkeypatch):
    path = save_csv(tmp_path / "a.csv")
    monkeypatch.setattr(readers.table, "_MAX_TEXT", 1000)
    with pytest.raises(FormatError, match="more than the 1,000"):
        read(path)


def test_the_largest_size():
    common.check_size((12, 2500), 8, path="a", field="b")
    assert common.MAX_BYTES >= 24 * 3600 * 500 * 12 * 4
    with pytest.raises(FormatError):
        common.check_size((common.MAX_BYTES + 1,), 1, path="a", field="b")


def test_side_files(tmp_path):
    np.save(tmp_path / "a.npy", X)
    save_csv(tmp_path / "b.csv")
    (tmp_path / "labels.csv").write_text("name,age\n1,2\n")
    (tmp_path / "raw.npy").write_bytes(b"\0" * 64)
    (tmp_path / "empty.mat").write_bytes(b"")
    (tmp_path / "readme.txt").write_text("I, too, am II\n")
    found = {name.name for name in tmp_path.iterdir() if is_recording(str(name))}
    assert found == {"a.npy", "b.csv", "raw.npy", "empty.mat"}


def test_files_are_not_changed(tmp_path):
    np.save(tmp_path / "a.npy", X)
    before = (tmp_path / "a.npy").read_bytes()
    record = read(tmp_path / "a.npy", 500)
    record.signal[:] = 0
    assert (tmp_path / "a.npy").read_bytes() == before


@pytest.mark.parametrize("kind", ["npy", "npz", "mat", "csv"])
def test_damaged_files_give_named_errors(tmp_path, kind):
    """Each file is cut at many places and gets wrong bytes at many others: it is read or refused by name."""
    x = X[:, :40]
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, x)
    elif kind == "npz":
        np.savez_compressed(path, signal=x, fs=500, leads=LEADS)
    elif kind == "mat":
        scipy.io.savemat(path, stage(x, mean=x[:, :1], std=x[:, :1]), do_compression=True)
    else:
        save_csv(path, x)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for i in range(400):
        if i % 2:
            damaged = whole[: rng.integers(len(whole))]
        else:
            damaged = bytearray(whole)
            for position in rng.integers(0, min(len(whole), 400 if i % 4 else len(whole)), 1 + i % 3):
                damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read(path, 500)
            outcomes["read"] += 1
        except Error as error:
            assert error.path == str(path), error
            outcomes["refused"] += 1
    assert outcomes["refused"] >= 50, outcomes


def test_a_lie_takes_no_memory(tmp_path):
    """Files that claim gigabytes, read in a process that may have little."""
    (tmp_path / "a.npy").write_bytes(npy_bytes((12, 80_000_000), bytes(1000)))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("signal.npy", npy_bytes((12, 80_000_000), bytes(1000)))
    (tmp_path / "c.mat").write_bytes(mat_file(mat_matrix(shape=(12, 80_000_000), claimed=2**31), True))
    (tmp_path / "d.mat").write_bytes(mat_file(mat_matrix(claimed=2**31), True))
    program = (
        "import resource, sys, scipy.io, ecgfm\n"
        "from ecgfm import read, FormatError\n"
        "import ecgfm.ecg\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28),) * 2)\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n        read(path, 500)\n"
        "    except FormatError as error:\n        print(error)\n"
    )
    paths = sorted(str(path) for path in tmp_path.iterdir())
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 4


@pytest.mark.parametrize("unit, right", [("[mmHg]", False), ("[s]", False), ("(Einthoven)", True), ("[ mV ]", True)])
def test_csv_units_that_are_none(tmp_path, unit, right):
    path = tmp_path / "a.csv"
    path.write_text(f"# sampling_rate: 500\nI {unit},II\n" + "1,2\n" * 10)
    if right:
        assert read(path).leads == ("I", "II")
    else:
        with pytest.raises(SignalError, match="is no voltage"):
            read(path)
