"""The kernels' trainer: weights, gradients and moments. It knows no loss, no label and no epoch."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..kernels import core
from ..ranks import Alone, Ranks
from ..validation import Whole, checked, real_array

__all__ = ["Compare", "Engine", "Key"]

BLOCKS = ("parameters", "exp_avg", "exp_avg_sq")
Arrays = dict[str, NDArray[np.float32]]
Compare = Callable[[NDArray[np.float32]], Mapping[str, Any]]


@dataclass(frozen=True)
class Key:
    """What the noise of a batch depends on: nothing else does.

    Attributes
    ----------
    seed, rank, update : int
    first_row : int
        The number of the batch's first row among those of the update.
    """

    seed: int
    rank: int
    update: int
    first_row: int


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
        self.core: Any = core().Trainer(dict(config), dict(options), kind)

    def arrays(self, block: str) -> Arrays:
        """The tensors of a block by checkpoint name: views, which write through."""
        found: Arrays = self.core.arrays(block)
        return found

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
        self, adam: Mapping[str, Any], lr: float, denominator: float, *, head_only: bool = False
    ) -> tuple[float, bool]:
        """A step of Adam; the norm of the gradients, divided by the denominator, and whether it was applied."""
        beta1, beta2 = adam["adam_betas"]
        found: tuple[float, bool] = self.core.update(
            lr,
            beta1,
            beta2,
            adam["adam_eps"],
            adam["weight_decay"],
            denominator,
            clip_norm=adam["clip_norm"],
            head_only=head_only,
        )
        return found

    def forget(self) -> None:
        """Drop the gradients."""
        self.core.forget()

    def logits(self, x: NDArray[np.float32], valid: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """Of a classifier, without dropout."""
        found: NDArray[np.float32] = self.core.forward(x, valid)
        return found

    # ---- on several ranks ---------------------------------------------------------------------------

    def check_same(self, ranks: Alone | Ranks) -> None:
        """Raise ConfigError if ranks have other weights: each applies the same updates to its own."""
        if ranks.size > 1:
            sums = ranks.gather([zlib.crc32(values.data) for values in self.arrays("parameters").values()])
            if any(other != sums[0] for other in sums):
                raise ConfigError("the ranks do not start from the same weights", field="model")

    def sum_gradients(self, ranks: Alone | Ranks) -> None:
        """Sum the gradients over all ranks, in place."""
        if ranks.size > 1:
            ranks.sum(self.core.flat_gradients())

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
        self.core.set_steps(steps)
        for mine, given in pairs:
            mine[...] = given
        self.core.forget()


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
