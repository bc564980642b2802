"""XML, counted before anyone builds a tree of it; and the XML formats of ECGs by their first element.

Memory and time of a tree grow with elements, attributes and values, not with bytes: these are counted by expat, which
keeps none of them. Declared entities and attributes are refused.
"""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from codecs import BOM_UTF8
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from .._text import short, shown
from ..ecg.record import Record
from ..errors import Error, FormatError
from ..storage.inputs import read_head, read_input
from .common import Format, Given, decoded

__all__ = [
    "OTHERS",
    "OTHER_XML",
    "UTF16",
    "checked_file",
    "checked_xml",
    "first_element",
    "from_base64",
    "number",
    "numbers",
    "stated_count",
    "tree",
]

#: How texts of two bytes a character begin: with a byte order mark, or with "<".
UTF16 = b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<"

_MAX_NODES, _MAX_VALUES, _MAX_DEPTH = 150_000, 2_000_000, 200  # elements and attributes; words of text
_MAX_TAG, _MAX_NAMESPACE = 1 << 20, 1000  # bytes of a tag (or comment), characters of a namespace's name
_PIECE, _HEAD_BYTES = 1 << 16, 4096
_NUMBERS, _MAX_NUMBER = (
    re.compile(r"[0-9+\-.eE,\s]*"),
    64,
)  # what lists of numbers are made of; characters of one number
_DECLARATION = re.compile(r"\s{0,100}<\?xml[^>]{0,1000}\?>")

#: Formats that are known by their first element and not read.
OTHERS = {
    "examdescript": "Schiller XML of another kind than SEMA EDI",
    "sapphire": "GE Sapphire XML",
    "Observation": "FHIR as XML (as JSON it is)",
    "Bundle": "FHIR as XML (as JSON it is)",
    "ClinicalDocument": "an HL7 CDA document",
    "svg": "a picture (SVG)",
}


def first_element(head: bytes) -> str | None:
    """The name of the first element in the first bytes of an XML text, without its prefix; None if they are no XML."""
    is_wide = head.startswith(UTF16)
    text = head.decode(_wide(head), errors="ignore") if is_wide else head.removeprefix(BOM_UTF8).decode("latin-1")
    if not text.lstrip().startswith("<"):
        return None
    first = re.search(r"<(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)", re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL))
    return first[1] if first else None


def _wide(content: bytes) -> str:
    """The encoding of a text of two bytes a character."""
    return {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}.get(content[:2], "utf-16")


def _foreign(root: str | None, path: str) -> FormatError:
    """The error that says what an XML file is that isn't read, by the name of its first element."""
    if root in OTHERS:
        return FormatError(
            f"{OTHERS[root]}, which is not read",
            path=path,
            remedy="Export the recording as DICOM, HL7 aECG, MUSE XML or SCP-ECG",
        )
    return FormatError(
        f"an XML file whose first element is {root!r}: no recording in a format that is known",
        path=path,
        remedy="Known are RestingECG (GE MUSE), AnnotatedECG (HL7 aECG), restingecgdata (Philips), CardiologyXML (GE"
        " CardioSoft), SchillerEDI and ECG (Mortara)",
    )


@contextmanager
def checked_file(
    path: str, most: int, known: Collection[str], mend: Callable[[bytes], bytes] | None = None
) -> Iterator[tuple[str | None, str]]:
    """Gives the first element's name of an XML file, and the path under which to read it: its own, or a mended copy's.

    Raises as `checked_xml` does.
    """
    root, content, changed = checked_xml(path, most, known, mend)
    if not changed:
        yield root, path
        return
    with tempfile.NamedTemporaryFile(suffix=".xml") as file:
        file.write(content)
        file.flush()
        del content
        yield root, file.name


def checked_xml(
    path: str, most: int, known: Collection[str], mend: Callable[[bytes], bytes] | None = None
) -> tuple[str | None, bytes, bool]:
    """The content of an XML file.

    Parameters
    ----------
    most : int
        Bytes.
    known : collection of str
        Names that the first element may have.
    mend : callable, optional
        Takes the bytes of the file and gives those that are parsed; the same object if nothing is to be mended.

    Returns
    -------
    root : str
        The name of the first element, without its namespace.
    content : bytes
        In UTF-8 where the file isn't in the encoding that it claims.
    changed : bool
        Whether it differs from the file's.

    Raises
    ------
    FormatError
        If it is no XML, begins with another element, declares entities, or has more elements, attributes, values or
        levels than are read.
    """
    whole = read_input(path, most=most)
    content = whole if mend is None else mend(whole)
    root, wrong = _counted(content, path)
    if wrong:
        content = _decoded(content).encode("utf-8", "replace")
        root, wrong = _counted(content, path)
    if wrong:
        raise FormatError(f"damaged XML: {wrong}", path=path)
    if root not in known:
        raise _foreign(root, path)
    return root, content, content is not whole


