"""The model that a user gives: one that is loaded, or where it lies."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from .._types import StrPath
from ..checkpoint.places import shipped_model
from ..ecg.prepare import spec_of
from ..errors import ConfigError
from ..model.answers import saying
from ..specs.inputs import ECG_FM, InputSpec
from ..specs.target import Target
from ..validation import Flag, checked

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..ecg import Record, Segments
    from ..model.model import Model
    from .shared import SharedModel

__all__ = ["as_asked", "Inputs", "ModelLike", "Ready", "input_of", "opened_model", "shipped_model", "target_of"]

#: A model that can be called.
Ready: TypeAlias = "Model | SharedModel"
#: That, or where a checkpoint lies.
ModelLike: TypeAlias = "Ready | StrPath"
#: One recording or several; see `ecgfm.io.inputs.expand`.
Inputs: TypeAlias = "StrPath | Record | Segments | ArrayLike | Iterable[Any]"


def opened_model(model: ModelLike, inputs: Inputs | None = None) -> Ready:
    """The model; a path or a name is loaded.

    Raises
    ------
    ConfigError
        If it is no model, or stands where the recordings should.
    """
    if callable(inputs) and hasattr(inputs, "labels"):
        raise ConfigError("a model stands where the recordings should", field="files", remedy="Give the model first")
    if isinstance(model, (str, os.PathLike)):
        from .. import load  # as the user would

        return load(model)
    if not callable(model):
        raise ConfigError(
            f"{type(model).__name__} is no model",
            field="model",
            remedy="Give what ecgfm.load returns, or the path of a checkpoint; the recordings come second",
        )
    return model


def as_asked(model: Ready, calibrated: object) -> Ready:
    """The model with its calibration, or without."""
    if checked(calibrated, Flag(), "calibrated") or getattr(model, "calibration", None) is None:
        return model
    found: Ready = saying(getattr(model, "_model", model), calibrated=False)  # of a SharedModel: on this rank alone
    return found


def target_of(model: object) -> Target | None:
    """What numbers a model's outputs stand for; None where they are labels."""
    found: Target | None = getattr(model, "target", None)
    return found


def input_of(model: object) -> InputSpec:
    """What a model takes; of one that doesn't say it, what ECG-FM takes."""
    return spec_of(model) or ECG_FM
