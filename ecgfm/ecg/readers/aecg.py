"""HL7 annotated ECG (``AnnotatedECG``): the first rhythm series. ecgdatakit parses, and refuses entities."""

from .common import Format, check_file_size
from .kit import read_with
from .muse import MAX_XML, starts_with_element

__all__ = ["FORMAT"]


def _matches(head):
    return starts_with_element(head, "AnnotatedECG")


def _read(path, *, sampling_rate, leads):
    check_file_size(path, MAX_XML)
    return read_with(
        "hl7_aecg.HL7aECGParser",
        path,
        "HL7 aECG",
        lambda record: record.raw_metadata["rhythm_time"]["sampling_rate_exact"],
        sampling_rate=sampling_rate,
        leads=leads,
    )


FORMAT = Format("HL7 aECG", (".xml", ".aecg"), _matches, _read, side_files=True)