def tree(path: str, most: int, known: Collection[str]) -> ElementTree.Element:
    """The first element of an XML file with all that is in it; names are without their namespaces.

    Raises as `checked_xml` does.
    """
    content = checked_xml(path, most, known)[1]
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the latter two of encodings
        raise FormatError(f"damaged XML: {short(str(error), 200)}", path=path) from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def number(text: str | None, path: str, field: str, *, at_least: float = -np.inf) -> float:
    """A finite number, written as text.

    Raises
    ------
    FormatError
        If it is none, or less than `at_least`.
    """
    text = (text or "").strip()
    try:
        value = float(text) if _NUMBERS.fullmatch(text) and len(text) <= _MAX_NUMBER else np.nan
    except ValueError:
        value = np.nan
    if not at_least <= value < np.inf:
        what = "is no number" if np.isnan(value) else f"is not a number of at least {at_least:g}"
        raise FormatError(f"{shown(text)} {what}" if text else "nothing is stated", path=path, field=field)
    return value


def stated_count(text: str | None, leads: int, path: str, field: str) -> int:
    """How many samples each lead is said to have.

    Raises
    ------
    FormatError
        If it is no number above 0, or those of all leads are more values than are read.
    """
    count = number(text, path, field, at_least=1)
    if count * leads > _MAX_VALUES:
        raise FormatError(f"{count:,.0f} samples of {leads} leads; {_MAX_VALUES:,} are read", path=path, field=field)
    return int(count)


def numbers(text: str | None, count: int, path: str, field: str) -> NDArray[np.float64]:
    """So many numbers, parted by commas or blanks, (count,) float64.

    Raises
    ------
    FormatError
        If they are more or fewer, or no numbers.
    """
    text = (text or "").strip(" \t\r\n,")
    present = text.count(",") + 1 if "," in text else len(text.split()) if text else 0
    if present != count:
        what = "truncated: " if present < count else ""
        raise FormatError(f"{what}{count:,} samples are stated, {present:,} are there", path=path, field=field)
    try:
        if not _NUMBERS.fullmatch(text):
            raise ValueError
        return np.array(text.split(",") if "," in text else text.split(), dtype=np.float64)
    except ValueError:
        raise FormatError("samples that are no numbers", path=path, field=field) from None


def from_base64(text: str, path: str, field: str) -> bytes:
    """The bytes behind a text in Base64, which blanks may part.

    Raises
    ------
    FormatError
        If it is none.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"damaged: {short(str(error), 200)}", path=path, field=field) from None


def _counted(content: bytes, path: str) -> tuple[str | None, str | None]:
    """The first element's name, and what expat finds wrong with the text, or None."""
    try:
        return _Count(path).over(content), None
    except Error:
        raise
    except (expat.ExpatError, ValueError, LookupError) as error:  # the latter two of encodings
        return None, short(str(error), 200)


def _decoded(content: bytes) -> str:
    """The text of XML that is damaged or isn't in the encoding that it claims, without its declaration."""
    is_wide = content.startswith(UTF16)
    text = content.decode(_wide(content), errors="replace") if is_wide else decoded(content.removeprefix(BOM_UTF8))
    return _DECLARATION.sub("", text, count=1)


class _Count:
    """Counts what an XML text holds, and refuses what is more than is read."""

    def __init__(self, path: str) -> None:
        self._path, self._root = path, ""
        self._nodes = self._values = self._depth = 0

    def over(self, content: bytes) -> str:
        """str: the first element's name. Raises FormatError, or what expat does for what is no XML."""
        parser = expat.ParserCreate(namespace_separator="}")
        parser.buffer_text, parser.buffer_size = True, _PIECE
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler, parser.StartNamespaceDeclHandler = self._text, self._namespace
        parser.EntityDeclHandler = parser.AttlistDeclHandler = self._declared
        for at in range(0, len(content), _PIECE):
            parser.Parse(content[at : at + _PIECE], False)
            if at + _PIECE - parser.CurrentByteIndex > _MAX_TAG:
                raise FormatError(f"a tag of more than {_MAX_TAG:,} bytes", path=self._path)
        parser.Parse(b"", True)
        return self._root

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._root = self._root or name.rpartition("}")[2]
        self._nodes += 1 + len(attributes)
        self._depth += 1
        if self._nodes > _MAX_NODES:
            raise FormatError(f"more than {_MAX_NODES:,} elements and attributes", path=self._path)
        if self._depth > _MAX_DEPTH:
            raise FormatError(f"elements nested more than {_MAX_DEPTH} deep", path=self._path)

    def _end(self, name: str) -> None:
        self._depth -= 1

    def _text(self, text: str) -> None:
        self._values += len(text.split())
        if self._values > _MAX_VALUES:
            raise FormatError(f"more than {_MAX_VALUES:,} values", path=self._path)

    def _namespace(self, prefix: str | None, name: str | None) -> None:
        if name and len(name) > _MAX_NAMESPACE:
            raise FormatError(f"a namespace of {len(name):,} characters", path=self._path)

    def _declared(self, *_: object) -> None:
        raise FormatError("XML entity declarations and the like are not allowed", path=self._path)


def _refuse(path: str, given: Given) -> Record:
    raise _foreign(first_element(read_head(path, _HEAD_BYTES)), path)


#: What is known and not read: it is refused by name.
OTHER_XML = Format(
    "XML that is named and not read",
    (".xml",),
    lambda head: first_element(head) in OTHERS,
    _refuse,
    side_files=True,
    is_read=False,
)
