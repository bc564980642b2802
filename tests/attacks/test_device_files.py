"""Hostile files of devices (XML of three makers, ISHNE, ATC, MFER, FHIR) are refused by name at little cost."""

import base64
import struct

import numpy as np
import pytest
from bounded import attack
from device_files import atc_block, lzw, mfer, write_atc, write_ishne, write_philips, write_schiller
from made_files import counts

X = counts(12, 400)
ROOTS = {
    "philips": "restingecgdata",
    "schiller": "com.xiriuz.sema.xml.schillerEDI.SchillerEDI",
    "cardiosoft": "CardiologyXML",
}
LAUGHS = "<!DOCTYPE a [<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{i + 1} '{f'&a{i};' * 10}'>" for i in range(12))


def refused(path, *words, **limits):
    ended = attack(f"ecgfm.read({path.name!r})", path.parent)
    ended.refused(path.name, *words, **limits)


@pytest.mark.parametrize("name", ROOTS)
def test_xml_bombs(tmp_path, name):
    root, path = ROOTS[name], tmp_path / "a.xml"
    path.write_text(f"<?xml version='1.0'?>{LAUGHS}]><{root}>&a12;</{root}>")
    refused(path, "not allowed")
    path.write_text(f"<!DOCTYPE {root} [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><{root}>&x;</{root}>")
    refused(path, "not allowed")
    path.write_text(f"<{root}>{'<a>' * 100_000}")
    refused(path, "deep")
    path.write_text(f"<{root}>{'<a/>' * 400_000}</{root}>")
    refused(path, "more than 150,000 elements")
    path.write_text(f"<{root} {'a' * 3_000_000}='1'/>")
    refused(path, "tag of more than")
    path.write_bytes(f"<{root}>".encode() + b" " * (1 << 26))
    refused(path, "more than the")


def test_lists_of_values_that_are_not_stated(tmp_path):
    path = write_schiller(tmp_path / "a.xml", X)
    path.write_text(path.read_text().replace(f"<data>{X[0, 0]},", f"<data>{'1,' * 3_000_000}"))
    refused(path, "samples are stated")
    path = write_schiller(tmp_path / "a.xml", X)
    text = path.read_text().replace(f"<data>{X[0, 0]},", f"<data>{'1,' * 3_000_000}")
    path.write_text(text.replace("<samplecount>400<", f"<samplecount>{3_000_399}<"))
    refused(path, "3,000,399 samples of 12 leads; 2,000,000 are read")


def test_packed_bombs(tmp_path):
    """A block of LZW that becomes far more than is stated; and a duration that would take all memory."""
    packed = lzw(bytes(300_000))
    data = base64.b64encode(struct.pack("<iHh", len(packed), 0, 0) + packed).decode()
    refused(write_philips(tmp_path / "a.xml", X, data=data), "more samples than are stated", "Philips XML")
    long = base64.b64encode(struct.pack("<iHh", 2_000_000, 0, 0) + bytes(2_000_000)).decode()
    refused(write_philips(tmp_path / "b.xml", X, data=long), "more samples than are stated")
    refused(write_philips(tmp_path / "c.xml", X, duration=10**9), "are read")
    refused(write_philips(tmp_path / "d.xml", X, numberofleads=10**9), "of which 12 are named")
    refused(write_philips(tmp_path / "e.xml", X, leadlabels="I " * 100_000, numberofleads=100_000), "are named")


def test_ishne_of_holes_and_of_other_sizes(tmp_path):
    path = write_ishne(tmp_path / "a.ecg", X, samples=40_000_000)
    with open(path, "r+b") as file:
        file.truncate(1 << 30)
    refused(path, "holes")
    path = write_ishne(tmp_path / "b.ecg", X)
    for at, value in ((10, -1), (10, 2**31 - 1), (22, 0), (22, 2**31 - 1), (22, -5)):
        raw = bytearray(path.read_bytes())
        struct.pack_into("<i", raw, at, value)
        (tmp_path / "c.ecg").write_bytes(raw)
        refused(tmp_path / "c.ecg", "ISHNE")
    for value in (0, -1, 13, 32767):
        raw = bytearray(path.read_bytes())
        struct.pack_into("<h", raw, 156, value)
        (tmp_path / "c.ecg").write_bytes(raw)
        refused(tmp_path / "c.ecg", f"{value} leads")


def test_atc_of_many_blocks(tmp_path):
    many = b"".join(atc_block(f"{i:04d}", b"") for i in range(3000))
    refused(write_atc(tmp_path / "a.atc", X[:1], extra=many), "more than 256 blocks")
    same = atc_block("avg ", b"") * 1_000_000
    refused(write_atc(tmp_path / "b.atc", X[:1], extra=same), "more than 256 blocks")


MFER_HEAD = mfer(0x40, b"MFR " + bytes(28)) + mfer(0x01, b"\1")


@pytest.mark.parametrize(
    "rest, words",
    [
        (bytes(50_000_000), "no waveform"),
        (mfer(0x0C, b"\0\xfa\1\0") * 200_000, "more than 100,000 definitions"),
        (b"\0\1" * 3_000_000, "definitions"),
        (mfer(0x05, struct.pack("<H", 512)) + mfer(0x1E, bytes(1024)) * 5_000, "waveforms times channels"),
        (b"\x3f\0\x80" * 100_000, "levels"),
        (
            mfer(0x0B, b"\0\x7f" + b"\x7f" * 8) + mfer(0x0C, b"\0\x7f" + b"\x7f" * 8) + mfer(0x1E, bytes(900)),
            "none of the 12 leads",
        ),
    ],
)
def test_mfer_bombs(tmp_path, rest, words):
    (tmp_path / "a.mwf").write_bytes(MFER_HEAD + rest)
    refused(tmp_path / "a.mwf", words)


def test_fhir_bombs(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"resourceType": "Observation", "a": ' + "[" * 100_000)
    refused(path, "nested too deeply")
    path.write_text('{"resourceType": "Observation", "a": [' + "1," * 1_000_000 + "1]}")
    refused(path, "more than 500,000 values")
    path.write_text('{"resourceType": "Observation", "valueSampledData": {"period": ' + "9" * 400 + "}}")
    refused(path, "digits")
    data = '"origin": {"value": 0, "unit": "uV"}, "period": 2, "dimensions": 1, "data": "' + "1 " * 4_100_000 + '"'
    path.write_text('{"resourceType": "Observation", "code": {"text": "I"}, "valueSampledData": {' + data + "}}")
    refused(path, "a.json")
    path.write_bytes(b'{"resourceType": "Observation"' + b" " * (1 << 24))
    refused(path, "more than the")


def test_text_of_a_file_in_messages(tmp_path):
    """Names of leads, units and documents are cut, and can't steer a terminal."""
    nasty = "\u202e" + "A" * 5000
    path = write_schiller(tmp_path / "a.xml", X[:1], [nasty])
    refused(path, "none of the 12 leads")
    path = write_schiller(tmp_path / "a.xml", X[:1], unit=nasty)
    refused(path, "no voltage")
    path = write_philips(tmp_path / "a.xml", X, kind=nasty)
    ended = attack("print(repr(ecgfm.read('a.xml').notes))", tmp_path)
    ended.bounded()
    assert len(ended.out) < 500 and ended.out.strip().isprintable() and "read as Philips XML" in ended.out
    path = write_atc(tmp_path / "a.atc", np.zeros((0, 9), np.int16), extra=b"\x1b[2J\xff\xff\xff\x7f")
    refused(path, "truncated")
