"""XML formats of ECGs that are known by their first element and not read: they are refused by name."""

from ..storage.inputs import open_input
from .common import Format
from .xml import OTHERS, first_element, foreign

__all__ = ["FORMAT"]

_HEAD_BYTES = 4096


def _matches(head):
    return first_element(head) in OTHERS


def _read(path, *, sampling_rate, leads):
    with open_input(path) as file:
        raise foreign(first_element(file.read(_HEAD_BYTES)), path)


FORMAT = Format("Philips, CardioSoft or Schiller XML (named, not read)", (".xml",), _matches, _read, side_files=True)
