"""What a run trains for: which numbers come of an update and of a validation, under fairseq-signals' names."""

import math

import numpy as np

from ..metrics.challenge import ChallengeScore
from ..metrics.counts import COUNTS, bce_sums, cut_of, f1, shares
from ..metrics.ranking import ranking

__all__ = ["ChallengeScore", "Classification", "Pretraining"]


class Classification:
    """Binary cross entropy with logits."""

    criterion = "BinaryCrossEntropyWithLogitsCriterion"
    train_columns = ("loss", "nsignals", "accuracy", "em_accuracy", "precision", "recall")
    valid_columns = (*train_columns, "f1", "auroc", "auprc")

    def __init__(self, threshold=0.5, report_auc=True, challenge=None):
        self.threshold, self.report_auc, self.challenge = threshold, report_auc, challenge
        if challenge is not None:
            self.train_columns = (*self.train_columns, "cinc_score")
            self.valid_columns = (*self.train_columns, "f1", "auroc", "auprc")

    @property
    def needs_logits(self):
        """bool: whether what the kernel counts in training is not what is to be reported."""
        return self.threshold != 0.5 or self.challenge is not None

    def log(self, log, sums):
        """Count the sums of an update or a batch: ``log(name, value, weight, digits)``."""
        size = sums["count"]
        log("loss", sums["loss"] / size / math.log(2) if size else 0.0, size, 3)
        log("nsignals", sums["rows"], 1)
        for name in (*COUNTS, *(() if self.challenge is None else ChallengeScore.COUNTS)):
            log(f"_{name}", sums[name], 1)

    def shown(self, meters):
        """The numbers of a line of the log, rounded."""
        found = shares({name: meters.sum(f"_{name}") for name in COUNTS})
        if self.challenge is not None:
            found["cinc_score"] = self.challenge.score({name: meters.sum(f"_{name}") for name in self.challenge.COUNTS})
        means = {name: _mean(meters, name) for name in ("loss", "nsignals")}
        return means | {name: value if math.isnan(value) else round(value, 5) for name, value in found.items()}

    def sums(self, logits, y, pos_weight=None):
        """The sums of a batch."""
        found = bce_sums(logits, y, pos_weight, threshold=self.threshold)
        if self.challenge is not None:
            found |= self.challenge.sums(logits > cut_of(self.threshold), np.asarray(y) > 0.5)
        return found

    def ranking(self, stats, logits, y, labels):
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
        stats = stats | {"f1": f1(stats["precision"], stats["recall"])}
        if not self.report_auc:
            return stats, []
        with np.errstate(over="ignore"):
            scores = 1 / (1 + np.exp(-logits.astype(np.float32)))
        truth = y > 0.5
        *each, macro, micro = ranking(truth, scores, one_class="share").T.tolist()
        stats |= dict(zip(("auroc", "auprc", "auroc_macro", "auprc_macro"), (*micro, *macro)))
        names = labels or [f"label_{i}" for i in range(len(each))]
        return stats, [(name, int(count), *values) for name, count, values in zip(names, truth.sum(axis=0), each)]


def _mean(meters, name):
    value = meters.mean(name)
    return math.nan if value is None else value


class Pretraining:
    """Contrastive loss, diversity, feature penalty, CMSC, or what of these a loss has."""

    CRITERIA = {
        "wav2vec2_with_cmsc": "Wav2Vec2WithCMSCCriterion",
        "wav2vec2": "Wav2Vec2Criterion",
        "cmsc": "CMSCCriterion",
    }
    DIGITS = {"prob_perplexity": 3, "code_perplexity": 3, "temp": 3}

    def __init__(self, loss, log_keys=("prob_perplexity", "code_perplexity", "temp")):
        self.criterion = self.CRITERIA[loss]
        parts = {"wav2vec2_with_cmsc": 4, "wav2vec2": 3, "cmsc": 0}[loss]
        self._parts = tuple(f"loss_{i}" for i in range(parts))
        self._means = tuple(log_keys) if parts else ()
        accuracy = ("accuracy",) if parts else ()
        self.train_columns = ("loss", *self._parts, *accuracy, "nsignals", *self._means)
        self.valid_columns = self.train_columns

    def log(self, log, result):
        """Count what the trainer reports of an update or a batch."""
        size = result["sample_size"]
        for name in ("loss", *self._parts):
            log(name, result[name], size, 3)
        log("nsignals", result["nsignals"], 1)
        if "accuracy" in self.train_columns and not math.isnan(result.get("accuracy", math.nan)):
            log("accuracy", result["accuracy"], size, 5)
        for name in self._means:
            log(name, result[name], 1, self.DIGITS.get(name))

    def shown(self, meters):
        """The numbers of a line of the log, rounded."""
        return {name: _mean(meters, name) for name in self.train_columns}
