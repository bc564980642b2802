"""The training that `finetune` and `pretrain` share: a history, the best epoch, patience, progress, Ctrl-C."""

from __future__ import annotations

import inspect
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import is_terminal, printable, shown
from ..errors import ConfigError, SignalError
from ..table import Table
from ..validation import Whole, checked, is_one_of
from .below import Cache
from .callbacks import Callback, Course, Place, Scores
from .feed import InMemory, Streamed
from .loop import Loop, fit
from .objectives.base import not_finite
from .warned import warn

__all__ = ["History", "check_feed", "check_loop", "checked_monitor", "run_epochs"]

CHECKED_AT_ONCE = 64  # rows of arrays


class History(Callback):
    """A row for each epoch, and the weights of the best one.

    Parameters
    ----------
    columns : sequence of str
        What is averaged over the updates of an epoch, where updates say it, besides the norm of the gradients.
    monitor : str or None
        The column of the validation that chooses the best epoch. Losses are better when they are smaller, all else when
        it is larger; an undefined value is the worst.
    epochs : int
        Of the whole training.

    Attributes
    ----------
    rows : list of dict
    best_epoch : int
        0 if no epoch was finished.
    interrupted : bool
        Whether Ctrl-C ended it.
    """

    def __init__(self, columns: Sequence[str], monitor: str | None, epochs: int) -> None:
        self.rows: list[dict[str, Any]] = []
        self.best_epoch, self.interrupted = 0, False
        self._columns, self._monitor, self._epochs = columns, monitor, epochs
        self._best = -math.inf
        self._steps: list[Mapping[str, Any]] = []
        self._weights: dict[str, NDArray[np.float32]] | None = None

    @property
    def table(self) -> Table:
        """Table: a row for each epoch that was finished."""
        names = self.rows[0] if self.rows else ("epoch", "num_updates")
        return Table({name: np.array([row[name] for row in self.rows]) for name in names})

    def weights(self, trainer: Any) -> Mapping[str, NDArray[np.float32]]:
        """Those of the best epoch by checkpoint name; what the trainer has where nothing else was kept."""
        return trainer.state_dict() if self._weights is None else self._weights

    @property
    def kept(self) -> Mapping[str, NDArray[np.float32]] | None:
        """Those of the best epoch; None where they are what the trainer has."""
        return self._weights

    @property
    def waited(self) -> int:
        """int: epochs since the best one."""
        return len(self.rows) - self.best_epoch

    def go_on(
        self,
        rows: list[dict[str, Any]],
        best_epoch: int,
        weights: dict[str, NDArray[np.float32]] | None,
        trainer: Any,
        epochs: int,
    ) -> None:
        """Stand where an earlier part of the training stood: after `rows`, with the weights of the best epoch."""
        self.rows, self.best_epoch, self._weights = rows, best_epoch, weights
        if self._monitor is not None and best_epoch:
            self._best = -math.inf if (found := self._score(rows[best_epoch - 1])) is None else found
            if weights is None and best_epoch == len(rows) < epochs:
                self._weights = {name: values.copy() for name, values in trainer.state_dict().items()}

    def updated(self, course: Course) -> None:
        if course.result is not None:
            self._steps.append(course.result)
        if course.end and not self._steps:
            raise SignalError("no segment of the data set could be read", field="x")
        course.control.validate = course.end and bool(course.valid)

    def epoch_ended(self, course: Course) -> None:
        row = {"epoch": course.epoch, "num_updates": course.trainer.num_updates} | self._summary()
        for scores in course.scores.values():
            row |= {f"valid_{name}": value for name, value in scores.items()}
        score = self._score(row)
        if score is None or not self.rows or score > self._best:
            keep = (
                score is not None and course.epoch < self._epochs
            )  # else the trainer's weights stay those of this epoch
            state = course.trainer.state_dict()
            self._weights = {name: values.copy() for name, values in state.items()} if keep else None
            self.best_epoch, self._best = course.epoch, -math.inf if score is None else score
        self.rows.append(row)
        self._steps = []

    def _summary(self) -> dict[str, float]:
        """Means over the updates of an epoch, weighted by their sample sizes; undefined values don't count."""
        steps, found = self._steps, {}
        weights = np.array([step["sample_size"] for step in steps], dtype=np.float64)
        for name in (*self._columns, "gnorm"):
            if name in steps[0]:
                values = np.array([step[name] for step in steps], dtype=np.float64)
                known = ~np.isnan(values)
                mean = np.average(values[known], weights=weights[known]) if known.any() else math.nan
                found[f"train_{name}"] = float(mean)
        return found | {"train_lr": steps[-1]["lr"]}

    def _score(self, row: Mapping[str, float]) -> float | None:
        """Larger is better; None where nothing is monitored."""
        if self._monitor is None:
            return None
        value = row[f"valid_{self._monitor}"]
        if math.isnan(value):
            return -math.inf
        return -value if self._monitor.startswith(("loss", "mae")) else value


