"""A definition trimmed to what a corpus used; it labels that corpus as the whole one does."""

from __future__ import annotations

from typing import Any

from .definitions import CONNECTIVE, ENTITY, MAP, Definitions
from .graph import Graph

__all__ = ["cull"]


def cull(definitions: Definitions, used: set[str]) -> Definitions:
    """Trim a definition to the patterns that were used.

    Patterns that were not used are dropped, then every entity, descriptor and rule that nothing refers to any
    more. Super-entities of what stays are kept, so the labels of texts in which only the used patterns occur do
    not change.

    Parameters
    ----------
    definitions : Definitions
    used : set of str
        The texts of the patterns to keep.

    Returns
    -------
    Definitions
    """
    patterns = [pattern for pattern in definitions.patterns if pattern.text in used]
    entities, descriptors = set(), set()
    for pattern in patterns:
        if pattern.kind == ENTITY:
            for name, own in pattern.use:
                entities.add(name)
                descriptors.update(own)
        elif pattern.kind == CONNECTIVE:
            descriptors.update(*pattern.use)
        else:
            descriptors.update(pattern.use)
    _close(definitions, entities, descriptors)
    sections: dict[str, Any] = {name: list(items) for name, items in definitions.sections.items() if name != MAP}
    kept = {(pattern.section, pattern.item) for pattern in patterns}
    for name in ("entity_pat", "desc_pat", "connective", "boundary"):
        sections[name] = [item for i, item in enumerate(sections[name]) if (name, i) in kept]
    sections["entity_tem"] = [item for item in sections["entity_tem"] if item["name"] in entities]
    # Split descriptors stay where an item that stays calls them by name.
    splits = {item["name"]: set(item.get("split") or ()) for item in sections["split_desc_tem"]}
    sections["split_desc_tem"] = [
        _with_patterns(item, used) for item in sections["split_desc_tem"] if splits[item["name"]] <= descriptors
    ]
    alive = descriptors | {item["name"] for item in sections["split_desc_tem"]}
    sections["desc_tem"] = [_with_patterns(item, used) for item in sections["desc_tem"] if item["name"] in descriptors]
    sections["attached_desc_tem"] = [
        item
        for item in sections["attached_desc_tem"]
        if item["entity"] in entities and item["descriptor"] in alive and item["resulting_entity"] in entities
    ]
    sections["traveling_desc_tem"] = [
        {**item, "descriptors": [name for name in item.get("descriptors") or () if _name(name) in alive]}
        for item in sections["traveling_desc_tem"]
        if item["entity"] in entities and any(_name(name) in alive for name in item.get("descriptors") or ())
    ]
    sections["compound_tem"] = [
        {**item, "excluding": [other for other in item.get("excluding") or () if _alive(other, entities, alive)]}
        for item in sections["compound_tem"]
        if all(_alive(other, entities, alive) for other in item["including"])
    ]
    sections[MAP] = {name: value for name, value in definitions.uncertainty.items() if name in alive}
    return Definitions(sections)


def _close(definitions: Definitions, entities: set[str], descriptors: set[str]) -> None:
    """Add what the rules make of the entities and descriptors, until nothing is added."""
    graph = Graph(definitions)
    while True:
        before = len(entities)
        for name in descriptors:
            entities.update(definitions.descriptors[name])
        for entity, descriptor, result in definitions.attached:
            if entity in entities and descriptor in descriptors:
                entities.add(result)
        for compound in definitions.compounds:
            if all(name in entities and descriptors.issuperset(needed) for name, needed in compound.including):
                entities.add(compound.entity)
        entities.update(*map(graph.ancestors, entities))
        if len(entities) == before:
            return


def _name(value: Any) -> Any:
    return value.get("tem") if isinstance(value, dict) else value


def _alive(reference: Any, entities: set[str], descriptors: set[str]) -> bool:
    if not isinstance(reference, dict):
        return reference in entities
    return reference["tem"] in entities and all(_name(d) in descriptors for d in reference.get("descriptors") or ())


def _with_patterns(item: dict[str, Any], used: set[str]) -> dict[str, Any]:
    """A descriptor template whose own patterns are cut down to the used ones."""
    if not item.get("patterns"):
        return item
    return {**item, "patterns": [text for text in item["patterns"] if text in used]}
