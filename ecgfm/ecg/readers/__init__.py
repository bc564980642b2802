"""Reading a recording from a file: the list of formats, and how a file's format is recognised.

A format is one module with a `Format` in it; a new one is added to `FORMATS` and to nothing else.
"""

import os
import stat

from ...errors import Error, FormatError
from . import aecg, dicom, edf, hdf5, mat, muse, npy, npz, scp, table, wfdb, xml_others
from .common import short

__all__ = ["FORMATS", "find_format", "is_recording", "members", "read"]

#: Formats in the order in which a file's content is shown to them: those with a signature come before text.
FORMATS = (
    npy.FORMAT,
    npz.FORMAT,
    mat.FORMAT,
    dicom.FORMAT,
    edf.FORMAT,
    hdf5.FORMAT,
    scp.FORMAT,
    muse.FORMAT,
    aecg.FORMAT,
    xml_others.FORMAT,
    wfdb.FORMAT,
    table.FORMAT,
)

_MEMBER = "::"  # between a file and one of the recordings in it
_HEAD_BYTES = 4096  # what a format sees of a file to recognise it


def read(path, sampling_rate=None, leads=None):
    """Read a recording from a file.

    The format is recognised by the file's content, and by its name where the content says nothing:

    - ``.npy``: an array (leads, samples);
    - ``.npz``: ``signal`` (or ``feats``, ``x``, ``data``, ``ecg``) and, if it is there, ``sampling_rate`` (or
      ``curr_sample_rate``, ``sample_rate``, ``fs``) and ``leads`` (or ``lead_names``);
    - CSV: one column per lead, named in the first line, and either a column ``time`` (seconds) or a line
      ``# sampling_rate: 500``;
    - ``.mat``: the three stages of ECG-FM's preprocessing, ``org``, ``preprocessed`` and ``segmented``;
    - WFDB: the header ``.hea``, beside which its signal files lie;
    - DICOM waveforms, GE MUSE XML, HL7 aECG, SCP-ECG, EDF and BDF;
    - HDF5 as CODE-15% has it, of which ``exams.hdf5::1169160`` is one exam.

    All but NumPy's files and CSV need the extra ``[io]``. Values come in millivolts; from files that state no unit
    (NumPy, ``.mat``, HDF5, CSV without one) they come as stored. Where a format usually stores I, II and V1-V6 alone
    (MUSE, SCP-ECG, aECG), the other four are calculated from I and II.

    Parameters
    ----------
    path : str or path-like
    sampling_rate : float, optional
        In Hz, for files that don't state it. It must not contradict a file that does.
    leads : sequence of str or str, optional
        Names of the rows (or columns), for files that don't state them; as text they are parted by commas.

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
    path, member = _split(os.fsdecode(path))
    found = find_format(path)
    if member is not None and found.members is None:
        raise FormatError(f"a {found.name} file is one recording", path=path, remedy=f"Leave out {_MEMBER}{member}")
    try:
        return found.read(
            path, sampling_rate=sampling_rate, leads=leads, **({} if member is None else {"member": member})
        )
    except Error as error:
        error.message = short(error.message)
        raise
    except OSError as error:
        raise _unreadable(path, error) from None


def members(path):
    """Iterate over the names of the recordings in a file: its own, or ``path::member`` where it holds several.

    Only files that are named as those of such a format are opened.

    Raises
    ------
    Error
        If such a file can't be read.
    """
    path = os.fsdecode(path)
    suffix = os.path.splitext(path)[1].lower()
    if any(form.members and suffix in form.suffixes for form in FORMATS):
        found = find_format(path)
        names = found.members(path) if found.members else ()
        if len(names) > 1:
            yield from (f"{path}{_MEMBER}{name}" for name in names)
            return
    yield path


def _split(path):
    """A file's path and the name of the recording in it, or None."""
    file, mark, member = path.rpartition(_MEMBER)
    return (file, member) if mark and not os.path.exists(path) and os.path.exists(file) else (path, None)


def find_format(path):
    """The `Format` of a file.

    Raises
    ------
    FormatError
        If the file can't be opened, is empty, or is of no known format.
    """
    head = _head(path)
    found = _match(head, path)
    header = None if found and found.matches(head) else wfdb.header_beside(path)
    if header:
        raise FormatError("a signal file of a WFDB record", path=path, remedy=f"Name its header, {header}")
    if found is None:
        raise FormatError(
            "not a recording in a format that is known",
            path=path,
            remedy=f"Known are {', '.join(form.name for form in FORMATS)}",
        )
    return found


def is_recording(path):
    """Whether a file found in a directory is a recording: its name ends as one and its content agrees.

    A file that can't be read counts as one, so that it is reported and not passed over. Of a name without an ending,
    as archives of DICOM files have them, the content decides alone. Files and segments of a WFDB record are none.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix and not any(suffix in form.suffixes for form in FORMATS):
        return False
    try:
        head = _head(path)
    except FormatError:
        return bool(suffix)
    found = _match(head, path)
    if found is None:
        return False
    if found is wfdb.FORMAT:
        return not wfdb.is_segment(path)
    return found.matches(head) or not (found.side_files or wfdb.header_beside(path))


def _match(head, path):
    for form in FORMATS:
        if form.matches(head):
            return form
    suffix = os.path.splitext(path)[1].lower()
    return next((form for form in FORMATS if suffix in form.suffixes), None)


def _head(path):
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise FormatError("a directory, not a file" if stat.S_ISDIR(mode) else "not a regular file", path=path)
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:
        if isinstance(error, Error):
            raise
        raise FormatError(f"not a file name: {error}", path=repr(path)) from None  # a NUL in it
    if not head:
        raise FormatError("the file is empty", path=path)
    return head


def _unreadable(path, error):
    if isinstance(error, FileNotFoundError):
        return FormatError("no such file", path=path)
    return FormatError(f"can't be read: {error.strerror or error}", path=path)
