"""Finetuning on arrays or data sets: the loop over epochs, with validation and early stopping."""

import math
import sys
import time
from dataclasses import dataclass, field

import numpy as np

from .._signals import checked_segments, real_array
from ..data.dataset import Dataset
from ..errors import ConfigError, LabelError, MissingExtraError, SignalError
from ..model import Model
from ..table import Table
from .parts import InMemory, Streamed, is_source, open_source, update_steps
from .trainer import Trainer, checked_seed

__all__ = ["Finetuned", "finetune"]

TRAIN_COLUMNS = ("loss", "accuracy", "em_accuracy", "precision", "recall", "gnorm", "lr")
VALID_COLUMNS = ("loss", "accuracy", "em_accuracy", "precision", "recall")
RANKING = ("auroc", "auprc", "auroc_macro", "auprc_macro")  # the first two over all cells together, as in the original
LESS_IS_BETTER = ("loss",)
CHECKED_AT_ONCE = 64  # segments


@dataclass(eq=False)
class Finetuned:
    """What finetuning gives back.

    Attributes
    ----------
    model : Model
        With the weights of the best epoch, or of the last one where nothing was monitored.
    history : Table
        A row for each epoch: ``epoch``, ``num_updates``, ``train_...``, ``valid_...``.
    best_epoch : int
    trainer : Trainer
        As it was after the last epoch.
    """

    model: Model
    history: Table
    best_epoch: int
    trainer: Trainer = field(repr=False)


def finetune(
    model,
    x,
    y=None,
    *,
    padding_mask=None,
    valid=None,
    epochs=10,
    batch_size=16,
    update_freq=1,
    monitor=None,
    patience=None,
    seed=1,
    max_bad_segments=0.01,
    progress=None,
    callback=None,
    **settings,
):
    """Finetune a model on arrays, on manifests or on packed splits.

    Parameters
    ----------
    model : Model or path-like
        A classifier or a pretrained model; not changed.
    x : array_like, path-like or ecgfm.data.Dataset
        (n, 12, N) segments as `ecgfm.prepare` gives them; a manifest (``manifests/train.tsv``) or packed split; or a
        data set with labels, which says for itself whether segments are augmented and what becomes of damaged ones.
    y : array_like or path-like, optional
        (n, Y) labels in [0, 1]. For a manifest or packed split: ``y.npy``, whose rows are the records' indices.
    padding_mask : array_like of bool, optional
        (n, N) or (n, 12, N).
    valid : tuple, Dataset or float, optional
        ``(x, y)`` or ``(x, y, padding_mask)`` for validation after each epoch, of the same kinds; a data set; or, with
        arrays, the share of the segments to take for it (at random; give arrays where segments of one patient must stay
        together).
    epochs : int
    batch_size : int
        Segments of a batch.
    update_freq : int
        Batches of an update.
    monitor : str, optional
        What chooses the best epoch: ``loss`` (the default with ``valid``), ``accuracy``, ``em_accuracy``,
        ``precision``, ``recall``; ``auroc`` or ``auprc`` over all cells together, as the original logs them;
        ``auroc_macro`` or ``auprc_macro``, means over the labels that have both classes (the last four need the extra
        ``[train]``).
    patience : int, optional
        Stop after so many epochs without a better one.
    seed : int
        Of the order of the segments and of what `Trainer` draws. A data set has its own for the order.
    max_bad_segments : float
        Share of a manifest's or packed split's segments that may be damaged: they are named in warnings and left out.
    progress : bool, optional
        Whether to show a line of progress on standard error; by default where that is a terminal.
    callback : callable, optional
        Called after each epoch with the row of the history, a dict; a true result ends the training.
    **settings
        As for `Trainer`: ``schedule``, ``optimizer``, ``pos_weight``, ``labels``, dropouts, ``feature_grad_mult``, ...

    Returns
    -------
    Finetuned

    Raises
    ------
    ConfigError, LabelError, SignalError, FormatError
        Before the first update, where the arguments don't fit; later, where a segment can't be read.
    """
    monitor = _checked_loop(epochs, batch_size, update_freq, monitor, patience, valid)
    seed = checked_seed(seed)
    train, held, num_labels = _parts(x, y, padding_mask, valid, batch_size, seed, max_bad_segments)
    settings.setdefault("num_labels", num_labels)
    trainer = Trainer(model, seed=seed, **settings)
    for part in (train, held):
        if part is not None:
            _check(trainer, part)
    wanted = sys.stderr.isatty() if progress is None else progress
    shows = _Progress(wanted, epochs, math.ceil(len(train) / update_freq))
    rows, best = [], None
    for epoch in range(1, epochs + 1):
        trainer.epoch = epoch
        row = _train_epoch(trainer, train.epoch(epoch), update_freq, shows)
        if held is not None:
            row |= _validate(trainer, held, monitor)
        rows.append(row)
        shows.epoch(row)
        score = _score(row, monitor)
        if best is None or score is None or score > best[0]:
            copy = score is not None and epoch < epochs
            best = (-math.inf if score is None else score, epoch, _copied(trainer) if copy else None)
        stop = callback(dict(row)) if callback else False
        if stop or (patience is not None and epoch - best[1] >= patience):
            break
    shows.close()
    weights = trainer.state_dict() if best[2] is None else best[2]
    tuned = Model.from_state_dict(trainer.config, weights, labels=trainer.labels)
    history = Table({name: np.array([row[name] for row in rows]) for name in rows[0]})
    return Finetuned(tuned, history, best[1], trainer)


