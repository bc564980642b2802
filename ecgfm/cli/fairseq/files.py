"""YAML files and overrides as hydra composes them, with limits: a file is data of somebody else.

Each file is checked before hydra and OmegaConf see it, since these expand aliases and interpolations without end. Only
``${group.key}`` is filled in, here and not by OmegaConf.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..._text import shown
from ...errors import ConfigError, Error, MissingExtraError, is_defect
from ...storage.inputs import read_input
from .values import MAX_TEXT

__all__ = ["composed"]

MAX_BYTES = 1 << 18
MAX_DEPTH = 32
MAX_VALUES = 5_000  # of a file with its aliases expanded, and of all of a configuration
MAX_OVERRIDE, MAX_OVERRIDES = 8_000, 40_000  # characters of one and of all
MAX_OVERRIDE_VALUES = 1_000  # of all, in lists: hydra takes long to read each
MAX_INCLUDES = 32
MAX_REFERENCES = 200  # of a file: OmegaConf takes long to read each
_IN_A_FILE = "Put it into a YAML file, and give its folder by --config-dir"
MAX_DIGITS = 400
_DIGITS = set("0123456789abcdefABCDEFxXoO_:+-.")
_TAGS = {"!"} | {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")}
_REFERENCE = re.compile(r"\$\{\s*([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)\s*\}")


def composed(name: str, overrides: list[str], folder: str) -> dict[str, Any]:
    """The configuration that a file and its overrides make, as plain dicts, lists, text and numbers.

    Parameters
    ----------
    name : str
        Of the file, without ``.yaml``.
    overrides : list of str
    folder : str
        Absolute path of the folder of the file.

    Raises
    ------
    ConfigError
        Whatever is wrong with a file or an override.
    MissingExtraError
        Without hydra-core.
    """
    try:
        import hydra  # noqa: F401
        import omegaconf  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "YAML files are read by hydra-core", field="hydra-core", remedy="pip install 'ecgfm[train]'"
        ) from None
    path = os.path.join(folder, f"{name}.yaml")
    if not os.path.lexists(path):
        there = (
            sorted(file[:-5] for file in os.listdir(folder) if file.endswith(".yaml")) if os.path.isdir(folder) else []
        )
        raise ConfigError(
            f"there is no {name}.yaml",
            path=folder,
            field="--config-name",
            remedy=f"There are {', '.join(there[:10])}" if there else "Check --config-dir",
        )
    _checked_text(path)
    changes, removed = _parsed(overrides)
    made = _composed_by_hydra(name, changes, folder, path)
    found: dict[str, Any] = _Filling(made, path).value(made, "")
    for key in removed:
        _remove(found, key)
    return found


# ---- a file -----------------------------------------------------------------------------------------------------


def _checked_text(path: str) -> str:
    """The text of a YAML file whose size, depth and number of values, with aliases expanded, are within the limits."""
    import yaml

    raw = read_input(path, most=MAX_BYTES, error=ConfigError)
    try:
        text: str = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"it is not UTF-8 text: byte {error.start} is {raw[error.start]:#04x}", path=path) from None
    try:
        _check_events(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)), path)
    except yaml.YAMLError as error:
        raise _not_yaml(path, error) from None
    return text


def _check_events(events: Iterable[Any], path: str) -> None:
    """Count values and depth; an alias counts as much as what it stands for."""
    import yaml

    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = references = 0
    for event in events:
        size = None
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            if len(open_nodes) > MAX_DEPTH:
                raise _beyond(path, event, f"it is nested more than {MAX_DEPTH} deep")
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor)
            if size is None:
                raise _beyond(path, event, f"the alias {shown(event.anchor)} stands for nothing or for itself")
            total += size
        elif isinstance(event, yaml.ScalarEvent):
            _check_scalar(event, path)
            references += event.value.count("${")
            if references > MAX_REFERENCES:
                raise _beyond(path, event, f"it has more than {MAX_REFERENCES} references to other keys")
            if event.anchor is not None:
                sizes[event.anchor] = 1
            total += 1
        if total > MAX_VALUES:
            raise _beyond(path, event, f"it has more than {MAX_VALUES:,} values")
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in _TAGS:
            raise _beyond(path, event, f"the tag {shown(tag)} is not read")


def _check_scalar(event: Any, path: str) -> None:
    if len(event.value) > MAX_TEXT:
        raise _beyond(path, event, f"a value has more than {MAX_TEXT:,} characters")
    if event.implicit[0] and len(event.value) > MAX_DIGITS and set(event.value) <= _DIGITS:
        raise _beyond(path, event, f"a number has {len(event.value):,} characters")


def _beyond(path: str, event: Any, message: str) -> ConfigError:
    return ConfigError(message, path=path, field=f"line {event.start_mark.line + 1}")


def _not_yaml(path: str, error: Exception) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or "not understood"
    return ConfigError(f"not YAML: {said}", path=path, field=None if mark is None else f"line {mark.line + 1}")


# ---- overrides --------------------------------------------------------------------------------------------------


def _parsed(overrides: list[str]) -> tuple[list[str], list[str]]:
    """The overrides that hydra gets, and the keys that are to be taken out."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    for what, count, most in (
        ("characters", sum(map(len, overrides)), MAX_OVERRIDES),
        ("values", sum(text.count(",") for text in overrides), MAX_OVERRIDE_VALUES),
    ):
        if count > most:
            raise ConfigError(
                f"{count:,} {what} are more than the {most:,} that are read", field="overrides", remedy=_IN_A_FILE
            )
    parser = OverridesParser.create()
    changes: list[str] = []
    removed: list[str] = []
    for text in overrides:
        _check_override(text)
        try:
            one = parser.parse_override(text)
            sweep = one.is_sweep_override()
        except (HydraException, ValueError, RecursionError) as error:
            said = (str(error).splitlines() or [""])[0]
            raise ConfigError(f"not understood: {said}", field=text) from None
        if one.key_or_group.split(".")[0].split("/")[0] == "hydra":
            continue  # of where hydra would work and log
        if one.is_delete():
            removed.append(one.key_or_group)
        elif sweep:
            raise ConfigError("sweeps are not run", field=text, remedy="Give one value, or quote it")
        else:
            changes.append("++" + text.lstrip("+"))
    return changes, removed


