"""GE MUSE's XML (``RestingECG``): the rhythm waveform. ecgdatakit parses, and refuses entities."""

import re
import tempfile

from .common import Format, check_file_size
from .kit import read_with

__all__ = ["FORMAT", "MAX_XML", "mended", "starts_with_element"]

#: XML files are parsed in memory, where they take some ten times their size.
MAX_XML = 1 << 25

_UTF16 = b"\xff\xfe", b"\xfe\xff"  # byte order marks


def starts_with_element(head, name):
    """Whether the first element of an XML text is called so, with or without a namespace's prefix."""
    if head.startswith(_UTF16):
        text = head.decode("utf-16", errors="ignore")
    else:
        text = head.decode("latin-1").removeprefix("\u00ef\u00bb\u00bf")
    if not text.lstrip().startswith("<"):
        return False
    first = re.search(r"<(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)", text)
    return bool(first and first[1] == name)


_BARE = re.compile(rb"&(?!#?\w+;)")  # MUSE writes the & in texts such as "ST & T" as it is, which is no XML


def _matches(head):
    return starts_with_element(head, "RestingECG")


def _read(path, *, sampling_rate, leads):
    check_file_size(path, MAX_XML)
    with open(path, "rb") as file:
        content = file.read()
    whole = mended(content)
    if whole is content:
        return _parsed(path, None, sampling_rate, leads)
    with tempfile.NamedTemporaryFile(suffix=".xml") as file:
        file.write(whole)
        file.flush()
        return _parsed(path, file.name, sampling_rate, leads)


def mended(content):
    """The bytes of a file with each bare & escaped; the same object if there is none."""
    if content.startswith(_UTF16) or not _BARE.search(content):
        return content
    return _BARE.sub(b"&amp;", content)


def _parsed(path, instead, sampling_rate, leads):
    return read_with(
        "ge_muse_xml.GEMuseXMLParser",
        path,
        "MUSE XML",
        lambda record: record.leads[0].sampling_rate if record.leads else None,
        sampling_rate=sampling_rate,
        leads=leads,
        instead=instead,
    )


FORMAT = Format("GE MUSE XML", (".xml",), _matches, _read, side_files=True)
