"""Models on the Hugging Face Hub (extra ``[hub]``)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from ..errors import CheckpointError, MissingExtraError
from .directory import CONFIG, WEIGHTS
from .labels import LABEL_FILE

__all__ = ["HubName", "fetch", "hub_name"]

_NAME = re.compile(
    r"(?P<hf>hf://)?(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+?))?(:(?P<file>[^:]+))?"
)
_LISTED = 20  # files that a message names
_TIMEOUT_S = 15.0


class HubName:
    """What of the Hub a text names.

    Attributes
    ----------
    repo : str
        ``owner/name``.
    revision : str or None
        Branch, tag or commit.
    file : str or None
        A file of the repository.
    """

    def __init__(self, repo: str, revision: str | None = None, file: str | None = None) -> None:
        self.repo, self.revision, self.file = repo, revision, file

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return self.repo + revision + (f":{self.file}" if self.file else "")


def hub_name(source: object) -> HubName | None:
    """The `HubName` in what was given to `ecgfm.load`, or None if that is a path.

    ``owner/name``, ``owner/name:file.pt``, ``owner/name@revision`` and both together name something of the Hub, unless
    a file or directory of this name, or a directory ``owner``, is there, or ``name`` ends as a file does
    (``runs/checkpoint_best.pt``). ``hf://owner/name`` always does.
    """
    if not isinstance(source, str):
        return None
    found = _NAME.fullmatch(source)
    if found is None or ".." in source:
        return None
    if not found["hf"]:
        owner, name = found["repo"].split("/")
        if os.path.exists(source) or os.path.isdir(owner) or name.lower().endswith((".pt", ".safetensors", ".pth")):
            return None
    return HubName(found["repo"], found["revision"], found["file"])


def fetch(name: HubName) -> str:
    """Download a model, or find it among those downloaded before, and return its path.

    Of a repository with several ``.pt`` files one must be named. Beside the weights, ``config.json`` and
    ``label_def.csv`` are fetched if they are there. Without a network, what was downloaded before is taken.

    Parameters
    ----------
    name : HubName

    Returns
    -------
    str

    Raises
    ------
    MissingExtraError
        If huggingface_hub isn't installed.
    CheckpointError
        If there is no such repository, revision or file; or there is no network and nothing was downloaded before.
    """
    hub = _library()
    files, reached = _files(hub, name)
    wanted = _choose(name, files)
    beside = [each for each in (CONFIG, LABEL_FILE) if each in files and "/" not in wanted]
    for each in beside:
        _download(hub, name, each, reached)
    return _download(hub, name, wanted, reached)


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise MissingExtraError(
            "huggingface_hub is not installed, which downloads models",
            field="load",
            remedy="Install it with: pip install 'ecgfm[hub]'; or download the files and give their path",
        ) from None
    return huggingface_hub


def _files(hub: Any, name: HubName) -> tuple[tuple[str, ...], bool]:
    """The repository's files, and whether the Hub was reached (else they are those downloaded before)."""
    errors = hub.errors
    try:
        found = hub.HfApi().model_info(name.repo, revision=name.revision, timeout=_TIMEOUT_S)
        return tuple(each.rfilename for each in found.siblings or ()), True
    except errors.GatedRepoError:
        raise CheckpointError(
            "the repository is open only to those who accepted its terms",
            path=str(name),
            remedy="Accept them on its page, then run: hf auth login",
        ) from None
    except errors.RevisionNotFoundError:
        raise CheckpointError("the repository has no such revision", path=name.repo, field=name.revision) from None
    except errors.RepositoryNotFoundError:
        raise CheckpointError(
            "neither a file or directory here nor a repository of the Hub that can be seen",
            path=str(name),
            remedy="Correct the name; for a private repository run: hf auth login",
        ) from None
    except errors.HFValidationError as error:
        raise CheckpointError(f"not a name of a repository: {error}", path=str(name)) from None
    except Exception as error:  # what a lost connection raises depends on the library's HTTP client
        return _downloaded(hub, name, error), False


def _downloaded(hub: Any, name: HubName, failure: Exception) -> tuple[str, ...]:
    """The files of the repository that were downloaded before."""
    try:
        folder = hub.snapshot_download(name.repo, revision=name.revision, local_files_only=True)
    except Exception:
        text = (str(failure).strip().splitlines() or [""])[0][:200] or type(failure).__name__
        wanted = name.file or "the weights (NAME.pt)"
        raise CheckpointError(
            f"the Hub can't be reached ({text}), and nothing was downloaded before",
            path=str(name),
            remedy=f"Download {wanted} where there is a network, and give the path of the file",
        ) from None
    found = []
    for place, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(place, each), folder) for each in names]
    return tuple(sorted(found))


def _choose(name: HubName, files: Sequence[str]) -> str:
    """The file of weights."""
    weights = [each for each in files if each.lower().endswith((".pt", ".pth", ".safetensors"))]
    if name.file is not None:
        if name.file in files:
            return name.file
        stem = os.path.splitext(name.file)[0]
        near = [each for each in files if os.path.splitext(each)[0] == stem]
        raise CheckpointError(
            f"the repository has no {name.file}" + (f", only {', '.join(near)}" if near else ""),
            path=name.repo,
            field=name.file,
            remedy=f"It has {_listed(weights or files)}",
        )
    if WEIGHTS in weights:
        return WEIGHTS
    if len(weights) == 1:
        return weights[0]
    if not weights:
        settings = next((each for each in files if each.lower().endswith((".yaml", ".yml"))), None)
        pt = os.path.splitext(settings or "model.yaml")[0] + ".pt"
        there = f"there is {settings} but no {pt}" if settings else f"there are {_listed(files)}"
        raise CheckpointError(
            f"the repository has no weights: {there}", path=str(name), field=pt, remedy=f"Get {pt} and give its path"
        )
    raise CheckpointError(
        f"the repository has several models: {_listed(weights)}",
        path=str(name),
        remedy=f"Name one, such as {name.repo}:{weights[0]}",
    )


def _listed(files: Sequence[str]) -> str:
    return (
        ", ".join(files[:_LISTED]) + (f" and {len(files) - _LISTED} more" if len(files) > _LISTED else "") or "nothing"
    )


def _download(hub: Any, name: HubName, file: str, reached: bool) -> str:
    try:
        return str(hub.hf_hub_download(name.repo, file, revision=name.revision, local_files_only=not reached))
    except Exception as error:
        text = (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__
        raise CheckpointError(f"can't be downloaded: {text}", path=name.repo, field=file) from None