def _check_override(text: str) -> None:
    if len(text) > MAX_OVERRIDE:
        raise ConfigError(
            f"{len(text):,} characters are more than the {MAX_OVERRIDE:,} that are read", field=text, remedy=_IN_A_FILE
        )
    depth = 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if depth > MAX_DEPTH:
            raise ConfigError(f"it is nested more than {MAX_DEPTH} deep", field=text)


def _remove(found: Any, key: str) -> None:
    *path, last = key.split(".")
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, dict):
        found.pop(last, None)


# ---- hydra ------------------------------------------------------------------------------------------------------


def _composed_by_hydra(name: str, changes: list[str], folder: str, path: str) -> Any:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    GlobalHydra.instance().clear()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what hydra will change some day
            with initialize_config_dir(folder, version_base="1.1"):
                sources = GlobalHydra.instance().config_loader().get_sources()
                for i, source in enumerate(sources):
                    if source.provider == "main":
                        sources[i] = _source_of(name, folder)
                return OmegaConf.to_container(compose(name, overrides=changes), resolve=False)
    except (Error, MemoryError):
        raise
    except RecursionError:
        raise ConfigError("files include each other without end, or it is nested too deep", path=path) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(" ".join(str(error)[:2000].split())[:300], path=path) from None
    except Exception as error:  # hydra and OmegaConf raise what they like of what they don't expect
        if is_defect(error):
            raise
        raise ConfigError(
            f"cannot be read: {type(error).__name__} while it is composed: {' '.join(str(error)[:300].split())[:150]}",
            path=path,
            remedy="If the file is right, this is a defect of ecgfm",
        ) from error


