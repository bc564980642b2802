"""A set of labeler definitions: the JSON sections, read, checked, saved and trimmed.

A definition is a directory of JSON files, one a section, in the layout that ECG-FM publishes. Each section is
kept as it was read, extra keys included, so that what is saved is what was loaded; the checked and resolved
form that the other modules use is built beside it.
"""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeAlias

from .._text import shown, table_cell
from .._types import StrPath
from ..errors import ConfigError
from ..validation import Share
from .graph import find_cycle, paths_up
from .json_files import kind_of, read_json, write_json

__all__ = ["Definitions", "PACKAGED"]

PACKAGED = Path(__file__).resolve().parent / "definitions"

# Section -> (must the file be there, the key that names an item in messages).
SECTIONS = {
    "entity_tem": (True, "name"),
    "entity_pat": (True, "pattern"),
    "desc_tem": (False, "name"),
    "desc_pat": (False, "pattern"),
    "split_desc_tem": (False, "name"),
    "connective": (False, "pattern"),
    "boundary": (False, "pattern"),
    "compound_tem": (False, "entity"),
    "attached_desc_tem": (False, "resulting_entity"),
    "traveling_desc_tem": (False, "entity"),
}
MAP = "uncertainty_map"
# What a definition may make; the published one has 320 entities, 58 descriptors, 506 patterns.
MAX_ITEMS = 20_000  # of a section
MAX_COMPOUNDS = 200  # each is tried in each report; traveling templates likewise
MAX_NAMES = 64  # of a list within an item
MAX_NAME = 300  # characters of a name
MAX_PATTERN = 4096  # characters of one pattern, ...
MAX_PATTERNS = 500_000  # ... and of all together: each may be a state of the automaton
MAX_PATHS = 2_000  # ways up from one entity: each is a row in the tables, ...
MAX_STEPS = 1_000_000  # ... and the steps of all ways of all entities together
MAX_LABELS = 500_000  # entities times descriptors: each pair is a possible label, ...
MAX_LABEL_TEXT = 50_000_000  # ... and all their names together have this many characters

# Kinds of a pattern, as the tables name them.
ENTITY, BEFORE, AFTER, BOTH, CONNECTIVE, BOUNDARY = "e", "b", "a", "ab", "c", "s"


class Entity(NamedTuple):
    """An entity: what it is a kind of, and whether it is a label only with a descriptor."""

    name: str
    sup: tuple[str, ...]
    require_descriptors: bool


Reference: TypeAlias = "tuple[str, tuple[str, ...]]"  # an entity and the descriptors that it must have


class Pattern(NamedTuple):
    """A text that is searched for, and what it stands for.

    ``use`` is of an entity pattern ((name, descriptors), ...), of a descriptor pattern (descriptor, ...), of a
    connective (left descriptors, right descriptors). Connectives alone have ``carry``: the descriptors that pass from
    the entity on the left to the one on the right.
    """

    text: str
    kind: str
    early: bool
    use: tuple[Any, ...]
    carry: tuple[str, ...]
    section: str
    item: int


class Compound(NamedTuple):
    """A rule that adds an entity where some entities are found and others are not."""

    entity: str
    including: tuple[Reference, ...]
    excluding: tuple[Reference, ...]


