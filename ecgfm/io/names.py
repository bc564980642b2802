"""Names of recordings as tables have them: the parts of a path, and the ending, which may be missing."""

from __future__ import annotations

import re

from . import ENDINGS

__all__ = ["parts_of", "without_ending"]

_ENDING = re.compile(rf"(?:{'|'.join(map(re.escape, ENDINGS))})?(?:\.gz)?\Z", re.IGNORECASE)


def parts_of(path: str) -> list[str]:
    """The folders and the file of a path, without those that only say where it begins."""
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def without_ending(file: str) -> tuple[str, str]:
    """The name of a file, and its ending in small letters, with ``.gz``; empty if it is none of `ecgfm.io.ENDINGS`.

    A name that is nothing but an ending is a name.
    """
    found = _ENDING.search(file)
    length = found.start() if found is not None else len(file)
    return (file[:length], file[length:].lower()) if length else (file, "")
