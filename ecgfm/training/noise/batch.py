"""The noise of a batch: what is given is checked, the rest is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._text import shown
from ...errors import ConfigError
from ...specs.architecture import Architecture
from ...validation import bool_array, refuse_masked
from ..settings import Pretraining
from . import draws, spans

__all__ = ["GIVEN", "batch_noise", "dropout_masks", "masked_leads", "taken_apart"]

# The arrays that a caller may give beside masks of dropout.
GIVEN = ("lead_kept", "mask_indices", "mask_channel_indices", "neg_idxs", "codebook_idxs", "gumbel")


def taken_apart(noise: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the noise that a caller gives, what is `GIVEN` here, and the rest: masks of dropout."""
    if noise is not None and not isinstance(noise, dict):
        raise ConfigError(f"{shown(noise)} is not a dict of arrays", field="noise")
    given = dict(noise or {})
    return {name: given.pop(name) for name in GIVEN if name in given}, given


def masked_leads(x: NDArray[np.float32], kept: Any) -> NDArray[np.float32]:
    """A copy of x (B, L, N) whose leads are 0 where kept (B, L) is False."""
    kept = _array("lead_kept", kept, bool, x.shape[:2])
    return np.where(kept[..., None], x, np.float32(0))


def batch_noise(
    given: Mapping[str, Any],
    source: draws.Source,
    rows: Sequence[int],
    tokens: int,
    valid: NDArray[np.int64] | None,
    architecture: Architecture,
    settings: Pretraining,
) -> dict[str, NDArray[Any] | None]:
    """The noise of a batch of pretraining, as the kernels take it.

    Parameters
    ----------
    given : mapping of str to array_like
        Any of `GIVEN`.
    source : Source
    rows : sequence of int
        Numbers of the B rows of the batch, for what is drawn.
    tokens : int
        T.
    valid : ndarray or None
        (B,) tokens of each row that are not padding.
    architecture : Architecture
    settings : Pretraining

    Returns
    -------
    dict
        ``steps`` (B, T) bool, R of them True; ``channels`` (B, C) bool or None; ``negatives`` (R, n) int32;
        ``codebook`` (m, R) int32 or None; ``gumbel`` (R, G V) float32, None in a validation.

    Raises
    ------
    ConfigError
        If a given array has another type or shape.
    SignalError
        If nothing or everything of a row is masked, or too little for a negative.
    """
    count, width = len(rows), architecture.encoder_embed_dim
    steps, channels = spans.masks(
        source,
        rows,
        tokens,
        width,
        settings,
        valid=valid,
        steps=_mask("mask_indices", given, (count, tokens)),
        zeroed=_mask("mask_channel_indices", given, (count, width)),
    )
    masked = int(steps[0].sum())
    groups, entries = architecture.latent_groups, architecture.latent_vars
    codes, combinations = groups * entries, entries**groups  # of all groups, and ways to combine one of each
    own = _given_targets(given, count * masked, codes, combinations, settings, source.validation)
    return {"steps": steps, "channels": channels} | draws.targets(
        source, rows, masked, codes, combinations, settings, own
    )


def _given_targets(
    given: Mapping[str, Any], total: int, codes: int, combinations: int, settings: Any, validation: bool
) -> dict[str, NDArray[Any]]:
    """Of what a caller gives, that which belongs to each of the masked steps."""
    found: dict[str, NDArray[Any]] = {}
    if "neg_idxs" in given:
        each = settings.num_negatives + settings.cross_sample_negatives
        values = _flat("neg_idxs", given["neg_idxs"], np.int32, (total, each))
        found["negatives"] = _indices("neg_idxs", values, total)
    if "codebook_idxs" in given and settings.codebook_negatives:
        values = _array("codebook_idxs", given["codebook_idxs"], np.int32, (settings.codebook_negatives, total))
        found["codebook"] = _indices("codebook_idxs", values, combinations)
    if "gumbel" in given and not validation:
        values = _flat("gumbel", given["gumbel"], np.float32, (total, codes))
        if not np.isfinite(values).all():
            raise ConfigError("a value is not finite", field="noise.gumbel")
        found["gumbel"] = _ready(values, np.float32)
    return found


def dropout_masks(
    given: Mapping[str, Any], architecture: Architecture, batch: int, samples: int, *, final: bool
) -> dict[str, NDArray[np.bool_]]:
    """Masks of dropout as the kernels take them.

    Parameters
    ----------
    given : mapping of str to array_like of bool
    architecture : Architecture
    batch, samples : int
        B and N.
    final : bool
        Whether the network has dropout before its output layer.
    """
    known, found = _dropout_shapes(architecture, batch, architecture.tokens(samples), final), {}
    for name, values in given.items():
        field = f"noise.{name}"
        if name not in known:
            raise ConfigError("there is no such mask", field=field, remedy=f"Known are {', '.join(known)}")
        mask = bool_array(values, field, ConfigError)
        if mask.shape != known[name]:
            raise ConfigError(f"{mask.dtype} of shape {mask.shape} is not bool of {known[name]}", field=field)
        found[name] = _ready(mask, np.bool_)
    return found


def _dropout_shapes(architecture: Architecture, batch: int, tokens: int, final: bool) -> dict[str, tuple[int, ...]]:
    layers, heads = architecture.encoder_layers, architecture.encoder_attention_heads
    stream = (batch, tokens, architecture.encoder_embed_dim)
    shapes: dict[str, tuple[int, ...]] = {"input": stream, "encoder": stream}
    shapes |= ({"final": stream} if final else {}) | {"layers": (layers,)}
    for i in range(layers):
        shapes[f"layer{i}.attention"] = (batch, heads, tokens, tokens)
        shapes[f"layer{i}.activation"] = (batch, tokens, architecture.encoder_ffn_embed_dim)
        shapes[f"layer{i}.residual1"] = shapes[f"layer{i}.residual2"] = stream
    return shapes


# ---- arrays that are given --------------------------------------------------------------------------


def _array(name: str, values: Any, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """A given array of that type; integers may be of another width."""
    refuse_masked(values, f"noise.{name}", ConfigError)
    array, wanted = np.asarray(values), np.dtype(dtype)
    if array.dtype.kind != wanted.kind or array.shape != shape:
        raise ConfigError(f"{array.dtype} of shape {array.shape} is not {wanted} of {shape}", field=f"noise.{name}")
    return array


def _flat(name: str, values: Any, dtype: Any, shape: tuple[int, int]) -> NDArray[Any]:
    """The same for an array that may come in any shape with as many entries."""
    refuse_masked(values, f"noise.{name}", ConfigError)
    array, (steps, each) = np.asarray(values), shape
    if array.size != steps * each:
        raise ConfigError(
            f"{array.size} entries are not {each} for each of {steps} masked steps", field=f"noise.{name}"
        )
    return _array(name, array.reshape(shape), dtype, shape)


def _mask(name: str, given: Mapping[str, Any], shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    return _ready(_array(name, given[name], bool, shape), np.bool_) if name in given else None


def _indices(name: str, array: NDArray[Any], count: int) -> NDArray[np.int32]:
    if array.size and not (array.min() >= 0 and array.max() < count):
        raise ConfigError(f"an index lies outside 0 to {count - 1}", field=f"noise.{name}")
    return _ready(array, np.int32)


def _ready(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    return np.require(array, dtype, ["C", "ALIGNED"])
