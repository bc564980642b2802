"""From one checkpoint format to another."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .._text import shown
from .._types import StrPath
from ..errors import CheckpointError, InputWarning
from ..specs.inputs import ASSUMED as ASSUMED_INPUT
from ..specs.inputs import ECG_FM, InputSpec
from ..specs.precision import FLOAT32, UNROUNDED, Stated
from ..storage.json import plain_json
from .directory import CONFIG, WEIGHTS, saved_settings, write_directory, write_safetensors
from .inputs import assumed_input, written_input
from .labels import ASSUMED
from .original import CRITERIA, complete
from .reader import Checkpoint, read
from .storage import Tensor
from .write import write_pt

__all__ = ["convert", "is_pt", "pt_content", "save"]

# Of what is said of a model, that which changes its answers.
_OF_ANSWERS = ("calibration", "thresholds")


def convert(
    source: StrPath,
    destination: StrPath,
    *,
    labels: Sequence[str] | StrPath | None = None,
    config: dict[str, Any] | None = None,
    force: bool = False,
    input: object = None,
) -> list[Path]:
    """Write the model of a checkpoint in another format.

    The weights keep their values and their number type; in a ``.pt``, int8 becomes float32. Label names and settings go
    along; label names that are only assumed don't. What belongs to training (optimizer, metrics) stays behind.

    Parameters
    ----------
    source : str or path-like
        A checkpoint, as for `read`.
    destination : str or path-like
        ``NAME.pt``; ``NAME.safetensors``, with ``config.json`` beside it; else a model directory.
    labels : sequence of str or path-like, optional
        Names of the outputs, or a CSV file with a column ``name``.
    config : dict, optional
        Settings of the model that replace those in the file.
    force : bool
        Replace files that are there.
    input : InputSpec, dict or str, optional
        What the model takes, as of `ecgfm.load`.

    Returns
    -------
    list of pathlib.Path
        The files written.

    Raises
    ------
    CheckpointError
        If the source can't be read or is damaged, or the destination exists or can't be written.
    LabelError
        If the labels don't fit the model.
    """
    targets = _free_targets(destination, force)
    with read(source, labels=labels, config=config, input=input) as found:
        found.verify()
        _write(destination, targets, found, None if found.labels_source == ASSUMED else found.labels)
    return targets


def save(
    destination: StrPath,
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
    force: bool = False,
) -> list[Path]:
    """Write a model that is in memory.

    Parameters
    ----------
    destination : str or path-like
        ``NAME.pt``, which fairseq-signals reads too; ``NAME.safetensors``, with ``config.json`` beside it; else a model
        directory.
    kind : {"classifier", "pretraining", "encoder"}
    config : dict
        The architecture, as `Checkpoint.config`.
    tensors : mapping of str to ndarray or Tensor
        Values by checkpoint name.
    settings : dict, optional
        More settings of the model to keep.
    labels : sequence of str, optional
    info : dict, optional
        What else to say of the model.
    cfg : dict, optional
        More of the run's configuration to keep, by group (``task``, ``criterion``).
    precision : Stated, optional
        Which precision it is to be loaded in (a ``.pt`` always in float32), and a report on it.
    input : (InputSpec, str), optional
        What it takes, and where that comes from. By default ECG-FM's, as assumed.
    force : bool
        Replace files that are there.

    Returns
    -------
    list of pathlib.Path
        The files written, each under a temporary name first.

    Raises
    ------
    CheckpointError
        If the destination exists or can't be written.
    """
    targets = _free_targets(destination, force)
    model = _InMemory(kind, dict(config), tensors, settings, labels, dict(info or {}), cfg, precision)
    model.stated_input = input or assumed_input(int(config["in_d"]))
    _write(destination, targets, model, labels)
    return targets


@dataclass
class _InMemory:
    """What `_write` asks of a Checkpoint."""

    kind: str
    config: dict[str, Any]
    tensors: Mapping[str, Any]
    settings: Mapping[str, Any] | None
    labels: Sequence[str] | None
    info: dict[str, Any]
    cfg: Mapping[str, Any] | None = None
    precision: Stated = UNROUNDED
    labels_source: str = "the caller"
    stated_input: tuple[InputSpec, str] = ECG_FM, ASSUMED_INPUT


def _write(
    destination: StrPath, targets: list[Path], found: Checkpoint | _InMemory, labels: Sequence[str] | None
) -> None:
    if targets[0].suffix == ".pt":
        write_pt(targets[0], pt_content(found))
        return
    arguments: dict[str, Any] = {"kind": found.kind, "config": found.config, "tensors": found.tensors}
    arguments |= {"settings": found.settings, "labels": labels, "info": found.info, "cfg": found.cfg}
    arguments |= {"precision": found.precision, "input": found.stated_input}
    if len(targets) == 2 and targets[0].name == WEIGHTS and Path(destination).suffix != ".safetensors":
        write_directory(destination, **arguments)
    else:
        write_safetensors(targets[0], **arguments)


def _free_targets(destination: StrPath, force: bool) -> list[Path]:
    targets = _targets(destination)
    for target in targets:
        if os.path.isdir(target):
            raise CheckpointError("there is a directory of this name", path=target)
        if os.path.lexists(target) and not force:
            raise CheckpointError("the file exists", path=target, remedy="Give another name, or --force (force=True)")
    return targets


def is_pt(destination: StrPath) -> bool:
    """Whether what is written there is a ``.pt`` file."""
    return _targets(destination)[0].suffix == ".pt"


def _targets(destination: StrPath) -> list[Path]:
    try:
        path = Path(destination)
    except TypeError:
        what = f"not a path but of type {type(destination).__name__}"
        raise CheckpointError(what, path=shown(destination)) from None
    if os.path.isdir(path) or path.suffix == "":
        return [path / WEIGHTS, path / CONFIG]
    if path.suffix == ".pt":
        return [path]
    if path.suffix == ".safetensors":
        return [path, path.parent / CONFIG]
    raise CheckpointError(
        f"the suffix {path.suffix} is not known",
        path=path,
        remedy="Name a .pt file, a .safetensors file, or a directory without a dot in its name",
    )


def pt_content(found: Checkpoint | _InMemory) -> dict[str, Any]:
    """The content of a ``.pt`` file for a Checkpoint: its model and configuration, no state of training.

    Parameters
    ----------
    found : Checkpoint

    Returns
    -------
    dict
        For `write_pt`.
    """
    cfg = plain_json(found.cfg or {})
    cfg["model"] = saved_settings(found.kind, found.config, found.settings)
    cfg = complete(cfg, found.kind)
    # Of int8 numbers the float32 that they stand for are written.
    ours = {"info": _info_of_pt(found.info), "precision": plain_json(found.precision.written(FLOAT32))}
    ours |= written_input(*found.stated_input)
    if found.labels is not None and found.labels_source != ASSUMED:
        ours["labels"] = list(found.labels)
    return {
        "args": None,
        "cfg": cfg,
        "model": dict(found.tensors),
        "criterion": None,
        # The original looks into the last entry of this list and into train_iterator whenever it loads a file.
        "optimizer_history": [
            {
                "criterion_name": CRITERIA[cfg["criterion"]["_name"]],
                "optimizer_name": "Adam",
                "lr_scheduler_state": {"lr": _first_number(cfg["optimization"].get("lr"))},
                "num_updates": 0,
            }
        ],
        "task_state": {},
        "extra_state": {
            "metrics": {name: [] for name in ("default", "train", "train_inner", "valid")},
            "previous_training_time": 0.0,
            "train_iterator": {"version": 2, "epoch": 1, "iterations_in_epoch": 0, "shuffle": True},
            "val_loss": None,
            "best": math.nan,  # None would end the original when it compares; nothing is better or worse than NaN
            "ecgfm": ours,
        },
        "last_optimizer_state": {"state": {}, "param_groups": [_param_group(cfg, len(found.tensors))]},
    }


def _info_of_pt(info: Mapping[str, Any]) -> dict[str, Any]:
    """What a ``.pt`` says of the model; a warning names what it leaves out, since who reads it would not follow it."""
    left = [name for name in _OF_ANSWERS if info.get(name) is not None]
    if left:
        what = f"a .pt file keeps no {' and no '.join(left)}: a model directory or a .safetensors file does"
        warnings.warn(what, InputWarning, stacklevel=6)
    found: dict[str, Any] = plain_json({name: value for name, value in info.items() if name not in left})
    return found


def _param_group(cfg: dict[str, Any], count: int) -> dict[str, Any]:
    """The settings of an Adam that has made no update yet, as torch's optimizers save them."""
    given = cfg["optimizer"]
    return {
        "lr": _first_number(cfg["optimization"].get("lr")),
        "betas": [0.9, 0.98],
        "eps": _first_number(given.get("adam_eps")),
        "weight_decay": _first_number(given.get("weight_decay")),
        "amsgrad": False,
        "params": list(range(count)),
    }


def _first_number(value: Any) -> float:
    """A number, or the first of a list of them; 0 for anything else."""
    if isinstance(value, list) and value:
        value = value[0]
    return float(value) if isinstance(value, (int, float)) else 0.0
