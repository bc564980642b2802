"""Checkpoints of a run: when they are written, their names, and which are kept."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from .. import checkpoint
from ..errors import CheckpointError, ConfigError
from ..ranks import Alone, Ranks
from ..storage.atomic import linked, sync_folder
from .callbacks import Callback, Course
from .logs import Log
from .saving import content
from .settings import Keep, RunSettings
from .standing import Standing

__all__ = ["Files", "Keeping"]


class Keeping(Callback):
    """Remembers the best scores, and saves on the first rank.

    Parameters
    ----------
    settings : RunSettings
    criterion : str
        Name of the original's class.
    standing : Standing
    items : int
        Of the data set, in all.
    log : Log
    ranks : Alone or Ranks
    """

    def __init__(
        self, settings: RunSettings, criterion: str, standing: Standing, items: int, log: Log, ranks: Alone | Ranks
    ) -> None:
        self._settings, self._criterion, self._standing, self._items = settings, criterion, standing, items
        self._log, self._ranks, self._files = log, ranks, Files(settings.keep)

    def validated(self, course: Course) -> None:
        metric, bests = self._settings.keep.best_checkpoint_metric, self._standing.best
        for name, stats in course.scores.items():
            if metric not in stats:
                raise ConfigError(
                    f"{metric!r} is not among what validation gives: {', '.join(stats)}",
                    field="checkpoint.best_checkpoint_metric",
                )
            score, best = stats[metric], bests.get(name)
            if best is None or best != best or (score == score and self._files.better(score, best)):
                bests[name] = score

    def saved(self, course: Course) -> None:
        if self._ranks.rank == 0:
            self._save(course)
        self._ranks.barrier()

    def _save(self, course: Course) -> None:
        standing, trainer, place = self._standing, course.trainer, course.place
        first, metric = next(iter(course.valid), ""), self._settings.keep.best_checkpoint_metric
        score = course.scores[first][metric] if course.scores else None
        best = standing.best.get(first)
        ours = {
            "best": standing.best,
            "patience": list(standing.patience),
            "skipped": trainer.skipped,
            "items": self._items,
            "ranks": self._ranks.size,
        } | ({} if standing.due is None else {"due": standing.due})

        def make() -> dict[str, Any]:
            where = (place.epoch, place.batches)
            return content(self._settings, trainer, self._criterion, where, standing.meters, (score, best), ours)

        epoch, begun = place.epoch - course.end, time.perf_counter()
        written = self._files.save(make, epoch, trainer.num_updates, end_of_epoch=course.end, score=score, best=best)
        if written:
            names = ", ".join(os.path.basename(path) for path in written)
            self._log.say(
                f"saved {names} (epoch {epoch}, {trainer.num_updates} updates, score {score}) in "
                f"{time.perf_counter() - begun:.2f} s"
            )


class Files:
    """Names of checkpoints, and which of them are kept."""

    def __init__(self, keep: Keep) -> None:
        self._keep, self._folder, self._suffix = keep, keep.save_dir, keep.checkpoint_suffix
        self._larger, self._metric = keep.maximize_best_checkpoint_metric, keep.best_checkpoint_metric

    def better(self, score: float, best: float | None) -> bool:
        """Whether a score is no worse than the best so far."""
        if best is None:
            return True
        return score >= best if self._larger else score <= best

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def save(
        self,
        make: Callable[[], dict[str, Any]],
        epoch: int,
        updates: int,
        *,
        end_of_epoch: bool,
        score: float | None = None,
        best: float | None = None,
    ) -> list[str]:
        """Write the checkpoints that are due, and delete those that are no longer kept.

        Parameters
        ----------
        make : callable
            Gives the content; called only if something is to be written.
        epoch, updates : int
        end_of_epoch : bool
        score : float, optional
            Of the validation just done.
        best : float, optional
            The best score, this one included.

        Returns
        -------
        list of str
            The files written.
        """
        names = [] if self._keep.no_save else self._names(epoch, updates, end_of_epoch, score, best)
        if not names:
            return []
        paths = [self._path(name) for name in names]
        checkpoint.write_pt(paths[0], make())
        for path in paths[1:]:
            linked(paths[0], path, error=CheckpointError)
        sync_folder(self._folder)
        self._delete(end_of_epoch)
        return paths

    def _names(
        self, epoch: int, updates: int, end_of_epoch: bool, score: float | None, best: float | None
    ) -> list[str]:
        """The files that are due."""
        keep, names = self._keep, []
        if end_of_epoch and not keep.no_epoch_checkpoints and epoch % keep.save_interval == 0:
            names.append(f"checkpoint{epoch}{self._suffix}.pt")
        every = keep.save_interval_updates
        if not end_of_epoch and every > 0 and updates % every == 0:
            names.append(f"checkpoint_{epoch}_{updates}{self._suffix}.pt")
        if score is not None and score == score and best is not None and self.better(score, best):
            names.append(f"checkpoint_best{self._suffix}.pt")
        if score is not None and keep.keep_best_checkpoints > 0 and self._among_best(score):
            names.append(f"checkpoint.best_{self._metric}_{score:.2f}{self._suffix}.pt")
        if not keep.no_last_checkpoints:
            names.append(f"checkpoint_last{self._suffix}.pt")
        return names

    def _among_best(self, score: float) -> bool:
        """Whether a score is among the best that are kept."""
        there = sorted((value for value, _ in self._best_files()), reverse=self._larger)
        count = self._keep.keep_best_checkpoints
        return len(there) < count or self.better(score, there[count - 1])

    def _best_files(self) -> list[tuple[float, str]]:
        pattern = re.compile(rf"checkpoint\.best_{re.escape(self._metric)}_(-?\d+\.?\d*){re.escape(self._suffix)}\.pt")
        return [(float(match[1]), path) for match, path in self._matching(pattern)]

    def _matching(self, pattern: re.Pattern[str]) -> list[tuple[re.Match[str], str]]:
        names = sorted(os.listdir(self._folder)) if os.path.isdir(self._folder) else []
        found = ((pattern.fullmatch(name), name) for name in names)
        return [(match, self._path(name)) for match, name in found if match]

    def _delete(self, end_of_epoch: bool) -> None:
        keep, suffix = self._keep, re.escape(self._suffix)
        if not end_of_epoch and keep.keep_interval_updates > 0:
            found = self._matching(re.compile(rf"checkpoint_\d+_(\d+){suffix}\.pt"))
            pattern = keep.keep_interval_updates_pattern
            if pattern > 0:
                found = [(match, path) for match, path in found if int(match[1]) % pattern]
            _remove(found, keep.keep_interval_updates)
        if keep.keep_last_epochs > 0:
            _remove(self._matching(re.compile(rf"checkpoint(\d+){suffix}\.pt")), keep.keep_last_epochs)
        if keep.keep_best_checkpoints > 0:
            best = sorted(self._best_files(), reverse=self._larger)
            for _, path in best[keep.keep_best_checkpoints :]:
                os.remove(path)


def _remove(found: Iterable[tuple[re.Match[str], str]], count: int) -> None:
    """Delete all files but those of the `count` largest numbers."""
    for _, path in sorted(((int(match[1]), path) for match, path in found), reverse=True)[count:]:
        os.remove(path)
