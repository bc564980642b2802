"""A model directory: model.safetensors and config.json."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .._text import shown
from .._types import StrPath
from ..errors import CheckpointError
from ..specs.architecture import architecture_keys
from ..specs.blocks import conv_feature_layers, text_of_layers
from ..specs.inputs import InputSpec
from ..specs.precision import UNROUNDED, Stated
from ..storage.atomic import writing
from ..storage.inputs import read_input
from ..storage.json import json_bytes, parse_json, plain_json
from .inputs import assumed_input, stated_input, written_input
from .safetensors import write_tensors
from .storage import Tensor

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "description_of",
    "keep_report",
    "read_config",
    "saved_settings",
    "write_directory",
    "write_safetensors",
]

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT, VERSION = "ecgfm", 2
MAX_CONFIG = 4 << 20
MAX_DEPTH = 50
# Those of version 1, whose place "input" took.
_INPUT = ("sampling_rate", "samples", "leads")
# Our own keys; other keys of config.json say something about the model and are kept.
_OWN = ("format", "version", "id", "model", "labels", "input", "input_source", "precision", "cfg", *_INPUT)
_NAMES = {"classifier": "ecg_transformer_classifier", "pretraining": "wav2vec2_cmsc", "encoder": "ecg_transformer"}
# Of the run's configuration, what the original needs to go on from a model; paths of the machine stay behind.
_KEPT = ("task", "criterion")
_PATHS = ("data", "label_file", "mean_path", "std_path", "weights_file", "inferred_w2v_config", "inferred_3kg_config")


@dataclass
class Description:
    """What a config.json says.

    Attributes
    ----------
    settings : dict
        Of the model, under the keys of fairseq-signals.
    labels : list or None
    info : dict
        All keys that are not ours.
    cfg : dict
        More of the run's configuration, by group.
    id : str or None
        The same 32 hexadecimal digits as in the metadata of the weights that it belongs to; None in version 1.
    precision : Stated
    input : (InputSpec, str) or None
        What the model takes, and where that comes from; None if nothing is said.
    """

    settings: dict[str, Any]
    labels: list[Any] | None
    info: dict[str, Any]
    cfg: dict[str, Any]
    id: str | None
    precision: Stated
    input: tuple[InputSpec, str] | None = None


def description_of(weights: StrPath, metadata: Mapping[str, str]) -> Description:
    """The `Description` of the weights in a ``.safetensors`` file: that of config.json beside it, or of their metadata.

    Raises
    ------
    CheckpointError
        If there is none, it is damaged, or the two do not belong together, as after a save that was broken off.
    """
    path = Path(weights).parent / CONFIG
    own, id = metadata.get("config"), metadata.get("id")
    if own is not None and not os.path.lexists(path):
        found = _parsed(own, weights, "__metadata__")
    else:
        found = read_config(path)
    if found.id != id:
        raise CheckpointError(
            f"it belongs to other weights than {Path(weights).name}: their ids differ",
            path=path,
            field="id",
            remedy=f"Save the model again, or delete {CONFIG}: the weights hold a configuration of their own"
            if own is not None
            else f"Put the {CONFIG} that was saved with the weights beside them",
        )
    return found


def read_config(path: StrPath) -> Description:
    """The `Description` in a config.json.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged, or describes no model of ours.
    """
    if not os.path.lexists(path):
        raise CheckpointError(
            "there is no such file, which describes the weights beside it",
            path=path,
            remedy="Keep config.json in the folder of the .safetensors file",
        )
    return _parsed(read_input(path, most=MAX_CONFIG, error=CheckpointError), path, None)


def _parsed(raw: bytes | str, path: StrPath, place: str | None) -> Description:
    def error(message: str, field: str | None = None, remedy: str | None = None) -> CheckpointError:
        field = ": ".join(part for part in (place, field) if part) or None
        return CheckpointError(message, path=path, field=field, remedy=remedy)

    if len(raw) > MAX_CONFIG:
        raise error(f"the configuration has more than {MAX_CONFIG:,} bytes")
    raw = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    found = parse_json(raw, path=path, field=place, error=CheckpointError)
    if _is_deep(found):
        raise error(f"it is nested more than {MAX_DEPTH} deep")
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise error(f"not the description of a model of {FORMAT}", "format")
    if type(found.get("version")) is not int or not 1 <= found["version"] <= VERSION:
        known = " and ".join(map(str, range(1, VERSION + 1)))
        raise error(
            f"version {shown(found.get('version'))} is not known, only {known}", "version", "Install a newer ecgfm"
        )
    if not isinstance(found.get("model"), dict):
        raise error("the settings of the model are missing", "model")
    if found.get("labels") is not None and not isinstance(found["labels"], list):
        raise error("neither a list of names nor null", "labels")
    if found.get("id") is not None and not (isinstance(found["id"], str) and len(found["id"]) == 32):
        raise error("not 32 hexadecimal digits", "id")
    first = {key: found[key] for key in _INPUT if found.get(key) is not None}
    where = ": ".join(part for part in (place, "input" if "input" in found else None) if part)
    input = stated_input(found.get("input", first or None), found.get("input_source"), path, where)
    cfg = found.get("cfg", {})
    cfg = cfg if isinstance(cfg, dict) else {}
    info = {key: found[key] for key in found if key not in _OWN}
    precision = Stated.read(found.get("precision"), path)
    return Description(found["model"], found.get("labels"), info, cfg, found.get("id"), precision, input)


def _is_deep(value: Any) -> bool:
    """Whether a JSON value is nested beyond what may be walked over."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list))]
        level = [part for parts in level for part in parts]
        if not level:
            return False
    return True


