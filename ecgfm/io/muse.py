"""GE MUSE's XML (``RestingECG``): the rhythm waveform. ecgdatakit parses."""

from __future__ import annotations

import re

from ..ecg.record import Record
from . import aecg
from .common import Format, Given
from .kit import read_with
from .xml import UTF16, checked_file, checked_xml, first_element

__all__ = ["FORMAT", "MAX_XML", "muse_xml"]

#: Bytes of a file, 60 times what a usual one has: its samples take ten times their text in memory.
MAX_XML = 1 << 23

_ROOT = "RestingECG"
_BARE = re.compile(rb"&(?!#?\w{1,100};)")  # MUSE writes the & in texts such as "ST & T" as it is, which is no XML
_MOST_AMPERSANDS = 10_000


def _read(path: str, given: Given) -> Record:
    with checked_file(path, MAX_XML, {_ROOT, "AnnotatedECG"}, _mended) as (root, instead):
        if root == "AnnotatedECG":  # after a comment that is longer than what is looked at
            return aecg.FORMAT.read(path, given)
        return read_with(
            "ge_muse_xml.GEMuseXMLParser",
            path,
            "MUSE XML",
            lambda record: record.leads[0].sampling_rate if record.leads else None,
            given,
            instead,
        )


def muse_xml(path: str) -> bytes:
    """The bytes of a file, checked and ready to be parsed.

    Raises
    ------
    FormatError
        If it is no MUSE XML or holds more than is read.
    """
    return checked_xml(path, MAX_XML, {_ROOT}, _mended)[1]


def _mended(content: bytes) -> bytes:
    """The bytes of a file with each bare & escaped; the same object if there is none, or more than texts have."""
    if content.startswith(UTF16) or content.count(b"&") > _MOST_AMPERSANDS or not _BARE.search(content):
        return content
    return _BARE.sub(b"&amp;", content)


FORMAT = Format("GE MUSE XML", (".xml",), lambda head: first_element(head) == _ROOT, _read, side_files=True)
