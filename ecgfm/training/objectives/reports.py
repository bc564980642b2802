"""Which numbers a run reports of an update and of a validation, under fairseq-signals' names."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...metrics.challenge import ChallengeScore
from ...metrics.counts import COUNTS, bce_sums, cut_of, f1, shares, size_of
from ...metrics.ranking import ranking, truth_of
from ..meters import Entry, Meters

__all__ = ["LOG_KEYS", "Classification", "Losses", "Regression", "Report"]

#: What pretraining can report beside its losses, and to how many digits.
LOG_KEYS = {"prob_perplexity": 3, "code_perplexity": 3, "temp": 3}


class Report(ABC):
    """What is reported of an objective.

    Attributes
    ----------
    criterion : str
        The class of the original.
    train_columns, valid_columns : tuple of str
    needs_logits : bool
        Whether what the kernel counts in training is not what is to be reported.
    """

    needs_logits = False
    train_columns: tuple[str, ...]
    valid_columns: tuple[str, ...]

    def __init__(self, criterion: str) -> None:
        self.criterion = criterion

    @abstractmethod
    def entries(self, sums: Mapping[str, Any]) -> list[Entry]:
        """What meters count of the sums of an update or a batch."""

    @abstractmethod
    def shown(self, meters: Meters) -> dict[str, float]:
        """The numbers of a line of the log, rounded."""

    def summed(self, own: Any, logits: NDArray[Any], y: NDArray[Any]) -> Mapping[str, Any]:
        """What `entries` takes of the logits of a batch and its labels as they were given; `own` is the objective."""
        found: Mapping[str, Any] = own.report(own.sums_of(logits, own.learned(y)))
        return found

    def counted(self, trainer: Any, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """What `entries` takes of an update."""
        return result

    def evaluated(self, trainer: Any, batch: Any) -> tuple[Any, ...]:
        """What `entries` takes of a batch of a validation, and what else `ranked` needs of it."""
        return (trainer.evaluate(*trainer.objective.take(batch)),)

    def ranked(self, stats: dict[str, float], parts: Sequence[Any], trainer: Any) -> tuple[dict[str, float], list[Any]]:
        """The numbers of a whole subset, of what `evaluated` gave of its batches; and a row for each label."""
        return stats, []


class Classification(Report):
    """Of labels and logits."""

    train_columns: tuple[str, ...] = ("loss", "nsignals", "accuracy", "em_accuracy", "precision", "recall")
    valid_columns = (*train_columns, "f1", "auroc", "auprc")

    def __init__(
        self, criterion: str, threshold: float = 0.5, report_auc: bool = True, challenge: ChallengeScore | None = None
    ) -> None:
        super().__init__(criterion)
        self.threshold, self.report_auc, self.challenge = threshold, report_auc, challenge
        if challenge is not None:
            self.train_columns = (*self.train_columns, "cinc_score")
            self.valid_columns = (*self.train_columns, "f1", "auroc", "auprc")
        self.needs_logits = threshold != 0.5 or challenge is not None

    def entries(self, sums: Mapping[str, Any]) -> list[Entry]:
        size, counts = size_of(sums), (*COUNTS, *(() if self.challenge is None else ChallengeScore.COUNTS))
        loss = sums["loss"] / size / math.log(2) if size else 0.0
        own: list[Entry] = [("loss", loss, size, 3), ("nsignals", sums["rows"], 1, None)]
        return own + [(f"_{name}", sums[name], 1, None) for name in counts]

    def shown(self, meters: Meters) -> dict[str, float]:
        found = shares({name: meters.sum(f"_{name}") for name in COUNTS})
        if self.challenge is not None:
            found["cinc_score"] = self.challenge.score({name: meters.sum(f"_{name}") for name in self.challenge.COUNTS})
        means = {name: _mean(meters, name) for name in ("loss", "nsignals")}
        return means | {name: value if math.isnan(value) else round(value, 5) for name, value in found.items()}

    def sums(self, logits: NDArray[Any], y: NDArray[Any], pos_weight: NDArray[Any] | None = None) -> dict[str, float]:
        """The sums of a batch."""
        return bce_sums(logits, y, pos_weight, threshold=self.threshold) | self._challenged(logits, y)

    def _challenged(self, logits: NDArray[Any], y: NDArray[Any]) -> dict[str, float]:
        """Sums of the challenge's score, of the rows with all labels known; without it nothing."""
        if self.challenge is None:
            return {}
        known = ~np.isnan(y).any(axis=1)
        return self.challenge.sums(logits[known] > cut_of(self.threshold), np.asarray(y)[known] > 0.5)

    def summed(self, own: Any, logits: NDArray[Any], y: NDArray[Any]) -> Mapping[str, Any]:
        sums: dict[str, Any] = own.sums_of(logits, y, self.threshold)
        return sums | self._challenged(logits, y)

    def counted(self, trainer: Any, result: Mapping[str, Any]) -> Mapping[str, Any]:
        return dict(trainer.last_sums)

    def evaluated(self, trainer: Any, batch: Any) -> tuple[Any, ...]:
        logits = trainer.logits(batch.x, batch.padding_mask)
        return self.summed(trainer.objective, logits, batch.y), logits, batch.y

    def ranked(self, stats: dict[str, float], parts: Sequence[Any], trainer: Any) -> tuple[dict[str, float], list[Any]]:
        logits, y = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
        return self.ranking(stats, logits, y, trainer.labels)

    def ranking(
        self, stats: Mapping[str, float], logits: NDArray[Any], y: NDArray[Any], labels: Sequence[str] | None
    ) -> tuple[dict[str, float], list[tuple[Any, ...]]]:
        """F1, AUROC and AUPRC of a whole subset.

        ``auroc`` and ``auprc`` are over all cells as one problem (micro), whatever the original calls them; with one
        class alone ``auroc`` is NaN and ``auprc`` 0 or 1, as the original has it. What is ours is NaN for one class:
        the values of a label, and the means over labels with both classes, which have ``_macro`` in their names.

        Returns
        -------
        stats : dict
            With ``f1``, ``auroc``, ``auprc``, ``auroc_macro``, ``auprc_macro``.
        rows : list of (str, int, float, float)
            Name, positives, AUROC and average precision of each label.
        """
        found = dict(stats) | {"f1": f1(stats["precision"], stats["recall"])}
        if not self.report_auc:
            return found, []
        with np.errstate(over="ignore"):
            scores = 1 / (1 + np.exp(-logits.astype(np.float32)))
        truth = truth_of(y)
        *each, macro, micro = ranking(truth, scores, one_class="share").T.tolist()
        found |= dict(zip(("auroc", "auprc", "auroc_macro", "auprc_macro"), (*micro, *macro)))
        names = labels or [f"label_{i}" for i in range(len(each))]
        return found, [
            (name, int(count), *values) for name, count, values in zip(names, np.nansum(truth, axis=0), each)
        ]


