"""Networks with random weights: how tensors start, and what a model would be worth that has learnt nothing."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels import core
from .model import Model
from .weights import filled

__all__ = ["initial_tensor", "untrained_like"]


def initial_tensor(
    name: str,
    shape: tuple[int, ...],
    distribution: str,
    scale: float,
    seed: int,
    values: Mapping[str, NDArray[Any]] | None = None,
) -> NDArray[Any]:
    """The values of a tensor that starts anew; they depend on the seed and its name.

    Parameters
    ----------
    name : str
    shape : tuple of int
    distribution, scale
        As ``_core.initial_values`` says them.
    seed : int
    values : mapping, optional
        The other tensors: ``tap_norm`` is that of another one, which must be there.
    """
    if distribution == "tap_norm":
        direction = (values or {})[name.replace("original0", "original1")].astype(np.float64)
        norm: NDArray[np.float64] = np.sqrt((direction**2).sum(axis=(0, 1)))
        return norm.reshape(shape)
    if distribution in ("zeros", "ones"):
        return np.full(shape, distribution == "ones", dtype=np.float32)
    rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    if distribution == "normal":
        return scale * rng.standard_normal(shape, dtype=np.float32)
    drawn: NDArray[np.float32] = rng.random(shape, dtype=np.float32)
    return drawn if distribution == "unit" else scale * (2 * drawn - 1)


def untrained_like(model: Model, seed: int = 0) -> Model:
    """A model of the same architecture, labels and input with random weights, drawn as training would begin.

    Parameters
    ----------
    model : Model
    seed : int

    Returns
    -------
    Model
        In float32.
    """
    config = model.config
    found = sorted(core().initial_values(config, model.kind), key=lambda one: one[2][0] == "tap_norm")
    values: dict[str, NDArray[Any]] = {}
    for name, shape, (distribution, scale) in found:
        values[name] = np.asarray(initial_tensor(name, shape, distribution, scale, seed, values), np.float32)
    made = filled(config, model.kind, values, "float32")
    named: dict[str, Any] = {"labels": model.labels, "labels_source": model.labels_source}
    taken = model.input, model.input_source
    return Model(made, config, model.kind, info={"training": "none"}, source="random weights", input=taken, **named)
