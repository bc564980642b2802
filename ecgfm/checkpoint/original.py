"""The configuration that fairseq-signals keeps in a ``.pt`` file: every key that it needs to build, finetune from and
validate a model, with its default.

The original reads a checkpoint's configuration strictly: it fails on an absent key even where nothing depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from ..specs.original import GROUPS, MISSING, NAMED_GROUPS

__all__ = ["CRITERIA", "NAMES", "complete"]

_NAMED = ("task", "model", "criterion", "lr_scheduler", "optimizer")  # in the order of a file
# What is written where a run says nothing, other than the defaults of the original: ECG-FM's.
_LR = {"lr": [5e-5]}
_WRITTEN: dict[str, dict[str, Any]] = {
    "optimization": _LR,
    "optimizer": {"adam_betas": "(0.9, 0.98)", "adam_eps": 1e-6, "weight_decay": 0.01, **_LR},
    "lr_scheduler": _LR,
}
_JOB_LOGGING = {
    "version": 1,
    "formatters": {"simple": {"format": "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "simple", "stream": "ext://sys.stdout"}},
    "root": {"level": "INFO", "handlers": ["console"]},
    "disable_existing_loggers": False,
}

#: Kind -> group -> the names that a checkpoint may give it; where a file has another, the first is written.
NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "classifier": {
        "task": ("ecg_classification",),
        "model": ("ecg_transformer_classifier",),
        "criterion": ("binary_cross_entropy_with_logits", "mse"),
    },
    "pretraining": {
        "task": ("ecg_pretraining",),
        "model": ("wav2vec2_cmsc", "wav2vec2"),
        "criterion": ("wav2vec2_with_cmsc", "wav2vec2", "cmsc", "simclr"),
    },
    "encoder": {
        "task": ("ecg_pretraining",),
        "model": ("ecg_transformer",),
        "criterion": ("wav2vec2_with_cmsc", "wav2vec2", "cmsc", "simclr"),
    },
}
#: Criterion -> the name of its class, which the original compares when it goes on with a run.
CRITERIA = {
    "binary_cross_entropy_with_logits": "BinaryCrossEntropyWithLogitsCriterion",
    "mse": "MSECriterion",
    "wav2vec2_with_cmsc": "Wav2Vec2WithCMSCCriterion",
    "wav2vec2": "Wav2Vec2Criterion",
    "cmsc": "CMSCCriterion",
    "simclr": "SimCLRCriterion",
}


def complete(cfg: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A configuration with every key that the original has.

    Parameters
    ----------
    cfg : dict
        What there is of it, by group. ``cfg["model"]`` holds the architecture.
    kind : {"classifier", "pretraining", "encoder"}

    Returns
    -------
    dict
        `cfg`, and defaults where it says nothing.
    """
    made: dict[str, Any] = {"_name": None}
    for group, defaults in GROUPS.items():
        made[group] = {"_name": None} | _defaults(group, defaults) | _group(cfg, group)
    for group in _NAMED:
        known = {name: _defaults(group, defaults) for name, defaults in NAMED_GROUPS[group].items()}
        given, names = _group(cfg, group), NAMES[kind].get(group, tuple(known))
        name = given.get("_name")
        if name not in names and (group in NAMES[kind] or name is None):
            name = names[0]  # another method's settings: what it shares with this one is kept
            given = {key: value for key, value in given.items() if key in known[name]}
        if group == "criterion":  # which the original builds without passing over what it does not know
            given = {key: value for key, value in given.items() if key in known[name]}
        made[group] = {"_name": name} | known.get(name, {}) | given | {"_name": name}
    made["job_logging_cfg"] = _group(cfg, "job_logging_cfg") or deepcopy(_JOB_LOGGING)
    _agree(made, cfg, kind)
    return made | {group: values for group, values in cfg.items() if group not in made}


def _defaults(group: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """A copy of the defaults of a group, with what is written in it."""
    made = {key: None if value == MISSING else value for key, value in deepcopy(defaults).items()}
    return made | deepcopy(_WRITTEN.get(group, {}))


def _group(cfg: Mapping[str, Any], group: str) -> dict[str, Any]:
    found = cfg.get(group)
    return found if isinstance(found, dict) else {}


def _agree(made: dict[str, Any], cfg: Mapping[str, Any], kind: str) -> None:
    """What one group says of another, and what the tensors that are written say."""
    model, task = made["model"], made["task"]
    model["args"] = None
    for key, default in (("normalize", False), ("filter", False), ("data", "")):
        said = (_group(cfg, group).get(key) for group in ("task", "model"))
        model[key] = task[key] = next((value for value in said if value is not None), default)
    model["apply_mask"] = kind == "pretraining"  # whether there is a mask embedding
    if "model_path" in model:
        model["model_path"] = None  # the weights are all here; that file need not be
    if kind == "pretraining":
        model |= {"quantize_targets": True, "quantize_input": False, "same_quantizer": False}
    if task.get("criterion_name") is None:
        task["criterion_name"] = made["criterion"]["_name"]
