"""Where a run begins: anew, with the weights of another run, or where an earlier one of its own stopped."""

from __future__ import annotations

import os
from typing import Any

from ..data import Loader
from ..errors import CheckpointError, ConfigError
from ..ranks import Alone, Ranks
from .callbacks import Place
from .logs import CsvLog, Log
from .restoring import Restored, restore
from .settings import Keep
from .standing import Standing

__all__ = ["resume"]

_OWN = "checkpoint_last.pt"


def resume(
    keep: Keep, trainer: Any, criterion: str, loader: Loader, subsets: tuple[str, ...], log: Log, ranks: Alone | Ranks
) -> tuple[Place, Standing]:
    """Give the trainer what is to be gone on with, and take back the rows of the logs that are of updates after it.

    Parameters
    ----------
    keep : Keep
    trainer : Trainer
    criterion : str
        Name of the original's class.
    loader : Loader
        Of the training.
    subsets : tuple of str
        To validate on.
    log : Log
    ranks : Alone or Ranks

    Returns
    -------
    Place, Standing

    Raises
    ------
    CheckpointError, ConfigError
        If a file is not there or doesn't fit.
    """
    place, standing, step = Place(), Standing(), 0
    own = keep.restore_file == _OWN
    path = os.path.join(keep.save_dir, f"checkpoint_last{keep.checkpoint_suffix}.pt") if own else keep.restore_file
    there = os.path.exists(path)
    if not own and not there:
        raise CheckpointError("there is no such file", path=path, field="checkpoint.restore_file")
    if keep.finetune_from_model and keep.resets:
        raise ConfigError(f"does not go together with {', '.join(keep.resets)}", field="checkpoint.finetune_from_model")
    if there:
        saved = restore(path, trainer, criterion, optimizer=not keep.reset_optimizer)
        place = _place(keep, saved, loader, ranks, path)
        _take(keep, saved, standing, subsets)
        step = trainer.num_updates
        log.say(f"going on from {path}: epoch {place.epoch}, {place.batches} batches of it done, {step} updates")
    elif keep.finetune_from_model:
        restore(keep.finetune_from_model, trainer, criterion, optimizer=False)
        log.say(f"weights from {keep.finetune_from_model}")
    if ranks.rank == 0:
        again = () if standing.due is None else [f"{name}{end}" for name in subsets for end in ("", "_labels")]
        CsvLog(keep.save_dir).forget_after(step, again)
    return place, standing


def _take(keep: Keep, saved: Restored, standing: Standing, subsets: tuple[str, ...]) -> None:
    """What a run knows beside weights and moments."""
    if not keep.reset_meters:
        standing.meters.load(saved.metrics)
        if saved.best is not None and subsets:
            standing.best[subsets[0]] = saved.best
        standing.best |= {name: value for name, value in saved.bests.items() if name in subsets}
        standing.patience = saved.patience
    if saved.due is not None and not keep.resets and subsets:
        standing.due = saved.due
    standing.meters.previous_time = saved.seconds


def _place(keep: Keep, saved: Restored, loader: Loader, ranks: Alone | Ranks, path: str) -> Place:
    """The epoch to go on with, and the batches of it that each rank has done."""
    if keep.reset_dataloader:
        return Place()
    epoch, items = max(saved.epoch, 1), saved.ours.get("items")
    if saved.batches and items is not None and items != len(loader.dataset):
        raise CheckpointError(
            f"it stopped within an epoch of {items} items, the data set has {len(loader.dataset)} now",
            path=path,
            field="train_iterator",
            remedy="Say checkpoint.reset_dataloader=true to begin the data anew",
        )
    before = saved.ours.get("ranks")
    before = before if isinstance(before, int) and before > 0 else ranks.size
    return Place(epoch, min(saved.batches * before // ranks.size, len(loader)))
