"""Models on the Hugging Face Hub (extra ``[hub]``)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from ..errors import CheckpointError, MissingExtraError
from ..specs.known import Known, nearest
from .directory import CONFIG, WEIGHTS
from .labels import LABEL_FILE

__all__ = ["HubName", "fetch", "hub_name"]

_NAME = re.compile(
    r"(?P<hf>hf://)?(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+?))?(:(?P<file>[^:]+))?"
)
_PART_OF_A_COMMIT = re.compile(r"[0-9a-f]{7,39}")
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
    known : Known or None
        The known model that is meant.
    folder : str or None
        Where its file is looked for before it is downloaded.
    """

    def __init__(
        self,
        repo: str,
        revision: str | None = None,
        file: str | None = None,
        *,
        known: Known | None = None,
        folder: str | None = None,
    ) -> None:
        self.repo, self.revision, self.file, self.known, self.folder = repo, revision, file, known, folder

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        name = self.repo + revision + (f":{self.file}" if self.file else "")
        return name if self.known is None else f"{self.known.name} ({name})"

    @property
    def page(self) -> str:
        """str: where its files can be fetched by hand."""
        return f"https://huggingface.co/{self.repo}" + (f"/tree/{self.revision}" if self.revision else "")

    def by_hand(self, begin: str = "Download") -> str:
        """How to have its file without this program, as a sentence or the end of one."""
        wanted = self.known.wanted if self.known else self.file or "the weights (NAME.pt)"
        gate = " (gated: log in there and accept its terms first)" if self.known and self.known.gated else ""
        folder = f"put it into {self.folder}, or " if self.folder else ""
        return f"{begin} {wanted} from {self.page}{gate} by hand and {folder}give the path of the file"


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

    Of a repository with several ``.pt`` files one must be named. Beside the weights, ``label_def.csv`` and for
    ``.safetensors`` files ``config.json`` are fetched if they are there. Without a network, what was downloaded before
    is taken. A revision may be the first seven or more digits of a commit.

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
    hub = _library(name)
    files, commit, reached = _files(hub, name)
    wanted = _choose(name, files)
    beside = (LABEL_FILE, CONFIG) if wanted.endswith(".safetensors") else (LABEL_FILE,)
    for each in beside:
        if each in files and "/" not in wanted:
            _download(hub, name, commit, each, reached)
    return _download(hub, name, commit, wanted, reached)


def _library(name: HubName) -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise MissingExtraError(
            "huggingface_hub is not installed, which downloads models",
            path=str(name),
            remedy=f"Install it with: pip install 'ecgfm[hub]'; or {name.by_hand('download')}",
        ) from None
    return huggingface_hub


def _files(hub: Any, name: HubName) -> tuple[tuple[str, ...], str | None, bool]:
    """The repository's files, its revision in full, and whether the Hub was reached (else they are downloaded ones)."""
    errors = hub.errors
    try:
        api, commit = hub.HfApi(), name.revision
        if commit is not None and _PART_OF_A_COMMIT.fullmatch(commit):
            commits = [each.commit_id for each in api.list_repo_commits(name.repo)]
            commit = next((each for each in commits if each.startswith(commit)), commit)
        found = api.model_info(name.repo, revision=commit, timeout=_TIMEOUT_S)
        return tuple(each.rfilename for each in found.siblings or ()), commit, True
    except errors.GatedRepoError:
        raise _gated(name) from None
    except errors.RevisionNotFoundError:
        raise CheckpointError("the repository has no such revision", path=name.repo, field=name.revision) from None
    except errors.RepositoryNotFoundError:
        near = [] if name.known else nearest(name.repo)
        raise CheckpointError(
            "neither a file or directory here nor a repository of the Hub that can be seen",
            path=str(name),
            remedy="Correct the name"
            + (f" (did you mean {' or '.join(near)}?)" if near else "")
            + "; for a private repository run: hf auth login",
        ) from None
    except errors.HFValidationError as error:
        raise CheckpointError(f"not a name of a repository: {error}", path=str(name)) from None
    except Exception as error:  # what a lost connection raises depends on the library's HTTP client
        return *_downloaded(hub, name, error), False


def _gated(name: HubName) -> CheckpointError:
    return CheckpointError(
        "the repository is gated: open only to those who are logged in and accepted its terms",
        path=str(name),
        remedy=f"Accept them on {name.page}, then run: hf auth login; or {name.by_hand('download')}",
    )


def _downloaded(hub: Any, name: HubName, failure: Exception) -> tuple[tuple[str, ...], str | None]:
    """The files of the repository that were downloaded before, and their revision in full."""
    commit = name.revision
    try:
        if commit is not None and _PART_OF_A_COMMIT.fullmatch(commit):
            here = [each for repo in hub.scan_cache_dir().repos if repo.repo_id == name.repo for each in repo.revisions]
            commit = next((each.commit_hash for each in here if each.commit_hash.startswith(commit)), commit)
        folder = hub.snapshot_download(name.repo, revision=commit, local_files_only=True)
    except Exception:
        raise CheckpointError(
            f"the Hub can't be reached ({_first_line(failure)}), and nothing was downloaded before",
            path=str(name),
            remedy=name.by_hand(),
        ) from None
    found = []
    for place, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(place, each), folder) for each in names]
    return tuple(sorted(found)), commit


def _choose(name: HubName, files: Sequence[str]) -> str:
    """The file of weights."""
    aside = name.known.beside if name.known else ()
    weights = [each for each in files if each.lower().endswith((".pt", ".pth", ".safetensors")) and each not in aside]
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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__


def _download(hub: Any, name: HubName, commit: str | None, file: str, reached: bool) -> str:
    try:
        return str(hub.hf_hub_download(name.repo, file, revision=commit, local_files_only=not reached))
    except hub.errors.GatedRepoError:
        raise _gated(name) from None
    except Exception as error:
        raise CheckpointError(
            f"can't be downloaded: {_first_line(error)}", path=name.repo, field=file, remedy=name.by_hand()
        ) from None
