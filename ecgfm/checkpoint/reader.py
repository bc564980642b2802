"""Read a checkpoint of any format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._text import short, shown
from .._types import StrPath
from ..errors import CheckpointError, LabelError
from ..kernels import core
from ..specs.architecture import Architecture
from ..specs.inputs import ASSUMED, ECG_FM, SAMPLES, InputSpec
from ..specs.known import KNOWN, Known, Recognised
from ..specs.precision import UNROUNDED, Stated
from . import config as configuration
from . import labels as labelling
from .archive import Archive, read_zip
from .directory import WEIGHTS, description_of
from .inputs import find_input, seeming, stated_input
from .legacy import read_legacy
from .places import check_known, located
from .safetensors import SCALES, check_hash, read_tensors
from .storage import File, Tensor
from .walk import TooDeep, plain

__all__ = ["Checkpoint", "read"]

# In a directory, the first of these that is there.
FILES = (WEIGHTS, "checkpoint_best.pt", "checkpoint_last.pt")
MAX_TENSORS = 20_000

# PyTorch's old names of a weight-normed weight, and the new ones.
_RENAMED = {
    ".weight_g": ".parametrizations.weight.original0",
    ".weight_v": ".parametrizations.weight.original1",
}


class Checkpoint:
    """What a checkpoint holds; made by `read`. A context manager: the tensors live in the open file.

    Attributes
    ----------
    path : pathlib.Path
        The file that was read.
    format : {"pt", "pt-legacy", "safetensors"}
        torch's zip archive, torch's older container, or safetensors.
    kind : {"classifier", "pretraining", "encoder"}
        A pretraining model has the heads of pretraining; an encoder has no heads at all.
    config : dict
        The architecture under the keys of fairseq-signals; ``conv_feature_layers`` as a list of tuples.
    config_assumed : str or None
        What is assumed of it, where the file's configuration does not describe its tensors.
    settings : dict
        All settings of the model in the file, unchanged.
    tensors : dict of str to Tensor
        The model's tensors by name, in the order of the parameter table. ``np.asarray(tensor)`` gives float32.
    unused : tuple of str
        Tensors of the file that the model doesn't need.
    labels : tuple of str or None
        Names of the outputs.
    labels_source : str or None
        ``"file"``, ``"label_def.csv"``, ``"known model NAME"``, ``"built-in, assumed"``, ``"the caller"`` or None.
    cfg : dict or None
        The whole configuration of the run.
    extra_state : dict or None
        What else the trainer saved.
    content : dict
        Everything in the file but the model's tensors, as plain data.
    info : dict
        What the file says of the model, such as ``{"training": "none"}``.
    precision : Stated
        Which precision it is loaded in, and the report that is kept with it.
    input : InputSpec
        What the model takes.
    input_source : str
        Where that comes from: ``"the caller"``, a known model's entry, ``"file"``, the file's own keys, or
        ``"assumed: ..."``.
    id : str or None
        What ties ``model.safetensors`` and ``config.json`` of one save together.
    known : Known or None
        The known model that it was asked for as, by its name.
    recognised : Recognised or None
        What it seems to be, by its tensors and its configuration, where it was asked for by a path.
    refused : tuple of str
        What the file names that was not made: ``module.name`` of each placeholder.
    """

    def __init__(
        self,
        path: Path,
        format: str,
        kind: str,
        config: dict[str, Any],
        settings: dict[str, Any],
        tensors: dict[str, Tensor],
        unused: tuple[str, ...],
    ) -> None:
        self.path, self.format, self.kind, self.config, self.settings = path, format, kind, config, settings
        self.tensors, self.unused = tensors, unused
        self.config_assumed: str | None = None
        self.labels: tuple[str, ...] | None = None
        self.labels_source: str | None = None
        self.content: dict[str, Any] = {}
        self.info: dict[str, Any] = {}
        self.precision = UNROUNDED
        self.refused: tuple[str, ...] = ()
        self.id: str | None = None
        self.known: Known | None = None
        self.recognised: Recognised | None = None
        self._file: File | None = None
        self._archive: Archive | None = None
        self._stored_labels: Any = None
        self._said_input: tuple[InputSpec, str] | None = None
        self.stated_input: tuple[InputSpec, str] = ECG_FM, ASSUMED
        self._sha256: str | None = None

    @property
    def cfg(self) -> dict[str, Any] | None:
        found = self.content.get("cfg")
        return found if isinstance(found, dict) else None

    @property
    def input(self) -> InputSpec:
        return self.stated_input[0]

    @property
    def input_source(self) -> str:
        return self.stated_input[1]

    def of_run(self, group: str) -> dict[str, Any]:
        """A group of the configuration of the run that made it; empty where that is not known."""
        found = (self.cfg or {}).get(group)
        return found if isinstance(found, dict) else {}

    @property
    def extra_state(self) -> dict[str, Any] | None:
        found = self.content.get("extra_state")
        return found if isinstance(found, dict) else None

    @property
    def num_parameters(self) -> int:
        """int: elements of all tensors of the model together."""
        return sum(tensor.size for tensor in self.tensors.values())

    def verify(self) -> bool:
        """Check every member of the archive against its checksum, or all values against their hash, where it has one.

        `read` checks what it reads whole; it doesn't read all weights only to check them.

        Returns
        -------
        bool
            Whether there was anything to check them against.

        Raises
        ------
        CheckpointError
            If one differs: the file is damaged.
        """
        if self._archive is not None:
            return self._archive.verify()
        return self._file is not None and check_hash(self._file, self._sha256)

    def close(self) -> None:
        """Close the file. Arrays that were taken from it stay valid; tensors can't be read any more."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, {self.kind}, {self.num_parameters:,} parameters)"


