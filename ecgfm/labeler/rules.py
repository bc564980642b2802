"""From matched patterns to labels: attribution, probabilities, super-entities and the three kinds of templates.

What one entity with the descriptors attached to it yields does not depend on the rest of the report, compounds
excepted. It is computed once per pattern and descriptors (as :class:`Expansion` objects) and kept, so that labeling
a report is a look-up per entity pattern and a merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from .._text import shown
from ..errors import ConfigError
from .definitions import AFTER, BEFORE, BOUNDARY, CONNECTIVE, ENTITY, Compound, Definitions, Pattern, Reference
from .graph import Graph

__all__ = ["Rules", "Expansion", "attribute"]

EntityRow: TypeAlias = "tuple[str, tuple[Any, ...], float]"  # name, source, probability
DescriptorRow: TypeAlias = "tuple[int, str, tuple[Any, ...]]"  # number of the entity, name, source

ABSENCE = "Absence"
CORRELATION = "Needs clinical correlation"
SUPER_STEP = 0.3  # a super-entity is this share of the missing certainty more certain than its kind
MAX_KEPT = 1 << 16  # expansions in memory; a new generation starts when they are used up
MAX_KEPT_ROWS = 1 << 20  # rows of all that are kept
MAX_KEPT_DESCRIPTORS = 16  # an expansion with more descriptors is not worth keeping
MAX_DESCRIPTORS = 256  # of one entity; where a text has more, each counts once
MAX_ROWS = 20_000  # of one expansion


def attribute(patterns: Sequence[Pattern], ranks: Iterable[int]) -> tuple[list[int], list[list[str]], bool]:
    """Attach descriptors to entity patterns.

    Parameters
    ----------
    patterns : sequence of Pattern
        By rank.
    ranks : iterable of int
        The patterns that were matched, in text order.

    Returns
    -------
    owners : list of int
        The rank of each entity pattern, in text order.
    attached : list of list of str
        The descriptors of each, in text order. A "before" descriptor goes to the nearest entity pattern on its
        right, an "after" one to the nearest on its left, a connective's lists to both sides; those that find
        none are dropped. A descriptor that the connective carries passes from the left to the right if the left
        has it ("no infarct or ischemia"); then the lists don't apply. No descriptor goes to the right across a
        boundary.
    connected : bool
        Whether a connective was matched.
    """
    owners: list[int] = []
    attached: list[list[str]] = []
    pending: list[str] = []
    connected = False
    held: set[str] = set()
    looked = 0, 0  # the descriptors of the entity on the left, as far as they were looked at
    for rank in ranks:
        pattern = patterns[rank]
        kind, use = pattern.kind, pattern.use
        if kind == ENTITY:
            owners.append(rank)
            attached.append(pending)
            pending = []
        elif kind == BEFORE:
            pending += use
        elif kind == AFTER:
            if attached:
                attached[-1] += use
        elif kind == CONNECTIVE:
            connected = True
            if pattern.carry and attached:
                if looked[0] != len(owners):
                    held, looked = set(), (len(owners), 0)
                held.update(attached[-1][looked[1] :])
                looked = len(owners), len(attached[-1])
                carried = [name for name in pattern.carry if name in held]
                if carried:
                    pending += carried
                    continue
            if attached:
                attached[-1] += use[0]
            pending += use[1]
        elif kind == BOUNDARY:
            pending = []
    return owners, attached, connected


@dataclass(slots=True, eq=False)
class Expansion:
    """Everything that one entity of a matched pattern (or one compound) contributes to a report.

    The tables count these: their column ``pattern`` is the number of the expansion in its report, ``entity`` the
    number of the row in the expansion, 0 being the entity itself.

    Attributes
    ----------
    name : str or None
        The entity; None for a compound.
    text_descriptors : tuple of str
        Its descriptors, the pattern's own before the attached ones, absence included.
    entities : list of (str, tuple, float)
        (name, source, probability) by entity number. The source is ("text",), ("created", descriptor, entity
        number), ("sup", entities on the way, entity number), ("attached", entity, descriptor, entity number) or
        ("compound", number, text).
    descriptors : list of (int, str, tuple)
        (entity number, name, source); the source is ("text",) or ("propagated", entity number).
    labels : list of (int, str, float, str)
        (entity number, name, probability, "entity" or "descriptor").
    flat : dict of int to float
        Label number -> highest probability.
    certain : bool
        Whether all probabilities in ``flat`` are 1.
    has : int
        Bit mask of the compound conditions that hold here.
    """

    name: str | None
    text_descriptors: tuple[str, ...]
    entities: list[EntityRow]
    descriptors: list[DescriptorRow]
    labels: list[tuple[int, str, float, str]]
    flat: dict[int, float]
    certain: bool
    has: int
    numbers: list[int]
    probs: list[float]


class Rules:
    """The rules of a definition, in one of the two modes.

    Parameters
    ----------
    definitions : Definitions
    mode : {"documented", "reference"}
        ``documented``: descriptors are attributed in every report, and an entity described as absent is left
        out. ``reference``: the results of the original, which attributes the descriptors of descriptor patterns
        only in reports that contain a connective, and which keeps absent entities.
    """

    def __init__(self, definitions: Definitions, mode: str = "documented") -> None:
        self.mode = mode
        self._definitions = definitions
        self._entities = definitions.entities
        self._uncertainty = definitions.uncertainty
        self._created = {name: made for name, made in definitions.descriptors.items() if made}
        self._attached: dict[tuple[str, str], list[str]] = {}
        for entity, descriptor, result in definitions.attached:
            self._attached.setdefault((entity, descriptor), []).append(result)
        self._supers: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        self._graph = Graph(definitions)
        self._traveling = [
            (frozenset(descriptors), {name, *self._graph.descendants(name)})
            for name, descriptors in definitions.traveling
        ]
        # Labels are numbered in the order of their names, so that sorting numbers sorts names.
        names = set(definitions.entities)
        names.update(f"{e} - {d}" for e in definitions.entities for d in definitions.descriptors)
        self.labels = sorted(names)
        self._number = {name: i for i, name in enumerate(self.labels)}
        self._conditions: dict[
            tuple[str, frozenset[str]], int
        ] = {}  # (entity, required descriptors) -> bit, for compounds
        self._compounds: list[tuple[int, int, Compound]] = []
        for compound in definitions.compounds:
            including, excluding = map(self._mask, (compound.including, compound.excluding))
            self._compounds.append((including, excluding, compound))
        self._by_entity: dict[str, list[tuple[frozenset[str], int]]] = {}
        for (name, required), bit in self._conditions.items():
            self._by_entity.setdefault(name, []).append((required, 1 << bit))
        self._compound_expansions = [
            self._expand_compound(number, compound) for number, (_, _, compound) in enumerate(self._compounds)
        ]
        self._kept: dict[tuple[Any, ...], tuple[Expansion, ...]] = {}
        self._kept_rows = 0

    def _mask(self, references: Iterable[Reference]) -> int:
        """The bits of the conditions of a compound, new ones if need be."""
        mask = 0
        for name, descriptors in references:
            mask |= 1 << self._conditions.setdefault((name, frozenset(descriptors)), len(self._conditions))
        return mask

    def expansions(self, patterns: Sequence[Pattern], ranks: Iterable[int]) -> list[Expansion]:
        """The expansions of a report: one per entity in text order, then one per compound.

        Parameters
        ----------
        patterns : sequence of Pattern
            By rank.
        ranks : iterable of int
            The matched patterns in text order.

        Returns
        -------
        list of Expansion
        """
        owners, attached, connected = attribute(patterns, ranks)
        if not connected and self.mode == "reference":
            attached = [[] for _ in owners]
        kept = self._kept
        parts: list[Expansion] = []
        for rank, descriptors in zip(owners, attached):
            key = (rank, *descriptors)
            made = kept.get(key)
            if made is None:
                made = tuple(self._expand(name, (*own, *descriptors)) for name, own in patterns[rank].use)
                if len(descriptors) <= MAX_KEPT_DESCRIPTORS:
                    if len(kept) >= MAX_KEPT or self._kept_rows >= MAX_KEPT_ROWS:
                        kept.clear()
                        self._kept_rows = 0
                    kept[key] = made
                    self._kept_rows += sum(len(part.entities) + len(part.descriptors) for part in made)
            parts += made
        has = 0
        for part in parts:
            has |= part.has
        if has:
            for number, (including, excluding, _) in enumerate(self._compounds):
                if has & including == including and not has & excluding:
                    parts.append(self._compound_expansions[number])
        return parts

    def _super_rows(self, name: str) -> list[tuple[str, tuple[str, ...]]]:
        """(super-entity, the entities passed on the way to it) for each path upwards, nearest first."""
        rows = self._supers.get(name)
        if rows is None:
            rows = []
            level: list[tuple[str, tuple[str, ...]]] = [(name, ())]
            while level:
                level = [(sup, (*path, below)) for below, path in level for sup in self._entities[below].sup]
                rows += level
            self._supers[name] = rows
        return rows

    def _probability(self, descriptors: Iterable[str]) -> float:
        return min((self._uncertainty[d] for d in descriptors if d in self._uncertainty), default=1.0)

    def _add_supers(self, entities: list[EntityRow], first: int) -> None:
        """Append the super-entity rows of ``entities[first:]``."""
        for number in range(first, len(entities)):
            name, _, prob = entities[number]
            raised, steps = prob, 0
            for sup, path in self._super_rows(name):
                while steps < len(path):
                    raised += (1.0 - raised) * SUPER_STEP
                    steps += 1
                entities.append((sup, ("sup", path, number), raised))
            self._check_rows(entities, entities[0][0])

    def _check_rows(self, rows: Sequence[Any], name: str) -> None:
        if len(rows) > MAX_ROWS:
            raise ConfigError(
                f"the entity {shown(name)} with its descriptors stands for more than {MAX_ROWS:,} rows",
                path=self._definitions.path,
            )

    def _expand(self, name: str, descriptors: tuple[str, ...]) -> Expansion:
        """What one entity with its descriptors, its own and the attached ones, yields."""
        if len(descriptors) > MAX_DESCRIPTORS:
            descriptors = tuple(dict.fromkeys(descriptors))
        entities: list[EntityRow] = []
        own: list[DescriptorRow] = []
        if not (ABSENCE in descriptors and self.mode == "documented"):
            entities.append((name, ("text",), self._probability(descriptors)))
            own += [(0, descriptor, ("text",)) for descriptor in descriptors if descriptor != ABSENCE]
        self._create(entities, own)
        self._add_supers(entities, 0)
        self._travel(entities, own)
        self._attach(entities, own)
        return self._expansion(name, descriptors, entities, own)

    def _create(self, entities: list[EntityRow], descriptors: list[DescriptorRow]) -> None:
        for row, descriptor, _ in list(descriptors):
            for name in self._created.get(descriptor, ()):
                prob = 1.0 if name == CORRELATION else entities[row][2]
                entities.append((name, ("created", descriptor, row), prob))
            self._check_rows(entities, entities[0][0])

    def _travel(self, entities: list[EntityRow], descriptors: list[DescriptorRow]) -> None:
        text = list(descriptors)
        for traveling, below in self._traveling:
            for row, descriptor, _ in text:
                if descriptor not in traveling or entities[row][0] not in below:
                    continue
                above = self._graph.ancestors(entities[row][0])
                for other, (name, _, _) in enumerate(entities):
                    if other != row and name in below and name in above:
                        descriptors.append((other, descriptor, ("propagated", row)))
                self._check_rows(descriptors, entities[0][0])

    def _attach(self, entities: list[EntityRow], descriptors: list[DescriptorRow]) -> None:
        if not descriptors:
            return
        first = len(entities)
        for row, descriptor in dict.fromkeys((row, descriptor) for row, descriptor, _ in descriptors):
            for name in self._attached.get((entities[row][0], descriptor), ()):
                entities.append((name, ("attached", entities[row][0], descriptor, row), entities[row][2]))
            self._check_rows(entities, entities[0][0])
        self._add_supers(entities, first)

    def _expand_compound(self, number: int, compound: Compound) -> Expansion:
        plus = ", ".join(name for name, _ in compound.including)
        minus = ", ".join(name for name, _ in compound.excluding)
        source = f"{compound.entity} (+ {plus})" + (f" (- {minus})" if minus else "")
        entities: list[EntityRow] = [(compound.entity, ("compound", number, source), 1.0)]
        self._add_supers(entities, 0)
        return self._expansion(None, (), entities, [])

    def _expansion(
        self,
        name: str | None,
        text_descriptors: tuple[str, ...],
        entities: list[EntityRow],
        descriptors: list[DescriptorRow],
    ) -> Expansion:
        """Labels and compound conditions from the rows."""
        labels = [
            (row, entity, prob, "entity")
            for row, (entity, _, prob) in enumerate(entities)
            if not self._entities[entity].require_descriptors
        ]
        labels += [(row, f"{entities[row][0]} - {descriptor}", 1.0, "descriptor") for row, descriptor, _ in descriptors]
        flat: dict[int, float] = {}
        for _, label, prob, _ in labels:
            number = self._number[label]
            flat[number] = max(prob, flat.get(number, -1.0))
        described: dict[str, set[str]] = {}
        for row, descriptor, _ in descriptors:
            described.setdefault(entities[row][0], set()).add(descriptor)
        has = 0
        for entity in {entity for entity, _, _ in entities}:
            for required, bit in self._by_entity.get(entity, ()):
                if required <= described.get(entity, frozenset()):
                    has |= bit
        numbers = sorted(flat)
        return Expansion(
            name=name,
            text_descriptors=text_descriptors,
            entities=entities,
            descriptors=descriptors,
            labels=labels,
            flat=flat,
            certain=all(prob == 1.0 for prob in flat.values()),
            has=has,
            numbers=numbers,
            probs=[flat[number] for number in numbers],
        )
