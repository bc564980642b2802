"""Span masks: which steps, or which channels, a network in pretraining must do without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..._text import shown
from ...errors import ConfigError, SignalError
from ...validation import Settings, Whole, bool_array, check_legacy, checked, flag, number, one_of, share, whole
from ..settings import Masks
from .draws import Purpose, Source

__all__ = [
    "KINDS",
    "Spans",
    "channel_masks",
    "check_steps",
    "compute_mask_indices",
    "equal_rows",
    "masks",
    "time_masks",
]

KINDS = ("static", "uniform", "normal", "poisson")
MIN_MASKS = 2  # spans of masked steps; of channels there may be none
_COUNT = Whole(floats=True)


def compute_mask_indices(
    shape: tuple[int, int],
    padding_mask: ArrayLike | None,
    mask_prob: float,
    mask_length: int,
    mask_type: str = "static",
    mask_other: float = 0.0,
    min_masks: int = 0,
    no_overlap: bool = False,
    min_space: int = 0,
    *,
    rng: np.random.RandomState,
) -> NDArray[np.bool_]:
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
    if lengths is None:
        found = [spans.draw(steps, common, rng) for _ in range(batch)]
    else:
        found = [spans.draw(length, spans.count(length, rng.rand()), rng) for length in lengths]
    return equal_rows(found, steps, [rng] * batch)


def equal_rows(
    found: Sequence[NDArray[np.int64]], steps: int, rngs: Sequence[np.random.RandomState], count: int | None = None
) -> NDArray[np.bool_]:
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


def _lengths(padding_mask: ArrayLike | None, batch: int, steps: int) -> list[int] | None:
    """Steps of each row that are not padding; None if there is no mask."""
    if padding_mask is None:
        return None
    padding = bool_array(padding_mask, "padding_mask")
    if padding.shape != (batch, steps):
        text = f"{padding.dtype} of shape {padding.shape} is not bool of {(batch, steps)}"
        raise SignalError(text, field="padding_mask")
    return [int(n) for n in steps - padding.sum(axis=1)]


@dataclass(frozen=True)
class Spans(Settings):
    """The settings of `compute_mask_indices`, checked, and what is drawn with them."""

    mask_prob: float = share()
    mask_length: int = whole(at_least=1, floats=True)
    mask_type: str = one_of(*KINDS, default="static")
    mask_other: float = number(0.0, at_least=0)
    min_masks: int = whole(0, floats=True)
    no_overlap: bool = flag(False)
    min_space: int = whole(0, floats=True)

    def agree(self) -> None:
        if self.mask_type == "uniform" and checked(self.mask_other, _COUNT, "mask_other") > 2 * self.mask_length:
            raise ConfigError(f"{shown(self.mask_other)} is above twice mask_length", field="mask_other")

    def count(self, steps: int, chance: float) -> int:
        """Spans of a row of so many steps, rounded up or down by a uniform number."""
        return max(self.min_masks, int(self.mask_prob * steps / float(self.mask_length) + chance))

    def draw(self, steps: int, count: int, rng: np.random.RandomState) -> NDArray[np.int64]:
        """The masked ones of a row's steps, ascending."""
        if count == 0:
            return np.zeros(0, np.int64)
        lengths = self._draw_lengths(count, rng)
        if lengths.sum() == 0:
            lengths[0] = min(self.mask_length, steps - 1)
        if self.no_overlap:
            lengths = np.sort(lengths)[::-1]
            starts: Iterable[int] = self._apart(steps, lengths, rng)
        else:
            starts = self._anywhere(steps, lengths, rng)
        masked = np.zeros(max(steps, 0), bool)
        for start, length in zip(starts, lengths):
            masked[start : start + length] = True
        return np.flatnonzero(masked)

    def _draw_lengths(self, count: int, rng: np.random.RandomState) -> NDArray[np.int64]:
        mean = self.mask_length
        if self.mask_type == "uniform":
            return rng.randint(int(self.mask_other), mean * 2 + 1, size=count)
        if self.mask_type == "normal":
            return np.maximum(1, np.rint(rng.normal(mean, self.mask_other, size=count)).astype(np.int64))
        return rng.poisson(mean, size=count) if self.mask_type == "poisson" else np.full(count, mean)

    def _anywhere(self, steps: int, lengths: NDArray[np.int64], rng: np.random.RandomState) -> NDArray[np.int64]:
        count, shortest = len(lengths), int(lengths.min())
        if steps - shortest <= count:  # too few places: below 0 in a row with fewer steps than spans
            shortest = steps - count - 1
        return rng.choice(steps - shortest, count, replace=False)

    def _apart(self, steps: int, lengths: NDArray[np.int64], rng: np.random.RandomState) -> Iterator[int]:
        """Starts of the spans, the longest first, until one has no room."""
        keep, space, free = int(lengths[-1]), self.min_space, [(0, steps)]
        for length in map(int, lengths):
            room = np.array([e - s if e - s >= length + space else 0 for s, e in free], np.int64)
            total = room.sum()
            if total == 0:
                return
            start, end = free.pop(rng.choice(len(free), p=room / total))
            # a part of exactly this length, which min_space 0 allows, has one place; the original fails here
            first = rng.randint(start, end - length) if end - length > start else start
            yield first
            if first - start - space >= keep:
                free.append((start, first - space + 1))
            if end - first - keep - space > keep:
                free.append((first + length + space, end))


