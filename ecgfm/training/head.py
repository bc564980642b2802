"""What a classifier gets anew: the output layer, whose rows go with the names of the labels, and adapters."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import printable
from ..specs.label_sets import alike

__all__ = ["about", "fill", "kept_rows", "listed", "new_adapter"]

_NAMED = 20


def kept_rows(
    names: Sequence[str] | None, labels: Sequence[str] | None, count: int, found: int | None, given: bool
) -> list[int | None]:
    """Of each output its row in the model's output layer, None if it is made anew.

    Names go together, and of others those that mean the same, such as ``AF`` and ``Atrial fibrillation``.

    Parameters
    ----------
    names : sequence of str or None
        Of the model's outputs.
    labels : sequence of str or None
        Of the outputs wanted.
    count : int
        Of outputs wanted.
    found : int or None
        Outputs of the model.
    given : bool
        Whether somebody gave the names that are wanted.

    Returns
    -------
    list of int or None
        (count,)
    """
    if found is None or (count != found and not given):
        return [None] * count
    if not given:
        return list(range(count))
    places = {name: row for row, name in enumerate(names or ())}
    places |= {label: places[name] for label, name in alike(labels or (), names or ()).items()}
    return [places.get(label) for label in labels or ()]


def fill(
    values: NDArray[np.float32], name: str, seed: int, kept: Sequence[int | None], tensor: Callable[[str], Any]
) -> None:
    """Fill ``proj.weight`` (Y, C) or ``proj.bias`` (Y,): rows that are kept, and new ones (Xavier uniform, bias 0)."""
    if None in kept:
        values[...] = _initial(name, values.shape, seed)
    there = [row for row, old in enumerate(kept) if old is not None]
    if there:
        values[there] = np.asarray(tensor(name))[[old for old in kept if old is not None]]


def _initial(name: str, shape: tuple[int, ...], seed: int) -> NDArray[Any]:
    if len(shape) == 1:
        return np.zeros(shape, np.float32)
    bound = math.sqrt(6 / sum(shape))
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())])).uniform(-bound, bound, shape)


def new_adapter(name: str, shape: tuple[int, ...], seed: int) -> NDArray[Any]:
    """Of a low-rank adapter: A (rank, C) uniform in +-1 / sqrt(C), and B (C, rank) 0, so that it adds nothing yet."""
    if name.endswith("_b"):
        return np.zeros(shape, np.float32)
    bound = 1 / math.sqrt(shape[1])
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())])).uniform(-bound, bound, shape)


def about(kept: Sequence[int | None], labels: Sequence[str] | None, found: int, names: Sequence[str] | None) -> str:
    """What to say of an output layer that is made anew, or some rows of it."""
    new = [row for row, old in enumerate(kept) if old is None]
    what = "the output layer is" if len(new) == len(kept) else f"{len(new)} of {len(kept)} rows of the output layer are"
    wanted = listed([labels[row] for row in new]) if labels else f"{len(new)} labels"
    theirs = f": {listed(names)}" if names else ", whose names are not known"
    return printable(f"{what} made anew, for {wanted}; the model has {found} outputs{theirs}")


def listed(names: Sequence[str]) -> str:
    """The first names, as text."""
    return ", ".join(names[:_NAMED]) + ", ..." * (len(names) > _NAMED)
