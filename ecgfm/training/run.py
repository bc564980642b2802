"""A run of training, from its settings to its exit status."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..kernels import set_num_threads
from ..ranks import Alone, Ranks
from .below import Cache
from .callbacks import Callback
from .feed import Streamed
from .keeping import Keeping
from .logs import Log
from .loop import fit
from .objectives import OBJECTIVES
from .policies import Due, Limited, Patience, PutOff, Signals
from .reporting import Reporting
from .resuming import resume
from .run_folder import copy_label_names, make_folder, writing
from .scoring import validate
from .setting_up import (
    check_data,
    check_metric,
    load_dataset,
    load_loader,
    make_objective,
    make_trainer,
    say_unknown,
)
from .settings import RunSettings

__all__ = ["Prepared", "train"]

STATUS: dict[int | None, int] = {None: 0, signal.SIGINT: 130, signal.SIGTERM: 143}
Started = Callable[[str, str, Mapping[str, Any]], None]


def train(settings: RunSettings, ranks: Alone | Ranks | None = None, *, started: Started | None = None) -> int:
    """Train as settings say.

    Parameters
    ----------
    settings : RunSettings
    ranks : Alone or Ranks, optional
    started : callable, optional
        Called on the first rank with (directory, kind, architecture) when the run is ready: writes what describes it.

    Returns
    -------
    int
        Exit status: 0, or 130 and 143 after Ctrl-C and SIGTERM, when the run was saved and can be gone on with.

    Raises
    ------
    Error
        Before the first update, if something of the settings or the data does not fit.
    """
    run = Prepared(settings, Alone() if ranks is None else ranks, started)
    try:
        return run.train()
    finally:
        run.log.close()


class Prepared:
    """A run that is ready: what does not fit was found, and what there is to go on from was taken.

    Parameters
    ----------
    settings : RunSettings
    ranks : Alone or Ranks
    started : callable, optional
    """

    def __init__(self, settings: RunSettings, ranks: Alone | Ranks, started: Started | None = None) -> None:
        self.settings, self.ranks = settings, ranks
        feeding, keep, first = settings.feeding, settings.keep, ranks.rank == 0
        if settings.threads is not None:
            set_num_threads(settings.threads)
        if first:
            make_folder(keep.save_dir)
        ranks.barrier()
        self.log = Log(settings.report, keep.save_dir, quiet=not first)
        for notice in settings.notices:
            self.log.say(notice)
        self.objective = make_objective(settings)
        check_metric(keep.best_checkpoint_metric, self.objective)
        data = load_dataset(feeding, feeding.train_subset, training=True)
        valid = {name: load_dataset(feeding, name, training=False) for name in feeding.valid_subsets}
        ranks.sums = settings.sums
        self.trainer = make_trainer(settings, data, ranks, self.log.say)
        for name, each in {feeding.train_subset: data, **valid}.items():
            check_data(each, self.trainer)
            say_unknown(name, each, self.log.say)
        self.loader = load_loader(feeding, data, ranks, report=self._damaged)
        self.valid = {name: load_loader(feeding, each, ranks, valid=True) for name, each in valid.items()}
        if first:
            self._describe(started)
        self.place, self.standing = resume(
            keep, self.trainer, self.objective.criterion, self.loader, feeding.valid_subsets, self.log, ranks
        )

    def _damaged(self, name: str, error: Exception) -> None:
        self.log.say(f"damaged segment skipped: {name}: {error}")

    def _describe(self, started: Started | None) -> None:
        folder = self.settings.keep.save_dir
        with writing(folder):
            if started is not None:
                started(folder, self.settings.kind, self.trainer.config)
            copy_label_names(self.settings.feeding, folder)

    def train(self) -> int:
        """Train to the end; returns the exit status."""
        settings, trainer, say, begun = self.settings, self.trainer, self.log.say, time.perf_counter()
        trained = sum(values.size for values in trainer.state()["exp_avg"].values())
        whole = sum(values.size for values in trainer.state_dict().values())
        say(
            f"{whole:,} parameters, {trained:,} of them trained; {len(self.loader.dataset):,} items in "
            f"{settings.feeding.data}"
        )
        signals = Signals(self.standing, self.ranks)
        reporting = Reporting(settings, self.objective, self.standing, self.log, self.ranks)
        fit(
            trainer,
            self._fed(),
            {name: partial(self._score, name, reporting) for name in self.valid},
            settings.loop,
            self._callbacks(reporting, signals),
            self.place,
        )
        say(f"{'done' if signals.caught is None else 'stopped'} after {time.perf_counter() - begun:.1f} seconds")
        return STATUS[signals.caught]

    def _fed(self) -> Any:
        """The batches of the training; where a part of the network is frozen, it is computed once."""
        settings, take = self.settings, OBJECTIVES[self.settings.objective].take
        feed = Streamed(self.loader, take)
        if settings.loop.epochs == 1 or self.trainer.trains_all:
            return feed
        cache = Cache(self.trainer, settings.cache, settings.cache_dtype, self.log.say, self.log.say)
        if settings.feeding.max_valid_steps is None:
            self.valid = {name: cache.keep_loader(loader, take, name) for name, loader in self.valid.items()}
        return cache.keep(feed, settings.feeding.train_subset, training=True)

    def _callbacks(self, reporting: Reporting, signals: Signals) -> list[Callback]:
        """Who is asked after each update, in this order."""
        settings, standing, ranks, say = self.settings, self.standing, self.ranks, self.log.say
        limited = Limited(settings.limits, standing, ranks, say)
        items = len(self.loader.dataset)
        return [
            Keeping(settings, self.objective.criterion, standing, items, self.log, ranks),
            reporting,
            limited,
            Due(settings.every, settings.keep),
            Patience(settings.limits.patience, settings.keep, standing, say),
            signals,
            PutOff(standing, limited, say),
        ]

    def _score(self, name: str, reporting: Reporting) -> dict[str, float]:
        """Validate on a subset."""
        limit = self.settings.feeding.max_valid_steps
        stats, reporting.labels[name] = validate(
            self.trainer, self.objective, self.valid[name], self.ranks, limit=limit
        )
        return stats
