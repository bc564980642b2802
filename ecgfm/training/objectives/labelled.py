"""Outputs that have labels: the output layer, its names, batches, weights, and labels that are not known."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...checkpoint.labels import check_labels, read_label_file
from ...errors import ConfigError, LabelError
from ...kernels import core
from ...metrics.counts import label_sums, loss_and_shares, size_of
from ...ranks import Alone, Ranks
from ...specs.architecture import Architecture, architecture_keys
from ...specs.label_sets import alike, renamed_text
from ...validation import Whole, checked, real_array
from ..below import Below
from ..engine import Engine, Key
from ..head import about, fill, kept_rows, new_adapter
from ..labelling import read_labels
from ..noise.batch import dropout_masks, taken_apart
from ..settings import Finetuning
from ..start import Start
from ..trainable import adapter_tensors, is_adapter, learning_rates, tensors_below, trained_tensors
from ..warned import warn
from .base import Objective, Rows, Sums, Weights

if TYPE_CHECKING:
    from typing_extensions import Self

    from ...model.model import Model

__all__ = ["Labelled", "row_weights"]


class Labelled(Objective):
    """Losses of labels, summed over all cells whose label is known.

    Gradients are divided by the number of these cells of all batches of an update, or, with weights of rows, by their
    sum. A label that is NaN is not known.

    Attributes
    ----------
    kernel : str
        The name of the loss in the kernels.
    ranked : tuple of str
        What a validation can give beside the columns; see `ranking`.
    ranks_always : bool
        Whether a validation gives that unasked.
    pos_weight, neg_weight : ndarray or None
        (Y,) weights of the two terms of a label, or (the second) of a number; None: 1.
    """

    kind = "classifier"
    head = "accumulate"
    kernel: ClassVar[str]
    ranked: ClassVar[tuple[str, ...]] = ()
    ranks_always: ClassVar[bool] = False
    settings_type = Finetuning
    settings: Finetuning

    def __init__(self, given: Mapping[str, Any], seed: int, ranks: Alone | Ranks) -> None:
        super().__init__(given, seed, ranks)
        rest = dict(given)
        self._wanted = rest.pop("num_labels", None), rest.pop("labels", None)
        self._given_weights = {name: rest.pop(name, None) for name in ("pos_weight", "label_weight")}
        self.settings = self.settings_type.of(rest)
        self.frozen_updates = self.settings.freeze_finetune_updates
        self.pos_weight: NDArray[np.float32] | None = None
        self.neg_weight: NDArray[np.float32] | None = None
        self.kept_rows: list[int | None] = []

    # ---- what is trained ----------------------------------------------------------------------------

    def begin(self, start: Start) -> Mapping[str, Any]:
        if start.kind is None:
            raise ConfigError("a dict is neither a Model nor a path", field="model")
        self._name_outputs(start, *self._wanted)
        keys = [name for name in architecture_keys("classifier") if name in start.config]
        config = {name: start.config[name] for name in keys} | {"num_labels": self.num_labels}
        self.architecture = Architecture.of_config(config)
        self._weigh()
        self._config = dict(start.config) | {"num_labels": self.num_labels}
        return self._config

    def options(self) -> dict[str, Any]:
        config, settings = self._config, self.settings
        names = [name for name, _ in core().parameters(config, self.kind)]
        more: dict[str, Any] = {}
        if settings.adapters:
            first, adapters = adapter_tensors(settings.trainable, settings.adapters, config)
            output = [name for name in names if name.startswith("proj.")]
            trained: frozenset[str] | None = frozenset([*adapters, *output])
            more = {"adapters": settings.adapters, "adapted": first}
        else:
            how: dict[str, Any] = {"extractor": settings.feature_grad_mult > 0, "new": None in self.kept_rows}
            trained, adapters = trained_tensors(settings.trainable, names, config, **how), []
        self.below = tensors_below(trained, names, config)
        more |= {"trained": trained, "rates": learning_rates(settings.lr_decay, [*names, *adapters], config)}
        return super().options() | more

    def adopt(self, model: Model) -> Self:
        """Itself, for what a model says: nothing is trained."""
        self.num_labels, self.labels = model.num_labels, model.labels
        self._weigh()
        return self

    def _weigh(self) -> None:
        """Take the weights that were given, whose number is known by now."""
        given = {
            name: None if values is None else self._checked_weights(values, name)
            for name, values in self._given_weights.items()
        }
        self.pos_weight, self.neg_weight = self._weighed(given["pos_weight"], given["label_weight"])

    def _weighed(
        self, pos_weight: NDArray[np.float32] | None, label_weight: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        """The weights of the two terms of a label."""
        if label_weight is None:
            return pos_weight, None
        return label_weight if pos_weight is None else pos_weight * label_weight, label_weight

    def continues(self, start: Start) -> bool:
        """Whether the outputs of a classifier are of the same sort, so that its output layer can be kept."""
        return start.kind == "classifier" and start.target is None

    def _name_outputs(self, start: Start, num_labels: Any, labels: Any) -> None:
        """Names and number of the outputs, and which rows of the output layer are kept."""
        found = int(start.config["num_labels"]) if self.continues(start) else None
        if isinstance(labels, (str, os.PathLike)):
            labels = read_label_file(labels)
        if labels is not None and num_labels is None:
            num_labels = len(check_labels(labels, len(labels) if hasattr(labels, "__len__") else 0))
        if num_labels is None and found is None:
            what = "a pretrained model has no outputs yet"
            if start.kind == "classifier":
                what = f"the model's outputs are {'labels' if start.target is None else 'numbers'}, which can't go on"
            raise ConfigError(what, field="num_labels", remedy="Give the number of labels")
        count = int(found or 0) if num_labels is None else int(checked(num_labels, Whole(), "num_labels"))
        if labels is not None:
            self.labels, self.labels_source = check_labels(labels, count), "the caller"
        elif start.labels and count == found:
            self.labels, self.labels_source = tuple(start.labels), start.labels_source
        self.num_labels = count
        self.kept_rows = kept_rows(start.labels, self.labels, count, found, labels is not None)
        self._found = found

    def fill(self, values: Weights, start: Start) -> None:
        if start.kind == "classifier" and None in self.kept_rows and self.ranks.rank == 0:
            warn(about(self.kept_rows, self.labels, int(start.config["num_labels"]), start.labels))
        same = alike(self.labels or (), start.labels or ()) if self._found is not None and self.ranks.rank == 0 else {}
        if same:
            what = "rows of the output layer are kept for labels of the same meaning: "
            warn(what + renamed_text({new: (old,) for new, old in same.items()}))
        for name, tensor in values.items():
            if name.startswith("proj."):
                fill(tensor, name, self.seed, self.kept_rows, start.tensor)
            elif is_adapter(name):
                tensor[...] = new_adapter(name, tensor.shape, self.seed)
            else:
                start.copy(tensor, name.removeprefix("encoder."))

    def _label(self, index: int) -> str:
        return self.labels[index] if self.labels else f"label {index}"

    def _checked_weights(self, given: ArrayLike, field: str) -> NDArray[np.float32]:
        weights = real_array(given, field, LabelError)
        if weights.shape != (self.num_labels,):
            raise LabelError(f"the shape {weights.shape} is not ({self.num_labels},)", field=field)
        with np.errstate(over="ignore"):
            weights = np.require(weights, np.float32, ["C", "ALIGNED"])
        bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
        if bad.size:
            label = self._label(int(bad[0]))
            raise LabelError(f"the weight of {label} is {weights[bad[0]]}", field=field)
        return weights

    # ---- a batch ------------------------------------------------------------------------------------

    def rows(
        self,
        x: Any,
        y: Any = None,
        padding_mask: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        together: bool = False,
    ) -> Rows:
        samples = x.samples if isinstance(x, Below) else 0
        if samples and padding_mask is not None:
            raise ConfigError("it is in the rows already", field="padding_mask", remedy="Leave it out")
        rows, valid = (x.rows, x.valid) if isinstance(x, Below) else self.checked_input(x, padding_mask)
        weight = None if sample_weight is None else row_weights(sample_weight, len(rows))
        learned = self.learned(self.checked_labels(y, len(rows)))
        return Rows(rows, valid, {"y": learned, "weight": weight, "samples": samples})

    def checked_labels(self, y: Any, rows: int) -> NDArray[Any]:
        """Labels (rows, Y) as contiguous numbers; NaN where one is not known.

        Raises
        ------
        LabelError
            If the shape differs, or a value can't be a label.
        """
        if y is None:
            raise LabelError("there are no labels", field="y", remedy="Give (segments, labels)")
        if hasattr(y, "columns"):
            y = self._in_order(y)
        y = real_array(y, "y", LabelError, booleans=True)
        if y.shape != (rows, self.num_labels):
            raise LabelError(f"the shape {y.shape} is not {(rows, self.num_labels)}: (segments, labels)", field="y")
        return self.within_limits(y)

    def within_limits(self, y: NDArray[Any]) -> NDArray[Any]:
        """Labels (rows, Y), if each is from 0 to 1, or NaN."""
        with np.errstate(over="ignore"):
            found: NDArray[np.float32] = np.require(y, np.float32, ["C", "ALIGNED"])
        bad = np.argwhere(~(((found >= 0) & (found <= 1)) | np.isnan(found)))
        if bad.size:
            row, column = map(int, bad[0])
            raise LabelError(f"row {row}, {self._label(column)}: {found[row, column]} is not from 0 to 1", field="y")
        return found

    def learned(self, y: NDArray[Any]) -> NDArray[np.float32]:
        """Labels as the outputs are to be."""
        return y

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
                "loss": self.kernel,
                "pos_weight": self.pos_weight,
                "neg_weight": self.neg_weight,
                "row_weight": rows.more["weight"],
                **self.focus(),
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
        return self.sums_of(*made) | {"logits": made[0], "y": made[1]}

    def sums_of(self, logits: NDArray[Any], y: NDArray[Any], threshold: float = 0.5) -> Sums:
        """The sums of logits (B, Y) and labels (B, Y), which are as `learned` gives them, in float64."""
        return label_sums(logits, y, self.cells, threshold)

    def cells(self, z: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """The loss of each cell."""
        raise NotImplementedError

    def focus(self) -> dict[str, float]:
        """Settings of the loss that the kernels take."""
        return {}

    @property
    def weights(self) -> tuple[Any, Any]:
        """The weights of the two terms of a label, in float64."""
        pair = self.pos_weight, self.neg_weight
        positive, negative = (1.0 if each is None else each.astype(np.float64) for each in pair)
        return positive, negative

    def size(self, sums: Sums) -> float:
        return size_of(sums)

    def report(self, sums: Sums) -> dict[str, Any]:
        return loss_and_shares(sums)

    # ---- what is kept -------------------------------------------------------------------------------

    def saved(self) -> dict[str, Any]:
        assumed = "assumed" in (self.labels_source or "")
        return {"labels": None if assumed else self.labels}


def row_weights(given: ArrayLike, rows: int, field: str = "sample_weight") -> NDArray[np.float32]:
    """Weights (rows,) of rows, if they are finite and not negative.

    Raises
    ------
    LabelError
    """
    weights = real_array(given, field, LabelError)
    if weights.shape != (rows,):
        raise LabelError(f"the shape {weights.shape} is not ({rows},): one weight for each segment", field=field)
    with np.errstate(over="ignore"):
        weights = np.require(weights, np.float32, ["C", "ALIGNED"])
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        raise LabelError(f"the weight of row {bad[0]} is {weights[bad[0]]}", field=field)
    return weights
