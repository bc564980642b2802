"""Stores as fairseq-signals writes them: ``X.npy``, a dump of an array without a header, and ``X_header.pkl``, which
pickles ``{"shape": ..., "dtype": ...}``. The header is read as data; no code in it is run.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._text import shown
from .._types import StrPath
from ..checkpoint.unpickle import loads
from ..checkpoint.walk import TooDeep, plain
from ..errors import CheckpointError, Error, FormatError
from ..storage.atomic import committing, remove, unwritable, writing
from ..storage.growing_files import open_part
from ..storage.inputs import open_input, read_input, unreadable
from ..storage.npy import check_size, map_array

__all__ = ["Stores", "header_path", "open_store"]

MAX_HEADER = 1 << 16
_MAX_DIMENSIONS = 32
_DTYPES = ("float16", "float32", "float64", "bool", "uint8", "int8", "int16", "int32", "int64")
_NPY = b"\x93NUMPY"


def header_path(path: StrPath) -> str:
    """The header of a store: ``X_header.pkl`` beside ``X.npy``."""
    path = os.fspath(path)
    if not path.lower().endswith(".npy"):
        raise FormatError("the name of a store ends in .npy", path=path)
    return f"{path[:-4]}_header.pkl"


def open_store(path: StrPath, header: StrPath | None = None) -> NDArray[Any]:
    """Open a store.

    Parameters
    ----------
    path : path-like
        ``X.npy``, either such a dump or a file of ``numpy.save``.
    header : path-like, optional
        By default ``X_header.pkl`` beside it.

    Returns
    -------
    ndarray
        Mapped from the file, read-only.

    Raises
    ------
    FormatError
        If the header is missing (the run that wrote the store did not finish), or doesn't fit the file.

    Examples
    --------
    >>> logits = ecgfm.inference.open_store("results/outputs_test.npy")
    """
    path = os.fspath(path)
    header = header_path(path) if header is None else os.fspath(header)
    with open_input(path, sparse=True) as file:
        start, size = file.read(len(_NPY)), os.fstat(file.fileno()).st_size
    if not os.path.lexists(header):
        if start == _NPY:
            return map_array(path)
        raise FormatError(
            "there is no header, so that the store is not complete",
            path=header,
            remedy="Let the command that writes it run to its end",
        )
    shape, dtype, offset, order = _read_header(header)
    wanted = math.prod(shape) * dtype.itemsize + offset
    if size != wanted:
        raise FormatError(f"the file has {size} bytes, its header asks for {wanted}", path=path)
    if 0 in shape:
        return np.empty(shape, dtype, "F" if order == "F" else "C")
    with open_input(path, sparse=True) as file:
        try:
            mapped: NDArray[Any] = np.memmap(file, dtype, "r", offset, shape, "F" if order == "F" else "C")
            return mapped
        except (OSError, ValueError, OverflowError) as error:  # it has become shorter since
            raise unreadable(path, error) from None


def _read_header(path: StrPath) -> tuple[tuple[int, ...], np.dtype[Any], int, str]:
    """Shape, dtype, offset and order."""
    raw = read_input(path, most=MAX_HEADER)
    try:
        value, _ = loads(raw, path=path, name="header")
        value = plain(value)
    except CheckpointError as error:
        raise FormatError(error.message, path=path, field=error.field) from None
    except TooDeep as error:
        raise FormatError(str(error), path=path) from None
    if not isinstance(value, dict):
        raise FormatError("not a dictionary with shape and dtype", path=path)
    shape, dtype = value.get("shape"), value.get("dtype")
    sizes: Any = shape if isinstance(shape, (tuple, list)) and len(shape) <= _MAX_DIMENSIONS else [None]
    offset, order = value.get("offset", 0), value.get("order", "C")
    for fits, given, what, field in (
        (all(type(n) is int and 0 <= n < 1 << 48 for n in sizes), shape, "not a shape", "shape"),
        (isinstance(dtype, str) and dtype in _DTYPES, dtype, "not a number type of a store", "dtype"),
        (type(offset) is int and 0 <= offset < 1 << 48, offset, "not an offset", "offset"),
        (isinstance(order, str) and order in ("C", "F"), order, "neither C nor F", "order"),
    ):
        if not fits:
            raise FormatError(f"{shown(given)} is {what}", path=path, field=field)
    unknown = [key for key in value if key not in ("shape", "dtype", "offset", "order")]
    if unknown:
        raise FormatError("no such key is known", path=path, field=shown(unknown[0]))
    check_size(sizes, np.dtype(dtype).itemsize, path=path, field="shape", most=None)
    return tuple(sizes), np.dtype(dtype).newbyteorder("<"), offset, order


class Stores:
    """Writes the stores of one subset, a batch at a time. A context manager.

    Until the block ends well, the arrays are in files whose names end in ``.part``. Then they take their
    places, and each gets its header last: a store with a header is whole, and none is a mixture of two runs.

    Parameters
    ----------
    folder : path-like
        There already.
    subset : str
        The files are ``<name>_<subset>.npy`` and ``<name>_<subset>_header.pkl``.
    arrays : dict of str to (tuple of int, str)
        Name -> shape, the number of rows first, and number type.

    Raises
    ------
    Error
        If a file can't be written.
    """

    def __init__(self, folder: StrPath, subset: str, arrays: Mapping[str, tuple[Sequence[int], str]]) -> None:
        self._folder, self._subset = os.fspath(folder), subset
        self._arrays: dict[str, Any] = {
            name: (tuple(int(n) for n in shape), dtype) for name, (shape, dtype) in arrays.items()
        }
        self._rows = dict.fromkeys(self._arrays, 0)
        self._files: dict[str, Any] = {}

    def path(self, name: str) -> str:
        """Of the array of that name."""
        return os.path.join(self._folder, f"{name}_{self._subset}.npy")

    @property
    def paths(self) -> list[str]:
        """list of str: of all arrays that are kept."""
        return [self.path(name) for name, kept in self._arrays.items() if kept is not None]

    def __enter__(self) -> Stores:
        try:
            for name in self._arrays:
                self._files[name] = open_part(f"{self.path(name)}.part")
                self._files[name].truncate(0)
        except (Error, OSError) as error:
            self._discard()
            raise error if isinstance(error, Error) else unwritable(error.filename, error) from None
        return self

    def write(self, name: str, values: ArrayLike) -> None:
        """Append rows.

        Raises
        ------
        FormatError
            If they are more than was said, or of another shape.
        """
        shape, dtype = self._arrays[name]
        values = np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<"))
        if values.shape[1:] != shape[1:] or self._rows[name] + len(values) > shape[0]:
            raise FormatError(
                f"{values.shape} after {self._rows[name]} rows does not fit into {shape}", path=self.path(name)
            )
        try:
            self._files[name].write(values.data if values.size else b"")
        except OSError as error:
            raise unwritable(self.path(name), error) from None
        self._rows[name] += len(values)

    def drop(self, name: str) -> None:
        """Write no store of that name, and take an earlier one away when the others are put in place."""
        self._files.pop(name).close()
        os.unlink(f"{self.path(name)}.part")
        self._arrays[name] = None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._finish()
        except BaseException as error:
            self._discard()
            if isinstance(error, OSError):
                raise unwritable(error.filename or self._folder, error) from None
            raise

    def _finish(self) -> None:
        for name, file in self._files.items():
            rows = self._arrays[name][0][0]
            if self._rows[name] != rows:
                raise FormatError(f"{self._rows[name]} rows were written, not {rows}", path=self.path(name))
            file.close()
        headers = {name: header_path(self.path(name)) for name in self._arrays}
        with committing({f"{path}.part": path for path in self.paths}, list(headers.values())):
            for name, kept in self._arrays.items():
                if kept is None:
                    remove(self.path(name))
                    continue
                with writing(headers[name]) as file:
                    file.write(pickle.dumps({"shape": kept[0], "dtype": kept[1]}, protocol=4))

    def _discard(self) -> None:
        for name, file in self._files.items():
            with contextlib.suppress(OSError):  # what could not be flushed
                file.close()
            with contextlib.suppress(OSError):
                os.unlink(f"{self.path(name)}.part")
