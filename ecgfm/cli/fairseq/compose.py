"""The configuration of a run, as fairseq-signals names it, from a YAML file and overrides."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from ..._text import shown
from ...errors import ConfigError
from .files import composed
from .keys import CONFIG_GROUPS, MISSING, NAMED_GROUPS, NO_MEANING, OURS, REFUSED, named
from .values import checked, is_placeholder

__all__ = ["CONFIGS", "Run", "compose"]

#: The configurations that come with the package.
CONFIGS = os.path.join(os.path.dirname(__file__), "configs")


class Run(dict[str, dict[str, Any]]):
    """The configuration of one run: group -> key -> value, every key with a value.

    Attributes
    ----------
    given : set of str
        ``group.key`` of what a file or an override says.
    notices : list of str
        Lines for the user: keys that mean nothing here.
    overrides : list of str
        As they were given.
    """

    given: frozenset[str] = frozenset()
    notices: Sequence[str] = ()
    overrides: Sequence[str] = ()

    def copied(self) -> Run:
        """The same configuration, whose groups can be changed."""
        run = Run({group: dict(values) for group, values in self.items()})
        run.given, run.notices, run.overrides = self.given, list(self.notices), self.overrides
        return run

    def need(self, key: str) -> Any:
        """The value of ``group.key``.

        Raises
        ------
        ConfigError
            If it is missing (``???``), null, or a placeholder such as ``<REDACTED>``.
        """
        value = self.path(key)
        if value is None:
            raise ConfigError("it is not given", field=key, remedy=f"Say {key}=...")
        return value

    def path(self, key: str) -> Any:
        """The value of ``group.key``, which may be null: None, also where it is missing (``???``).

        Raises
        ------
        ConfigError
            If it is a placeholder such as ``<REDACTED>``.
        """
        group, name = key.split(".")
        value = self[group].get(name)
        if is_placeholder(value):
            raise ConfigError(f"{shown(value)} is a placeholder", field=key, remedy=f"Say {key}=...")
        return None if value == MISSING else value

    def of_fairseq_signals(self, *, changed: bool = False) -> dict[str, dict[str, Any]]:
        """Group -> key -> value, without the keys that fairseq-signals refuses; those of them that have another value
        than the default are there if `changed`."""

        def wanted(group: str, key: str, value: object) -> bool:
            ours = group == "ecgfm" or key in OURS.get(group, ())
            return not ours or (changed and value != CONFIG_GROUPS[group].get(key))

        found = {}
        for group, values in self.items():
            kept = {key: value for key, value in values.items() if wanted(group, key, value)}
            if kept:
                found[group] = kept
        return found


def compose(config_name: str, overrides: Iterable[str] = (), config_dir: str | os.PathLike[str] | None = None) -> Run:
    """Read a YAML file and its overrides, as hydra does.

    Parameters
    ----------
    config_name : str
        Name of the file, without ``.yaml``; without `config_dir` one that comes with the package: ``w2v_cmsc_rlm``,
        ``diagnosis``, and both with ``_large``.
    overrides : sequence of str
        ``group.key=value``; ``+`` or ``++`` before the key mean the same; ``~group.key`` takes the default.
    config_dir : path-like, optional

    Returns
    -------
    Run

    Raises
    ------
    ConfigError
        If the file is not there or no configuration of ECG-FM, or a key is unknown, out of place or of a wrong type.
    MissingExtraError
        Without hydra-core.
    """
    overrides = [str(one) for one in overrides]
    folder = os.path.abspath(CONFIGS if config_dir is None else os.fspath(config_dir))
    found = composed(str(config_name).removesuffix(".yaml"), overrides, folder)
    typed = {one.lstrip("+~").split("=")[0] for one in overrides}
    run = _checked(found, typed, config_dir is not None)
    run.overrides = overrides
    return run


def _checked(found: Mapping[str, Any], typed: set[str], own: bool) -> Run:
    """The run; `own` says that the file is the user's, so that its keys without a meaning are named too."""
    run = Run()
    given: set[str] = set()
    notices: list[str] = []
    known = [*CONFIG_GROUPS, *NAMED_GROUPS]
    for group in found:
        if group not in known and group not in ("_name", "hydra", "job_logging_cfg"):
            raise ConfigError("there is no such group", field=shown(group), remedy=_nearest(group, known))
    for group in known:
        values = found.get(group)
        values = {} if values is None else values
        if not isinstance(values, dict):
            raise ConfigError(f"{shown(values)} is not a group of keys", field=group)
        name, defaults = _defaults(group, values)
        run[group] = {"_name": name, **deepcopy(dict(defaults))}
        silent = NO_MEANING.get(group, {}) | NO_MEANING.get(name or "", {})
        for key, value in values.items():
            if key == "_name":
                continue
            field = f"{group}.{key}" if isinstance(key, str) else f"{group}.{shown(key)}"
            if key not in defaults and not (key == "lr" and group in ("optimizer", "lr_scheduler")):
                raise ConfigError("there is no such key", field=field, remedy=_nearest(key, defaults))
            if key in REFUSED.get(group, ()) and not _is_default(field, value, defaults[key]):
                remedy = f"Leave it {str(defaults[key]).lower()}: {REFUSED[group][key]}"
                raise ConfigError(f"{shown(value)} is not supported", field=field, remedy=remedy)
            value = checked(field, value, defaults.get(key))
            if value != defaults.get(key) and key in silent and (own or field in typed):
                text = shown(value) if not isinstance(value, str) else value[:100]
                notices.append(f"{field}={text} means nothing here: {silent[key]}")
            run[group][key] = value
            given.add(field)
    _derive(run, given)
    run.given, run.notices = frozenset(given), notices
    return run


def _is_default(field: str, value: object, default: object) -> bool:
    try:
        return bool(checked(field, value, default) == default)
    except ConfigError:
        return False


def _defaults(group: str, values: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any]]:
    """The ``_name`` of a group and the defaults of its keys."""
    name = values.get("_name")
    if group in CONFIG_GROUPS:
        if name is not None:
            raise ConfigError(f"{shown(name)} is not null", field=f"{group}._name", remedy="Leave it out")
        return None, CONFIG_GROUPS[group]
    names = named(group)
    remedy = f"Known are {', '.join(names)}"
    if name is None or name == MISSING:
        raise ConfigError("it is not given", field=f"{group}._name", remedy=remedy)
    if not isinstance(name, str) or name not in names:
        raise ConfigError(f"{shown(name)} is not of ECG-FM's methods", field=f"{group}._name", remedy=remedy)
    return name, names[name]


def _derive(run: Run, given: set[str]) -> None:
    """Set the keys that follow from others."""
    dataset, task, model = run["dataset"], run["task"], run["model"]
    for key in ("max_tokens", "batch_size"):
        if dataset[f"{key}_valid"] is None:
            dataset[f"{key}_valid"] = dataset[key]
    for key in ("normalize", "filter"):
        if f"model.{key}" not in given:
            model[key] = task[key]
    model["data"], task["criterion_name"] = task["data"], run["criterion"]["_name"]
    run["optimizer"]["lr"] = run["lr_scheduler"]["lr"] = run["optimization"]["lr"]


def _nearest(key: object, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(key)[:100], list(known), n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else f"Known are {', '.join(sorted(known)[:40])}"