class Losses(Report):
    """Of losses and means.

    Parameters
    ----------
    criterion : str
    parts : int
        Parts of the loss.
    accuracy : bool
        Whether there is an accuracy.
    means : sequence of str
        Of `LOG_KEYS`.
    """

    def __init__(self, criterion: str, parts: int = 0, accuracy: bool = False, means: Sequence[str] = ()) -> None:
        super().__init__(criterion)
        self._parts, self._means = tuple(f"loss_{i}" for i in range(parts)), tuple(means)
        self.train_columns = ("loss", *self._parts, *("accuracy",) * accuracy, "nsignals", *self._means)
        self.valid_columns = self.train_columns

    def entries(self, sums: Mapping[str, Any]) -> list[Entry]:
        size, known = sums["sample_size"], not math.isnan(sums.get("accuracy", math.nan))
        found: list[Entry] = [(name, sums[name], size, 3) for name in ("loss", *self._parts)]
        found.append(("nsignals", sums["nsignals"], 1, None))
        found += [("accuracy", sums["accuracy"], size, 5)] if known and "accuracy" in self.train_columns else []
        return found + [(name, sums[name], 1, LOG_KEYS.get(name)) for name in self._means]

    def shown(self, meters: Meters) -> dict[str, float]:
        return {name: _mean(meters, name) for name in self.train_columns}


class Regression(Losses):
    """Of numbers. ``loss`` is divided by log 2, as in the original, which calls it bits whatever it is."""

    def entries(self, sums: Mapping[str, Any]) -> list[Entry]:
        loss = sums["loss"] / math.log(2) if sums["sample_size"] else 0.0
        return super().entries({**sums, "loss": loss})

    def ranking(
        self, stats: Mapping[str, float], logits: NDArray[Any], y: NDArray[Any], labels: Sequence[str] | None
    ) -> tuple[dict[str, float], list[tuple[Any, ...]]]:
        """The numbers of a whole subset, and no rows of labels."""
        return dict(stats), []


def _mean(meters: Meters, name: str) -> float:
    value = meters.mean(name)
    return math.nan if value is None else value
