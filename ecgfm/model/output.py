"""What the model says of segments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..specs.target import Target

__all__ = ["Output", "channels_first"]


@dataclass(eq=False)
class Output:
    """What the model says of B segments.

    Attributes
    ----------
    logits : ndarray or None
        (B, Y) float32; None for an encoder, which has no labels. Of a regression model what `values` are made of.
    embedding : ndarray
        (B, C) float32: the tokens' mean over time. As in the original, a token whose value in a channel is exactly
        zero (padding is) does not count in that channel's mean.
    tokens : ndarray
        (B, T, C) float32, of the encoder's output or of the layer asked for; padded tokens are 0.
    attention : ndarray or None
        (B, layers, T, T) float32: attention weights averaged over heads, rows are queries and sum to 1. None unless
        asked for.
    labels : tuple of str or None
        The name of each column of `logits`, as the model has them.
    target : Target or None
        Of a regression model: what its outputs stand for.
    """

    logits: NDArray[np.float32] | None
    embedding: NDArray[np.float32]
    tokens: NDArray[np.float32]
    attention: NDArray[np.float32] | None = None
    labels: tuple[str, ...] | None = field(default=None, repr=False)
    target: Target | None = field(default=None, repr=False)

    @property
    def probabilities(self) -> NDArray[np.float32] | None:
        """ndarray or None: (B, Y) float32, the logistic function of each logit; labels are independent.

        None for an encoder and for a regression model.
        """
        return None if self.logits is None or self.target is not None else probabilities(self.logits)

    @property
    def values(self) -> NDArray[np.float64] | None:
        """ndarray or None: (B, Y) float64, what a regression model says, in the unit of its target; None for others."""
        return None if self.logits is None or self.target is None else self.target.values(self.logits)

    def __len__(self) -> int:
        return len(self.embedding)

    def __repr__(self) -> str:
        shapes = ((name, getattr(self, name)) for name in ("logits", "embedding", "tokens", "attention"))
        return f"Output({', '.join(f'{name}={value.shape}' for name, value in shapes if value is not None)})"


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logistic function of each logit, computed in float64."""
    with np.errstate(over="ignore"):
        found: NDArray[np.float32] = (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
    return found


def channels_first(trace: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A trace of the kernels with its conv features as (B, channels, steps), as the original has them."""
    return {
        name: np.ascontiguousarray(values.swapaxes(1, 2)) if re.fullmatch(r"conv\d+(_raw)?", name) else values
        for name, values in trace.items()
    }
