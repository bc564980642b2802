"""A model as plain data, for `pickle` and `copy.deepcopy`: numbers, text, lists and bytes, and one function back.

Importing this module teaches both how."""

from __future__ import annotations

import copyreg
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checkpoint import held_tensor
from ..errors import CheckpointError
from ..kernels import core
from ..specs.inputs import InputSpec
from ..specs.precision import Stated
from .model import Model
from .precision import choose
from .weights import filled

__all__ = ["plain_state", "restored"]

VERSION = 1
TYPES = ("float32", "uint16", "int8")  # uint16 holds bfloat16
Array = tuple[str, tuple[int, ...], bytes]  # the type's name, the shape, little-endian values


def plain_state(model: Model) -> dict[str, Any]:
    """What makes the same model again; its weights as it holds them.

    Parameters
    ----------
    model : Model

    Returns
    -------
    dict
        Of numbers, text, bytes, and lists, tuples and dicts of them.
    """
    names = [name for name, _ in core().parameters(model.config, model.kind)]
    return {
        "version": VERSION,
        "config": model.config,
        "kind": model.kind,
        "labels": model.labels,
        "labels_source": model.labels_source,
        "info": model.info,
        "source": model.source,
        "precision": (model.precision, model.precision_reason),
        "stated": model._saved(None).written(),
        "input": (model.input.to_dict(), model.input_source),
        "uncalibrated": model.uncalibrated,
        "tensors": {name: [_put(each) for each in model._core.stored(name) if each is not None] for name in names},
    }


def restored(state: Mapping[str, Any]) -> Model:
    """The model that `plain_state` was taken of: the same answers, to the bit.

    Parameters
    ----------
    state : dict

    Returns
    -------
    Model

    Raises
    ------
    CheckpointError
        If it was pickled by a later version of ecgfm, or its weights don't fit its configuration.
    ConfigError
        If the processor lacks the instructions of its precision.
    """
    if state.get("version") != VERSION:
        raise CheckpointError(
            f"the model was pickled by another version of ecgfm (format {state.get('version')!r}, known is {VERSION})",
            remedy="Save it there with Model.save, and load that file",
        )
    stated = Stated.read(state["stated"])
    precision = state["precision"]
    choose(precision[0], stated)
    tensors = {name: held_tensor(name, *map(_got, arrays)) for name, arrays in state["tensors"].items()}
    model = Model(
        filled(state["config"], state["kind"], tensors, precision[0], state["source"]),
        state["config"],
        state["kind"],
        labels=state["labels"],
        labels_source=state["labels_source"],
        info=state["info"],
        source=state["source"],
        precision=precision,
        stated=stated,
        input=(InputSpec.from_dict(state["input"][0]), state["input"][1]),
    )
    model.uncalibrated = state["uncalibrated"]
    return model


def _put(array: NDArray[Any]) -> Array:
    return array.dtype.name, array.shape, array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _got(array: Array) -> NDArray[Any]:
    name, shape, values = array
    if name not in TYPES:
        raise CheckpointError(f"the pickled values are of type {name!r}", remedy=f"Known are {', '.join(TYPES)}")
    if np.prod(shape, dtype=object) * np.dtype(name).itemsize != len(values):
        raise CheckpointError(f"{len(values)} pickled bytes are no {name} values of the shape {tuple(shape)}")
    return np.frombuffer(values, np.dtype(name).newbyteorder("<")).reshape(shape)


def _reduce(model: Model) -> tuple[Any, ...]:
    return restored, (plain_state(model),)


copyreg.pickle(Model, _reduce)
