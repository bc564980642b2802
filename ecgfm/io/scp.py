"""SCP-ECG: the rhythm data (section 6). ecgdatakit parses.

Since it takes the numbers in a file at their word, they are held against the data before; and since its decoder goes
from bit to bit, and adds beat for beat, so are bits and beats.
"""

from __future__ import annotations

import binascii
import itertools
import struct
import tempfile

from ..ecg.record import Record
from ..errors import FormatError
from ..storage.inputs import read_input
from .common import Format, Given
from .kit import read_with

__all__ = ["FORMAT"]

_MAX_FILE = 1 << 23  # a record of 10 s has some 30 KB
_MAX_CODED = 3 << 16  # bytes of rhythm and beats in Huffman's code
_MAX_SECTION, _MAX_POINTERS = 1 << 18, 256  # bytes of any other section; sections
_MAX_BEATS = 20_000  # that are added to residuals, over all leads
_TABLES, _LEADS, _QRS, _BEAT, _RHYTHM, _LAST = 2, 3, 4, 5, 6, 11  # sections
_HEADER = 16  # bytes of a section's header


def _matches(head: bytes) -> bool:
    """Section 0 begins at byte 7 and says so."""
    if len(head) < 32:
        return False
    section, length = struct.unpack_from("<HI", head, 8)
    pointer, _, start = struct.unpack_from("<HII", head, 22)
    return bool(section == pointer == 0 and length >= 26 and (length - _HEADER) % 10 == 0 and start == 7)


def _read(path: str, given: Given) -> Record:
    data = read_input(path, most=_MAX_FILE)
    if not _matches(data):
        raise FormatError(
            "no SCP-ECG record, whatever its name says: there is no section 0 as EN 1064 has it",
            path=path,
            remedy="Some devices (of Healforce) write other files of this ending; export DICOM, HL7 aECG or MUSE XML",
        )
    sections = _sections(data, path)
    _check_claims({number: part[_HEADER:] for number, part in sections.items()}, path)
    notes = (
        [] if _checksum(data[2:]) == struct.unpack_from("<H", data)[0] else ["the record's checksum (CRC) does not fit"]
    )
    with tempfile.NamedTemporaryFile(suffix=".scp") as file:
        file.write(_bare(data, sections))
        file.flush()
        return read_with(
            "scp_ecg.SCPECGParser",
            path,
            "SCP-ECG",
            lambda record: 1e6 / record.raw_metadata["rhythm_sample_interval_us"],
            given,
            file.name,
            notes,
        )


def _checksum(raw: bytes) -> int:
    return binascii.crc_hqx(raw, 0xFFFF)


def _bare(data: bytes, sections: dict[int, bytes]) -> bytes:
    """The record with those sections alone that the rhythm takes, so that no other can spoil it.

    Where leads begin at sample 0, as some devices count, they begin at 1.
    """
    parts = {number: part for number, part in sections.items() if _TABLES <= number <= _RHYTHM and part}
    definition = bytearray(parts[_LEADS])
    ends = [_HEADER + 2 + 9 * i for i in range(definition[_HEADER])]
    if all(struct.unpack_from("<I", definition, at)[0] == 0 for at in ends):
        for at in ends:
            struct.pack_into("<I", definition, at, 1)
        struct.pack_into("<H", definition, 0, _checksum(bytes(definition[2:])))
    parts[_LEADS] = bytes(definition)
    length = _HEADER + 10 * (_LAST + 1)
    places = dict(zip(parts, itertools.accumulate(map(len, parts.values()), initial=6 + length)))
    pointers = {0: (length, 7)} | {number: (len(part), places[number] + 1) for number, part in parts.items()}
    table = b"".join(struct.pack("<HII", number, *pointers.get(number, (0, 0))) for number in range(_LAST + 1))
    head = data[8:10] + struct.pack("<I", length) + data[14:22] + table
    body = struct.pack("<H", _checksum(head)) + head + b"".join(parts.values())
    rest = struct.pack("<I", 6 + len(body)) + body
    return struct.pack("<H", _checksum(rest)) + rest


def _check_claims(sections: dict[int, bytes], path: str) -> None:
    """Hold what a record says of itself against its data: the sections without their headers."""
    definition, rhythm = sections.get(_LEADS, b""), sections.get(_RHYTHM, b"")
    count = definition[0] if definition else 0
    if not count or len(definition) < 2 + 9 * count:
        raise FormatError("truncated: the leads are not described", path=path, field="section 3")
    about, beats = sections.get(_QRS, b""), sections.get(_BEAT, b"")
    coded = len(rhythm) + len(beats) if sections.get(_TABLES) else 0
    ends = [struct.unpack_from("<II", definition, 2 + 9 * i) for i in range(count)]
    samples = sum(max(last - first + 1, 0) for first, last in ends)  # each takes at least a bit
    added = struct.unpack_from("<H", about, 4)[0] if len(about) >= 6 else 0
    length = struct.unpack_from("<H", about)[0] if len(about) >= 2 else 0  # of the reference beat, in ms
    interval = struct.unpack_from("<H", beats, 2)[0] if len(beats) >= 4 else 0
    for is_wrong, section, message in (
        (coded > _MAX_CODED, 6, f"{coded:,} bytes of data in Huffman's code; at most {_MAX_CODED:,} are read"),
        (
            samples > 8 * len(rhythm),
            6,
            f"truncated: {samples:,} samples, the rhythm data have {len(rhythm):,} bytes",
        ),
        (added * count > _MAX_BEATS, 4, f"{added:,} beats in {count} leads"),
        (
            interval and 1000 * length > 8 * len(beats) * interval,
            5,
            f"truncated: a beat of {length:,} ms, its data have {len(beats):,} bytes",
        ),
    ):
        if is_wrong:
            raise FormatError(message, path=path, field=f"section {section}")


def _sections(data: bytes, path: str) -> dict[int, bytes]:
    """Number -> bytes of each section, with its header."""
    length = struct.unpack_from("<I", data, 10)[0]
    if length > _HEADER + 10 * _MAX_POINTERS:
        raise FormatError(f"more than {_MAX_POINTERS} sections", path=path, field="section 0")
    sections: dict[int, bytes] = {}
    for at in range(22, min(6 + length, len(data) - 9), 10):
        number, length, start = struct.unpack_from("<HII", data, at)
        if not length or not number:
            continue
        if number <= _LAST and number not in (_BEAT, _RHYTHM) and length > _MAX_SECTION:
            raise FormatError(
                f"{length:,} bytes; at most {_MAX_SECTION:,} are read", path=path, field=f"section {number}"
            )
        sections[number] = data[start - 1 : start - 1 + length] if start else b""
        if _TABLES <= number <= _RHYTHM and len(sections[number]) < length:
            what = f"truncated: {length:,} bytes from byte {start:,} on, the file has {len(data):,}"
            raise FormatError(what, path=path, field=f"section {number}")
    return sections


FORMAT = Format("SCP-ECG", (".scp",), _matches, _read)
