"""The random numbers of pretraining, drawn by counters: masks, negatives, noise of the quantizer, perturbations.

What is drawn for a segment depends on the seed, the update, the rank, the number of its row and what it is for; not on
threads, on which rows make a batch, or on what was drawn before. What the rows of a batch share by its nature is the
number of masked steps (`time_masks` can be told it) and the steps that cross-sample negatives come from.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .._text import shown
from ..errors import ConfigError, SignalError
from .masks import Spans, equal_rows

__all__ = [
    "Purpose",
    "Source",
    "channel_masks",
    "check_steps",
    "codebook_negatives",
    "gumbel",
    "negatives",
    "perturb",
    "time_masks",
]

MIN_MASKS = 2  # spans of masked steps; of channels there may be none
_DOMAIN = 1 << 63  # sets these numbers apart from those of data sets, whose last word is a line of a manifest


class Purpose(IntEnum):
    """What a stream of numbers is for."""

    PERTURBATION = 1
    STEPS = 2
    STEP_COUNT = 3
    CHANNELS = 4
    CHANNEL_COUNT = 5
    NEGATIVES = 6
    CROSS_SAMPLE = 7
    CODEBOOK = 8
    GUMBEL = 9


@dataclass(frozen=True)
class Source:
    """Where in the training numbers are drawn.

    A row is the number of a segment in its update, counted on over the batches of that update.

    Parameters
    ----------
    seed, rank : int
        From 0 to 4294967295.
    update : int
        Updates before this one.
    validation : bool
        Whether the numbers are for a validation, which shares none with training.
    """

    seed: int
    update: int = 0
    rank: int = 0
    validation: bool = False

    def __post_init__(self):
        for name, bits in (("seed", 32), ("update", 63), ("rank", 32)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 1 << bits:
                raise ConfigError(f"{shown(value)} is not an integer from 0 to {(1 << bits) - 1}", field=name)

    def generator(self, purpose, row=None):
        """The generator of a row, or, without one, of the whole update.

        It is NumPy's Philox under its legacy distributions, whose numbers stay the same in all versions of NumPy.
        """
        number = 0 if row is None else 1 + int(row)
        key = np.array([int(self.seed) | int(self.rank) << 32, self.update], np.uint64)
        counter = np.array([0, number, int(purpose) | int(self.validation) << 32, _DOMAIN], np.uint64)
        return np.random.RandomState(np.random.Philox(key=key, counter=counter))


# ---- masks ------------------------------------------------------------------------------------------


def time_masks(
    source,
    rows,
    tokens,
    *,
    valid=None,
    mask_prob=0.65,
    mask_length=10,
    mask_selection="static",
    mask_other=0.0,
    no_mask_overlap=False,
    mask_min_space=1,
    count=None,
):
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
    spans = _named("mask_", *how)
    if not mask_prob > 0:
        raise ConfigError("with 0 there is nothing to draw", field="mask_prob", remedy="Give a probability above 0")
    sizes = [tokens] * len(rows) if valid is None else _valid_steps(valid, len(rows), tokens)
    masks = _span_masks(source, rows, spans, sizes, tokens, (Purpose.STEP_COUNT, Purpose.STEPS), count)
    check_steps(masks, valid)
    return masks


def channel_masks(
    source,
    rows,
    channels,
    *,
    mask_channel_prob=0.0,
    mask_channel_length=10,
    mask_channel_selection="static",
    mask_channel_other=0.0,
    no_mask_channel_overlap=False,
    mask_channel_min_space=1,
):
    """Channels of each row that are zeroed, (B, C) bool, as many in each; None if ``mask_channel_prob`` is 0.

    Parameters as of `time_masks`.
    """
    spans = _named(
        "mask_channel_",
        mask_channel_prob,
        mask_channel_length,
        mask_channel_selection,
        mask_channel_other,
        0,
        no_mask_channel_overlap,
        mask_channel_min_space,
    )
    if mask_channel_prob == 0:
        return None
    sizes, purposes = [channels] * len(rows), (Purpose.CHANNEL_COUNT, Purpose.CHANNELS)
    return _span_masks(source, rows, spans, sizes, channels, purposes, None)


def check_steps(steps, valid=None):
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


def _named(prefix, prob, length, selection, other, least, no_overlap, space):
    """The settings of spans, with errors that name them as the configuration does."""
    try:
        return Spans(prob, length, selection, other, least, no_overlap, space)
    except ConfigError as error:
        part = error.field.removeprefix("mask_")
        part = {"type": "selection"}.get(part, part)
        raise ConfigError(error.message, field=prefix + part, remedy=error.remedy) from None


def _span_masks(source, rows, spans, sizes, width, purposes, count):
    chance = source.generator(purposes[0]).rand()
    rngs = [source.generator(purposes[1], row) for row in rows]
    found = [spans.draw(size, spans.count(size, chance), rng) for size, rng in zip(sizes, rngs)]
    return equal_rows(found, width, rngs, count)


def _valid_steps(valid, batch, tokens):
    valid = np.asarray(valid)
    if valid.shape != (batch,) or valid.dtype.kind not in "iu" or (valid < 0).any() or (valid > tokens).any():
        raise ConfigError(f"not an integer from 0 to {tokens} for each of {batch} rows", field="valid")
    return [int(steps) for steps in valid]


# ---- negatives and the noise of the quantizer -------------------------------------------------------


def negatives(source, rows, masked, *, num_negatives=100, cross_sample_negatives=0):
    """Which masked steps are the wrong answers for each masked step.

    Parameters
    ----------
    source : Source
    rows : sequence of int
        Numbers of the B rows.
    masked : int
        Masked steps of each row.
    num_negatives : int
        Taken from the other masked steps of the same row.
    cross_sample_negatives : int
        Taken from all other masked steps of the batch.

    Returns
    -------
    ndarray of int32
        (B * masked, num_negatives + cross_sample_negatives) numbers of masked steps, counted row after row. A step is
        never its own negative, and a row of this array holds the negatives of that step (fairseq-signals shuffles them
        among steps where both kinds are drawn, and lets a cross-sample negative be the step itself).

    Raises
    ------
    ConfigError
        If there is no negative, or a number is negative.
    SignalError
        If there is no other step to take.
    """
    for name, value in (("num_negatives", num_negatives), ("cross_sample_negatives", cross_sample_negatives)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
            raise ConfigError(f"{shown(value)} is not an integer from 0 up", field=name)
    if num_negatives + cross_sample_negatives == 0:
        raise ConfigError("there is no negative", field="num_negatives", remedy="Give 1 or more")
    batch = len(rows)
    if batch * masked > np.iinfo(np.int32).max:
        raise ConfigError(f"{batch * masked} masked steps are too many", field="batch")
    for wanted, steps, where in (
        (num_negatives, masked, "a row"),
        (cross_sample_negatives, batch * masked, "the batch"),
    ):
        if wanted and steps < 2:
            raise SignalError(
                f"{where} has {steps} masked steps, too few for a negative",
                field="mask_indices",
                remedy="Give longer segments, or mask more",
            )
    found = np.empty((batch, masked, num_negatives + cross_sample_negatives), np.int32)
    here = np.arange(masked)[:, None]
    for b, row in enumerate(rows):
        if num_negatives:
            rng = source.generator(Purpose.NEGATIVES, row)
            drawn = rng.randint(masked - 1, size=(masked, num_negatives), dtype=np.int32)
            found[b, :, :num_negatives] = drawn + (drawn >= here) + b * masked
        if cross_sample_negatives:
            rng = source.generator(Purpose.CROSS_SAMPLE, row)
            drawn = rng.randint(batch * masked - 1, size=(masked, cross_sample_negatives), dtype=np.int32)
            found[b, :, num_negatives:] = drawn + (drawn >= here + b * masked)
    return found.reshape(batch * masked, -1)


def codebook_negatives(source, rows, masked, combinations, count):
    """Negatives that are combinations of codebook entries: (count, B * masked) int32 from 0 to ``combinations - 1``.

    Raises
    ------
    ConfigError
        If there are more combinations (entries to the power of groups) than 32 bits number.
    """
    if not 0 < combinations <= np.iinfo(np.int32).max:
        raise ConfigError(f"{combinations} combinations of entries can't be numbered", field="codebook_negatives")
    found = np.empty((count, len(rows), masked), np.int32)
    for b, row in enumerate(rows):
        rng = source.generator(Purpose.CODEBOOK, row)
        found[:, b] = rng.randint(combinations, size=(masked, count), dtype=np.int32).T
    return found.reshape(count, len(rows) * masked)


def gumbel(source, rows, masked, codes):
    """Noise of the standard Gumbel distribution for each entry of the codebook: (B * masked, codes) float32."""
    found = np.empty((len(rows), masked, codes), np.float32)
    for b, row in enumerate(rows):
        uniform = source.generator(Purpose.GUMBEL, row).random_sample((masked, codes))
        waiting = -np.log(1 - uniform)  # exponential, mean 1
        found[b] = -np.log(np.maximum(waiting, 2.0**-54))
    return found.reshape(len(rows) * masked, codes)


# ---- perturbations ----------------------------------------------------------------------------------


def perturb(source, rows, x, augment, valid=None):
    """Segments with noise.

    Parameters
    ----------
    source : Source
    rows : sequence of int
        Numbers of the B rows.
    x : ndarray
        (B, 12, N) float32.
    augment : callable
        As `ecgfm.ecg.augment.augmentation` gives it.
    valid : array_like of int, optional
        (B,) samples of each row that are not padding; padding stays as it is.

    Returns
    -------
    ndarray of float32
        (B, 12, N), a new array.
    """
    found = np.array(x, np.float32)
    lengths = [found.shape[2]] * len(found) if valid is None else valid
    for segment, row, length in zip(found, rows, lengths):
        rng = source.generator(Purpose.PERTURBATION, row)
        segment[:, :length] = augment(segment[:, :length], rng=rng)
    return found
