"""Span masks: which steps, or which channels, a network in pretraining must do without."""

import numpy as np

from ..errors import ConfigError, SignalError

__all__ = ["KINDS", "compute_mask_indices", "span_masks"]

KINDS = ("static", "uniform", "normal", "poisson")


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
        If a row is too short for its spans.
    """
    spans = _Spans(mask_prob, mask_length, mask_type, mask_other, min_masks, no_overlap, min_space)
    return span_masks(shape, padding_mask, spans, rng, [rng] * int(shape[0]))


def span_masks(shape, padding_mask, settings, whole, rows):
    """As `compute_mask_indices`, with a generator for each row.

    Parameters
    ----------
    shape, padding_mask
        As there.
    settings : dict or _Spans
        The other arguments of `compute_mask_indices`.
    whole : numpy.random.RandomState
        For what is drawn once for all rows.
    rows : sequence of numpy.random.RandomState
        (B,) for what is drawn for a row.
    """
    spans = settings if isinstance(settings, _Spans) else _Spans(**settings)
    batch, steps = map(int, shape)
    lengths = _lengths(padding_mask, batch, steps)
    common = spans.count(steps, whole)
    found = []
    for b, rng in enumerate(rows):
        real = steps if lengths is None else lengths[b]
        count = common if lengths is None else spans.count(real, rng)
        found.append(spans.draw(real, count, rng, b))
    least = min(map(len, found), default=0)
    mask = np.zeros((batch, steps), bool)
    for b, rng in enumerate(rows):
        kept = found[b]
        if len(kept) > least:
            kept = rng.choice(kept, least, replace=False)
        mask[b, kept] = True
    return mask


def _lengths(padding_mask, batch, steps):
    """Steps of each row that are not padding; None if there is no mask."""
    if padding_mask is None:
        return None
    padding = np.asarray(padding_mask)
    if padding.dtype != bool or padding.shape != (batch, steps):
        raise ConfigError(f"{padding.dtype} of shape {padding.shape} is not bool of {(batch, steps)}", field="padding_mask")
    return [int(n) for n in steps - padding.sum(axis=1)]


class _Spans:
    """The settings, checked, and what is drawn with them."""

    def __init__(
        self, mask_prob, mask_length, mask_type="static", mask_other=0.0, min_masks=0, no_overlap=False, min_space=0
    ):
        if not 0 <= mask_prob <= 1:
            raise ConfigError(f"{mask_prob!r} is not from 0 to 1", field="mask_prob")
        if mask_type not in KINDS:
            raise ConfigError(f"{mask_type!r} is not known", field="mask_type", remedy=f"Give {', '.join(KINDS)}")
        if mask_length < 1:
            raise ConfigError(f"{mask_length!r} is not 1 or more", field="mask_length")
        if mask_type == "uniform" and not 0 <= mask_other <= 2 * mask_length:
            raise ConfigError(f"{mask_other!r} is not from 0 to twice mask_length", field="mask_other")
        for name, value in (("mask_other", mask_other), ("min_masks", min_masks), ("min_space", min_space)):
            if value < 0:
                raise ConfigError(f"{value!r} is below 0", field=name)
        self.prob, self.length, self.kind, self.other = mask_prob, mask_length, mask_type, mask_other
        self.least, self.no_overlap, self.space = int(min_masks), bool(no_overlap), int(min_space)

    def count(self, steps, rng):
        """Spans of a row of so many steps."""
        return max(self.least, int(self.prob * steps / float(self.length) + rng.rand()))

    def draw(self, steps, count, rng, row):
        """The masked steps of a row, ascending."""
        if count == 0:
            return np.zeros(0, np.int64)
        lengths = self._draw_lengths(count, rng)
        if lengths.sum() == 0:
            lengths[0] = min(self.length, steps - 1)
        if self.no_overlap:
            taken = self._apart(steps, lengths, rng, row)
        else:
            taken = self._anywhere(steps, lengths, rng, row)
        taken = np.unique(taken)
        return taken[taken < steps]

    def _draw_lengths(self, count, rng):
        if self.kind == "uniform":
            return rng.randint(self.other, self.length * 2 + 1, size=count)
        if self.kind == "normal":
            drawn = rng.normal(self.length, self.other, size=count)
            return np.array([max(1, int(round(x))) for x in drawn])
        if self.kind == "poisson":
            return rng.poisson(self.length, size=count)
        return np.full(count, self.length)

    def _anywhere(self, steps, lengths, rng, row):
        count, shortest = len(lengths), int(lengths.min())
        if steps - shortest <= count:
            shortest = steps - count - 1
        if shortest < 0:
            raise SignalError(
                f"row {row} of {steps} steps is too short for {count} masked spans",
                field="mask_prob",
                remedy="Give longer segments, or a lower mask_prob",
            )
        starts = rng.choice(steps - shortest, count, replace=False)
        return np.concatenate([np.arange(start, start + length) for start, length in zip(starts, lengths)])

    def _apart(self, steps, lengths, rng, row):
        keep, free, taken = int(lengths.min()), [(0, steps)], []
        for length in sorted(map(int, lengths), reverse=True):
            room = np.array([e - s if e - s >= length + self.space else 0 for s, e in free], np.int64)
            total = room.sum()
            if total == 0:
                break
            start, end = free.pop(rng.choice(len(free), p=room / total))
            if end - length <= start:  # exactly its room, no space around it: the original stops here
                first = start
            else:
                first = rng.randint(start, end - length)
            taken.append(np.arange(first, first + length))
            if first - start - self.space >= keep:
                free.append((start, first - self.space + 1))
            if end - first - keep - self.space > keep:
                free.append((first + length + self.space, end))
        return np.concatenate(taken) if taken else np.zeros(0, np.int64)
