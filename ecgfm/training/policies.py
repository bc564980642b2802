"""What a run of training asks for between updates: validation, saving, an end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from ..ranks import Alone, Ranks
from .callbacks import Callback, Course, Place
from .settings import Every, Keep, Limits
from .standing import Standing

__all__ = ["Due", "Limited", "Patience", "PutOff", "Signals"]

Say = Callable[[str], None]


@dataclass(eq=False)
class Limited(Callback):
    """Ends a run at its limits."""

    limits: Limits
    standing: Standing
    ranks: Alone | Ranks
    say: Say

    def epoch_begun(self, course: Course) -> None:
        trainer = course.trainer
        if 0 < self.limits.max_update <= trainer.num_updates:
            course.control.stop = True
        elif trainer.schedule(trainer.num_updates, course.epoch) <= self.limits.stop_min_lr:
            self.say("stopping: the learning rate has fallen to optimization.stop_min_lr")
            course.control.stop = True

    def updated(self, course: Course) -> None:
        limits = self.limits
        if 0 < limits.max_update <= course.trainer.num_updates:
            self.say("stopping: optimization.max_update is reached")
            course.control.stop = True
        elif 0 < limits.stop_time_hours < self.ranks.broadcast(self.standing.meters.seconds() / 3600):
            self.say("stopping: optimization.stop_time_hours are over")
            course.control.stop = True


@dataclass(eq=False)
class Due(Callback):
    """Asks for validation and saving as often as a run says, and before it ends."""

    every: Every
    keep: Keep

    def updated(self, course: Course) -> None:
        every, keep, updates, stop = self.every, self.keep, course.trainer.num_updates, course.control.stop
        ready = updates >= every.validate_after_updates

        def reached(interval: int) -> bool:
            return course.trained and interval > 0 and updates % interval == 0

        save = (course.end and course.epoch % keep.save_interval == 0) or stop
        save = save or (reached(keep.save_interval_updates) and ready)
        validate = (not course.end and save) or (course.end and course.epoch % every.validate_interval == 0)
        validate = validate or stop or reached(every.validate_interval_updates)
        course.control.save, course.control.validate = save, validate and ready and bool(course.valid)


@dataclass(eq=False)
class Patience(Callback):
    """Ends a run after some validations without a better score on the first subset."""

    patience: int
    keep: Keep
    standing: Standing
    say: Say

    def validated(self, course: Course) -> None:
        if not self.patience:
            return
        metric, larger = self.keep.best_checkpoint_metric, self.keep.maximize_best_checkpoint_metric
        score = next(iter(course.scores.values()))[metric]
        best, runs = self.standing.patience
        better = best is None or (score > best if larger else score < best)
        self.standing.patience = (score, 0) if better else (best, runs + 1)
        if self.standing.patience[1] >= self.patience:
            self.say(f"stopping: {self.patience} validations without a better {metric}")
            course.control.stop = True


@dataclass(eq=False)
class Signals(Callback):
    """Ctrl-C and SIGTERM end a run after the update at hand; a second one ends it at once.

    The validation that is due then is put off: the run that goes on begins with it.

    Attributes
    ----------
    caught : int or None
        The signal that ended the run.
    """

    standing: Standing
    ranks: Alone | Ranks
    caught: int | None = None
    _old: dict[int, Any] = field(default_factory=dict)

    def begun(self, course: Course) -> None:
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}

    def ended(self, course: Course) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.caught is not None:
            raise KeyboardInterrupt
        self.caught = number

    def updated(self, course: Course) -> None:
        control = course.control
        if self.ranks.size > 1:
            asked = [number for number in self.ranks.gather(self.caught) if number is not None]
            self.caught = asked[0] if asked else None
        interrupted = self.caught is not None
        self.standing.due = {"end": course.end, "save": control.save} if control.validate and interrupted else None
        if interrupted:
            control.validate, control.stop = False, True


@dataclass(eq=False)
class PutOff(Callback):
    """Makes up for the validation that a signal put off, before anything else."""

    standing: Standing
    limited: Limited
    say: Say

    def begun(self, course: Course) -> None:
        due, self.standing.due = self.standing.due, None
        if due is None:
            return
        place, course.end = course.place, due["end"]
        if course.end:  # it is the last update of the epoch before
            course.place = Place(place.epoch - 1, course.steps)
        course.trainer.epoch = course.epoch
        self.say(f"making up for the validation after {course.trainer.num_updates} updates")
        self.limited.updated(course)
        course.validate()
        course.place = place
        if due["save"] or course.control.stop:
            course.tell("saved")
