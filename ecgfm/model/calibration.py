"""int8 weights rounded with regard to what enters them: columns that are large on calibration segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checkpoint import held_tensor
from ..ecg import Segments
from ..errors import SignalError
from ..kernels import core
from ..validation import real_array
from .weights import Unpacked

if TYPE_CHECKING:
    from .model import Model

__all__ = ["Calibrated"]

_AT_ONCE = 4  # segments whose intermediate results are held
_GROUPS = (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("fc1",))  # that take the same rows


class Calibrated(Unpacked):
    """The tensors of a model; the matrices behind its norms as int8 with scales of rows and factors of columns.

    A column of a matrix is divided by its factor, and the same column of what enters it multiplied, so that neither has
    a few values that are much larger than the others: sqrt(largest weight / largest magnitude of the input), as
    SmoothQuant with alpha 1/2 (https://arxiv.org/abs/2211.10438). Without segments the norms' gains stand for the
    magnitudes.

    Parameters
    ----------
    model : Model
        In float32.
    x : Segments or array_like
        (n, 12, N), as for calling the model.

    Raises
    ------
    SignalError
        If `x` is not what the model takes, or empty.
    """

    def __init__(self, model: Model, x: Segments | ArrayLike) -> None:
        super().__init__(model._core)
        x = np.asarray(x) if isinstance(x, Segments) else real_array(x, "calibration")
        if len(x) == 0:
            raise SignalError("there are no segments", field="calibration")
        names = (name for name, _ in core().parameters(model.config, model.kind))
        self._prefix = next(name for name in names if name.endswith("layers.0.fc1.weight")).removesuffix("0.fc1.weight")
        self._magnitudes: dict[tuple[str, ...], NDArray[np.float32]] = {}
        for first in range(0, len(x), _AT_ONCE):
            self._observe(model, model.forward_trace(x[first : first + _AT_ONCE]))
        self._groups = {name: group for group in self._magnitudes for name in group}
        self._factors = {group: self._factors_of(group) for group in self._magnitudes}

    def _observe(self, model: Model, trace: dict[str, NDArray[Any]]) -> None:
        """Keep the largest magnitude of each column of what enters the matrices of each layer."""
        before = bool(model.config["layer_norm_first"])
        stream = trace["encoder_layer_norm"]
        if before:  # there the first layer takes the stream as it is; its norm comes last
            stream = trace["post_extract_proj"] if "post_extract_proj" in trace else trace["layer_norm"]
            stream = stream + trace["conv_pos"]
        for i in range(model.config["encoder_layers"]):
            layer = f"{self._prefix}{i}."
            middle = stream + trace[f"layer{i}_attn_out"]
            first, second = f"{layer}self_attn_layer_norm", f"{layer}final_layer_norm"
            inputs = stream, self._norm(middle, first)
            if before:
                inputs = self._norm(stream, first), self._norm(middle, second)
            for group, rows in zip(_GROUPS, inputs):
                names = tuple(f"{layer}{each}.weight" for each in group)
                largest = np.abs(rows).max(axis=(0, 1))
                self._magnitudes[names] = np.maximum(largest, self._magnitudes.get(names, largest))
            stream = trace[f"layer{i}"]

    def _norm(self, rows: NDArray[Any], name: str) -> NDArray[Any]:
        rows = rows - rows.mean(axis=-1, keepdims=True)
        rows = rows / np.sqrt(rows.var(axis=-1, keepdims=True) + 1e-5)
        gain, bias = super().__getitem__(f"{name}.weight"), super().__getitem__(f"{name}.bias")
        moved: NDArray[Any] = rows * gain + bias
        return moved

    def _factors_of(self, group: tuple[str, ...]) -> NDArray[np.float32]:
        largest = np.max([np.abs(super(Calibrated, self).__getitem__(name)).max(axis=0) for name in group], axis=0)
        magnitudes = self._magnitudes[group]
        counts = (largest > 0) & (magnitudes > 0)  # a column of zeros has no say
        factors = np.sqrt(np.where(counts, largest, 1) / np.where(counts, magnitudes, 1))
        found: NDArray[np.float32] = (factors / np.exp(np.log(factors).mean())).astype(np.float32)
        return found

    def __getitem__(self, name: str) -> Any:
        values = super().__getitem__(name)
        if name not in self._groups:
            return values
        factors = self._factors[self._groups[name]]
        smooth = values / factors
        scales = (np.abs(smooth).max(axis=1) / 127).astype(np.float32)
        numbers = np.rint(smooth / np.where(scales > 0, scales, 1)[:, None])
        return held_tensor(name, np.clip(numbers, -127, 127).astype(np.int8), scales, factors)

    def get(self, name: str) -> Any:
        return self[name]
