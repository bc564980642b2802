"""Hostile HDF5, XML, DICOM, EDF, SCP-ECG and MATLAB files: refused by name, or read, at little cost; nothing dies.

The files of one kind are read one after the other in one bounded process.
"""

import base64
import os
import struct
import zlib

import numpy as np
import pytest
from bounded import attack
from made_files import EIGHT, LEADS, counts, write_aecg, write_edf, write_muse, write_scp

READ = "ecgfm.read({!r})"
LOOP = """
for name in {names!r}:
    try:
        {code}
    except ecgfm.Error as error:
        print(name, type(error).__name__, error, sep=" | ", flush=True)
    else:
        print(name, "read", sep=" | ", flush=True)
"""


def outcomes(folder, names, code="ecgfm.read(name)", **limits):
    """name -> what became of it: "read", or the error's class and text."""
    ended = attack(LOOP.format(names=list(names), code=code), folder)
    ended.bounded(**limits)
    assert ended.raised is None, ended
    found = dict(line.split(" | ", 1) for line in ended.out.splitlines() if " | " in line)
    assert set(found) == set(names), (ended.out, ended.err[-2000:])
    assert all(len(text) <= 2000 and text.isprintable() for text in found.values())
    return found


def refuse(folder, files, code="ecgfm.read(name)", **limits):
    """Write the files, name -> (bytes, words), and assert that each is refused with its words."""
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    found = outcomes(folder, files, code, **limits)
    for name, (_, words) in files.items():
        text = found[name]
        assert name in text and any(word in text for word in words.split("|")), (name, words, text)


# ---- what is no file ------------------------------------------------------------------------------------------------

ENDINGS = [".h5", ".hdf5", ".xml", ".aecg", ".dcm", ".dicom", ".edf", ".bdf", ".scp", ".mat"]


def test_fifos_and_devices(tmp_path):
    for ending in ENDINGS:
        os.mkfifo(tmp_path / f"fifo{ending}")
        (tmp_path / f"zero{ending}").symlink_to("/dev/zero")
    names = [f"{kind}{ending}" for kind in ("fifo", "zero") for ending in ENDINGS]
    assert all("not a regular file" in text for text in outcomes(tmp_path, names).values())
    code = "__import__('ecgfm.data', fromlist=['read_mat']).read_mat(name)"
    assert all("not a regular file" in text for text in outcomes(tmp_path, ["fifo.mat", "zero.mat"], code).values())


# ---- HDF5 -----------------------------------------------------------------------------------------------------------


def hdf5(path, write, ids=(1,)):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        write(file, h5py)
        if ids is not None:
            file["exam_id"] = np.asarray(ids, np.int64)


def chunk(raw, **options):
    """One exam of one chunk, which is stored as given."""

    def write(file, h5py):
        found = file.create_dataset("tracings", (1, 5000, 12), "<f4", **({"chunks": (1, 5000, 12)} | options))
        if raw is not None:
            found.id.write_direct_chunk((0, 0, 0), raw)

    return write


def low_level(kind=None, filters=0):
    """A data set of a type, or with so many filters, that h5py's own functions don't make."""

    def write(file, h5py):
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, 5000, 12))
        for _ in range(filters):
            plist.set_deflate(9)
        stored = h5py.h5t.IEEE_F32LE.copy()
        if kind == "float":
            stored.set_ebias(100)
        h5py.h5d.create(file.id, b"tracings", stored, h5py.h5s.create_simple((1, 5000, 12)), plist)

    return write


def of(shape, kind="<f4", **options):
    return lambda file, h5py: file.create_dataset("tracings", shape, kind, **options)


def other_file(how):
    def write(file, h5py):
        if how == "link":
            file["tracings"] = h5py.ExternalLink("good.h5", "/tracings")
        elif how == "soft":
            file["tracings"] = h5py.SoftLink("/exam_id")
        elif how == "virtual":
            layout = h5py.VirtualLayout((1, 5000, 12), "<f4")
            layout[:] = h5py.VirtualSource("good.h5", "tracings", (1, 5000, 12))
            file.create_virtual_dataset("tracings", layout)
        else:
            file.create_dataset("tracings", (1, 5000, 12), "<f4", external=[("/etc/passwd", 0, 240_000)])

    return write


