"""Where the weights of a trainer come from: a model, a checkpoint, or nothing but an architecture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checkpoint
from ..errors import ConfigError
from ..kernels import core
from ..model.caveats import caveat_of
from ..model.model import Model
from ..specs.inputs import InputSpec
from ..specs.target import Target

__all__ = ["Start", "opened"]


@dataclass(eq=False)
class Start:
    """What a trainer starts from.

    Attributes
    ----------
    kind : str or None
        None: there are no weights, only an architecture.
    config : mapping
        The architecture.
    labels, labels_source
        As of `Model`.
    info : dict
        What is to be said of a model that comes of it.
    input : (InputSpec, str) or None
        What it takes, and where that comes from; None if there are no weights yet.
    target : Target or None
        Of a regression model.
    """

    kind: str | None
    config: Mapping[str, Any]
    labels: Sequence[str] | None = None
    labels_source: str | None = None
    info: dict[str, Any] = field(default_factory=dict)
    input: tuple[InputSpec, str] | None = None
    target: Target | None = None
    _tensors: Any = None
    _names: frozenset[str] = frozenset()

    def has(self, name: str) -> bool:
        """Whether there is a tensor, of a name as in an encoder."""
        return self._prefix + name in self._names

    def tensor(self, name: str) -> Any:
        """A tensor of a name as in an encoder, or of the output layer."""
        return self._tensors[name if name.startswith("proj.") else self._prefix + name]

    def copy(self, values: NDArray[np.float32], name: str) -> None:
        """Copy a tensor to `values`, and give its memory back."""
        tensor = self.tensor(name)
        values[...] = np.asarray(tensor)
        if hasattr(tensor, "release"):
            tensor.release()

    @property
    def _prefix(self) -> str:
        return "encoder." if self.kind == "classifier" else ""


@dataclass(eq=False)
class _Weights:
    """A model's tensors, each unpacked when it is asked for."""

    model: Any

    def __getitem__(self, name: str) -> Any:
        return self.model._core.get(name)


@contextmanager
def opened(model: Any) -> Iterator[Start]:
    """What a user gives a trainer to start from.

    Raises
    ------
    ConfigError, CheckpointError
    """
    if isinstance(model, (str, os.PathLike)):
        with checkpoint.read(model) as found:
            count = int(found.config["num_labels"]) if found.kind == "classifier" else 0
            target = Target.read(found.info.get("target"), count, found.path) if count else None
            named = found.labels, found.labels_source, _kept(found.info), found.stated_input, target
            yield Start(found.kind, found.config, *named, found.tensors, frozenset(found.tensors))
    elif isinstance(model, Model):
        names = frozenset(name for name, _ in core().parameters(model.config, model.kind))
        about = model.labels, model.labels_source, _kept(model.info), (model.input, model.input_source), model.target
        yield Start(model.kind, model.config, *about, _Weights(model), names)
    elif isinstance(model, dict):
        yield Start(None, model)
    else:
        raise ConfigError(f"a {type(model).__name__} is neither settings nor a Model nor a path", field="model")


def _kept(info: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is said of a model, that which holds for one that was trained further: a caveat, but for "untrained"."""
    caveat = caveat_of({**info, "training": None} if info.get("training") == "none" else info)
    return {} if caveat is None else {"caveat": caveat}
