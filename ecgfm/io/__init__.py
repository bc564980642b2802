"""Reading a recording from a file: the list of formats, and how a file's format is recognised.

A format is one module with a `Format` in it; a new one is added to `FORMATS` and to nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .._types import StrPath
from ..ecg.held import as_record, is_one, names_file
from ..ecg.named import columns_of
from ..ecg.record import Record
from ..errors import Error, FormatError
from ..signal.checks import checked_unit
from ..storage.inputs import read_head, unreadable
from . import (
    aecg,
    atc,
    cardiosoft,
    dicom,
    edf,
    fhir,
    hdf5,
    ishne,
    kardia,
    mat,
    mfer,
    mortara,
    muse,
    named,
    npy,
    npz,
    parquet,
    philips,
    schiller,
    scp,
    table,
    wfdb,
)
from .common import Format, Given
from .hdf5 import kept_open
from .streams import as_file, is_stream, stream_name
from .xml import OTHER_XML

__all__ = [
    "ENDINGS",
    "FORMATS",
    "PART",
    "find_format",
    "is_recording",
    "kept_open",
    "left_out",
    "members",
    "read",
    "with_ending",
]

#: Formats in the order in which a file's content is shown to them: those with a signature come before text.
FORMATS = (
    npy.FORMAT,
    npz.FORMAT,
    mat.FORMAT,
    dicom.FORMAT,
    edf.FORMAT,
    hdf5.FORMAT,
    parquet.FORMAT,
    scp.FORMAT,
    muse.FORMAT,
    aecg.FORMAT,
    philips.FORMAT,
    cardiosoft.FORMAT,
    schiller.FORMAT,
    mortara.FORMAT,
    OTHER_XML,
    ishne.FORMAT,
    atc.FORMAT,
    mfer.FORMAT,
    fhir.FORMAT,
    kardia.FORMAT,
    named.FORMAT,
    wfdb.FORMAT,
    table.FORMAT,
)
# Beside those of formats: files that go with a recording, and lists of recordings by other endings than they have here.
_MORE = (".dat", ".mat", ".atr", ".qrs", ".txt", ".tsv", ".ecg", ".json", ".parquet", ".feather", ".zip")
#: How the names of recordings may end; a name in a table may lack its ending.
ENDINGS = tuple(dict.fromkeys([*(suffix for form in FORMATS for suffix in form.suffixes), *_MORE]))

#: What `left_out` says of a file that belongs to a recording beside it.
PART = "a part of a recording"

_UNREAD = {
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zip"), "a compressed file: inflate it first"),
    ".feather": "Feather is not read: give its DataFrame, or save it as Parquet",
    ".xlsx": "spreadsheets are not read: save it as CSV",
    ".ods": "spreadsheets are not read: save it as CSV",
}
_UNKNOWN = "not a recording in a format that is known"
_MEMBER = "::"  # between a file and one of the recordings in it
_HEAD_BYTES = 4096  # what a format sees of a file to recognise it


def read(
    path: Any, sampling_rate: float | None = None, leads: str | Sequence[str] | None = None, unit: str | None = None
) -> Record:
    """Read a recording from a file, or take it from what somebody holds in memory.

    The format is recognised by the file's content, and by its name where the content says nothing:

    - ``.npy``: an array (leads, samples);
    - ``.npz``: ``signal`` (or ``feats``, ``x``, ``data``, ``ecg``) and, if it is there, ``sampling_rate`` (or
      ``curr_sample_rate``, ``sample_rate``, ``fs``) and ``leads`` (or ``lead_names``);
    - CSV and other tables of text: one column per lead, named in a line above the values, and either a column ``time``
      (seconds, or date and time) or a line such as ``sampling rate: 500 Hz``;
    - ``.mat``: the three stages of ECG-FM's preprocessing, ``org``, ``preprocessed`` and ``segmented``; others with a
      ``signal`` (see above), also within structs, with ``fs``, ``leads`` and ``unit`` beside it;
    - WFDB: the header ``.hea``, beside which its signal files lie; the ending may be left out;
    - DICOM waveforms, SCP-ECG, EDF and BDF, HL7 aECG, XML of GE MUSE, GE CardioSoft, Philips, Schiller and
      Mortara, ISHNE, MFER, AliveCor ATC and Kardia JSON, FHIR Observations with SampledData;
    - Parquet with a column per lead, as a DataFrame is saved;
    - HDF5 as CODE-15% has it, of which ``exams.hdf5::1169160`` is one exam; in others, SPH's among them, the data set
      of 12 rows or columns, or the one that is named: ``file.h5::group/ecg``.

    WFDB in part, MUSE XML, HL7 aECG, SCP-ECG and HDF5 need the extra ``[io]``, Parquet ``[tables]``. Values come in
    millivolts; of files that state no unit (NumPy, ``.mat``, HDF5, CSV without one) they are taken to be in millivolts
    unless `unit` says otherwise, which is noted. Where devices store I, II and V1-V6 alone, the other four are
    calculated from I and II.

    Parameters
    ----------
    path : str, path-like, file-like or object
        A file; a file-like object of bytes, which is read from where it stands to its end and need not be seekable (at
        most 1 GB; the content tells the format); or what holds a recording in memory: a DataFrame, a dict, an array
        (leads, samples), a record of wfdb, a recording of MNE. See `ecgfm.prepare` for these.
    sampling_rate : float, optional
        In Hz, for what doesn't state it. It must not contradict what does.
    leads : sequence of str or str, optional
        Names of the rows (or columns), for files that don't state them or have names that are no lead's (``lead_1``);
        as text they are parted by commas. They must not contradict the lead names of a file.
    unit : {"mV", "uV", "V"}, optional
        Of the values, for files that don't state it. It must not contradict a file that does.

    Returns
    -------
    Record
        With all leads of the file, in its order and in canonical spelling.

    Raises
    ------
    FormatError
        If there is no such file, or it is damaged, oversized or of no known format.
    SignalError, LeadError
        If the sampling rate or lead names are missing or contradict the file.
    MissingExtraError
        If the format needs a library that isn't installed.
    """
    if is_stream(path):
        return _read_stream(path, sampling_rate, leads, unit)
    if isinstance(path, Record) or not names_file(path):
        return _held(path, sampling_rate, leads, unit)
    path, member = _split(with_ending(_text(path)))
    found, is_certain = _found(path)
    if member is not None and found.members is None:
        raise FormatError(f"a {found.name} file is one recording", path=path, remedy=f"Leave out {_MEMBER}{member}")
    with _reading(path, found, is_certain):
        record = found.read(path, Given(sampling_rate, leads, member, checked_unit(unit)))
        record.set_unit(unit)
    return record


def _held(values: Any, *said: Any) -> Record:
    """The recording that somebody holds in memory."""
    columns = columns_of(values)
    known = columns is not None or hasattr(values, "__array__") or isinstance(values, (list, tuple)) or is_one(values)
    paths = getattr(getattr(values, "dtype", None), "kind", None) in ("O", "S", "U")
    paths = paths or (isinstance(values, (list, tuple)) and any(map(names_file, values[:1])))
    if isinstance(values, Record) or not known or paths:
        what = "a recording already" if isinstance(values, Record) else f"not a path but {type(values).__name__}"
        remedy = "Give the name of a file" if not known else "ecgfm.predict takes several files or recordings"
        raise FormatError(what, field="path", remedy=remedy)
    return as_record(values, *said)


def _read_stream(stream: Any, *said: Any) -> Record:
    def check(path: str) -> None:
        if find_format(path) is wfdb.FORMAT:
            what = "a WFDB header, whose signal files lie beside it"
            raise FormatError(what, path=path, remedy="Give the path of the header")

    with as_file(stream, check) as path:
        check(path)
        record = read(path, *said)
    record.source = stream_name(stream)
    return record


@contextmanager
def _reading(path: StrPath, form: Format, is_certain: bool = False) -> Iterator[None]:
    """Makes an error of ours, which names the file, of whatever a reader raises; the reason stays its cause.

    Of a file whose content is certain to be of this format, the error names the format.
    """
    try:
        yield
    except FormatError as error:
        said = f"{error.message} {error.remedy}".lower()
        if not (is_certain and form.is_read) or type(error) is not FormatError or form.name.lower() in said:
            raise
        message = f"{error.message} ({form.name})"
        raise FormatError(message, path=error.path, field=error.field, remedy=error.remedy) from error.__cause__
    except (Error, MemoryError, Warning):
        raise
    except OSError as error:
        raise unreadable(path, error) from None
    except Exception as error:
        raise FormatError(
            f"cannot be read: {type(error).__name__} in the {form.name} reader; if the file is right, this is a defect"
            " of ecgfm: --debug shows it",
            path=path,
        ) from error


def _text(path: Any) -> str:
    """A path as text."""
    try:
        return os.fsdecode(path)
    except (TypeError, ValueError):
        what = f"not a path but {type(path).__name__}"
        raise FormatError(what, field="path", remedy="Give the name of a file") from None


def with_ending(path: str) -> str:
    """The path of a WFDB record that is named without its ending, as PhysioNet does, with it; any other as it is."""
    return f"{path}.hea" if not os.path.isfile(path) and os.path.isfile(f"{path}.hea") else path


def members(path: StrPath) -> Iterator[str]:
    """Iterate over the names of the recordings in a file: its own, or ``path::member`` where it holds several.

    Only files that are named as those of such a format are opened.

    Raises
    ------
    Error
        If such a file can't be read.
    """
    path = _text(path)
    names: list[str] = []
    if any(form.members is not None and _suffix(path) in form.suffixes for form in FORMATS):
        found = find_format(path)
        with _reading(path, found):
            names = found.members(path) if found.members is not None else []
    yield from (f"{path}{_MEMBER}{name}" for name in names) if len(names) > 1 else (path,)


def _split(path: str) -> tuple[str, str | None]:
    """A file's path and the name of the recording in it, or None."""
    file, mark, member = path.rpartition(_MEMBER)
    return (file, member) if mark and not os.path.exists(path) and os.path.exists(file) else (path, None)