def _source_of(primary: str, folder: str) -> Any:
    """Where hydra gets its files from: the folder, each file checked first."""
    import yaml
    from hydra._internal.core_plugins.file_config_source import FileConfigSource
    from hydra.plugins.config_source import ConfigResult
    from omegaconf import DictConfig, OmegaConf

    class Checked(FileConfigSource):
        def load_config(self, config_path: str) -> ConfigResult:
            path = os.path.join(folder, self._normalize_file_name(config_path))
            text = _checked_text(path)
            try:
                found = OmegaConf.load(io.StringIO(text))
            except yaml.YAMLError as error:
                raise _not_yaml(path, error) from None
            if not isinstance(found, DictConfig):
                raise ConfigError("it holds a list, not groups of keys", path=path)
            _check_includes(found, path, config_path.removesuffix(".yaml") == primary)
            if "hydra" in found:  # of where hydra would work, log and look for more files
                del found["hydra"]
            return ConfigResult(
                config=found, path=self.path, provider=self.provider, header=self._get_header_dict(text[:512])
            )

    return Checked("main", folder)


def _check_includes(found: Any, path: str, primary: bool) -> None:
    """A defaults list is hydra's way to include files: of the first file alone, as in fairseq-signals, and short."""
    from omegaconf import OmegaConf

    content: Any = OmegaConf.to_container(found, resolve=False)
    included = content.get("defaults")
    if included is None:
        return
    if not primary:
        raise ConfigError(
            "a file that is included by another includes files itself",
            path=path,
            field="defaults",
            remedy="Name them all in the first file",
        )
    if not isinstance(included, list) or len(included) > MAX_INCLUDES:
        raise ConfigError(f"it is not a list of at most {MAX_INCLUDES} files", path=path, field="defaults")
    own = os.path.basename(path).removesuffix(".yaml")
    for one in included:
        if "${" in str(one)[:MAX_TEXT] or one == own:
            raise ConfigError(f"{shown(one)} is not the name of another file", path=path, field="defaults")


# ---- ${group.key} -----------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Filling:
    """Fills in references to other keys."""

    root: Any
    path: str
    made: int = 0

    def value(self, value: Any, field: str, busy: tuple[str, ...] = ()) -> Any:
        """A value without references. `busy` are the keys that are being filled in."""
        self.made += 1
        if self.made > MAX_VALUES * 2 or len(busy) > MAX_DEPTH:
            raise ConfigError("its references to other keys make it too large", path=self.path, field=field)
        if isinstance(value, dict):
            return {key: self.value(item, f"{field}.{key}" if field else str(key), busy) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, field, busy) for item in value]
        if isinstance(value, str) and "${" in value:
            return self.text(value, field, busy)
        return value

    def text(self, text: str, field: str, busy: tuple[str, ...]) -> Any:
        match = _REFERENCE.fullmatch(text)
        if match:
            return self.other(match[1], field, busy)
        parts, place, length = [], 0, 0
        for match in _REFERENCE.finditer(text):
            parts += [text[place : match.start()], self.other(match[1], field, busy)]
            place = match.end()
            if isinstance(parts[-1], (dict, list)):
                raise ConfigError(f"{shown(match[0])} in it is not a single value", path=self.path, field=field)
            parts[-1] = str(parts[-1])
            length += len(parts[-1]) + len(parts[-2])
            if length > MAX_TEXT:
                raise ConfigError("its references to other keys make it too large", path=self.path, field=field)
        parts.append(text[place:])
        if any("${" in part for part in parts[::2]):
            raise ConfigError(
                f"{shown(text)}: only references to keys, ${{group.key}}, are filled in",
                path=self.path,
                field=field,
                remedy="Write the value, or give it on the command line, where the shell fills in $NAME",
            )
        return "".join(parts)

    def other(self, name: str, field: str, busy: tuple[str, ...]) -> Any:
        if name in busy:
            raise ConfigError(f"${{{name}}} refers to itself", path=self.path, field=field)
        value = self.root
        for part in name.split("."):
            if isinstance(value, list) and part.isdecimal() and len(part) < 6 and int(part) < len(value):
                value = value[int(part)]
            elif isinstance(value, dict) and part in value:
                value = value[part]
            else:
                raise ConfigError(f"there is no key {shown(name)}, to which it refers", path=self.path, field=field)
        return self.value(value, field, (*busy, name))
