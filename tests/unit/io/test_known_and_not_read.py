"""Files of other devices and tools are named as what they are, with what to do."""

import struct

import numpy as np
import pytest
from made_files import LEADS, counts, write_aecg, write_wfdb

from ecgfm import FormatError, read
from ecgfm.io import is_recording

XML = {
    "Schiller": "<examdescript><patdata/></examdescript>",
    "FHIR as": '<Observation xmlns="http://hl7.org/fhir"><status value="final"/></Observation>',
    "Sapphire": '<sapphire:sapphire xmlns:sapphire="urn:ge:sapphire"><a/></sapphire:sapphire>',
}
WITHOUT_A_RHYTHM = {
    "Philips": '<restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo/></restingecgdata>',
    "CardioSoft": "<CardiologyXML><ObservationType>RestECG</ObservationType></CardiologyXML>",
    "Schiller": "<com.xiriuz.sema.xml.schillerEDI.SchillerEDI><patdata/></com.xiriuz.sema.xml.schillerEDI.SchillerEDI>",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("maker", XML)
def test_xml_of_other_devices(tmp_path, maker, encoding):
    path = tmp_path / "a.xml"
    path.write_text(f'<?xml version="1.0" encoding="{encoding[:6].rstrip("-")}"?>\n{XML[maker]}', encoding=encoding)
    assert is_recording(str(path))  # so that a folder doesn't lose it without a word
    with pytest.raises(FormatError, match=f"{maker} XML.*, which is not read. Export the recording as") as caught:
        read(path)
    assert caught.value.path == str(path) and "MUSE XML file" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("maker", WITHOUT_A_RHYTHM)
def test_xml_without_a_rhythm(tmp_path, maker, encoding):
    path = tmp_path / "a.xml"
    text = f'<?xml version="1.0" encoding="{encoding[:6].rstrip("-")}"?>\n{WITHOUT_A_RHYTHM[maker]}'
    path.write_text(text, encoding=encoding)
    with pytest.raises(FormatError, match=f"holds no rhythm.*{maker} XML"):
        read(path)


def test_xml_that_says_another_encoding(tmp_path):
    (tmp_path / "a.xml").write_text(f'<?xml version="1.0" encoding="UTF-16"?>{WITHOUT_A_RHYTHM["Philips"]}')
    with pytest.raises(FormatError, match="Philips XML"):
        read(tmp_path / "a.xml")


def test_xml_of_anything_else(tmp_path):
    (tmp_path / "a.xml").write_text("<settings><a/></settings>")
    assert not is_recording(str(tmp_path / "a.xml"))
    with pytest.raises(FormatError, match="first element is 'settings'.*Known are RestingECG"):
        read(tmp_path / "a.xml")


def test_aecg_after_a_long_comment(tmp_path):
    pytest.importorskip("ecgdatakit", reason="needs the extra [io]")
    path = write_aecg(tmp_path / "a.xml", counts(), head=f"<!--{'x' * 9000}-->\n")
    assert read(path).leads == LEADS


def real(shared, names):
    folder = shared / "real/formats"
    if not folder.is_dir():
        pytest.skip("needs ../shared/real")
    return sorted(folder.glob(names))


@pytest.mark.parametrize(
    "names, words",
    [
        ("scp/62.SCP", "of Healforce that looks like SCP-ECG"),
    ],
)
def test_real_files(shared, names, words):
    for path in real(shared, names):
        with pytest.raises(FormatError, match=words):
            read(path)


def test_zip_archives_of_something_else(tmp_path):
    import zipfile

    for member, words in (
        ("[Content_Types].xml", "office document.*Save the table as CSV"),
        ("a.dcm", "it holds a.dcm. Unpack it"),
    ):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(member, "x")
        with pytest.raises(FormatError, match=words):
            read(tmp_path / "a.zip")


HEALFORCE = bytes(8) + b"\0\0\x4c\0\0\0" + bytes(8) + b"\0\0\x4c\0\0\0\x06\0\0\0" + bytes(400)


@pytest.mark.parametrize(
    "content, words",
    [
        (
            b"0000053\0\0\x002020-11-24 07:19:13\0" + bytes(400),
            "Contec's own format.*not public. Export the recording as",
        ),
        (b"AB 12\0\0\0\0\x002020-11-24 07:19:13\0" + bytes(400), "Contec's own format"),
        (HEALFORCE, "of Healforce that looks like SCP-ECG.*Export the recording as"),
        (b"ANN  1.0" + bytes(400), "ISHNE annotations.*Give the recording"),
        (b"GDF 2.20" + bytes(400), "a GDF file"),
        (b"MSH|^~\\&|CART|" + b"x" * 40, "an HL7 version 2 message"),
        (b"%PDF-1.7\n", "a PDF. A picture holds no samples"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "a picture. A picture holds no samples"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "a picture"),
        (b"\x1f\x8b\x08" + bytes(40), "a compressed file. Inflate it first"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(40), "a compressed file. Inflate it first"),
    ],
)
@pytest.mark.parametrize("name", ["a.ecg", "a.SCP", "a.dcm", "a"])
def test_what_is_named_by_its_first_bytes(tmp_path, content, words, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=words):
        read(tmp_path / name)
    assert "named, not read" not in str(pytest.raises(FormatError, read, tmp_path / name).value)


def version_4(name, array):
    head = struct.pack("<5i", 30, *array.shape, 0, len(name) + 1)
    return head + name.encode() + b"\0" + array.T.astype("<i2").tobytes()


def test_matlab_of_the_challenges(tmp_path):
    """``val`` holds numbers whose unit, rate and leads stand in a header."""
    x = counts()
    path = tmp_path / "a.mat"
    path.write_bytes(version_4("val", x))
    with pytest.raises(FormatError, match=r"'val' of shape \(12, 3000\), as PhysioNet's Challenges.*Put its header"):
        read(path)
    write_wfdb(tmp_path / "a.hea", x)
    with pytest.raises(FormatError, match=r"Name its header, .*a\.hea"):
        read(path)
    assert read(tmp_path / "a.hea").samples == 3000
    path.write_bytes(version_4("other", x))
    (tmp_path / "a.hea").unlink()
    with pytest.raises(FormatError, match="a MATLAB 4 file with the array other"):
        read(path)


def test_matlab_5_of_counts(tmp_path):
    savemat = pytest.importorskip("scipy.io").savemat
    savemat(tmp_path / "a.mat", {"val": counts()})
    with pytest.raises(FormatError, match="'val', as PhysioNet's Challenges have it.*Put its header"):
        read(tmp_path / "a.mat")
    write_wfdb(tmp_path / "a.hea", counts())
    with pytest.raises(FormatError, match=r"Name its header, .*a\.hea"):
        read(tmp_path / "a.mat")
    savemat(tmp_path / "b.mat", {"ECG": {"name": "data"}, "cells": np.array([1, "a"], object)})
    with pytest.raises(FormatError, match=r"there are ECG \(a struct\), cells \(a cell array\).*Save the signal"):
        read(tmp_path / "b.mat")
