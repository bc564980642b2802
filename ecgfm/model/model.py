"""The model: load a checkpoint, run segments through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import checkpoint
from .._text import printable, short
from .._types import StrPath
from ..checkpoint.labels import check_labels
from ..ecg import Segments
from ..ecg.expected import refuse_other_order, warn_unprepared
from ..errors import CheckpointError, ConfigError, Error, LabelError, SignalError
from ..kernels import core
from ..signal.profile import profile_of
from ..specs.architecture import Architecture, architecture_keys
from ..validation import Whole, checked, refuse_masked
from .output import Output
from .segments import checked_segments

__all__ = ["Model", "Output", "load"]

_LARGEST = 1e9  # beyond this, values of segments are what makes the results overflow
# What `info["training"]` amounts to, where the file has no caveat of its own.
_CAVEATS = {
    "none": "This model is untrained: what it says means nothing",
    "simulated patients": "This model knows simulated patients only: what it says of real recordings means nothing",
}
# Parts of a pretraining model that an encoder does without.
_PRETRAINING_ONLY = ("mask_emb", "quantizer.", "project_q.", "target_glu.", "final_proj.")


class Model:
    """An ECG-FM network with its weights: a classifier, or an encoder without labels.

    Made by `ecgfm.load` or `Model.from_state_dict`. A model never changes; several threads may call one at a time.

    Attributes
    ----------
    config : dict
        The architecture under the keys of fairseq-signals.
    kind : {"classifier", "encoder"}
        An encoder comes from a pretraining checkpoint; it gives embeddings and tokens but no logits.
    labels : tuple of str or None
        Names of the outputs; None if they are not known or there are none.
    labels_assumed : bool
        True if the names are those of the published MIMIC-IV-ECG model, taken because the file names none.
    labels_source : str or None
        Where the names come from.
    info : dict
        What else the file says of the model, such as ``{"training": "none"}``.
    caveat : str or None
        What who reads its answers must know, such as that it knows simulated patients only.
    profile : str
        How the recordings that it was trained on were prepared: ``"tutorial"`` or ``"pipeline"``.
    profile_assumed : bool
        True if the file does not say that.
    source : str or None
        The file or directory it was read from.
    precision : str
        ``"float32"``.
    """

    def __init__(
        self,
        core_model: Any,
        config: Mapping[str, Any],
        kind: str,
        *,
        labels: tuple[str, ...] | None = None,
        labels_source: str | None = None,
        info: Mapping[str, Any] | None = None,
        source: str | None = None,
    ) -> None:
        self._core = core_model
        self._config = dict(config)
        self._architecture = _architecture(self._config, kind)
        self.kind = kind
        self.labels = labels
        self.labels_source = labels_source if labels else None
        self.info = dict(info or {})
        self.source = source
        self.precision = "float32"
        self._warned = False

    @classmethod
    def from_state_dict(
        cls,
        config: Mapping[str, Any],
        state_dict: Mapping[str, ArrayLike],
        kind: str = "classifier",
        labels: Sequence[str] | None = None,
    ) -> Model:
        """A model from arrays.

        Parameters
        ----------
        config : dict
            The architecture under the keys of fairseq-signals; ``conv_feature_layers`` as text or as a list of
            (width, kernel, stride).
        state_dict : mapping of str to array_like
            Checkpoint name -> values; converted to float32 and copied.
        kind : {"classifier", "encoder", "pretraining"}
            A pretraining model becomes an encoder: its quantizer and heads may be there and are left out.
        labels : sequence of str, optional
            Names of the outputs of a classifier.

        Raises
        ------
        ConfigError
            If the configuration lacks a key or a value is out of range.
        CheckpointError
            If a tensor is missing, unknown, of another shape, or not finite.
        LabelError
            If the labels don't fit.
        """
        if kind not in ("classifier", "encoder", "pretraining"):
            raise ConfigError(f"{kind!r} is not 'classifier', 'encoder' or 'pretraining'", field="kind")
        kind = "encoder" if kind == "pretraining" else kind
        config = dict(config) | _architecture(config, kind).config()
        expected = {name for name, _ in core().parameters(config, kind)}
        for name in state_dict:
            if name not in expected and not str(name).startswith(_PRETRAINING_ONLY):
                raise CheckpointError("the configuration has no such tensor", field=name)
        labels = _checked_labels(labels, config, kind)
        return cls(_fill(config, kind, state_dict), config, kind, labels=labels, labels_source="the caller")

    @property
    def config(self) -> dict[str, Any]:
        return dict(self._config)

    @property
    def labels_assumed(self) -> bool:
        return self.labels_source is not None and "assumed" in self.labels_source

    @property
    def caveat(self) -> str | None:
        return caveat_of(self.info)

    @property
    def profile(self) -> str:
        return profile_of(self.info)[0]

    @property
    def profile_assumed(self) -> bool:
        return profile_of(self.info)[1]

    @property
    def num_labels(self) -> int:
        """int: number of outputs Y; 0 for an encoder."""
        return int(self._config["num_labels"]) if self.kind == "classifier" else 0

    @property
    def num_parameters(self) -> int:
        """int: number of weights of all tensors together."""
        return sum(int(np.prod(shape)) for _, shape in core().parameters(self._config, self.kind))

    @property
    def min_samples(self) -> int:
        """int: the shortest segment, in samples, that gives a token."""
        return int(self._core.min_samples())

    def tokens(self, samples: int = 2500) -> int:
        """The number of tokens T that a segment of this many samples gives."""
        return int(self._core.tokens(int(samples)))

    def state_dict(self) -> dict[str, NDArray[np.float32]]:
        """All tensors as float32 arrays by checkpoint name, copied, to the bit as they were loaded."""
        return {name: self._core.get(name) for name, _ in core().parameters(self._config, self.kind)}

    def save(self, path: StrPath, *, force: bool = False) -> list[Path]:
        """Write the model: to ``NAME.pt``, ``NAME.safetensors`` or a model directory, which `ecgfm.load` reads.

        Parameters
        ----------
        path : str or path-like
        force : bool
            Replace files that are there.

        Returns
        -------
        list of pathlib.Path
            The files written.

        Raises
        ------
        CheckpointError
            If a file exists or can't be written.
        """
        labels = None if self.labels_assumed else self.labels
        return checkpoint.save(
            path,
            kind=self.kind,
            config=self._config,
            tensors=self.state_dict(),
            labels=labels,
            info=self.info,
            force=force,
        )

    def __repr__(self) -> str:
        c = self._config
        outputs = f"{self.num_labels} labels" if self.kind == "classifier" else "encoder only"
        caveat = f", caveat={self.caveat!r}" if self.caveat else ""
        return (
            f"Model({c['encoder_layers']} layers of width {c['encoder_embed_dim']}, {outputs}, "
            f"{self.num_parameters:,} parameters, {self.precision}, source={self.source!r}{caveat})"
        )

    def __call__(
        self,
        x: Segments | ArrayLike,
        padding_mask: ArrayLike | None = None,
        *,
        attention: bool = False,
        layer: int | None = None,
    ) -> Output:
        """Run segments through the network.

        Parameters
        ----------
        x : Segments or array_like
            (B, L, N) real numbers of any type, layout and byte order; each lead standardised, 500 Hz, leads in the
            order of `ecgfm.LEADS` (what `ecgfm.prepare` gives). N is usually 2500; any length that gives a token is
            accepted.
        padding_mask : array_like of bool, optional
            (B, N) or (B, L, N), True = padding; padding is at the end of a row, equal on all leads. By default that
            of `x` if it is a Segments. What `x` holds there is taken as 0; a warning says where it is something else.
        attention : bool
            Also give the attention weights of all layers.
        layer : int, optional
            Give `tokens` and `embedding` of this transformer layer (0 = first) instead of the encoder's output. The
            logits are the same.

        Returns
        -------
        Output

        Raises
        ------
        SignalError
            If `x` or `padding_mask` has a wrong shape or type, is empty, or holds NaN or infinity.
        CheckpointError
            If the weights are such that the results are not numbers.
        ConfigError
            If there is no such layer.
        MemoryError
            If the batch does not fit in memory.

        Warns
        -----
        InputWarning
            Once per model, if an array is evidently not prepared: of another length than 2500 samples, or with values
            that no standardised lead has, such as millivolts.
        """
        layer = self._check_layer(layer)
        refuse_other_order(x, "x")
        checked, valid = checked_segments(x, padding_mask, self._architecture)
        if not self._warned:
            self._warned = warn_unprepared(x if isinstance(x, Segments) else checked, stacklevel=3)
        found = self._core.forward(checked, valid, tokens=True, attention=bool(attention), layer=layer)
        if not np.isfinite(found["embedding"] if found["logits"] is None else found["logits"]).all():
            raise self._not_finite(checked)
        return Output(found["logits"], found["embedding"], found["tokens"], found["attention"], self.labels)

    def forward_trace(self, x: Segments | ArrayLike, padding_mask: ArrayLike | None = None) -> dict[str, NDArray[Any]]:
        """Every intermediate result of one forward, for comparing implementations.

        Parameters
        ----------
        x, padding_mask
            As for calling the model.

        Returns
        -------
        dict of str to ndarray
            ``convI_raw`` and ``convI`` (B, K, steps) before and after norm and GELU, ``layer_norm`` (B, T, K),
            ``post_extract_proj``, ``conv_pos``, ``encoder_layer_norm``, ``layerI_attn_out``, ``layerI``,
            ``encoder_out`` (B, T, C), ``saliency`` (B, layers, T, T), ``pooled`` (B, C), ``padding_mask_out`` (B, T)
            bool where rows are padded, and for a classifier ``logits`` and ``probs`` (B, Y). What the architecture
            lacks is absent.
        """
        refuse_other_order(x, "x")
        segments, valid = checked_segments(x, padding_mask, self._architecture)
        found = self._core.forward(segments, valid, attention=True, trace=True)
        out = Output(found["logits"], found["embedding"], found["tokens"])
        trace: dict[str, NDArray[Any]] = found["trace"] | {"saliency": found["attention"], "pooled": out.embedding}
        if valid is not None:
            counts = np.array([self.tokens(n) for n in valid])
            trace["padding_mask_out"] = np.arange(self.tokens(segments.shape[2])) >= counts[:, None]
        if out.logits is not None:
            trace |= {"logits": out.logits, "probs": np.asarray(out.probabilities)}
        return trace

    def _not_finite(self, x: NDArray[np.float32]) -> Error:
        """The error for segments of real numbers of which the network makes none: what is out of all proportion."""
        largest = float(np.abs(x).max())
        if largest > _LARGEST:
            return SignalError(
                f"the values reach {largest:.3g}, of which the network can make no numbers",
                field="x",
                remedy="Prepare each recording first: ecgfm.prepare",
            )
        names = [name for name, _ in core().parameters(self._config, self.kind)]
        weights = {name: float(np.abs(self._core.get(name)).max()) for name in names}
        name = max(names, key=lambda each: weights[each])
        return CheckpointError(
            f"the network's results are not numbers (NaN or infinity); its largest weight is {weights[name]:.3g}",
            path=self.source,
            field=name,
            remedy="The weights are damaged, or not those of a trained model",
        )

    def _check_layer(self, layer: int | None) -> int:
        last = self._architecture.encoder_layers - 1
        return -1 if layer is None else int(checked(layer, Whole(0, last), "layer"))


def load(source: StrPath, *, precision: str = "float32", labels: Sequence[str] | StrPath | None = None) -> Model:
    """Load a model.

    Parameters
    ----------
    source : str or path-like
        A ``.pt`` file as fairseq-signals writes and ECG-FM publishes it, a ``.safetensors`` file with its
        ``config.json``, or a directory that holds one. Or a model of the Hugging Face Hub (extra ``[hub]``):
        ``owner/name``, ``owner/name:file.pt``, either with ``@revision`` after the name. No code in a file is run.
    precision : {"float32"}
        Number type of the matrix products.
    labels : sequence of str or path-like, optional
        Names of the outputs, or a ``label_def.csv`` that lists them in its column ``name``. By default those in the
        file, else those of a ``label_def.csv`` beside it, else, for 17 outputs, the names of ECG-FM's published
        MIMIC-IV-ECG model, marked as assumed.

    Returns
    -------
    Model
        A classifier; an encoder if the checkpoint is one of pretraining.

    Raises
    ------
    CheckpointError
        If the file is damaged, hostile, or no ECG-FM checkpoint, or can't be downloaded.
    LabelError
        If the labels don't fit the model.
    ConfigError
        If the precision is not known.
    MissingExtraError
        If the Hub is asked for and huggingface_hub isn't installed.
    MemoryError
        If the weights do not fit in memory.

    Examples
    --------
    >>> model = ecgfm.load("mimic_iv_ecg_finetuned.pt")
    >>> model.labels[1]
    'Sinus rhythm'
    """
    if precision != "float32":
        raise ConfigError(f"the precision {precision!r} is not known", field="precision", remedy='Give "float32"')
    name = checkpoint.hub_name(source)
    with checkpoint.read(source if name is None else checkpoint.fetch(name), labels=labels) as found:
        kind = "classifier" if found.kind == "classifier" else "encoder"
        return Model(
            _fill(found.config, kind, found.tensors, path=found.path),
            found.config,
            kind,
            labels=found.labels,
            labels_source=found.labels_source,
            info=found.info,
            source=str(found.path),
        )


def _fill(config: Mapping[str, Any], kind: str, tensors: Mapping[str, Any], path: StrPath | None = None) -> Any:
    """A core model with every tensor copied in; each file-backed tensor gives its memory back at once."""
    made = core().Model(config, kind)
    for name, shape in core().parameters(config, kind):
        if name not in tensors:
            raise CheckpointError("the tensor is missing", path=path, field=name)
        tensor = tensors[name]
        values = _float32(tensor, path, name)
        if values.shape != shape:
            raise CheckpointError(
                f"the shape is {values.shape}, the configuration asks for {shape}", path=path, field=name
            )
        try:
            _check_norm(name, values, path)
            made.set(name, values)
        except Error as error:
            raise CheckpointError(error.message, path=path, field=name) from None
        del values
        if hasattr(tensor, "release"):
            tensor.release()
    made.finish()
    return made


def _check_norm(name: str, values: NDArray[np.float32], path: StrPath | None) -> None:
    """The weights of the positional convolution are divided by their norm at each place, which can't be 0."""
    if name.endswith("pos_conv.0.parametrizations.weight.original1") and not values.any(axis=(0, 1)).all():
        what = "all values at one place of the kernel are 0: they have no direction"
        raise CheckpointError(what, path=path, field=name)


