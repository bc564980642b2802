"""HL7 annotated ECG (``AnnotatedECG``): the first rhythm series. ecgdatakit parses."""

from __future__ import annotations

from ..ecg.record import Record
from .common import Format, Given
from .kit import read_with
from .xml import checked_file, first_element

__all__ = ["FORMAT", "MAX_XML"]

#: Bytes of a file; what it holds is counted, too.
MAX_XML = 1 << 25

_ROOT = "AnnotatedECG"


def _read(path: str, given: Given) -> Record:
    with checked_file(path, MAX_XML, {_ROOT}) as (_, instead):
        return read_with(
            "hl7_aecg.HL7aECGParser",
            path,
            "HL7 aECG",
            lambda record: record.raw_metadata["rhythm_time"]["sampling_rate_exact"],
            given,
            instead,
        )


FORMAT = Format("HL7 aECG", (".xml", ".aecg"), lambda head: first_element(head) == _ROOT, _read, side_files=True)
