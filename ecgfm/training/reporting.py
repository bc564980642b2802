"""What a run says of its updates, epochs and validations."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from ..ranks import Alone, Ranks
from .callbacks import Callback, Course
from .logs import Log
from .settings import RunSettings
from .standing import Standing

__all__ = ["Reporting"]


class Reporting(Callback):
    """Counts what updates say in the meters, and has the log say it.

    Parameters
    ----------
    settings : RunSettings
    objective : Report
    standing : Standing
    log : Log
    ranks : Alone or Ranks
    """

    def __init__(
        self, settings: RunSettings, objective: Any, standing: Standing, log: Log, ranks: Alone | Ranks
    ) -> None:
        self._interval, self._clip_norm = settings.report.log_interval, settings.optimizer.clip_norm
        self._metric = settings.keep.best_checkpoint_metric
        self._objective, self._standing, self._log, self._ranks = objective, standing, log, ranks
        self._needs_logits = objective.needs_logits
        self._lr, self._since = math.nan, 0.0
        self._counted: list[Mapping[str, float]] = []  # of the batches since the last update
        self.labels: dict[str, list[Any]] = {}  # subset -> the rows of its labels in the last validation

    def begun(self, course: Course) -> None:
        trainer = course.trainer
        self._lr = float(trainer.schedule(max(trainer.num_updates - 1, 0), course.epoch))  # until the first update

    def epoch_begun(self, course: Course) -> None:
        if course.place.batches == 0:
            self._standing.meters.begin_epoch()
        self._since = time.perf_counter()

    def settled(self, course: Course) -> None:
        self._since = time.perf_counter()

    def accumulated(self, course: Course) -> None:
        if self._needs_logits and course.batch is not None:
            self._counted.append(self._objective.sums(course.trainer.last_logits, course.batch[1]))

    def updated(self, course: Course) -> None:
        if course.result is None:
            self._log.say("update skipped: all of its segments are damaged")
        elif not course.trained:
            self._counted = []
            known = course.result["sample_size"] > 0
            why = f"the norm of the gradients is {course.result['gnorm']}" if known else "none of its labels is known"
            self._log.say(f"update skipped: {why}")
        else:
            self._count(course.result, course.trainer)
            meters = self._standing.meters
            if meters.since_inner and course.trainer.num_updates % self._interval == 0:
                stats = self._stats("train_inner", course.trainer)
                self._log.inner(stats, course.epoch, course.place.batches, course.steps)
                meters.begin_inner()

    def validated(self, course: Course) -> None:
        updates = course.trainer.num_updates
        for name, stats in course.scores.items():
            best = {"num_updates": updates, f"best_{self._metric}": self._standing.best[name]}
            self._log.total(name, {**stats, **best}, course.epoch)
            self._log.labels(name, updates, self.labels[name])

    def epoch_ended(self, course: Course) -> None:
        self._log.total("train", self._stats("train", course.trainer), course.epoch)

    def _count(self, result: Mapping[str, Any], trainer: Any) -> None:
        """Count an update that was applied."""
        entries = [*self._objective.entries(self._sums(result, trainer)), ("gnorm", result["gnorm"], 1, 3)]
        if self._clip_norm > 0:
            entries.append(("clip", 100.0 if result["gnorm"] > self._clip_norm else 0.0, 1, 1))
        self._standing.meters.log(entries)
        self._lr = result["lr"]
        self._standing.meters.update_done(time.perf_counter() - self._since)

    def _sums(self, result: Mapping[str, Any], trainer: Any) -> Mapping[str, Any]:
        """What the objective counts of an update, on all ranks."""
        sums: Mapping[str, Any] = self._objective.counted(trainer, result)
        if self._needs_logits:
            parts = [part for each in self._ranks.gather(self._counted) for part in each]
            sums = {name: sum(part[name] for part in parts) for name in parts[0]} | {"loss": sums["loss"]}
            self._counted = []
        return sums

    def _stats(self, tag: str, trainer: Any) -> dict[str, Any]:
        meters = self._standing.meters
        clocks, means = meters.clocks(tag), meters.by_name[tag]
        found: dict[str, Any] = self._objective.shown(means)
        found |= {
            "ups": clocks["ups"],
            "num_updates": trainer.num_updates,
            "lr": self._lr,
            "gnorm": _mean(means, "gnorm"),
        }
        if self._clip_norm > 0:
            found["clip"] = _mean(means, "clip")
        return found | {"train_wall": clocks["train_wall"], "wall": clocks["wall"]}


def _mean(meters: Any, name: str) -> float:
    found = meters.mean(name)
    return math.nan if found is None else found
