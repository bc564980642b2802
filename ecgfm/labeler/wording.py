"""The rules of normalisation as they are read: tables and templates, checked, and counted before they are expanded."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from .._text import shown
from .._types import StrPath
from ..errors import ConfigError
from .definitions import PACKAGED
from .json_files import read_json
from .matching import tokenize

__all__ = ["FILE", "Wording"]

FILE = "normalization.json"

# What the rules may make; those of the package have 850 phrases from templates, 1,300 words, 9 texts to cut at.
MAX_ENTRY = 500  # characters of an entry
MAX_SEARCHED = 200  # texts to cut at, acronyms: each is tried at each place of a text
MAX_ACRONYMS = 1000  # characters of all acronyms
MAX_PHRASES = 50_000  # from templates
MAX_CHARACTERS = 3_000_000  # of a table, or of all phrases from templates
MAX_GROWTH = 32  # a table's result may be this many times as long as what it replaces


class Wording:
    """The content of a ``normalization.json``.

    Parameters
    ----------
    rules : dict or None
        None for the rules of the package.
    path : path-like, optional
        Where they came from; errors name it.

    Attributes
    ----------
    rules : dict
        As given.
    cut, words : list of str
    acronyms, spelling, abbreviations, forms : dict of str to str
        ``forms`` with all that the templates stand for.

    Raises
    ------
    ConfigError
        If a section has the wrong shape, or would make too much.
    """

    def __init__(self, rules: dict[str, Any] | None = None, path: StrPath | None = None) -> None:
        self._path = path or PACKAGED / FILE
        self.rules = rules = read_json(self._path) if rules is None else rules
        if not isinstance(rules, dict):
            raise ConfigError("the file must hold an object", path=self._path)
        self.cut, self.words = self._list("cut"), self._list("words")
        self.acronyms, self.spelling = self._table("acronyms"), self._table("spelling")
        self.abbreviations = self._table("abbreviations")
        self.forms = {**self._expand_templates(), **self._table("forms")}
        for name in ("cut", "acronyms"):
            if len(getattr(self, name)) > MAX_SEARCHED:
                self._fail(f"more than {MAX_SEARCHED} entries", name)
        if sum(map(len, self.acronyms)) > MAX_ACRONYMS:
            self._fail(f"more than {MAX_ACRONYMS:,} characters together", "acronyms")

    def _fail(self, message: str, field: str) -> NoReturn:
        raise ConfigError(message, path=self._path, field=field)

    def _list(self, name: str) -> list[str]:
        value = self.rules.get(name, [])
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            self._fail("must be a list of texts", name)
        self._check_size(value, name)
        return value

    def _table(self, name: str) -> dict[str, str]:
        value = self.rules.get(name, {})
        if not isinstance(value, dict) or not all(k and isinstance(v, str) for k, v in value.items()):
            self._fail("must be an object of text to text", name)
        self._check_size([*value, *value.values()], name)
        for key, result in value.items():
            if len(result) > MAX_GROWTH * len(key):
                self._fail(f"the result is more than {MAX_GROWTH} times as long as the text", f"{name}, {shown(key)}")
        return value

    def _check_size(self, texts: Sequence[str], name: str) -> None:
        if max(map(len, texts), default=0) > MAX_ENTRY or sum(map(len, texts)) > MAX_CHARACTERS:
            self._fail(f"an entry has more than {MAX_ENTRY} characters, or all have more than {MAX_CHARACTERS:,}", name)

    def _expand_templates(self) -> dict[str, str]:
        """Every spelling that the templates stand for: "{x} wave" with each entry of group x in its place."""
        templates = self.rules.get("templates", [])
        if not isinstance(templates, list) or not isinstance(self.rules.get("groups", {}), dict):
            self._fail("groups must be an object and templates a list", "templates")
        made: dict[str, str] = {}
        phrases, characters = 0, 0
        for number, item in enumerate(templates):
            where = f"templates, item {number}"
            if not isinstance(item, dict) or not all(isinstance(item.get(k), str) for k in ("from", "to")):
                self._fail("must be an object with the texts 'from' and 'to'", where)
            names = list(dict.fromkeys(re.findall(r"\{(\w+)\}", item["from"])))
            groups = [self._group(name, where) for name in names]
            count = math.prod(map(len, groups))
            phrases += count
            characters += count * sum(self._longest(item[k], names, groups) for k in ("from", "to"))
            if phrases > MAX_PHRASES or characters > MAX_CHARACTERS:
                self._fail(
                    f"the templates stand for more than {MAX_PHRASES:,} phrases, or {MAX_CHARACTERS:,} characters",
                    where,
                )
            for left, right in expanded(item, names, groups):
                if not left or len(right) > MAX_GROWTH * len(left):
                    self._fail(f"the result is more than {MAX_GROWTH} times as long as the text", where)
                if made.setdefault(left, right) != right:
                    self._fail(f"{shown(left)} would become both {shown(made[left])} and {shown(right)}", where)
        return made

    def _group(self, name: str, where: str) -> dict[str, str]:
        group = self.rules.get("groups", {}).get(name)
        if not isinstance(group, dict) or not all(isinstance(text, str) for text in group.values()):
            self._fail(f"there is no group {shown(name)} of text to text", where)
        if any("{" in text or len(text) > MAX_ENTRY for text in (*group, *group.values())):
            self._fail(f"an entry of group {shown(name)} holds a brace or more than {MAX_ENTRY} characters", where)
        return group

    @staticmethod
    def _longest(text: str, names: Sequence[str], groups: Sequence[dict[str, str]]) -> int:
        """The most characters that a template can make."""
        return len(text) + sum(
            text.count("{" + name + "}") * max(map(len, [*group, *group.values()]), default=0)
            for name, group in zip(names, groups)
        )


def expanded(item: dict[str, str], names: Sequence[str], groups: Sequence[dict[str, str]]) -> list[tuple[str, str]]:
    """The (spelling, standard) pairs of one template."""
    rows = [(item["from"], item["to"])]
    for name, group in zip(names, groups):
        mark = "{" + name + "}"
        rows = [
            (left.replace(mark, spelling), right.replace(mark, standard))
            for left, right in rows
            for spelling, standard in group.items()
        ]
    return rows


def plain(phrase: str) -> list[str]:
    """A phrase as it is looked for: a hyphen within a word is a space, one with spaces around it is a hyphen."""
    return tokenize(re.sub(r"(?<=[^\s-])-(?=[^\s-])", " ", phrase))
