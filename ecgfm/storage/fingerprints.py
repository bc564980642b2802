"""What tells whether a recording, or a file, is still the one that it was."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .._types import StrPath
from ..errors import Error
from .inputs import open_input, read_input

__all__ = ["file_digest", "fingerprint"]

_MAX_HEADER = 1 << 20


def fingerprint(one: Any) -> str:
    """A short text that is another one if the recording has changed; empty if there is none.

    Parameters
    ----------
    one : path, Record, Segments or array_like
        As `ecgfm.io.inputs.expand` gives it. Of files it is made of sizes and times of change, of what is in
        memory of the values.
    """
    import hashlib

    digest = hashlib.blake2b(digest_size=8)
    if isinstance(one, Error):
        return ""
    if isinstance(one, str):
        for path in getattr(one, "segment_files", (one,)):
            digest.update(repr([_state(each) for each in _files_of(path)]).encode())
        return digest.hexdigest()
    values = getattr(one, "signal", getattr(one, "x", one))
    try:
        values = np.asarray(values)
    except (TypeError, ValueError):
        return ""
    digest.update(repr((values.shape, values.dtype.str, getattr(one, "sampling_rate", None))).encode())
    digest.update(repr((getattr(one, "leads", None), getattr(one, "start_s", None))).encode())
    if values.dtype.hasobject:
        return ""
    for row in values if values.ndim else ():
        digest.update(np.ascontiguousarray(row).view(np.uint8).data)
    return digest.hexdigest()


def file_digest(path: StrPath) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    import hashlib

    digest = hashlib.sha256()
    with open_input(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _state(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


def _files_of(path: str) -> list[str]:
    """The file, and of a WFDB header the files that it names."""
    path = path.split("::")[0] if not os.path.exists(path) else path
    header = path if path.lower().endswith(".hea") else f"{path}.hea"
    if header != path and os.path.exists(path):
        return [path]
    try:
        lines = read_input(header, most=_MAX_HEADER).decode("latin-1").splitlines()
    except Error:
        return [path]
    folder = os.path.dirname(header)
    words = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")][1:]
    names = dict.fromkeys(os.path.join(folder, word) for word in words)
    return [header, *names, *(f"{name}.hea" for name in names)]
