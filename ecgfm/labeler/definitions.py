"""A set of labeler definitions: the JSON sections, read, checked, saved and trimmed.

A definition is a directory of JSON files, one a section, in the layout that ECG-FM publishes. Each section is
kept as it was read, extra keys included, so that what is saved is what was loaded; the checked and resolved
form that the other modules use is built beside it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
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
        for name, (required, key) in SECTIONS.items():
            items = sections.get(name)
            if items is None and required:
                raise ConfigError(f"{name}.json is required", path=self._file(name), field=name)
            self.sections[name] = self._items(name, key, [] if items is None else items)
        self.uncertainty = self._map(sections.get(MAP))
        self.sections[MAP] = dict(self.uncertainty)
        self._read_entities()
        self._read_descriptors()
        self._read_patterns()
        self._read_rules()

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

    # Checks: each reads one section and says which item is at fault.

    def _file(self, section: str) -> str | Path:
        return f"{section}.json" if self.path is None else self.path / f"{section}.json"

    def _fail(self, section: str, item: int, message: str, remedy: str | None = None) -> NoReturn:
        key = SECTIONS[section][1]
        where = f"item {item}"
        content = self.sections.get(section) or []
        if item < len(content) and isinstance(content[item], dict) and isinstance(content[item].get(key), str):
            where += f" ({key} {shown(content[item][key])})"
        raise ConfigError(message, path=self._file(section), field=where, remedy=remedy)

    def _items(self, section: str, key: str, given: Any) -> list[dict[str, Any]]:
        if not isinstance(given, (list, tuple)):
            raise ConfigError(f"the file holds {kind_of(given)}, not a list", path=self._file(section), field=section)
        items = list(given)
        most = MAX_COMPOUNDS if section in ("compound_tem", "traveling_desc_tem") else MAX_ITEMS
        if len(items) > most:
            raise ConfigError(
                f"{len(items):,} items, more than the {most:,} that are read", path=self._file(section), field=section
            )
        for i, item in enumerate(items):
            what = None if isinstance(item, dict) else f"the item is {kind_of(item)}, not an object"
            if what is None and (not isinstance(item.get(key), str) or not item[key]):
                what = f"{key!r} must be a text that is not empty"
            if what is not None:
                raise ConfigError(what, path=self._file(section), field=f"item {i}")
        return items

    def _map(self, content: Any) -> dict[str, float]:
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise ConfigError(f"the file holds {kind_of(content)}, not an object", path=self._file(MAP), field=MAP)
        for name, value in content.items():
            if not Share().allows(value):
                what = f"{shown(value)} is not a probability between 0 and 1"
                raise ConfigError(what, path=self._file(MAP), field=name)
        return {name: float(value) for name, value in content.items()}

    def _names(self, section: str, i: int, key: str) -> tuple[str, ...]:
        """A list of texts under ``key`` of an item; absent or null is empty."""
        value = self.sections[section][i].get(key)
        if value is None:
            return ()
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            self._fail(section, i, f"{key!r} must be a list of texts")
        return tuple(self._bounded(section, i, key, value))

    def _bounded(self, section: str, i: int, key: str, value: Sequence[Any]) -> Sequence[Any]:
        if len(value) > MAX_NAMES:
            self._fail(section, i, f"{key!r} has {len(value):,} entries, more than the {MAX_NAMES} that are read")
        return value

    def _name(self, section: str, i: int) -> str:
        """The name of an item: short enough, and of characters that can be printed, for it stands in every output."""
        name: str = self.sections[section][i]["name"]
        if len(name) > MAX_NAME or not name.isprintable() or table_cell(name) != name:
            self._fail(
                section,
                i,
                f"a name must have at most {MAX_NAME} characters, none that can't be printed, and "
                "not begin as a formula of a spreadsheet does",
            )
        return name

    def _boolean(self, section: str, i: int, key: str) -> bool:
        value = self.sections[section][i].get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            self._fail(section, i, f"{key!r} must be true or false")
        return value

    def _list(self, section: str, i: int, key: str) -> Sequence[Any]:
        value = self.sections[section][i].get(key)
        if value is None:
            return ()
        if not isinstance(value, (list, tuple)):
            self._fail(section, i, f"{key!r} must be a list")
        return self._bounded(section, i, key, value)

    def _reference(self, section: str, i: int, value: Any, known: Collection[str], what: str) -> Reference:
        """A name, or ``{"tem": name, "descriptors": [...]}``; both become (name, descriptors)."""
        descriptors = ()
        if isinstance(value, dict):
            descriptors = value.get("descriptors") or ()
            if not isinstance(descriptors, (list, tuple)):
                self._fail(section, i, "'descriptors' must be a list")
            self._bounded(section, i, "descriptors", descriptors)
            value = value.get("tem")
        if not isinstance(value, str):
            self._fail(section, i, f"an entry must be a name or an object with 'tem', not {kind_of(value)}")
        if value not in known:
            self._fail(section, i, f"there is no {what} {shown(value)}", f"Add it to {self._home(what)}")
        return value, self._descriptor_names(section, i, descriptors)

    def _descriptor_names(self, section: str, i: int, values: Sequence[Any]) -> tuple[str, ...]:
        names: list[str] = []
        for value in values:
            if isinstance(value, dict):  # what is nested deeper has no effect in the original, nor here
                value = value.get("tem")
            if not isinstance(value, str):
                self._fail(section, i, f"a descriptor must be a name or an object with 'tem', not {kind_of(value)}")
            if value not in self.descriptors and value not in self._splits:
                self._fail(
                    section, i, f"there is no descriptor {shown(value)}", f"Add it to {self._home('descriptor')}"
                )
            names += self._splits.get(value, (value,))
        return tuple(names)

    def _home(self, what: str) -> str:
        return f"{'entity_tem' if what == 'entity' else 'desc_tem'}.json"

    # The resolved form.

    def _read_entities(self) -> None:
        self.entities: dict[str, Entity] = {}
        section = "entity_tem"
        for i in range(len(self.sections[section])):
            name = self._name(section, i)
            if name in self.entities:
                self._fail(section, i, "this entity name stands twice")
            self.entities[name] = Entity(
                name, self._names(section, i, "sup"), self._boolean(section, i, "require_descriptors")
            )
        for i, entity in enumerate(self.entities.values()):
            for sup in entity.sup:
                if sup not in self.entities:
                    self._fail(section, i, f"its super-entity {shown(sup)} does not exist")
        supers = {name: entity.sup for name, entity in self.entities.items()}
        cycle = find_cycle(supers)
        if cycle:
            i = list(self.entities).index(cycle[0])
            way = " -> ".join(map(shown, cycle[:8])) + (f" ... ({len(cycle) - 1:,} entities)" if len(cycle) > 8 else "")
            self._fail(section, i, f"the super-entities go in a circle: {way}")
        together = 0
        for i, (paths, steps) in enumerate(paths_up(supers)):
            together += steps
            if paths > MAX_PATHS or together > MAX_STEPS:
                self._fail(
                    section,
                    i,
                    f"more than {MAX_PATHS:,} paths lead up from this entity, or all paths have "
                    f"more than {MAX_STEPS:,} steps",
                )

    def _read_descriptors(self) -> None:
        self.descriptors: dict[str, tuple[str, ...]] = {}
        section = "desc_tem"
        for i in range(len(self.sections[section])):
            name = self._name(section, i)
            if name in self.descriptors:
                self._fail(section, i, "this descriptor name stands twice")
            created = self._names(section, i, "create_entities")
            for entity in created:
                if entity not in self.entities:
                    self._fail(section, i, f"there is no entity {shown(entity)} to create", "Add it to entity_tem.json")
            self._names(section, i, "patterns")
            self.descriptors[name] = created
        entities, descriptors = len(self.entities), len(self.descriptors)
        text = sum(map(len, self.entities)) * descriptors + sum(map(len, self.descriptors)) * entities
        if entities * descriptors > MAX_LABELS or text > MAX_LABEL_TEXT:
            raise ConfigError(
                f"{entities:,} entities and {descriptors:,} descriptors make more than "
                f"{MAX_LABELS:,} labels, or {MAX_LABEL_TEXT:,} characters of labels",
                path=self._file(section),
            )
        self._splits: dict[str, tuple[str, ...]] = {}
        section = "split_desc_tem"
        for i in range(len(self.sections[section])):
            name = self._name(section, i)
            if name in self.descriptors or name in self._splits:
                self._fail(section, i, "this descriptor name stands twice")
            parts = self._names(section, i, "split")
            for part in parts:
                if part not in self.descriptors:
                    self._fail(
                        section, i, f"there is no descriptor {shown(part)} to split into", "Add it to desc_tem.json"
                    )
            self._names(section, i, "patterns")
            self._splits[name] = parts
        for name in self.uncertainty:
            if name not in self.descriptors and name not in self._splits:
                raise ConfigError(
                    "there is no such descriptor", path=self._file(MAP), field=name, remedy="Add it to desc_tem.json"
                )

    def _read_patterns(self) -> None:
        self.patterns: list[Pattern] = []
        seen: dict[str, Pattern] = {}
        room = MAX_PATTERNS

        def add(
            text: Any, kind: str, use: Any, section: str, i: int, early: bool = False, carry: tuple[str, ...] = ()
        ) -> None:
            nonlocal room
            if not isinstance(text, str) or not text or len(text) > MAX_PATTERN:
                self._fail(section, i, f"a pattern must be a text of 1 to {MAX_PATTERN} characters")
            if text in seen:
                first = seen[text]
                self._fail(
                    section,
                    i,
                    f"the pattern {shown(text)} stands twice; first in {first.section}.json, item {first.item}",
                )
            room -= len(text)
            if room < 0 or len(self.patterns) >= MAX_ITEMS:
                self._fail(section, i, f"more than {MAX_ITEMS:,} patterns, or {MAX_PATTERNS:,} characters of patterns")
            seen[text] = Pattern(text, kind, early, use, carry, section, i)
            self.patterns.append(seen[text])

        for i, item in enumerate(self.sections["entity_pat"]):
            entities = (
                self._reference("entity_pat", i, value, self.entities, "entity")
                for value in self._list("entity_pat", i, "entities")
            )
            add(item["pattern"], ENTITY, tuple(entities), "entity_pat", i)
        section = "desc_pat"
        for i, item in enumerate(self.sections[section]):
            kind = item.get("before_after", BEFORE)
            if kind not in (BEFORE, AFTER, BOTH):
                self._fail(section, i, f'\'before_after\' must be "b", "a" or "ab", not {shown(kind)}')
            use = self._descriptor_names(section, i, self._list(section, i, "descriptors"))
            add(item["pattern"], kind, use, section, i, self._boolean(section, i, "parse_before_entities"))
        for section in ("desc_tem", "split_desc_tem"):
            for i, item in enumerate(self.sections[section]):
                for text in self._names(section, i, "patterns"):
                    add(text, BEFORE, self._splits.get(item["name"], (item["name"],)), section, i)
        section = "connective"
        for i, item in enumerate(self.sections[section]):
            sides = self._list(section, i, "descriptors") or ((), ())
            if len(sides) != 2 or not all(isinstance(side, (list, tuple)) for side in sides):
                self._fail(section, i, "'descriptors' must be two lists: for the left and for the right")
            left, right = (self._descriptor_names(section, i, side) for side in sides)
            carry = self._descriptor_names(section, i, self._list(section, i, "carry"))
            add(item["pattern"], CONNECTIVE, (left, right), section, i, carry=carry)
        for i, item in enumerate(self.sections["boundary"]):
            add(item["pattern"], BOUNDARY, (), "boundary", i)

    def _read_rules(self) -> None:
        self.compounds: list[Compound] = []
        self.attached: list[tuple[str, str, str]] = []
        self.traveling: list[tuple[str, tuple[str, ...]]] = []
        section = "compound_tem"
        for i in range(len(self.sections[section])):
            entity = self._known(section, i, "entity")
            lists = [
                tuple(
                    self._reference(section, i, value, self.entities, "entity") for value in self._list(section, i, key)
                )
                for key in ("including", "excluding")
            ]
            if not lists[0]:
                self._fail(section, i, "'including' must name at least one entity")
            self.compounds.append(Compound(entity, *lists))
        section = "attached_desc_tem"
        for i in range(len(self.sections[section])):
            result, entity = self._known(section, i, "resulting_entity"), self._known(section, i, "entity")
            for descriptor in self._descriptor_names(section, i, [self.sections[section][i].get("descriptor")]):
                self.attached.append((entity, descriptor, result))
        section = "traveling_desc_tem"
        for i in range(len(self.sections[section])):
            names = self._descriptor_names(section, i, self._list(section, i, "descriptors"))
            self.traveling.append((self._known(section, i, "entity"), names))

    def _known(self, section: str, i: int, key: str) -> str:
        value = self.sections[section][i].get(key)
        if not isinstance(value, str) or value not in self.entities:
            self._fail(section, i, f"{key!r}: there is no entity {shown(value)}", "Add it to entity_tem.json")
        return value
