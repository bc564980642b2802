"""Pretraining on arrays or data sets: the loop over epochs, with validation and early stopping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._types import StrPath
from ..errors import ConfigError, SignalError
from ..model.model import Model
from ..model.segments import zeros_under_mask
from ..table import Table
from ..validation import bool_array, real_array
from .arguments import checked_seed
from .feed import InMemory, input_of, is_source, open_source, profile_of, rate_of, streamed
from .grouping import group_numbers, held_out
from .history import check_loop, checked_monitor, run_epochs
from .objectives.contrastive import Contrastive
from .pretrain_trainer import PretrainingTrainer
from .warned import level_of_user, warn

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..model import Model
    from .keywords import LoopKeywords

__all__ = ["Pretrained", "pretrain"]


@dataclass(eq=False)
class Pretrained:
    """What pretraining gives back.

    Attributes
    ----------
    model : Model
        The encoder of the best epoch, or of the last one where nothing was monitored: `ecgfm.finetune` starts from it.
    history : Table
        A row for each epoch: ``epoch``, ``num_updates``, ``train_...``, ``valid_...``, as `PretrainingTrainer.step`
        names them.
    best_epoch : int
        0 if Ctrl-C came before the first one was finished; `model` then has the weights as they were.
    trainer : PretrainingTrainer
        As it was after the last epoch.
    interrupted : bool
        Whether Ctrl-C ended it.
    """

    model: Model
    history: Table
    best_epoch: int
    trainer: PretrainingTrainer = field(repr=False)
    _weights: Mapping[str, Any] = field(repr=False)
    interrupted: bool = False

    def save(self, path: StrPath, *, force: bool = False) -> list[Path]:
        """Write the pretraining checkpoint of the best epoch, as `PretrainingTrainer.save` does."""
        return self.trainer.save(path, force=force, weights=self._weights)


def pretrain(
    pairs: Any,
    ids: Any = None,
    *,
    config: Mapping[str, Any] | Model | StrPath | None = None,
    padding_mask: ArrayLike | None = None,
    valid: Any = None,
    epochs: int = 10,
    batch_size: int = 16,
    update_freq: int = 1,
    monitor: str | None = None,
    patience: int | None = None,
    seed: int = 1,
    max_bad_segments: float = 0.01,
    progress: bool | None = None,
    callback: Callable[..., object] | None = None,
    **settings: Unpack[LoopKeywords],
) -> Pretrained:
    """Pretrain a model on pairs of segments: arrays, manifests of pairs (CMSC) or packed splits.

    Parameters
    ----------
    pairs : array_like, path-like or ecgfm.data.Dataset
        (n, 2, 12, N): two segments of each of n patients, as `ecgfm.prepare` gives them. May be a memory-mapped file.
        Or a manifest of pairs (``manifests/cmsc/train.tsv``), a packed split, or a data set of pairs.
    ids : array_like, optional
        (n,) integers or text: whose they are. Pairs of the same id belong together. By default each is a patient's own;
        segments of a manifest or packed split say of which record they are.
    config : dict, Model or path-like, optional
        The architecture of a new model, or what to go on from: as of `PretrainingTrainer`. By default a new model of
        ECG-FM's base size.
    padding_mask : array_like of bool, optional
        (n, 2, N) or (n, 2, 12, N).
    valid : tuple, path-like, Dataset or float, optional
        ``(pairs,)``, ``(pairs, ids)`` or ``(pairs, ids, padding_mask)`` for validation after each epoch; another
        manifest, packed split or data set; or, with arrays, the share of the patients to take for it, at random.
    epochs : int
    batch_size : int
        Pairs of a batch: CMSC tells them apart, so a batch of one has nothing to learn from it.
    update_freq : int
        Batches of an update.
    monitor : str, optional
        What chooses the best epoch: ``loss`` (the default with ``valid``), ``loss_0`` to ``loss_3``, ``accuracy``,
        ``prob_perplexity`` or ``code_perplexity`` of the validation.
    patience : int, optional
        Stop after so many epochs without a better one.
    seed : int
        Of new weights, of the order of the pairs and of all noise. A data set has its own for the order.
    max_bad_segments : float
        Share of a manifest's or packed split's segments that may be damaged: they are named in warnings and left out,
        each with its partner.
    progress : bool, optional
        Whether to show a line of progress on standard error; by default where that is a terminal.
    callback : callable, optional
        Called after each epoch with the row of the history, a dict, and with the trainer, if it needs two arguments
        (``trainer.model()`` is the model as it is); a true result ends the training.
    **settings
        As for `PretrainingTrainer`: ``loss``, ``schedule``, ``optimizer``, ``mask_prob``, ``num_negatives``, ...

    Returns
    -------
    Pretrained
        After Ctrl-C, too: with the best epoch so far, which a warning says.

    Raises
    ------
    ConfigError, SignalError, FormatError
        Before the first update, where the arguments don't fit; later, where a segment can't be read.
    """
    check_loop(callback, epochs=epochs, batch_size=batch_size, update_freq=update_freq, patience=patience)
    seed = checked_seed(seed)
    train, held = _parts(pairs, ids, padding_mask, valid, batch_size, seed, max_bad_segments)
    trainer = PretrainingTrainer({} if config is None else config, seed=seed, **settings)
    trainer.follow(input_of(pairs))
    trainer.follow_rate(rate_of(train))
    known = trainer.objective.columns
    monitor = checked_monitor(monitor, patience, known, validates=held is not None, give="valid=(pairs, ids)")
    history = run_epochs(
        trainer,
        train,
        held,
        epochs=epochs,
        update_freq=update_freq,
        monitor=monitor,
        patience=patience,
        progress=progress,
        callback=callback,
    )
    trainer.note(profile=profile_of(pairs))
    weights = history.weights(trainer)
    return Pretrained(
        trainer.model_of(weights), history.table, history.best_epoch, trainer, weights, history.interrupted
    )


# ---- arguments --------------------------------------------------------------------------------------


def _parts(
    pairs: Any, ids: Any, padding_mask: Any, valid: Any, batch_size: int, seed: int, max_bad_segments: float
) -> Any:
    """What to train on, and what to validate on or None."""
    if not is_source(pairs):
        if is_source(valid):
            raise ConfigError("is no array, the training data are", field="valid")
        train = _checked_pairs(pairs, ids, padding_mask, "x")
        parts = _split(train, valid, seed)
        if ids is None and isinstance(valid, (float, np.floating)):
            warn(
                f"valid={valid} holds single pairs back: those of one patient may be on both sides, and then the "
                "validation looks better than it is. Give ids, the patient of each pair"
            )
        return tuple(None if part is None else InMemory(part, batch_size, seed) for part in parts)
    for name, value in (("ids", ids), ("padding_mask", padding_mask)):
        if value is not None:
            raise ConfigError("comes with the data set", field=name)
    if valid is not None and not is_source(valid):
        raise ConfigError("give a manifest, a packed split or a data set", field="valid")
    train = open_source(pairs, pairs=True, training=True, seed=seed)
    held = None if valid is None else open_source(valid, pairs=True, training=False, seed=seed, field="valid")
    return (
        streamed(train, batch_size, Contrastive.take, max_bad_segments),
        None if held is None else streamed(held, batch_size, Contrastive.take),
    )


def _checked_pairs(pairs: Any, ids: Any, padding_mask: Any, name: str) -> Any:
    """(pairs (n, 2, L, N), ids (n,) int64, padding_mask or None)."""
    if padding_mask is None:
        padding_mask = getattr(pairs, "padding_mask", None)
    pairs = real_array(pairs, name)
    if pairs.ndim != 4 or pairs.shape[1] != 2 or len(pairs) == 0:
        raise SignalError(
            f"the shape {pairs.shape} is not (pairs, 2, leads, samples) with a pair: unpaired segments", field=name
        )
    mask = None if padding_mask is None else bool_array(padding_mask, "padding_mask")
    if mask is not None and mask.shape[:2] != pairs.shape[:2]:
        raise SignalError(f"the shape {mask.shape} does not fit {len(pairs)} pairs", field="padding_mask")
    pairs = zeros_under_mask(pairs, mask, stacklevel=level_of_user())
    return pairs, np.arange(len(pairs)) if ids is None else group_numbers(ids, len(pairs), "ids"), mask


def _split(train: Any, valid: Any, seed: int) -> Any:
    """(training part, validation part or None), each (pairs, ids, padding_mask); a patient is in one of them."""
    if valid is None:
        return train, None
    if isinstance(valid, (tuple, list)):
        if not 1 <= len(valid) <= 3:
            raise ConfigError("give (pairs, ids, padding_mask), the last two only if wanted", field="valid")
        ids, mask = [*valid[1:], None, None][:2]
        return train, _checked_pairs(valid[0], ids, mask, "valid")
    chosen = held_out(train[1], valid, seed, "patients")
    return tuple(tuple(None if values is None else values[rows] for values in train) for rows in (~chosen, chosen))
