"""The random numbers of pretraining, drawn by counters: negatives, noise of the quantizer, perturbations.

What is drawn for a segment depends on the seed, the update, the rank, the number of its row and what it is for; not on
threads, on which rows make a batch, or on what was drawn before. What the rows of a batch share by its nature is the
number of masked steps (`time_masks` takes it as an argument) and the steps that cross-sample negatives come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, SignalError
from ...validation import MISSING, Settings, Whole, checked, flag, seed, whole

__all__ = [
    "Purpose",
    "Source",
    "codebook_negatives",
    "gumbel",
    "negatives",
    "perturb",
    "targets",
]

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
class Source(Settings):
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

    seed: int = seed(MISSING)
    update: int = whole(0, at_most=(1 << 63) - 1)
    rank: int = whole(0, at_most=(1 << 32) - 1)
    validation: bool = flag(False)

    def generator(self, purpose: Purpose, row: int | None = None) -> np.random.RandomState:
        """The generator of a row, or, without one, of the whole update.

        It is NumPy's Philox under its legacy distributions, whose numbers stay the same in all versions of NumPy.
        """
        number = 0 if row is None else 1 + int(row)
        key = np.array([self.seed | self.rank << 32, self.update], np.uint64)
        counter = np.array([0, number, int(purpose) | int(self.validation) << 32, _DOMAIN], np.uint64)
        return np.random.RandomState(np.random.Philox(key=key, counter=counter))

    def generators(self, common: Purpose, each: Purpose, rows: Sequence[int]) -> list[np.random.RandomState]:
        """The generator of the whole update for one purpose, then that of each row for another."""
        return [self.generator(common), *(self.generator(each, row) for row in rows)]


# ---- negatives and the noise of the quantizer -------------------------------------------------------


def targets(
    source: Source,
    rows: Sequence[int],
    masked: int,
    codes: int,
    combinations: int,
    settings: Any,
    given: Mapping[str, Any],
) -> dict[str, NDArray[Any] | None]:
    """What masked steps are told apart from, and the noise with which they are quantized.

    Parameters
    ----------
    source : Source
    rows : sequence of int
        Numbers of the B rows.
    masked : int
        Masked steps of each row.
    codes, combinations : int
        Entries of the codebook over all groups, and the ways to combine one of each group.
    settings : Pretraining
    given : mapping
        Of ``negatives``, ``codebook`` and ``gumbel`` those that are not to be drawn.
    """
    made: dict[str, NDArray[Any] | None] = {"codebook": None, "gumbel": None, **given}
    if "negatives" not in made:
        own, cross = settings.num_negatives, settings.cross_sample_negatives
        made["negatives"] = negatives(source, rows, masked, num_negatives=own, cross_sample_negatives=cross)
    if made["codebook"] is None and settings.codebook_negatives:
        made["codebook"] = codebook_negatives(source, rows, masked, combinations, settings.codebook_negatives)
    if made["gumbel"] is None and not source.validation:
        made["gumbel"] = gumbel(source, rows, masked, codes)
    return made


def negatives(
    source: Source, rows: Sequence[int], masked: int, *, num_negatives: int = 100, cross_sample_negatives: int = 0
) -> NDArray[np.int32]:
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
    checked(num_negatives, Whole(), "num_negatives")
    checked(cross_sample_negatives, Whole(), "cross_sample_negatives")
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


def codebook_negatives(
    source: Source, rows: Sequence[int], masked: int, combinations: int, count: int
) -> NDArray[np.int32]:
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


def gumbel(source: Source, rows: Sequence[int], masked: int, codes: int) -> NDArray[np.float32]:
    """Noise of the standard Gumbel distribution for each entry of the codebook: (B * masked, codes) float32."""
    found = np.empty((len(rows), masked, codes), np.float32)
    for b, row in enumerate(rows):
        uniform = source.generator(Purpose.GUMBEL, row).random_sample((masked, codes))
        waiting = -np.log(1 - uniform)  # exponential, mean 1
        found[b] = -np.log(np.maximum(waiting, 2.0**-54))
    return found.reshape(len(rows) * masked, codes)


# ---- perturbations ----------------------------------------------------------------------------------


def perturb(
    source: Source,
    rows: Sequence[int],
    x: NDArray[Any],
    augment: Callable[..., NDArray[Any]],
    valid: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
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
