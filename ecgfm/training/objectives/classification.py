"""Finetuning a classifier: binary cross entropy of each label with its logit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...checkpoint.labels import check_labels, read_label_file
from ...errors import ConfigError, LabelError
from ...kernels import core
from ...metrics.challenge import ChallengeScore
from ...metrics.counts import bce_sums, loss_and_shares
from ...metrics.ranking import ranking
from ...model.output import probabilities
from ...ranks import Alone, Ranks
from ...specs.architecture import Architecture, architecture_keys
from ...specs.label_sets import alike, renamed_text
from ...validation import Whole, checked, real_array
from ..below import Below
from ..engine import Engine, Key
from ..head import about, fill, kept_rows
from ..labelling import read_labels
from ..noise.batch import dropout_masks, taken_apart
from ..settings import Finetuning
from ..start import Start
from ..trainable import learning_rates, tensors_below, trained_tensors
from ..warned import warn
from .base import Objective, Rows, Sums, Weights
from .reports import Classification

__all__ = ["RANKING", "BinaryCrossEntropy"]

#: What a validation gives beside the columns: the first two over all cells together, as in the original.
RANKING = ("auroc", "auprc", "auroc_macro", "auprc_macro")


class BinaryCrossEntropy(Objective):
    """Summed over all cells; gradients are divided by the number of cells of all batches of an update."""

    loss = "binary_cross_entropy_with_logits"
    kind = "classifier"
    head = "accumulate"
    criterion = "BinaryCrossEntropyWithLogitsCriterion"
    settings_type = Finetuning
    columns = ("loss", "accuracy", "em_accuracy", "precision", "recall")
    settings: Finetuning

    def __init__(self, given: Mapping[str, Any], seed: int, ranks: Alone | Ranks) -> None:
        super().__init__(given, seed, ranks)
        rest = dict(given)
        self._wanted = rest.pop("num_labels", None), rest.pop("labels", None)
        self._given_weight = rest.pop("pos_weight", None)
        self.settings = Finetuning.of(rest)
        self.frozen_updates = self.settings.freeze_finetune_updates
        self.pos_weight: NDArray[np.float32] | None = None
        self.kept_rows: list[int | None] = []

    # ---- what is trained ----------------------------------------------------------------------------

    def begin(self, start: Start) -> Mapping[str, Any]:
        if start.kind is None:
            raise ConfigError("a dict is neither a Model nor a path", field="model")
        self._name_outputs(start, *self._wanted)
        keys = [name for name in architecture_keys("classifier") if name in start.config]
        config = {name: start.config[name] for name in keys} | {"num_labels": self.num_labels}
        self.architecture = Architecture.of_config(config)
        if self._given_weight is not None:
            self.pos_weight = self._checked_pos_weight(self._given_weight)
        self._config = dict(start.config) | {"num_labels": self.num_labels}
        return self._config

    def _name_outputs(self, start: Start, num_labels: Any, labels: Any) -> None:
        """Names and number of the outputs, and which rows of the output layer are kept."""
        found = int(start.config["num_labels"]) if start.kind == "classifier" else None
        if isinstance(labels, (str, os.PathLike)):
            labels = read_label_file(labels)
        if labels is not None and num_labels is None:
            num_labels = len(check_labels(labels, len(labels) if hasattr(labels, "__len__") else 0))
        if num_labels is None and found is None:
            raise ConfigError(
                "a pretrained model has no outputs yet", field="num_labels", remedy="Give the number of labels"
            )
        count = int(found or 0) if num_labels is None else int(checked(num_labels, Whole(), "num_labels"))
        if labels is not None:
            self.labels, self.labels_source = check_labels(labels, count), "the caller"
        elif start.labels and count == found:
            self.labels, self.labels_source = tuple(start.labels), start.labels_source
        self.num_labels = count
        self.kept_rows = kept_rows(start.labels, self.labels, count, found, labels is not None)
        self._found = found

    def options(self) -> dict[str, Any]:
        config, settings = self._config, self.settings
        names = [name for name, _ in core().parameters(config, self.kind)]
        how: dict[str, Any] = {"extractor": settings.feature_grad_mult > 0, "new": None in self.kept_rows}
        trained = trained_tensors(settings.trainable, names, config, **how)
        self.below = tensors_below(trained, names, config)
        return super().options() | {"trained": trained, "rates": learning_rates(settings.lr_decay, names, config)}

    def fill(self, values: Weights, start: Start) -> None:
        if self._found is not None and None in self.kept_rows and self.ranks.rank == 0:
            warn(about(self.kept_rows, self.labels, self._found, start.labels))
        same = alike(self.labels or (), start.labels or ()) if self._found is not None and self.ranks.rank == 0 else {}
        if same:
            what = "rows of the output layer are kept for labels of the same meaning: "
            warn(what + renamed_text({new: (old,) for new, old in same.items()}))
        for name, tensor in values.items():
            if name.startswith("proj."):
                fill(tensor, name, self.seed, self.kept_rows, start.tensor)
            else:
                start.copy(tensor, name.removeprefix("encoder."))

    def _label(self, index: int) -> str:
        return self.labels[index] if self.labels else f"label {index}"

    def _checked_pos_weight(self, pos_weight: ArrayLike) -> NDArray[np.float32]:
        weights = real_array(pos_weight, "pos_weight", LabelError)
        if weights.shape != (self.num_labels,):
            raise LabelError(f"the shape {weights.shape} is not ({self.num_labels},)", field="pos_weight")
        with np.errstate(over="ignore"):
            weights = np.require(weights, np.float32, ["C", "ALIGNED"])
        bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
        if bad.size:
            label = self._label(int(bad[0]))
            raise LabelError(f"the weight of {label} is {weights[bad[0]]}", field="pos_weight")
        return weights

    # ---- a batch ------------------------------------------------------------------------------------

    def rows(self, x: Any, y: Any = None, padding_mask: ArrayLike | None = None, *, together: bool = False) -> Rows:
        if isinstance(x, Below):
            return Rows(x.rows, x.valid, {"y": self.checked_labels(y, len(x)), "samples": x.samples})
        x, valid = self.checked_input(x, padding_mask)
        return Rows(x, valid, {"y": self.checked_labels(y, len(x)), "samples": 0})

    def checked_labels(self, y: Any, rows: int) -> NDArray[np.float32]:
        """Labels (rows, Y) as contiguous float32.

        Raises
        ------
        LabelError
            If the shape differs, or a value does not lie from 0 to 1.
        """
        if y is None:
            raise LabelError("there are no labels", field="y", remedy="Give (segments, labels)")
        if hasattr(y, "columns"):
            y = self._in_order(y)
        y = real_array(y, "y", LabelError, booleans=True)
        if y.shape != (rows, self.num_labels):
            raise LabelError(f"the shape {y.shape} is not {(rows, self.num_labels)}: (segments, labels)", field="y")
        with np.errstate(over="ignore"):
            found: NDArray[np.float32] = np.require(y, np.float32, ["C", "ALIGNED"])
        bad = np.argwhere(~((found >= 0) & (found <= 1)))
        if bad.size:
            row, column = map(int, bad[0])
            raise LabelError(f"row {row}, {self._label(column)}: {found[row, column]} is not from 0 to 1", field="y")
        return found

    def _in_order(self, y: Any) -> NDArray[Any]:
        """The values of a table with a column per label, in the order of the outputs."""
        found = read_labels(y)
        if self.labels and found.names and set(found.names) != set(self.labels):
            odd = next(iter(set(found.names) ^ set(self.labels)))
            raise LabelError(f"the columns are not the labels of the outputs: {odd} is one of theirs only", field="y")
        return found.arranged(self.labels)

    def sums(self, engine: Engine, rows: Rows, key: Key, noise: object = None) -> Sums:
        if key.validation:
            if noise is not None:
                raise ConfigError("there is no noise in a validation", field="noise")
            return self.summed(engine, [rows], lambda first: key)
        _, given = taken_apart(noise)
        batch, samples = len(rows.x), rows.more["samples"] or rows.x.shape[2]
        return engine.forward_backward(
            self.head,
            {
                "x": rows.x,
                "y": rows.more["y"],
                "valid": rows.valid,
                "pos_weight": self.pos_weight,
                "head_only": key.applied < self.frozen_updates,
                "samples": rows.more["samples"],
                "noise": None if noise is None else dropout_masks(given, self.architecture, batch, samples, final=True),
            },
            key,
        )

    def summed(self, engine: Engine, batches: Iterable[Rows], key: Callable[[int], Key]) -> Sums:
        logits, y = [], []
        for rows in batches:
            logits.append(engine.logits(rows.x, rows.valid, rows.more["samples"]))
            y.append(rows.more["y"])
        made = np.concatenate(logits), np.concatenate(y)
        return bce_sums(*made, self.pos_weight) | {"logits": made[0], "y": made[1]}

    def report(self, sums: Sums) -> dict[str, Any]:
        return loss_and_shares(sums)

    def ranking(self, sums: Sums) -> dict[str, float]:
        logits, y = sums["logits"], sums["y"]
        (*_, macro, micro) = ranking(y > 0.5, probabilities(logits)).T
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

    # ---- what is kept -------------------------------------------------------------------------------

    def saved(self) -> dict[str, Any]:
        assumed = "assumed" in (self.labels_source or "")
        return {"labels": None if assumed else self.labels}
