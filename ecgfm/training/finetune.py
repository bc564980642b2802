"""Finetuning on arrays or data sets: the loop over epochs, with validation and early stopping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._text import printable, shown
from ..ecg.prepare import spec_of
from ..errors import ConfigError, LabelError
from ..inference.stream import Reading
from ..metrics.ranking import scikit_learn
from ..model.model import Model
from ..specs.inputs import ECG_FM
from ..specs.target import Target
from ..table import Table
from ..validation import Choice, checked
from .arguments import checked_seed
from .balance import label_weights
from .below import TYPES, CachePlace
from .feed import input_of, profile_of, rate_of
from .finetune_data import Wanted, labels_of
from .head import listed
from .history import check_loop, checked_monitor, run_epochs
from .objectives import OBJECTIVES, Labelled, Objective
from .objectives.classification import RANKING, BinaryCrossEntropy
from .objectives.regression import MeanSquaredError
from .recordings import READING, gathered, input_of_model, is_recordings
from .schedules import with_rate
from .standing_file import StandingFile, identity
from .trainer import Trainer
from .warned import warn

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .._types import StrPath
    from ..model import Model
    from .keywords import RecordingKeywords

__all__ = ["Finetuned", "finetune"]

_GIVE = "valid=(x, y)"


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
        0 if Ctrl-C came before the first one was finished; `model` then has the weights as they were.
    trainer : Trainer
        As it was after the last epoch.
    interrupted : bool
        Whether Ctrl-C ended it.
    """

    model: Model
    history: Table
    best_epoch: int
    trainer: Trainer = field(repr=False)
    interrupted: bool = False


