"""One model on several ranks: rank 0 reads, sends and writes, all compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ecg.expected import prepared_here
from ..errors import Error
from ..model.model import Model, Output
from ..ranks import Alone, Ranks

__all__ = ["SharedModel", "serve"]


class SharedModel:
    """A model whose batches are divided among ranks; used like the model, on rank 0, while the others `serve`.

    What it gives is what the model gives for each part. Rank 0 alone reads and writes, so that recordings, their
    order and
    what happens to damaged ones are as without ranks. A context manager; at its end the other ranks are let go.

    Parameters
    ----------
    model : Model
    ranks : Ranks
    """

    def __init__(self, model: Model, ranks: Alone | Ranks) -> None:
        self._model, self._ranks, self._open = model, ranks, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, x: Any, padding_mask: Any = None, **wanted: Any) -> Output:
        """As for calling the model; errors of the arguments are raised here, before anything is sent."""
        if padding_mask is None:
            padding_mask = getattr(x, "padding_mask", None)
        x = np.asarray(x)
        size = self._ranks.size
        if x.ndim != 3 or len(x) < 2:
            return self._model(x, padding_mask, **wanted)
        mask = None if padding_mask is None else np.asarray(padding_mask)
        bounds = [len(x) * i // size for i in range(size + 1)]
        rows = [slice(*pair) for pair in zip(bounds, bounds[1:])]
        parts = [(x[part], None if mask is None else mask[part], wanted) for part in rows]
        found = self._ranks.collect(_answer(self._model, self._ranks.scatter(parts))) or []
        failed = [part for part in found if isinstance(part, Exception)]
        if failed:
            raise failed[0]
        return _joined([part for part in found if part is not None], self._model)

    def close(self) -> None:
        """Let the other ranks go; later calls are an error."""
        if self._open:
            self._open = False
            self._ranks.scatter([None] * self._ranks.size)

    def __enter__(self) -> SharedModel:
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SharedModel({self._model!r}, {self._ranks.size} ranks)"


def serve(model: Any, ranks: Alone | Ranks) -> None:
    """Compute what rank 0's `SharedModel` sends, until it is closed."""
    with prepared_here():  # what there is to say of the input, rank 0 says
        part: Any
        while (part := ranks.scatter(None)) is not None:
            ranks.collect(_answer(model, part))


def _answer(model: Any, part: Any) -> Any:
    """The arrays of an Output; None for no rows; what went wrong, for rank 0 to raise."""
    x, mask, wanted = part
    if not len(x):
        return None
    try:
        output = model(x, mask, **wanted)
    except (Error, MemoryError) as error:
        return error
    return output.logits, output.embedding, output.tokens, output.attention


def _joined(parts: Sequence[Any], model: Model) -> Output:
    columns = [None if column[0] is None else np.concatenate(column) for column in zip(*parts)]
    logits, embedding, tokens, attention = columns
    assert embedding is not None and tokens is not None
    return Output(logits, embedding, tokens, attention, model.labels, model.target)