# ---- drawn by counters ------------------------------------------------------------------------------


def masks(
    source: Source,
    rows: Sequence[int],
    tokens: int,
    channels: int,
    settings: Masks,
    *,
    valid: NDArray[np.int64] | None,
    steps: NDArray[np.bool_] | None,
    zeroed: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """The steps of a batch that are predicted (B, T), and its zeroed channels (B, C) or None.

    Parameters
    ----------
    source : Source
    rows : sequence of int
        Numbers of the B rows.
    tokens, channels : int
        T and C.
    settings : Masks
        With ``mask_prob`` 0 all steps are predicted, and none is masked.
    valid : ndarray or None
        (B,) tokens of each row that are not padding.
    steps, zeroed : ndarray or None
        What is given, and not drawn.
    """
    in_time, in_channels = _spans_of(settings)
    if steps is not None:
        check_steps(steps, valid)
    elif settings.mask_prob == 0:
        steps = np.ones((len(rows), tokens), dtype=bool)
    else:
        steps = _time_masks(source, rows, tokens, in_time, valid)
    return steps, _channel_masks(source, rows, channels, in_channels) if zeroed is None else zeroed


@lru_cache(maxsize=8)
def _spans_of(s: Masks) -> tuple[Spans, Spans]:
    """The spans of steps, and those of channels."""
    steps = s.mask_prob, s.mask_length, s.mask_selection, s.mask_other, MIN_MASKS, s.no_mask_overlap, s.mask_min_space
    of_channels = s.mask_channel_prob, s.mask_channel_length, s.mask_channel_selection, s.mask_channel_other
    rest = 0, s.no_mask_channel_overlap, s.mask_channel_min_space
    return _named("mask_", *steps), _named("mask_channel_", *of_channels, *rest)


def time_masks(
    source: Source,
    rows: Sequence[int],
    tokens: int,
    *,
    valid: ArrayLike | None = None,
    mask_prob: float = 0.65,
    mask_length: int = 10,
    mask_selection: str = "static",
    mask_other: float = 0.0,
    no_mask_overlap: bool = False,
    mask_min_space: int = 1,
    count: int | None = None,
) -> NDArray[np.bool_]:
    """Masked steps of each row, as many in each.

    Parameters
    ----------
    source : Source
    rows : sequence of int
        Numbers of the B rows of the batch, such as ``range(first, first + B)``.
    tokens : int
        T.
    valid : array_like of int, optional
        (B,) steps of each row that are not padding.
    mask_prob, mask_length, mask_selection, mask_other, no_mask_overlap, mask_min_space
        As of `ecgfm.training.compute_mask_indices`. Whether the number of spans is rounded up or down is drawn once for
        an update.
    count : int, optional
        Masked steps of a row; by default as many as the row with the fewest has.

    Returns
    -------
    ndarray of bool
        (B, T).

    Raises
    ------
    ConfigError
        If a setting is out of range.
    SignalError
        If nothing or everything of a row would be masked.
    """
    how = mask_prob, mask_length, mask_selection, mask_other, MIN_MASKS, no_mask_overlap, mask_min_space
    return _time_masks(source, rows, tokens, _named("mask_", *how), valid, count)


def _time_masks(
    source: Source,
    rows: Sequence[int],
    tokens: int,
    spans: Spans,
    valid: ArrayLike | None,
    count: int | None = None,
) -> NDArray[np.bool_]:
    if not spans.mask_prob > 0:
        raise ConfigError("with 0 there is nothing to draw", field="mask_prob", remedy="Give a probability above 0")
    sizes = [tokens] * len(rows) if valid is None else _valid_steps(valid, len(rows), tokens)
    masks = _span_masks(source, rows, spans, sizes, tokens, (Purpose.STEP_COUNT, Purpose.STEPS), count)
    check_steps(masks, valid)
    return masks


def channel_masks(
    source: Source,
    rows: Sequence[int],
    channels: int,
    *,
    mask_channel_prob: float = 0.0,
    mask_channel_length: int = 10,
    mask_channel_selection: str = "static",
    mask_channel_other: float = 0.0,
    no_mask_channel_overlap: bool = False,
    mask_channel_min_space: int = 1,
) -> NDArray[np.bool_] | None:
    """Channels of each row that are zeroed, (B, C) bool, as many in each; None if ``mask_channel_prob`` is 0.

    Parameters as of `time_masks`.
    """
    how = mask_channel_prob, mask_channel_length, mask_channel_selection, mask_channel_other
    spans = _named("mask_channel_", *how, 0, no_mask_channel_overlap, mask_channel_min_space)
    return _channel_masks(source, rows, channels, spans)


def _channel_masks(source: Source, rows: Sequence[int], channels: int, spans: Spans) -> NDArray[np.bool_] | None:
    if spans.mask_prob == 0:
        return None
    sizes, purposes = [channels] * len(rows), (Purpose.CHANNEL_COUNT, Purpose.CHANNELS)
    return _span_masks(source, rows, spans, sizes, channels, purposes, None)


def check_steps(steps: NDArray[np.bool_], valid: ArrayLike | None = None) -> None:
    """Refuses masks that a network can't learn from.

    Parameters
    ----------
    steps : ndarray of bool
        (B, T).
    valid : array_like of int, optional
        (B,) steps of each row that are not padding.

    Raises
    ------
    SignalError
        If in a row nothing or everything is masked, or not as much as in the others, or padding is masked.
    """
    batch, tokens = steps.shape
    counts = steps.sum(axis=1)
    sizes = np.full(batch, tokens) if valid is None else np.array(_valid_steps(valid, batch, tokens))
    for wrong, what in (
        (counts == 0, "nothing is masked"),
        (counts >= sizes, "everything is masked"),
        ((steps & (np.arange(tokens) >= sizes[:, None])).any(axis=1), "padding is masked"),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            raise SignalError(
                f"in row {row}, of {sizes[row]} steps, {what}",
                field="mask_indices",
                remedy="Give longer segments, or another mask_prob or mask_length",
            )
    if (counts != counts[:1]).any():
        row = int((counts != counts[0]).argmax())
        raise SignalError(
            f"in row {row} {counts[row]} steps are masked, in row 0 {counts[0]}",
            field="mask_indices",
            remedy="Mask as many in each row",
        )


def _named(
    prefix: str, prob: float, length: int, selection: str, other: float, least: int, no_overlap: bool, space: int
) -> Spans:
    """The settings of spans, with errors that name them as the configuration does."""
    try:
        return Spans(prob, length, selection, other, least, no_overlap, space)
    except ConfigError as error:
        part = str(error.field).removeprefix("mask_")
        part = {"type": "selection"}.get(part, part)
        raise ConfigError(error.message, field=prefix + part, remedy=error.remedy) from None


def _span_masks(
    source: Source,
    rows: Sequence[int],
    spans: Spans,
    sizes: Sequence[int],
    width: int,
    purposes: tuple[Purpose, Purpose],
    count: int | None,
) -> NDArray[np.bool_]:
    common, *rngs = source.generators(*purposes, rows)
    chance = common.rand()
    found = [spans.draw(size, spans.count(size, chance), rng) for size, rng in zip(sizes, rngs)]
    return equal_rows(found, width, rngs, count)


def _valid_steps(valid: ArrayLike, batch: int, tokens: int) -> list[int]:
    steps = np.asarray(valid)
    if steps.shape != (batch,) or steps.dtype.kind not in "iu" or (steps < 0).any() or (steps > tokens).any():
        raise ConfigError(f"not an integer from 0 to {tokens} for each of {batch} rows", field="valid")
    return [int(each) for each in steps]
