"""Going on from a checkpoint: its weights and moments for the trainer, and what else it says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checkpoint
from .._text import shown
from ..errors import CheckpointError
from .trainable import is_adapter

__all__ = ["Restored", "restore"]

Path = str | os.PathLike[str]

_ANEW = "Say checkpoint.reset_optimizer=true to begin with a new optimizer"


class Restored:
    """What a checkpoint says beside the weights and moments, which `restore` has given to the trainer.

    Attributes
    ----------
    epoch, batches : int
        The epoch to go on with, and how many of its batches are done.
    best : float or None
        The best score of the first subset.
    bests : dict of str to float
        The best score of each subset.
    patience : (float or None, int)
        The best score and the validations since.
    due : dict or None
        Set if the validation of the last update was put off: whether that update was the ``end`` of an epoch, and
        whether to ``save`` afterwards.
    seconds : float
    metrics, ours : dict
    """

    def __init__(self, extra: Mapping[str, Any], path: Path) -> None:
        iterator = _dict(extra.get("train_iterator"))
        self.epoch = _whole(iterator.get("epoch"), 1, path, "train_iterator.epoch")
        self.batches = _whole(iterator.get("iterations_in_epoch"), 0, path, "train_iterator.iterations_in_epoch")
        self.best = _number(extra.get("best"))
        self.seconds = _number(extra.get("previous_training_time")) or 0.0
        self.metrics, self.ours = _dict(extra.get("metrics")), _dict(extra.get("ecgfm"))
        bests = {name: _number(value) for name, value in _dict(self.ours.get("best")).items()}
        self.bests = {name: value for name, value in bests.items() if value is not None}
        patience = self.ours.get("patience")
        patience = patience if isinstance(patience, (list, tuple)) and len(patience) == 2 else (None, 0)
        self.patience = _number(patience[0]), _whole(patience[1], 0, path, "ecgfm.patience")
        due = self.ours.get("due")
        self.due = {name: due.get(name) is True for name in ("end", "save")} if isinstance(due, dict) else None


def restore(path: Path, trainer: Any, criterion: str, *, optimizer: bool = True) -> Restored:
    """Give a trainer the weights of a checkpoint, and the moments if so wished.

    Returns
    -------
    Restored

    Raises
    ------
    CheckpointError
        If the file can't be read, or is of another network, criterion or optimizer.
    """
    with checkpoint.read(path) as found:
        state = trainer.state()
        weights = trainer.state_dict()
        _check_same(path, found, weights)
        history = found.content.get("optimizer_history")
        history = history[-1] if isinstance(history, list) and history and isinstance(history[-1], dict) else {}
        loaded: dict[str, Any] = {"parameters": {name: np.asarray(found.tensors[name]) for name in weights}}
        zeros = {name: np.zeros_like(values) for name, values in state["exp_avg"].items()}
        loaded |= {"exp_avg": zeros, "exp_avg_sq": dict(zeros), "steps": dict.fromkeys(state["steps"], 0)}
        loaded |= {"num_updates": 0, "skipped": 0, "epoch": 1, "seed": trainer.seed}
        if optimizer:
            if history.get("criterion_name") not in (None, criterion):
                raise CheckpointError(
                    f"it was trained with {shown(history['criterion_name'])}, this run has {criterion}",
                    path=path,
                    field="optimizer_history",
                    remedy="Say checkpoint.reset_optimizer=true, or checkpoint.finetune_from_model=FILE",
                )
            loaded["num_updates"] = _whole(history.get("num_updates"), 0, path, "optimizer_history.num_updates")
            ours = (found.extra_state or {}).get("ecgfm")
            loaded["skipped"] = _whole(ours.get("skipped"), 0, path, "ecgfm.skipped") if isinstance(ours, dict) else 0
            _take_moments(path, found, loaded, history)
        restored = Restored(found.extra_state or {}, path)
        _take_adapters(path, restored.ours.get("adapters") if optimizer else None, loaded, trainer)
        trainer.load_state(loaded)
        return restored


def _take_adapters(path: Path, saved: Any, loaded: dict[str, Any], trainer: Any) -> None:
    """Of a run with low-rank adapters. Where none are wanted of the checkpoint, they begin anew, on its weights."""
    own = {name: values for name, values in trainer.state()["parameters"].items() if is_adapter(name)}
    if own and saved is None:
        trainer.engine.rebase(loaded["parameters"])
    for name, values in own.items():
        if saved is None:
            loaded["parameters"][name] = np.array(values)
            continue
        entry = saved.get(name) if isinstance(saved, dict) else None
        field = f"ecgfm.adapters.{name}"
        if not isinstance(entry, dict):
            raise CheckpointError("this adapter of the run is not in it", path=path, field=field, remedy=_ANEW)
        loaded["parameters"][name] = _moments(entry.get("values"), values.shape, path, f"{field}.values", name)
        for part in ("exp_avg", "exp_avg_sq"):
            loaded[part][name] = _moments(entry.get(part), values.shape, path, f"{field}.{part}", name)
        loaded["steps"][name] = _whole(entry.get("step"), None, path, f"{field}.step", remedy=_ANEW)


def _check_same(path: Path, found: checkpoint.Checkpoint, own: Mapping[str, NDArray[np.float32]]) -> None:
    for name, values in own.items():
        if name not in found.tensors:
            raise CheckpointError("the checkpoint is of another network: it lacks this tensor", path=path, field=name)
        if tuple(found.tensors[name].shape) != values.shape:
            raise CheckpointError(
                "the checkpoint is of another network: "
                f"its shape is {tuple(found.tensors[name].shape)}, not {values.shape}",
                path=path,
                field=name,
            )


def _take_moments(path: Path, found: checkpoint.Checkpoint, loaded: dict[str, Any], history: Mapping[str, Any]) -> None:
    saved = found.content.get("last_optimizer_state")
    saved = saved.get("state") if isinstance(saved, dict) else None
    if not isinstance(saved, dict):
        raise CheckpointError(
            "the state of the optimizer is not in it", path=path, field="last_optimizer_state", remedy=_ANEW
        )
    if "FP16" in str(history.get("optimizer_name"))[:100]:
        raise CheckpointError(
            "its FP16Optimizer keeps the moments of all tensors as one, which can't be taken apart",
            path=path,
            field="last_optimizer_state",
            remedy=_ANEW,
        )
    for place, name in enumerate(found.tensors):
        entry = saved.get(place, saved.get(str(place)))
        if entry is None or name not in loaded["exp_avg"]:
            continue  # without updates so far, or frozen in this run
        field = f"last_optimizer_state.state.{place}"
        if not isinstance(entry, dict):
            raise CheckpointError(f"{shown(entry)} is not a state of {name}", path=path, field=field, remedy=_ANEW)
        for part in ("exp_avg", "exp_avg_sq"):
            loaded[part][name] = _moments(entry.get(part), loaded[part][name].shape, path, f"{field}.{part}", name)
        step = entry.get("step")
        if getattr(step, "shape", None) == ():
            step = float(np.asarray(step))
        loaded["steps"][name] = _whole(step, None, path, f"{field}.step", remedy=_ANEW)


def _moments(values: Any, shape: tuple[int, ...], path: Path, field: str, name: str) -> NDArray[np.float32]:
    """A moment of a tensor, if it is one."""
    there = getattr(values, "shape", None)
    if there != shape:
        what = shown(values) if not isinstance(there, tuple) else f"of shape {there}"
        raise CheckpointError(f"it is {what}, {name} has the shape {shape}", path=path, field=field, remedy=_ANEW)
    try:
        found = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError):
        raise CheckpointError("it is not numbers", path=path, field=field, remedy=_ANEW) from None
    if not np.isfinite(found).all():
        raise CheckpointError("a value is not finite", path=path, field=field, remedy=_ANEW)
    return found


def _whole(value: Any, default: int | None, path: Path, field: str, remedy: str | None = None) -> int:
    """A whole number of a checkpoint; `default` where it is not there."""
    if value is None and default is not None:
        return default
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise CheckpointError(f"{shown(value)} is not a whole number from 0 up", path=path, field=field, remedy=remedy)
    return value


def _dict(value: Any) -> dict[Any, Any]:
    """A dict of a checkpoint; an empty one for what is not one."""
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    """A number of a checkpoint as a float; None for what is not one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 1e300:  # nor NaN
        return None
    return float(value)
