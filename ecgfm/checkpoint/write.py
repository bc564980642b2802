"""Writes .pt files that torch.load(weights_only=True) and fairseq-signals read.

The layout is that of torch.save: a zip archive of uncompressed members that begin at multiples of 64 bytes, among them
a pickle of protocol 2 that names nothing but torch's way to rebuild a tensor. The same content gives the same bytes.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from .._types import StrPath
from ..errors import CheckpointError
from ..storage.atomic import writing
from .storage import Tensor, raw_values

__all__ = ["write_pt"]

ALIGNMENT = 64
MAX_DEPTH = 100
_STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
# Each member of a zip archive has a date; it is always the same.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_pt(path: StrPath, content: dict[str, Any]) -> None:
    """Write a checkpoint.

    Parameters
    ----------
    path : path-like
        Replaced once the new file is complete and on the disk.
    content : dict
        ``args``, ``cfg``, ``model``, ``optimizer_history``, ``extra_state`` and so on, of None, bool, int, float, str,
        list, tuple, dict, arrays and `Tensor`; arrays and tensors become torch tensors, NumPy numbers Python's.

    Raises
    ------
    CheckpointError
        If something in `content` is of another type, or the file can't be written.
    """
    import hashlib

    pickler = _Pickler(path)
    pickle = pickler.dump(content)
    with writing(path, error=CheckpointError) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        identity = hashlib.sha256()

        def put(name: str, raw: bytes | memoryview) -> None:
            name = f"archive/{name}"
            info = zipfile.ZipInfo(name, _DATE)
            info.extra = _padding(file.tell() + 30 + len(name))
            archive.writestr(info, raw)
            identity.update(f"{name} {len(raw)} {zlib.crc32(raw)}\n".encode())

        put("data.pkl", pickle)
        put(".format_version", b"1")
        put(".storage_alignment", str(ALIGNMENT).encode())
        put("byteorder", b"little")
        for i, tensor in enumerate(pickler.tensors):
            _, values = raw_values(tensor)
            put(f"data/{i}", memoryview(values).cast("B") if values.size else b"")
            if isinstance(tensor, Tensor):
                tensor.release()
        put("version", b"3\n")
        put(".data/serialization_id", str(int(identity.hexdigest(), 16) % 10**40).zfill(40).encode())


def _padding(at: int) -> bytes:
    """An extra field that makes the member's bytes begin at a multiple of the alignment."""
    size = -(at + 4) % ALIGNMENT
    return struct.pack("<2sH", b"FB", size) + b"Z" * size


class _Pickler:
    """Plain data as a pickle of protocol 2; the only names in it are those of `_tensor`."""

    def __init__(self, path: StrPath) -> None:
        self.path = path
        self.tensors: list[Any] = []

    def dump(self, value: Any) -> bytes:
        parts = [b"\x80\x02"]
        self._put(value, parts.append, ())
        return b"".join([*parts, b"."])

    def _put(self, value: Any, out: Callable[[bytes], Any], where: tuple[Any, ...]) -> None:
        if len(where) > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} deep", where)
        if isinstance(value, np.generic):
            value = value.item()
        if value is None:
            out(b"N")
        elif isinstance(value, bool):
            out(b"\x88" if value else b"\x89")
        elif isinstance(value, int):
            out(self._integer(value, where))
        elif isinstance(value, float):
            out(b"G" + struct.pack(">d", value))
        elif isinstance(value, str):
            raw = value.encode("utf-8", "surrogatepass")
            out(b"X" + struct.pack("<I", len(raw)) + raw)
        elif isinstance(value, (list, tuple)):
            out(b"(" if isinstance(value, tuple) else b"](")
            for i, item in enumerate(value):
                self._put(item, out, (*where, i))
            out(b"t" if isinstance(value, tuple) else b"e")
        elif isinstance(value, dict):
            out(b"}(")
            for key, item in value.items():
                if not isinstance(key, (str, int)):
                    raise self._error(f"a key of type {type(key).__name__}", where)
                self._put(key, out, where)
                self._put(item, out, (*where, key))
            out(b"u")
        elif isinstance(value, (np.ndarray, Tensor)):
            out(self._tensor(value, where))
        else:
            raise self._error(f"a {type(value).__name__} is not written", where)

    def _integer(self, value: int, where: tuple[Any, ...]) -> bytes:
        if -(1 << 31) <= value < 1 << 31:
            return b"J" + struct.pack("<i", value)
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        if len(raw) > 255:
            raise self._error("an integer too large to be written", where)
        return b"\x8a" + bytes([len(raw)]) + raw

    def _tensor(self, tensor: Any, where: tuple[Any, ...]) -> bytes:
        kind, _ = raw_values(tensor, lazy=True)
        if kind not in _STORAGES:
            raise self._error(f"torch has no storage of type {kind}", where)
        shape = [int(n) for n in np.shape(tensor)]
        strides: list[int] = []
        step = 1
        for n in reversed(shape):
            strides.insert(0, step)
            step *= max(n, 1)
        parts: list[bytes] = []

        def put(value: Any) -> None:
            self._put(value, parts.append, where)

        parts.append(b"ctorch._utils\n_rebuild_tensor_v2\n((")
        put("storage")
        parts.append(b"ctorch\n" + _STORAGES[kind].encode() + b"\n")
        put(str(len(self.tensors)))
        put("cpu")
        put(math.prod(shape))
        parts.append(b"tQ")
        put(0)
        put(tuple(shape))
        put(tuple(strides))
        put(False)
        parts.append(b"ccollections\nOrderedDict\n)RtR")
        self.tensors.append(tensor)
        return b"".join(parts)

    def _error(self, message: str, where: tuple[Any, ...]) -> CheckpointError:
        return CheckpointError(message, path=self.path, field=".".join(str(part) for part in where)[:200])