def read(
    path: StrPath,
    *,
    labels: Sequence[str] | StrPath | None = None,
    config: dict[str, Any] | None = None,
    input: object = None,
) -> Checkpoint:
    """Open a checkpoint. No code in the file is run.

    Weights stay in the file until they are asked for: while a checkpoint is open its file may be replaced or deleted.

    Parameters
    ----------
    path : str or path-like
        A ``.pt`` file, a ``.safetensors`` file with its ``config.json`` beside it, or a directory with
        ``model.safetensors``, ``checkpoint_best.pt`` or ``checkpoint_last.pt``. If a text is none of these, the name of
        a known model (``ecgfm models`` lists them) or of a repository of the Hub.
    labels : sequence of str or path-like, optional
        Names of the outputs, or a CSV file with a column ``name``, instead of those found.
    config : dict, optional
        Settings of the model that replace those in the file, for one whose configuration is wrong.
    input : InputSpec, dict or str, optional
        What the model takes, or some fields of it, instead of what is found.

    Returns
    -------
    Checkpoint

    Raises
    ------
    CheckpointError
        If the file can't be read or had, is damaged, holds no ECG-FM model, or not the known model that was asked for.
    LabelError
        If the labels don't fit the model.
    ConfigError
        If `config` has a key that is not a setting of the architecture, or `input` is no specification or doesn't fit.
    """
    with located(path) as (place, known):
        file = File(_locate(place))
        try:
            found = _read_file(file, config)
            _set_known(found, known)
            _set_labels(found, labels)
            _set_input(found, input)
        except BaseException:
            file.close()
            raise
    found._file = file
    return found


def _locate(path: StrPath) -> Path:
    try:
        path = Path(path)
    except TypeError:
        what = f"not a path but of type {type(path).__name__}"
        raise CheckpointError(what, path=shown(path), remedy="Give the name of a file") from None
    if not os.path.isdir(path):
        return path
    for name in FILES:
        if os.path.lexists(path / name):
            return path / name
    remedy = f"It hides the known model {path}: work in another folder to have that" if str(path) in KNOWN else None
    raise CheckpointError(f"the directory has none of {', '.join(FILES)}", path=path, remedy=remedy)


def _read_safetensors(file: File, config: dict[str, Any] | None) -> Checkpoint:
    tensors, metadata = read_tensors(file)
    said = description_of(file.path, metadata)
    found = _assemble(file, "safetensors", tensors, said.settings, config)
    found.content = {"cfg": said.cfg | {"model": said.settings}}
    found.info, found.id, found._stored_labels = said.info, said.id, said.labels
    found.precision, found._said_input = said.precision, said.input
    found._file, found._sha256 = file, metadata.get("sha256")
    return found


