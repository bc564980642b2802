"""Files that are cut short while they are read, are nearly all holes, inflate, or hold very many exams."""

import gzip
import os
import struct
import zlib

import numpy as np
import pytest
from bounded import attack
from made_files import LEADS, counts, dicom_group, write_dicom, write_edf

SIZE = 200 << 20

# ---- cut short ------------------------------------------------------------------------------------------------------

CUT = """
import os
import ecgfm.io.{module} as module
before = module.{function}
def cutting(*given, **named):
    found = before(*given, **named)
    os.truncate({cut!r}, 5000)
    return found
module.{function} = cutting
ecgfm.read({name!r}, 500)
"""


@pytest.mark.parametrize(
    "module, function, name, cut",
    [
        ("edf", "_header", "a.edf", "a.edf"),
        ("npy", "read_header", "a.npy", "a.npy"),
        ("wfdb", "_check_claims", "a.hea", "a.dat"),
    ],
)
def test_recordings(tmp_path, module, function, name, cut):
    write_edf(tmp_path / "a.edf", counts(12, 50_000))
    np.save(tmp_path / "a.npy", np.ones((12, 50_000), np.float32))
    (tmp_path / "a.dat").write_bytes(bytes(18 * 50_000))
    lines = [f"a.dat 212 200 12 0 0 0 0 {lead}" for lead in LEADS]
    (tmp_path / "a.hea").write_text("\n".join(["a 12 500/100 50000", *lines]))
    if module == "wfdb":
        pytest.importorskip("wfdb")
    code = CUT.format(module=module, function=function, name=name, cut=cut)
    if module == "npy":  # the header is read by the storage
        code = code.replace("ecgfm.io.npy as", "ecgfm.storage.npy as")
    attack(code, tmp_path).refused("cut short" if module != "npy" else "truncated", mb=60, cpu_s=5)


@pytest.mark.parametrize("name", ["m.pt", "m"])
def test_checkpoints(tmp_path, name):
    demo = "os.path.join(os.path.dirname(ecgfm.__file__), 'assets', 'demo')"
    code = f"""
import os
from ecgfm import checkpoint
path = {name!r}
ecgfm.load({demo}).save(path)
file = os.path.join(path, "model.safetensors") if os.path.isdir(path) else path
with checkpoint.read(path) as found:
    size = os.path.getsize(file)
    os.truncate(file, size // 3)
    [np.asarray(tensor) for tensor in found.tensors.values()]
"""
    attack(code, tmp_path).refused("cut short", name, cpu_s=10)


# ---- holes ----------------------------------------------------------------------------------------------------------


def with_holes(path, head, size=SIZE):
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(size)


def sparse_wfdb(form, stated):
    def write(folder):
        samples = f" {SIZE * 3 // 4 // 12 if stated else ''}".rstrip()
        lines = [f"a.dat {form} 200 12 0 0 0 0 {lead}" for lead in LEADS]
        (folder / "a.hea").write_text("\n".join([f"a 12 500{samples if form == '311' else ''}", *lines]))
        with_holes(folder / "a.dat", b"")
        return "a.hea"

    return write


def sparse_edf(folder):
    raw = write_edf(folder / "b.edf", counts(12, 500)).read_bytes()
    head, record = raw[: 256 * 13], len(raw) - 256 * 13
    records = SIZE // record
    with_holes(
        folder / "a.edf",
        head[:236] + str(records).ljust(8).encode() + head[244:],
        len(head) + records * record,
    )
    return "a.edf"


def sparse_npy(folder):
    path = folder / "b.npy"
    np.save(path, np.zeros((12, 0), np.int8))
    raw = path.read_bytes().replace(b"(12, 0)", b"(12, 17476266)").replace(b"      \n", b"\n", 1)
    with_holes(folder / "a.npy", raw[:128].ljust(127) + b"\n", 128 + 12 * 17476266)
    return "a.npy"


def sparse_mat(folder):
    samples = SIZE // 12
    head = struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, 12, samples)
    head += struct.pack("<II8s", 1, 6, b"signal") + struct.pack("<II", 1, 12 * samples)
    size = len(head) + 12 * samples
    with_holes(
        folder / "a.mat",
        b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 14, size) + head,
        136 + size,
    )
    return "a.mat"


def sparse_dicom(folder):
    write_dicom(folder / "a.dcm", dicom_group(counts(12, 1000)))
    os.truncate(folder / "a.dcm", SIZE)
    return "a.dcm"


