"""JSON: read strictly, and written."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from .._text import shown
from .._types import StrPath
from ..errors import Error, FormatError
from .atomic import write_text

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["MAX_VALUES", "json_bytes", "parse_json", "plain_json", "write_json"]

MAX_VALUES = 200_000
_MOST_DIGITS = 300  # of a whole number


def parse_json(
    raw: ReadableBuffer,
    *,
    path: StrPath,
    field: str | None = None,
    most: int = MAX_VALUES,
    error: type[Error] = FormatError,
) -> Any:
    """The value behind JSON text in UTF-8.

    Parameters
    ----------
    raw : bytes-like
    path, field
        Where it comes from, for errors; without a field they name the line.
    most : int
        Values that it may have: each takes memory, however few bytes it is in the file.
    error : type
        The `Error` that is raised.

    Raises
    ------
    Error
        If it isn't JSON, an object has a key twice, a number is NaN, infinite or of very many digits, or there are too
        many values.
    """

    def refuse(what: str) -> Error:
        return error(what, path=path, field=field)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice = next(key for key in made if counts[key] > 1)
            raise refuse(f"the key {shown(twice)} stands twice in an object")
        return made

    def integer(digits: str) -> int:
        if len(digits) > _MOST_DIGITS:
            raise refuse(f"a number of {len(digits):,} digits")
        return int(digits)

    def no_number(text: str) -> None:
        raise refuse(f"{text} is not JSON")

    raw = bytes(raw)
    if sum(map(raw.count, (b"{", b"[", b","))) > most:  # no fewer than there are, found without making them
        raise refuse(f"the JSON has more than {most:,} values")
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=once, parse_int=integer, parse_constant=no_number)
    except RecursionError:
        raise refuse("the JSON is nested too deeply") from None
    except UnicodeDecodeError as reason:
        raise refuse(f"damaged, or not JSON: not UTF-8 text ({reason.reason} at byte {reason.start})") from None
    except json.JSONDecodeError as reason:
        raise error(f"damaged, or not JSON: {reason.msg}", path=path, field=field or f"line {reason.lineno}") from None


def write_json(path: StrPath, value: Any, **layout: Any) -> None:
    """Write a value as a JSON file, whole or not at all. `layout` is as for `json.dumps`."""
    write_text(path, json.dumps(value, **{"indent": 1, **layout}) + "\n")


def json_bytes(value: Any, **layout: Any) -> bytes:
    """A value as JSON in UTF-8; a lone surrogate, which UTF-8 can't hold, as its escape."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, **layout).encode("utf-8", "backslashreplace")


def plain_json(value: Any) -> Any:
    """What JSON can hold of a value; the rest is left out."""
    if isinstance(value, dict):
        kept = {key: plain_json(item) for key, item in value.items() if isinstance(key, str)}
        return {key: item for key, item in kept.items() if item is not _ABSENT}
    if isinstance(value, (list, tuple)):
        return [item for item in map(plain_json, value) if item is not _ABSENT]
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float) and value - value == 0:
        return value
    return _ABSENT


_ABSENT = object()
