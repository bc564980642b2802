"""The JSON files of a definition: read within limits, written whole."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import Any, NoReturn

from .._text import shown
from .._types import StrPath
from ..errors import ConfigError
from ..storage.atomic import write_text
from ..storage.inputs import read_input

__all__ = ["kind_of", "read_json", "write_json"]

MAX_BYTES = 8 << 20  # of one file: the published ones are below 64 KiB
MAX_VALUES = 200_000  # of one file: each takes about a hundred bytes in memory
MAX_DIGITS = 300  # of a number


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number")


def read_json(file: StrPath) -> Any:
    """The content of a JSON file; a :class:`ConfigError` that names it if it can't be read or is too large."""
    content = read_input(file, most=MAX_BYTES, error=ConfigError)
    values = sum(map(content.count, (b",", b"{", b"[")))  # no fewer than there are, found without making them
    if values > MAX_VALUES:
        raise ConfigError(
            f"the file holds about {values:,} values, more than the {MAX_VALUES:,} that are read", path=file
        )
    try:
        return json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=partial(_object, file),
            parse_int=partial(_integer, file),
            parse_constant=partial(_no_number, file),
        )
    except RecursionError:
        raise ConfigError("the JSON is nested too deeply", path=file) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text ({error.reason} at byte {error.start})", path=file) from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error.msg}", path=file, field=f"line {error.lineno}") from None


def write_json(file: StrPath, content: Any) -> None:
    """Write JSON so that the file is whole or as before; a list has an item a line."""
    if isinstance(content, list):
        text = "[\n" + ",\n".join(" " + json.dumps(item, ensure_ascii=False) for item in content) + "\n]\n"
    else:
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_text(file, text)


def _object(file: StrPath, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key in made if counts[key] > 1)
        raise ConfigError(f"the key {shown(twice)} stands twice in an object", path=file)
    return made


def _integer(file: StrPath, digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ConfigError(f"a number of {len(digits):,} digits", path=file)
    return int(digits)


def _no_number(file: StrPath, text: str) -> NoReturn:
    raise ConfigError(f"{text} is not a JSON number", path=file)