@dataclass(eq=False)
class _Told(Callback):
    """The function of a user that gets each row, and the trainer if it needs two arguments; a true result ends the
    training."""

    history: History
    function: Callable[..., object]

    def epoch_ended(self, course: Course) -> None:
        row = dict(self.history.rows[-1])
        given = (row, course.trainer) if _needed(self.function) >= 2 else (row,)
        course.control.stop |= bool(self.function(*given))


def _needed(function: Callable[..., object]) -> int:
    """How many positional arguments a function can't do without; 1 where it doesn't say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in positional and one.default is inspect.Parameter.empty for one in parameters)


@dataclass(eq=False)
class _Patience(Callback):
    """Ends a training after some epochs without a better one."""

    history: History
    epochs: int

    def epoch_ended(self, course: Course) -> None:
        course.control.stop |= self.history.waited >= self.epochs


class _Progress(Callback):
    """One line on standard error that is written over, and one that stays for each epoch."""

    def __init__(self, history: History, epochs: int, updates: int) -> None:
        self._history, self._epochs, self._updates = history, epochs, updates
        self._done, self._last, self._open = 0, 0.0, False

    def updated(self, course: Course) -> None:
        if course.result is None:
            return
        self._done += 1
        now = time.monotonic()
        if now - self._last > 0.2:
            self._last, self._open = now, True
            where = f"epoch {course.epoch}/{self._epochs}  update {self._done}/{self._updates}"
            print(f"\r{where}  loss {course.result['loss']:.4f}\x1b[K", end="", file=sys.stderr, flush=True)

    def epoch_ended(self, course: Course) -> None:
        row = self._history.rows[-1]
        valid = {name: row[name] for name in row if name.startswith("valid_") and not math.isnan(row[name])}
        said = [f"loss {row['train_loss']:.4f}", *(f"{name} {value:.4f}" for name, value in valid.items())]
        print(f"\repoch {course.epoch}/{self._epochs}  {'  '.join(said)}\x1b[K", file=sys.stderr, flush=True)
        self._done, self._open = 0, False

    def ended(self, course: Course) -> None:
        if self._open:
            self._open = False
            print(file=sys.stderr, flush=True)


def run_epochs(
    trainer: Any,
    train: InMemory | Streamed,
    held: InMemory | Streamed | None,
    *,
    epochs: int,
    update_freq: int,
    monitor: str | None,
    patience: int | None,
    progress: bool | None,
    callback: Callable[..., object] | None,
    cache: tuple[str, str] | None = None,
    standing: Callable[[History], Any] | None = None,
) -> History:
    """Train for some epochs.

    Parameters
    ----------
    trainer : Trainer
    train : Feed
    held : Feed or None
        For a validation after each epoch.
    epochs, update_freq, monitor, patience, progress, callback
        As of `ecgfm.finetune`, checked.
    cache : (str, str), optional
        Where the rows that enter what is trained are kept, and in which type.
    standing : callable, optional
        What makes the `StandingFile` of the history, from which the training goes on.

    Returns
    -------
    History
        Ctrl-C ends it early: what there is then comes back, and a warning says so.
    """
    for part in (train, held):
        if part is not None:
            check_feed(trainer, part)
    objective = trainer.objective
    history = History((*objective.columns, *objective.averaged), monitor, epochs)
    callbacks: list[Callback] = [history]
    shows = is_terminal(sys.stderr) if progress is None else progress
    if shows:
        callbacks.append(_Progress(history, epochs, math.ceil(len(train) / update_freq)))
    if callback is not None:
        callbacks.append(_Told(history, callback))
    start, file = Place(), None if standing is None else standing(history)
    if file is not None:
        callbacks.append(file)
        start = file.restore(trainer, epochs) or start
    if patience is not None:
        callbacks.append(_Patience(history, patience))
    if start.epoch > epochs or (patience is not None and history.waited >= patience):
        return history
    feeds: list[Any] = [train, held]
    try:
        if cache is not None and epochs > 1:
            kept = Cache(trainer, *cache, _shown if shows else _unsaid)
            feeds = [kept.keep(train, "training", training=True)]
            feeds.append(None if held is None else kept.keep(held, "validation", training=False))
        valid = {} if held is None else {"valid": lambda: _scores(trainer, feeds[1], monitor)}
        fit(trainer, feeds[0], valid, Loop(epochs, (update_freq,)), callbacks, start)
    except KeyboardInterrupt:
        history.interrupted = True
        trainer.forget()
        what = "the weights as they are"
        if history._weights is not None:
            what = f"the weights of epoch {history.best_epoch}, the best so far,"
        warn(
            f"interrupted in epoch {trainer.epoch} of {epochs}, after {trainer.num_updates} updates: {what} come back",
            UserWarning,
        )
    return history


def _shown(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)


def _unsaid(text: str) -> None:
    pass


def _scores(trainer: Any, held: Any, monitor: str | None) -> Scores:
    """The columns of a validation."""
    objective = trainer.objective
    found = trainer.evaluate_all(held.in_order(), ranking=monitor in objective.ranked)
    return {name: value for name, value in found.items() if name in (*objective.columns, *objective.ranked)}


def check_feed(trainer: Any, feed: InMemory | Streamed) -> None:
    """Check before the first update what each step would check; of a data set that is read as it goes, some of it."""
    done = 0
    for batch in feed.sample(CHECKED_AT_ONCE):
        x = trainer.objective.rows(*batch).x
        place = not_finite(x)
        if place is not None:
            row, lead, sample = place
            where = trainer.objective.where(done + row, lead, sample)
            raise SignalError(f"{where} is {x[place]}", field="x")
        done += len(x)


def check_loop(callback: object, *, patience: object, **counts: object) -> None:
    """Raise ConfigError unless each count is an integer from 1 up, or the patience None, and the callback callable."""
    for name, value in counts.items():
        checked(value, Whole(1), name)
    checked(patience, Whole(1, none=True), "patience")
    if callback is not None and not callable(callback):
        raise ConfigError(f"{shown(callback)} can't be called", field="callback")


def checked_monitor(monitor: object, patience: object, known: Sequence[str], *, validates: bool, give: str) -> Any:
    """What chooses the best epoch: by default the loss, None without validation.

    Raises
    ------
    ConfigError
        If it is not known, or there is no validation; `give` says what to give then.
    """
    if monitor is not None and not is_one_of(monitor, known):
        raise ConfigError(f"{shown(monitor)} is not known", field="monitor", remedy=f"Choose from {', '.join(known)}")
    if not validates and (monitor is not None or patience is not None):
        field = "monitor" if monitor is not None else "patience"
        raise ConfigError("there is nothing to validate on", field=field, remedy=f"Give {give}")
    return "loss" if monitor is None and validates else monitor
