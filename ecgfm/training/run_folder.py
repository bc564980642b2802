"""The directory of a run: it is made, and the configuration is written into it."""

import os

from ..errors import ConfigError
from ..storage.atomic import replacing, write_text
from ..storage.inputs import read_input
from .saving import model_settings
from .setting_up import classifies, label_names_file

__all__ = ["make_folder", "write_config"]

_MOST_NAMES = 1 << 24  # bytes of a label_def.csv
# Keys that follow another one, as in fairseq-signals, unless they have a value of their own.
_REFERENCES = [
    ("dataset", "max_tokens_valid", "dataset.max_tokens"),
    ("dataset", "batch_size_valid", "dataset.batch_size"),
    ("distributed_training", "fp16", "common.fp16"),
    ("distributed_training", "memory_efficient_fp16", "common.memory_efficient_fp16"),
]


def make_folder(folder):
    """Make the directory, which must be one that can be written to.

    Raises
    ------
    ConfigError
    """
    try:
        os.makedirs(os.path.join(folder, ".hydra"), exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error.strerror) from None
    if not os.access(folder, os.W_OK):
        raise _unwritable(folder)


def write_config(run, trainer, folder):
    """What the run is, for people, for fairseq-signals and for a run like it: with the sizes of its network.

    Writes ``.hydra/config.yaml``, ``.hydra/overrides.yaml``, and a copy of the ``label_def.csv`` of the labels.
    """
    from omegaconf import OmegaConf

    config = {"_name": None} | run.of_fairseq_signals(changed=True)
    kind = "classifier" if classifies(run) else "pretraining"
    config["model"] = model_settings(kind, trainer.config, run["model"])
    for group, key, other in _REFERENCES:
        if config[group][key] == run.path(other):
            config[group] = config[group] | {key: f"${{{other}}}"}
    named = label_names_file(run)
    texts = {"config.yaml": OmegaConf.create(config), "overrides.yaml": OmegaConf.create(run.overrides)}
    try:
        for name, content in texts.items():
            write_text(os.path.join(folder, ".hydra", name), OmegaConf.to_yaml(content))
        if named is not None:
            text = read_input(named, most=_MOST_NAMES, field="task.label_file")
            with replacing(os.path.join(folder, "label_def.csv")) as temporary, open(temporary, "wb") as file:
                file.write(text)
    except OSError as error:
        raise _unwritable(folder, error.strerror) from None


def _unwritable(folder, why=None):
    message = f"can't be written to: {why}" if why else "can't be written to"
    return ConfigError(message, path=folder, field="checkpoint.save_dir")
