"""The last step from what a pickle built to plain data that anyone may walk over."""

from __future__ import annotations

from typing import Any

import numpy as np

from .plain import Built, Refused
from .storage import Tensor

__all__ = ["TooDeep", "plain"]

MAX_DEPTH = 100
MAX_NODES = 1_000_000
MAX_CHARACTERS = 8_000_000


class TooDeep(ValueError):
    """Data that holds itself, is nested too deeply, or is too much when every repeated part is counted each time."""


def plain(value: Any) -> Any:
    """Plain data of what a pickle built: None, numbers, text, bytes, lists, tuples, sets, dictionaries, arrays, tensors
    and placeholders, nested at most `MAX_DEPTH` deep and without cycles, so that anyone may walk over it. With every
    repeated part counted again, it has at most `MAX_NODES` parts and `MAX_CHARACTERS` characters and bytes of text, so
    that anyone may write it out.

    Raises
    ------
    TooDeep
    """
    return _walk(value, 0, {})[0]


_LEAVES = (int, float, bool, type(None), complex, np.ndarray, Tensor, Refused)
_OPEN = object()


def _walk(value: Any, depth: int, seen: dict[int, tuple[Any, ...]]) -> tuple[Any, int, int]:
    """(plain value, nodes, characters); what is repeated is counted each time."""
    if isinstance(value, _LEAVES):
        return value, 1, 0
    if isinstance(value, (str, bytes)):
        return value, 1, len(value)
    if depth > MAX_DEPTH:
        raise TooDeep(f"the data is nested more than {MAX_DEPTH} deep")
    # `seen` keeps each visited object alive, so that its id stays its own.
    found = seen.get(id(value))
    if found is not None:
        if found[1] is _OPEN:
            raise TooDeep("the data holds itself")
        return found[1:]
    seen[id(value)] = (value, _OPEN)
    nodes, characters = 1, 0
    if isinstance(value, Built):
        made, nodes, characters = _walk(value.content(), depth + 1, seen)
    elif isinstance(value, (dict, list, tuple, set, frozenset)):
        parts = []
        for item in value.values() if isinstance(value, dict) else value:
            item, n, length = _walk(item, depth + 1, seen)
            parts.append(item)
            nodes, characters = nodes + n, characters + length
            if nodes > MAX_NODES or characters > MAX_CHARACTERS:
                raise TooDeep("the data is more than any checkpoint's, or repeats itself too often")
        if isinstance(value, dict):
            characters += sum(map(_length, value))
            made = dict(zip(value, parts))
        else:
            made = value if isinstance(value, (set, frozenset)) else parts if isinstance(value, list) else tuple(parts)
    else:
        made = Refused(type(value).__name__)
    if characters > MAX_CHARACTERS:
        raise TooDeep("the text in the data is more than any checkpoint's")
    seen[id(value)] = (value, made, nodes, characters)
    return made, nodes, characters


def _length(key: Any) -> int:
    """Characters of a key of a dictionary: a number, text, bytes, or a tuple of those."""
    if isinstance(key, tuple):
        return sum(map(_length, key))
    return len(key) if isinstance(key, (str, bytes)) else 0
