"""Report texts in one form: case, punctuation, spelling, abbreviations, word order, lists of leads.

The rules are data (``definitions/normalization.json``); this module says how they are applied. A text becomes a
list of tokens once; every table of phrases is one pass over the tokens that replaces the longest phrase at each
place, so that the time does not depend on the number of rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

from .._types import StrPath
from ..errors import ConfigError
from .definitions import PACKAGED, Definitions
from .families import compounds, numbers
from .matching import tokenize
from .wording import FILE, MAX_GROWTH, Wording, plain

__all__ = ["Normalizer", "clean"]

Trie: TypeAlias = "dict[str | None, Any]"  # token -> further tokens; None -> the replacement, in tokens

MAX_KNOWN = 300_000  # letters of all known words: each makes an entry of the table for corrections
MAX_ALIKE = 8  # words that differ in one letter at one place; where there are more, it is not known which was meant
SHORTEST = 5  # shorter words are too alike to be corrected by their letters
LONGEST = 24
KEPT_WORDS = 1 << 16  # corrections in memory
KEPT = ["kept"]  # the replacement that leaves the tokens of a phrase as they are

LEAD = r"(?:iii|ii|i|av[rlf]|v[1-6])"
LEADS = rf"({LEAD}\b(?:(?:\s*,\s*|\s+and\s+|\s+){LEAD}\b)*)"
WORD = r"leads?(?:\(s\))?"
# A phrase about a list of leads -> one clause a lead. The longer phrases come first.
CLAUSES = [
    (re.compile(pattern), clause)
    for pattern, clause in [
        (rf"\bpossible sequence error: ?{LEADS} omitted\b", "lead {} omitted due to possible sequence error"),
        (rf"\bsequence error: ?{LEADS} omitted\b", "lead {} omitted due to sequence error"),
        (rf"\b{WORD} unsuitable for analysis: ?{LEADS}", "lead {} unsuitable for analysis"),
        (rf"\b{WORD} {LEADS} (?:(?:is|are) )?unsuitable for analysis\b", "lead {} unsuitable for analysis"),
        (rf"\bpartial(?:ly)? missing {WORD}:? ?{LEADS}", "partial missing lead {}"),
        (rf"\bmissing {WORD}:? ?{LEADS}", "missing lead {}"),
        (rf"\bartifacts? in {WORD}:? ?{LEADS}", "artifact in lead {}"),
        (rf"\bbaseline wander(?:ing)? in {WORD}:? ?{LEADS}", "baseline wander in lead {}"),
        (
            rf"\b{WORD} {LEADS} (?:(?:was|were) )?not used for morphology(?: analysis)?\b",
            "lead {} not used for morphology analysis",
        ),
    ]
]
one_lead = re.compile(LEAD).findall

WAVE = re.compile(r"(?<![^\W_])([a-z])(?: - | -|- |-| |)waves?(?![^\W_])")
WITH = re.compile(r"(?<![^\s(,;.])w/(o(?![^\W_]))? ?")
QUESTIONS = [
    (re.compile(pattern), result)
    for pattern, result in [
        (r"(?:[-,] *)?\? *age\b", " ? age "),
        (r"(?:^|(?<=[\s(\[;,.:]))\? ?(?=\w)(?!age\b)", "<before?> "),
        (r" ?--?\?(?=\s|$|\w)", " <after?> "),
    ]
]
# A finding - its age: only where nothing follows that the words could belong to.
TAIL = re.compile(r" --? (old|acute|recent|nonsustained|age undetermined)(?=[.,;|)]|$)")
COMMA = re.compile(r",(?=[^\s])")


def clean(value: object) -> str:
    """Any value as text: None, NaN and the like are empty, bytes are read as UTF-8."""
    if isinstance(value, str):
        return value
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, float) and value != value:
        return ""
    return str(value)


class Normalizer:
    """Brings report texts to the wording that the definitions are written in.

    Parameters
    ----------
    rules : dict, optional
        The content of a ``normalization.json``; default: the rules of the package.
    words : iterable of str
        Words that are right in addition to those of the rules, and are not taken for misspellings.
    path : path-like, optional
        Where the rules came from; errors name it.
    definitions : Definitions, optional
        The words of its patterns are right, too, and texts are brought to the number of these patterns and out of
        hyphens.

    Raises
    ------
    ConfigError
        If a section of the rules has the wrong shape or makes too much.
    """

    def __init__(
        self,
        rules: dict[str, Any] | None = None,
        words: Iterable[str] = (),
        path: StrPath | None = None,
        definitions: Definitions | None = None,
    ) -> None:
        self._wording = wording = Wording(rules, path)
        self._path = path or PACKAGED / FILE
        self.rules = wording.rules
        self._cut = [one.lower() for one in wording.cut]
        self._acronyms = wording.acronyms
        acronyms = sorted(map(re.escape, self._acronyms), key=len, reverse=True)
        self._find_acronyms = re.compile(rf"(?<![\w])(?:{'|'.join(acronyms)})(?![\w])").sub if acronyms else None
        forms = wording.forms
        patterns = definitions.patterns if definitions else ()
        self._passes = [trie(wording.abbreviations), trie({**numbers(patterns), **forms})]
        hyphens = compounds(patterns, definitions.entities) if definitions else {}
        self._hyphens = trie(hyphens)
        self._neighbours = {pair for words in map(str.split, hyphens) for pair in zip(words, words[1:])}
        self._spelling = dict(wording.spelling)
        known = set(wording.words)
        for text in [
            *self._spelling.values(),
            *wording.abbreviations,
            *wording.abbreviations.values(),
            *forms,
            *forms.values(),
            *self._acronyms.values(),
            *words,
            *(pattern.text for pattern in patterns),
        ]:
            known.update(tokenize(text.lower()))
        if sum(map(len, known)) > MAX_KNOWN:
            raise ConfigError(f"the words of the rules have more than {MAX_KNOWN:,} letters together", path=self._path)
        self._known = known
        self._fragments = fragments(known)
        self._words: dict[str, str] = {}

    # Texts.

    def __call__(self, texts: Iterable[object]) -> list[str]:
        """Normalize texts; see :meth:`text`."""
        return [self.text(value) for value in texts]

    def text(self, value: object) -> str:
        """Normalize one text.

        Parameters
        ----------
        value : object
            A text; None, NaN and the like count as empty.

        Returns
        -------
        str

        Raises
        ------
        ConfigError
            If the rules make the text far longer than it was.
        """
        try:
            return self._text(value)
        except TooLong:
            raise ConfigError(
                f"the rules make a report more than {MAX_GROWTH} times as long as it was, or take so long",
                path=self._path,
            ) from None

    def _text(self, value: object) -> str:
        text = clean(value)
        most = MAX_GROWTH * len(text) + 1000
        if self._cut:
            text = text[: self._end(text)]
        if self._find_acronyms:
            text = self._find_acronyms(lambda m: self._acronyms[m[0]], text)
        text = " ".join(text.lower().replace("`", " ").replace("&", " and ").split())
        if text.endswith((" normal", " abnormal", " borderline")):
            text += " ecg"
        if "/" in text:
            text = WITH.sub(lambda m: "without " if m[1] else "with ", text)
            text = text.replace(" / ", "/").replace(" /", "/").replace("/ ", "/")
        if "wave" in text:
            text = WAVE.sub(lambda m: f"{m[1]} wave" + ("s" if m[0].endswith("s") else ""), text)
        tokens = self._spell(tokenize(text))
        for phrases in self._passes:
            tokens = substitute(tokens, phrases, most)
        if "-" in tokens and self._hyphenated(tokens):
            tokens = substitute(tokens, self._hyphens, most)
        text = "".join(tokens)
        if len(text) > most:
            raise TooLong
        if "?" in text:
            for pattern, result in QUESTIONS:
                text = pattern.sub(result, text)
        if " - " in text or " -- " in text:
            text = TAIL.sub(r", \1", text)
        if "*" in text:
            text = text.replace("*", " ")
        if "," in text:
            text = COMMA.sub(", ", text)
        text = " ".join(text.split())
        if "lead" in text or "sequence error" in text:
            for pattern, clause in CLAUSES:
                text = pattern.sub(partial(_each_lead, clause), text)
        return text

    def _end(self, text: str) -> int:
        """Where the first of the texts to cut at begins; searched one by one, as a regular expression could be slow."""
        low = text.lower()
        if len(low) != len(text):  # a letter that is several in lower case
            low = "".join(lower if len(lower := c.lower()) == 1 else c for c in text)
        return min((at for at in map(low.find, self._cut) if at >= 0), default=len(text))

    def _hyphenated(self, tokens: list[str]) -> bool:
        """Whether a hyphen joins two words that are neighbours in a phrase."""
        known, at, last = self._neighbours, tokens.index("-"), len(tokens) - 1
        while at < last:
            if at and (tokens[at - 1], tokens[at + 1]) in known:
                return True
            try:
                at = tokens.index("-", at + 1)
            except ValueError:
                return False
        return False

    def _spell(self, tokens: list[str]) -> list[str]:
        words, known = self._words, self._known
        made = []
        short = False  # whether the word before was an abbreviation, whose full stop ends no sentence
        for token in tokens:
            if short:
                short = False
                if token == ".":
                    continue
            right = words.get(token)
            if right is None:
                right = self._spelling.get(token)
                if right is None:
                    right = token
                    if not token.isalpha() or len(token) > LONGEST:  # numbers and such are not worth keeping
                        made.append(token)
                        continue
                    if token not in known and len(token) >= SHORTEST:
                        right = self._correct(token)
                if len(words) >= KEPT_WORDS:
                    words.clear()
                words[token] = right
            short = len(token) < len(right)
            made.append(right)
        return made

    def _correct(self, word: str) -> str:
        """The only known word that is one slip away: a letter left out, added, changed, or two swapped."""
        near = set(self._fragments.get(word, ()))
        for i in range(len(word)):
            shorter = word[:i] + word[i + 1 :]
            if shorter in self._known:
                near.add(shorter)
            near.update(self._fragments.get(shorter, ()))
        near = {other for other in near if one_slip(word, other)}
        return near.pop() if len(near) == 1 else word


def fragments(words: Iterable[str]) -> dict[str, set[str]]:
    """Each word of letters with each of its letters left out -> the words that this may come from."""
    made: dict[str, set[str]] = {}
    for word in words:
        if SHORTEST <= len(word) <= LONGEST and word.isalpha():
            for i in range(len(word)):
                made.setdefault(word[:i] + word[i + 1 :], set()).add(word)
    return {fragment: alike for fragment, alike in made.items() if len(alike) <= MAX_ALIKE}


def one_slip(a: str, b: str) -> bool:
    """Whether one letter added, left out or changed, or two neighbours swapped, make one word the other."""
    if len(a) > len(b):
        a, b = b, a
    if len(b) - len(a) > 1 or len(b) < SHORTEST:
        return False
    start = 0
    while start < len(a) and a[start] == b[start]:
        start += 1
    if len(a) < len(b):
        return a[start:] == b[start + 1 :]
    if a[start + 1 :] == b[start + 1 :]:
        return True
    return a[start : start + 2] == b[start : start + 2][::-1] and a[start + 2 :] == b[start + 2 :]


def trie(phrases: Mapping[str, str | None]) -> Trie:
    """Phrases as nested dictionaries of tokens; under None the replacement, in tokens (None: what is there stays).

    A hyphen between two words counts as a space, here and in texts; one with spaces around it doesn't.
    """
    root: Trie = {}
    for phrase, result in phrases.items():
        node = root
        for token in plain(phrase):
            node = node.setdefault(token, {})
        node[None] = KEPT if result is None else tokenize(result)
    return root


def _each_lead(clause: str, found: re.Match[str]) -> str:
    """The clause once for each lead of a list."""
    return "; ".join(map(clause.format, one_lead(found[1])))


class TooLong(Exception):
    """A text, or the work on it, grows without limit."""


def substitute(tokens: list[str], root: Trie, most: int) -> list[str]:
    """Replace the longest phrase at each place, from left to right; a hyphen may replace a space of a phrase.

    Raises :class:`TooLong` beyond ``most`` tokens, or if more are looked at for phrases that are not there.
    """
    made, looked = [], 0
    at, count = 0, len(tokens)
    while at < count:
        node = root.get(tokens[at])
        if node is None:
            made.append(tokens[at])
            at += 1
            continue
        result, end = node.get(None), at + 1
        after = end
        while after < count:
            token = tokens[after]
            node = node.get(token) or (node.get(" ") if token == "-" else None)
            if node is None:
                break
            after += 1
            if None in node:
                result, end = node[None], after
        looked += after - end
        if looked > most:
            raise TooLong
        if result is None:
            made.append(tokens[at])
        else:
            made += tokens[at:end] if result is KEPT else result
            if len(made) > most:
                raise TooLong
        at = end
    return made