def _read_file(file: File, config: dict[str, Any] | None) -> Checkpoint:
    head = file[:16]
    refused: dict[str, None] = {}
    archive = None
    if head.startswith(b"PK"):
        format, (value, archive) = "pt", read_zip(file, refused)
    elif head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        format, value = "pt-legacy", read_legacy(file, refused)
    elif len(head) > 8 and head[8:9] == b"{":
        return _read_safetensors(file, config)
    else:
        raise _unknown(file, head)
    try:
        content = plain(value)
    except TooDeep as error:
        raise CheckpointError(str(error), path=file.path, field="data.pkl") from None
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        there = content if isinstance(content, dict) else [type(content).__name__]
        raise CheckpointError(
            "there is no model in the file, only " + ", ".join(map(_name, list(there)[:8])),
            path=file.path,
            field="model",
            remedy="Give a checkpoint as fairseq-signals saves it, with 'cfg' (or 'args') and 'model'",
        )
    settings = configuration.settings_of(content)
    found = _assemble(file, format, content.pop("model"), settings, config)
    found.content, found.refused, found._archive = content, tuple(sorted(refused)), archive
    ours = (found.extra_state or {}).get("ecgfm")
    if isinstance(ours, dict):
        found.info = ours["info"] if isinstance(ours.get("info"), dict) else {}
        found._stored_labels = ours.get("labels")
        found.precision = Stated.read(ours.get("precision"), file.path)
        where = "extra_state.ecgfm.input"
        found._said_input = stated_input(ours.get("input"), ours.get("input_source"), file.path, where)
    return found


def _name(key: Any) -> str:
    """A key of a dictionary, for a message."""
    return short(key, 100) if isinstance(key, str) else shown(key)


def _unknown(file: File, head: bytes) -> CheckpointError:
    remedy = None
    if head.startswith(b"version https:/"):
        message, remedy = "this is a Git LFS pointer, not the file itself", "Fetch it with: git lfs pull"
    elif head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        message, remedy = "this is a web page, not a checkpoint", "Download the file itself"
    elif not any(head):
        message = "the file begins with zeros: it is damaged or was not downloaded to the end"
    else:
        message = "neither a .pt file of torch.save nor safetensors"
    return CheckpointError(message, path=file.path, remedy=remedy)


def _assemble(
    file: File, format: str, model: Mapping[Any, Any], settings: dict[str, Any] | None, changes: dict[str, Any] | None
) -> Checkpoint:
    """The Checkpoint of a state dict and its settings."""
    state = _with_scales(_state_dict(model, file.path), file.path)
    kind = configuration.kind_of(state)
    if kind is None:
        raise CheckpointError(
            "the model's tensors are not those of ECG-FM: none is named encoder.layers.*", path=file.path, field="model"
        )
    shapes = {name: tensor.shape for name, tensor in state.items()}
    architecture, assumed = configuration.found(settings, kind, shapes, changes, path=file.path)
    _check_work(architecture, SAMPLES, file.path)
    config = architecture.config()
    tensors = {name: state.pop(name) for name, _ in core().parameters(config, kind)}
    _check_values(tensors, file.path)
    found = Checkpoint(Path(file.path), format, kind, config, settings or {}, tensors, tuple(state))
    found.config_assumed = assumed
    return found


def _check_work(found: Architecture, samples: int, path: StrPath) -> None:
    """Raise if a segment would take far more time or memory than that of any ECG-FM."""
    if found.min_samples > configuration.MAX_SAMPLES:
        message = f"a segment needs at least {shown(found.min_samples)} samples, more than any recording has"
        raise CheckpointError(message, path=path, field="cfg.model.conv_feature_layers")
    steps = found.steps(samples)
    tokens = steps[-1]
    values = max(width * count for (width, _, _), count in zip(found.conv_feature_layers, steps))
    values += tokens * (tokens * found.encoder_attention_heads + found.encoder_ffn_embed_dim)
    values += 4 * tokens * found.encoder_embed_dim
    if 4 * values > configuration.MAX_WORK:
        raise CheckpointError(
            f"one segment of {samples} samples would take {4 * values:,} bytes, more than the"
            f" {configuration.MAX_WORK:,} that a model may take",
            path=path,
            field="cfg.model",
        )


