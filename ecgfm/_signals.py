"""Checks of what goes into the network: arrays of segments and padding masks."""

import numpy as np

from .errors import SignalError

__all__ = ["checked_segments", "min_samples", "real_array", "token_count"]


def min_samples(config):
    """The shortest segment, in samples, that gives a token."""
    samples = 1
    for _, kernel, stride in reversed(config["conv_feature_layers"]):
        samples = (samples - 1) * stride + kernel
    return samples


def token_count(config, samples):
    """The number of tokens of a segment of so many samples."""
    for _, kernel, stride in config["conv_feature_layers"]:
        samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
    return samples


def real_array(values, field, error=SignalError):
    """An array of real numbers, not copied if it is one."""
    if np.ma.is_masked(values):
        raise error("the array has masked values", field=field, remedy="Fill or cut them out first")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as problem:
        raise error(f"not an array: {problem}", field=field) from None
    if array.dtype.kind not in "iuf":
        raise error(f"the values are of type {array.dtype}, not real numbers", field=field)
    return array


def checked_segments(x, padding_mask, config):
    """Segments as the kernels take them.

    Parameters
    ----------
    x : Segments or array_like
        (B, L, N) real numbers of any type, layout and byte order.
    padding_mask : array_like of bool, optional
        (B, N) or (B, L, N), True = padding at the end of a row. By default that of `x` if it has one.
    config : dict

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
    leads, least = int(config["in_d"]), min_samples(config)
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
        x = np.require(x, np.float32, ["C", "ALIGNED"])
    return x, None if padding_mask is None else _valid_samples(padding_mask, x.shape, least)


def _valid_samples(padding_mask, shape, least):
    try:
        mask = np.asarray(padding_mask)
    except (TypeError, ValueError) as problem:
        raise SignalError(f"not an array: {problem}", field="padding_mask") from None
    if mask.dtype != bool:
        raise SignalError(f"the values are of type {mask.dtype}, not bool", field="padding_mask")
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
        raise SignalError("padding stands at the end of a row only", field="padding_mask")
    if (valid < least).any():
        row = int(np.flatnonzero(valid < least)[0])
        raise SignalError(
            f"row {row} has {valid[row]} samples that are not padding, at least {least} are needed",
            field="padding_mask",
        )
    return None if (valid == shape[2]).all() else valid
