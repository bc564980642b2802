"""What lies below all that is trained, as a trainer gives it, to be kept and given back in the place of segments."""

from __future__ import annotations

import hashlib
from typing import Any

from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError
from ..validation import is_one_of
from .below import TYPES, Below
from .engine import Engine

__all__ = ["GivesBelow"]


class GivesBelow:
    """The part of a trainer that knows what of its network never changes."""

    objective: Any
    engine: Engine
    config: dict[str, Any]
    precision: str
    _lock: Any
    #: Another one when the weights are replaced.
    below_token: object = None

    @property
    def trains_all(self) -> bool:
        """bool: whether nothing lies below what is trained."""
        return self.objective.below is None

    @property
    def _pools(self) -> bool:
        """Whether nothing but the output layer is trained, and nothing is dropped before it."""
        names = self.objective.below or ()
        encoder = sum(not name.startswith("proj.") for name in self.engine.arrays("parameters"))
        return len(names) == encoder and self.objective.settings.final_dropout == 0

    def below(self, x: Any, padding_mask: ArrayLike | None = None, *, dtype: str = "float32") -> Below:
        """What lies below all that is trained, computed once.

        Parameters
        ----------
        x, padding_mask
            As of `accumulate`.
        dtype : {"float32", "bfloat16"}
            In which it is kept. In float32 a step from it gives the same bits as one from the segments, but where the
            output layer alone is trained: then means over time are kept, and the sums of a batch are rounded otherwise.

        Returns
        -------
        Below
            To be given to `accumulate`, `step`, `evaluate` and `logits` in the place of `x` and its padding mask.

        Raises
        ------
        ConfigError
            If nothing lies below what is trained, or `dtype` is another one.
        SignalError
            If x does not fit.
        """
        if self.trains_all:
            raise ConfigError(
                "nothing lies below what is trained", field="trainable", remedy="Give 'head' or a number of layers"
            )
        if not is_one_of(dtype, TYPES):
            raise ConfigError("rows are kept in float32 or bfloat16", field="dtype")
        x, valid = self.objective.checked_input(x, padding_mask)
        with self._lock:
            rows: NDArray[Any] = self.engine.below(x, valid, dtype, pooled=self._pools)
            return Below(rows, *self.below_samples(x.shape[2], valid), self.below_token)

    def below_samples(self, samples: int, valid: Any) -> tuple[int, Any]:
        """Samples and valid samples of the segments that rows of such segments stand for: pooled, of one token."""
        return (self.objective.architecture.min_samples, None) if self._pools else (samples, valid)

    def below_shape(self, samples: int, count: int) -> tuple[int, int, int]:
        """The shape of the rows of so many segments."""
        network = self.objective.architecture
        return count, 1 if self._pools else network.tokens(samples), int(self.config["encoder_embed_dim"])

    def below_identity(self) -> list[Any]:
        """What decides the rows of given segments: the weights below, and what they are the weights of."""
        digest, arrays = hashlib.blake2b(digest_size=16), self.engine.arrays("parameters")
        for name in self.objective.below or ():
            digest.update(name.encode() + b"\0")
            digest.update(arrays[name].data)
        return [
            digest.hexdigest(),
            repr(sorted(self.config.items(), key=str)),
            self._pools,
            repr(self.objective.input),
            self.precision,
        ]

    def _check_below(self, x: object) -> None:
        """Refuse rows that were made of other weights."""
        if isinstance(x, Below) and (self.trains_all or x.made is not self.below_token):
            raise ConfigError(
                "these rows were made by another trainer, or before its weights were replaced",
                field="x",
                remedy="Make them anew: trainer.below(x)",
            )
