"""What validation on a subset gives."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from ..data import Loader
from ..errors import ConfigError
from ..ranks import Alone, Ranks
from .meters import Meters
from .objectives import Classification

__all__ = ["validate"]


def validate(
    trainer: Any,
    objective: Any,
    loader: Loader,
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
    is_classifier = isinstance(objective, Classification)
    mine: list[tuple[Any, ...] | None] = []
    for batch in islice(loader.epoch(1), limit):
        if not len(batch):
            mine.append(None)
        elif is_classifier:
            logits = trainer.logits(batch.x, batch.padding_mask)
            mine.append((objective.sums(logits, batch.y, trainer.objective.pos_weight), logits, batch.y))
        else:
            ids = None if batch.segment is None else batch.idx
            mine.append((trainer.evaluate(batch.x, ids, batch.padding_mask),))
    parts = ranks.gather(mine)
    steps = (part[step] for step in range(max(map(len, parts))) for part in parts)
    found = [each for each in steps if each is not None]
    if not found:
        raise ConfigError("the subset has no segments", path=loader.dataset.path, field="dataset.valid_subset")
    meters = Meters()
    for each in found:
        objective.log(meters.log, each[0])
    stats = objective.shown(meters)
    if all_signals:
        stats["nsignals"] = meters.sum("nsignals")
    if not is_classifier:
        return stats, []
    logits, y = (np.concatenate([each[i] for each in found]) for i in (1, 2))
    ranked: tuple[dict[str, float], list[Any]] = objective.ranking(stats, logits, y, trainer.labels)
    return ranked