def many_names(file, h5py):
    for i in range(20_000):
        file[f"{'n' * 50}{i}"] = h5py.SoftLink("/x")


def test_hdf5_that_lies(tmp_path):
    """Filters that are not needed, chunks of wrong sizes, what was never written, types that aren't numbers."""
    h5py = pytest.importorskip("h5py")
    records = np.dtype([("a", "f4"), ("b", "i4")])
    files = {
        "checksum.h5": (chunk(b"ab", fletcher32=True), "the filters fletcher32"),
        "lzf.h5": (chunk(b"ab", compression="lzf"), "the filters lzf"),
        "scaled.h5": (chunk(b"ab", scaleoffset=2), "the filters scaleoffset"),
        "twice.h5": (low_level(filters=2), "the filters deflate, deflate"),
        "short.h5": (chunk(b"ab"), "has 2 bytes, not 240,000"),
        "long.h5": (chunk(bytes(600_000)), "has 600,000 bytes, not 240,000"),
        "long_of_many.h5": (chunk(bytes(600_000), chunks=(1, 250, 12)), "has 600,000 bytes, not 12,000"),
        "short_inside.h5": (chunk(zlib.compress(b"ab"), compression="gzip"), "a chunk has 2 bytes, not 240,000"),
        "long_inside.h5": (chunk(zlib.compress(bytes(10**7)), compression="gzip"), "takes more bytes|where it should"),
        "no_deflate.h5": (chunk(b"ab" * 1000, compression="gzip"), "damaged compressed data"),
        "cut_deflate.h5": (chunk(zlib.compress(bytes(240_000))[:-9], compression="gzip"), "damaged compressed data"),
        "unwritten_chunk.h5": (chunk(None), "never written"),
        "unwritten.h5": (of((1, 5000, 12)), "never written"),
        "unwritten_day.h5": (of((1, 43_200_000, 12), chunks=(1, 10_000, 12), fillvalue=1), "inflate|never written"),
        "unwritten_whole.h5": (of((1, 43_200_000, 12)), "never written"),
        "chunk.h5": (of((1, 10**7, 12), chunks=(1, 10**7, 12)), "a chunk takes"),
        "chunks.h5": (of((1, 10**6, 12), chunks=(1, 1, 1)), "more than 100,000 chunks"),
        "exams.h5": (of((1_900_000, 1, 12), "i1", chunks=(1000, 1, 12)), "1,900,000 exams in"),
        "float.h5": (low_level("float"), "numbers of a kind that no processor has"),
        "enum.h5": (of((1, 50, 12), h5py.enum_dtype({"a": 1}, "i1")), "numbers of a kind"),
        "records.h5": (of((1, 50, 12), records), "not an array of numbers"),
        "texts.h5": (of((1, 50, 12), h5py.string_dtype()), "not an array of numbers"),
        "lists.h5": (of((1, 50, 12), h5py.vlen_dtype("f4")), "not an array of numbers"),
        "opaque.h5": (of((1, 50, 12), h5py.opaque_dtype("M8[s]")), "not an array of numbers"),
        "scalar.h5": (of(()), "not an array of numbers"),
        "empty.h5": (lambda file, h5py: file.create_dataset("tracings", data=h5py.Empty("f4")), "not an array of"),
        "link.h5": (other_file("link"), "not a data set of this file"),
        "soft.h5": (other_file("soft"), "not a data set of this file"),
        "virtual.h5": (other_file("virtual"), "in another file"),
        "external.h5": (other_file("external"), "in another file"),
        "names.h5": (many_names, "no data set has 12 rows or columns"),
    }
    for name, (write, _) in files.items():
        hdf5(tmp_path / name, write)
    hdf5(tmp_path / "good.h5", lambda file, h5py: file.create_dataset("tracings", data=np.ones((1, 5000, 12), "f4")))
    found = outcomes(tmp_path, ["good.h5", *files])
    assert found.pop("good.h5") == "read"
    for name, text in found.items():
        assert any(words in text for words in files[name][1].split("|")), (name, text)


