"""What the model of a checkpoint takes: the user says so, or a known model's entry, or the file, or it is assumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .._text import printable, short, shown
from .._types import StrPath
from ..errors import CheckpointError, ConfigError
from ..specs.architecture import Architecture
from ..specs.inputs import ASSUMED, ECG_FM, LEADS, InputSpec, parsed
from ..specs.known import Known, Recognised, Traits, recognised
from ..validation import is_finite

__all__ = [
    "FILE",
    "assumed_input",
    "check_fits",
    "find_input",
    "given_input",
    "seeming",
    "stated_input",
    "written_input",
]

#: Where a specification comes from that was saved with a model.
FILE = "file"
CALLER = "the caller"
_MOST_SECONDS = 60.0  # a cut of longer segments is no length of a segment, but no cut at all
_MOST_SOURCE = 300
# Groups of a configuration that say something of data, and what they may hold another configuration under.
_GROUPS, _NESTED = ("task", "model", "data", "dataset"), ("args", "w2v_args", "cfg")
_PATHS = ("data", "model_path", "weights_file", "no_pretrained_weights_path")

Found = tuple[InputSpec, str]


def seeming(
    content: Mapping[str, Any], architecture: Architecture, labels: tuple[str, ...] | None
) -> Recognised | None:
    """The published model that a file seems to hold, by its tensors and then its configuration; None if none.

    Parameters
    ----------
    content : dict
        Of the file, as for `find_input`.
    architecture : Architecture
    labels : tuple of str or None
        The names of its outputs, where it states them.
    """
    paths = _paths(list(_groups(content)))
    found = recognised(Traits(architecture.kind, architecture.num_labels or 0, paths, labels))
    return None if found is None or _problem(found.input, architecture) else found


def find_input(
    given: object,
    said: Found | None,
    content: Mapping[str, Any],
    architecture: Architecture,
    path: StrPath,
    known: Known | Recognised | None = None,
) -> Found:
    """What a model takes, and where that comes from.

    Parameters
    ----------
    given : InputSpec, mapping, str or None
        What the user says, whole or some fields of it.
    said : (InputSpec, str) or None
        What was saved with the model; see `stated_input`.
    content : dict
        Of the file: ``cfg``, or the flat ``args`` of old ones.
    architecture : Architecture
    path : path-like
    known : Known or Recognised, optional
        The known model that was asked for by its name, or that the file seems to hold.

    Raises
    ------
    ConfigError
        If what the user says is no specification, or doesn't fit the network.
    CheckpointError
        If what the file says doesn't.
    """
    found = None if said is None or said[1].startswith("assumed") else said
    if isinstance(known, Known) and known.input is not None:
        found = known.input, f"known model: {known.name}"
    seems = known if isinstance(known, Recognised) else None
    if seems is not None and seems.named:
        found = found or (seems.input, seems.source)
    found = found or _of_keys(list(_groups(content)), architecture)
    if seems is not None:
        found = found or (seems.input, seems.source)
    found = found or assumed_input(architecture.in_d, architecture.min_samples)
    if found[1] != FILE and not isinstance(known, Known) and any(one.get("filter") is True for one in _groups(content)):
        found = found[0], f"{found[1]}; its training signals were filtered (filter: true), which is not done here"
    if given is not None:
        return given_input(given, found, architecture)
    check_fits(found[0], architecture, path)
    return found


def given_input(given: object, found: Found, architecture: Architecture) -> Found:
    """What a model takes by what the user says; fields that the user does not give are as in `found`.

    Raises
    ------
    ConfigError
        If it is no specification, or doesn't fit the network.
    """
    (spec, named), source = parsed(given, found[0]), CALLER
    if named is not None:
        rest = "assumed" if found[1].startswith("assumed") else f"from: {found[1]}"
        source = f"{CALLER} ({', '.join(named)}), the rest {rest}" if named else found[1]
    check_fits(spec, architecture, None)
    return spec, source


def stated_input(said: Any, source: Any, path: StrPath, field: str = "input") -> Found | None:
    """What a file of ours says under ``input``; None if it says nothing.

    Raises
    ------
    CheckpointError
        If it is no specification.
    """
    if said is None:
        return None
    if not isinstance(said, dict):
        raise CheckpointError(f"{shown(said)} is no specification", path=path, field=field or None)
    said = {name: value for name, value in said.items() if value is not None or name == "leads"}
    if "normalisation" not in said:  # an earlier version wrote ECG-FM's whatever the model was
        said = {name: value for name, value in said.items() if value is not None}
        if said.items() <= {"sampling_rate": 500, "samples": 2500, "leads": list(LEADS)}.items():
            return None
    try:
        spec = InputSpec.from_dict(said)
    except ConfigError as error:
        remedy = error.remedy if "no such" not in error.message else "Install a newer ecgfm"
        place = ".".join(part for part in (field, error.field) if part)
        raise CheckpointError(error.message, path=path, field=place, remedy=remedy) from None
    text = short(printable(" ".join(source[:2000].split())), _MOST_SOURCE) if isinstance(source, str) else FILE
    return spec, text if "assumed" in text else FILE


def written_input(spec: InputSpec, source: str | None) -> dict[str, Any]:
    """The same as it stands in a file."""
    return {"input": spec.to_dict(), "input_source": source}


def assumed_input(leads: int, least: int = 0) -> Found:
    """ECG-FM's, as far as a network of so many leads can take it that needs `least` samples."""
    names = LEADS if leads == len(LEADS) else None
    return ECG_FM.replaced(leads=names, samples=max(ECG_FM.samples, least)), ASSUMED


