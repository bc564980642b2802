"""Why a report got its labels: words, attachments, paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .definitions import BOUNDARY, CONNECTIVE, ENTITY, Pattern
from .engine import Engine
from .matching import Match
from .result import link
from .rules import Expansion, attribute

__all__ = ["Explanation"]


class Explanation:
    """How one report was labeled; ``print`` it, or take the parts.

    Attributes
    ----------
    report, normalized : str
        The text as given and as it was matched.
    mode : str
    words : list of dict
        ``text, start, end, kind, means, attached``: a stretch of the normalized text, what it stands for (entities
        with their own descriptors, or descriptors) and, for a descriptor or connective, the words it was attached
        to (for an entity, the descriptors attached to it).
    unmatched : str
        What no pattern took.
    labels : list of dict
        ``name, prob, paths``: each path is a list of steps from the words to the label, as text.
    """

    def __init__(self, engine: Engine, report: str, normalized: str) -> None:
        self.report, self.normalized, self.mode = report, normalized, engine.mode
        patterns = engine.matcher.patterns
        places, self.unmatched = engine.matcher.place(normalized)
        parts = engine.rules.expansions(patterns, [place.pattern for place in places])
        self.words = _words(patterns, places, engine.mode)
        texts = [word["text"] for word in self.words if word["kind"] == ENTITY for _ in word["means"]]
        paths: dict[str, dict[tuple[str | None, ...], float]] = {}
        for number, part in enumerate(parts):
            words = f'"{texts[number]}"' if part.name is not None else None
            for row, name, prob, kind in part.labels:
                steps = (
                    _entity_steps(part, row, words) if kind == "entity" else _descriptor_steps(part, row, name, words)
                )
                ways = paths.setdefault(name, {})
                way = tuple(steps)
                ways[way] = max(prob, ways.get(way, 0.0))
        self.labels: list[dict[str, Any]] = []
        for name in sorted(paths):
            ordered = sorted(paths[name].items(), key=lambda way: (-way[1], len(way[0])))
            self.labels.append({"name": name, "prob": ordered[0][1], "paths": [list(way) for way, _ in ordered]})

    def to_dict(self) -> dict[str, Any]:
        """The attributes as one dictionary of lists, texts and numbers."""
        return {name: getattr(self, name) for name in ("report", "normalized", "mode", "words", "unmatched", "labels")}

    def __str__(self) -> str:
        lines = [f"report:     {self.report}", f"normalized: {self.normalized}", "words:"]
        for word in self.words:
            if word["kind"] == BOUNDARY:
                continue
            means = ", ".join(word["means"]) or "nothing"
            line = f'  "{word["text"]}" -> {means}'
            if word["attached"]:
                line += f" ({'with' if word['kind'] == ENTITY else 'attached to'} {', '.join(word['attached'])})"
            elif word["kind"] != ENTITY:
                line += " (attached to nothing)"
            lines.append(line)
        rest = " ".join(self.unmatched.split())
        if any(character.isalnum() for character in rest):
            lines.append(f"left over:  {rest}")
        lines.append("labels:" if self.labels else "labels:     none")
        for label in self.labels:
            lines.append(f"  {label['name']} {label['prob']:.4g}: {' -> '.join(label['paths'][0])}")
        return "\n".join(lines)

    __repr__ = __str__


def _words(patterns: Sequence[Pattern], places: Sequence[Match], mode: str) -> list[dict[str, Any]]:
    rows = link(patterns, places)
    _, attached, connected = attribute(patterns, [place.pattern for place in places])
    lost = mode == "reference" and not connected
    descriptors = iter(attached)
    words = []
    for number, kind, text, start, end, left, right, _, _ in rows:
        use = patterns[places[number].pattern].use
        to = [f'"{rows[other][2]}"' for other in (left, right) if other >= 0]
        if kind == ENTITY:
            means = [name + (f" ({', '.join(own)})" if own else "") for name, own in use]
            to = list(next(descriptors))
        elif kind == CONNECTIVE:
            means = [f"{', '.join(side)} ({word})" for side, word in zip(use, ("left", "right")) if side]
        else:
            means = list(use)
        words.append(
            {"text": text, "start": start, "end": end, "kind": kind, "means": means, "attached": [] if lost else to}
        )
    return words


def _entity_steps(part: Expansion, row: int, words: str | None) -> list[str | None]:
    """The way from the words to an entity row."""
    name, source, prob = part.entities[row]
    shown = f"{name} ({prob:.4g})"
    if source[0] == "text":
        return [words, shown]
    if source[0] == "compound":
        return [source[2], shown]
    before = _entity_steps(part, source[-1], words)
    if source[0] == "sup":
        return [*before, *source[1][1:], shown]
    return [*before, f"with {source[-2]}", shown]


def _descriptor_steps(part: Expansion, row: int, label: str, words: str | None) -> list[str | None]:
    """The way from the words to a descriptor row."""
    name = part.entities[row][0]
    descriptor = label[len(name) + 3 :]
    steps = [words]
    source = next(source for other, d, source in part.descriptors if other == row and d == descriptor)
    if source[0] == "propagated":
        steps += [f"{part.entities[source[1]][0]} with {descriptor}", f"passed on to {name}"]
    else:
        steps.append(f"{name} with {descriptor}")
    return steps
