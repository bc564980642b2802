"""Recordings that lie, are cut, or are something else: a named error, in bounded time and memory."""

import os
import re
import struct
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from bounded import PATIENCE_S
from made_files import (
    EIGHT,
    LEADS,
    counts,
    dicom_group,
    write_aecg,
    write_code15,
    write_dicom,
    write_edf,
    write_muse,
    write_scp,
    write_wfdb,
)

from ecgfm import Error, FormatError, Record, SignalError, read
from ecgfm.io import find_format, hdf5, is_recording, muse
from ecgfm.io.common import Given, make_record

for _module in ("wfdb", "pydicom", "ecgdatakit", "edfio", "h5py"):
    pytest.importorskip(_module, reason="needs the extra [io]")

X = counts(samples=1000)
MAKERS = {
    "wfdb": ("a.hea", lambda path: write_wfdb(path, X)),
    "dicom": ("a.dcm", lambda path: write_dicom(path, dicom_group(X))),
    "muse": ("a.xml", lambda path: write_muse(path, X[:8], EIGHT)),
    "aecg": ("a.xml", lambda path: write_aecg(path, X)),
    "scp": ("a.scp", lambda path: write_scp(path, X)),
    "edf": ("a.edf", lambda path: write_edf(path, X)),
    "bdf": ("a.bdf", lambda path: write_edf(path, X, bdf=True, step=1)),
    "hdf5": ("a.hdf5", lambda path: write_code15(path, X.T[None] / np.float32(100), [7])),
}
XML = ("muse", "aecg")


@pytest.fixture(params=MAKERS)
def made(request, tmp_path):
    name, write = MAKERS[request.param]
    return write(tmp_path / name)


def read_or_refused(path):
    """A Record of sane size, or None after one of our errors that names the file."""
    began = time.process_time()
    try:
        record = read(path, 500)
    except Error as error:
        assert error.path and os.path.basename(error.path).startswith("a."), error
        record = None
    else:
        assert isinstance(record, Record) and record.signal.nbytes < 1 << 24
    assert time.process_time() - began < 10
    return record


# ---- cut and damaged ------------------------------------------------------------------------------------------------


def test_truncated(made):
    """Cut anywhere, a file is refused; what a text format doesn't need at its very end may be lost."""
    content = made.read_bytes()
    places = sorted({*range(0, 200, 7), *np.linspace(0, len(content) - 1, 60).astype(int).tolist(), len(content) - 1})
    if made.suffix == ".hea":  # of the last line, that of the last signal, any part may be a line
        places = [place for place in places if place <= content.rindex(b"\n", 0, -1)]
    read_all = []
    for place in places:
        made.write_bytes(content[:place])
        if read_or_refused(made) is not None:
            read_all.append(place)
    assert all(place > len(content) - 4 for place in read_all)


