"""A model directory: model.safetensors and config.json."""

import os
from pathlib import Path

from ..ecg import LEADS, SAMPLES, SAMPLING_RATE
from .._text import shown
from ..errors import CheckpointError
from ..storage.inputs import read_input
from .config import KEYS, conv_feature_layers, text_of_layers
from .files import parse_json, write_json
from .safetensors import write_tensors

__all__ = ["CONFIG", "WEIGHTS", "plain_json", "read_config", "saved_settings", "write_directory", "write_safetensors"]

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT, VERSION = "ecgfm", 1
MAX_CONFIG = 4 << 20
# Our own keys; what else stands in config.json says something of the model and is kept.
_OWN = ("format", "version", "model", "labels", "sampling_rate", "samples", "leads")
_NAMES = {"classifier": "ecg_transformer_classifier", "pretraining": "wav2vec2_cmsc", "encoder": "ecg_transformer"}


def read_config(path):
    """What a config.json says.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    settings : dict
        Of the model, under the keys of fairseq-signals.
    labels : list or None
    info : dict
        All keys that are not ours.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged, or describes no model of ours.
    """

    def error(message, field=None, remedy=None):
        return CheckpointError(message, path=path, field=field, remedy=remedy)

    if not os.path.lexists(path):
        raise error(
            "there is no such file, which describes the weights beside it",
            remedy="Keep config.json in the folder of the .safetensors file",
        )
    found = parse_json(read_input(path, most=MAX_CONFIG, error=CheckpointError), path=path)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise error(f"not the description of a model of {FORMAT}", "format")
    if type(found.get("version")) is not int or found["version"] != VERSION:
        raise error(
            f"version {shown(found.get('version'))} is not known, only {VERSION}", "version", "Install a newer ecgfm"
        )
    if not isinstance(found.get("model"), dict):
        raise error("the settings of the model are missing", "model")
    if found.get("labels") is not None and not isinstance(found["labels"], list):
        raise error("neither a list of names nor null", "labels")
    for key, ours in (("sampling_rate", SAMPLING_RATE), ("leads", list(LEADS))):
        if found.get(key) not in (None, ours):
            raise error(f"{shown(found[key])} is not {ours}, which recordings are prepared for", key)
    return found["model"], found.get("labels"), {key: found[key] for key in found if key not in _OWN}


def saved_settings(kind, config, settings=None):
    """The settings to save: those of the file, plain, with the architecture as it was found to be."""
    made = {"_name": _NAMES[kind]} | {
        key: value for key, value in plain_json(settings or {}).items() if key not in ("args", "w2v_args")
    }
    made |= {key: config[key] for key in KEYS[kind]}
    layers = (settings or {}).get("conv_feature_layers")
    if not isinstance(layers, str) or conv_feature_layers(layers) != config["conv_feature_layers"]:
        layers = text_of_layers(config["conv_feature_layers"])
    made["conv_feature_layers"] = layers
    return made


def plain_json(value):
    """What JSON can hold of a value; the rest is left out."""
    if isinstance(value, dict):
        kept = {key: plain_json(item) for key, item in value.items() if isinstance(key, str)}
        return {key: item for key, item in kept.items() if item is not _ABSENT}
    if isinstance(value, (list, tuple)):
        return [item for item in map(plain_json, value) if item is not _ABSENT]
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float) and value - value == 0:
        return value
    return _ABSENT


_ABSENT = object()


def write_directory(directory, *, kind, config, tensors, settings=None, labels=None, info=None):
    """Write a model directory.

    Parameters
    ----------
    directory : path-like
        Made if it is not there; files in it of the same names are replaced.
    kind : {"classifier", "pretraining", "encoder"}
    config : dict
        The architecture, as `Checkpoint.config`.
    tensors : mapping of str to Tensor or ndarray
    settings : dict, optional
        More settings of the model to keep, as `Checkpoint.settings`.
    labels : sequence of str, optional
    info : dict, optional
        More keys of ``config.json``, such as ``{"training": "none"}``.

    Raises
    ------
    CheckpointError
        If it can't be written.
    """
    try:
        os.makedirs(directory, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise CheckpointError(f"cannot be made: {getattr(error, 'strerror', error)}", path=directory) from None
    write_safetensors(
        Path(directory) / WEIGHTS,
        kind=kind,
        config=config,
        tensors=tensors,
        settings=settings,
        labels=labels,
        info=info,
    )


def write_safetensors(path, *, kind, config, tensors, settings=None, labels=None, info=None):
    """Write a ``.safetensors`` file and ``config.json`` beside it; parameters as of `write_directory`."""
    description = {
        "format": FORMAT,
        "version": VERSION,
        "model": saved_settings(kind, config, settings),
        "labels": None if labels is None else list(labels),
        "sampling_rate": SAMPLING_RATE,
        "samples": SAMPLES,
        "leads": list(LEADS) if config["in_d"] == len(LEADS) else None,
        **{key: value for key, value in plain_json(info or {}).items() if key not in _OWN},
    }
    write_tensors(path, tensors, {"format": FORMAT})
    write_json(Path(path).parent / CONFIG, description)
