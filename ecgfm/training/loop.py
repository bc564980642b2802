"""The loop over epochs, in the order of time. What happens between updates is the callbacks'."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import SignalError
from .callbacks import Callback, Control, Course, Place, Scores
from .feed import Feed
from .settings import Loop

__all__ = ["Loop", "fit"]

_START = Place()


def fit(
    trainer: Any,
    train: Feed,
    valid: Mapping[str, Callable[[], Scores]],
    loop: Loop,
    callbacks: Sequence[Callback] = (),
    start: Place = _START,
) -> Course:
    """Train.

    Parameters
    ----------
    trainer : Trainer
        On several ranks (`Trainer.communicator`) each calls this with its part of the batches, equally many.
    train : Feed
    valid : mapping of str to callable
        What gives the columns of a validation, by subset.
    loop : Loop
    callbacks : sequence of Callback
        Called in this order.
    start : Place
        Where to begin in the data.

    Returns
    -------
    Course
        As it was at the end.

    Raises
    ------
    SignalError
        If there are no batches.
    """
    course = Course(trainer, valid, callbacks, len(train), start)
    if not course.steps:
        raise SignalError("there are no batches to train on", field="x")
    try:
        course.tell("begun")
        while not course.control.stop and (loop.epochs == 0 or course.epoch <= loop.epochs):
            _train_epoch(course, train, loop.batches_of_update(course.epoch))
    finally:
        course.tell("ended")
    return course


def _train_epoch(course: Course, train: Feed, freq: int) -> None:
    """What is left of an epoch."""
    trainer, epoch = course.trainer, course.epoch
    trainer.epoch = epoch
    course.tell("epoch_begun")
    if course.control.stop:
        return
    first, waiting = course.place.batches, 0
    if first >= course.steps:  # begun by another number of ranks: this one's part is over
        course.place = Place(epoch + 1)
        return
    for done, batch in enumerate(train.epoch(epoch, first), first + 1):
        if batch is None:
            trainer.accumulate_nothing()
        else:
            trainer.accumulate(*batch)
            waiting, course.batch = waiting + 1, batch
            course.tell("accumulated")
        if done % freq and done < course.steps:
            continue
        course.result = trainer.update() if any(trainer.communicator.gather(waiting)) else None
        course.trained = course.result is not None and bool(course.result["applied"])
        waiting, course.place = 0, Place(epoch, done)
        _follow_up(course)
        if course.control.stop:
            return


def _follow_up(course: Course) -> None:
    """What comes after an update."""
    course.control, course.scores, course.end = Control(), {}, course.place.batches >= course.steps
    course.tell("updated")
    if course.control.validate:
        course.validate()
    if course.end:
        course.tell("epoch_ended")
        course.place = Place(course.epoch + 1)
    if course.control.save or course.control.stop:
        course.tell("saved")
    course.tell("settled")