def test_truncated_signal_file(tmp_path):
    path = write_wfdb(tmp_path / "a.hea", X)
    data = tmp_path / "a.dat"
    content = data.read_bytes()
    for place in (0, 1, len(content) // 2, len(content) - 1):
        data.write_bytes(content[:place])
        with pytest.raises(FormatError, match="truncated: 1,000 samples take 24,000 bytes, the file has") as caught:
            read(path)
        assert caught.value.path == str(path) and caught.value.field == "signal file a.dat"
    data.unlink()
    with pytest.raises(FormatError, match="signal file a.dat: no such file"):
        read(path)


@pytest.mark.filterwarnings("ignore")
def test_wrong_bytes(made):
    content = bytearray(made.read_bytes())
    rng = np.random.default_rng(11)
    places = np.r_[rng.integers(0, min(600, len(content)), 120), rng.integers(0, len(content), 60)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] = rng.integers(0, 256)
        made.write_bytes(damaged)
        read_or_refused(made)


@pytest.mark.filterwarnings("ignore")
def test_wrong_stretches(made):
    content = made.read_bytes()
    rng = np.random.default_rng(12)
    for _ in range(60):
        at, size = int(rng.integers(0, len(content))), int(2 ** rng.uniform(0, 9))
        made.write_bytes(content[:at] + rng.bytes(size) + content[at + int(rng.integers(0, 2)) * size :])
        read_or_refused(made)


def test_other_formats_under_this_name(tmp_path):
    """The content decides: a file of one format under another's name is read as what it is, or refused."""
    for kind, (name, write) in MAKERS.items():
        made = write(tmp_path / name)
        content = made.read_bytes()
        expected = read(made, 500)
        for other in ("dcm", "xml", "scp", "edf", "hdf5", "npz", "mat", "csv"):
            path = tmp_path / f"a.{other}"
            path.write_bytes(content)
            if kind == "wfdb":
                with pytest.raises(FormatError, match="Name it <record>.hea"):
                    read(path, 500)
            else:
                assert np.array_equal(read(path, 500).signal, expected.signal)
    for name, _ in MAKERS.values():
        path = tmp_path / name
        for content in (b"\0" * 4096, b"\xff" * 100, b"<html><body/></html>", b"%PDF-1.7", os.urandom(3000)):
            path.write_bytes(content)
            assert read_or_refused(path) is None


def test_xml_of_others_is_no_recording(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<?xml version='1.0'?><config/>")
    assert not is_recording(str(path))
    with pytest.raises(FormatError):
        read(path)


# ---- claims ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, words",
    [
        ("a 12 500 1000000000000", "takes 96,000,000,000,000 bytes, more than"),
        ("a 12 500 99999999", "more than the|truncated"),
        ("a 12 500 1001", "truncated: 1,001 samples take 24,024 bytes"),
        ("a 100000 500 10", "100000 signals; at most 512"),
        ("a 13 500 1000", "13 signals, 12 described"),
        ("a 11 500 1000", "11 signals, 12 described|damaged"),
        ("a 12 999999999 1000", "sampling rate"),
        ("a 12 0.001 1000", "sampling rate"),
        ("a 12 -500 1000", "'-500' is no sampling rate"),
        ("a 12 5e2 1000", "'5e2' is no sampling rate|truncated"),
        ("a 0 500 0", "describes no signals|12 described|damaged"),
        ("a", "damaged WFDB"),
        ("a/100000 12 500 1000", "segment"),
        ("a 12", "doesn't state the sampling rate"),
        ("a/12 12 500 1000", "truncated|can't be read|not that of a file|describ|damaged"),
        ("", "damaged|describe|signal"),
    ],
)
def test_wfdb_record_lines_that_lie(tmp_path, line, words):
    path = write_wfdb(tmp_path / "a.hea", X)
    text = path.read_text()
    path.write_text(line + text[text.index("\n") :])
    with pytest.raises(Error, match=words) as caught:
        read(path)
    assert caught.value.path == str(path)


@pytest.mark.parametrize("text", ["a 0\n", "a 0 500 1000\n", "a 0", "a 0 500 1000\na.dat 16\n"])
def test_wfdb_headers_without_signals(tmp_path, text):
    (tmp_path / "a.hea").write_text(text)
    with pytest.raises(FormatError):
        read(tmp_path / "a.hea")


@pytest.mark.parametrize(
    "name", ["../secret.dat", "/etc/passwd", "..", "sub/secret.dat", "~/secret.dat", "..\\secret.dat", "s3://b/k", "-"]
)
def test_wfdb_names_of_other_places(tmp_path, name):
    """Neither signal files nor segments are looked for anywhere but beside the header."""
    (tmp_path / "secret.dat").write_bytes(X.T.tobytes())
    (tmp_path / "sub").mkdir()
    path = write_wfdb(tmp_path / "sub" / "a.hea", X)
    text = path.read_text()
    path.write_text(text.replace("a.dat", name))
    with pytest.raises(FormatError) as caught:
        read(path)
    assert caught.value.path == str(path)
    path.write_text(f"a/1 12 500 1000\n{name.removesuffix('.dat')} 1000\n")
    with pytest.raises(FormatError):
        read(path)


def test_wfdb_segments_that_lie(tmp_path):
    path = write_wfdb(tmp_path / "a_1.hea", X).with_name("a.hea")
    for text, words in (
        ("a/1 12 500 1000\na_1 999\n", "999 samples, its own header says 1,000"),
        ("a/1 12 500 1000\na_2 1000\n", "its header can't be read: no such file"),
        ("a/2 12 500 1000\na_1 1000\n", "segments|damaged"),
        ("a/2 12 500 9000\na_1 1000\n~ 1000\n", "9,000 samples in segments of 2,000"),
        ("a/2 12 500 0\na_1 1000\n~ 1000000000000\n", "more than the"),
        ("a/1 12 500 1000\na 1000\n", "a segment that consists of segments"),
    ):
        path.write_text(text)
        with pytest.raises(FormatError, match=words) as caught:
            read(path)
        assert caught.value.path == str(path)


def test_wfdb_compressed_claims(tmp_path):
    path = write_wfdb(tmp_path / "a.hea", X, form=516, samples=30_000_000)
    with pytest.raises(FormatError, match="24,000 bytes inflate to 720,000,000"):
        read(path)
    path = write_wfdb(tmp_path / "a.hea", X, form=516, samples=0)
    with pytest.raises(FormatError, match="a compressed signal of no stated length"):
        read(path)
    path = write_wfdb(tmp_path / "a.hea", X, samples=0)
    with open(tmp_path / "a.dat", "ab") as file:
        file.truncate(1 << 40)  # a file with a hole, which takes no disk
    with pytest.raises(FormatError, match="the others are holes"):
        read(path)
    path = write_wfdb(tmp_path / "a.hea", X, form=999)
    with pytest.raises(FormatError, match="the storage format 999 is not known"):
        read(path)


def test_dicom_that_lies(tmp_path):
    path = tmp_path / "a.dcm"
    for field, value, words in (
        ("NumberOfWaveformSamples", 2**32 - 1, "more than the|truncated"),
        ("NumberOfWaveformSamples", 1001, "truncated: 1,001 samples of 12 channels take 24,024 bytes, 24,000 are"),
        ("NumberOfWaveformSamples", 0, "0 is no number"),
        ("NumberOfWaveformChannels", 65535, "65535 channels, 12 described"),
        ("WaveformBitsAllocated", 12, "samples of 12 bits as SS are not read"),
        ("WaveformSampleInterpretation", "MB", "samples of 16 bits as MB are not read"),
        ("SamplingFrequency", "1e12", "sampling rate"),
        ("SamplingFrequency", "0", "sampling rate"),
    ):
        group = dicom_group(X)
        setattr(group, field, value)
        with pytest.raises(Error, match=words) as caught:
            read(write_dicom(path, group))
        assert caught.value.path == str(path) and caught.value.field
    group = dicom_group(X)
    del group.WaveformData
    with pytest.raises(FormatError, match="truncated"):
        read(write_dicom(path, group))


def test_dicom_lengths_that_lie(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", dicom_group(X))
    content = path.read_bytes()
    at = content.index(struct.pack("<HH", 0x5400, 0x1010) + b"OW") + 8
    assert struct.unpack_from("<I", content, at) == (24_000,)
    for length in (2**32 - 2, 2**31, 0):
        path.write_bytes(content[:at] + struct.pack("<I", length) + content[at + 4 :])
        found = read_or_refused(path)  # to the end of the file is what there was
        assert found is None or (length and np.array_equal(found.signal, np.float32(X * 5e-3)))


def test_dicom_that_is_deflated(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", dicom_group(X), syntax="1.2.840.10008.1.2.1.99")
    with pytest.raises(FormatError, match="a deflated data set is not read"):
        read(path)


BOMB = '<!DOCTYPE {root} [<!ENTITY a "aaaaaaaaaa">{entities}]>\n'
ENTITIES = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij"))


@pytest.mark.parametrize("kind", XML)
@pytest.mark.parametrize(
    "doctype",
    [
        BOMB.format(root="R", entities=ENTITIES),
        BOMB.format(root="R", entities=""),
        '<!DOCTYPE R [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n',
        '<!DOCTYPE R [<!ENTITY % a SYSTEM "http://127.0.0.1:1/x.dtd"> %a;]>\n',
    ],
)
@pytest.mark.parametrize("padding", [0, 5000])
def test_entities_are_refused(tmp_path, kind, doctype, padding):
    """Declared entities are refused, used or not, even where the first element lies beyond what is looked at."""
    write = {"muse": write_muse, "aecg": write_aecg}[kind]
    path = write(tmp_path / "a.xml", X, LEADS, head=f"<!--{'x' * padding}-->\n{doctype}")
    path.write_text(re.sub(r"(<LeadID>|<digits>)", r"\1&a;&j;", path.read_text(), count=1))
    began = time.process_time()
    with pytest.raises(FormatError, match="entit|malformed|damaged") as caught:
        read(path)
    assert caught.value.path == str(path) and time.process_time() - began < 10


@pytest.mark.parametrize("kind", XML)
def test_xml_that_is_deep_wide_or_large(tmp_path, kind, monkeypatch):
    root = {"muse": "RestingECG", "aecg": "AnnotatedECG"}[kind]
    path = tmp_path / "a.xml"
    deep, wide = "<a>" * 200_000 + "</a>" * 200_000, "<a/>" * 300_000
    for body in (deep, wide, "<a b='' b=''/>", "<!--" + "x" * 10**6):
        path.write_text(f"<{root}>{body}</{root}>")
        assert read_or_refused(path) is None
    monkeypatch.setattr(muse, "MAX_XML", 1000)
    monkeypatch.setattr(sys.modules["ecgfm.io.aecg"], "MAX_XML", 1000)
    with pytest.raises(FormatError, match="bytes, more than the 1,000 that are read"):
        read(path)


@pytest.mark.parametrize(
    "old, new, words",
    [
        (r"<LeadSampleCountTotal>1000<", "<LeadSampleCountTotal>1000000000000<", "LeadSampleCountTotal|damaged"),
        (r"<LeadByteCountTotal>2000<", "<LeadByteCountTotal>99999999<", "LeadByteCountTotal|damaged"),
        (r"<SampleBase>500<", "<SampleBase>5000000<", "sampling rate"),
        (r"<SampleBase>500<", "<SampleBase>0<", "SampleBase|damaged"),
        (r"<SampleExponent>0<", "<SampleExponent>400<", "damaged|sampling rate"),
        (r"<LeadAmplitudeUnitsPerBit>4.88<", "<LeadAmplitudeUnitsPerBit>0<", "no voltage"),
        (r"<LeadAmplitudeUnitsPerBit>4.88<", "<LeadAmplitudeUnitsPerBit>nan<", "no voltage"),
        (r"<LeadAmplitudeUnits>MICROVOLTS<", "<LeadAmplitudeUnits><", "no voltage"),
        (r"<LeadID>V6<", "<LeadID>V5<", "leads|once|missing"),
        (r"<WaveFormData>", "<WaveFormData>*!", "Base64|damaged"),
    ],
)
def test_muse_that_lies(tmp_path, old, new, words):
    path = write_muse(tmp_path / "a.xml", X[:8], EIGHT)
    text, count = re.subn(old, new, path.read_text())
    assert count
    path.write_text(text)
    with pytest.raises(Error, match=words) as caught:
        from ecgfm import prepare

        prepare(read(path), short="pad")  # a name given twice leaves a lead missing
    assert caught.value.path == str(path)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('increment value="0.002"', 'increment value="1e-15"', "sampling rate"),
        ('increment value="0.002"', 'increment value="-1"', "increment|damaged"),
        ('increment value="0.002"', 'increment value="nan"', "increment|damaged"),
        ('scale value="5"', 'scale value="0"', "no voltage"),
        ('scale value="5"', 'scale value="inf"', "no voltage|damaged"),
        ("<digits>", "<digits>x ", "digits|damaged"),
        ("<digits>", "<digits>" + "9" * 5000 + " ", "different times|too large|not finite|inf"),
    ],
)
def test_aecg_that_lies(tmp_path, old, new, words):
    path = write_aecg(tmp_path / "a.xml", X)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(Error, match=words) as caught:
        read(path)
    assert caught.value.path == str(path)


def test_scp_that_lies(tmp_path):
    path = tmp_path / "a.scp"
    for ranges, words in (
        ([(1, 2**32 - 1)] * 12, "truncated: 51,539,607,540 samples"),
        ([(1, 600_000)] * 12, "truncated: 7,200,000 samples, the rhythm data have"),
        ([(1, 1001)] * 12, "different|damaged"),
        ([(5, 1)] * 12, "invalid sample range|damaged"),
    ):
        with pytest.raises(FormatError, match=words) as caught:
            read(write_scp(path, X, ranges=ranges))
        assert caught.value.path == str(path)
    with pytest.raises(FormatError, match="interval is 0|damaged"):
        read(write_scp(path, X, interval_us=0))
    with pytest.raises(SignalError, match="sampling rate"):
        read(write_scp(path, X, interval_us=1))
    with pytest.raises(SignalError, match="no voltage"):
        read(write_scp(path, X, nanovolts=0))


@pytest.mark.parametrize(
    "at, width, value, words",
    [
        (236, 8, 10**5, "truncated: 100,000 data records take"),
        (236, 8, 99999999, "more than the"),
        (236, 8, 0, "no number"),
        (236, 8, -5, "no number"),
        (236, 8, "x", "no number"),
        (252, 4, 9999, "not an EDF header|not a recording|known"),
        (252, 4, -1, "not an EDF header|not a recording|known"),
        (244, 8, 0, "damaged|sampling rate"),
        (244, 8, "1e-9", "sampling rate"),
        (244, 8, "nan", "damaged|sampling rate"),
        (256 + 216 * 12, 8, 10**7, "truncated"),
        (256 + 216 * 12, 8, -1, "a signal without a number of samples"),
        (256 + 216 * 12, 8, "many", "a signal without a number of samples"),
        (256 + 104 * 12, 8, "inf", "range|damaged"),
        (256 + 104 * 12, 8, 163835, "a range of"),
        (256 + 120 * 12, 8, 32767, "a range of"),
        (256 + 120 * 12, 8, "a", "a range of"),
    ],
)
def test_edf_that_lies(tmp_path, at, width, value, words):
    path = write_edf(tmp_path / "a.edf", X)
    content = bytearray(path.read_bytes())
    content[at : at + width] = str(value).ljust(width).encode()
    path.write_bytes(content)
    with pytest.raises(Error, match=words) as caught:
        read(path)
    assert caught.value.path == str(path)


def test_hdf5_of_other_files(tmp_path):
    """HDF5 can refer to any file: by links, virtual data sets and external storage. None is followed."""
    import h5py

    secret = write_code15(tmp_path / "secret.hdf5", X.T[None] / np.float32(100), [7])
    path = tmp_path / "a.hdf5"

    def external_link(file):
        file["tracings"] = h5py.ExternalLink(str(secret), "/tracings")

    def soft_link(file):
        file["tracings"] = h5py.SoftLink("/elsewhere")

    def virtual(file):
        layout = h5py.VirtualLayout((1, 1000, 12), "f4")
        layout[:] = h5py.VirtualSource(str(secret), "tracings", (1, 1000, 12))
        file.create_virtual_dataset("tracings", layout)

    def external(file):
        file.create_dataset("tracings", (1, 1000, 12), "f4", external=[(str(secret), 0, 48_000)])

    def group(file):
        file.create_group("tracings")

    def nothing(file):
        file["other"] = 1

    for write, words in (
        (external_link, "not a data set of this file"),
        (soft_link, "not a data set of this file"),
        (virtual, "lie in another file"),
        (external, "lie in another file"),
        (group, "not a data set of this file"),
        (nothing, "no data set has 12 rows or columns; there are other"),
    ):
        with h5py.File(path, "w") as file:
            write(file)
        with pytest.raises(FormatError, match=words) as caught:
            read(path)
        assert caught.value.path == str(path) and caught.value.field == ("signal" if write is nothing else "tracings")


def test_hdf5_that_lies(tmp_path):
    import h5py

    path = tmp_path / "a.hdf5"

    def write(shape, dtype="f4", ids=(1,), id_type="i8", **options):
        with h5py.File(path, "w") as file:
            file.create_dataset("tracings", shape, dtype, **options)
            if ids is not None:
                file.create_dataset("exam_id", data=np.array(ids, dtype=id_type))

    for arguments, words in (
        ({"shape": (1, 10**12, 12), "chunks": (1, 1000, 12)}, "more than the"),
        ({"shape": (10**9, 100, 12), "chunks": (1, 100, 12), "ids": None}, "1,000,000,000 exams"),
        ({"shape": (1, 3 * 10**7, 12), "chunks": (1, 3 * 10**7, 12), "compression": "gzip"}, "a chunk takes"),
        ({"shape": (1, 1000, 11)}, "not numbers of shape"),
        ({"shape": (1000, 12)}, "not numbers of shape"),
        ({"shape": (1, 1000, 12), "dtype": "S8"}, "not an array of numbers"),
        ({"shape": (1, 1000, 12), "dtype": h5py.vlen_dtype(np.float32)}, "not an array of numbers"),
        ({"shape": (0, 1000, 12), "ids": ()}, "0 exams"),
        ({"shape": (2, 1000, 12)}, "for 2 exams"),
        ({"shape": (1, 1000, 12), "ids": (1.5,), "id_type": "f8"}, "for 1 exams"),
        ({"shape": (2, 1000, 12), "ids": (3, 3)}, "holds 2 recordings"),
        ({"shape": (2, 1000, 12), "ids": (0, 0)}, "holds 0 recordings"),
    ):
        write(**arguments)
        with pytest.raises(Error, match=words) as caught:
            read(path)
        assert caught.value.path == str(path) and caught.value.field
    write((2, 1000, 12), ids=(3, 3))
    with pytest.raises(SignalError, match="2 recordings are called '3'"):
        read(f"{path}::3")
    write((1, 0, 12))
    with pytest.raises(SignalError, match="empty"):
        read(path)
    assert hdf5.FORMAT is find_format(str(path))


def test_text_of_a_library_stays_short(tmp_path, monkeypatch):
    """What a library says of a file goes into one line, whatever the file holds."""
    path = write_muse(tmp_path / "a.xml", X, LEADS)
    path.write_text(path.read_text().replace("<LeadDataCRC32>", "<LeadDataCRC32>1").replace(">II<", f">{'I' * 9000}<"))
    try:
        notes = read(path).notes
    except Error as error:
        notes = [error.message]
    assert notes and all(len(note) < 20_000 for note in notes) and len(notes) <= 6


def test_text_of_a_file_stays_short(tmp_path):
    """A damaged length makes names of whole files."""
    path = tmp_path / "a.npz"
    np.savez(path, signal=X, sampling_rate=500)
    raw = path.read_bytes()
    at = raw.index(b"PK\x03\x04") + 26
    path.write_bytes(raw[:at] + (4000).to_bytes(2, "little") + raw[at + 2 :])  # the length of the first name
    long = "x" * 100_000
    record = make_record(X[:2], "a", Given(), field="x", rate=500, leads=["I", long], notes=[long])
    assert max(len(text) for text in (*record.leads, *record.notes)) <= 500
    group = dicom_group(X)
    for item in group.ChannelDefinitionSequence:
        item.ChannelSourceSequence[0].CodeMeaning = long[:60_000]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library says that this is too long
        write_dicom(tmp_path / "a.dcm", group)
    for each in (path, tmp_path / "a.dcm"):
        with pytest.raises(Error) as caught:
            read(each)
        assert len(str(caught.value)) < 1000


def test_dicom_lengths_beyond_the_memory(tmp_path):
    """An element that claims 4 GB gets what is there, also where no process may have as much."""
    path = write_dicom(tmp_path / "a.dcm", dicom_group(X))
    raw = path.read_bytes()
    at = raw.index(b"\x08\x00\x60\x00CS")  # the modality, made a long element
    path.write_bytes(raw[:at] + b"\x08\x00\x60\x00UT\0\0\xf0\xff\xff\xff" + raw[at + 8 :])
    code = (
        "import resource, sys, ecgfm, pydicom\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "try: ecgfm.read(sys.argv[1])\n"
        "except ecgfm.Error as error: print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, path], capture_output=True, text=True)
    assert done.stdout == "FormatError\n", done.stderr


# ---- memory ---------------------------------------------------------------------------------------------------------

READ_ALL = """
import resource, sys
sys.path[:0] = sys.argv[1:2]
from ecgfm import Error, read
import wfdb, pydicom, ecgdatakit, edfio, h5py
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    try:
        read(path, 500)
    except Error as error:
        print(type(error).__name__)
    else:
        print("read")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_claims_cost_no_memory(tmp_path):
    """A file of each format that claims far more than it has, in one process whose peak is measured."""
    import h5py

    files = [
        write_wfdb(tmp_path / "w.hea", X, samples=40_000_000),
        write_muse(tmp_path / "m.xml", X, LEADS, head=BOMB.format(root="RestingECG", entities=ENTITIES), extra="&j;"),
        write_aecg(tmp_path / "h.xml", X, head=BOMB.format(root="AnnotatedECG", entities=ENTITIES)),
        write_scp(tmp_path / "s.scp", X, ranges=[(1, 650_000)] * 12),
        write_edf(tmp_path / "e.edf", X, records=40_000),
        tmp_path / "c.hdf5",
    ]
    group = dicom_group(X)
    group.NumberOfWaveformSamples = 2**27
    files.append(write_dicom(tmp_path / "d.dcm", group))
    with h5py.File(files[5], "w") as file:
        file.create_dataset("tracings", (1, 4 * 10**7, 12), "f4", chunks=(1, 4 * 10**7, 12), compression="gzip")
        file["exam_id"] = np.array([1])
    root = os.path.dirname(os.path.dirname(sys.modules["ecgfm"].__file__))
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, root, *map(str, files)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    *verdicts, grown = done.stdout.split()
    assert verdicts == ["FormatError"] * len(files), done.stdout + done.stderr
    assert int(grown) < 100 * 1024  # KB
