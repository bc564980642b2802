"""Files of other devices and tools are named as what they are, with what to do."""

import struct

import numpy as np
import pytest
from made_files import LEADS, counts, write_aecg, write_wfdb

from ecgfm import FormatError, read
from ecgfm.io import is_recording

XML = {
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


def test_xml_that_says_another_encoding(tmp_path):
    (tmp_path / "a.xml").write_text(f'<?xml version="1.0" encoding="UTF-16"?>{XML["Philips"]}')
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
        ("philips/*", "Philips XML"),
        ("cardiosoft/*", "GE CardioSoft XML"),
        ("schiller/*", "Schiller XML"),
        ("scp/62.SCP", "no SCP-ECG record"),
        ("sph/*", r"there are ecg \(float16, 12 x 5"),
        ("matlab/A1983.mat", r"ECG \(a struct\)"),
    ],
)
def test_real_files(shared, names, words):
    for path in real(shared, names):
        with pytest.raises(FormatError, match=words):
            read(path)


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
    savemat(tmp_path / "b.mat", {"ECG": {"data": counts()}, "cells": np.array([1, "a"], object)})
    with pytest.raises(FormatError, match=r"there are ECG \(a struct\), cells \(a cell array\).*Save the signal"):
        read(tmp_path / "b.mat")