def _float32(tensor: Any, path: StrPath | None, name: str) -> NDArray[np.float32]:
    refuse_masked(tensor, name, CheckpointError)
    try:
        array = np.asarray(tensor)
    except (TypeError, ValueError) as error:
        if isinstance(error, Error):
            raise
        raise CheckpointError(f"not an array: {error}", path=path, field=name) from None
    if array.dtype.kind not in "iuf":
        raise CheckpointError(f"the values are of type {array.dtype}, not real numbers", path=path, field=name)
    with np.errstate(over="ignore"):
        return np.require(array, np.float32, ["C", "ALIGNED"])


def _architecture(config: Mapping[str, Any], kind: str) -> Architecture:
    """The architecture in a configuration, which may have more keys than those."""
    keys = {key: config[key] for key in architecture_keys(kind) if key in config}
    return Architecture.of_kind(kind, keys, complete=True)


def _checked_labels(labels: Sequence[str] | None, config: Mapping[str, Any], kind: str) -> tuple[str, ...] | None:
    if labels is None:
        return None
    if kind == "encoder":
        raise LabelError("an encoder has no outputs to name", field="labels")
    return check_labels(labels, int(config["num_labels"]))


def caveat_of(info: Mapping[str, Any]) -> str | None:
    """The caveat in a model's `info`, short and printable; None if it has none."""
    card = info.get("card")
    for place in (info, card if isinstance(card, dict) else {}):
        said = place.get("caveat")
        if isinstance(said, str) and said.strip():
            return short(printable(" ".join(said[:2000].split())), 300)
    training = info.get("training")
    return _CAVEATS.get(training) if isinstance(training, str) else None
