"""What validation on a subset gives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from ..data import Loader
from ..errors import ConfigError
from ..ranks import Alone, Ranks
from .below import KeptLoader
from .meters import Meters
from .objectives import Report

__all__ = ["validate"]


def validate(
    trainer: Any,
    objective: Report,
    loader: Loader | KeptLoader,
    ranks: Alone | Ranks,
    *,
    limit: int | None = None,
    all_signals: bool = False,
) -> tuple[dict[str, float], list[Any]]:
    """What validation on a subset gives, or on its first `limit` batches; the same on all ranks.

    ``nsignals`` is, as in fairseq-signals, the mean over batches in a run of training, and in ``ecgfm-hydra-validate``,
    where `all_signals` says so, that of the subset.

    Returns
    -------
    stats : dict
    rows : list of (str, int, float, float)
        Per label, of a classifier.
    """
    batches: Iterator[Any] = islice(loader.epoch(1), limit)
    mine = [objective.evaluated(trainer, batch) if len(batch) else None for batch in batches]
    parts = ranks.gather(mine)
    steps = (part[step] for step in range(max(map(len, parts))) for part in parts)
    found = [each for each in steps if each is not None]
    if not found:
        raise ConfigError("the subset has no segments", path=loader.dataset.path, field="dataset.valid_subset")
    meters = Meters()
    for entry in chain.from_iterable(objective.entries(each[0]) for each in found):
        meters.log(*entry)
    stats = objective.shown(meters)
    if all_signals:
        stats["nsignals"] = meters.sum("nsignals")
    return objective.ranked(stats, found, trainer)
