"""Finetuning a classifier: each label against its logit, by binary cross entropy, the focal or the asymmetric loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...metrics.challenge import ChallengeScore
from ...metrics.losses import asymmetric, cross_entropy
from ...metrics.ranking import ranking, truth_of
from ...model.output import probabilities
from ...validation import number
from ..settings import Finetuning
from .base import Sums
from .labelled import Labelled
from .reports import Classification

__all__ = ["RANKING", "Asymmetric", "BinaryCrossEntropy", "Focal"]

#: What a validation gives beside the columns: the first two over all cells together, as in the original.
RANKING = ("auroc", "auprc", "auroc_macro", "auprc_macro")


@dataclass(frozen=True)
class Focus(Finetuning):
    """Of the focal loss. ``alpha``: the weight of positives, that of negatives is ``1 - alpha``; None: 1 for both."""

    gamma: float = number(2.0, at_least=0, at_most=100)
    alpha: float | None = number(None, at_least=0, at_most=1)


@dataclass(frozen=True)
class Asymmetry(Finetuning):
    """Of the asymmetric loss. ``clip``: what the probability of a negative is lowered by."""

    gamma_pos: float = number(1.0, at_least=0, at_most=100)
    gamma_neg: float = number(4.0, at_least=0, at_most=100)
    clip: float = number(0.05, at_least=0, below=1)


class BinaryCrossEntropy(Labelled):
    """Summed over all cells whose label is known."""

    loss = "binary_cross_entropy_with_logits"
    kernel = "bce"
    criterion = "BinaryCrossEntropyWithLogitsCriterion"
    columns = ("loss", "accuracy", "em_accuracy", "precision", "recall")
    ranked = RANKING

    def cells(self, z: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        return cross_entropy(z, y, *self.weights)

    def ranking(self, sums: Sums) -> dict[str, float]:
        logits, y = sums["logits"], sums["y"]
        (*_, macro, micro) = ranking(truth_of(y), probabilities(logits)).T
        return {name: float(value) for name, value in zip(RANKING, (*micro, *macro))}

    @classmethod
    def reporting(
        cls,
        *,
        threshold: float = 0.5,
        report_auc: bool = True,
        challenge: ChallengeScore | None = None,
        log_keys: Sequence[str] = (),
    ) -> Classification:
        return Classification(cls.criterion, threshold, report_auc, challenge)


class Focused(BinaryCrossEntropy):
    """Losses in which cells that are nearly right count less."""

    kernel = "asymmetric"

    def cells(self, z: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        return asymmetric(z, y, *self.weights, **self.focus())


class Asymmetric(Focused):
    """Negatives count less than positives; those of which the model is nearly sure, not at all."""

    loss = "asymmetric"
    settings_type = Asymmetry
    settings: Asymmetry

    def focus(self) -> dict[str, float]:
        own = self.settings
        return {"gamma_positive": own.gamma_pos, "gamma_negative": own.gamma_neg, "clip": own.clip}


class Focal(Focused):
    """``alpha`` weighs positives, ``1 - alpha`` negatives."""

    loss = "focal"
    settings_type = Focus
    settings: Focus

    def focus(self) -> dict[str, float]:
        return {"gamma_positive": self.settings.gamma, "gamma_negative": self.settings.gamma, "clip": 0.0}

    def _weighed(
        self, pos_weight: NDArray[np.float32] | None, label_weight: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        found, alpha = super()._weighed(pos_weight, label_weight), self.settings.alpha
        if alpha is None:
            return found
        shares = (np.full(self.num_labels, part, np.float32) for part in (alpha, 1 - alpha))
        positive, negative = (share if one is None else share * one for one, share in zip(found, shares))
        return positive, negative
