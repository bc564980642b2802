"""Recordings that lie in memory as segments: in batches of one length, and means over the segments of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ecg import Segments

__all__ = ["AT_ONCE", "joined", "means_of", "probabilities_of"]

AT_ONCE = 64  # recordings


def joined(parts: Sequence[Segments]) -> Segments:
    """The segments of several recordings, which have one length, as if they were one's."""
    x = np.concatenate([np.asarray(one.x) for one in parts])
    masks = [one.padding_mask for one in parts]
    mask = None
    if any(one is not None for one in masks):
        empty = [np.zeros((len(one.x), x.shape[2]), bool) for one in parts]
        mask = np.concatenate([none if one is None else one for none, one in zip(empty, masks)])
    return Segments(x, np.zeros(len(x)), mask, input=parts[0].input)


def _batched(recordings: Sequence[Segments]) -> Iterator[tuple[slice, Segments]]:
    """Recordings together, at most some at a time and of one length of segments; and where they stand."""
    first = 0
    while first < len(recordings):
        last, shape = first, recordings[first].x.shape[1:]
        while last < len(recordings) and last - first < AT_ONCE and recordings[last].x.shape[1:] == shape:
            last += 1
        yield slice(first, last), joined(recordings[first:last])
        first = last


def means_of(
    ask: Callable[[NDArray[np.float32], NDArray[np.bool_] | None], NDArray[Any]],
    recordings: Sequence[Segments],
    batch_size: int,
) -> NDArray[np.float64]:
    """(recordings, ...) means over the segments of each, of what `ask` says of segments and their padding mask."""
    made = []
    for where, part in _batched(recordings):
        rows = []
        for first in range(0, len(part.x), batch_size):
            some = slice(first, first + batch_size)
            rows.append(ask(part.x[some], None if part.padding_mask is None else part.padding_mask[some]))
        ends = np.cumsum([len(one.x) for one in recordings[where]])
        values = np.split(np.concatenate(rows), ends[:-1])
        made += [each.mean(axis=0, dtype=np.float64) for each in values]
    return np.stack(made)


def probabilities_of(output: Any) -> NDArray[np.float64]:
    """(B, Y) probabilities of a model's output in float64, in which those of large logits stay apart."""
    found: NDArray[np.float64] = 1 / (1 + np.exp(-output.logits.astype(np.float64)))
    return found
