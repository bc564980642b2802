"""MATLAB files whose signal lies in structs, and what stands beside a signal: rate, leads, unit."""

import json
import struct
import zlib

import numpy as np
import pytest
from made_files import LEADS, counts

from ecgfm import Error, FormatError, LeadError, SignalError, read
from ecgfm.io import is_recording
from ecgfm.storage.mat_struct import Unread, parsed

X = counts() / 1024
NAMES = ",".join(LEADS[::-1])


@pytest.fixture
def savemat():
    return pytest.importorskip("scipy.io", reason="scipy writes structs").savemat


def cells(names):
    made = np.empty((1, len(names)), object)
    made[0, :] = names
    return made


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        {"ECG": {"data": X, "fs": 500, "leads": cells(LEADS[::-1]), "unit": "uV"}},
        {"rec": {"info": {"name": "x"}, "ecg": {"signal": X.T, "Fs": 500, "lead_names": NAMES, "units": "uV"}}},
        {"s": {"whatever": X}, "fs": 500, "t": {"leads": "none"}},
        {"signal": X, "fs": 500, "leads": cells(LEADS[::-1]), "unit": "uV"},
        {"x": {"srate": 500.0, "leads": np.array(LEADS[::-1]), "ekg": X, "unit": "uV", "beats": np.ones((5, 1))}},
    ],
)  # fmt: skip
def test_structs(tmp_path, savemat, content, compressed):
    savemat(tmp_path / "a.mat", content, do_compression=compressed)
    found = read(tmp_path / "a.mat")
    assert found.sampling_rate == 500 and is_recording(str(tmp_path / "a.mat"))
    if "s" in content:
        assert found.leads == LEADS and np.array_equal(found.signal, X.astype(np.float32))
        assert found.notes == ("leads assumed in the order I II III aVR aVL aVF V1-V6", "unit assumed: mV")
        return
    assert found.leads == LEADS[::-1] and "unit assumed: mV" not in found.notes
    np.testing.assert_allclose(found.signal, X / 1000, rtol=1e-6)
    with pytest.raises(SignalError, match="the file says uV; given was V"):
        read(tmp_path / "a.mat", unit="V")
    with pytest.raises(LeadError, match="the file says"):
        read(tmp_path / "a.mat", leads=LEADS)
    with pytest.raises(SignalError, match="the file says 500 Hz"):
        read(tmp_path / "a.mat", 400)


def test_what_cpsc_2018_has(tmp_path, savemat):
    savemat(tmp_path / "a.mat", {"ECG": {"sex": "Male", "age": 74, "data": X}})
    found = read(tmp_path / "a.mat")
    assert found.sampling_rate == 500 and "sampling rate assumed: 500 Hz, as CPSC 2018 has" in found.notes
    found = read(tmp_path / "a.mat", 250)
    assert found.sampling_rate == 250 and not any("rate assumed" in note for note in found.notes)
    savemat(tmp_path / "b.mat", {"ECG": {"sex": "Male", "data": X}})
    with pytest.raises(SignalError, match="doesn't state the sampling rate"):
        read(tmp_path / "b.mat")


@pytest.mark.parametrize(
    "content, words",
    [
        ({"a": {"data": X}, "b": {"data": X}}, "2 arrays may be the recording: a.data, b.data"),
        ({"a": {"one": X, "two": X}}, "2 arrays may be the recording: a.one, a.two"),
        ({"a": {"data": X[:3]}}, r"the shape is \(3, 3000\) and the leads are not named"),
        ({"a": {"data": X * 1j}}, r"there are a \(a struct\)"),
        ({"a": {"name": "x"}}, r"there are a \(a struct\)"),
        ({"a": {"data": X, "gain": 200}}, "a.data: a field 'gain' stands beside it and no unit.*unit='mV'"),
        ({"a": {"data": X, "fs": np.ones(2)}}, "the sampling rate is not one number"),
        ({"a": {"data": X, "fs": 500, "unit": "kg"}}, "a.data: the unit 'kg' is no voltage"),
        ({"a": {"data": X, "fs": 500, "leads": cells(LEADS[:5])}}, "5 lead names for 12 rows|shape"),
    ],
)
def test_structs_that_are_no_recording(tmp_path, savemat, content, words):
    savemat(tmp_path / "a.mat", content)
    with pytest.raises(Error, match=words) as caught:
        read(tmp_path / "a.mat")
    assert caught.value.path == str(tmp_path / "a.mat")


def test_an_array_of_structs_is_named(tmp_path, savemat):
    made = np.zeros((1, 2), [("data", object)])
    made[0, 0] = made[0, 1] = (X,)
    savemat(tmp_path / "a.mat", {"a": made})
    with pytest.raises(FormatError, match="no array is named"):
        read(tmp_path / "a.mat", 500)


def test_order_of_leads_is_assumed_aloud(tmp_path, savemat):
    savemat(tmp_path / "a.mat", {"data": X})
    assert "leads assumed in the order I II III aVR aVL aVF V1-V6" in read(tmp_path / "a.mat", 500).notes
    savemat(tmp_path / "b.mat", {"feats": X, "curr_sample_rate": 500})  # a stage, whose order is known
    assert read(tmp_path / "b.mat").notes == ("unit assumed: mV",)