def finetune(
    model: Model | StrPath,
    x: Any,
    y: Any = None,
    *,
    padding_mask: ArrayLike | None = None,
    groups: Any = None,
    ids: Any = None,
    sample_weight: ArrayLike | None = None,
    class_weight: Any = None,
    valid: Any = None,
    lr: float | None = None,
    epochs: int = 10,
    batch_size: int = 16,
    update_freq: int = 1,
    monitor: str | None = None,
    patience: int | None = None,
    seed: int = 1,
    max_bad_segments: float = 0.01,
    progress: bool | None = None,
    callback: Callable[..., object] | None = None,
    cache: StrPath = "auto",
    cache_dtype: str = "float32",
    checkpoint_dir: StrPath | None = None,
    **settings: Unpack[RecordingKeywords],
) -> Finetuned:
    """Finetune a model on arrays, on manifests or on packed splits.

    Parameters
    ----------
    model : Model or path-like
        A classifier or a pretrained model, not changed; or what `ecgfm.load` takes.
    x : array_like, Segments, list of Segments, Record, path-like, list of these, or ecgfm.data.Dataset
        (n, 12, N) segments as `ecgfm.prepare` gives them, also those of several recordings in a list. Recordings:
        files, folders, Records, which are read and prepared as `ecgfm.predict` does and then lie in memory; a file that
        can't be read is left out, which a warning says. A manifest (``manifests/train.tsv``) or packed split; or a data
        set with labels, which says for itself whether segments are augmented and what becomes of damaged ones.
    y : array_like, pandas.DataFrame or Series, Table, or path-like, optional
        (n, Y) labels in [0, 1], or (n,) of one label; with ``loss="mse"`` numbers; NaN where one is not known, which
        has no part in the loss. For a list of Segments a row for each segment or for each recording. A table names its
        columns. For recordings a table or CSV file as `ecgfm.evaluate` takes it, with a column that names them, or rows
        in their order; its columns of 0 and 1 are the labels unless `labels` says which. For a manifest or packed
        split: ``y.npy``, whose rows are the records' indices and whose columns a ``label_def.csv`` beside it names, or
        a table with a column ``idx``.
    padding_mask : array_like of bool, optional
        (n, N) or (n, 12, N). What stands under it is taken as 0.
    groups, ids : array_like or str, optional
        (n,) integers or text: the patient, or the recording, of each segment; of a manifest, of each of its lines; of
        a list of Segments also of each recording; of recordings a value for each, or the name of a column of `y`. Two
        names for one thing. With a share as `valid` a group is on one side only. By default the recordings that a list
        of Segments, a manifest or a packed split names by itself; plain arrays name none, which a warning says.
    sample_weight : array_like, optional
        (n,) what each segment counts for in training; as `groups`, also of each line of a manifest or, for a list of
        Segments, of each recording.
    class_weight : "balanced" or dict, optional
        Of a label's two classes, as of scikit-learn: ``"balanced"`` is n / (2 n_c), n of a label's known values and n_c
        of those of the class; ``{0: 1, 1: 5}`` for all labels; or label -> either.
    valid : tuple, Dataset or float, optional
        ``(x, y)`` or ``(x, y, padding_mask)`` for validation after each epoch, of the same kinds; a data set; or the
        share of the groups to take for it: at random, but so that each label has its share of positives on either
        side, as nearly as whole groups allow.
    lr : float, optional
        The learning rate: by itself a fixed one, with a `schedule` that names none its highest.
    epochs : int
    batch_size : int
        Segments of a batch.
    update_freq : int
        Batches of an update.
    monitor : str, optional
        What chooses the best epoch: ``loss`` (the default with ``valid``), ``accuracy``, ``em_accuracy``,
        ``precision``, ``recall``; ``auroc`` or ``auprc`` over all cells together, as the original logs them;
        ``auroc_macro`` or ``auprc_macro``, means over the labels that have both classes (the last four need the extra
        ``[train]``). Of ``loss="mse"``: ``loss``, ``mae``, ``r2`` or ``pearson``.
    patience : int, optional
        Stop after so many epochs without a better one.
    seed : int
        Of the order of the segments and of what `Trainer` draws. A data set has its own for the order.
    max_bad_segments : float
        Share of a manifest's or packed split's segments that may be damaged: they are named in warnings and left out.
    progress : bool, optional
        Whether to show a line of progress on standard error; by default where that is a terminal.
    callback : callable, optional
        Called after each epoch with the row of the history, a dict, and with the trainer, if it needs two arguments
        (``trainer.model()`` is the model as it is); a true result ends the training.
    cache : {"auto", "memory", "off"} or path-like
        Where a part of the network is frozen (`trainable`), and segments are the same in each epoch: whether the rows
        that enter what is trained are computed once and kept over epochs, of training and validation. ``"auto"``: in
        memory where they take at most half of what is free. A path: files in this folder, which later calls use again
        where the weights below, the segments and what the model takes are the same.
    cache_dtype : {"float32", "bfloat16"}
        In which they are kept. bfloat16 takes half of the room; the frozen part is then rounded to 8 bits.
    checkpoint_dir : path-like, optional
        A folder for a file that is written after each epoch. The same call again, after a crash or Ctrl-C, goes on
        behind the last epoch that was finished there, and ends with the same bits; `epochs` and `patience` may differ.
    **settings
        As for `Trainer`: ``loss`` (``focal``, ``asymmetric``; ``mse`` for numbers, whose mean and deviation are those
        of the known values of `y` unless ``target`` gives them, and whose ``units`` may be named), ``schedule``,
        ``optimizer``, ``pos_weight`` (or ``"balanced"``: a label's negatives to its
        positives), dropouts, ``feature_grad_mult``, ...; and ``labels``, the names of the outputs,
        or the columns of `y` to take, in this order. By default the names of `y`, else those of the model. Rows of a
        classifier's output layer go with their names; for names that it doesn't have they are made anew, which a
        warning says. For recordings also ``sampling_rate``, ``leads``, ``unit``, ``missing_leads``, ``short``,
        ``only_leads``, ``overlap_s`` and ``readers`` as of `ecgfm.predict`.

    Returns
    -------
    Finetuned
        After Ctrl-C, too: with the best epoch so far, which a warning says.

    Raises
    ------
    ConfigError, LabelError, SignalError, FormatError
        Before the first update, where the arguments don't fit; later, where a segment can't be read.
    """
    check_loop(callback, epochs=epochs, batch_size=batch_size, update_freq=update_freq, patience=patience)
    given: dict[str, Any] = dict(settings) | with_rate(lr, settings)
    kind = _objective(given.get("loss", BinaryCrossEntropy.loss))
    decides: dict[str, Any] = dict(settings, class_weight=class_weight, lr=lr, monitor=monitor)
    decides.update(batch_size=batch_size, update_freq=update_freq)
    groups = _one_of(groups, ids)
    if is_recordings(x):
        x, y, groups, sample_weight, valid = _read(model, kind, given, x, y, groups, sample_weight, valid)
    monitor = checked_monitor(monitor, patience, kind.columns + kind.ranked, validates=valid is not None, give=_GIVE)
    place = checked(cache, CachePlace(), "cache"), checked(cache_dtype, Choice(tuple(TYPES)), "cache_dtype")
    if monitor in RANKING:
        scikit_learn("monitor")
    seed = checked_seed(seed)
    wanted = Wanted(given.pop("labels", None), batch_size, seed, max_bad_segments, spec_of(model) or ECG_FM)
    train, held, names, num_labels = wanted.parts(x, y, padding_mask, groups, valid, sample_weight)
    given |= _of_labels(kind, labels_of(train), names, num_labels, given, class_weight)
    given.setdefault("num_labels", num_labels)
    trainer = _trainer_of(model, seed, names, given, train, x, valid)
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
        cache=place,
        standing=None if checkpoint_dir is None else _standing(checkpoint_dir, trainer, train, held, decides),
    )
    trainer.note(profile=profile_of(x))
    tuned = trainer.model_of(history.weights(trainer))
    return Finetuned(tuned, history.table, history.best_epoch, trainer, history.interrupted)


