"""Where `finetune` stands after each epoch, in a file: what was killed goes on from there, to the same bits."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from .._types import StrPath
from ..checkpoint.safetensors import read_tensors, write_tensors
from ..checkpoint.storage import File
from ..errors import CheckpointError, ConfigError
from ..storage.json import parse_json
from .callbacks import Callback, Course, Place
from .engine import BLOCKS
from .feed import InMemory, Streamed
from .history import History
from .trainer import COUNTS

__all__ = ["NAME", "StandingFile", "identity"]

NAME: Final = "finetuning.safetensors"
VERSION: Final = 1
_WHOLE: Final = ("epoch", "num_updates")  # columns of whole numbers


def identity(trainer: Any, feeds: Mapping[str, InMemory | Streamed | None], **settings: Any) -> dict[str, str]:
    """What decides a training, a line each: the same lines are the same training.

    Parameters
    ----------
    trainer : Trainer
        Before its first update.
    feeds : mapping of str to feed or None
        What it trains and validates on.
    **settings
        As they were given.
    """
    found = {name: hashlib.blake2b(_text(value), digest_size=16).hexdigest() for name, value in settings.items()}
    found["model"] = _of_arrays(trainer.state_dict().values())
    for name, feed in feeds.items():
        if isinstance(feed, InMemory):
            found[name] = _of_arrays(each for each in feed.arrays if each is not None)
        elif feed is not None:
            data = feed.loader.dataset
            labels = data.labels()
            found[name] = _of_arrays([] if labels is None else [labels], f"{data.path} {len(data)}".encode())
    return found


class StandingFile(Callback):
    """Writes the file after each epoch.

    It comes behind a user's callback, which may end the training, and before patience, which is asked anew.

    Parameters
    ----------
    folder : path-like
        It is made if it isn't there.
    history : History
    told : mapping of str to str
        As `identity` gave it.
    """

    def __init__(self, folder: StrPath, history: History, told: Mapping[str, str]) -> None:
        self.path, self._history, self._told = os.path.join(os.fspath(folder), NAME), history, dict(told)
        try:
            os.makedirs(folder, exist_ok=True)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(f"the folder can't be made: {why}", path=folder, field="checkpoint_dir") from None

    def epoch_ended(self, course: Course) -> None:
        state, history = course.trainer.state(), self._history
        tensors = {f"{block}.{name}": values for block in BLOCKS for name, values in state[block].items()}
        tensors |= {f"best.{name}": values for name, values in (history.kept or {}).items()}
        said = {
            "version": VERSION,
            "identity": self._told,
            "counts": {name: state[name] for name in COUNTS},
            "steps": state["steps"],
            "rows": [{name: repr(float(value)) for name, value in row.items()} for row in history.rows],
            "best_epoch": history.best_epoch,
            "stopped": course.control.stop,
        }
        write_tensors(self.path, tensors, {"finetuning": json.dumps(said)})

    def restore(self, trainer: Any, epochs: int) -> Place | None:
        """Put trainer and history where the file says, and return where to go on; None where there is no file.

        Raises
        ------
        ConfigError
            If the file is of another training.
        CheckpointError
            If it is damaged.
        """
        if not os.path.exists(self.path):
            return None
        file = File(self.path)
        try:
            tensors, metadata = read_tensors(file)
            said = self._read(metadata)
            blocks: dict[str, dict[str, NDArray[Any]]] = {block: {} for block in (*BLOCKS, "best")}
            for key, values in tensors.items():
                block, _, name = key.partition(".")
                if block not in blocks:
                    raise CheckpointError("the file has a tensor of no known kind", path=self.path, field=key)
                blocks[block][name] = np.array(values)
        finally:
            file.close()
        best = blocks.pop("best")
        try:
            trainer.load_state({**blocks, "steps": said["steps"], **said["counts"]})
        except ConfigError as error:
            raise CheckpointError(f"it does not fit the model: {error}", path=self.path) from None
        self._history.go_on(said["rows"], said["best_epoch"], best or None, trainer, epochs)
        return Place((epochs if said["stopped"] else len(said["rows"])) + 1)

    def _read(self, metadata: Mapping[str, str]) -> dict[str, Any]:
        raw = metadata.get("finetuning")
        if raw is None:
            raise CheckpointError("it is no file of finetune's checkpoint_dir", path=self.path)
        said = parse_json(raw.encode(), path=self.path, field="finetuning", error=CheckpointError)
        if not isinstance(said, dict) or said.get("version") != VERSION:
            raise CheckpointError("it was written by another version of ecgfm", path=self.path, field="finetuning")
        _check_identity(said.get("identity"), self._told, self.path)
        try:
            rows = [
                {name: int(float(text)) if name in _WHOLE else float(text) for name, text in row.items()}
                for row in said["rows"]
            ]
            fits = 0 <= int(said["best_epoch"]) <= len(rows) and isinstance(said["stopped"], bool)
            counts, steps = dict(said["counts"]), dict(said["steps"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            fits = False
        if not fits or not rows:
            raise CheckpointError("what it says of the training is damaged", path=self.path, field="finetuning")
        return {**said, "rows": rows, "counts": counts, "steps": steps}


def _check_identity(found: Any, own: Mapping[str, str], path: str) -> None:
    found = found if isinstance(found, dict) else {}
    other = sorted(name for name in {*found, *own} if found.get(name) != own.get(name))
    if other:
        raise ConfigError(
            f"it holds another training: {', '.join(map(shown, other[:5]))} differ",
            path=path,
            field="checkpoint_dir",
            remedy="Name another folder, or remove that file",
        )


def _text(value: Any) -> bytes:
    """A setting as bytes that are the same for the same value; of a function, its name."""
    if callable(value) and not isinstance(value, type):
        return f"function {getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}".encode()
    if isinstance(value, np.ndarray):
        return _of_arrays([value]).encode()
    if isinstance(value, Mapping):
        return b"{" + b",".join(_text(key) + b":" + _text(value[key]) for key in sorted(value, key=str)) + b"}"
    if isinstance(value, (list, tuple)):
        return b"[" + b",".join(map(_text, value)) + b"]"
    if isinstance(value, float):
        return repr(math.nan if value != value else value).encode()
    return repr(value).encode("utf-8", "backslashreplace")


def _of_arrays(arrays: Any, more: bytes = b"") -> str:
    digest = hashlib.blake2b(more, digest_size=16)
    for each in arrays:
        values = np.ascontiguousarray(each)
        digest.update(f"{values.dtype.str}{values.shape}".encode())
        digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
