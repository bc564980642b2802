"""What a trainer says of segments and logits that it is not trained on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError
from ..validation import real_array
from .below import Below
from .engine import Engine, Key
from .objectives import Labelled
from .objectives.base import Rows

__all__ = ["Judges"]


class Judges:
    """The part of a trainer that changes nothing."""

    objective: Any
    engine: Engine
    _lock: Any

    @abstractmethod
    def _check_below(self, x: Any) -> None:
        """Refuse rows that were made of other weights."""

    @abstractmethod
    def _key(self, first_row: int, validation: bool = False) -> Key:
        """Where in the training a batch is."""

    def evaluate_all(self, parts: Iterable[tuple[Any, ...]], *, ranking: bool = False) -> dict[str, Any]:
        """The same of several batches together, each a tuple of what `evaluate` takes.

        With `ranking` also ``auroc`` and ``auprc`` over all cells, and the means over labels, ``auroc_macro`` and
        ``auprc_macro``; of ``mse`` always ``r2`` and ``pearson``, means over outputs.
        """
        batches = (self._rows_of(*part) for part in parts)
        with self._lock:
            sums = self.objective.summed(self.engine, batches, partial(self._key, validation=True))
            ranking = ranking or self.objective.ranks_always
            found: dict[str, Any] = self.objective.report(sums)
            return found | (self.objective.ranking(sums) if ranking else {})

    def _rows_of(self, x: Any, *rest: Any) -> Rows:
        self._check_below(x)
        found: Rows = self.objective.rows(x, *rest)
        return found

    def _outputs(self) -> Labelled:
        """The objective, if it has outputs."""
        if not isinstance(self.objective, Labelled):
            raise ConfigError("a pretraining model has no outputs yet", field="loss", remedy="Finetune it")
        return self.objective

    def logits(self, x: Any, padding_mask: ArrayLike | None = None) -> NDArray[np.float32]:
        """The logits (B, Y) float32 of the weights as they are, without dropout."""
        self._outputs()
        self._check_below(x)
        if isinstance(x, Below):
            kept, valid, samples = x.rows, x.valid, x.samples
        else:
            (kept, valid), samples = self.objective.checked_input(x, padding_mask), 0
        with self._lock:
            return self.engine.logits(kept, valid, samples)

    def losses(self, logits: ArrayLike, y: Any) -> dict[str, float]:
        """What `step` reports of a loss, of logits (B, Y) and labels (B, Y); nothing is trained."""
        logits, own = real_array(logits, "logits"), self._outputs()
        return own.report(own.sums_of(logits, own.learned(self.checked_labels(y, len(logits)))))

    def checked_labels(self, y: Any, rows: int) -> NDArray[Any]:
        """Labels (rows, Y) as contiguous numbers; a `LabelError` says what doesn't fit."""
        return self._outputs().checked_labels(y, rows)
