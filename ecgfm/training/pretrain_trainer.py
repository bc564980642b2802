"""The old name of a trainer that pretrains."""

from __future__ import annotations

from typing import Any

from .._text import shown
from ..errors import ConfigError
from ..validation import is_one_of
from .objectives import OBJECTIVES
from .trainer import Trainer

__all__ = ["PretrainingTrainer"]


class _OfPretraining(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Trainer) and instance.objective.kind == "pretraining"


class PretrainingTrainer(Trainer, metaclass=_OfPretraining):
    """`Trainer` under its old name for pretraining, with another default of the loss; any that pretrains is one."""

    def __init__(self, model: Any, *, loss: str = "wav2vec2_with_cmsc", **settings: Any) -> None:
        if is_one_of(loss, OBJECTIVES) and OBJECTIVES[loss].kind != "pretraining":
            raise ConfigError(f"{shown(loss)} does not pretrain", field="loss", remedy="Give it to ecgfm.Trainer")
        super().__init__(model, loss=loss, **settings)
