"""The models that ecgfm knows by name: what each is, its licence, what it takes and how to get it.

Every command that takes a checkpoint takes such a name; what is there under that name as a file or folder comes first.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from typing import Any

from .._text import printable
from ..errors import ConfigError
from ..specs.known import KNOWN, NOT_VALIDATED, Known, nearest
from ..specs.label_sets import groups_of, labels_of
from .arguments import Arguments, add

__all__ = ["add_arguments", "run"]

ARGUMENTS: Arguments = {
    "name": {"metavar": "NAME", "nargs": "?", "help": "one of them, with its labels, their groups and other names"},
    "--json": {"action": "store_true", "help": "print JSON"},
}


def add_arguments(parser: ArgumentParser) -> None:
    add(parser, ARGUMENTS)


def run(args: Namespace) -> int:
    if args.name is None:
        rows = list(KNOWN.values())
        print(json.dumps([facts(one) for one in rows], indent=1) if args.json else "\n".join(_list(rows)))
        return 0
    known = KNOWN.get(args.name)
    if known is None:
        near = nearest(args.name)
        remedy = (f"Did you mean {' or '.join(near)}? " if near else "") + "ecgfm models lists all names"
        raise ConfigError("no known model has this name", field=printable(args.name[:200]), remedy=remedy)
    print(json.dumps(facts(known), indent=1) if args.json else "\n".join(_page(known)))
    return 0


def facts(known: Known) -> dict[str, Any]:
    """What is known of a model, as JSON can hold it."""
    return {
        "name": known.name,
        "what": known.what,
        "use": known.use,
        "runs": known.refused is None,
        "why_not": known.refused,
        "kind": known.kind,
        "outputs": known.outputs,
        "labels": [_label(known, i) for i in range(known.outputs)],
        "label_order": None if known.label_set is None else known.label_set.source,
        "input": None if known.input is None else known.input.to_dict(),
        "repository": known.repository,
        "file": known.file,
        "revision": known.revision,
        "size": known.size,
        "gated": known.gated,
        "licence": known.licence,
        "page": known.page,
        "get": how_to_get(known),
        "caveat": known.caveat,
        "thresholds": [
            {"status": NOT_VALIDATED, "source": one.source, "rule": one.rule, "values": list(one.values)}
            for one in known.thresholds
        ],
    }


def _label(known: Known, i: int) -> dict[str, Any]:
    name = known.labels[i]
    found = known.label_set.labels[i] if known.label_set else labels_of(known.labels)[i]
    if found is None:
        return {"name": name, "groups": [], "abbreviations": [], "snomed_ct": []}
    return {
        "name": name,
        "groups": list(found.groups),
        "abbreviations": list(found.abbreviations),
        "snomed_ct": list(found.snomed_ct),
    }


def how_to_get(known: Known) -> str:
    """One line: what to do to have it."""
    from ..checkpoint.places import by_hand

    if known.refused is not None:
        return f"it is not run here: {known.refused}"
    if known.page is None:
        return "it comes with ecgfm"
    gate = f"Log in on {known.page} and accept its terms, and run: hf auth login. " if known.gated else ""
    return (
        f"{gate}ecgfm downloads it when it is first used (pip install 'ecgfm[hub]'); or download {known.wanted} from "
        f"{known.page} and put it into {by_hand(known)}"
    )


def _list(rows: Iterable[Known]) -> list[str]:
    here = [one for one in rows if one.refused is None]
    width = max(len(one.name) for one in rows)
    lines = []
    for one in here:
        more = [str(one.input or ""), one.licence, "gated" if one.gated else "", one.size or ""]
        lines += [f"{one.name:<{width}}  {one.what}", f"{'':<{width}}  {'; '.join(filter(None, more))}"]
    lines += ["", "Known, and not run here:"]
    lines += [f"{one.name:<{width}}  {one.what}: {one.refused}" for one in rows if one.refused is not None]
    lines += ["", "ecgfm models NAME tells all of one; ecgfm.load(NAME) and all commands take the names."]
    return [*lines, "Not for clinical use."]


def _page(known: Known) -> list[str]:
    outputs = f"{known.outputs} output" + "s" * (known.outputs > 1)
    kind = "encoder" if known.kind == "pretraining" else f"classifier, {outputs}"
    rows = {
        "name": known.name,
        "what it is": known.what,
        "for": known.use if known.refused is None else None,
        "kind": kind if known.refused is None else None,
        "input": known.input and str(known.input),
        "licence": known.licence + ("; gated" if known.gated else ""),
        "file": known.file and known.file + (f", only in revision {known.revision}" if known.revision else ""),
        "size": known.size,
        "to get it": how_to_get(known),
        "caveat": known.caveat,
    }
    lines = [f"{key:<10}  {value}" for key, value in rows.items() if value]
    if known.labels:
        order = "" if known.label_set is None else f" (order: {known.label_set.source})"
        lines += ["", f"labels{order}", *_label_lines(known)]
        if known.outputs > 1:
            groups = groups_of(known.labels).items()
            lines += ["", "groups", *(f"  {group}: {', '.join(names)}" for group, names in groups)]
    for one in known.thresholds:
        lines += ["", f"thresholds: {NOT_VALIDATED}", f"  source: {one.source}", f"  rule: {one.rule}"]
        pairs = zip(known.labels, one.values)
        lines += [f"  {'-' if value is None else format(value, 'g'):>7}  {name}" for name, value in pairs]
    return [*lines, "", "Not for clinical use."]


def _label_lines(known: Known) -> list[str]:
    width = max(map(len, known.labels))
    lines = []
    for i, name in enumerate(known.labels):
        label = _label(known, i)
        other = "|".join(label["abbreviations"])
        codes = "|".join(label["snomed_ct"])
        lines.append(f"  {i:>3}  {name:<{width}}  {other:<11}  {codes}".rstrip())
    return lines
