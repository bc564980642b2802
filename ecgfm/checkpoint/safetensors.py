"""The safetensors format: 8 bytes of length, a JSON header, the values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import shown
from .._types import StrPath
from ..errors import CheckpointError
from ..storage.atomic import writing
from ..storage.json import json_bytes, parse_json
from .storage import File, Stored, Tensor, raw_values

__all__ = ["SCALES", "check_hash", "read_tensors", "write_tensors"]

MAX_HEADER = 32 << 20
MAX_VALUES = 300_000  # 14 for each of 20,000 tensors
_KINDS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "I8": "int8"}
_CODES = {kind: code for code, kind in _KINDS.items()}
_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1}
SCALES = (".scale", ".factor")  # at the ends of the names of the scales of an int8 tensor's rows and columns
_ALIGNMENT = 64
_NO_HASH = b"0" * 64  # where the hash of the values will stand


def read_tensors(file: File) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file, in the order of their places.

    Parameters
    ----------
    file : storage.File

    Returns
    -------
    dict of str to Tensor
    dict of str to str
        The file's metadata.

    Raises
    ------
    CheckpointError
        If the header is damaged, or the tensors don't cover the values exactly: no hole, no overlap, no rest.
    """

    def error(message: str, field: str = "header") -> CheckpointError:
        return CheckpointError(message, path=file.path, field=field)

    length = int.from_bytes(file[:8], "little")
    if file.size < 8 or length > min(MAX_HEADER, file.size - 8):
        raise error(f"the header claims {length} bytes in a file of {file.size}")
    header = parse_json(file[8 : 8 + length], path=file.path, field="header", most=MAX_VALUES, error=CheckpointError)
    if not isinstance(header, dict):
        raise error("the header is not an object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise error("the metadata is not an object of texts", "__metadata__")
    entries = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise error("the entry has other keys than dtype, shape and data_offsets", name[:200])
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in _KINDS:
            raise error(f"values of type {shown(code)}, not {', '.join(_KINDS)}", name[:200])
        if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
            raise error("the shape or the offsets are not lists of whole numbers", name[:200])
        if math.prod(shape) * _BYTES[code] != offsets[1] - offsets[0]:
            what = f"shape {shown(shape)} of {code} does not fill the bytes {offsets[0]} to {offsets[1]}"
            raise error(what, name[:200])
        entries.append((offsets[0], offsets[1], name, code, shape))
    entries.sort(key=lambda entry: entry[:2])
    tensors, at, start = {}, 0, 8 + length
    for first, last, name, code, shape in entries:
        if first != at:
            raise error("the values overlap those of another tensor, or leave a hole before them", name[:200])
        if last > file.size - start:
            raise error("the values reach beyond the end of the file: it is truncated", name[:200])
        source = Stored(file, start + first, last - first)
        tensors[name] = Tensor(source, _KINDS[code], shape, path=file.path, name=name[:200])
        at = last
    if start + at != file.size:
        raise error(f"{file.size - start - at} bytes at the end of the file belong to no tensor")
    return tensors, metadata


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and len(values) <= 64 and all(type(n) is int and 0 <= n < 1 << 63 for n in values)


def write_tensors(
    path: StrPath, tensors: Mapping[str, Tensor | NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors, the wider types first; float64 becomes float32. Metadata get the values' ``sha256``.

    int8 numbers get their scales beside them: ``<name>.scale`` of the rows, ``<name>.factor`` of the columns.

    Parameters
    ----------
    path : path-like
    tensors : mapping of str to Tensor or ndarray
    metadata : mapping of str to str, optional

    Raises
    ------
    CheckpointError
        If a tensor is not of floating point, or the file can't be written.
    """
    plans = []
    for name, tensor in _with_scales(tensors):
        kind, _ = raw_values(tensor, lazy=True)
        code = _CODES.get("float32" if kind == "float64" else kind)
        if code is None:
            raise CheckpointError(f"values of type {kind} are not written", path=path, field=name)
        plans.append((name, code, [int(n) for n in np.shape(tensor)], tensor))
    plans.sort(key=lambda plan: -_BYTES[plan[1]])
    header: dict[str, Any] = {"__metadata__": {"sha256": _NO_HASH.decode()} | dict(metadata)} if metadata else {}
    at = 0
    for name, code, shape, _ in plans:
        end = at + math.prod(shape) * _BYTES[code]
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [at, end]}
        at = end
    raw = json_bytes(header, separators=(",", ":"))
    raw += b" " * (-(8 + len(raw)) % _ALIGNMENT)
    if len(raw) > MAX_HEADER:
        what = f"the header takes {len(raw):,} bytes, more than the {MAX_HEADER:,} that are read"
        raise CheckpointError(what, path=path)
    import hashlib  # with it comes OpenSSL: milliseconds and megabytes that who only reads does not need

    with writing(path, error=CheckpointError) as file:
        hashed = hashlib.sha256()
        file.write(len(raw).to_bytes(8, "little") + raw)
        for _, _, _, tensor in plans:
            kind, values = raw_values(tensor)
            if kind == "float64":
                values = values.astype("<f4")
            values = memoryview(values).cast("B") if values.size else b""
            file.write(values)
            hashed.update(values)
            if isinstance(tensor, Tensor):
                tensor.release()
        if metadata and file.seekable():  # the hash of the values is known once they are written
            file.seek(8 + raw.index(_NO_HASH))
            file.write(hashed.hexdigest().encode())


def _with_scales(tensors: Mapping[str, Tensor | NDArray[Any]]) -> Iterator[tuple[str, Tensor | NDArray[Any]]]:
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor) and tensor.scales is not None:
            yield from ((name + end, scale) for end, scale in zip(SCALES, tensor.scales))
            yield name, tensor.scaled(None)
        else:
            yield name, tensor


def check_hash(file: File, sha256: str | None) -> bool:
    """Whether a file has a SHA-256 of its values; raises CheckpointError unless it is that of the values."""
    if sha256 in (None, _NO_HASH.decode()):
        return False
    import hashlib

    at, found = 8 + int.from_bytes(file[:8], "little"), hashlib.sha256()
    for piece in Stored(file, at, file.size - at).pieces():
        found.update(piece)
    if found.hexdigest() != sha256:
        what = "the values are not those that were saved: the file is damaged"
        raise CheckpointError(what, path=file.path, field="sha256")
    return True
