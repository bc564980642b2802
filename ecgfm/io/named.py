"""What is known by its first bytes and not read: it is refused by its name, with what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..ecg.record import Record
from ..errors import FormatError
from ..storage.inputs import read_head
from .common import Format, Given

__all__ = ["FORMAT"]

_HEAD_BYTES = 4096
_EXPORT = "Export the recording as DICOM, HL7 aECG, SCP-ECG or EDF"
_INFLATE = "Inflate it first"
_PICTURE = "A picture holds no samples: export the recording itself, as DICOM, HL7 aECG, SCP-ECG or EDF"


@dataclass(frozen=True)
class _Known:
    """A row of the table: what the first bytes are, what the file then is and why it is not read, and the remedy."""

    start: bytes
    what: str
    remedy: str


_KNOWN = [
    _Known(
        rb"[!-~][ -~\0]{9}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\0",
        "a recording in Contec's own format (ECG90A and others), which is not public",
        _EXPORT,
    ),
    _Known(
        rb"(?s:.{8})\0\0(?P<length>(?s:.))\0\0\0(?s:.{8})\0\0(?P=length)\0\0\0\x06\0\0\0",
        "a file of Healforce that looks like SCP-ECG and is not: its sections are laid out otherwise, and its samples"
        " are packed in a way that is not public",
        _EXPORT,
    ),
    _Known(rb"ANN  1\.0", "ISHNE annotations, which hold no signal", "Give the recording that they belong to (.ecg)"),
    _Known(rb"GDF [12]\.", "a GDF file, which is not read", "Save it as EDF"),
    _Known(rb"Brain Vision", "a BrainVision header, which is not read", "Save the recording as EDF"),
    _Known(rb"CFWB\x01\0\0\0", "a LabChart file (binary), which is not read", "Save the recording as EDF or CSV"),
    _Known(
        rb"MSH\|\^~",
        "an HL7 version 2 message, whose attachments are not read",
        "Save what is attached to it as a file",
    ),
    _Known(rb"%PDF-", "a PDF", _PICTURE),
    _Known(rb"\x89PNG\r\n|\xff\xd8\xff|GIF8|II\*\0|MM\0\*|BM(?s:.{4})\0{4}", "a picture", _PICTURE),
    _Known(rb"\x1f\x8b\x08|BZh\d1AY&SY|\xfd7zXZ\0|7z\xbc\xaf\x27\x1c|\x28\xb5\x2f\xfd", "a compressed file", _INFLATE),
]


def _known(head: bytes) -> _Known | None:
    return next((each for each in _KNOWN if re.match(each.start, head)), None)


def _refuse(path: str, given: Given) -> Record:
    known = _known(read_head(path, _HEAD_BYTES))
    if known is None:
        raise FormatError("it changed while it was looked at", path=path)
    raise FormatError(known.what, path=path, remedy=known.remedy)


FORMAT = Format(
    "a format that is named and not read", (), lambda head: _known(head) is not None, _refuse, is_read=False
)
