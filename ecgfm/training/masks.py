"""Span masks: which steps, or which channels, a network in pretraining must do without."""

import numpy as np

from .._text import shown
from ..errors import ConfigError, SignalError
from ..validation import Number, Share, Whole, bool_array, check_legacy, checked

__all__ = ["KINDS", "Spans", "compute_mask_indices", "equal_rows"]

KINDS = ("static", "uniform", "normal", "poisson")
_COUNT = Whole(floats=True)


def compute_mask_indices(
    shape,
    padding_mask,
    mask_prob,
    mask_length,
    mask_type="static",
    mask_other=0.0,
    min_masks=0,
    no_overlap=False,
    min_space=0,
    *,
    rng,
):
    """Spans of masked steps for each row, as many steps in each.

    Given a legacy generator it draws what fairseq-signals' function of this name draws, in the same order.

    Parameters
    ----------
    shape : (int, int)
        Rows B and steps S.
    padding_mask : array_like of bool or None
        (B, S), True = padding, at the end of a row. Padded steps are not masked.
    mask_prob : float
        Share of steps that starts of spans would cover without overlap; from 0 to 1.
    mask_length : int
        Length of a span, or its mean.
    mask_type : {"static", "uniform", "normal", "poisson"}
        All spans of ``mask_length``; uniform from ``mask_other`` to ``2 * mask_length``; normal with the deviation
        ``mask_other``, at least 1; Poisson.
    mask_other : float
    min_masks : int
        Least number of spans of a row.
    no_overlap : bool
        Spans don't overlap, and keep ``min_space`` steps apart.
    min_space : int
    rng : numpy.random.RandomState
        A legacy generator.

    Returns
    -------
    ndarray of bool
        (B, S).

    Raises
    ------
    ConfigError
        If a setting is out of range.
    SignalError
        If the padding mask is none of that shape.
    """
    spans = Spans(mask_prob, mask_length, mask_type, mask_other, min_masks, no_overlap, min_space)
    check_legacy(rng)
    batch, steps = (checked(size, _COUNT, "shape") for size in shape)
    lengths = _lengths(padding_mask, batch, steps)
    common = spans.count(steps, rng.rand())
    found = []
    for b in range(batch):
        if lengths is None:
            found.append(spans.draw(steps, common, rng))
        else:
            found.append(spans.draw(lengths[b], spans.count(lengths[b], rng.rand()), rng))
    return equal_rows(found, steps, [rng] * batch)


def equal_rows(found, steps, rngs, count=None):
    """Masks with as many steps in each row: `count`, or as many as the row with the fewest has.

    Parameters
    ----------
    found : list of ndarray
        (B,) of the masked steps of each row.
    steps : int
    rngs : sequence of numpy.random.RandomState
        (B,) of a row each, for which steps stay. With a smaller count a part of the same steps stays.
    count : int, optional

    Returns
    -------
    ndarray of bool
        (B, S).
    """
    least = min(map(len, found), default=0)
    if count is None:
        count = least
    elif not 0 <= count <= least:
        raise ConfigError(f"{shown(count)} is not from 0 to {least}, what the row with the fewest has", field="count")
    mask = np.zeros((len(found), steps), bool)
    for row, kept, rng in zip(mask, found, rngs):
        row[rng.choice(kept, count, replace=False) if len(kept) > count else kept] = True
    return mask


def _lengths(padding_mask, batch, steps):
    """Steps of each row that are not padding; None if there is no mask."""
    if padding_mask is None:
        return None
    padding = bool_array(padding_mask, "padding_mask")
    if padding.shape != (batch, steps):
        text = f"{padding.dtype} of shape {padding.shape} is not bool of {(batch, steps)}"
        raise SignalError(text, field="padding_mask")
    return [int(n) for n in steps - padding.sum(axis=1)]


class Spans:
    """The settings of `compute_mask_indices`, checked, and what is drawn with them."""

    def __init__(
        self, mask_prob, mask_length, mask_type="static", mask_other=0.0, min_masks=0, no_overlap=False, min_space=0
    ):
        if mask_type not in KINDS:
            raise ConfigError(f"{shown(mask_type)} is not known", field="mask_type", remedy=f"Give {', '.join(KINDS)}")
        self.prob = checked(mask_prob, Share(), "mask_prob")
        self.length = checked(mask_length, Whole(1, floats=True), "mask_length")
        self.other = checked(mask_other, Number(0), "mask_other")
        if mask_type == "uniform" and checked(mask_other, _COUNT, "mask_other") > 2 * self.length:
            raise ConfigError(f"{shown(mask_other)} is above twice mask_length", field="mask_other")
        self.kind, self.no_overlap = mask_type, bool(no_overlap)
        self.least = checked(min_masks, _COUNT, "min_masks")
        self.space = checked(min_space, _COUNT, "min_space")

    def count(self, steps, chance):
        """Spans of a row of so many steps, rounded up or down by a uniform number."""
        return max(self.least, int(self.prob * steps / float(self.length) + chance))

    def draw(self, steps, count, rng):
        """The masked ones of a row's steps, ascending."""
        if count == 0:
            return np.zeros(0, np.int64)
        lengths = self._draw_lengths(count, rng)
        if lengths.sum() == 0:
            lengths[0] = min(self.length, steps - 1)
        if self.no_overlap:
            lengths = np.sort(lengths)[::-1]
            starts = self._apart(steps, lengths, rng)
        else:
            starts = self._anywhere(steps, lengths, rng)
        masked = np.zeros(max(steps, 0), bool)
        for start, length in zip(starts, lengths):
            masked[start : start + length] = True
        return np.flatnonzero(masked)

    def _draw_lengths(self, count, rng):
        if self.kind == "uniform":
            return rng.randint(int(self.other), self.length * 2 + 1, size=count)
        if self.kind == "normal":
            return np.maximum(1, np.rint(rng.normal(self.length, self.other, size=count)).astype(np.int64))
        if self.kind == "poisson":
            return rng.poisson(self.length, size=count)
        return np.full(count, self.length)

    def _anywhere(self, steps, lengths, rng):
        count, shortest = len(lengths), int(lengths.min())
        if steps - shortest <= count:  # too few places: below 0 in a row with fewer steps than spans
            shortest = steps - count - 1
        return rng.choice(steps - shortest, count, replace=False)

    def _apart(self, steps, lengths, rng):
        """Starts of the spans, the longest first, until one has no room."""
        keep, free = int(lengths[-1]), [(0, steps)]
        for length in map(int, lengths):
            room = np.array([e - s if e - s >= length + self.space else 0 for s, e in free], np.int64)
            total = room.sum()
            if total == 0:
                return
            start, end = free.pop(rng.choice(len(free), p=room / total))
            # a part of exactly this length, which min_space 0 allows, has one place; the original fails here
            first = rng.randint(start, end - length) if end - length > start else start
            yield first
            if first - start - self.space >= keep:
                free.append((start, first - self.space + 1))
            if end - first - keep - self.space > keep:
                free.append((first + length + self.space, end))
