"""Saliency: how strongly the network attends along a segment, at each sample.

The attention weights of one layer, averaged over heads, are a matrix (T, T) per segment whose rows are queries and sum
to 1. As in ECG-FM's tutorial, the last layer is taken and reduced to the largest weight of each query; the T values are
read along the segment's samples with a cubic spline and scaled to [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._types import StrPath
from ..ecg.identity import segment_checksums
from ..errors import SignalError
from ..io.inputs import expand
from ..specs.inputs import ECG_FM
from ..table import AsArray, Table
from ..validation import Choice, Whole, checked
from .opening import Inputs, ModelLike, Ready, input_of, opened_model
from .result import about, errors_table, record_table, segment_table, write_with_rows
from .stream import Done, OnError, Progress, Reading, Select, collect, stream

__all__ = ["REDUCTIONS", "Saliency", "along_samples", "reduce_attention", "salient", "saliency"]

#: How a matrix of attention weights becomes one value per token: the largest weight that the token gives to any (the
#: tutorial's), or the mean or the largest weight that it gets from all.
REDUCTIONS = ("max", "received", "received_max")


@dataclass(eq=False)
class Saliency(AsArray):
    """Saliency of the segments of recordings; usable as an array (n, N).

    Attributes
    ----------
    samples : ndarray
        (n, N) float32 from 0 to 1, one value per sample of each segment; all leads share it. 0 throughout if the
        attention is the same everywhere, and where a segment is padded.
    tokens : ndarray
        (n, T) float32, the attention weights after the reduction, neither resampled nor scaled; 0 for padded tokens.
    segments : Table
        A row per segment: ``file``, ``segment``, ``start_s``, ``end_s``, and what was done to its recording.
    records : Table
        A row per recording: ``file``, ``segments`` (their number) and what was done to it.
    layer : int
        The transformer layer (0 = first).
    reduction : str
        See `REDUCTIONS`.
    errors : Table
        ``file`` and ``error`` of each recording that was skipped.
    model : dict
        What is known of the model.
    provenance : list of dict
        Of each recording in `records`; see `ecgfm.ecg.Segments`.
    recordings : list of str or None
        Checksum of each recording in `records`; see `ecgfm.ecg.Segments`.
    checksums : ndarray
        (n,) uint32, CRC-32 of the float32 values that the model saw of each segment.
    sampling_rate : float
        Of the segments' samples, in Hz.
    """

    samples: NDArray[np.float32]
    tokens: NDArray[np.float32]
    segments: Table
    records: Table
    layer: int
    reduction: str
    errors: Table
    model: dict[str, Any]
    provenance: list[dict[str, Any]]
    recordings: list[str | None]
    checksums: NDArray[np.uint32]
    sampling_rate: float = ECG_FM.sampling_rate

    _array = "samples"

    def to_npy(self, path: StrPath, *, tokens: bool = False) -> tuple[str, str]:
        """Write the samples' values (or the tokens') as ``.npy``, and their rows beside it as CSV.

        ``sal.npy`` gets ``sal.csv``: row i of the one says what row i of the other is. Returns both paths.

        Raises ConfigError if the name doesn't end in ``.npy``.
        """
        return write_with_rows(path, self.tokens if tokens else self.samples, self.segments)

    def __repr__(self) -> str:
        return (
            f"Saliency({len(self.records)} records, {len(self)} segments, layer {self.layer}, {self.reduction!r},"
            f" {len(self.errors)} errors)"
        )


def saliency(
    model: ModelLike,
    inputs: Inputs,
    *,
    layer: int | None = None,
    reduction: str = "max",
    batch_size: int = 8,
    sampling_rate: float | None = None,
    leads: str | Sequence[str] | None = None,
    missing_leads: str = "error",
    short: str | None = None,
    only_leads: str | Sequence[str] | None = None,
    overlap_s: float = 0.0,
    unit: str | None = None,
    readers: int = 2,
    on_error: str | OnError = "skip",
    progress: Progress | Literal[False] | None = None,
) -> Saliency:
    """Saliency along each segment of recordings, which for ECG-FM is 5 s, from the attention weights.

    Parameters
    ----------
    model : Model, or path-like
        A classifier or an encoder, from `ecgfm.load`; or what that takes.
    inputs : path, file-like, Record, Segments, array_like or object, or an iterable of them
        As for `ecgfm.predict`.
    layer : int, optional
        The transformer layer whose attention is taken (0 = first); by default the last, as in the original.
    reduction : {"max", "received", "received_max"}
        What is taken of the weights, which are averaged over heads: for each token the largest weight that it gives to
        any token ("max", the original's), or the mean or the largest weight that it gets from all tokens.
    batch_size, sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit, readers, on_error, progress
        As for `ecgfm.predict`.

    Returns
    -------
    Saliency
        In the order of `inputs`.

    Raises
    ------
    Error
        The first recording's, if none could be done.
    ConfigError
        If an argument is out of range, such as a layer that is not there.
    SignalError
        If segments have different lengths.

    Notes
    -----
    The tutorial of ECG-FM resamples to 156 times as many values as there are samples and then draws the first of them,
    which is about one token's. Here every sample has its own value, which is what was meant. A constant reduction gives
    zeros, where the original divides zero by zero.
    """
    model = opened_model(model, inputs)
    reading = Reading(
        sampling_rate, leads, missing_leads, short, only_leads, overlap_s, unit, input_of(model),
        batch_size=batch_size, readers=readers,
    )  # fmt: skip
    done, failed = collect(salient(model, inputs, reading, layer=layer, reduction=reduction), on_error, progress)
    if len({each.outputs["samples"].shape[1] for each in done}) > 1:
        raise SignalError(
            "the segments have different lengths", field="saliency", remedy="Give segments of one length at a time"
        )
    return Saliency(
        np.concatenate([each.outputs["samples"] for each in done]),
        np.concatenate([each.outputs["tokens"] for each in done]),
        segment_table(done, model),
        record_table(done, model),
        int(done[0].outputs["layer"][0]),
        reduction,
        errors_table(failed),
        about(model),
        [each.provenance for each in done],
        [each.checksum for each in done],
        np.concatenate([each.outputs["checksum"] for each in done]),
        done[0].input.sampling_rate,
    )


def salient(
    model: Ready,
    inputs: Inputs,
    reading: Reading,
    *,
    layer: int | None = None,
    reduction: str = "max",
    select: Select | None = None,
    ignored: Callable[[str, str], object] | None = None,
) -> Iterator[Done]:
    """Iterate over the recordings' `Done` with ``samples`` (n, N), ``tokens`` (n, T), ``layer``, ``checksum`` (n,)."""
    checked(reduction, Choice(REDUCTIONS), "reduction")

    def forward(x: NDArray[np.float32], padding_mask: NDArray[np.bool_] | None) -> dict[str, NDArray[Any]]:
        attention: Any = model(x, padding_mask=padding_mask, attention=True).attention  # (B, layers, T, T)
        last = attention.shape[1] - 1
        index = last if layer is None else checked(layer, Whole(0, last), "layer")
        weights = attention[:, index]
        if padding_mask is None or not padding_mask.any():
            tokens = reduce_attention(weights, reduction)
            samples = along_samples(tokens, x.shape[2])
        else:
            tokens, samples = _of_padded(model, weights, padding_mask, reduction)
        checksum = segment_checksums(x)
        return {"samples": samples, "tokens": tokens, "layer": np.full(len(x), index), "checksum": checksum}

    return stream(forward, expand(inputs, ignored), reading, select)


def reduce_attention(attention: ArrayLike, reduction: str = "max") -> NDArray[np.float32]:
    """One value per token of attention weights.

    Parameters
    ----------
    attention : array_like
        (..., T, T), rows are queries.
    reduction : str
        One of `REDUCTIONS`.

    Returns
    -------
    ndarray
        (..., T) float32. Means are computed in float64.
    """
    weights = np.asarray(attention)
    if reduction == "received":
        return np.asarray(weights.mean(axis=-2, dtype=np.float64), np.float32)
    return np.asarray(weights.max(axis=-1 if reduction == "max" else -2), np.float32)


def along_samples(values: ArrayLike, count: int) -> NDArray[np.float32]:
    """Values of tokens read at `count` points along the segment, each row scaled to [0, 1].

    Parameters
    ----------
    values : array_like
        (..., T), finite.
    count : int
        How many points; the first is that of the first token, the last that of the last.

    Returns
    -------
    ndarray
        (..., count) float32. A row that is constant gives zeros.

    Notes
    -----
    The points are read from the interpolating cubic spline that is mirrored at both ends, as
    ``scipy.ndimage.map_coordinates`` reads them (Unser, Splines: a perfect fit for signal and image processing, IEEE
    Signal Processing Magazine 16(6), 1999), in float64.
    """
    values = np.asarray(values, dtype=np.float64)
    constant = values.max(axis=-1, keepdims=True) == values.min(axis=-1, keepdims=True)
    dense = _spline(values, count)
    dense -= dense.min(axis=-1, keepdims=True)
    highest = dense.max(axis=-1, keepdims=True)
    flat = constant | (highest == 0)
    return np.where(flat, 0, dense / np.where(flat, 1, highest)).astype(np.float32)


_POLE = np.sqrt(3.0) - 2.0
_REACH = 30  # the pole's power below the resolution of float64


def _spline(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(..., T) -> (..., count): the cubic spline through the values, at evenly spaced points from first to last."""
    length = values.shape[-1]
    if length == 1:
        return np.repeat(values, count, axis=-1)
    rim = [(0, 0)] * (values.ndim - 1)
    mirrored = np.pad(values, [*rim, (_REACH + 1, _REACH + 2)], mode="reflect")
    # The inverse of the filter (1, 4, 1)/6 is a sum of powers of its pole, in both directions.
    weights = -6 * _POLE / (1 - _POLE**2) * _POLE ** np.abs(np.arange(-_REACH, _REACH + 1))
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, 2 * _REACH + 1, axis=-1)
    coefficients = windows @ weights  # of the tokens -1 ... T+1
    position = np.linspace(0, length - 1, count)
    left = np.minimum(position.astype(np.intp), length - 1)
    t = position - left
    parts = ((1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3)
    return np.asarray(sum(part * coefficients[..., left + i] for i, part in enumerate(parts)) / 6)


def _of_padded(
    model: Ready, weights: NDArray[np.float32], padding_mask: NDArray[np.bool_], reduction: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Tokens' and samples' values of segments that may be padded at the end: what is padded is 0."""
    tokens = np.zeros(weights.shape[:2], dtype=np.float32)
    samples = np.zeros(padding_mask.shape, dtype=np.float32)
    for i, padded in enumerate(padding_mask):
        count = int(np.count_nonzero(~padded))
        steps = model.tokens(count)
        tokens[i, :steps] = reduce_attention(weights[i, :steps, :steps], reduction)
        samples[i, :count] = along_samples(tokens[i, :steps], count)
    return tokens, samples
