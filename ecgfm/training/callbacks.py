"""What a training tells while it runs, and what those who listen may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Callback", "Control", "Course", "Place", "Scores"]

#: Columns of a validation.
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Place:
    """Where in the data a training stands.

    Attributes
    ----------
    epoch : int
        From 1.
    batches : int
        Batches of this epoch that are done.
    """

    epoch: int = 1
    batches: int = 0


@dataclass
class Control:
    """What is to be done after an update; all off before each one. `stop` holds from then on."""

    validate: bool = False
    save: bool = False
    stop: bool = False


@dataclass(eq=False)
class Course:
    """A training on its way, as callbacks see it.

    Attributes
    ----------
    trainer : Trainer
    valid : mapping of str to callable
        What gives the columns of a validation, by subset.
    callbacks : sequence of Callback
    steps : int
        Batches of an epoch.
    place : Place
        Where it stands; after the last update of an epoch still in that epoch until `Callback.epoch_ended` was called.
    control : Control
    batch : tuple or None
        The last one that the trainer accumulated.
    result : dict or None
        What the update said; None if there was no batch for it on any rank.
    trained : bool
        Whether the last update changed the weights.
    end : bool
        Whether the update was the last one of its epoch.
    scores : mapping of str to mapping
        What validation after this update gave, by subset; empty without one.
    """

    trainer: Any
    valid: Mapping[str, Callable[[], Scores]]
    callbacks: Sequence[Callback]
    steps: int
    place: Place = field(default_factory=Place)
    control: Control = field(default_factory=Control)
    batch: tuple[Any, ...] | None = None
    result: Mapping[str, Any] | None = None
    trained: bool = False
    end: bool = False
    scores: Mapping[str, Scores] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """int: the epoch of the last update."""
        return self.place.epoch

    def tell(self, event: str) -> None:
        """Call the method of that name of each callback, in their order."""
        for each in self.callbacks:
            getattr(each, event)(self)

    def validate(self) -> None:
        """Validate on each subset."""
        self.scores = {name: score() for name, score in self.valid.items()}
        self.tell("validated")


class Callback:
    """Listens to a training. Each method gets the `Course`; what it wants done it sets in ``course.control``.

    In the order of time: `begun`; then in each epoch `epoch_begun`; for each batch `accumulated`; for each update
    `updated`, `validated` if somebody asked for it, `epoch_ended` after the last one, `saved` if somebody asked for it
    or for a stop, `settled`; at the very end `ended`, also after an exception.
    """

    def begun(self, course: Course) -> None:
        """Before the first epoch."""

    def epoch_begun(self, course: Course) -> None:
        """Before the first batch of an epoch, or of what is left of it; a stop leaves the epoch out."""

    def accumulated(self, course: Course) -> None:
        """After a batch was accumulated."""

    def updated(self, course: Course) -> None:
        """After an update, applied or not, or in its place where all segments are damaged."""

    def validated(self, course: Course) -> None:
        """After a validation."""

    def epoch_ended(self, course: Course) -> None:
        """After the last update of an epoch, and its validation."""

    def saved(self, course: Course) -> None:
        """When the training is to be saved; `Course.place` is where the saved one goes on."""

    def settled(self, course: Course) -> None:
        """When all that follows an update is done."""

    def ended(self, course: Course) -> None:
        """After the last update, or an exception."""
