"""Where a model lies: a path, a known model by its name, or a repository of the Hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from .._text import shown
from .._types import StrPath
from ..errors import CheckpointError
from ..specs.known import KNOWN, Known, nearest
from .hub import HubName, fetch, hub_name

__all__ = ["by_hand", "check_known", "located", "shipped_model"]

DEMO = "demo"
#: Names the folder of files that were fetched by hand.
FOLDER = "ECGFM_MODELS"
_FILES = (".pt", ".pth", ".safetensors")
_FAMILIES = {name.split("/")[0] for name in KNOWN if "/" in name}


@contextmanager
def located(source: StrPath) -> Iterator[tuple[StrPath, Known | None]]:
    """The path of a model, downloaded if need be, and what is known of it if it was asked for by name.

    What is there under the path comes first, then known models, then names on the Hub. The path is sure to last as long
    as the context.

    Raises
    ------
    CheckpointError
        If it is no path that is there and no model that can be had.
    MissingExtraError
        If it is to be downloaded and huggingface_hub isn't installed.
    """
    if not isinstance(source, str) or os.path.lexists(source):
        yield source, None
    elif source in KNOWN:
        with _known(KNOWN[source]) as path:
            yield path, KNOWN[source]
    else:
        name = hub_name(source)
        _refuse_misspelled(source, name)
        yield source if name is None else fetch(name), None


@contextmanager
def _known(known: Known) -> Iterator[StrPath]:
    if known.refused is not None:
        raise CheckpointError(f"ecgfm knows this model and can't run it: {known.refused}", path=known.name)
    if known.name == DEMO:
        with shipped_model() as directory:
            yield directory
        return
    folder = by_hand(known)
    placed = _placed(known, folder)
    if placed is None:
        placed = fetch(HubName(str(known.repository), known.revision, known.file, known=known, folder=folder))
    yield placed


def by_hand(known: Known) -> str:
    """The folder from which the file of a known model is taken if it was fetched by hand."""
    own = os.environ.get(FOLDER)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(own or os.path.join(cache, "ecgfm", "models"), *known.name.split("/"))


def _placed(known: Known, folder: str) -> str | None:
    """The file of a known model in its folder, if it was put there."""
    if known.file is not None:
        path = os.path.join(folder, known.file)
        return path if os.path.isfile(path) else None
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return None
    files = [name for name in names if name.lower().endswith(_FILES) and name not in known.beside]
    if len(files) > 1:
        raise CheckpointError(
            f"the folder has several files that may be {known.name}: {', '.join(map(shown, files[:5]))}",
            path=folder,
            remedy="Leave one of them, or give a path",
        )
    return os.path.join(folder, files[0]) if files else None


def check_known(known: Known, kind: str, outputs: int, path: StrPath) -> None:
    """Raise unless a file, by its tensors, is the known model that was asked for."""
    if (known.kind == "classifier", known.outputs) != (kind == "classifier", outputs):
        has = f"{outputs} outputs" if outputs else "no outputs"
        raise CheckpointError(
            f"this is not {known.name}: that model has {known.outputs or 'no'} outputs, the file has {has}",
            path=path,
            field="model",
            remedy="Give the path of the file to have it as what it is",
        )


def _refuse_misspelled(source: str, name: HubName | None) -> None:
    """Raise for what is no path and looks like the name of a known model."""
    if source.lower().endswith(_FILES) or source.startswith("hf://"):
        return
    family = "/" in source and source.split("/")[0].lower() in _FAMILIES
    if name is not None and not family:
        return
    near = nearest(source) if family or os.sep not in source else []
    if near or family:
        hub = f"; hf://{source} asks the Hub for it" if name is not None else ""
        raise CheckpointError(
            "neither a file or directory here nor a known model",
            path=source,
            remedy=(f"Did you mean {' or '.join(near)}? " if near else "") + "ecgfm models lists all names" + hub,
        )


@contextmanager
def shipped_model() -> Iterator[Path]:
    """The directory of the small model that comes with the package."""
    with resources.as_file(resources.files("ecgfm") / "assets" / "demo") as directory:
        if not directory.is_dir():
            raise CheckpointError("the model is not there", path=directory, remedy="Install the package again")
        yield directory
