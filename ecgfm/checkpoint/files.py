"""Files are written whole or not at all; JSON is read strictly."""

import contextlib
import json

from .._text import shown
from ..errors import CheckpointError, Error
from ..storage import atomic as _files

__all__ = ["MAX_VALUES", "json_bytes", "parse_json", "replacing"]

MAX_VALUES = 200_000


@contextlib.contextmanager
def replacing(path):
    """Open a file for writing that takes the place of `path` once it is complete and on the disk.

    If anything fails, `path` is as it was and nothing is left behind.

    Raises
    ------
    CheckpointError
        If it can't be written.
    """
    try:
        with _files.replacing(path) as temporary, open(temporary, "wb") as file:
            yield file
    except Error:
        raise
    except OSError as error:
        raise CheckpointError(f"cannot be written: {error.strerror or error}", path=path) from None
    except ValueError as error:  # a NUL in the name
        raise CheckpointError(f"cannot be written: {error}", path=path) from None


def parse_json(raw, *, path, field=None, most=MAX_VALUES):
    """The value behind JSON text in UTF-8.

    Parameters
    ----------
    most : int, optional
        Values that it may have: each takes memory, however few bytes it is in the file.

    Raises
    ------
    CheckpointError
        If it isn't JSON, an object has a key twice, a number is none (NaN, infinity), or there are too many values.
    """
    raw = bytes(raw)
    if sum(map(raw.count, (b"{", b"[", b","))) > most:
        raise CheckpointError(f"the JSON has more than {most:,} values", path=path, field=field)

    def once(pairs):
        made = dict(pairs)
        if len(made) != len(pairs):
            seen = set()
            for key, _ in pairs:
                if key in seen:
                    raise ValueError(f"the key {shown(key)} stands twice")
                seen.add(key)
        return made

    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    except RecursionError:
        raise CheckpointError("the JSON is nested too deeply", path=path, field=field) from None
    except ValueError as error:
        raise CheckpointError(f"the JSON is damaged: {error}", path=path, field=field) from None


def json_bytes(value, **layout):
    """A value as JSON in UTF-8; a lone surrogate, which UTF-8 can't hold, as its escape."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, **layout).encode("utf-8", "backslashreplace")
