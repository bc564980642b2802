"""SCP-ECG: the rhythm data (section 6). ecgdatakit parses.

Since it takes the numbers of samples in a file at their word, they are held against the data before.
"""

import struct

from ...errors import FormatError
from .common import Format, check_file_size
from .kit import read_with

__all__ = ["FORMAT"]

_MAX_FILE, _MAX_SAMPLES = 1 << 23, 1 << 23  # a record of 10 s has some 30 KB; each bit is a step of the decoder
_LEADS, _RHYTHM = 3, 6  # sections
_HEADER = 16  # bytes of a section's header


def _matches(head):
    """Section 0 begins at byte 7 and says so."""
    if len(head) < 32:
        return False
    section, length = struct.unpack_from("<HI", head, 8)
    pointer, _, start = struct.unpack_from("<HII", head, 22)
    return section == 0 and length >= 26 and (length - _HEADER) % 10 == 0 and pointer == 0 and start == 7


def _read(path, *, sampling_rate, leads):
    _check_claims(path)
    return read_with(
        "scp_ecg.SCPECGParser",
        path,
        "SCP-ECG",
        lambda record: 1e6 / record.raw_metadata["rhythm_sample_interval_us"],
        sampling_rate=sampling_rate,
        leads=leads,
    )


def _check_claims(path):
    """Each sample takes at least a bit of section 6."""
    check_file_size(path, _MAX_FILE)
    with open(path, "rb") as file:
        data = file.read()
    if not _matches(data):
        raise FormatError("not an SCP-ECG record", path=path)
    sections = {}
    for at in range(22, min(6 + struct.unpack_from("<I", data, 10)[0], len(data) - 9), 10):
        number, length, start = struct.unpack_from("<HII", data, at)
        if length:
            sections[number] = data[start - 1 + _HEADER : start - 1 + length] if start else b""
    definition = sections.get(_LEADS, b"")
    count = definition[0] if definition else 0
    if not count or len(definition) < 2 + 9 * count:
        raise FormatError("truncated: the leads are not described", path=path, field="section 3")
    ends = [struct.unpack_from("<II", definition, 2 + 9 * i) for i in range(count)]
    samples = sum(max(last - first + 1, 0) for first, last in ends)
    if samples > _MAX_SAMPLES:
        raise FormatError(f"{samples:,} samples; at most {_MAX_SAMPLES:,} are read", path=path, field="section 3")
    present = len(sections.get(_RHYTHM, b""))
    if samples > 8 * present:
        raise FormatError(
            f"truncated: {samples:,} samples, the rhythm data have {present:,} bytes", path=path, field="section 6"
        )


FORMAT = Format("SCP-ECG", (".scp",), _matches, _read)
