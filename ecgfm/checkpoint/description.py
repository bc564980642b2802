"""What `ecgfm inspect` says of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from .._text import printable, short, shown
from ..signal.profile import profile_of
from ..specs.label_sets import groups_of
from ..specs.precision import UNROUNDED
from .labels import ASSUMED, assumption
from .plain import Refused
from .reader import Checkpoint
from .storage import Tensor

__all__ = ["describe", "describe_text"]

_FORMATS = {
    "pt": "pt (zip archive of torch.save)",
    "pt-legacy": "pt-legacy (the container of torch.save before 1.6)",
    "safetensors": "safetensors with config.json",
}
_SOURCES = {
    "file": "from the file",
    "label_def.csv": "from label_def.csv beside the file",
    "the caller": "as given",
}
_INPUT_SOURCES = {"file": "the file", "the caller": "as given"}
# Of a value: characters, items of a list, parts in all; of a key, characters; of a line on the screen, characters.
MAX_TEXT, MAX_ITEMS, MAX_PARTS = 500, 1000, 5000
_MAX_KEY, _MAX_LINE = 250, 1900


def describe(found: Checkpoint) -> dict[str, Any]:
    """Facts about a Checkpoint as JSON can hold them.

    Parameters
    ----------
    found : Checkpoint

    Returns
    -------
    dict
        ``file``, ``format``, ``kind``, ``parameters``, ``config``, ``config_assumed``, ``settings``, ``labels``,
        ``labels_source``, ``label_groups``, ``known`` (the name by which it was asked for), ``seems`` (the ``models``
        that it may be, and ``by`` what), ``id``, ``info``, ``input`` (fields of `ecgfm.InputSpec`), ``input_source``,
        ``precision`` (as in config.json), ``profile`` (of `ecgfm.signal.profile`), ``profile_assumed``, ``content``
        (names of what else the file holds), ``refused``, ``unused``, and ``tensors`` (a list of ``name``, ``shape``,
        ``dtype``).
    """
    profile, assumed = profile_of(found.info)
    seems = found.recognised
    return {
        "file": str(found.path),
        "format": found.format,
        "kind": found.kind,
        "parameters": found.num_parameters,
        "config": _Shown()(found.config),
        "config_assumed": found.config_assumed,
        "settings": _Shown()(found.settings),
        "labels": None if found.labels is None else list(found.labels),
        "labels_source": found.labels_source,
        "label_groups": None if found.labels is None else groups_of(found.labels),
        "known": None if found.known is None else found.known.name,
        "seems": None if seems is None else {"models": [one.name for one in seems.models], "by": seems.by},
        "id": found.id,
        "info": _Shown()(found.info),
        "input": found.input.to_dict(),
        "input_source": found.input_source,
        "precision": _Shown()(found.precision.written()),
        "profile": profile,
        "profile_assumed": assumed,
        "content": [key if isinstance(key, str) else shown(key) for key in _Shown()(list(found.content))],
        "refused": [_cut(name) for name in found.refused],
        "unused": [_cut(name) for name in found.unused],
        "tensors": [
            {"name": name, "shape": list(tensor.shape), "dtype": str(tensor.dtype)}
            for name, tensor in found.tensors.items()
        ],
    }


class _Shown:
    """Values as JSON can hold them, as much of them as anyone reads: what is long or has many parts is cut."""

    def __init__(self) -> None:
        self.left = MAX_PARTS

    def __call__(self, value: Any) -> Any:
        self.left -= 1
        if isinstance(value, dict):
            shown_items = {self._key(key): self(item) for key, item in self._some(value.items())}
            return shown_items | self._rest(value, {"...": "..."})
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self(item) for item in self._some(value)] + self._rest(value, ["..."])
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, str):
            return _cut(value)
        if isinstance(value, float):
            return value if value - value == 0 else str(value)
        return _cut(str(value)) if isinstance(value, (Refused, Tensor)) else f"<{type(value).__name__}>"

    def _some(self, items: Iterable[Any]) -> Iterator[Any]:
        for item, _ in zip(items, range(MAX_ITEMS)):
            if self.left <= 0:
                return
            yield item

    def _rest(self, value: Any, mark: Any) -> Any:
        return mark if len(value) > MAX_ITEMS or (self.left <= 0 and len(value)) else type(mark)()

    def _key(self, key: Any) -> str:
        return _cut(key, _MAX_KEY) if isinstance(key, str) else shown(key)


def describe_text(found: Checkpoint) -> list[str]:
    """The same for people: a list of lines."""
    facts = describe(found)
    dtypes = sorted({entry["dtype"] for entry in facts["tensors"]})
    outputs = f", {facts['config']['num_labels']} outputs" if found.kind == "classifier" else ""
    lines = [
        f"file        {facts['file']}",
        f"format      {_FORMATS[found.format]}",
        f"kind        {found.kind}{outputs}",
        f"parameters  {found.num_parameters:,} in {len(found.tensors)} tensors ({', '.join(dtypes)})",
    ]
    if found.id:
        lines.append(f"id          {found.id}")
    lines += [f"model       {line}" for line in _which(found)]
    if (said := found.precision) != UNROUNDED:
        rounded = "" if said.numbers == said.name else f"; the weights were rounded to {said.numbers}"
        lines.append(f"precision   {said.name}{rounded}{'' if said.report is None else '; with a report'}")
    lines += [f"{key:<10}  {_short(value)}" for key, value in facts["info"].items() if key != "profile"]
    lines += [f"input       {found.input}", f"input from  {_INPUT_SOURCES.get(found.input_source, found.input_source)}"]
    assumed = ", assumed: the file does not say how its training data were prepared" if facts["profile_assumed"] else ""
    lines.append(f"profile     {facts['profile']}{assumed}")
    if found.content:
        lines.append(f"also holds  {_short(', '.join(facts['content']))}")
    lines += ["", f"architecture{'' if found.config_assumed is None else f' ({found.config_assumed})'}"]
    lines += [f"  {key:<23}  {_short(value)}" for key, value in facts["config"].items()]
    others = {k: v for k, v in facts["settings"].items() if k not in facts["config"]}
    if others:
        lines += ["", "other settings of the model"]
        lines += [f"  {key:<23}  {_short(value)}" for key, value in others.items()]
    if found.kind == "classifier":
        lines += ["", f"labels ({_labels_from(found)})"]
        lines += [f"  {i:>3}  {label}" for i, label in enumerate(found.labels or ())]
    lines += ["", "refused (named by the file and not made)" if found.refused else "refused     nothing"]
    lines += [f"  {name}" for name in found.refused]
    if found.unused:
        lines += ["", "tensors that the model does not need"]
        lines += [f"  {_short(name)}" for name in found.unused]
    lines += ["", "tensors"]
    width = max(len(entry["name"]) for entry in facts["tensors"])
    for entry in facts["tensors"]:
        shape = " x ".join(map(str, entry["shape"])) or "number"
        lines.append(f"  {entry['name']:<{width}}  {entry['dtype']:<8}  {shape}")
    return [short(printable(line), _MAX_LINE) for line in lines]


def _which(found: Checkpoint) -> list[str]:
    """Which published model it is, or seems to be."""
    if found.known is not None:
        return [found.known.name]
    if found.recognised is None:
        return []
    names = " or ".join(one.name for one in found.recognised.models) or f"a further one of {found.recognised.family}"
    return [f"{names}, {'' if found.recognised.named else 'assumed '}{found.recognised.by} (ecgfm models)"]


def _labels_from(found: Checkpoint) -> str:
    source = found.labels_source or ""
    if source == ASSUMED and found.labels is not None:
        return f"built-in, assumed: {assumption(found.labels).partition(': ')[2]}"
    return _SOURCES.get(source, f"of the {source}" if source else "none")


def _short(value: Any) -> str:
    return short(str(value), MAX_TEXT)


def _cut(text: str, most: int = MAX_TEXT) -> str:
    """At most `most` characters, far fewer where JSON or a terminal writes one as ten or twelve."""
    return short(text, most if len(json.dumps(text[:most])) <= 2 * most else most // 6)
