"""Checkpoints of a run: what they hold, their names, which are kept, and going on from one."""

import os
import re
import shutil

import numpy as np

from .. import checkpoint
from .._text import shown
from ..checkpoint.directory import plain_json, saved_settings
from ..errors import CheckpointError
from ..storage.atomic import sync_folder

__all__ = ["Keeper", "content", "model_settings", "restore"]

_ANEW = "Say checkpoint.reset_optimizer=true to begin with a new optimizer"

_JOB_LOGGING = {
    "version": 1,
    "formatters": {"simple": {"format": "[%(asctime)s][%(name)s] - %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "simple", "stream": "ext://sys.stdout"}},
    "root": {"level": "INFO", "handlers": ["console"]},
    "disable_existing_loggers": False,
}


def content(run, trainer, kind, criterion, place, meters, best, ours, *, optimizer=True):
    """What a ``.pt`` file of this run holds, for `ecgfm.checkpoint.write_pt`.

    Parameters
    ----------
    run : Run
    trainer : Trainer
    kind : {"classifier", "pretraining"}
    criterion : str
        Name of the original's class.
    place : (int, int)
        The epoch to go on with, and how many of its batches are done.
    meters : MeterSet
    best : (float or None, float or None)
        The score of the last validation, and the best so far.
    ours : dict
        What only this package knows.
    optimizer : bool
        Keep the moments of Adam.
    """
    state = trainer.state()
    cfg = {"_name": None} | {group: plain_json(values) for group, values in run.of_fairseq_signals().items()}
    cfg["model"] = model_settings(kind, trainer.config, run["model"])
    cfg["job_logging_cfg"] = _JOB_LOGGING
    lr = float(trainer.schedule(max(trainer.num_updates - 1, 0), trainer.epoch))
    history = {
        "criterion_name": criterion,
        "optimizer_name": "Adam",
        "lr_scheduler_state": {"lr": lr},
        "num_updates": trainer.num_updates,
    }
    epoch, batches = place
    names_known = trainer.labels and not trainer.labels_assumed  # what is only assumed is assumed again
    saved = {
        "args": None,
        "cfg": cfg,
        "model": state["parameters"],
        "criterion": None,
        "optimizer_history": [history],
        "task_state": {},
        "extra_state": {
            "metrics": meters.state(),
            "previous_training_time": float(meters.seconds()),
            "train_iterator": {"version": 2, "epoch": epoch, "iterations_in_epoch": batches, "shuffle": True},
            "val_loss": best[0],
            "best": best[1],
            "ecgfm": ours | ({"labels": list(trainer.labels)} if names_known else {}),
        },
    }
    if optimizer:
        saved["last_optimizer_state"] = _optimizer_state(trainer, state, lr)
    return saved


def model_settings(kind, architecture, settings):
    """The group ``model`` of a run whose network has this architecture."""
    return saved_settings(kind, architecture, settings) | {"args": None}


def _optimizer_state(trainer, state, lr):
    """As torch's optimizers save theirs: tensors by their place among the model's."""
    names = list(state["parameters"])
    moments = {
        names.index(name): {
            "step": state["steps"][name],
            "exp_avg": state["exp_avg"][name],
            "exp_avg_sq": state["exp_avg_sq"][name],
        }
        for name in state["exp_avg"]
        if state["steps"][name] > 0
    }
    beta1, beta2 = trainer.optimizer["adam_betas"]
    group = {
        "lr": lr,
        "betas": [beta1, beta2],
        "eps": trainer.optimizer["adam_eps"],
        "weight_decay": trainer.optimizer["weight_decay"],
        "amsgrad": False,
        "params": list(range(len(names))),
    }
    return {"state": dict(sorted(moments.items())), "param_groups": [group]}


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
    patience : list
        The best score and the validations since.
    due : dict or None
        Set if the validation of the last update was put off: whether that update was the ``end`` of an epoch, and
        whether to ``save`` afterwards.
    seconds : float
    metrics, ours : dict
    """

    def __init__(self, extra, path):
        iterator = extra.get("train_iterator")
        iterator = iterator if isinstance(iterator, dict) else {}
        self.epoch = _whole(iterator.get("epoch"), 1, path, "train_iterator.epoch")
        self.batches = _whole(iterator.get("iterations_in_epoch"), 0, path, "train_iterator.iterations_in_epoch")
        self.best = _number(extra.get("best"))
        self.seconds = _number(extra.get("previous_training_time")) or 0.0
        self.metrics = extra.get("metrics") if isinstance(extra.get("metrics"), dict) else {}
        self.ours = extra.get("ecgfm") if isinstance(extra.get("ecgfm"), dict) else {}
        bests = self.ours.get("best")
        bests = {name: _number(value) for name, value in bests.items()} if isinstance(bests, dict) else {}
        self.bests = {name: value for name, value in bests.items() if value is not None}
        patience = self.ours.get("patience")
        patience = patience if isinstance(patience, (list, tuple)) and len(patience) == 2 else (None, 0)
        self.patience = [_number(patience[0]), _whole(patience[1], 0, path, "ecgfm.patience")]
        due = self.ours.get("due")
        self.due = {name: due.get(name) is True for name in ("end", "save")} if isinstance(due, dict) else None


def restore(path, trainer, criterion, *, optimizer=True):
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
        _check_same(path, found, state["parameters"])
        history = found.content.get("optimizer_history")
        history = history[-1] if isinstance(history, list) and history and isinstance(history[-1], dict) else {}
        loaded = {"parameters": {name: np.asarray(found.tensors[name]) for name in state["parameters"]}}
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
        trainer.load_state(loaded)
        return restored


def _check_same(path, found, own):
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


def _take_moments(path, found, loaded, history):
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


def _moments(values, shape, path, field, name):
    """A moment of a tensor, if it is one."""
    there = getattr(values, "shape", None)
    if there != shape:
        what = shown(values) if not isinstance(there, tuple) else f"of shape {there}"
        raise CheckpointError(f"it is {what}, {name} has the shape {shape}", path=path, field=field, remedy=_ANEW)
    try:
        values = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError):
        raise CheckpointError("it is not numbers", path=path, field=field, remedy=_ANEW) from None
    if not np.isfinite(values).all():
        raise CheckpointError("a value is not finite", path=path, field=field, remedy=_ANEW)
    return values


def _whole(value, default, path, field, remedy=None):
    """A whole number of a checkpoint; `default` where it is not there."""
    if value is None and default is not None:
        return default
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise CheckpointError(f"{shown(value)} is not a whole number from 0 up", path=path, field=field, remedy=remedy)
    return value


def _number(value):
    """A number of a checkpoint as a float; None for what is not one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 1e300:  # nor NaN
        return None
    return float(value)


class Keeper:
    """Names of checkpoints, and which of them are kept.

    Parameters
    ----------
    run : Run
        Its group ``checkpoint`` says how.
    """

    def __init__(self, run):
        self._c = run["checkpoint"]
        self.folder = run.need("checkpoint.save_dir")
        self._suffix = self._c["checkpoint_suffix"] or ""
        self._larger = bool(self._c["maximize_best_checkpoint_metric"])
        self._metric = self._c["best_checkpoint_metric"]

    def better(self, score, best):
        """Whether a score is no worse than the best so far."""
        if best is None:
            return True
        return score >= best if self._larger else score <= best

    def path(self, name):
        return os.path.join(self.folder, name)

    def save(self, make, epoch, updates, *, end_of_epoch, score=None, best=None):
        """Write the checkpoints that are due, and delete those that are no longer kept.

        Parameters
        ----------
        make : callable
            Gives the content; called only if something is to be written.
        epoch, updates : int
        end_of_epoch : bool
        score : float, optional
            Of the validation just done.
        best : float, optional
            The best score, this one included.

        Returns
        -------
        list of str
            The files written.
        """
        c, names = self._c, []
        if c["no_save"]:
            return []
        if end_of_epoch and not c["no_epoch_checkpoints"] and epoch % max(c["save_interval"], 1) == 0:
            names.append(f"checkpoint{epoch}{self._suffix}.pt")
        every = c["save_interval_updates"]
        if not end_of_epoch and every > 0 and updates % every == 0:
            names.append(f"checkpoint_{epoch}_{updates}{self._suffix}.pt")
        if score is not None and score == score and best is not None and self.better(score, best):
            names.append(f"checkpoint_best{self._suffix}.pt")
        if score is not None and c["keep_best_checkpoints"] > 0 and self._among_best(score):
            names.append(f"checkpoint.best_{self._metric}_{score:.2f}{self._suffix}.pt")
        if not c["no_last_checkpoints"]:
            names.append(f"checkpoint_last{self._suffix}.pt")
        if not names:
            return []
        paths = [self.path(name) for name in names]
        checkpoint.write_pt(paths[0], make())
        for path in paths[1:]:
            _place(paths[0], path)
        sync_folder(self.folder)
        self._delete(end_of_epoch)
        return paths

    def _among_best(self, score):
        """Whether a score is among the best that are kept."""
        there = sorted((value for value, _ in self._best_files()), reverse=self._larger)
        count = self._c["keep_best_checkpoints"]
        return len(there) < count or self.better(score, there[count - 1])

    def _best_files(self):
        pattern = re.compile(rf"checkpoint\.best_{re.escape(self._metric)}_(-?\d+\.?\d*){re.escape(self._suffix)}\.pt")
        return [(float(match[1]), path) for match, path in self._matching(pattern)]

    def _matching(self, pattern):
        names = sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else []
        found = ((pattern.fullmatch(name), name) for name in names)
        return [(match, self.path(name)) for match, name in found if match]

    def _delete(self, end_of_epoch):
        c, suffix = self._c, re.escape(self._suffix)
        if not end_of_epoch and c["keep_interval_updates"] > 0:
            found = self._matching(re.compile(rf"checkpoint_\d+_(\d+){suffix}\.pt"))
            pattern = c["keep_interval_updates_pattern"]
            if pattern != -1:
                found = [(match, path) for match, path in found if int(match[1]) % pattern]
            _remove(found, c["keep_interval_updates"])
        if c["keep_last_epochs"] > 0:
            _remove(self._matching(re.compile(rf"checkpoint(\d+){suffix}\.pt")), c["keep_last_epochs"])
        if c["keep_best_checkpoints"] > 0:
            best = sorted(self._best_files(), reverse=self._larger)
            for _, path in best[c["keep_best_checkpoints"] :]:
                os.remove(path)


def _remove(found, count):
    """Delete all files but those of the `count` largest numbers."""
    for _, path in sorted(((int(match[1]), path) for match, path in found), reverse=True)[count:]:
        os.remove(path)


def _place(source, destination):
    """The same file under another name, in one step; a later one takes its place and does not change it."""
    temporary = f"{destination}.part"
    try:
        if os.path.lexists(temporary):
            os.remove(temporary)
        try:
            os.link(source, temporary)
        except OSError:  # a file system without links
            shutil.copyfile(source, temporary)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, destination)
    except OSError as error:
        raise CheckpointError(f"cannot be written: {error.strerror or error}", path=destination) from None
