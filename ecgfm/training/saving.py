"""Checkpoints of a run: what they hold, their names, and which are kept."""

import os
import re
import shutil

from .. import checkpoint
from ..checkpoint.directory import saved_settings
from ..errors import CheckpointError
from ..storage.atomic import sync_folder

__all__ = ["Keeper", "content"]

_JOB_LOGGING = {
    "version": 1,
    "formatters": {"simple": {"format": "[%(asctime)s][%(name)s] - %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "simple", "stream": "ext://sys.stdout"}},
    "root": {"level": "INFO", "handlers": ["console"]},
    "disable_existing_loggers": False,
}


def content(settings, trainer, criterion, place, meters, best, ours):
    """What a ``.pt`` file of this run holds, for `ecgfm.checkpoint.write_pt`.

    Parameters
    ----------
    settings : RunSettings
    trainer : Trainer
    criterion : str
        Name of the original's class.
    place : (int, int)
        The epoch to go on with, and how many of its batches are done.
    meters : MeterSet
    best : (float or None, float or None)
        The score of the last validation, and the best so far.
    ours : dict
        What only this package knows.
    """
    state = trainer.state()
    kind = "classifier" if settings.classifies else "pretraining"
    model = saved_settings(kind, trainer.config, settings.start.settings) | {"args": None}
    cfg = {**settings.cargo, "model": model, "job_logging_cfg": _JOB_LOGGING}
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
    if not settings.keep.no_save_optimizer_state:
        saved["last_optimizer_state"] = _optimizer_state(trainer, state, lr)
    return saved


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


class Keeper:
    """Names of checkpoints, and which of them are kept.

    Parameters
    ----------
    keep : Keep
    """

    def __init__(self, keep):
        self._keep, self.folder, self._suffix = keep, keep.save_dir, keep.checkpoint_suffix
        self._larger, self._metric = keep.maximize_best_checkpoint_metric, keep.best_checkpoint_metric

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
        keep, names = self._keep, []
        if keep.no_save:
            return []
        if end_of_epoch and not keep.no_epoch_checkpoints and epoch % keep.save_interval == 0:
            names.append(f"checkpoint{epoch}{self._suffix}.pt")
        every = keep.save_interval_updates
        if not end_of_epoch and every > 0 and updates % every == 0:
            names.append(f"checkpoint_{epoch}_{updates}{self._suffix}.pt")
        if score is not None and score == score and best is not None and self.better(score, best):
            names.append(f"checkpoint_best{self._suffix}.pt")
        if score is not None and keep.keep_best_checkpoints > 0 and self._among_best(score):
            names.append(f"checkpoint.best_{self._metric}_{score:.2f}{self._suffix}.pt")
        if not keep.no_last_checkpoints:
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
        count = self._keep.keep_best_checkpoints
        return len(there) < count or self.better(score, there[count - 1])

    def _best_files(self):
        pattern = re.compile(rf"checkpoint\.best_{re.escape(self._metric)}_(-?\d+\.?\d*){re.escape(self._suffix)}\.pt")
        return [(float(match[1]), path) for match, path in self._matching(pattern)]

    def _matching(self, pattern):
        names = sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else []
        found = ((pattern.fullmatch(name), name) for name in names)
        return [(match, self.path(name)) for match, name in found if match]

    def _delete(self, end_of_epoch):
        keep, suffix = self._keep, re.escape(self._suffix)
        if not end_of_epoch and keep.keep_interval_updates > 0:
            found = self._matching(re.compile(rf"checkpoint_\d+_(\d+){suffix}\.pt"))
            pattern = keep.keep_interval_updates_pattern
            if pattern > 0:
                found = [(match, path) for match, path in found if int(match[1]) % pattern]
            _remove(found, keep.keep_interval_updates)
        if keep.keep_last_epochs > 0:
            _remove(self._matching(re.compile(rf"checkpoint(\d+){suffix}\.pt")), keep.keep_last_epochs)
        if keep.keep_best_checkpoints > 0:
            best = sorted(self._best_files(), reverse=self._larger)
            for _, path in best[keep.keep_best_checkpoints :]:
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