def check_fits(spec: InputSpec, architecture: Architecture, path: StrPath | None) -> None:
    """Raise unless a network can take what the specification says; `path` is the file that says so, None: the user."""
    found = _problem(spec, architecture)
    if found is not None and path is None:
        raise ConfigError(found[1], field=f"input.{found[0]}")
    if found is not None:
        remedy = "Say what it takes: load(input=...)"
        raise CheckpointError(found[1], path=path, field=f"input.{found[0]}", remedy=remedy)


def _problem(spec: InputSpec, architecture: Architecture) -> tuple[str, str] | None:
    """The field of a specification that a network can't take, and why; None if it can take all."""
    if spec.leads is not None and len(spec.leads) != architecture.in_d:
        return "leads", f"{len(spec.leads)} leads for a network that takes {architecture.in_d}"
    if spec.samples < architecture.min_samples:
        return "samples", f"{spec.samples} samples give no token, at least {architecture.min_samples} are needed"
    return None


# ---- what fairseq-signals' keys say ------------------------------------------------------------------


def _groups(content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The groups of a configuration and of those that are nested in it, the outermost first."""
    level: list[Any] = [content.get("cfg"), content.get("args")]
    for _ in range(3):
        level = [one for one in level if isinstance(one, dict)]
        inner = [one[name] for one in level for name in _GROUPS if isinstance(one.get(name), dict)]
        yield from inner
        yield from level
        level = [one[name] for one in [*level, *inner] for name in _NESTED if name in one]


def _paths(groups: list[Mapping[str, Any]]) -> tuple[str, ...]:
    found = (one.get(key) for one in groups for key in _PATHS)
    return tuple(dict.fromkeys(printable(value[-_MOST_SOURCE:]) for value in found if isinstance(value, str)))


def _of_keys(groups: list[Mapping[str, Any]], architecture: Architecture) -> Found | None:
    """What the keys of a run of fairseq-signals say; the rest is as of ECG-FM, whose pipeline that is."""
    spec, _ = assumed_input(architecture.in_d, architecture.min_samples)
    used: list[str] = []

    def take(key: str, field: str, value: Any) -> None:
        nonlocal spec
        try:
            spec = spec.replaced(**{field: value})
        except ConfigError:  # such as a rate of 0, which says that none is asked for
            return
        used.append(key)

    said = {key: one[key] for one in reversed(groups) for key in _KEYS if one.get(key) not in (None, False)}
    if is_finite(said.get("sample_rate")):
        take("sample_rate", "sampling_rate", said["sample_rate"])
    most: Any = said.get("max_sample_size")
    if is_finite(most) and architecture.min_samples <= most <= _MOST_SECONDS * spec.sampling_rate:
        take("max_sample_size", "samples", int(most))
    if said.get("normalize") is True:
        take("normalize", "normalisation", "segment")
    if isinstance(said.get("leads_to_load"), (str, list, tuple)) and architecture.in_d != len(LEADS):
        leads = _leads_of(said["leads_to_load"])
        if leads is not None and len(leads) == architecture.in_d:
            take("leads_to_load", "leads", leads)
    if not used:
        return None
    source = f"the file's own keys ({', '.join(used)}), the rest assumed"
    if "normalize" in used and ("mean_path" in said or "std_path" in said):
        source += "; the means and deviations that it was standardised by are in other files"
    return spec, source


_KEYS = ("sample_rate", "max_sample_size", "normalize", "leads_to_load", "mean_path", "std_path")


def _leads_of(said: Any) -> list[str] | None:
    """The leads that numbers or names stand for: ``[0, 1, 6]``, or the text of it; None if they are none."""
    parts = said.strip("[]() ").split(",") if isinstance(said, str) and len(said) < _MOST_SOURCE else said
    if isinstance(parts, str) or len(parts) > len(LEADS):
        return None
    names = [str(part).strip(" '\"")[:10] for part in parts]
    if not all(name.lower() in {lead.lower() for lead in LEADS} or name.isdecimal() for name in names):
        return None
    found = [LEADS[int(name)] if name.isdecimal() and int(name) < len(LEADS) else name for name in names]
    return found
