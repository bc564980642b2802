"""The JSON files of a definition: read within limits, written whole."""

from __future__ import annotations

import codecs
import json
from typing import Any

from .._types import StrPath
from ..errors import ConfigError
from ..storage.atomic import write_text
from ..storage.inputs import read_input
from ..storage.json import parse_json

__all__ = ["kind_of", "read_json", "write_json"]

MAX_BYTES = 8 << 20  # of one file: the published ones are below 64 KiB


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number")


def read_json(file: StrPath) -> Any:
    """The content of a JSON file; a :class:`ConfigError` that names it if it can't be read or is too large."""
    content = read_input(file, most=MAX_BYTES, error=ConfigError)
    return parse_json(content.removeprefix(codecs.BOM_UTF8), path=file, error=ConfigError)


def write_json(file: StrPath, content: Any) -> None:
    """Write JSON so that the file is whole or as before; a list has an item a line."""
    if isinstance(content, list):
        text = "[\n" + ",\n".join(" " + json.dumps(item, ensure_ascii=False) for item in content) + "\n]\n"
    else:
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_text(file, text)