def _state_dict(model: Mapping[Any, Any], path: StrPath) -> dict[str, Tensor]:
    """{name: tensor} under today's names."""
    if len(model) > MAX_TENSORS:
        raise CheckpointError(f"{len(model):,} tensors are more than any checkpoint's", path=path, field="model")
    state = {}
    for name, tensor in model.items():
        if not isinstance(name, str) or len(name) > 500 or not isinstance(tensor, Tensor):
            raise CheckpointError("not a tensor by its name", path=path, field=f"model.{_name(name)}")
        for old, new in _RENAMED.items():
            if name.endswith(old):
                name = name[: -len(old)] + new
        if name in state:
            raise CheckpointError("the tensor is there under its old and its new name", path=path, field=name)
        tensor.name = name
        state[name] = tensor
    return state


def _with_scales(state: dict[str, Tensor], path: StrPath) -> dict[str, Tensor]:
    """The same with int8 numbers and the scales of their rows and columns as one tensor."""
    for name in [name for name, tensor in state.items() if tensor.kind == "int8" and name + SCALES[0] in state]:
        tensor = state[name]
        if tensor.ndim != 2 or name + SCALES[1] not in state:
            raise CheckpointError("numbers in int8 that are no matrix, or have no factors", path=path, field=name)
        scales = tuple(state.pop(name + end) for end in SCALES)
        for end, scale, size in zip(SCALES, scales, tensor.shape):
            if scale.kind != "float32" or scale.shape != (size,):
                what = f"type {scale.kind} and shape {shown(scale.shape)}, not float32 of shape {(size,)}"
                raise CheckpointError(what, path=path, field=name + end)
        state[name] = tensor.scaled((scales[0], scales[1]))
    return state


def _check_values(tensors: Mapping[str, Tensor], path: StrPath) -> None:
    """Raise unless the values are real numbers, and no more of them than the file has."""
    total = 0
    claimed: dict[Any, int] = {}
    for name, tensor in tensors.items():
        if not tensor.is_float:
            raise CheckpointError(f"the values are of type {tensor.dtype}, not real numbers", path=path, field=name)
        total += tensor.size
        source = tensor.source
        claimed[source] = claimed.get(source, 0) + tensor.nbytes
        if claimed[source] > source.length:
            raise CheckpointError("the tensor shares values with another one", path=path, field=name)
    if total > configuration.MAX_PARAMETERS:
        raise CheckpointError(
            f"{total:,} parameters are more than the {configuration.MAX_PARAMETERS:,} that are read",
            path=path,
            field="model",
        )


def _set_known(found: Checkpoint, known: Known | None) -> None:
    """Note which published model it is, or seems to be; raise if it is not the one that was asked for."""
    architecture = Architecture.of_config(found.config)
    if known is None:
        stored = found._stored_labels
        names = tuple(stored) if isinstance(stored, (list, tuple)) else None
        found.recognised = seeming(_configuration(found), architecture, names)
    else:
        check_known(known, found.kind, architecture.num_labels or 0, found.path)
        found.known = known
        if known.caveat is not None:
            found.info.setdefault("caveat", known.caveat)


def _configuration(found: Checkpoint) -> dict[str, Any]:
    """What of a file's content says how it was trained."""
    return found.content if found.cfg is None else {"cfg": found.cfg | {"model": found.settings}}


def _set_labels(found: Checkpoint, labels: Sequence[str] | StrPath | None) -> None:
    if found.kind != "classifier":
        if labels is not None:
            raise LabelError(f"a model of kind {found.kind} has no outputs to name", path=found.path, field="labels")
        return
    count = found.config["num_labels"]
    found.info = labelling.with_target(found.info, found.of_run("criterion"), count)
    if labels is not None:
        found.labels, found.labels_source = labelling.check_labels(labels, count), "the caller"
        return
    folder = os.path.dirname(found.path) or "."
    found.labels, found.labels_source = labelling.find_labels(
        count, found._stored_labels, found.path, folder, found.known, numbers=found.info.get("target") is not None
    )


def _set_input(found: Checkpoint, given: object) -> None:
    architecture = Architecture.of_config(found.config)
    known, content = found.known or found.recognised, _configuration(found)
    found.stated_input = find_input(given, found._said_input, content, architecture, found.path, known)
    if found.input.samples > SAMPLES:
        _check_work(architecture, found.input.samples, found.path)