def _copied(trainer):
    return {name: values.copy() for name, values in trainer.state_dict().items()}


def _score(row, monitor):
    """Larger is better; None where nothing is monitored. An undefined value is the worst."""
    if monitor is None:
        return None
    value = row[f"valid_{monitor}"]
    if math.isnan(value):
        return -math.inf
    return -value if monitor in LESS_IS_BETTER else value


# ---- arguments --------------------------------------------------------------------------------------


def _checked_loop(epochs, batch_size, update_freq, monitor, patience, valid):
    values = {"epochs": epochs, "batch_size": batch_size, "update_freq": update_freq}
    if patience is not None:
        values["patience"] = patience
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ConfigError(f"{value!r} is not an integer from 1 up", field=name)
    known = VALID_COLUMNS + RANKING
    if monitor is not None and monitor not in known:
        raise ConfigError(f"{monitor!r} is not known", field="monitor", remedy=f"Choose from {', '.join(known)}")
    if valid is None and (monitor is not None or patience is not None):
        field = "monitor" if monitor is not None else "patience"
        raise ConfigError("there is nothing to validate on", field=field, remedy="Give valid=(x, y)")
    if monitor in RANKING:
        _metrics()
    return "loss" if monitor is None and valid is not None else monitor


def _arrays(x, y, padding_mask, name):
    if padding_mask is None:
        padding_mask = getattr(x, "padding_mask", None)
    x = real_array(x, name)
    y = np.asarray(y)
    y = real_array(y.astype(np.uint8) if y.dtype == bool else y, "y", LabelError)
    if x.ndim != 3 or len(x) == 0:
        raise SignalError(f"the shape {x.shape} is not (segments, leads, samples) with a segment", field=name)
    if y.ndim != 2 or len(y) != len(x) or y.shape[1] == 0:
        raise LabelError(f"the shape {y.shape} does not fit {len(x)} segments: (segments, labels)", field="y")
    mask = None if padding_mask is None else np.asarray(padding_mask)
    if mask is not None and (mask.ndim < 2 or len(mask) != len(x)):
        raise SignalError(f"the shape {mask.shape} does not fit {len(x)} segments", field="padding_mask")
    return x, y, mask


def _parts(x, y, padding_mask, valid, batch_size, seed, max_bad_segments):
    """What to train on, what to validate on or None, and the number of labels."""
    if not is_source(x):
        if is_source(valid) or (isinstance(valid, tuple) and valid and is_source(valid[0])):
            raise ConfigError("is no array, the training data are", field="valid")
        x, y, padding_mask = _arrays(x, y, padding_mask, "x")
        parts = _split(x, y, padding_mask, valid, seed)
        return *(None if part is None else InMemory(part, batch_size, seed) for part in parts), y.shape[1]
    if padding_mask is not None:
        raise ConfigError("comes with the data set", field="padding_mask")
    train = _opened(x, y, True, seed, "x")
    held = None
    if valid is not None:
        valid = (valid, None) if isinstance(valid, Dataset) else valid
        if not isinstance(valid, (tuple, list)) or len(valid) != 2 or not is_source(valid[0]):
            raise ConfigError("give (manifest, labels) or a data set", field="valid")
        held = _opened(*valid, False, seed, "valid")
        if held.num_labels != train.num_labels:
            raise LabelError(f"{held.num_labels} labels, the training data have {train.num_labels}", field="valid")
        held = Streamed(held, batch_size, _taken)
    return Streamed(train, batch_size, _taken, max_bad_segments), held, train.num_labels


def _opened(source, labels, training, seed, field):
    data = open_source(source, pairs=False, training=training, seed=seed, labels=labels, field=field)
    if data.num_labels is None:
        raise LabelError(
            "there are no labels", path=data.path, field="y", remedy="Give y.npy, whose rows are the records' indices"
        )
    return data


def _taken(batch):
    return batch.x, batch.y, batch.padding_mask


