"""Embeddings that were computed before, in a folder: one small file a recording."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import printable
from .._types import StrPath
from ..errors import ConfigError, FormatError, InputWarning
from ..storage.atomic import writing
from ..storage.npy import map_array, npy_header
from .opening import input_of

__all__ = ["EmbeddingCache", "model_digest"]

_DIGEST = 5  # places of float32 behind the values that hold it


def model_digest(model: Any) -> str:
    """What a model computes, as text: its weights, architecture, precision and what it takes.

    Returns
    -------
    str
        32 hexadecimal digits; the same for equal models, wherever they lie.
    """
    digest = hashlib.blake2b(digest_size=16)
    said = [model.config, model.precision, input_of(model).to_dict()]
    digest.update(json.dumps(said, sort_keys=True, default=str).encode())
    for name, values in model.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


class EmbeddingCache:
    """A folder of embeddings, by the model and by the samples that went into it.

    Several processes may use it at once. A file that is damaged counts as absent, which a warning says.

    Parameters
    ----------
    folder : path-like
        It is made if it isn't there.
    model : Model
    how : str
        What else decides the values, such as the layer.

    Raises
    ------
    ConfigError
        If the folder can't be made.
    """

    def __init__(self, folder: StrPath, model: Any, how: str) -> None:
        self._folder = os.fspath(folder)
        self._key = f"{model_digest(model)} {how}".encode()
        try:
            os.makedirs(self._folder, exist_ok=True)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(f"the folder can't be made: {why}", path=folder, field="cache") from None

    def path(self, x: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> str:
        """The file of a recording's segments (n, L, N), whether it is there or not."""
        digest = hashlib.blake2b(self._key, digest_size=20)
        for given in (x, mask):
            if given is not None:
                values: NDArray[Any] = np.ascontiguousarray(given)
                digest.update(f"{values.dtype.str}{values.shape}".encode())
                digest.update(values.reshape(-1).view(np.uint8).data)
        name = digest.hexdigest()
        return os.path.join(self._folder, name[:2], f"{name}.npy")

    def get(self, path: str, width: int) -> NDArray[np.float32] | None:
        """(width,) what lies there; None if nothing does, or it is not what was written there."""
        if not os.path.exists(path):
            return None
        length = len(npy_header((width + _DIGEST,), np.dtype(np.float32))) + 4 * (width + _DIGEST)
        try:
            found = np.array(map_array(path))
        except FormatError as error:
            _say_damaged(path, error.message)
            return None
        fits = found.shape == (width + _DIGEST,) and found.dtype == np.float32 and os.path.getsize(path) == length
        if not fits or found[width:].tobytes() != _digest(path, found[:width]):
            _say_damaged(path, "it is not what was written there")
            return None
        return found[:width]

    def put(self, path: str, values: NDArray[np.float32]) -> None:
        """Write an embedding, with a digest of its place and values behind it; whole, or not at all.

        Raises
        ------
        ConfigError
            If it can't be written.
        """
        values = np.ascontiguousarray(values, "<f4")
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with writing(path) as file:
                file.write(npy_header((len(values) + _DIGEST,), np.dtype(np.float32)))
                file.write(values.tobytes() + _digest(path, values))
        except OSError as error:
            raise ConfigError(f"can't be written: {error.strerror}", path=path, field="cache") from None


def _digest(path: str, values: NDArray[np.float32]) -> bytes:
    name = os.path.basename(path).encode()
    return hashlib.blake2b(name + values.tobytes(), digest_size=4 * _DIGEST).digest()


def _say_damaged(path: str, why: str) -> None:
    text = f"{printable(path)}: a damaged embedding is computed anew: {why}"
    warnings.warn(text, InputWarning, stacklevel=4)