@pytest.mark.parametrize(
    "write",
    [sparse_wfdb(form, stated) for form in ("8", "16", "311") for stated in (True, False)]
    + [sparse_edf, sparse_npy, sparse_mat, sparse_dicom],
)
def test_holes(tmp_path, write):
    attack(f"ecgfm.read({write(tmp_path)!r}, 500)", tmp_path).refused("were ever written", mb=20, cpu_s=2)


# ---- what inflates --------------------------------------------------------------------------------------------------


def mostly_zeros(count, part=0.0015):
    values = np.zeros(count, np.int8)
    rng = np.random.default_rng(1)
    values[rng.integers(0, count, int(count * part))] = rng.integers(-100, 100, int(count * part))
    return values


def test_arrays_that_inflate(tmp_path):
    """One to a hundred or so: of 2 MB come 120 MB, and 480 MB as float32."""
    values = mostly_zeros(120_000_000).reshape(12, -1)
    np.savez_compressed(tmp_path / "a.npz", signal=values)
    size = os.path.getsize(tmp_path / "a.npz")
    assert size < 2_000_000 and values.nbytes < 200 * size
    attack("ecgfm.read('a.npz', 500)", tmp_path).refused("inflate", mb=20, cpu_s=5)


def test_exams_that_inflate(tmp_path):
    h5py = pytest.importorskip("h5py")
    piece = mostly_zeros(4 * 20_000 * 12).view("<f4")
    raw = zlib.compress(piece.tobytes(), 4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        found = file.create_dataset("tracings", (1, 8_000_000, 12), "<f4", chunks=(1, 20_000, 12), compression="gzip")
        for at in range(0, 8_000_000, 20_000):
            found.id.write_direct_chunk((0, at, 0), raw)
        file["exam_id"] = np.array([1])
    assert 384_000_000 < 200 * os.path.getsize(tmp_path / "a.h5")
    attack("ecgfm.read('a.h5', 400)", tmp_path).refused("inflate", mb=20, cpu_s=5)


def test_flat_lines_stay_readable(tmp_path):
    """Hours of zeros in files that are small because of that, and a day in which half is one."""
    np.savez_compressed(tmp_path / "a.npz", signal=np.zeros((12, 300_000), np.float32))
    day = np.zeros((12, 2_000_000), np.int16)
    day[:, ::2] = np.random.default_rng(1).integers(-2000, 2000, day[:, ::2].shape)
    np.savez_compressed(tmp_path / "b.npz", signal=day)
    with gzip.open(tmp_path / "reports.csv.gz", "wt") as file:
        file.write("a,b\n" + "0,0\n" * 1_000_000)
    code = """
print(ecgfm.read('a.npz', 500).signal.shape, ecgfm.read('b.npz', 500).signal.shape)
from ecgfm.storage.rows import read_rows
print(sum(1 for _ in read_rows('reports.csv.gz', ('a',))[1]))
"""
    ended = attack(code, tmp_path)
    assert ended.out.split() == ["(12,", "300000)", "(12,", "2000000)", "1000000"], ended


# ---- very many exams ------------------------------------------------------------------------------------------------

STREAM = """
import ecgfm.io.hdf5, ecgfm.io.hdf5_values
from ecgfm.inference.stream import Reading, stream
from ecgfm.io.inputs import expand
opened, inflated = [], []
before, inflate = ecgfm.io.hdf5.Values.__init__, ecgfm.io.hdf5_values.Values._inflated
def counting(self, library, file, name, path):
    opened.append(name)
    before(self, library, file, name, path)
def counted(self, data, size):
    inflated.append(size)
    return inflate(self, data, size)
ecgfm.io.hdf5.Values.__init__, ecgfm.io.hdf5_values.Values._inflated = counting, counted
print(sum(1 for _ in stream(None, expand('a.h5'), Reading(readers={readers}))), opened.count("tracings"), len(inflated))
"""


@pytest.mark.parametrize("readers", [0, 2])
def test_many_exams_are_opened_once(tmp_path, readers):
    """Of one sample each, which is too short: all are reported. 3,000 exams share a chunk."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        shape = (9000, 1, 12)
        file.create_dataset("tracings", shape, "<f4", data=np.ones(shape), chunks=(3000, 1, 12), compression="gzip")
        file["exam_id"] = np.arange(1, 9001)
    ended = attack(STREAM.format(readers=readers), tmp_path)
    ended.bounded(mb=150, cpu_s=20)
    exams, opened, inflated = map(int, ended.out.split())
    assert (
        exams == 9000 and opened == 2 and inflated <= (3 if not readers else 60)
    )  # threads may meet where a chunk ends
