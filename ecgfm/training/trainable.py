"""What of a network is trained: which tensors, and how fast each."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from .._text import shown
from ..errors import ConfigError
from ..validation import REFUSED, Rule, Whole

__all__ = [
    "ALL",
    "HEAD",
    "Trainable",
    "adapter_tensors",
    "is_adapter",
    "learning_rates",
    "tensors_below",
    "trained_tensors",
]

ALL, HEAD = "all", "head"

_MOST, _LONGEST = 1000, 200
_EXTRACTOR = "encoder.feature_extractor."
_OUTPUT = "proj."
_LAST_NORM = "encoder.encoder.layer_norm."
_LAYER = re.compile(r"encoder\.encoder\.layers\.(\d+)\.")


@dataclass(frozen=True)
class Trainable(Rule):
    """``"all"``, ``"head"``, how many last layers of the encoder, or patterns of names, which come back as a tuple."""

    def take(self, value: object) -> Any:
        if isinstance(value, str):
            return value if value in (ALL, HEAD) else REFUSED
        if isinstance(value, (list, tuple)):
            good = 0 < len(value) <= _MOST and all(isinstance(one, str) and 0 < len(one) <= _LONGEST for one in value)
            return tuple(value) if good else REFUSED
        return Whole(1).take(value)

    def allowed(self) -> str:
        return f"'{ALL}', '{HEAD}', a number of layers from 1 up, or a list of patterns of names"

    def remedy(self, value: object) -> str | None:
        if isinstance(value, str):
            return f"A pattern stands in a list: [{shown(value)}]"
        return f"Give '{HEAD}'" if type(value) is int and value == 0 else None


def trained_tensors(
    trainable: str | int | Sequence[str], names: Sequence[str], config: Mapping[str, Any], *, extractor: bool, new: bool
) -> frozenset[str] | None:
    """The names of the tensors of a classifier that are trained.

    Parameters
    ----------
    trainable : str, int or sequence of str
        As of `Trainable`.
    names : sequence of str
        Of all tensors.
    config : mapping
        The architecture.
    extractor : bool
        Whether the conv blocks may be trained.
    new : bool
        Whether rows of the output layer are made anew.

    Returns
    -------
    frozenset of str or None
        None: all of them.

    Raises
    ------
    ConfigError
        If there are fewer layers, or a pattern names no tensor that can be trained.
    """
    if trainable == ALL:
        return None
    able = [name for name in names if extractor or not name.startswith(_EXTRACTOR)]
    if isinstance(trainable, (int, str)):
        last = 0 if isinstance(trainable, str) else trainable
        return frozenset(name for name in able if _is_above(name, last, config))
    chosen: set[str] = set()
    for pattern in trainable:
        chosen |= _matching(pattern, able, names)
    if new and not any(name.startswith(_OUTPUT) for name in chosen):
        raise ConfigError(
            "the output layer is made anew and not trained", field="trainable", remedy=f"Add '{_OUTPUT}*' to the list"
        )
    return frozenset(chosen)


def is_adapter(name: str) -> bool:
    """Whether a tensor is of a low-rank adapter: not of the network, into whose weights it is merged."""
    return name.endswith((".adapter_a", ".adapter_b"))


def adapter_tensors(
    trainable: str | int | Sequence[str], rank: int, config: Mapping[str, Any]
) -> tuple[int, list[str]]:
    """The first layer that has adapters, and their names: of the queries and values of all layers or of the last ones.

    Raises
    ------
    ConfigError
        If there are fewer layers, or the rank is larger than the width, or something else is to be trained.
    """
    if trainable != ALL and not isinstance(trainable, int):
        raise ConfigError(
            "adapters are of all layers of the encoder or of the last ones",
            field="trainable",
            remedy="Give a number of layers, or leave it out",
        )
    layers, width = int(config["encoder_layers"]), int(config["encoder_embed_dim"])
    last = trainable if isinstance(trainable, int) else layers
    if last > layers:
        raise ConfigError(f"the encoder has {layers} layers, not {last}", field="trainable")
    if rank > width:
        raise ConfigError(f"{rank} is more than the width {width}", field="adapters", remedy="Common are 4 to 16")
    places = [f"encoder.encoder.layers.{i}.self_attn" for i in range(layers - last, layers)]
    return layers - last, [
        f"{place}.{kind}_proj.adapter_{factor}" for place in places for kind in "qv" for factor in "ab"
    ]


def _is_above(name: str, last: int, config: Mapping[str, Any]) -> bool:
    """Whether a tensor is the output layer's, or of the last layers of the encoder, or of a norm that follows them."""
    layers = int(config["encoder_layers"])
    if last > layers:
        raise ConfigError(f"the encoder has {layers} layers, not {last}", field="trainable")
    layer = _LAYER.match(name)
    if layer is not None:
        return int(layer[1]) >= layers - last
    return name.startswith(_OUTPUT) or (bool(config["layer_norm_first"]) and last > 0 and name.startswith(_LAST_NORM))


def _matching(pattern: str, able: Sequence[str], names: Sequence[str]) -> set[str]:
    found = {name for name in able if fnmatchcase(name, pattern)}
    if not found and any(fnmatchcase(name, pattern) for name in names):
        raise ConfigError(
            f"{shown(pattern)} names tensors of the conv blocks alone, which feature_grad_mult 0 freezes",
            field="trainable",
            remedy="Give feature_grad_mult=1",
        )
    if not found:
        raise ConfigError(
            f"no tensor has a name like {shown(pattern)}",
            field="trainable",
            remedy=f"Names are those of checkpoints, such as {names[0]}; * stands for any text",
        )
    return found


def tensors_below(trained: frozenset[str] | None, names: Sequence[str], config: Mapping[str, Any]) -> list[str] | None:
    """The tensors of the encoder that lie below all that is trained; None where none do.

    Returned are those of whole stages: what comes before the layers, each layer, and a norm that follows them.
    """
    if trained is None:
        return None
    layers, last_norm = int(config["encoder_layers"]), bool(config["layer_norm_first"])
    first = min((_stage(name, layers, last_norm) for name in trained), default=layers + 2)
    return [name for name in names if _stage(name, layers, last_norm) < first] if first > 0 else None


def _stage(name: str, layers: int, last_norm: bool) -> int:
    layer = _LAYER.match(name)
    if name.startswith(_OUTPUT):
        return layers + 2
    if layer is not None:
        return 1 + int(layer[1])
    return layers + 1 if last_norm and name.startswith(_LAST_NORM) else 0


def learning_rates(decay: float, names: Sequence[str], config: Mapping[str, Any]) -> dict[str, float] | None:
    """What the learning rate of each tensor is multiplied by; None where it is 1 for all.

    The output layer has 1, the last layer of the encoder `decay`, the one before it its square, and so on; what comes
    before the first layer has one power more than that.
    """
    if decay == 1:
        return None
    layers, first = int(config["encoder_layers"]), bool(config["layer_norm_first"])
    rates = {}
    for name in names:
        layer = _LAYER.match(name)
        power = layers + 1 if layer is None else layers - int(layer[1])
        if name.startswith(_OUTPUT) or (first and name.startswith(_LAST_NORM)):
            power = 0
        rates[name] = math.pow(decay, power)
    return rates
