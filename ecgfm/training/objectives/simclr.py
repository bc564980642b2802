"""SimCLR: two perturbed views of each segment are found again among those of the whole batch (NT-Xent)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import ConfigError
from ...ranks import Alone, Ranks
from ..engine import Engine, Key
from .base import Rows, Sums
from .contrastive import CMSC

__all__ = ["SimCLR"]


class SimCLR(CMSC):
    """Gradients are divided by the segments. Views are compared within a batch, also where there are several ranks."""

    loss = "simclr"
    criterion = "SimCLRCriterion"
    pairs = False
    perturbs = True

    def __init__(self, given: Mapping[str, Any], seed: int, ranks: Alone | Ranks) -> None:
        super().__init__(given, seed, ranks)
        if self.augment is None:
            remedy = "Give names of ecgfm.ecg.augment"
            raise ConfigError(
                "without one both views of a segment are the same", field="perturbation_mode", remedy=remedy
            )

    def options(self) -> dict[str, Any]:
        return super().options() | {"head": "simclr"}

    def sums(self, engine: Engine, rows: Rows, key: Key, noise: object = None) -> Sums:
        count, valid = len(rows.x), rows.valid
        views = Rows(
            np.repeat(rows.x, 2, axis=0),
            None if valid is None else np.repeat(valid, 2),
            {"ids": np.repeat(np.arange(count), 2), "second": np.arange(2 * count) % 2 == 1},
        )
        key = replace(key, first_row=2 * key.first_row)
        return super().sums(engine, views, key, noise) | {"nsignals": count}
