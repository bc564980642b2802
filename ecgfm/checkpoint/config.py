"""The architecture of a checkpoint: from its own configuration, checked against the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .._types import StrPath
from ..errors import CheckpointError, ConfigError
from ..kernels import core
from ..specs.architecture import SIZE_KEYS, SIZES, Architecture, architecture_keys
from .plain import Refused

__all__ = ["architecture", "check_tensors", "found", "kind_of", "settings_of"]

Shapes = Mapping[str, Sequence[int]]

# fairseq-signals saves the finetuning configuration, whose encoder sizes nothing had to agree with.
_REMEDY = (
    "If the file states other settings than those the model was trained with, put them right with "
    "ecgfm convert --set KEY=VALUE"
)
# Samples that the shortest segment may need, and bytes that the largest intermediate results of one segment
# may take: beyond them a small file takes any amount of memory. ECG-FM's large model takes 4 MB.
MAX_SAMPLES = 1_000_000
MAX_WORK = 200 << 20
MAX_PARAMETERS = 1 << 31
# What the names of the tensors of the network begin with, and those of the heads of pretraining.
_NETWORK = ("encoder.", "feature_extractor.", "post_extract_proj.", "conv_pos.", "layer_norm.")
_HEADS = ("quantizer.", "project_q.", "target_glu.", "final_proj.")
# Where a finetuning configuration keeps that of the pretraining run whose encoder it took.
_NESTED = ("args", "w2v_args")


def kind_of(names: Iterable[str]) -> str | None:
    """The kind of model that tensors of these names are: classifier, pretraining or encoder; None for none of them."""
    names = set(names)
    if "proj.weight" in names and any(name.startswith("encoder.encoder.layers.") for name in names):
        return "classifier"
    if not any(name.startswith("encoder.layers.") for name in names):
        return None
    return "pretraining" if any(name.startswith(_HEADS) for name in names) else "encoder"


def settings_of(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """The model's settings in a checkpoint: ``cfg["model"]``, or the flat ``args`` of old ones; None if absent."""
    cfg, args = content.get("cfg"), content.get("args")
    for group in (cfg, args):
        if isinstance(group, dict) and isinstance(group.get("model"), dict):
            found: dict[str, Any] = group["model"]
            return found
    return args if isinstance(args, dict) else None


def architecture(
    settings: dict[str, Any],
    kind: str,
    shapes: Shapes,
    *,
    changes: Mapping[str, Any] | None = None,
    path: StrPath | None = None,
) -> Architecture:
    """The architecture under the keys of fairseq-signals, complete for `kind`, which gives just these tensors.

    A finetuned model took its encoder from a pretraining checkpoint. Where the file holds that checkpoint's own
    configuration, it is the one that describes the encoder; the finetuning configuration may state other sizes.

    Parameters
    ----------
    settings : dict
        The model's settings in the file.
    kind : {"classifier", "pretraining", "encoder"}
    shapes : mapping of str to tuple of int
        The tensors of the file.
    changes : dict, optional
        Settings that the caller knows better.
    path : path-like, optional
        For messages.

    Returns
    -------
    Architecture

    Raises
    ------
    CheckpointError
        If a key is missing or out of range, or the tensors are not those that the configuration describes.
    ConfigError
        If `changes` has a key that is none.
    """
    for key in changes or ():
        if key not in architecture_keys(kind):
            raise ConfigError(
                f"not a setting of the architecture of a model of kind {kind}",
                field=key,
                remedy=f"The settings are {', '.join(architecture_keys(kind))}",
            )
    candidates = [{"num_labels": settings.get("num_labels"), **nested} for nested in _nested(settings)] + [settings]
    errors = []
    for candidate in candidates:
        try:
            found = _architecture(candidate | dict(changes or {}), kind, shapes, path)
            check_tensors(found.config(), kind, shapes, path=path)
            return found
        except CheckpointError as error:
            errors.append(error)
    raise errors[-1]


def _nested(settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for key in _NESTED:
        nested = settings.get(key)
        if isinstance(nested, dict):
            model = nested.get("model", nested)
            if isinstance(model, dict) and "encoder_layers" in model:
                yield {key: model[key] for key in architecture_keys("encoder") if key in model}


def _architecture(settings: Mapping[str, Any], kind: str, shapes: Shapes, path: StrPath | None) -> Architecture:
    given = {key: settings.get(key) for key in architecture_keys(kind)}
    given = {key: value for key, value in given.items() if value is not None and not isinstance(value, Refused)}
    if kind == "classifier" and len(shapes.get("proj.weight", ())) == 2:
        given.setdefault("num_labels", shapes["proj.weight"][0])
    try:
        return Architecture.of_kind(kind, given, complete=True, prefix="cfg.model.")
    except ConfigError as error:
        raise CheckpointError(error.message, path=path, field=error.field, remedy=error.remedy or _REMEDY) from None


def found(
    settings: dict[str, Any] | None,
    kind: str,
    shapes: Shapes,
    changes: Mapping[str, Any] | None,
    *,
    path: StrPath | None = None,
) -> tuple[Architecture, str | None]:
    """As `architecture`; of tensors that a file's configuration does not describe, that of the published network that
    has just these, and what is to be said of it.

    Tensors come before the configuration: that of a finetuned file may describe another network than its own, where it
    left its encoder's to the file that it was trained from. `settings` is None where a file has no configuration.
    """
    try:
        if settings is None:
            raise CheckpointError("the file has no configuration of the model", path=path, field="cfg.model")
        return architecture(settings, kind, shapes, changes=changes, path=path), None
    except CheckpointError:
        published = None if changes else _published(kind, shapes)
        if published is None:
            raise
        return published


def _published(kind: str, shapes: Shapes) -> tuple[Architecture, str] | None:
    labels = {"num_labels": shapes["proj.weight"][0]} if kind == "classifier" and shapes.get("proj.weight") else {}
    for size, sizes in SIZES.items():
        try:
            found = Architecture.of_kind(kind, {**dict(zip(SIZE_KEYS, sizes)), **labels})
            check_tensors(found.config(), kind, shapes)
        except (CheckpointError, ConfigError):
            continue
        return (
            found,
            f"ECG-FM's {size} network, assumed by the tensors: the file's configuration does not describe them",
        )
    return None


def check_tensors(config: dict[str, Any], kind: str, shapes: Shapes, *, path: StrPath | None = None) -> None:
    """Raise CheckpointError unless the shapes are those that the configuration describes.

    Tensors beyond those are an error where they would be part of the network that runs (a further layer, a bias), not
    where they are something else, such as the mask embedding or the quantizer in a finetuned model.
    """
    module = core()  # a ConfigError of its own speaks of the environment and not of the file
    try:
        table = module.parameters(config, kind)
    except ConfigError as error:
        raise CheckpointError(error.message, path=path, field="cfg.model", remedy=_REMEDY) from None
    for name, shape in table:
        there = tuple(shapes[name]) if name in shapes else None
        if there != tuple(shape):
            what = "is missing" if there is None else f"has the shape {there}"
            raise CheckpointError(
                f"the tensor {what}, the configuration gives it the shape {tuple(shape)}",
                path=path,
                field=name,
                remedy=_REMEDY,
            )
    known = {name for name, _ in table}
    prefix = "encoder." if kind == "classifier" else ""
    parts = tuple(prefix + part for part in _NETWORK)
    parts += {"classifier": ("proj.",), "pretraining": _HEADS, "encoder": ()}[kind]
    for name in shapes:
        if name not in known and name.startswith(parts):
            raise CheckpointError("the configuration has no such tensor", path=path, field=name[:200], remedy=_REMEDY)
