"""Which patterns a text contains: an Aho-Corasick automaton over words, then the rules of precedence.

A text is cut into tokens, a token being a run of letters and digits or one other character. A pattern that starts
(ends) with a letter or digit must start (end) at a border of words, which is a border of tokens; one that starts
(ends) with another character starts (ends) at a token anyhow. So an automaton over tokens finds exactly the
occurrences that count, and no occurrence of "t" inside "atrial".

Aho-Corasick libraries work on characters: they report those occurrences too, two of three, to be sorted out afterwards.
That takes as long as finding the right ones over words does (``benchmarks/labeler.py`` measures both).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .._text import shown
from ..errors import ConfigError
from .definitions import BOUNDARY, CONNECTIVE, ENTITY, Definitions, Pattern

__all__ = ["Automaton", "Matcher", "Match"]

tokenize = re.compile(r"[^\W_]+|[\W_]").findall

MAX_NESTED = 16  # patterns that may end at one word of a text: all are found before one is chosen

LEVELS = {ENTITY: 1, CONNECTIVE: 3, BOUNDARY: 4}  # descriptor patterns are 2, those to be parsed first 0


class Match(NamedTuple):
    """A pattern, by its number, at the characters [start, end) of a text."""

    start: int
    end: int
    pattern: int


class Automaton:
    """Finds all occurrences of many token sequences in one pass over a text (Aho and Corasick, 1975).

    Parameters
    ----------
    patterns : sequence of str
        The patterns; an occurrence is reported by its pattern's position in the sequence.

    Raises
    ------
    ConfigError
        If too many patterns end with one another, as "a", "a a", "a a a", ... do: a text would hold very many of them.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        goto: list[dict[str, int]] = [{}]
        out: list[tuple[tuple[int, int], ...]] = [()]
        for number, text in enumerate(patterns):
            tokens = tokenize(text)
            state = 0
            for token in tokens:
                after = goto[state].get(token)
                if after is None:
                    after = goto[state][token] = len(goto)
                    goto.append({})
                    out.append(())
                state = after
            out[state] += ((number, len(tokens)),)
        fail = [0] * len(goto)
        queue = list(goto[0].values())
        for state in queue:  # breadth first: a state's failure link is shallower, hence already known
            for token, after in goto[state].items():
                link = fail[state]
                while link and token not in goto[link]:
                    link = fail[link]
                fail[after] = goto[link].get(token, 0)
                if len(out[after]) + len(out[fail[after]]) > MAX_NESTED:
                    number = (out[after] or out[fail[after]])[0][0]
                    raise ConfigError(
                        f"more than {MAX_NESTED} patterns end with one another, this one among them",
                        field=f"pattern {shown(patterns[number])}",
                    )
                out[after] += out[fail[after]]
                queue.append(after)
        self._goto, self._fail, self._out = goto, fail, out

    def find(self, tokens: Sequence[str]) -> list[tuple[int, int, int]]:
        """All occurrences, as a list of (pattern number, first token, token after the last)."""
        goto, fail, out = self._goto, self._fail, self._out
        root = goto[0]
        found = []
        state = 0
        edges = root
        for end, token in enumerate(tokens, 1):
            while True:
                after = edges.get(token)
                if after is not None:
                    state = after
                    edges = goto[state]
                    for number, length in out[state]:
                        found.append((number, end - length, end))
                    break
                if not state:
                    break
                state = fail[state]
                edges = goto[state]
        return found


class Matcher:
    """Finds the patterns of a definition in texts, each stretch of text going to one pattern.

    Precedence: descriptor patterns marked ``parse_before_entities``, entity patterns, other descriptor patterns,
    connectives, boundaries; among each, longer patterns before shorter ones; among equals, file order. A pattern is
    looked for from left to right in what the ones before it have left. Text that was taken counts as a word character
    at its borders.

    Parameters
    ----------
    definitions : Definitions
    """

    def __init__(self, definitions: Definitions) -> None:
        patterns = definitions.patterns

        def rank(pattern: Pattern) -> tuple[int, int]:
            level = 0 if pattern.early else LEVELS.get(pattern.kind, 2)
            return level, -len(pattern.text)

        order = sorted(range(len(patterns)), key=lambda i: rank(patterns[i]))
        self.patterns = [patterns[i] for i in order]  # by precedence: the number of a pattern is its rank
        texts = [pattern.text for pattern in self.patterns]
        try:
            self._automaton = Automaton(texts)
        except ConfigError as error:
            error.path = None if definitions.path is None else str(definitions.path)
            raise
        self._left = [text[0].isalnum() for text in texts]
        self._right = [text[-1].isalnum() for text in texts]

    def match(self, text: str) -> tuple[list[str], list[tuple[int, int, int]]]:
        """Match one text.

        Parameters
        ----------
        text : str

        Returns
        -------
        tokens : list of str
            The text in tokens.
        taken : list of tuple of int
            (first token, token after the last, pattern number) of the accepted occurrences, in text order.
        """
        tokens = tokenize(text)
        found = self._automaton.find(tokens)
        if not found:
            return tokens, found
        if len(found) > 1:
            found.sort()
        left, right = self._left, self._right
        count = len(tokens)
        owner = [0] * count  # rank + 1 of the pattern that has taken the token
        taken = []
        for rank, start, end in found:
            mine = rank + 1
            if any(owner[start:end]):
                continue
            # Neighbours of the same pattern were still text when the pattern was looked for.
            if start and left[rank] and (owner[start - 1] not in (0, mine) or tokens[start - 1] == "_"):
                continue
            if end < count and right[rank] and (owner[end] not in (0, mine) or tokens[end] == "_"):
                continue
            owner[start:end] = [mine] * (end - start)
            taken.append((start, end, rank))
        taken.sort()
        return tokens, taken

    def place(self, text: str) -> tuple[list[Match], str]:
        """Match one text and say where.

        Returns
        -------
        matches : list of Match
            With places in characters, in text order.
        unmatched : str
            What no pattern took, spaces and punctuation included.
        """
        tokens, taken = self.match(text)
        offsets = [0]
        for token in tokens:
            offsets.append(offsets[-1] + len(token))
        rest, last = [], 0
        matches = []
        for start, end, rank in taken:
            matches.append(Match(offsets[start], offsets[end], rank))
            rest.append(text[last : offsets[start]])
            last = offsets[end]
        rest.append(text[last:])
        return matches, "".join(rest)