# ---- files that lie -------------------------------------------------------------------------------------------------


def element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(what, shape, *parts, flags=0):
    head = element(6, struct.pack("<II", what | flags, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
    return head + element(1, b"a") + b"".join(parts)


def fields(width=32, names=(b"data",), values=(matrix(6, (1, 1), element(9, bytes(8))),)):
    return (
        element(5, struct.pack("<i", width)),
        element(1, b"".join(name.ljust(width, b"\0") for name in names)),
        *(element(14, value) for value in values),
    )


def nested(levels):
    value = matrix(6, (1, 1), element(9, bytes(8)))
    for _ in range(levels):
        value = matrix(2, (1, 1), *fields(values=(value,)))
    return value


@pytest.mark.parametrize(
    "content, words",
    [
        (b"\1", "truncated within a tag"),
        (matrix(2, (1, 1)), "truncated within a tag"),
        (matrix(2, (1, 1), *fields(width=0)), "damaged names"),
        (matrix(2, (1, 1), *fields(width=-5)), "damaged names"),
        (matrix(2, (1, 1), element(5, struct.pack("<i", 1)), element(1, b"a" * 600)), "damaged names"),
        (matrix(2, (1, 1), *fields(values=())), "truncated within a tag"),
        (matrix(2, (1, 1), *fields()[:2], struct.pack("<II", 14, 1 << 31)), "truncated: a part takes 2,147,483,648"),
        (matrix(2, (1, 1), *fields()[:2], element(9, bytes(8))), "a part of the unknown type 9"),
        (matrix(6, (3, 5), element(9, bytes(8))), r"the shape \(3, 5\) takes 120 bytes, 8 are there"),
        (matrix(6, (1 << 30, 1 << 30), element(9, bytes(8))), "takes 9,223,372,036,854,775,808 bytes"),
        (matrix(6, (-1, 5), element(9, bytes(8))), "is not a shape"),
        (matrix(6, (1, 1), element(8, bytes(8))), "values of the unknown type 8"),
        (matrix(1, (1, 1 << 30)), "1,073,741,824 parts"),
        (matrix(1, (1, 4000), *[element(14, matrix(1, (1, 2), *[element(14, b"")] * 2))] * 4000), "more parts"),
        (nested(50), "deeper"),
        (matrix(6, (1,) * 9, element(9, bytes(8))), "damaged dimensions"),
    ],
)
def test_structs_that_lie(content, words):
    with pytest.raises(FormatError, match=words) as caught:
        parsed(memoryview(content), "<", "a.mat", "x")
    assert (caught.value.path, caught.value.field) == ("a.mat", "x")


def test_what_is_not_read_is_left():
    assert isinstance(parsed(memoryview(matrix(6, (1, 1), element(9, bytes(8)), flags=0x800)), "<", "", ""), Unread)
    assert isinstance(parsed(memoryview(matrix(2, (1, 3), *fields())), "<", "", ""), Unread)
    assert isinstance(parsed(memoryview(b""), "<", "", ""), Unread)
    assert isinstance(parsed(memoryview(matrix(4, (1, 1 << 17), element(16, b"a" * (1 << 17)))), "<", "", ""), Unread)


def test_a_struct_that_inflates_without_end(tmp_path):
    inner = matrix(2, (1, 1), *fields(values=(matrix(6, (12, 1 << 22), element(9, bytes(12 << 25))),)))
    packed = zlib.compress(struct.pack("<II", 14, len(inner)) + inner)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    (tmp_path / "a.mat").write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(FormatError, match="inflate to 402,"):
        read(tmp_path / "a.mat", 500)


def test_cut_and_changed_files(tmp_path, savemat):
    savemat(tmp_path / "a.mat", {"ECG": {"data": X[:, :50], "fs": 500, "leads": cells(LEADS)}})
    whole = (tmp_path / "a.mat").read_bytes()
    random = np.random.default_rng(0)
    for turn in range(400):
        content = bytearray(whole[: random.integers(128, len(whole))] if turn % 2 else whole)
        content[random.integers(128, min(len(content), 700))] ^= 1 << random.integers(8)
        (tmp_path / "b.mat").write_bytes(content)
        try:
            read(tmp_path / "b.mat")
        except Error as error:
            assert "defect" not in str(error)


def test_real_files(shared):
    folder = shared / "real/formats"
    if not folder.is_dir():
        pytest.skip("needs ../shared/real")
    expected = json.loads((folder / "expected.json").read_text())
    for name in ("matlab/A1983.mat", "matlab/example_ecg.mat"):
        about, found = expected[name], read(folder / name, 500)
        assert found.samples == about["samples"] and list(found.leads) == about["leads"]
        for lead, std in about["std_mV"].items():
            assert found.signal[found.leads.index(lead)].std(dtype=float) == pytest.approx(std, abs=2e-6)
        one, two, three = found.signal[:3]
        assert np.abs(three - two + one).max() <= about["lead_check_max_abs_mV"]["III"] + 1e-6
    with pytest.raises(LeadError, match=r"the shape is \(5000, 1\) and the leads are not named"):
        read(folder / "matlab/data_00014.mat", 500)
    assert read(folder / "matlab/data_00014.mat", 500, "I").signal.shape == (1, 5000)
