"""The kernels' trainer: weights, gradients and moments. It knows no loss, no label and no epoch."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..kernels import core
from ..ranks import Alone, Ranks
from ..validation import Whole, checked, real_array
from .trainable import is_adapter

if TYPE_CHECKING:
    from .._core import Trainer as Core

__all__ = ["Compare", "Engine", "Key"]

BLOCKS = ("parameters", "exp_avg", "exp_avg_sq")
Arrays = dict[str, NDArray[np.float32]]
Compare = Callable[[NDArray[np.float32]], Mapping[str, Any]]


@dataclass(frozen=True)
class Key:
    """Where in a training a batch is; of `seed` to `first_row` its noise depends, and of nothing else.

    Attributes
    ----------
    seed, rank, update : int
    first_row : int
        The number of the batch's first row among those of the update.
    applied : int
        Updates that were applied so far.
    validation : bool
        Whether nothing is trained: then there is no dropout.
    """

    seed: int
    rank: int
    update: int
    first_row: int
    applied: int = 0
    validation: bool = False


class Engine:
    """A network in training: its weights, the sum of gradients since the last update, and Adam's moments.

    Parameters
    ----------
    config : dict
        The architecture.
    kind : {"classifier", "pretraining"}
        Which heads the network has.
    options : dict
        Rates of dropout, and what is trained.

    Attributes
    ----------
    core : ecgfm._core.Trainer
    """

    def __init__(self, config: Mapping[str, Any], kind: str, options: Mapping[str, Any]) -> None:
        self.core: Core = core().Trainer(dict(config), dict(options), kind)

    def arrays(self, block: str) -> Arrays:
        """The tensors of a block by checkpoint name: views, which write through."""
        return self.core.arrays(block)

    def views(self, block: str) -> Arrays:
        """The same, read-only."""
        found = self.arrays(block)
        for values in found.values():
            values.flags.writeable = False
        return found

    def forward_backward(
        self, head: str, arrays: Mapping[str, Any], key: Key, compare: Compare | None = None
    ) -> dict[str, Any]:
        """Forward and backward of a batch; gradients are added to those that are there.

        Parameters
        ----------
        head : str
            The method of the kernels.
        arrays : mapping
            Its arguments: the batch, and the noise that is given.
        key : Key
            For the noise that the kernels draw.
        compare : callable, optional
            Called between forward and backward with the features of the batch's rows: what `finish` of the kernels
            takes, features of the rows of all ranks among it.

        Returns
        -------
        dict
            Sums over the batch.
        """
        drawn = {"seed": key.seed, "rank": key.rank, "update": key.update, "first_row": key.first_row}
        if compare is None:
            found: dict[str, Any] = getattr(self.core, head)(**arrays, **drawn)
        else:
            found = self.core.finish(**compare(getattr(self.core, head)(**arrays, **drawn, wait=True)))
        return found

    def update(
        self, ranks: Alone | Ranks, adam: Mapping[str, Any], lr: float, denominator: float, *, head_only: bool = False
    ) -> tuple[float, bool]:
        """A step of Adam with the gradients of all ranks, which are summed in place.

        Returns
        -------
        float, bool
            The norm of the gradients, divided by the denominator, and whether the step was applied. With a denominator
            of 0 there was nothing to learn: the gradients are dropped.
        """
        if not denominator:
            self.forget()
            return math.nan, False
        if ranks.size > 1:
            ranks.sum(self.core.flat_gradients())
        beta1, beta2 = adam["adam_betas"]
        how = beta1, beta2, adam["adam_eps"], adam["weight_decay"]
        return self.core.update(lr, *how, denominator, clip_norm=adam["clip_norm"], head_only=head_only)

    def forget(self) -> None:
        """Drop the gradients."""
        self.core.forget()

    def logits(self, x: NDArray[Any], valid: NDArray[np.int64] | None, samples: int = 0) -> NDArray[np.float32]:
        """Of a classifier, without dropout; of rows as `below` gives them, with the samples of their segments."""
        return self.core.forward(x, valid, samples)

    def below(
        self, x: NDArray[np.float32], valid: NDArray[np.int64] | None, dtype: str, *, pooled: bool
    ) -> NDArray[Any]:
        """The rows that enter the first part that is trained, or the means over time of the encoder's output."""
        return self.core.below(x, valid, dtype, pooled)

    def check_same(self, ranks: Alone | Ranks) -> None:
        """Raise ConfigError if ranks have other weights: each applies the same updates to its own."""
        if ranks.size > 1:
            sums = ranks.gather([zlib.crc32(values.data) for values in self.arrays("parameters").values()])
            if any(other != sums[0] for other in sums):
                raise ConfigError("the ranks do not start from the same weights", field="model")

    def weights(self) -> Arrays:
        """The tensors of the network, read-only, without those of adapters, which are in the weights."""
        return {name: values for name, values in self.views("parameters").items() if not is_adapter(name)}

    # ---- what it holds ------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The blocks, read-only, and the updates that each tensor has seen."""
        return {block: self.views(block) for block in BLOCKS} | {"steps": self.core.steps()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave; gradients are dropped.

        Raises
        ------
        ConfigError
            If a part is missing or unknown, or an array has another shape; nothing has changed then.
        """
        pairs = []
        for block in BLOCKS:
            own = self.arrays(block)
            for name, values in _same_names(state, block, own).items():
                given = real_array(values, f"{block}.{name}", ConfigError)
                if given.shape != own[name].shape:
                    raise ConfigError(f"the shape is {given.shape}, not {own[name].shape}", field=f"{block}.{name}")
                pairs.append((own[name], given))
        steps = _same_names(state, "steps", self.core.steps())
        steps = {name: checked(value, Whole(), f"steps.{name}") for name, value in steps.items()}
        self._check_bases(state["parameters"])
        self.core.set_steps(steps)
        for mine, given in pairs:
            mine[...] = given
        self.core.forget()

    def rebase(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Take other weights, to which adapters that begin anew are added."""
        for name, values in self.arrays("parameters").items():
            if name.endswith(".adapter_b"):
                values[...] = 0
            elif name in weights:
                values[...] = weights[name]
        self.core.take_bases()

    def _check_bases(self, given: Mapping[str, Any]) -> None:
        """Refuse weights that are not what adapters make of this network's own."""
        own = self.arrays("parameters")
        adapters = [name for name in own if is_adapter(name)]
        if not adapters:
            return
        before = {name: own[name].copy() for name in adapters}
        for name in adapters:
            own[name][...] = given[name]
        self.core.merge()
        merged = [f"{name.removesuffix('.adapter_a')}.weight" for name in adapters if name.endswith("_a")]
        odd = [name for name in merged if not _alike(own[name], np.asarray(given[name]))]
        if odd:
            for name, values in before.items():
                own[name][...] = values
            self.core.merge()
            raise ConfigError(
                "the adapters were trained from another model: this weight is not what they make of the one here",
                field=f"parameters.{odd[0]}",
            )


def _alike(own: NDArray[Any], given: NDArray[Any]) -> bool:
    """Within what another processor's rounding may change."""
    return own.shape == given.shape and bool(np.abs(own - given).max() <= 1e-5 * np.abs(own).max())


def _same_names(state: Mapping[str, Any], part: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The dict of that name in a state, if it has the names of ours."""
    given = state.get(part)
    if not isinstance(given, dict):
        raise ConfigError("the state lacks this entry", field=part)
    for name in own:
        if name not in given:
            raise ConfigError("the state lacks this entry", field=f"{part}.{name}")
    for name in given:
        if name not in own:
            raise ConfigError("the network has no such tensor to train", field=f"{part}.{name}")
    return given
