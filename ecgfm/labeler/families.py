"""Wordings that follow from the phrases of a definition: their number, and hyphens within them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .definitions import BEFORE, ENTITY, Entity, Pattern

__all__ = ["compounds", "numbers"]

WORDS = re.compile(r"[a-z0-9]+(?: [a-z0-9]+){1,19}").fullmatch  # longer ones have one wording only
# Adjectives by their endings, and short ones that have none.
ADJECTIVE = re.compile(
    r".*(?:al|ar|ary|ic|ed|ive|ous|ant|ent|able|ible|ature|tiple)|low|high|tall|poor|wide|narrow|"
    r"broad|short|long|early|late|minor|deep|flat|left|right|old|new"
).fullmatch
NOUN = re.compile(r"(?!.*ed$)[a-z]{4,}").fullmatch  # shorter ones are letters of waves, leads and the like
MULTIPLE = "Multiple"


def compounds(patterns: Sequence[Pattern], entities: Mapping[str, Entity]) -> dict[str, str | None]:
    """Phrases in which a hyphen may replace a space, and what becomes of each.

    Parameters
    ----------
    patterns : sequence of Pattern
    entities : dict of str to Entity

    Returns
    -------
    dict of str to (str or None)
        After "non" the hyphens stay (None), for then it is another finding. They stay, too, between a descriptor and
        a finding that is a label only with a descriptor: "sinus-rhythm" says as it stands that the rhythm is sinus.
    """
    general = {
        pattern.text
        for pattern in patterns
        if pattern.kind == ENTITY and any(entities[name].require_descriptors for name, _ in pattern.use)
    }
    before = {pattern.text for pattern in patterns if pattern.kind == BEFORE}
    made: dict[str, str | None] = {}
    for text in (pattern.text for pattern in patterns):
        if WORDS(text):
            words = text.split(" ")
            if not (len(words) == 2 and words[0] in before and words[1] in general):
                made[text] = text
                made[f"non {text}"] = None
    return made


def numbers(patterns: Sequence[Pattern]) -> dict[str, str]:
    """Phrases with an adjective whose last word is in the other number, where the definition has one number only.

    Parameters
    ----------
    patterns : sequence of Pattern

    Returns
    -------
    dict of str to str
        "low voltages" -> "low voltage". Not where the end of the phrase has a meaning of its own ("complexes" in "wide
        complexes"), and no singular becomes a plural that says that there are several.
    """
    texts = {pattern.text for pattern in patterns}
    made = {}
    for pattern in patterns:
        words = pattern.text.split(" ")
        if pattern.kind != ENTITY or not WORDS(pattern.text) or not ADJECTIVE(words[0]) or not NOUN(words[-1]):
            continue
        single, last = singular(words[-1]), plural(words[-1])
        if single is not None:
            if any(MULTIPLE in own for _, own in pattern.use):
                continue
            last = single
        other = [*words[:-1], last]
        if not any(" ".join(other[i:]) in texts for i in range(len(other))):
            made[" ".join(other)] = pattern.text
    return made


def singular(word: str) -> str | None:
    """The singular of a plural, None for any other word."""
    if word == "stimuli":
        return "stimulus"
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else None


def plural(word: str) -> str:
    """The plural of a singular."""
    if word.endswith("y") and word[-2:-1] not in "aeou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("x", "ch", "sh", "s")) else "s")
