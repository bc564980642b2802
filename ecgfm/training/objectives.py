"""What a run trains for: which numbers come of an update and of a validation, under fairseq-signals' names."""

import math
import warnings

import numpy as np

from ..inference.evaluate_metrics import scikit_learn
from .trainer import bce_sums

__all__ = ["Classification", "Pretraining"]


class Classification:
    """Binary cross entropy with logits."""

    criterion = "BinaryCrossEntropyWithLogitsCriterion"
    train_columns = ("loss", "nsignals", "accuracy", "em_accuracy", "precision", "recall")
    valid_columns = (*train_columns, "f1", "auroc", "auprc")

    def __init__(self, threshold=0.5, report_auc=True):
        self.threshold, self.report_auc = threshold, report_auc

    @staticmethod
    def log(log, sums):
        """Count the sums of an update or a batch: ``log(name, value, weight, digits)``."""
        size = sums["count"]
        log("loss", sums["loss"] / size / math.log(2) if size else 0.0, size, 3)
        log("nsignals", sums["rows"], 1)
        for name in ("count", "correct", "rows", "exact", "true_positive", "false_positive", "false_negative"):
            log(f"_{name}", sums[name], 1)

    @staticmethod
    def shown(meters):
        """The numbers of a line of the log, rounded."""
        sums = {name: meters.sum(f"_{name}") for name in ("correct", "count", "exact", "rows")}
        hits, false, missed = (meters.sum(f"_{name}") for name in ("true_positive", "false_positive", "false_negative"))
        return {
            "loss": meters.mean("loss"),
            "nsignals": meters.mean("nsignals"),
            "accuracy": _share(sums["correct"], sums["count"]),
            "em_accuracy": _share(sums["exact"], sums["rows"]),
            "precision": _share(hits, hits + false),
            "recall": _share(hits, hits + missed),
        }

    def sums(self, logits, y, pos_weight):
        """The sums of a batch of validation."""
        return bce_sums(logits, y, pos_weight, threshold=self.threshold)

    def ranking(self, stats, logits, y, labels):
        """F1, AUROC and AUPRC of a whole subset.

        ``auroc`` and ``auprc`` are over all cells as one problem (micro), whatever the original calls them; the means over
        labels with both classes have ``_macro`` in their names.

        Returns
        -------
        stats : dict
            With ``f1``, ``auroc``, ``auprc``, ``auroc_macro``, ``auprc_macro``.
        rows : list of (str, int, float, float)
            Name, positives, AUROC and average precision of each label.
        """
        precision, recall = stats["precision"], stats["recall"]
        total = precision + recall
        stats = stats | {"f1": 2 * precision * recall / total if total > 0 else math.nan}
        if not self.report_auc:
            return stats, []
        with np.errstate(over="ignore"):
            scores = 1 / (1 + np.exp(-logits.astype(np.float32)))
        truth = y > 0.5
        stats["auroc"], stats["auprc"] = _auc(truth.ravel(), scores.ravel())
        rows = []
        for i in range(truth.shape[1]):
            name = labels[i] if labels else f"label_{i}"
            rows.append((name, int(truth[:, i].sum()), *_auc(truth[:, i], scores[:, i])))
        both = [row for row in rows if not math.isnan(row[2])]
        stats["auroc_macro"] = float(np.mean([row[2] for row in both])) if both else math.nan
        stats["auprc_macro"] = float(np.mean([row[3] for row in both])) if both else math.nan
        return stats, rows


def _share(part, whole):
    return round(part / whole, 5) if whole else math.nan


def _auc(truth, scores):
    """AUROC (NaN for one class) and average precision (0 without positives, 1 with nothing else)."""
    metrics = scikit_learn()
    if truth.all() or not truth.any():
        return math.nan, float(truth.any())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(metrics.roc_auc_score(truth, scores)), float(metrics.average_precision_score(truth, scores))


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
        found = {name: meters.mean(name) for name in self.train_columns}
        return {name: math.nan if value is None else value for name, value in found.items()}