def saved_settings(kind: str, config: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings to save: those of the file, plain, with the architecture as it was found to be."""
    made = {"_name": _NAMES[kind]} | {
        key: value for key, value in plain_json(settings or {}).items() if key not in ("args", "w2v_args")
    }
    made |= {key: config[key] for key in architecture_keys(kind)}
    layers = (settings or {}).get("conv_feature_layers")
    if not isinstance(layers, str) or conv_feature_layers(layers) != config["conv_feature_layers"]:
        layers = text_of_layers(config["conv_feature_layers"])
    made["conv_feature_layers"] = layers
    return made


def write_directory(directory: StrPath, **model: Any) -> None:
    """Write a model directory: it is then the old one or the new one, whatever happens meanwhile.

    Parameters
    ----------
    directory : path-like
        Made if it is not there; files in it of the same names are replaced.
    **model
        As of `write_safetensors`.

    Raises
    ------
    CheckpointError
        If it can't be written.
    """
    try:
        os.makedirs(directory, exist_ok=True)
    except (OSError, ValueError, RecursionError) as error:  # a NUL in the name; a thousand folders in each other
        raise CheckpointError(f"cannot be made: {getattr(error, 'strerror', error)}", path=directory) from None
    write_safetensors(Path(directory) / WEIGHTS, **model)


def write_safetensors(
    path: StrPath,
    *,
    kind: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor | NDArray[Any]],
    settings: Mapping[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    info: Mapping[str, Any] | None = None,
    cfg: Mapping[str, Any] | None = None,
    precision: Stated = UNROUNDED,
    input: tuple[InputSpec, str] | None = None,
) -> None:
    """Write a ``.safetensors`` file and ``config.json`` beside it.

    The weights hold the configuration, too, and both the same random id. Both files are complete and on the disk before
    the first takes its place, so that there is hardly any time between the two; if the process is killed just then,
    or a copy mixes them, `description_of` says so.

    Parameters
    ----------
    path : path-like
    kind : {"classifier", "pretraining", "encoder"}
    config : dict
        The architecture, as `Checkpoint.config`.
    tensors : mapping of str to Tensor or ndarray
    settings : dict, optional
        More settings of the model to keep, as `Checkpoint.settings`.
    labels : sequence of str, optional
    info : dict, optional
        More keys of ``config.json``, such as ``{"training": "none"}``.
    cfg : dict, optional
        The run's configuration, of which the groups ``task`` and ``criterion`` are kept, without paths.
    precision : Stated, optional
        Which precision it is to be loaded in, and a report on it.
    input : (InputSpec, str), optional
        What the model takes, and where that comes from. By default ECG-FM's, as assumed.

    Raises
    ------
    CheckpointError
        If they can't be written.
    """
    input = input or assumed_input(int(config["in_d"]))
    description = {
        "format": FORMAT,
        "version": VERSION,
        "id": os.urandom(16).hex(),
        "model": saved_settings(kind, config, settings),
        "labels": None if labels is None else list(labels),
        **written_input(*input),
        "precision": plain_json(precision.written()),
        "cfg": _kept(plain_json(cfg or {})),
        **{key: value for key, value in plain_json(info or {}).items() if key not in _OWN},
    }
    text = json_bytes(description, indent=1)
    if len(text) > MAX_CONFIG:
        raise CheckpointError(
            f"the settings of the model take {len(text):,} bytes, more than the {MAX_CONFIG:,} that are read", path=path
        )
    metadata = {"format": FORMAT, "version": str(VERSION), "id": description["id"], "config": text.decode()}
    with writing(Path(path).parent / CONFIG, error=CheckpointError) as file:
        file.write(text + b"\n")
        file.flush()
        os.fsync(file.fileno())
        write_tensors(path, tensors, metadata)


def keep_report(path: StrPath, report: Mapping[str, Any]) -> Path:
    """Put a report on precisions into the ``config.json`` of a model; returns its path.

    Parameters
    ----------
    path : path-like
        A model directory, or a ``.safetensors`` file.
    report : dict
        As of `ecgfm.QuantizationReport`.

    Raises
    ------
    CheckpointError
        If there is no ``config.json``, it is damaged, or can't be written.
    """
    folder = Path(path) if os.path.isdir(path) else Path(path).parent
    if not os.path.isdir(path) and Path(path).suffix != ".safetensors":
        remedy = "Convert it to a directory first: ecgfm convert"
        raise CheckpointError("only a model directory can keep a report", path=path, remedy=remedy)
    target = folder / CONFIG
    stated = read_config(target).precision
    found = parse_json(read_input(target, most=MAX_CONFIG, error=CheckpointError), path=target, error=CheckpointError)
    found["precision"] = plain_json(replace(stated, report=report).written())
    with writing(target, error=CheckpointError) as file:
        file.write(json_bytes(found, indent=1) + b"\n")
    return target


def _kept(cfg: dict[str, Any]) -> dict[str, Any]:
    groups = {group: cfg[group] for group in _KEPT if isinstance(cfg.get(group), dict)}
    return {group: {key: item for key, item in values.items() if key not in _PATHS} for group, values in groups.items()}
