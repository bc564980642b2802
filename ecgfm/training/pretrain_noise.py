"""The noise of a batch of pretraining: what is given is checked, the rest is drawn (`noise`)."""

from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError
from ..validation import refuse_masked
from . import noise as draws

__all__ = ["GIVEN", "Noise", "masked_leads", "settle"]

# The arrays that a caller may give.
GIVEN = ("lead_kept", "mask_indices", "mask_channel_indices", "neg_idxs", "codebook_idxs", "gumbel")
_TIME = ("mask_prob", "mask_length", "mask_selection", "mask_other", "no_mask_overlap", "mask_min_space")
_CHANNEL = (
    "mask_channel_prob",
    "mask_channel_length",
    "mask_channel_selection",
    "mask_channel_other",
    "no_mask_channel_overlap",
    "mask_channel_min_space",
)


@dataclass
class Noise:
    """What `Trainer.pretrain` of the kernels takes."""

    steps: np.ndarray  # (B, T) bool
    channels: np.ndarray | None  # (B, C) bool
    negatives: np.ndarray  # (R, n) int32
    codebook: np.ndarray | None  # (m, R) int32
    gumbel: np.ndarray | None  # (R, G V) float32


def masked_leads(x, kept):
    """A copy of x (B, L, N) whose leads are 0 where kept (B, L) is False."""
    kept = _array("lead_kept", kept, bool, x.shape[:2])
    return np.where(kept[..., None], x, np.float32(0))


def settle(given, source, rows, tokens, valid, config, settings):
    """The noise of a batch.

    Parameters
    ----------
    given : dict of str to array_like
        Any of `GIVEN`.
    source : noise.Source
    rows : sequence of int
        Numbers of the B rows of the batch, for what is drawn.
    tokens : int
        T.
    valid : ndarray or None
        (B,) tokens of each row that are not padding.
    config, settings : dict
        Of the network and of the training.

    Raises
    ------
    ConfigError
        If a given array has another type or shape.
    SignalError
        If nothing or everything of a row is masked, or too little for a negative.
    """
    steps = _steps(given, source, rows, tokens, valid, settings)
    masked, own, cross = int(steps[0].sum()), settings["num_negatives"], settings["cross_sample_negatives"]
    groups, entries = int(config["latent_groups"]), int(config["latent_vars"])
    return Noise(
        steps,
        _channels(given, source, rows, int(config["encoder_embed_dim"]), settings),
        _negatives(given, source, rows, masked, own, cross),
        _codebook(given, source, rows, masked, settings["codebook_negatives"], entries**groups),
        None if source.validation else _gumbel(given, source, rows, masked, groups * entries),
    )


def _array(name, values, dtype, shape):
    """A given array of that type; integers may be of another width."""
    refuse_masked(values, f"noise.{name}", ConfigError)
    array, wanted = np.asarray(values), np.dtype(dtype)
    if array.dtype.kind != wanted.kind or array.shape != shape:
        field = f"noise.{name}"
        raise ConfigError(f"{array.dtype} of shape {array.shape} is not {wanted} of {shape}", field=field)
    return array


def _flat(name, values, dtype, shape):
    """The same for an array that may come in any shape with as many entries."""
    refuse_masked(values, f"noise.{name}", ConfigError)
    array = np.asarray(values)
    if array.size != shape[0] * shape[1]:
        field = f"noise.{name}"
        raise ConfigError(f"{array.size} entries are not {shape[1]} for each of {shape[0]} masked steps", field=field)
    return _array(name, array.reshape(shape), dtype, shape)


def _ready(array, dtype):
    return np.require(array, dtype, ["C", "ALIGNED"])


def _indices(name, array, count):
    if array.size and not (array.min() >= 0 and array.max() < count):
        raise ConfigError(f"an index lies outside 0 to {count - 1}", field=f"noise.{name}")
    return _ready(array, np.int32)


def _steps(given, source, rows, tokens, valid, settings):
    shape = len(rows), tokens
    if "mask_indices" in given:
        steps = _array("mask_indices", given["mask_indices"], bool, shape)
    elif settings["mask_prob"] == 0:
        return np.ones(shape, dtype=bool)  # all are predicted, none is masked
    else:
        steps = draws.time_masks(source, rows, tokens, valid=valid, **{name: settings[name] for name in _TIME})
    draws.check_steps(steps, valid)
    return _ready(steps, bool)


def _channels(given, source, rows, width, settings):
    if "mask_channel_indices" in given:
        return _ready(_array("mask_channel_indices", given["mask_channel_indices"], bool, (len(rows), width)), bool)
    return draws.channel_masks(source, rows, width, **{name: settings[name] for name in _CHANNEL})


def _negatives(given, source, rows, masked, own, cross):
    if "neg_idxs" not in given:
        return draws.negatives(source, rows, masked, num_negatives=own, cross_sample_negatives=cross)
    total = len(rows) * masked
    return _indices("neg_idxs", _flat("neg_idxs", given["neg_idxs"], np.int32, (total, own + cross)), total)


def _codebook(given, source, rows, masked, count, combinations):
    if not count:
        return None
    if "codebook_idxs" not in given:
        return draws.codebook_negatives(source, rows, masked, combinations, count)
    shape = count, len(rows) * masked
    return _indices("codebook_idxs", _array("codebook_idxs", given["codebook_idxs"], np.int32, shape), combinations)


def _gumbel(given, source, rows, masked, codes):
    if "gumbel" not in given:
        return draws.gumbel(source, rows, masked, codes)
    noise = _flat("gumbel", given["gumbel"], np.float32, (len(rows) * masked, codes))
    if not np.isfinite(noise).all():
        raise ConfigError("a value is not finite", field="noise.gumbel")
    return _ready(noise, np.float32)
