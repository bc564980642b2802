"""Weights on their way into the kernels and out of them, a tensor at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import StrPath
from ..checkpoint import Tensor, held_tensor
from ..errors import CheckpointError, Error
from ..kernels import core
from ..specs.precision import FLOAT32, INT8
from ..validation import refuse_masked

__all__ = ["Unpacked", "filled", "held"]


class Unpacked:
    """The tensors of a core model, each unpacked as float32 when it is asked for."""

    def __init__(self, core_model: Any) -> None:
        self._core = core_model

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self._core.get(name)
        return values

    def get(self, name: str) -> NDArray[np.float32]:
        return self[name]


def held(core_model: Any, names: Iterable[str]) -> dict[str, Tensor]:
    """The tensors of a core model, in the number types in which it holds them."""
    return {name: held_tensor(name, *core_model.stored(name)) for name in names}


def filled(
    config: Mapping[str, Any],
    kind: str,
    tensors: Mapping[str, Any] | Unpacked,
    precision: str = FLOAT32,
    path: StrPath | None = None,
) -> Any:
    """A core model with every tensor copied in; each file-backed tensor gives its memory back at once.

    int8 numbers stay as they are, those in bfloat16 are rounded to the same bits again.

    Raises
    ------
    CheckpointError
        If a tensor is missing, of another shape, or not finite.
    """
    made = core().Model(dict(config), kind, precision)
    for name, shape in sorted(core().parameters(config, kind), key=_turn):
        tensor = tensors.get(name)
        if tensor is None:
            raise CheckpointError("the tensor is missing", path=path, field=name)
        try:
            if precision != INT8 or not _set_stored(made, name, tensor, shape):
                _set(made, name, tensor, shape)
        except Error as error:
            raise CheckpointError(error.message, path=path, field=error.field or name, remedy=error.remedy) from None
        if hasattr(tensor, "release"):
            tensor.release()
    made.finish()
    return made


def _turn(entry: tuple[str, tuple[int, ...]]) -> tuple[bool, int]:
    """Sorts tensors: vectors first, since norms say how the matrices behind them are rounded; then the largest, which
    take most memory while they are packed and leave room for all that follow.
    """
    _, shape = entry
    return len(shape) == 2 or sum(n > 1 for n in shape) > 1, -math.prod(shape)


def _set_stored(made: Any, name: str, tensor: Any, shape: tuple[int, ...]) -> bool:
    """Copy int8 numbers as they are; False where there are none, or the core model does not take them."""
    if not isinstance(tensor, Tensor) or tensor.scales is None or tensor.shape != shape:
        return False
    arrays = tensor.scaled(None).raw(), *map(np.asarray, tensor.scales)
    try:
        made.set_stored(name, *(np.require(each, requirements=["C", "ALIGNED"]) for each in arrays))
    except ValueError:  # it holds another type; what else there may be, `_set` says
        return False
    return True


def _set(made: Any, name: str, tensor: Any, shape: tuple[int, ...]) -> None:
    values = _float32(tensor, name)
    if values.shape != shape:
        raise CheckpointError(f"the shape is {values.shape}, the configuration asks for {shape}", field=name)
    _check_norm(name, values)
    made.set(name, values)


def _check_norm(name: str, values: NDArray[np.float32]) -> None:
    """The weights of the positional convolution are divided by their norm at each place, which can't be 0."""
    if name.endswith("pos_conv.0.parametrizations.weight.original1") and not values.any(axis=(0, 1)).all():
        raise CheckpointError("all values at one place of the kernel are 0: they have no direction", field=name)


def _float32(tensor: Any, name: str) -> NDArray[np.float32]:
    refuse_masked(tensor, name, CheckpointError)
    try:
        array = np.asarray(tensor)
    except (TypeError, ValueError) as error:
        if isinstance(error, Error):
            raise
        raise CheckpointError(f"not an array: {error}", field=name) from None
    if array.dtype.kind not in "iuf":
        raise CheckpointError(f"the values are of type {array.dtype}, not real numbers", field=name)
    with np.errstate(over="ignore"):
        return np.require(array, np.float32, ["C", "ALIGNED"])
