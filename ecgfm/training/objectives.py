"""What a run trains for: which numbers come of an update and of a validation, under fairseq-signals' names."""

import csv
import io
import math
import os
import warnings

import numpy as np

from ..errors import ConfigError
from ..inference.evaluate_metrics import scikit_learn
from ..storage.inputs import read_input
from .trainer import bce_sums

__all__ = ["ChallengeScore", "Classification", "Pretraining"]

_COUNTS = ("count", "correct", "rows", "exact", "true_positive", "false_positive", "false_negative")
_SINUS_RHYTHM = "426783006"
_MOST_WEIGHTS = 1 << 20  # bytes of a table


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
        for name in _COUNTS:
            log(f"_{name}", sums[name], 1)
        if self.challenge is not None:
            for name in ("o_score", "c_score", "i_score"):
                log(f"_{name}", sums[name], 1)

    def shown(self, meters):
        """The numbers of a line of the log, rounded."""
        sums = {name: meters.sum(f"_{name}") for name in ("correct", "count", "exact", "rows")}
        hits, false, missed = (meters.sum(f"_{name}") for name in ("true_positive", "false_positive", "false_negative"))
        found = {
            "loss": _mean(meters, "loss"),
            "nsignals": _mean(meters, "nsignals"),
            "accuracy": _share(sums["correct"], sums["count"]),
            "em_accuracy": _share(sums["exact"], sums["rows"]),
            "precision": _share(hits, hits + false),
            "recall": _share(hits, hits + missed),
        }
        if self.challenge is not None:
            observed, correct, inactive = (meters.sum(f"_{name}_score") for name in "oci")
            found["cinc_score"] = _share(observed - inactive, correct - inactive)
        return found

    def sums(self, logits, y, pos_weight=None):
        """The sums of a batch."""
        found = bce_sums(logits, y, pos_weight, threshold=self.threshold)
        if self.challenge is not None:
            cut = math.log(self.threshold / (1 - self.threshold))
            found |= self.challenge.sums(logits > cut, np.asarray(y) > 0.5)
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
            auroc, auprc = _auc(truth[:, i], scores[:, i])
            rows.append((name, int(truth[:, i].sum()), auroc, math.nan if math.isnan(auroc) else auprc))
        both = [row for row in rows if not math.isnan(row[2])]
        stats["auroc_macro"] = float(np.mean([row[2] for row in both])) if both else math.nan
        stats["auprc_macro"] = float(np.mean([row[3] for row in both])) if both else math.nan
        return stats, rows


class ChallengeScore:
    """The score of the PhysioNet/CinC Challenge 2021: rewards of predictions; 0 for sinus rhythm always, 1 at best.

    A prediction of class k for a record of class j earns ``weights[j, k]``, divided by the number of classes that the
    record has or is predicted to have.

    Parameters
    ----------
    path : path-like
        The challenge's ``weights.csv``: the codes of the classes, ``|`` between those that count as one, in the first
        row and the first column.

    Raises
    ------
    ConfigError
        If it can't be read, or has no class of sinus rhythm.
    """

    def __init__(self, path):
        self.path, about = os.fspath(path), {"path": path, "field": "criterion.weights_file"}
        raw = read_input(path, most=_MOST_WEIGHTS, error=ConfigError, field="criterion.weights_file")
        try:
            rows = [row for row in csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")) if row]
        except (ValueError, csv.Error) as error:
            raise ConfigError(f"not a table of weights: {error}", **about) from None
        self.classes = [set(row[0].split("|")) for row in rows[1:]]
        count = len(self.classes)
        if (
            not rows
            or any(len(row) != count + 1 for row in rows)
            or [set(name.split("|")) for name in rows[0][1:]] != self.classes
        ):
            raise ConfigError("its rows and columns are not the same classes", **about)
        try:
            self.weights = np.array([[float(cell) for cell in row[1:]] for row in rows[1:]]).reshape(count, count)
        except ValueError as error:
            raise ConfigError(f"not a table of weights: {error}", **about) from None
        if not np.isfinite(self.weights).all():
            raise ConfigError("not a table of weights: a weight is not finite", **about)
        sinus = [i for i, codes in enumerate(self.classes) if _SINUS_RHYTHM in codes]
        if len(sinus) != 1:
            raise ConfigError(f"it has no class {_SINUS_RHYTHM}, sinus rhythm", **about)
        self._sinus = sinus[0]

    def sums(self, predicted, truth):
        """Observed, best and inactive rewards of rows (n, Y) of bool."""
        if truth.shape[1] != len(self.classes):
            raise ConfigError(
                f"it has {len(self.classes)} classes, the labels are {truth.shape[1]}",
                path=self.path,
                field="criterion.weights_file",
            )
        inactive = np.zeros_like(truth)
        inactive[:, self._sinus] = True

        def reward(predicted):
            union = np.maximum((predicted | truth).sum(axis=1), 1)
            return float((((truth @ self.weights) * predicted).sum(axis=1) / union).sum())

        return {"o_score": reward(predicted), "c_score": reward(truth), "i_score": reward(inactive)}


def _mean(meters, name):
    value = meters.mean(name)
    return math.nan if value is None else value


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
        return {name: _mean(meters, name) for name in self.train_columns}