def find_format(path: StrPath) -> Format:
    """The `Format` of a file.

    Raises
    ------
    FormatError
        If the file can't be opened, is empty, or is of no known format.
    """
    return _found(os.fsdecode(path))[0]


def _found(path: str) -> tuple[Format, bool]:
    """The `Format` of a file, and whether its content says so; raises as `find_format` does."""
    head = _head(path)
    found = _match(head, path)
    other = None if found and found.matches(head) else _instead(path)
    if other is not None:
        raise other
    if found is None:
        reason = _UNREAD.get(_suffix(path))
        remedy = None if reason else f"Known are {', '.join(form.name for form in FORMATS if form.is_read)}"
        raise FormatError(reason or _UNKNOWN, path=path, remedy=remedy)
    return found, found.matches(head)


def is_recording(path: StrPath) -> bool:
    """Whether a file found in a directory is a recording; see `left_out`."""
    return left_out(path) is None


def left_out(path: StrPath) -> str | None:
    """Why a file found in a directory is no recording; None if it is one.

    It is one if its name ends as one and its content agrees. A file that can't be read counts as one, so that it is
    reported and not passed over. Of a name without an ending, as archives of DICOM files have them, the content decides
    alone.

    Returns
    -------
    str or None
        `PART` for signal files, annotations and segments of a WFDB record.
    """
    path = os.fsdecode(path)
    suffix, reason, found = _suffix(path), _UNKNOWN, None
    if suffix and not any(suffix in form.suffixes for form in FORMATS):
        reason = _UNREAD.get(suffix, "not the name of a recording")
    else:
        try:
            head = _head(path)
        except FormatError as error:
            return None if suffix else error.message
        try:
            found = _match(head, path)
        except FormatError:  # reading it will say what is wrong
            return None
    if any(form.is_part(path) for form in ([found] if found else FORMATS)):
        return PART
    if found is None:
        return reason
    if found.matches(head):
        return found.left_out(path)
    if _instead(path):
        return PART
    return (found.unlike or f"its content is not {found.name}") if found.side_files else None


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _instead(path: str) -> FormatError | None:
    """The error that names the file to read in place of one whose content says nothing, or None."""
    return next((error for form in FORMATS if (error := form.instead(path)) is not None), None)


def _match(head: bytes, path: str) -> Format | None:
    for form in FORMATS:
        with _reading(path, form):
            if form.matches(head):
                return form
    return next((form for form in FORMATS if _suffix(path) in form.suffixes), None)


def _head(path: str) -> bytes:
    head = read_head(path, _HEAD_BYTES)
    if not head:
        raise FormatError("the file is empty", path=path)
    return head
