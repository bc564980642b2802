"""The text of ``conv_feature_layers``: lists of (width, kernel, stride), added and repeated; nothing is evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from .._text import shown
from ..errors import ConfigError
from ..validation import Rule

__all__ = ["Blocks", "conv_feature_layers", "text_of_layers"]

Block = tuple[int, int, int]

_TOKENS = re.compile(r"\s*(?:(\d{1,9})|([\[\]()+*,]))\s*")
_MOST_BLOCKS, _MOST_TEXT, _MOST_DEPTH = 64, 10_000, 20
_MOST = (32768, 4096, 4096)  # of width, kernel and stride


@dataclass(frozen=True)
class Blocks(Rule):
    """The conv blocks as a tuple; they may be given as text or as a sequence."""

    def check(self, value: object, field: str) -> tuple[Block, ...]:
        blocks = tuple(conv_feature_layers(value))
        for block in blocks:
            if not all(1 <= size <= most for size, most in zip(block, _MOST)):
                raise ConfigError(f"a block is {shown(block)}, at least 1 and at most {_MOST} is possible", field=field)
        return blocks


def conv_feature_layers(value: object) -> list[Block]:
    """The conv blocks behind a text such as ``"[(256, 2, 2)] * 4"``, or behind a sequence of them.

    Parameters
    ----------
    value : str, or sequence of sequences of int
        Lists of (width, kernel, stride), which a text may add with ``+`` and repeat with ``*``. Nothing is evaluated.

    Returns
    -------
    list of tuple of int
        (width, kernel, stride) of each block.

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    if isinstance(value, str):
        return _Parser(value).parse()
    if isinstance(value, (list, tuple)) and len(value) <= _MOST_BLOCKS:
        blocks = [tuple(block) if isinstance(block, (list, tuple)) else () for block in value]
        if blocks and all(len(block) == 3 and all(type(n) is int for n in block) for block in blocks):
            return blocks
    _refuse(value)


def text_of_layers(blocks: Iterable[Block]) -> str:
    """The text of conv blocks, as fairseq-signals writes it."""
    runs: list[tuple[Block, int]] = []
    for block in map(tuple, blocks):
        times = runs.pop()[1] if runs and runs[-1][0] == block else 0
        runs.append((block, times + 1))  # type: ignore[arg-type]
    return " + ".join(f"[{block}]" + (f" * {times}" if times > 1 else "") for block, times in runs)


def _refuse(value: object) -> NoReturn:
    raise ConfigError(
        f"{shown(value)} is not a list of (width, kernel, stride)",
        field="conv_feature_layers",
        remedy='Write it like "[(256, 2, 2)] * 4"',
    )


class _Parser:
    """A parser of sums and products of lists."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.tokens: list[int | str] = []
        place = 0
        while place < len(text) <= _MOST_TEXT:
            match = _TOKENS.match(text, place)
            if match is None:
                _refuse(text)
            self.tokens.append(int(match[1]) if match[1] else match[2])
            place = match.end()

    def parse(self) -> list[Block]:
        found = self.sum(0)
        if self.at != len(self.tokens) or not isinstance(found, list) or not found:
            _refuse(self.text)
        return found

    def next(self, *wanted: str) -> str:
        """The next token if it is one of those, else an error."""
        token = self.peek()
        if token is None or token not in wanted:
            _refuse(self.text)
        self.at += 1
        return token

    def peek(self) -> int | str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def integer(self) -> int:
        token = self.peek()
        if not isinstance(token, int):
            _refuse(self.text)
        self.at += 1
        return token

    def sum(self, depth: int) -> Any:
        found = self.product(depth)
        while self.peek() == "+":
            self.at += 1
            more = self.product(depth)
            if not isinstance(found, list) or not isinstance(more, list) or len(found) + len(more) > _MOST_BLOCKS:
                _refuse(self.text)
            found = found + more
        return found

    def product(self, depth: int) -> Any:
        found = self.factor(depth)
        while self.peek() == "*":
            self.at += 1
            more = self.factor(depth)
            blocks, times = (found, more) if isinstance(found, list) else (more, found)
            if not isinstance(blocks, list) or not isinstance(times, int) or len(blocks) * times > _MOST_BLOCKS:
                _refuse(self.text)
            found = blocks * times
        return found

    def factor(self, depth: int) -> Any:
        token = self.peek()
        if isinstance(token, int):
            return self.integer()
        if token == "(" and depth < _MOST_DEPTH:
            self.at += 1
            found = self.sum(depth + 1)
            self.next(")")
            return found
        self.next("[")
        blocks = []
        while self.peek() in ("(", "["):
            blocks.append(self.block())
            if self.peek() != ",":
                break
            self.at += 1
        self.next("]")
        return blocks

    def block(self) -> Block:
        close = {"(": ")", "[": "]"}[self.next("(", "[")]
        width = self.integer()
        self.next(",")
        kernel = self.integer()
        self.next(",")
        stride = self.integer()
        if self.peek() == ",":
            self.at += 1
        self.next(close)
        return width, kernel, stride
