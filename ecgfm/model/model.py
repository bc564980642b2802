"""The model: segments in, what the network makes of them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import checkpoint
from .._types import StrPath
from ..checkpoint.inputs import assumed_input, given_input
from ..checkpoint.labels import check_labels
from ..ecg import Segments
from ..ecg.expected import refuse_other_input, refuse_other_order, warn_unprepared
from ..errors import CheckpointError, ConfigError, LabelError
from ..kernels import core
from ..signal.profile import profile_of
from ..specs.architecture import Architecture, architecture_keys
from ..specs.inputs import InputSpec
from ..specs.label_sets import groups_of
from ..specs.precision import FLOAT32, INT8, UNROUNDED, Stated
from ..validation import Whole, checked
from .answers import Answers
from .calibration import Calibrated
from .caveats import caveat_of
from .output import Output, channels_first
from .precision import choose, exact, report_of
from .report import QuantizationReport
from .segments import checked_segments, not_finite
from .weights import Unpacked, filled, held

__all__ = ["Model", "Output"]

# Parts of a pretraining model that an encoder does without.
_PRETRAINING_ONLY = ("mask_emb", "quantizer.", "project_q.", "target_glu.", "final_proj.")


class Model:
    """An ECG-FM network with its weights: a classifier, or an encoder without labels.

    Made by `ecgfm.load` or `Model.from_state_dict`. A model never changes; several threads may call it at once. Pickles
    and deep copies hold its weights, as plain data.

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
    input : InputSpec
        What it takes; `ecgfm.prepare` and all that reads recordings for the model follow it.
    input_source : str
        Where that comes from: ``"the caller"``, ``"file"``, a known model, the file's own keys.
    input_assumed : bool
        True if some of it is assumed, because nothing says it.
    target : Target or None
        Of a regression model: mean, deviation and unit of the numbers that its outputs stand for. None of others.
    calibration : Calibration or None
        How its logits become probabilities that can be trusted, which `ecgfm.predict` gives; see `ecgfm.calibrate`.
    thresholds_chosen : Thresholds or None
        What `thresholds` are, and how they were chosen.
    uncalibrated : bool
        Whether it had a calibration that was left out, as ``predict(..., calibrated=False)`` does.
    caveat : str or None
        What who reads its answers must know, such as that it knows simulated patients only.
    profile : str
        How the recordings that it was trained on were prepared: ``"tutorial"`` or ``"pipeline"``.
    profile_assumed : bool
        True if the file does not say that.
    source : str or None
        The file or directory it was read from.
    precision : str
        In which it computes: ``"float32"``, ``"bfloat16"`` or ``"int8"``.
    precision_reason : str or None
        What there is to be said of that, such as why ``precision="auto"`` took it.
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
        precision: tuple[str, str | None] = (FLOAT32, None),
        stated: Stated = UNROUNDED,
        input: tuple[InputSpec, str] | None = None,
    ) -> None:
        self._core = core_model
        self._config = dict(config)
        self._architecture = _architecture(self._config, kind)
        self.kind = kind
        self.labels = labels
        self.labels_source = labels_source if labels else None
        self.info = dict(info or {})
        self.source = source
        self.precision, self.precision_reason = precision
        self._stated = stated
        least = self._architecture.min_samples
        self.input, self.input_source = input or assumed_input(self._architecture.in_d, least)
        self._warned: set[str] = set()  # causes
        said = Answers.read(self.info if self.num_labels else {}, self.num_labels, source)
        self.target, self.calibration, self.thresholds_chosen = said.target, said.calibration, said.thresholds
        self.uncalibrated = False

    @classmethod
    def from_state_dict(
        cls,
        config: Mapping[str, Any],
        state_dict: Mapping[str, ArrayLike],
        kind: str = "classifier",
        labels: Sequence[str] | None = None,
        precision: str = FLOAT32,
        input: InputSpec | Mapping[str, Any] | str | None = None,
        info: Mapping[str, Any] | None = None,
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
        precision : str
            As of `ecgfm.load`.
        input : InputSpec, dict or str, optional
            What it takes, as of `ecgfm.load`; by default as ECG-FM, which is assumed.
        info : dict, optional
            What else there is to be said of it, such as its ``target``.

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
        chosen = choose(precision, UNROUNDED)
        architecture = _architecture(config, kind)
        found = assumed_input(architecture.in_d, architecture.min_samples)
        taken = found if input is None else given_input(input, found, architecture)
        made = filled(config, kind, state_dict, chosen[0])
        return cls(
            made, config, kind, labels=labels, labels_source="the caller", info=info, precision=chosen, input=taken
        )

    def with_precision(self, precision: str, calibration: Segments | ArrayLike | None = None) -> Model:
        """The same model in another precision; itself if it has that one. What rounding has taken doesn't come back.

        Parameters
        ----------
        precision : {"float32", "bfloat16", "int8"}
        calibration : Segments or array_like, optional
            Of int8: (n, 12, N) a few segments, as for calling the model. They help models with outliers.

        Raises
        ------
        ConfigError
            If the precision is not known, or the processor lacks the instructions; or there are segments but no float32
            weights that become int8.
        """
        stated = self._saved(None)
        chosen = choose(precision, stated)
        if calibration is not None and (precision != INT8 or self.precision != FLOAT32 or not exact(self._stated)):
            raise ConfigError("only float32 weights that become int8 are calibrated", field="calibration")
        if chosen[0] == self.precision:
            return self
        tensors = Unpacked(self._core) if calibration is None else Calibrated(self, calibration)
        made = filled(self._config, self.kind, tensors, chosen[0])
        model = Model(made, self._config, self.kind, labels=self.labels, labels_source=self.labels_source,
                      info=self.info, source=self.source, precision=chosen, stated=stated,
                      input=(self.input, self.input_source))  # fmt: skip
        return model

    @property
    def report(self) -> QuantizationReport | None:
        """QuantizationReport or None: that which is kept with the model."""
        return report_of(self._stated, self.source)

    @property
    def config(self) -> dict[str, Any]:
        return dict(self._config)

    @property
    def labels_assumed(self) -> bool:
        return self.labels_source is not None and "assumed" in self.labels_source

    @property
    def input_assumed(self) -> bool:
        return "assumed" in self.input_source

    @property
    def label_groups(self) -> dict[str, tuple[str, ...]] | None:
        """dict or None: group -> labels, for reading, such as ``rhythm``; those of no known group are under ``other``.

        In the model's order; a label may stand in two groups. None without label names.
        """
        return None if self.labels is None else groups_of(self.labels)

    @property
    def thresholds(self) -> dict[str, float] | None:
        """dict or None: label -> the probability above which it counts as there, of calibrated probabilities where the
        model has a `calibration`; labels without one are left out. See `ecgfm.calibrate`."""
        if self.thresholds_chosen is None:
            return None
        names = self.labels or tuple(f"label_{i}" for i in range(self.num_labels))
        return {name: value for name, value in zip(names, self.thresholds_chosen.values) if value is not None}

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

    def tokens(self, samples: int | None = None) -> int:
        """The number of tokens T that a segment of this many samples gives; by default of as many as it takes."""
        return int(self._core.tokens(self.input.samples if samples is None else int(samples)))

    def state_dict(self) -> dict[str, NDArray[np.float32]]:
        """All tensors as float32 arrays by checkpoint name, copied, to the bit as they were loaded.

        In another precision than float32, those that it rounds come rounded.
        """
        return {name: self._core.get(name) for name in self._names()}

    def save(
        self, path: StrPath, *, report: QuantizationReport | None = None, force: bool = False, **more: Any
    ) -> list[Path]:
        """Write the model: to ``NAME.pt``, ``NAME.safetensors`` or a model directory, which `ecgfm.load` reads.

        The numbers are written as the model holds them: bfloat16, or int8 with their scales beside them. It
        loads faster so, and to the same bits. A ``.pt``, which the original reads, gets float32 and says in which
        precision they were.

        Parameters
        ----------
        path : str or path-like
        report : QuantizationReport, optional
            To keep with the model; by default its own.
        force : bool
            Replace files that are there.
        **more
            ``settings`` and ``cfg`` of the checkpoint that the model comes from, as of `ecgfm.checkpoint.save`.

        Returns
        -------
        list of pathlib.Path
            The files written.

        Raises
        ------
        CheckpointError
            If a file exists or can't be written.
        """
        as_it_is = self.precision == FLOAT32 or checkpoint.is_pt(path)
        return checkpoint.save(
            path,
            kind=self.kind,
            config=self._config,
            tensors=self.state_dict() if as_it_is else held(self._core, self._names()),
            labels=None if self.labels_assumed else self.labels,
            info=self.info,
            precision=self._saved(report),
            input=(self.input, self.input_source),
            force=force,
            **more,
        )

    def _saved(self, report: QuantizationReport | None) -> Stated:
        """What a file of this model says of its precision."""
        numbers = self.precision if exact(self._stated) else self._stated.numbers
        return Stated(self.precision, numbers, self._stated.report if report is None else report.to_dict())

    def _names(self) -> list[str]:
        return [name for name, _ in core().parameters(self._config, self.kind)]

    def __repr__(self) -> str:
        c = self._config
        what = "labels" if self.target is None else "numbers"
        outputs = f"{self.num_labels} {what}" if self.kind == "classifier" else "encoder only"
        caveat = f", caveat={self.caveat!r}" if self.caveat else ""
        taken = f"{self.input} ({self.input_source.partition(':')[0]})"
        return (
            f"Model({c['encoder_layers']} layers of width {c['encoder_embed_dim']}, {outputs}, "
            f"{self.num_parameters:,} parameters, {self.precision}, input={taken!r}, source={self.source!r}{caveat})"
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
            (B, L, N) real numbers of any type, layout and byte order, as `input` says (what ``ecgfm.prepare(record,
            model)`` gives). Any N that gives a token is accepted.
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
            If `x` or `padding_mask` has a wrong shape or type, is empty, or holds NaN or infinity; or `x` is Segments
            that were prepared for another rate, unit, normalisation or order of leads.
        CheckpointError
            If the weights are such that the results are not numbers.
        ConfigError
            If there is no such layer.
        MemoryError
            If the batch does not fit in memory.

        Warns
        -----
        InputWarning
            Once per model and cause, if an array is evidently not what the model takes: of another length, or with
            values that no standardised lead has, such as millivolts, or that are no such unit.
        """
        layer = self._check_layer(layer)
        refuse_other_order(x, "x", self.input)
        refuse_other_input(x, self.input)
        checked, valid = checked_segments(x, padding_mask, self._architecture)
        warn_unprepared(x if isinstance(x, Segments) else checked, self.input, said=self._warned, stacklevel=3)
        found = self._core.forward(checked, valid, tokens=True, attention=bool(attention), layer=layer)
        if not np.isfinite(found["embedding"] if found["logits"] is None else found["logits"]).all():
            raise not_finite(checked, self._names(), self._core.get, self.source)
        return Output(
            found["logits"], found["embedding"], found["tokens"], found["attention"], self.labels, self.target
        )

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
            bool where rows are padded, and for a classifier ``logits`` and ``probs`` (B, Y), of numbers ``logits``
            alone. What the architecture lacks is absent.
        """
        refuse_other_order(x, "x", self.input)
        segments, valid = checked_segments(x, padding_mask, self._architecture)
        found = self._core.forward(segments, valid, attention=True, trace=True)
        out = Output(found["logits"], found["embedding"], found["tokens"])
        trace = channels_first(found["trace"]) | {"saliency": found["attention"], "pooled": out.embedding}
        if valid is not None:
            counts = np.array([self.tokens(n) for n in valid])
            trace["padding_mask_out"] = np.arange(self.tokens(segments.shape[2])) >= counts[:, None]
        if out.logits is not None:
            trace |= {"logits": out.logits}
        if out.logits is not None and self.target is None:
            trace |= {"probs": np.asarray(out.probabilities)}
        return trace

    def _check_layer(self, layer: int | None) -> int:
        last = self._architecture.encoder_layers - 1
        return -1 if layer is None else int(checked(layer, Whole(0, last), "layer"))


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