def test_hdf5_bombs(tmp_path):
    """Zeros in deflated chunks: of the tracings, and of the numbers of exams."""

    def zeros(file, h5py):
        options = {"chunks": (1, 432_000, 12), "compression": "gzip"}
        found = file.create_dataset("tracings", (1, 43_200_000, 12), "<f4", **options)
        raw = zlib.compress(bytes(432_000 * 48), 9)
        for i in range(50):
            found.id.write_direct_chunk((0, 432_000 * i, 0), raw)

    def numbers(file, h5py):
        file.create_dataset("tracings", (1_500_000, 1, 12), "i1", chunks=(1_500_000 // 10, 1, 12))[:150_000] = 1
        file.create_dataset("exam_id", (1_500_000,), "i8", chunks=(500_000,), compression="gzip")[:] = 7

    hdf5(tmp_path / "zeros.h5", zeros)
    hdf5(tmp_path / "numbers.h5", numbers, None)
    code = "list(__import__('ecgfm.io', fromlist=['members']).members(name)); ecgfm.read(name)"
    for text in outcomes(tmp_path, ["zeros.h5", "numbers.h5"], code).values():
        assert "inflate" in text or "recordings" in text


def test_hdf5_that_is_bad_does_not_end_a_run(tmp_path):
    hdf5(tmp_path / "bad.h5", chunk(b"ab", fletcher32=True))
    np.save(tmp_path / "good.npy", counts() * 1e-3)
    assert outcomes(tmp_path, ["bad.h5", "good.npy"], "ecgfm.read(name, 500)")["good.npy"] == "read"


# ---- XML ------------------------------------------------------------------------------------------------------------


def muse(folder, extra="", **about):
    return write_muse(folder / "made.xml", counts(8), EIGHT, extra=extra, **about).read_text("latin-1")


def aecg(folder, extra="", head=""):
    text = write_aecg(folder / "made.xml", counts(), head=head).read_text("utf-8")
    return text.replace("<component><series>", f"{extra}<component><series>", 1)


def test_xml_that_lies(tmp_path):
    pytest.importorskip("ecgdatakit")
    wide, deep = "<a>" + "<b/>" * 1_500_000 + "</a>", "<a>" * 100_000 + "</a>" * 100_000
    digits = aecg(tmp_path)
    doctype = "<!DOCTYPE R [<!{}>]>\n"
    refuse(
        tmp_path,
        {
            "muse_wide.xml": (muse(tmp_path, wide), "more than 150,000 elements and attributes"),
            "aecg_wide.xml": (aecg(tmp_path, wide), "more than 150,000 elements and attributes"),
            "attributes.xml": (aecg(tmp_path, "<a b='' c='' d='' e=''/>" * 40_000), "elements and attributes"),
            "tag.xml": (aecg(tmp_path, "<a " + " ".join(f"a{i}=''" for i in range(900_000)) + "/>"), "a tag of more"),
            "muse_deep.xml": (muse(tmp_path, deep), "nested more than 200 deep"),
            "aecg_deep.xml": (aecg(tmp_path, deep), "nested more than 200 deep"),
            "values.xml": (digits.replace("<digits>", "<digits>" + "1 " * 9_000_000, 1), "more than 2,000,000 values"),
            "references.xml": (digits.replace("<digits>", "<digits>" + "1&#32;" * 2_500_000, 1), "2,000,000 values"),
            "namespace.xml": (
                aecg(tmp_path, f"<a xmlns:q='{'x' * 500_000}'>" + "<q:b/>" * 100_000 + "</a>"),
                "a namespace of 500,000 characters",
            ),
            "attlist.xml": (
                aecg(tmp_path, "<b/>" * 50_000, doctype.format(f"ATTLIST b c CDATA '{'x' * 100_000}'")),
                "entity declarations",
            ),
            "entity.xml": (muse(tmp_path, "&a;", head=doctype.format("ENTITY a 'x'")), "entity declarations"),
            "parameter.xml": (aecg(tmp_path, "", doctype.format("ENTITY % a 'x'")), "entity declarations"),
            "ampersands.xml": (muse(tmp_path, "<b>" + "&" * 7_000_000 + "</b>"), "damaged XML"),
            "large.xml": (muse(tmp_path, "<b>" + "x" * (9 << 20) + "</b>"), "more than the 8,388,608 that are read"),
            "cut.xml": (muse(tmp_path)[:20_000], "damaged XML"),
        },
        cpu_s=30,
    )


def test_xml_in_other_encodings(tmp_path):
    """An encoding that isn't what the declaration says, or that nobody knows, ends by name or is seen through."""
    pytest.importorskip("ecgdatakit")
    names = []
    for encoding in ("utf-7", "utf-32", "cp037", "x" * 300, "idna", "UTF-16", "base64"):
        names.append(f"{encoding[:9]}.xml")
        (tmp_path / names[-1]).write_text(muse(tmp_path).replace("ISO-8859-1", encoding))
    found = outcomes(tmp_path, names)
    assert found["UTF-16.xml"] == "read" and all("not read" not in text for text in found.values())


def test_xml_of_samples_takes_little(tmp_path):
    """As many samples as are let in, of a byte each: ten times their text."""
    pytest.importorskip("ecgdatakit")
    data = base64.b64encode(bytes(700_000)).decode()
    leads = "".join(
        "<LeadData><LeadAmplitudeUnitsPerBit>5</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>MICROVOLTS"
        f"</LeadAmplitudeUnits><LeadID>{name}</LeadID><LeadSampleSize>1</LeadSampleSize>"
        f"<WaveFormData>{data}</WaveFormData></LeadData>"
        for name in EIGHT
    )
    (tmp_path / "muse.xml").write_text(
        "<RestingECG><Waveform><WaveformType>Rhythm</WaveformType><SampleBase>500</SampleBase>"
        f"<SampleExponent>0</SampleExponent>{leads}</Waveform></RestingECG>"
    )
    write_aecg(tmp_path / "aecg.xml", np.ones((12, 160_000), np.int64))
    assert set(outcomes(tmp_path, ["muse.xml", "aecg.xml"]).values()) == {"read"}


# ---- DICOM ----------------------------------------------------------------------------------------------------------


def element(tag, vr, value):
    value += (b"\0" if vr in ("OW", "OB", "UI", "SQ") else b" ") * (len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in ("OW", "OB", "SQ", "UT", "UN"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def item(value):
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def channel(name, sensitivity=b"5", meaning=None):
    source = element(0x00080104, "UT", meaning or f"Lead {name}".encode())
    return item(
        element(0x003A0208, "SQ", item(source))
        + element(0x003A0210, "DS", sensitivity)
        + element(0x003A0211, "SQ", item(element(0x00080100, "SH", b"uV")))
    )


def group(x, *, rate=b"500", bits=16, kind=b"SS", channels=None, number=None, samples=None, more=b"", data=None):
    """The elements of a waveform group; all numbers may lie."""
    return (
        element(0x003A0005, "US", struct.pack("<H", number or len(x)))
        + element(0x003A0010, "UL", struct.pack("<I", samples or x.shape[1]))
        + element(0x003A001A, "DS", rate)
        + element(0x003A0200, "SQ", channels or b"".join(channel(name) for name in LEADS))
        + element(0x54001004, "US", struct.pack("<H", bits))
        + element(0x54001006, "CS", kind)
        + more
        + element(0x54001010, "OW", x.T.astype("<i2").tobytes() if data is None else data)
    )


def dicom(groups, before=b"", syntax=b"1.2.840.10008.1.2.1"):
    meta = element(0x00020010, "UI", syntax)
    data = element(0x00080060, "CS", b"ECG") + before + element(0x54000100, "SQ", groups)
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta + data


OPEN = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)


def test_dicom_that_lies(tmp_path):
    x = counts(12, 1000)
    good = group(x)
    many = element(0x00091001, "LO", b"x") * 400_000
    huge = bytearray(dicom(item(good)))
    at = huge.index(b"\x00\x54\x10\x10OW") + 8
    huge[at : at + 4] = b"\xf0\xff\xff\x7f"
    spaces = b"".join(channel(name) for name in LEADS) + channel("x", meaning=b"x" + b" " * 500_000 + b"x")
    refuse(
        tmp_path,
        {
            "rates.dcm": (dicom(item(group(x, rate=b"500\\400"))), "'500\\\\400' is not one number"),
            "rate_nan.dcm": (dicom(item(group(x, rate=b"nan"))), "not one number"),
            "rate_text.dcm": (dicom(item(group(x, rate=b"5_00"))), "not one number"),
            "rate_long.dcm": (dicom(item(group(x, rate=b"9" * 60_000))), "not one number"),
            "sensitivity.dcm": (
                dicom(item(group(x, channels=b"".join(channel(n, b"5\\5") for n in LEADS)))),
                "ChannelSensitivity: '5\\\\5' is not one number",
            ),
            "items.dcm": (dicom(item(b"") * 500_000), "more than 100,000 elements and items"),
            "items_of_none.dcm": (dicom(item(b"") * 50_000), "no channel is one of the 12 leads"),
            "elements.dcm": (dicom(item(good), many), "more than 100,000 elements and items"),
            "deep.dcm": (dicom(b"", OPEN * 20_000), "nested more than 16 deep"),
            "channels.dcm": (dicom(item(group(x, channels=channel("I") * 600))), "600 channels"),
            "bits.dcm": (dicom(item(group(x, bits=32, kind=b"SL"))), "truncated"),
            "bits_64.dcm": (dicom(item(group(x, bits=64, kind=b"SV"))), "samples of 64 bits as SV are not read"),
            "bits_0.dcm": (dicom(item(group(x, bits=0))), "0 is no number"),
            "kind.dcm": (dicom(item(group(x, kind=b"S" * 60_000))), "are not read"),
            "samples.dcm": (dicom(item(group(x, samples=2**32 - 1))), "more than the"),
            "number.dcm": (dicom(item(group(x, number=65535))), "65535 channels, 12 described"),
            "data.dcm": (dicom(item(group(x, data=b""))), "truncated"),
            "spaces.dcm": (dicom(item(group(x, channels=spaces, number=12))), "12 channels, 13 described"),
            "deflated.dcm": (dicom(item(good), syntax=b"1.2.840.10008.1.2.1.99"), "deflated"),
            "none.dcm": (dicom(b""), "holds no waveforms (ECG)"),
            "modality.dcm": (dicom(b"", element(0x00080060, "UT", b"x" * 10**6)), "holds no waveforms"),
        },
        cpu_s=30,
    )
    (tmp_path / "huge.dcm").write_bytes(huge)  # the value has what the file has
    private = element(0x00091010, "SQ", item(b"") * 500_000)  # of a known length, and nobody asks for it
    (tmp_path / "private.dcm").write_bytes(dicom(item(good), private))
    assert set(outcomes(tmp_path, ["huge.dcm", "private.dcm"]).values()) == {"read"}


# ---- EDF, SCP-ECG ---------------------------------------------------------------------------------------------------


def test_edf_numbers_that_lie(tmp_path):
    pytest.importorskip("edfio")
    raw = write_edf(tmp_path / "a.edf", counts(12, 1000)).read_bytes()
    files = {}
    for i, (at, value) in enumerate(
        [(236, b"99999999"), (236, b"inf"), (236, b"-2"), (236, b"0"), (252, b"0"), (252, b"-12"), (252, b"9999")]
        + [(244, value) for value in (b"0", b"-1", b"inf", b"nan", b"1e-300", b"1e300")]
        + [(256 + 104 * 12, value) for value in (b"inf", b"nan", b"-1e400", b"1_0_0__0")]
        + [(256 + 120 * 12, value) for value in (b"32767", b"99999999", b"x")]
        + [(256 + 216 * 12, value) for value in (b"0", b"-500", b"99999999", b"5e2", b"inf")]
    ):
        name, width = f"{i}.edf", 4 if at == 252 else 8
        files[name] = (raw[:at] + value.ljust(width) + raw[at + width :], name)
    refuse(tmp_path, files)


def codes(*, samples=1, lead=65_534, leads=12, tables=struct.pack("<H", 19999), beats=b"", beat=b""):
    """An SCP-ECG record of Huffman codes, all bits 0."""
    import binascii

    def section(number, body):
        body += b"\0" * (len(body) % 2)
        tail = struct.pack("<HIBB6s", number, 16 + len(body), 20, 20, b"SCPECG" if number == 0 else b"") + body
        return struct.pack("<H", binascii.crc_hqx(tail, 0xFFFF)) + tail

    definition = bytes([leads, 0x05 if beats else 0x04])
    definition += b"".join(struct.pack("<IIB", 1, samples, i % 12 + 1) for i in range(leads))
    rhythm = struct.pack("<HHBB", 5000, 2000, 0, 0) + struct.pack("<H", lead) * leads + bytes(lead * leads)
    sections = {2: tables, 3: definition, 4: beats, 5: beat, 6: rhythm}
    sections = {number: section(number, body) if body else b"" for number, body in sections.items()}
    at, pointers = 22 + 10 * 12, struct.pack("<HII", 0, 136, 7)
    for number in range(1, 12):
        size = len(sections.get(number, b""))
        pointers += struct.pack("<HII", number, size, at + 1 if size else 0)
        at += size
    whole = section(0, pointers) + b"".join(sections.get(number, b"") for number in range(1, 12))
    whole = struct.pack("<I", 6 + len(whole)) + whole
    return struct.pack("<H", binascii.crc_hqx(whole, 0xFFFF)) + whole


def test_scp_that_lies(tmp_path):
    pytest.importorskip("ecgdatakit")
    switch = struct.pack("<HHBBBhI", 1, 1, 1, 1, 0, 1, 0)  # the code 0 goes to table 1, for ever
    beat = struct.pack("<HHBB", 5000, 1, 0, 0) + struct.pack("<H", 10) * 12 + bytes(120)
    many = struct.pack("<HHH", 100, 1, 60_000) + bytes(14 * 10_000)
    raw = write_scp(tmp_path / "made.scp", counts(12, 1000)).read_bytes()
    refuse(
        tmp_path,
        {
            "bits.scp": (codes(samples=65_534 * 8), "bytes of data in Huffman's code"),
            "switch.scp": (codes(samples=8_000, lead=12_000, tables=switch), "damaged SCP-ECG"),
            "beat.scp": (codes(lead=1000, beats=struct.pack("<HHH", 65_535, 1, 1), beat=beat), "a beat of 65,535 ms"),
            "beats.scp": (codes(lead=1000, beats=many, beat=beat), "60,000 beats in 12 leads"),
            "tables.scp": (codes(lead=1000, tables=bytes(300_000)), "at most 262,144 are read"),
            "samples.scp": (codes(samples=2**32 - 1, lead=1000), "truncated"),
            "sections.scp": (raw[:10] + struct.pack("<I", 16 + 10 * 5000) + raw[14:] + bytes(60_000), "256 sections"),
            "other.scp": (b"\0\0" + bytes(range(256)) * 100, "no SCP-ECG record"),
        },
        cpu_s=30,
    )
    (tmp_path / "most.scp").write_bytes(codes(samples=8 * 16_000, lead=16_000))  # as much as is let in
    assert outcomes(tmp_path, ["most.scp"]) == {"most.scp": "read"}


# ---- MATLAB ---------------------------------------------------------------------------------------------------------

MAT = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def head(name, shape, values=9, form=6, size=None):
    """A variable up to its values: `form` is the class of the array, `values` the type of what is stored."""
    size = int(np.prod(shape, dtype=object)) * {1: 1, 2: 1, 3: 2, 9: 8}.get(values, 8) if size is None else size
    text = struct.pack("<IIII", 6, 8, form, 0) + struct.pack("<II", 5, 4 * len(shape))
    text += struct.pack(f"<{len(shape)}i", *shape) + bytes(-4 * len(shape) % 8)
    text += struct.pack("<II", 1, len(name)) + name + bytes(-len(name) % 8)
    return text + struct.pack("<II", values, size), size


def variable(name, array):
    array = np.atleast_2d(np.asarray(array, "<f8"))
    body = head(name, array.shape)[0] + array.T.tobytes()
    return struct.pack("<II", 14, len(body)) + body


def strange(name, values=255, form=6, data=bytes(8)):
    body = head(name, (1, 1), values, form, size=len(data))[0] + data
    return struct.pack("<II", 14, len(body)) + body


def packed(name, shape, values=2, extra=0):
    """Compressed zeros; if they are many, without making them all."""
    start, size = head(name, shape, values)
    if size + extra < 1 << 26:
        raw = zlib.compress(struct.pack("<II", 14, len(start) + size) + start + bytes(size + extra))
        return struct.pack("<II", 15, len(raw)) + raw
    packer = zlib.compressobj(9)
    raw = packer.compress(struct.pack("<II", 14, len(start) + size) + start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    raw += block * ((size + extra) >> 20) + packer.compress(bytes((size + extra) % (1 << 20))) + packer.flush()
    return struct.pack("<II", 15, len(raw)) + raw


def wrapped(content):
    """A compressed variable in a compressed variable."""
    return struct.pack("<II", 15, len(zlib.compress(content))) + zlib.compress(content)


GOOD = variable(b"feats", counts(12, 1000)) + variable(b"curr_sample_rate", 500)
HOSTILE_MAT = {
    "type.mat": (MAT + strange(b"feats") + variable(b"curr_sample_rate", 500), "unknown type 255"),
    "twice.mat": (MAT + strange(b"feats", 9, 6 | 0x0800) + GOOD, "stands in the file twice"),
    "twice_numbers.mat": (MAT + GOOD + GOOD, "stands in the file twice"),
    "complex.mat": (MAT + strange(b"feats", 255, 6 | 0x0800), "feats (complex numbers)"),
    "cell.mat": (MAT + strange(b"feats", 14, 1), "feats (a cell array)"),
    "struct.mat": (MAT + strange(b"feats", 5, 2), "truncated within a tag"),
    "sparse.mat": (MAT + strange(b"feats", 5, 5), "feats (a sparse array)"),
    "bomb.mat": (MAT + packed(b"feats", (12, 44_000_000)) + variable(b"fs", 500), "inflate"),
    "bombs.mat": (MAT + packed(b"feats", (12, 1_000_000)) + packed(b"mean", (12, 4_000_000)), "inflate"),
    "more.mat": (MAT + packed(b"feats", (12, 1000), 9, 1 << 20) + variable(b"fs", 500), "more values than"),
    "nested.mat": (MAT + wrapped(wrapped(packed(b"feats", (12, 10**6)))), "unknown type 15"),
    "length.mat": (MAT + struct.pack("<II", 14, 2**31) + head(b"feats", (12, 10**6))[0], "truncated"),
    "minus.mat": (MAT + struct.pack("<II", 14, 64) + head(b"feats", (12, -5), size=8)[0] + bytes(8), "not a shape"),
    "seven.mat": (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" * 40, "7.3 is not read"),
    "four.mat": (struct.pack("<5i", 0, 12, 10**6, 0, 6) + b"feats\0" + bytes(80), "a MATLAB 4 file"),
    "rate.mat": (MAT + variable(b"feats", counts(12, 1000)) + variable(b"fs", [500, 400]), "not one number"),
}


def test_mat_that_lies(tmp_path):
    refuse(tmp_path, HOSTILE_MAT)


def test_mat_segments_that_lie(tmp_path):
    """Training and evaluation read by the same rules."""
    code = "__import__('ecgfm.data', fromlist=['read_mat']).read_mat(name)"
    harmless = {"complex.mat", "cell.mat", "struct.mat", "sparse.mat", "rate.mat"}  # passed over, or read
    files = {name: about for name, about in HOSTILE_MAT.items() if name not in harmless | {"four.mat"}}
    files |= {"four.mat": (HOSTILE_MAT["four.mat"][0], "not a MATLAB 5 file")}
    files |= {"segment.mat": (MAT + packed(b"feats", (12, 44_000_000)) + variable(b"idx", 1), "inflate")}
    refuse(tmp_path, files, code)
    idx = {"idx.mat": strange(b"idx"), "idx_complex.mat": strange(b"idx", 255, 6 | 0x0800)}
    for name, content in idx.items():
        (tmp_path / name).write_bytes(MAT + content)
    np.save(tmp_path / "y.npy", np.zeros((3, 2)))
    code = (
        "from ecgfm.inference.evaluate_truth import read_truth; "
        "assert read_truth('y.npy', ['a', 'b']).row_of(0, name, name) is None"
    )
    assert set(outcomes(tmp_path, idx, code).values()) == {"read"}
