"""The loop over epochs: training, validation, the best epoch, stopping, Ctrl-C."""

import math
import sys
import time
import warnings
from dataclasses import dataclass, field

import numpy as np

from .._text import shown
from ..errors import ConfigError
from ..table import Table
from .parts import update_steps

__all__ = ["Course", "check_callback", "check_counts", "run_epochs"]


@dataclass(eq=False)
class Course:
    """What became of a training.

    Attributes
    ----------
    rows : list of dict
        The history: of each epoch that was finished.
    best_epoch : int
        0 if none was finished.
    weights : dict or None
        Of the best epoch by checkpoint name; None: those that the trainer has.
    interrupted : bool
        Whether Ctrl-C ended it.
    """

    rows: list = field(default_factory=list)
    best_epoch: int = 0
    weights: dict = None
    interrupted: bool = False
    _score: float = -math.inf

    @property
    def history(self):
        """Table: a row for each epoch that was finished."""
        names = self.rows[0] if self.rows else ("epoch", "num_updates")
        return Table({name: np.array([row[name] for row in self.rows]) for name in names})

    def take(self, row, score, trainer, last):
        """Count an epoch. `score`: larger is better, None where nothing is monitored."""
        best = score is None or not self.rows or score > self._score
        if best:
            keep = score is not None and not last  # else the trainer's weights stay those of this epoch
            weights = {name: values.copy() for name, values in trainer.state_dict().items()} if keep else None
            self.best_epoch, self.weights = row["epoch"], weights
            self._score = -math.inf if score is None else score
        self.rows.append(row)


def check_counts(**values):
    """Raise ConfigError unless each is an integer from 1 up; ``patience`` may be None."""
    for name, value in values.items():
        if value is None and name == "patience":
            continue
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ConfigError(f"{shown(value)} is not an integer from 1 up", field=name)


def check_callback(callback):
    """Raise ConfigError unless it can be called, or is None."""
    if callback is not None and not callable(callback):
        raise ConfigError(f"{shown(callback)} can't be called", field="callback")


def run_epochs(trainer, train, validate, summary, score, *, epochs, update_freq, patience, progress, callback):
    """Train for some epochs.

    Parameters
    ----------
    trainer : Trainer
    train : InMemory or Streamed
    validate : callable
        Without arguments, gives columns of the history; called after each epoch.
    summary : callable
        Of what the updates of an epoch say, gives columns of the history.
    score : callable
        Of a row, gives what is to be largest, or None where nothing is monitored.
    epochs, update_freq, patience, progress, callback
        As of `ecgfm.finetune`.

    Returns
    -------
    Course
        Ctrl-C ends it early: what there is then comes back, and a warning says so.
    """
    wanted = sys.stderr.isatty() if progress is None else progress
    shows = _Progress(wanted, epochs, math.ceil(len(train) / update_freq))
    course = Course()
    try:
        for epoch in range(1, epochs + 1):
            trainer.epoch = epoch
            steps = update_steps(trainer, train.epoch(epoch), update_freq, shows)
            row = {"epoch": epoch, "num_updates": trainer.num_updates} | summary(steps) | validate()
            course.take(row, score(row), trainer, last=epoch == epochs)
            shows.epoch(row)
            stop = callback(dict(row)) if callback else False
            if stop or (patience is not None and epoch - course.best_epoch >= patience):
                break
    except KeyboardInterrupt:
        course.interrupted = True
        shows.close()
        trainer.forget()
        what = "the weights as they are"
        if course.weights is not None:
            what = f"the weights of epoch {course.best_epoch}, the best so far,"
        warnings.warn(
            f"interrupted in epoch {trainer.epoch} of {epochs}, after {trainer.num_updates} updates: {what} come back",
            UserWarning,
            stacklevel=3,
        )
    finally:
        shows.close()
    return course


class _Progress:
    """One line on standard error that is written over, and one that stays for each epoch."""

    def __init__(self, wanted, epochs, updates):
        self._wanted, self._epochs, self._updates = wanted, epochs, updates
        self._epoch, self._done, self._last, self._open = 1, 0, 0.0, False

    def update(self, step):
        self._done += 1
        now = time.monotonic()
        if self._wanted and now - self._last > 0.2:
            self._last, self._open = now, True
            line = f"epoch {self._epoch}/{self._epochs}  update {self._done}/{self._updates}  loss {step['loss']:.4f}"
            print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)

    def epoch(self, row):
        if self._wanted:
            valid = {name: row[name] for name in row if name.startswith("valid_") and not math.isnan(row[name])}
            said = [f"loss {row['train_loss']:.4f}", *(f"{name} {value:.4f}" for name, value in valid.items())]
            print(f"\repoch {self._epoch}/{self._epochs}  {'  '.join(said)}\x1b[K", file=sys.stderr, flush=True)
        self._epoch, self._done, self._open = self._epoch + 1, 0, False

    def close(self):
        if self._open:
            self._open = False
            print(file=sys.stderr, flush=True)