class Definitions:
    """What the labeler knows: entities, descriptors, their patterns and the rules between them.

    Parameters
    ----------
    sections : mapping of str to list of dict
        Section name (``entity_tem``, ``entity_pat``, ``desc_tem``, ``desc_pat``, ``split_desc_tem``,
        ``connective``, ``boundary``, ``compound_tem``, ``attached_desc_tem``, ``traveling_desc_tem``; and
        ``uncertainty_map``, which is a dict of str to float) to the items that the JSON file of that name would hold.
    path : path-like, optional
        The directory that the sections came from; errors name it.

    Attributes
    ----------
    sections : dict
        The sections as given.
    entities : dict of str to Entity
        Name -> (name, sup, require_descriptors), in file order.
    descriptors : dict of str to tuple of str
        Name -> the entities that the descriptor creates.
    patterns : list of Pattern
        All patterns, entity patterns first, in file order.
    compounds, attached, traveling : list
        The rules of these names.
    uncertainty : dict of str to float
        Descriptor name -> probability.

    Raises
    ------
    ConfigError
        If a section is missing or of the wrong shape, a name is unknown or repeats, a pattern repeats, or the
        ``sup`` relation has a cycle. The error names the file and the item.
    """

    def __init__(self, sections: Mapping[str, Any], path: StrPath | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.sections: dict[str, Any] = {}
        for name in sections:
            if name not in SECTIONS and name != MAP:
                raise ConfigError(
                    f"there is no section {shown(name)}",
                    path=self._file(name),
                    field=name,
                    remedy="The sections are " + ", ".join([*SECTIONS, MAP]),
                )
        items = {}
        for name, (required, _) in SECTIONS.items():
            if sections.get(name) is None and required:
                raise ConfigError(f"{name}.json is required", path=self._file(name), field=name)
            items[name] = self._items(name, () if sections.get(name) is None else sections[name])
            self.sections[name] = [item.content for item in items[name]]
        self.uncertainty = self._map(sections.get(MAP))
        self.sections[MAP] = dict(self.uncertainty)
        self._read_entities(items)
        self._read_descriptors(items)
        self._read_patterns(items)
        self._read_rules(items)

    # Reading and writing files.

    @classmethod
    def load(cls, folder: StrPath | None = None) -> Definitions:
        """Read a directory of JSON files; without ``folder``, the definitions that come with the package."""
        folder = PACKAGED if folder is None else Path(folder)
        if not os.path.isdir(folder):
            raise ConfigError("there is no such directory", path=folder, field="definitions")
        sections = {}
        for name in [*SECTIONS, MAP]:
            file = folder / f"{name}.json"
            if os.path.lexists(file):
                sections[name] = read_json(file)
        return cls(sections, path=folder)

    def save(self, folder: StrPath) -> None:
        """Write the sections to a directory (made if need be), one JSON file each; empty ones are not written.

        A file that the directory holds for a section that is empty here is removed, so that the directory
        reads back as these definitions.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.sections.items():
            file = folder / f"{name}.json"
            if content or SECTIONS.get(name, (False,))[0]:
                write_json(file, content)
            elif file.exists():
                file.unlink()

    def _file(self, section: str) -> str | Path:
        return f"{section}.json" if self.path is None else self.path / f"{section}.json"

    def _items(self, section: str, given: Any) -> list[_Item]:
        most = MAX_COMPOUNDS if section in ("compound_tem", "traveling_desc_tem") else MAX_ITEMS
        what = None
        if not isinstance(given, (list, tuple)):
            what = f"the file holds {kind_of(given)}, not a list"
        elif len(given) > most:
            what = f"{len(given):,} items, more than the {most:,} that are read"
        if what is not None:
            raise ConfigError(what, path=self._file(section), field=section)
        return [_Item(self, section, number, content) for number, content in enumerate(given)]

    def _map(self, content: Any) -> dict[str, float]:
        content = {} if content is None else content
        if not isinstance(content, dict):
            raise ConfigError(f"the file holds {kind_of(content)}, not an object", path=self._file(MAP), field=MAP)
        for name, value in content.items():
            if not Share().allows(value):
                what = f"{shown(value)} is not a probability between 0 and 1"
                raise ConfigError(what, path=self._file(MAP), field=name)
        return {name: float(value) for name, value in content.items()}

    # The resolved form.

    def _read_entities(self, items: dict[str, list[_Item]]) -> None:
        self.entities: dict[str, Entity] = {}
        for item in items["entity_tem"]:
            name = item.name(self.entities)
            self.entities[name] = Entity(name, item.values("sup", str), item.boolean("require_descriptors"))
        supers = {name: entity.sup for name, entity in self.entities.items()}
        for item, sups in zip(items["entity_tem"], supers.values()):
            for sup in sups:
                item.known(sup, self.entities, "entity")
        cycle = find_cycle(supers)
        if cycle:
            way = " -> ".join(map(shown, cycle[:8])) + (f" ... ({len(cycle) - 1:,} entities)" if len(cycle) > 8 else "")
            items["entity_tem"][list(supers).index(cycle[0])].fail(f"the super-entities go in a circle: {way}")
        together = 0
        for item, (paths, steps) in zip(items["entity_tem"], paths_up(supers)):
            together += steps
            if paths > MAX_PATHS or together > MAX_STEPS:
                item.fail(
                    f"more than {MAX_PATHS:,} paths lead up from this entity, or all paths have "
                    f"more than {MAX_STEPS:,} steps"
                )

    def _read_descriptors(self, items: dict[str, list[_Item]]) -> None:
        self.descriptors: dict[str, tuple[str, ...]] = {}
        self._splits: dict[str, tuple[str, ...]] = {}
        self._described = ChainMap(self.descriptors, self._splits)
        for item in items["desc_tem"]:
            made = item.values("create_entities", str)
            self.descriptors[item.name(self.descriptors)] = made
            for entity in made:
                item.known(entity, self.entities, "entity")
        entities, descriptors = len(self.entities), len(self.descriptors)
        text = sum(map(len, self.entities)) * descriptors + sum(map(len, self.descriptors)) * entities
        if entities * descriptors > MAX_LABELS or text > MAX_LABEL_TEXT:
            raise ConfigError(
                f"{entities:,} entities and {descriptors:,} descriptors make more than "
                f"{MAX_LABELS:,} labels, or {MAX_LABEL_TEXT:,} characters of labels",
                path=self._file("desc_tem"),
            )
        for item in items["split_desc_tem"]:
            parts = item.values("split", str)
            self._splits[item.name(self._described)] = parts
            for part in parts:
                item.known(part, self.descriptors, "descriptor")
        for name in self.uncertainty:
            if name not in self._described:
                raise ConfigError(
                    "there is no such descriptor", path=self._file(MAP), field=name, remedy="Add it to desc_tem.json"
                )

    def _read_patterns(self, items: dict[str, list[_Item]]) -> None:
        seen: dict[str, Pattern] = {}
        characters = 0
        for item, text, kind, early, use, carry in self._pattern_rows(items):
            pattern = Pattern(text, kind, early, use, carry, item.section, item.number)
            if not isinstance(text, str) or not 0 < len(text) <= MAX_PATTERN:
                item.fail(f"a pattern must be a text of 1 to {MAX_PATTERN} characters")
            first = seen.setdefault(text, pattern)
            if first is not pattern:
                where = f"{first.section}.json, item {first.item}"
                item.fail(f"the pattern {shown(text)} occurs twice; first in {where}")
            characters += len(text)
            if len(seen) > MAX_ITEMS or characters > MAX_PATTERNS:
                item.fail(f"more than {MAX_ITEMS:,} patterns, or {MAX_PATTERNS:,} characters of patterns")
        self.patterns = list(seen.values())

    def _pattern_rows(self, items: dict[str, list[_Item]]) -> Iterator[tuple[_Item, Any, str, bool, Any, Any]]:
        """For each pattern its item, text, kind, whether it goes before entities, its use, and what it carries."""
        for item in items["entity_pat"]:
            entities = tuple(map(item.reference, item.values("entities")))
            yield item, item.content["pattern"], ENTITY, False, entities, ()
        for item in items["desc_pat"]:
            kind = item.content.get("before_after", BEFORE)
            if kind not in (BEFORE, AFTER, BOTH):
                item.fail(f'\'before_after\' must be "b", "a" or "ab", not {shown(kind)}')
            use = item.descriptors(item.values("descriptors"))
            yield item, item.content["pattern"], kind, item.boolean("parse_before_entities"), use, ()
        for item in items["desc_tem"] + items["split_desc_tem"]:
            name = item.content["name"]
            for text in item.values("patterns", str):
                yield item, text, BEFORE, False, self._splits.get(name, (name,)), ()
        for item in items["connective"]:
            sides = item.values("descriptors") or ((), ())
            if len(sides) != 2 or not all(isinstance(side, (list, tuple)) for side in sides):
                item.fail("'descriptors' must be two lists: for the left and for the right")
            both = tuple(map(item.descriptors, sides))
            yield item, item.content["pattern"], CONNECTIVE, False, both, item.descriptors(item.values("carry"))
        for item in items["boundary"]:
            yield item, item.content["pattern"], BOUNDARY, False, (), ()

    def _read_rules(self, items: dict[str, list[_Item]]) -> None:
        self.compounds = [
            Compound(
                item.entity("entity"),
                *(tuple(item.reference(value) for value in item.values(key)) for key in ("including", "excluding")),
            )
            for item in items["compound_tem"]
        ]
        for item, compound in zip(items["compound_tem"], self.compounds):
            if not compound.including:
                item.fail("'including' must name at least one entity")
        self.attached = [
            (entity, descriptor, result)
            for item in items["attached_desc_tem"]
            for entity, result in [(item.entity("entity"), item.entity("resulting_entity"))]
            for descriptor in item.descriptors([item.content.get("descriptor")])
        ]
        self.traveling = [
            (item.entity("entity"), item.descriptors(item.values("descriptors")))
            for item in items["traveling_desc_tem"]
        ]


class _Item:
    """An item of a section, with checks that say which one is at fault."""

    def __init__(self, definitions: Definitions, section: str, number: int, content: Any) -> None:
        self.definitions, self.section, self.number, self.content = definitions, section, number, content
        self._key = SECTIONS[section][1]
        if not isinstance(content, dict):
            self.fail(f"the item is {kind_of(content)}, not an object")
        if not isinstance(content.get(self._key), str) or not content[self._key]:
            self.fail(f"{self._key!r} must be a text that is not empty")

    def fail(self, message: str, remedy: str | None = None) -> NoReturn:
        where = f"item {self.number}"
        if isinstance(self.content, dict) and isinstance(self.content.get(self._key), str):
            where += f" ({self._key} {shown(self.content[self._key])})"
        raise ConfigError(message, path=self.definitions._file(self.section), field=where, remedy=remedy)

    def name(self, taken: Collection[str]) -> str:
        """Its name: a new one, short enough, and of characters that can be printed, for it is part of every output."""
        name: str = self.content["name"]
        if len(name) > MAX_NAME or not name.isprintable() or table_cell(name) != name:
            self.fail(
                f"a name must have at most {MAX_NAME} characters, none that can't be printed, and "
                "not begin as a formula of a spreadsheet does"
            )
        if name in taken:
            self.fail("this name occurs twice")
        return name

    def boolean(self, key: str) -> bool:
        """Whether something applies; absent or null is no."""
        value = self.content.get(key)
        if not isinstance(value, (bool, type(None))):
            self.fail(f"{key!r} must be true or false")
        return bool(value)

    def values(self, key: str, of: type = object, content: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
        """A list, of the item or of a part of it; absent or null is empty."""
        found = (self.content if content is None else content).get(key)
        if found is None:
            return ()
        if not isinstance(found, (list, tuple)) or not all(isinstance(value, of) for value in found):
            self.fail(f"{key!r} must be a list" + (" of texts" if of is str else ""))
        if len(found) > MAX_NAMES:
            self.fail(f"{key!r} has {len(found):,} entries, more than the {MAX_NAMES} that are read")
        return tuple(found)

    def known(self, name: Any, known: Collection[str], what: str, where: str = "") -> str:
        """A name that the definitions have."""
        if not isinstance(name, str) or name not in known:
            home = "entity_tem" if what == "entity" else "desc_tem"
            self.fail(f"{where}there is no {what} {shown(name)}", f"Add it to {home}.json")
        return name

    def entity(self, key: str) -> str:
        return self.known(self.content.get(key), self.definitions.entities, "entity", f"{key!r}: ")

    def reference(self, value: Any) -> Reference:
        """An entity, or ``{"tem": entity, "descriptors": [...]}``; both become (entity, descriptors)."""
        nested = {"descriptors": value.get("descriptors") or ()} if isinstance(value, dict) else {}
        name = self.known(self._named(value, "an entry"), self.definitions.entities, "entity")
        return name, self.descriptors(self.values("descriptors", content=nested))

    def _named(self, value: Any, what: str) -> str:
        """The name in a reference: what is nested deeper has no effect in the original, nor here."""
        name = value.get("tem") if isinstance(value, dict) else value
        if not isinstance(name, str):
            self.fail(f"{what} must be a name or an object with 'tem', not {kind_of(name)}")
        return name

    def descriptors(self, values: Sequence[Any]) -> tuple[str, ...]:
        """The names of descriptors, those that are split into several in their parts."""
        splits, described = self.definitions._splits, self.definitions._described
        names = [self.known(self._named(value, "a descriptor"), described, "descriptor") for value in values]
        return tuple(part for name in names for part in splits.get(name, (name,)))
