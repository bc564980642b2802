"""Finetuning for numbers: the squared error of each output, which learns its target less the mean, in deviations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, LabelError
from ...metrics.challenge import ChallengeScore
from ...metrics.counts import size_of
from ...metrics.losses import squared
from ...metrics.ranking import mean_of_known
from ...metrics.regression import regression
from ...ranks import Alone, Ranks
from ...specs.target import Target
from ..start import Start
from .base import Sums, Weights
from .labelled import Labelled
from .reports import Regression

if TYPE_CHECKING:
    from typing_extensions import Self

    from ...model.model import Model

__all__ = ["MeanSquaredError"]


class MeanSquaredError(Labelled):
    """Of outputs that are ``(value - mean) / std`` of the target.

    Attributes
    ----------
    target : Target
    """

    loss = "mse"
    kernel = "mse"
    criterion = "MSECriterion"
    columns = ("loss", "mae")
    ranked = ("r2", "pearson")
    ranks_always = True

    def __init__(self, given: Mapping[str, Any], seed: int, ranks: Alone | Ranks) -> None:
        rest = dict(given)
        self._given_target, self._given_units = rest.pop("target", None), rest.pop("units", None)
        if rest.pop("pos_weight", None) is not None:
            raise ConfigError("numbers are neither positive nor negative", field="pos_weight", remedy="Leave it out")
        super().__init__(rest, seed, ranks)

    def continues(self, start: Start) -> bool:
        return start.kind == "classifier" and start.target is not None

    def begin(self, start: Start) -> Mapping[str, Any]:
        config = super().begin(start)
        kept, old = self.kept_rows, start.target

        def of_start(values: Sequence[Any] | None, fallback: Any) -> list[Any]:
            return [fallback if row is None or not values else values[row] for row in kept]

        own = {"mean": of_start(old.mean if old else None, 0.0), "std": of_start(old.std if old else None, 1.0)}
        units = of_start(old.units if old else None, "")
        target = dict(own)
        if self._given_target is not None:
            target = Target.of(self._given_target, self.num_labels).to_dict()
        if target.get("units") is None and any(units):
            target["units"] = units
        if self._given_units is not None:
            target["units"] = self._given_units
        self.target = Target.of(target, self.num_labels, "" if self._given_units is not None else "target")
        self._own = own
        return config

    def adopt(self, model: Model) -> Self:
        if model.target is None:
            raise ConfigError("the model's outputs are labels, not numbers", path=model.source, field="loss")
        self.target = model.target
        return super().adopt(model)

    def fill(self, values: Weights, start: Start) -> None:
        """Rows that are kept go on saying what they said, in the mean and deviation of now."""
        super().fill(values, start)
        for row, old in enumerate(self.kept_rows):
            scale, std = self._own["std"][row] / self.target.std[row], self.target.std[row]
            shift = (self._own["mean"][row] - self.target.mean[row]) / std
            if old is not None and (scale != 1 or shift != 0):
                values["proj.weight"][row] *= scale
                values["proj.bias"][row] = values["proj.bias"][row] * scale + shift

    def within_limits(self, y: NDArray[Any]) -> NDArray[Any]:
        """Numbers (rows, Y), if none is infinite."""
        found = np.asarray(y, dtype=np.float64)
        bad = np.argwhere(np.isinf(found))
        if bad.size:
            row, column = map(int, bad[0])
            raise LabelError(f"row {row}, {self._label(column)}: {found[row, column]} is no finite number", field="y")
        return found

    def learned(self, y: NDArray[Any]) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):
            found = np.require(self.target.standardised(y), np.float32, ["C", "ALIGNED"])
        if np.isinf(found).any():
            row, column = map(int, np.argwhere(np.isinf(found))[0])
            raise LabelError(
                f"row {row}, {self._label(column)}: {y[row, column]:g} is out of all proportion to the mean and the "
                f"deviation, {self.target.mean[column]:g} and {self.target.std[column]:g}",
                field="y",
            )
        return found

    def sums_of(self, logits: NDArray[Any], y: NDArray[Any], threshold: float = 0.5) -> Sums:
        z, t = np.asarray(logits, np.float64), np.asarray(y, np.float64)
        known = ~np.isnan(t)
        loss = squared(z[known], t[known], np.broadcast_to(self.weights[1], t.shape)[known])
        return {
            "loss": float(loss.sum()),
            "absolute": float(np.abs(z - t)[known].sum()),
            "count": int(known.sum()),
            "rows": int(known.any(axis=1).sum()),
        }

    def report(self, sums: Sums) -> dict[str, Any]:
        size = size_of(sums)
        return {
            "loss": sums["loss"] / size if size else math.nan,
            "loss_sum": sums["loss"],
            "sample_size": size,
            "nsignals": sums["rows"],
            "mae": sums["absolute"] / size if size else math.nan,
        }

    def ranking(self, sums: Sums) -> dict[str, float]:
        _, _, r2, pearson = mean_of_known(regression(sums["y"], sums["logits"]))
        return {"r2": float(r2), "pearson": float(pearson)}

    @classmethod
    def reporting(
        cls,
        *,
        threshold: float = 0.5,
        report_auc: bool = True,
        challenge: ChallengeScore | None = None,
        log_keys: Sequence[str] = (),
    ) -> Regression:
        return Regression(cls.criterion)

    def saved(self) -> dict[str, Any]:
        return super().saved() | {"cfg": {"criterion": {"_name": self.loss}}}

    def said(self) -> dict[str, Any]:
        return {"target": self.target.to_dict()}
