"""From a checkpoint to a model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import checkpoint
from .._text import printable
from .._types import StrPath
from ..checkpoint.labels import assumption
from ..errors import InputWarning
from ..specs.inputs import InputSpec
from .model import Model
from .precision import check_asked, choose
from .weights import filled

__all__ = ["convert_rounded", "load"]


def load(
    source: StrPath,
    *,
    precision: str | None = None,
    labels: Sequence[str] | StrPath | None = None,
    max_change: float = 0.01,
    input: InputSpec | Mapping[str, Any] | str | None = None,
) -> Model:
    """Load a model.

    Parameters
    ----------
    source : str or path-like
        A ``.pt`` file as fairseq-signals writes and ECG-FM publishes it, a ``.safetensors`` file with its
        ``config.json``, or a directory that holds one. Or the name of a known model, such as ``"ecg-fm"``, which
        ``ecgfm models`` lists; or a model of the Hugging Face Hub: ``owner/name``, ``owner/name:file.pt``, either with
        ``@revision`` after the name. Both are downloaded (extra ``[hub]``). A path that is there wins over a name. No
        code in a file is run.
    precision : {"float32", "bfloat16", "int8", "auto"}, optional
        Number type of the weights and of the matrix products; by default float32, or that in which the model was saved.
        ``"auto"`` takes the fastest that this processor has and whose largest change of a probability, in the report
        that is kept with the model, is below `max_change`; without a report, float32. See `ecgfm.quantization_report`.
    labels : sequence of str or path-like, optional
        Names of the outputs, or a ``label_def.csv`` that lists them in its column ``name``. By default those in the
        file, else those of a ``label_def.csv`` beside it, else those of the known model that `source` names, else, for
        17, 26 or 77 outputs, those of the published model that has as many, marked as assumed.
    max_change : float
        Of a probability, for ``precision="auto"``.
    input : InputSpec, dict or str, optional
        What the model takes (`ecgfm.InputSpec`): whole, or as some of its fields, which replace those that are found.
        Text is ``sampling_rate=250,normalisation=none``. By default it is found: in what was saved with the model, by
        which known model it is, by the file's own keys; else it is ECG-FM's, marked as assumed. `Model.input_source`
        says which.

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
        If the precision is not known, or the processor lacks the instructions that it needs; or `input` is no
        specification, or not one that the network can take.
    MissingExtraError
        If the Hub is asked for and huggingface_hub isn't installed.
    MemoryError
        If the weights do not fit in memory.

    Warns
    -----
    InputWarning
        If the names of the labels are assumed, or the network, where a file's configuration does not describe it.

    Examples
    --------
    >>> model = ecgfm.load("mimic_iv_ecg_finetuned.pt")
    >>> model.labels[1]
    'Sinus rhythm'
    """
    check_asked(precision, max_change)
    with checkpoint.read(source, labels=labels, input=input) as found:
        model = _model_of(found, *choose(precision, found.precision, max_change, source))
    if model.labels_assumed and model.labels is not None:
        warnings.warn(f"{assumption(model.labels)} (labels=... names others)", InputWarning, stacklevel=2)
    if found.config_assumed is not None:
        warnings.warn(f"{printable(found.path)}: {found.config_assumed}", InputWarning, stacklevel=2)
    return model


def convert_rounded(
    source: StrPath,
    destination: StrPath,
    precision: str,
    *,
    labels: Sequence[str] | StrPath | None = None,
    config: dict[str, Any] | None = None,
    force: bool = False,
    input: InputSpec | Mapping[str, Any] | str | None = None,
) -> list[Path]:
    """Write the model of a checkpoint for inference in a precision: its weights are rounded to that.

    Parameters
    ----------
    source, destination, labels, config, force, input
        As for `ecgfm.checkpoint.convert`. Of a pretraining checkpoint the encoder is written. A ``.pt`` gets the
        rounded weights as float32.
    precision : {"bfloat16", "int8"}

    Returns
    -------
    list of pathlib.Path
        The files written.

    Raises
    ------
    CheckpointError, LabelError
        As for `ecgfm.checkpoint.convert`.
    ConfigError
        If the precision is not known, or the processor lacks the instructions that it needs.
    """
    check_asked(precision, 1.0)
    with checkpoint.read(source, labels=labels, config=config, input=input) as found:
        found.verify()
        model = _model_of(found, *choose(precision, found.precision))
        same = model.kind == found.kind
        return model.save(destination, force=force, settings=found.settings if same else None, cfg=found.cfg)


def _model_of(found: checkpoint.Checkpoint, precision: str, reason: str | None) -> Model:
    kind = "classifier" if found.kind == "classifier" else "encoder"
    return Model(
        filled(found.config, kind, found.tensors, precision, found.path),
        found.config,
        kind,
        labels=found.labels,
        labels_source=found.labels_source,
        info=found.info,
        source=str(found.path),
        precision=(precision, reason),
        stated=found.precision,
        input=found.stated_input,
    )
