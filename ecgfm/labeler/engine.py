"""Matching and rules together, for one definition in one mode: normalized text in, label numbers out."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..validation import Choice, checked
from .definitions import Definitions
from .matching import Matcher
from .rules import Expansion, Rules

__all__ = ["Engine", "MODES"]

Flat: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]"  # samples, labels, probabilities

MODES = ("documented", "reference")
MANY = 64  # parts of a report; no report has this many different ones


class Engine:
    """Labels normalized texts.

    Parameters
    ----------
    definitions : Definitions
    mode : {"documented", "reference"}
    matcher : Matcher, optional
        One made before for the same definitions.
    """

    def __init__(self, definitions: Definitions, mode: str, matcher: Matcher | None = None) -> None:
        self.mode: str = checked(mode, Choice(MODES), "mode")
        self.definitions = definitions
        self.matcher = matcher or Matcher(definitions)
        self.rules = Rules(definitions, mode)
        self.label_names = np.array(self.rules.labels, dtype=object)

    def expansions(self, text: str) -> list[Expansion]:
        """The expansions of one normalized text, in the order of their pattern numbers."""
        taken = self.matcher.match(text)[1]
        return self.rules.expansions(self.matcher.patterns, [rank for _, _, rank in taken])

    def flat(self, texts: Iterable[str]) -> Flat:
        """Label many texts.

        Parameters
        ----------
        texts : iterable of str
            Normalized texts.

        Returns
        -------
        samples : ndarray of int64, shape (k,)
        numbers : ndarray of int32, shape (k,)
            Label numbers, ascending within a sample.
        probs : ndarray of float64, shape (k,)
        """
        match, expansions, patterns = self.matcher.match, self.rules.expansions, self.matcher.patterns
        counts, numbers, probs = array("q"), array("i"), array("d")
        for text in texts:
            taken = match(text)[1]
            parts = expansions(patterns, [rank for _, _, rank in taken]) if taken else []
            if len(parts) == 1:
                part = parts[0]
                counts.append(len(part.numbers))
                numbers.extend(part.numbers)
                probs.extend(part.probs)
                continue
            if len(parts) > MANY:
                parts = list(dict.fromkeys(parts))  # the same once
            best: dict[int, float] = {}
            for part in parts:
                if not part.certain:
                    for number, prob in part.flat.items():
                        if prob > best.get(number, -1.0):
                            best[number] = prob
            for part in parts:
                if part.certain:
                    best.update(part.flat)
            found = sorted(best)
            counts.append(len(found))
            numbers.extend(found)
            probs.extend([best[number] for number in found])
        repeats = np.frombuffer(counts, dtype=np.int64) if counts else np.zeros(0, np.int64)
        return (
            np.repeat(np.arange(len(counts)), repeats),
            np.array(numbers, dtype=np.int32),
            np.array(probs, dtype=np.float64),
        )
