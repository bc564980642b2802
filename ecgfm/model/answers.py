"""What is known of a model's outputs beside the network: numbers they stand for, calibration, thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..specs.target import Target
from ..specs.trust import Calibration, Thresholds

__all__ = ["Answers", "saying"]


class Answers(NamedTuple):
    """What a file says of the outputs."""

    target: Target | None
    calibration: Calibration | None
    thresholds: Thresholds | None

    @classmethod
    def read(cls, info: Mapping[str, Any], count: int, path: Any) -> Answers:
        """What stands in the `info` of a model with so many outputs; `CheckpointError` if it is damaged."""
        return cls(
            Target.read(info.get("target"), count, path),
            Calibration.read(info.get("calibration"), count, path),
            Thresholds.read(info.get("thresholds"), count, path),
        )


def saying(model: Any, *, calibrated: bool = True, **said: Any) -> Any:
    """The same network, of which something else is said.

    Parameters
    ----------
    model : Model
    calibrated : bool
        False: without its calibration, and thresholds of calibrated probabilities.
    **said
        Entries of `info`, such as ``calibration`` and ``thresholds``; None takes one out.
    """
    info = {name: value for name, value in (model.info | said).items() if value is not None}
    if not calibrated:
        info.pop("calibration", None)
        if model.thresholds_chosen is not None and model.thresholds_chosen.calibrated:
            info.pop("thresholds", None)
    made = type(model)(model._core, model.config, model.kind, labels=model.labels, labels_source=model.labels_source,
                       info=info, source=model.source, precision=(model.precision, model.precision_reason),
                       stated=model._stated, input=(model.input, model.input_source))  # fmt: skip
    made.uncalibrated = model.calibration is not None and not calibrated
    return made