def _check(trainer, part):
    """What each step would check, before the first one; of a data set that is read as it goes, some of it."""
    if isinstance(part, Streamed):
        batch = part.check()
        if batch is not None:
            trainer.checked_labels(batch[1], len(batch[1]))
            checked_segments(batch[0], batch[2], trainer.config)
        return
    y = part.arrays[1]
    trainer.checked_labels(y, len(y))
    for start in range(0, len(y), CHECKED_AT_ONCE):
        x, _, mask = part.rows(slice(start, start + CHECKED_AT_ONCE))
        x, _ = checked_segments(x, mask, trainer.config)
        if not np.isfinite(x).all():
            row, lead, sample = map(int, np.argwhere(~np.isfinite(x))[0])
            raise SignalError(f"x[{start + row}, {lead}, {sample}] (segment, lead, sample) is {x[row, lead, sample]}")


def _split(x, y, padding_mask, valid, seed):
    """(training part, validation part or None), each (x, y, padding_mask)."""
    if valid is None:
        return (x, y, padding_mask), None
    if isinstance(valid, (tuple, list)):
        if len(valid) not in (2, 3):
            raise ConfigError("give (x, y) or (x, y, padding_mask)", field="valid")
        held = _arrays(valid[0], valid[1], valid[2] if len(valid) == 3 else None, "valid")
        if held[1].shape[1] != y.shape[1]:
            raise LabelError(f"{held[1].shape[1]} labels, the training data have {y.shape[1]}", field="valid")
        return (x, y, padding_mask), held
    if isinstance(valid, bool) or not isinstance(valid, float) or not 0 < valid < 1:
        raise ConfigError(f"{valid!r} is neither arrays nor a share between 0 and 1", field="valid")
    count = round(len(x) * valid)
    if not 0 < count < len(x):
        raise ConfigError(f"a share of {valid} of {len(x)} segments leaves nothing on one side", field="valid")
    order = np.random.RandomState(seed).permutation(len(x))
    parts = []
    for rows in (np.sort(order[count:]), np.sort(order[:count])):
        parts.append((x[rows], y[rows], None if padding_mask is None else padding_mask[rows]))
    return tuple(parts)


# ---- an epoch ---------------------------------------------------------------------------------------


def _train_epoch(trainer, parts, update_freq, shows):
    totals, steps = {}, update_steps(trainer, parts, update_freq, shows)
    weights = np.array([step["sample_size"] for step in steps], dtype=np.float64)
    for name in TRAIN_COLUMNS[:-1]:
        values = np.array([step[name] for step in steps], dtype=np.float64)
        known = ~np.isnan(values)
        totals[f"train_{name}"] = float(np.average(values[known], weights=weights[known])) if known.any() else math.nan
    return {"epoch": trainer.epoch, "num_updates": trainer.num_updates, **totals, "train_lr": steps[-1]["lr"]}


def _validate(trainer, held, monitor):
    logits, y = [], []
    for x, labels, padding_mask in held:
        logits.append(trainer.logits(x, padding_mask))
        y.append(labels)
    logits, y = np.concatenate(logits), np.concatenate(y)
    found = trainer.losses(logits, y)
    row = {f"valid_{name}": found[name] for name in VALID_COLUMNS}
    if monitor in RANKING:
        row |= {f"valid_{name}": value for name, value in _ranking(logits, y > 0.5).items()}
    return row


def _metrics():
    try:
        from sklearn import metrics
    except ImportError:
        raise MissingExtraError(
            "scikit-learn is not installed", field="monitor", remedy="Install it with: pip install 'ecgfm[train]'"
        ) from None
    return metrics


def _ranking(logits, truth):
    metrics = _metrics()

    def both(y, score):
        if y.all() or not y.any():
            return math.nan, math.nan
        return float(metrics.roc_auc_score(y, score)), float(metrics.average_precision_score(y, score))

    each = np.array([both(truth[:, i], logits[:, i]) for i in range(truth.shape[1])])
    known = ~np.isnan(each[:, 0])
    macro = each[known].mean(axis=0) if known.any() else (math.nan, math.nan)
    micro = both(truth.ravel(), logits.ravel())
    return dict(zip(RANKING, (*micro, *map(float, macro))))


class _Progress:
    """One line on standard error that is written over, and one that stays for each epoch."""

    def __init__(self, wanted, epochs, updates):
        self._wanted, self._epochs, self._updates = wanted, epochs, updates
        self._epoch, self._done, self._last = 1, 0, 0.0

    def update(self, step):
        self._done += 1
        now = time.monotonic()
        if self._wanted and now - self._last > 0.2:
            self._last = now
            line = f"epoch {self._epoch}/{self._epochs}  update {self._done}/{self._updates}  loss {step['loss']:.4f}"
            print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)

    def epoch(self, row):
        if self._wanted:
            told = [f"loss {row['train_loss']:.4f}"]
            told += [f"{name} {row[name]:.4f}" for name in row if name.startswith("valid_") and not math.isnan(row[name])]
            print(f"\repoch {self._epoch}/{self._epochs}  {'  '.join(told)}\x1b[K", file=sys.stderr, flush=True)
        self._epoch, self._done = self._epoch + 1, 0

    def close(self):
        self._wanted = False