def _trainer_of(
    model: Any, seed: int, names: tuple[str, ...] | None, given: dict[str, Any], train: Any, x: Any, valid: Any
) -> Trainer:
    """A trainer that says of its models what the segments are; a warning where nothing names the columns of y."""
    trainer = Trainer(model, seed=seed, labels=names, **given)
    trainer.follow(input_of(x, valid[0] if isinstance(valid, (tuple, list)) and valid else None))
    trainer.follow_rate(rate_of(train))
    if names is None:
        _say_nameless(trainer)
    return trainer


# ---- arguments --------------------------------------------------------------------------------------


def _objective(loss: object) -> type[Objective]:
    """The objective of finetuning that a user names."""
    found = OBJECTIVES.get(loss) if isinstance(loss, str) else None
    if found is None or not issubclass(found, Labelled):
        known = ", ".join(repr(name) for name, each in OBJECTIVES.items() if issubclass(each, Labelled))
        raise ConfigError(f"{shown(loss)} finetunes nothing", field="loss", remedy=f"Known are {known}")
    return found


def _of_labels(
    kind: type[Objective],
    y: NDArray[Any] | None,
    names: Sequence[str] | None,
    num_labels: int,
    given: Mapping[str, Any],
    class_weight: object,
) -> dict[str, Any]:
    """What the labels of training make of the settings: weights of labels, and of numbers the target."""
    _say_unknown(y)
    found = label_weights(given.get("pos_weight"), class_weight, y, names, num_labels)
    measures = issubclass(kind, MeanSquaredError) and given.get("target") is None
    return found | ({"target": _measured(y, names)} if measures else {})


def _say_unknown(y: NDArray[Any] | None) -> None:
    """Say of how many segments no label is known; refuse labels of which none is."""
    if y is not None and y.dtype.kind == "f":
        none = np.isnan(y).all(axis=1)
        if none.all():
            raise LabelError("none is known: all are NaN", field="y")
        if none.any():
            warn(f"{none.sum()} of {len(none)} segments have no known label (NaN in y): nothing is learned from them")


def _measured(y: NDArray[Any] | None, names: Sequence[str] | None) -> Target:
    """Mean and deviation of the numbers to be learned."""
    if y is None:
        remedy = 'Give target={"mean": [...], "std": [...]}'
        raise ConfigError("the numbers stand in the files of the segments", field="target", remedy=remedy)
    mean, std = Target.known(y)
    if not np.isfinite(mean).all():
        i = int(np.flatnonzero(~np.isfinite(mean))[0])
        raise LabelError(f"{names[i] if names else f'column {i}'} has no finite mean", field="y")
    return Target(tuple(map(float, mean)), tuple(map(float, std)))


def _one_of(groups: Any, ids: Any) -> Any:
    if groups is not None and ids is not None:
        raise ConfigError("groups and ids mean the same", field="ids", remedy="Give one of them")
    return ids if groups is None else groups


def _standing(folder: StrPath, trainer: Trainer, train: Any, held: Any, decides: Mapping[str, Any]) -> Any:
    """What makes the file of a training that a history is of."""
    if trainer.communicator.size > 1:
        raise ConfigError("it is for trainings on one rank", field="checkpoint_dir")
    told = identity(trainer, {"training": train, "validation": held}, seed=trainer.seed, **decides)
    return lambda history: StandingFile(folder, history, told)


def _read(
    model: Any, kind: type[Objective], given: dict[str, Any], x: Any, y: Any, groups: Any, weight: Any, valid: Any
) -> tuple[Any, Any, Any, Any, Any]:
    """(x, y, groups, sample_weight, valid) of recordings, which are read; takes from `given` how."""
    how = {name: given.pop(name) for name in READING if name in given}
    reading, numbers = Reading(**how, input=input_of_model(model)), issubclass(kind, MeanSquaredError)
    found = gathered(x, y, labels=given.get("labels"), groups=groups, numbers=numbers, reading=reading)
    if found.labels is not None:
        given["labels"] = found.labels
    if isinstance(valid, (tuple, list)) and len(valid) == 2 and is_recordings(valid[0]):
        held = gathered(*valid, labels=found.labels, groups=None, numbers=numbers, reading=reading)
        valid = held.segments, held.table()
    return found.segments, found.table(), found.groups, found.weights(weight), valid


def _say_nameless(trainer: Any) -> None:
    """Warn of an output layer that is kept for columns of y that nothing names."""
    if None in trainer.objective.kept_rows:
        return
    names = f": {listed(trainer.labels)}" if trainer.labels else ""
    assumed = " (themselves assumed)" if trainer.labels_assumed else ""
    warn(
        printable(
            f"y has no names: its {trainer.num_labels} columns are taken to be the model's labels in their order"
            f"{names}{assumed}. Give labels=[...], or a DataFrame"
        )
    )
