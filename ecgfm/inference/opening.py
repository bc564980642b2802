"""The model that a user gives: one that is loaded, or where it lies."""

from __future__ import annotations

import os
from typing import Any

from ..errors import ConfigError

__all__ = ["opened_model"]


def opened_model(model: Any, inputs: Any = None) -> Any:
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
