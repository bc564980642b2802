"""Checks of what goes into the network: arrays of segments and padding masks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import CheckpointError, Error, InputWarning, SignalError
from ..specs.architecture import Architecture
from ..validation import bool_array, real_array

__all__ = [
    "checked_segments",
    "not_finite",
    "zeros_under_mask",
]

_LARGEST = 1e9  # beyond this, values of segments are what makes the results overflow
_UNDER_MASK = "x holds other values than 0 under padding_mask; they are taken as 0"


def checked_segments(
    x: Any, padding_mask: ArrayLike | None, architecture: Architecture
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Segments as the kernels take them.

    Parameters
    ----------
    x : Segments or array_like
        (B, L, N) real numbers of any type, layout and byte order.
    padding_mask : array_like of bool, optional
        (B, N) or (B, L, N), True = padding at the end of a row. By default that of `x` if it has one.
    architecture : Architecture

    Notes
    -----
    What `padding_mask` masks is taken as 0, as it was in training: other values would change what is said of the
    samples beside them. Where it wasn't 0, an `InputWarning` says so.

    Returns
    -------
    x : ndarray
        (B, L, N) float32, contiguous; not copied if it is that already.
    valid : ndarray or None
        (B,) int64, samples of each row that are not padding; None where nothing is padded.

    Raises
    ------
    SignalError
        If a shape or type is wrong, or a row is too short. NaN and infinity are found by the kernels.
    """
    leads, least = architecture.in_d, architecture.min_samples
    if padding_mask is None:
        padding_mask = getattr(x, "padding_mask", None)
    x = real_array(x, "x")
    if x.ndim != 3:
        raise SignalError(
            f"the shape {x.shape} has {x.ndim} dimensions, not 3: (segments, leads, samples)",
            field="x",
            remedy="Give one segment as x[None]; ecgfm.prepare makes segments from a recording",
        )
    if x.shape[1] != leads:
        raise SignalError(f"the shape {x.shape} has {x.shape[1]} leads, the model takes {leads}", field="x")
    if x.shape[0] == 0 or x.shape[2] == 0:
        raise SignalError(f"the array is empty: shape {x.shape}", field="x")
    if x.shape[2] < least:
        raise SignalError(f"{x.shape[2]} samples give no token, at least {least} are needed", field="x")
    with np.errstate(over="ignore"):  # a value beyond float32 becomes inf, which the kernel names
        ready = np.require(x, np.float32, ["C", "ALIGNED"])
    if padding_mask is None:
        return ready, None
    valid = _valid_samples(padding_mask, x.shape, least)
    return ready if valid is None else _padded_with_zeros(ready, valid), valid


def zeros_under_mask(x: NDArray[np.float32], mask: NDArray[np.bool_] | None, stacklevel: int) -> NDArray[np.float32]:
    """Segments (..., L, N) with 0 where `mask` (..., N) or (..., L, N) is True: for a whole training, warned of once.

    Copied only if something else is there; a mask of another shape is left to those that check it.
    """
    if mask is None or mask.shape not in (x.shape, (*x.shape[:-2], x.shape[-1])):
        return x
    wide = mask if mask.shape == x.shape else mask[..., None, :]
    some = np.flatnonzero(mask.any(axis=tuple(range(1, mask.ndim))))
    odd = [row for row in some if (wide[row] & (x[row] != 0)).any()]
    if not odd:
        return x
    warnings.warn(_UNDER_MASK, InputWarning, stacklevel=stacklevel + 1)
    x = np.array(x)
    for row in odd:
        x[row] = np.where(wide[row], 0, x[row])
    return x


def _padded_with_zeros(x: NDArray[np.float32], valid: NDArray[np.int64]) -> NDArray[np.float32]:
    """The same with 0 behind the valid samples; copied only if something else is there."""
    samples = x.shape[2]
    odd = [row for row in np.flatnonzero(valid < samples) if x[row, :, valid[row] :].any()]
    if not odd:
        return x
    warnings.warn(_UNDER_MASK, InputWarning, stacklevel=4)
    x = x.copy()
    for row in odd:
        x[row, :, valid[row] :] = 0
    return x


def _valid_samples(padding_mask: ArrayLike, shape: tuple[int, ...], least: int) -> NDArray[np.int64] | None:
    mask = bool_array(padding_mask, "padding_mask")
    if mask.shape not in (shape, (shape[0], shape[2])):
        raise SignalError(
            f"the shape {mask.shape} fits neither {shape} nor {(shape[0], shape[2])}", field="padding_mask"
        )
    if mask.ndim == 3:
        if not (mask == mask[:, :1]).all():
            raise SignalError("the padding differs between the leads of a segment", field="padding_mask")
        mask = mask[:, 0]
    valid = shape[2] - mask.sum(axis=1, dtype=np.int64)
    if not np.array_equal(mask, np.arange(shape[2]) >= valid[:, None]):
        raise SignalError("padding is allowed at the end of a row only", field="padding_mask")
    if (valid < least).any():
        row = int(np.flatnonzero(valid < least)[0])
        raise SignalError(
            f"row {row} has {valid[row]} samples that are not padding, at least {least} are needed",
            field="padding_mask",
        )
    return None if (valid == shape[2]).all() else valid


def not_finite(x: NDArray[np.float32], names: Iterable[str], tensor: Callable[[str], Any], source: str | None) -> Error:
    """The error for segments of real numbers of which the network makes none: what is out of all proportion.

    Parameters
    ----------
    x : ndarray
    names : iterable of str
        Of the model's tensors, which `tensor` gives.
    source : str or None
        The model's file.
    """
    largest = float(np.abs(x).max())
    if largest > _LARGEST:
        return SignalError(
            f"the values reach {largest:.3g}, of which the network can make no numbers",
            field="x",
            remedy="Prepare each recording first: ecgfm.prepare",
        )
    weights = {name: float(np.abs(tensor(name)).max()) for name in names}
    name = max(weights, key=lambda each: weights[each])
    return CheckpointError(
        f"the network's results are not numbers (NaN or infinity); its largest weight is {weights[name]:.3g}",
        path=source,
        field=name,
        remedy="The weights are damaged, or not those of a trained model",
    )
