"""The configuration of a run as it is written into the run's directory, for people and for a run like it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ...checkpoint.directory import saved_settings
from ...storage.atomic import write_text
from .compose import Run

__all__ = ["write_config"]

# Keys that follow another one, as in fairseq-signals, unless they have a value of their own.
_REFERENCES = [
    ("dataset", "max_tokens_valid", "dataset.max_tokens"),
    ("dataset", "batch_size_valid", "dataset.batch_size"),
    ("distributed_training", "fp16", "common.fp16"),
    ("distributed_training", "memory_efficient_fp16", "common.memory_efficient_fp16"),
]


def write_config(run: Run, folder: str, kind: str, architecture: Mapping[str, Any]) -> None:
    """Write ``.hydra/config.yaml``, with the sizes of the network, and ``.hydra/overrides.yaml``.

    Parameters
    ----------
    run : Run
    folder : str
        The run's directory, in which there is a ``.hydra``.
    kind : {"classifier", "pretraining"}
    architecture : Mapping
        Of the network that is trained.
    """
    from omegaconf import OmegaConf

    config: dict[str, Any] = {"_name": None} | run.of_fairseq_signals(changed=True)
    config["model"] = saved_settings(kind, architecture, run["model"]) | {"args": None}
    for group, key, other in _REFERENCES:
        if config[group][key] == run.path(other):
            config[group] = config[group] | {key: f"${{{other}}}"}
    texts = {"config.yaml": OmegaConf.create(config), "overrides.yaml": OmegaConf.create(list(run.overrides))}
    for name, content in texts.items():
        write_text(os.path.join(folder, ".hydra", name), OmegaConf.to_yaml(content))
